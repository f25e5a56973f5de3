"""`diffcut_evaluate teach`: how right names are that follow from a few shown segments, on a labelled data set.

Segments of all images are found once, and stored with the classes of their pixels; whatever is shown of them, and
however the others are named, is computed from these in a moment.
"""

import csv
import functools
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from diffcut_ros.evaluation.datasets import DATASETS, Dataset
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.named_segments import Bound, NamedSegments, finder, read_segments, row_of
from diffcut_ros.evaluation.naming import METHODS, name_and_score, show, shown_frames
from diffcut_ros.evaluation.results import ResultsFolder, write
from diffcut_ros.evaluation.run import about, each
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.evaluation.tables.plot import check_plotly

CURVE = (1, 2, 3, 6, 12, 24)
CSV, HTML = 'teach.csv', 'teach.html'
# Columns of a file or a pipe, where there is no terminal to fit.
_WIDTH = 160


@dataclass(frozen=True)
class Lesson:
    """What is shown, and how the rest is named.

    Attributes:
        frames: images that are shown.
        clicks: segments that are shown of each class in each of them, at most.
        methods: keys of `METHODS`; details are those of the first.
        curve: also with other numbers of images.
        choices: which images are shown is chosen so many times, see `shown_frames`; figures are means over these.
        novelty: also teach without one class after the other.
    """

    frames: int
    clicks: int
    methods: tuple[str, ...]
    curve: bool = False
    choices: int = 1
    novelty: bool = False


def find_dataset(root: Path, split: str | None, name: str | None = None) -> tuple[str, list[str]]:
    """Return the data set with classes that a folder holds, and others that its files would fit, too.

    Args:
        root: its folder.
        split: one of its parts; None: its first one.
        name: of the data set, which is then not looked for.

    Raises:
        ValueError: where none fits, or for one without classes.
    """
    known = {key: dataset for key, dataset in DATASETS.items() if dataset.classes}
    if name is not None and name not in known:
        raise ValueError(f'--dataset: expected one with classes, {", ".join(known)}, received {name!r}')
    if not root.is_dir():
        raise ValueError(f'{root}: expected the folder of a data set, which is not there')
    if name is not None:
        return name, []
    fitting = [key for key, dataset in known.items() if _fits(dataset, root, split)]
    if not fitting:
        part = f' with a split {split}' if split else ''
        raise ValueError(
            f'{root}: expected the folder of one data set{part}, laid out as it is distributed, of {", ".join(known)}; '
            'none of them fits, --dataset NAME says what is missing'
        )
    return fitting[0], fitting[1:]


def _fits(dataset: Dataset, root: Path, split: str | None) -> bool:
    try:
        return split in (None, *dataset.splits) and bool(dataset.pairs(root, split or dataset.splits[0]))
    except ValueError:
        return False


def teach(
    settings: Settings,
    lesson: Lesson,
    out: Path,
    cache: Cache,
    jobs: int = 1,
    resume: bool = False,
    on_image: Callable[[int, int, Bound], None] = lambda done, images, bound: None,
) -> dict[str, Any]:
    """Show segments of a data set, name all others, and leave how right that is in a folder; print it.

    Args:
        settings: of the segments; the method is diffcut, the protocol plain.
        lesson: what is shown. Another one replaces the figures in the folder, from the segments that are there.
        out, cache, jobs, resume: see `evaluate`.
        on_image: likewise.

    Returns:
        The figures, as in results.json.

    Raises:
        ValueError, MemoryError, OSError: as `evaluate`; ValueError also for more shown images than there are.
    """
    if lesson.curve:
        check_plotly()
    if getattr(settings.options, 'upsampling', 'concepts') != 'concepts':
        raise ValueError(f'upsampling: expected concepts, received {settings.options.upsampling!r}')
    dataset, _, _ = settings.parts()
    pairs = dataset.pairs(settings.root, settings.split)[: settings.limit]
    shown_frames(len(pairs), lesson.frames)  # whether there are so many
    bound = Bound()
    with ResultsFolder(out, about(settings, len(pairs)), resume, read_segments, row_of) as folder:
        for image in folder.done.values():
            bound.add(image)
        left = [pair for pair in pairs if pair.name not in folder.done]
        on_image(len(pairs) - len(left), len(pairs), bound)
        make = functools.partial(finder, settings, cache)
        for done, image in enumerate(each(make, left, jobs), len(pairs) - len(left) + 1):
            folder.add(image)
            bound.add(image)
            on_image(done, len(pairs), bound)
        names = [pair.name for pair in pairs]
        images = [folder.done[name] for name in names]
        summary = _summary(images, dataset.classes, lesson) | {'machine': machine(torch.device(settings.device))}
        folder.finish(summary, names)
        write(out / CSV, _csv(summary['rows']))
        if lesson.curve:
            write(out / HTML, _plot(summary['rows'], summary['bound']))
    _print(summary)
    return summary


def _summary(images: Sequence[NamedSegments], classes: Sequence[str], lesson: Lesson) -> dict[str, Any]:
    """Return all figures, as for JSON; None where there is nothing to count."""
    shown = shown_frames(len(images), lesson.frames)
    taught = show(images, shown, lesson.clicks, classes)
    if not len(taught):
        raise ValueError(
            f'expected a segment that is mostly of one class in the {len(shown)} shown images, found none; take more '
            '--frames, or another --tau'
        )
    detail = name_and_score(images, shown, METHODS[lesson.methods[0]](taught))
    novelty = _novelty(images, classes, lesson) if lesson.novelty else {}
    counts, unknown, iou = detail.counts, detail.unknown_of_class.tolist(), detail.counts.iou().tolist()
    right, labelled = (
        sum(int(image.pixels[1:].max(1).sum()) for image in images),
        sum(int(image.pixels.sum()) for image in images),
    )
    return {
        'images': len(images),
        'images_scored': len(images) - len(shown),
        'segments_per_image': float(np.mean([len(image.score) for image in images])),
        'bound': right / labelled,
        'rows': [
            _row(images, classes, lesson, method, frames)
            for method in lesson.methods
            for frames in _over(images, lesson)
        ],
        'shown': [images[frame].image for frame in shown],
        'classes': {
            name: {
                'examples': int((taught.class_id == k + 1).sum()),
                'iou': _number(iou[k]),
                'unknown': _number(unknown[k]),
                **{column: int(values[k]) for column, values in vars(counts).items()},
                **novelty.get(name, {}),
            }
            for k, name in enumerate(classes)
        },
        'calibration': [one and vars(one) for one in detail.bins],
    }


def _over(images: Sequence[NamedSegments], lesson: Lesson) -> list[int]:
    """Return the numbers of images that are shown."""
    return sorted({lesson.frames, *(frames for frames in CURVE if lesson.curve and frames < len(images))})


def _row(
    images: Sequence[NamedSegments], classes: Sequence[str], lesson: Lesson, method: str, frames: int
) -> dict[str, Any]:
    """Return a method's figures with so many shown images: means over the choices of these, see `Scored`."""
    scored, examples = [], []
    for choice in range(lesson.choices):
        shown = shown_frames(len(images), frames, choice)
        taught = show(images, shown, lesson.clicks, classes)
        examples.append(len(taught))
        scored.append(name_and_score(images, shown, METHODS[method](taught)))
    accuracy = [one.counts.pixel_accuracy() for one in scored]
    return {
        'method': method,
        'frames': frames,
        'clicks': lesson.clicks,
        'choices': lesson.choices,
        'examples': float(np.mean(examples)),
        'accuracy': _mean(accuracy),
        'accuracy_deviation': float(np.std(accuracy)) if len(accuracy) > 1 else None,
        'mean_iou': _mean([one.counts.mean_iou() for one in scored]),
        'unknown': _mean([one.unknown for one in scored]),
        'named_accuracy': _mean([one.named_accuracy for one in scored]),
        'calibration_error': _mean([one.calibration_error for one in scored]),
        'calibration_error_of_pixels': _mean([one.calibration_error_of_pixels for one in scored]),
    }


def _novelty(images: Sequence[NamedSegments], classes: Sequence[str], lesson: Lesson) -> dict[str, dict[str, float]]:
    """Teach all classes but one, and return what becomes of that one.

    Returns:
        Name of the class -> share of its pixels that are named unknown, and of the other classes' pixels; means over
        the choices.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for choice in range(lesson.choices):
        shown = shown_frames(len(images), lesson.frames, choice)
        taught = sorted(show(images, shown, lesson.clicks, classes).classes)
        for kind in (class_id - 1 for class_id in taught if len(taught) > 1):
            others = show(images, shown, lesson.clicks, [name if k != kind else '' for k, name in enumerate(classes)])
            scored = name_and_score(images, shown, METHODS['classes'](others))
            pixels = scored.counts.true_positive + scored.counts.false_negative
            unknown = np.nan_to_num(scored.unknown_of_class) * pixels
            new, rest = pixels[kind], pixels.sum() - pixels[kind]
            if new and rest:
                found.setdefault(classes[kind], []).append(
                    (unknown[kind] / new, (unknown.sum() - unknown[kind]) / rest)
                )
    return {
        name: dict(zip(('unknown_if_new', 'others_unknown_then'), np.mean(shares, 0).tolist(), strict=True))
        for name, shares in found.items()
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of those that are known."""
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


# column -> (heading, format), in order
_COLUMNS = {
    'method': ('method', ''),
    'frames': ('frames', ''),
    'clicks': ('clicks', ''),
    'examples': ('examples', '.0f'),
    'accuracy': ('accuracy', '.3f'),
    'accuracy_deviation': ('+-', '.3f'),
    'mean_iou': ('mIoU', '.3f'),
    'unknown': ('unknown', '.1%'),
    'named_accuracy': ('of named', '.3f'),
    'calibration_error': ('calibration error', '.3f'),
    'calibration_error_of_pixels': ('of pixels', '.3f'),
}
_CLASS_COLUMNS = {
    'examples': ('examples', ''),
    'iou': ('IoU', '.3f'),
    'unknown': ('unknown', '.1%'),
    'unknown_if_new': ('unknown if not shown', '.1%'),
    'others_unknown_then': ('others unknown then', '.1%'),
}
_BIN_COLUMNS = {
    'pixels': ('pixels', ''),
    'confidence': ('confidence', '.2f'),
    'right_segments': ('right segments', '.2f'),
    'right_pixels': ('right pixels', '.2f'),
}


def _print(summary: dict[str, Any]) -> None:
    """Print the figures as tables; columns without a figure are left out."""
    first = summary['rows'][0]
    title = f'{first["method"]}, {len(summary["shown"])} frames x {first["clicks"]}'
    classes = [{'class': name} | figures for name, figures in summary['classes'].items()]
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    for heading, columns, rows in (
        (f'at best, each segment as most of its pixels are: {summary["bound"]:.3f}', _COLUMNS, summary['rows']),
        (title, {'class': ('class', '')} | _CLASS_COLUMNS, classes),
        (title, _BIN_COLUMNS, [one for one in summary['calibration'] if one]),
    ):
        columns = {name: of for name, of in columns.items() if any(row.get(name) is not None for row in rows)}
        table = Table(title=heading, title_justify='left')
        for name, (text, _) in columns.items():
            table.add_column(text, justify='left' if name in ('method', 'class') else 'right')
        for row in rows:
            values = [(row.get(name), form) for name, (_, form) in columns.items()]
            table.add_row(*('' if value is None else f'{value:{form}}' for value, form in values))
        if rows:
            console.print(table)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO(newline='')
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _plot(rows: Sequence[dict[str, Any]], bound: float) -> str:
    """Return a page with accuracy and mean IoU over the number of shown images, a line for each method."""
    # Only here: importing plotly takes time.
    import plotly.graph_objects as go
    from plotly.colors import qualitative
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, subplot_titles=['accuracy', 'mIoU'])
    for index, method in enumerate(dict.fromkeys(row['method'] for row in rows)):
        line = [row for row in rows if row['method'] == method]
        for column, name in enumerate(('accuracy', 'mean_iou'), 1):
            trace = go.Scatter(
                name=method,
                x=[row['frames'] for row in line],
                y=[row[name] for row in line],
                mode='lines+markers',
                marker_color=qualitative.D3[index],
                legendgroup=method,
                showlegend=column == 1,
            )
            figure.add_trace(trace, 1, column)
    figure.add_hline(bound, line_dash='dot', annotation_text='at best', row=1, col=1)
    figure.update_xaxes(title='images shown', type='log', tickvals=sorted({row['frames'] for row in rows}))
    return figure.to_html(include_plotlyjs=True, full_html=True)
