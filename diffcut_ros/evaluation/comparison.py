"""`diffcut_evaluate methods`: all methods on the same images, each over a grid of its settings.

A line is the setting that is best for the data set, by mean IoU, or by covering where there are no classes (ODS of
BSDS500's benchmark), and what the best setting of each image would give (OIS). Settings are chosen on the very images
that they are scored on, for all methods alike.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.results import column, write
from diffcut_ros.evaluation.settings import Settings, resolve
from diffcut_ros.evaluation.tables import Request
from diffcut_ros.evaluation.tables.plot import check_plotly
from diffcut_ros.evaluation.tables.rows import file_name
from diffcut_ros.printable import no_formula, printable

# Options of each method -> what is tried, in all combinations. DiffCut's taus fall, so that one hierarchy serves all;
# about as many settings for the best of the others. Without options: the method is as its authors fixed it.
GRIDS: Mapping[str, Mapping[str, tuple]] = {
    'diffcut': {'tau': tuple(float(tau) for tau in np.arange(950, 49, -25) / 1000)},
    'autosc': {},
    'maskcut': {'objects': (3, 5, 20), 'tau': (0.15, 0.4, 0.7)},
    'diffseg': {'threshold': (0.4, 0.6, 0.8, 1.0, 1.2)},
    'kmeans': {},
    'felzenszwalb': {'scale': (100, 200, 400, 700, 1000, 1500), 'sigma': (0.8, 1.2), 'min_size': (100, 500, 1500)},
    'slic_ncut': {'sigma': (30, 100, 300), 'threshold': (0.001, 0.01, 0.1)},
}
_NOTES = {'kmeans': 'is told the number of segments that people drew'}
# Time per image needs no more images than this.
_TIMED_IMAGES = 20
CSV, HTML = 'methods.csv', 'methods.html'
# Columns of a file or a pipe, where there is no terminal to fit.
_WIDTH = 200


@dataclass(frozen=True)
class Point:
    """One setting of a method on a data set: how many segments it gives per image, and how well they agree."""

    setting: str
    segments: float
    figure: float


@dataclass(frozen=True)
class Line:
    """A method on a data set, at its best setting there.

    Attributes:
        dataset: key of `DATASETS`.
        method: key of `METHODS`.
        settings: how many were tried; 0 where the method cannot run here, which `note` says.
        best: the best of them, as text.
        figures: name -> figure at that setting.
        points: all settings.
        note: what to know about it.
    """

    dataset: str
    method: str
    settings: int = 0
    best: str = ''
    figures: Mapping[str, float] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    note: str = ''


# figure of a line -> (heading, decimals), in order
_COLUMNS = {
    'mean_iou': ('mIoU', 3),
    'covering': ('covering', 3),
    'covering_best_per_image': ('of the best setting per image', 3),
    'rand_index': ('Rand index', 3),
    'variation_of_information': ('variation of information', 2),
    'boundary_f_measure': ('boundary F', 3),
    'segments_per_image': ('segments', 1),
    'ms_per_image': ('ms per image', 0),
}


def settings_of(method: str) -> list[dict[str, str]]:
    """Return the settings that a method is tried with, each as options of `settings.resolve`."""
    grid = GRIDS[method]
    return [dict(zip(grid, map(str, values), strict=True)) for values in product(*grid.values())]


def compare(request: Request) -> list[Line]:
    """Measure all methods on the data sets in a folder; leave methods.csv and the plot methods.html beside the results.

    An interrupted comparison goes on. Times per image are measured at the end, one image at a time.

    Args:
        request: what is wanted; without a backend, features are the color backend's.

    Raises:
        ValueError: for a folder without data sets, or results with other settings.
        MemoryError: when the device has too little memory.
        OSError: when results cannot be written.
    """
    check_plotly()
    datasets = [name for name in DATASETS if (request.root / name).is_dir()]
    if not datasets:
        raise ValueError(f'{request.root}: expected {" or ".join(DATASETS)} in it, found none of them')
    lines = [_line(request, dataset, method) for dataset, method in product(datasets, METHODS)]
    lines = [_timed(request, line) if line.settings else line for line in lines]
    _save(request.out, lines)
    return lines


def _settings(request: Request, dataset: str, method: str, options: Mapping[str, str]) -> Settings:
    backend = request.backend or 'color'
    return resolve(
        dataset,
        request.root / dataset,
        split=request.split,
        limit=request.limit,
        protocol='plain',
        method=method,
        options={**request.own_options(method, backend, {}), **options},
        backend=backend,
        device=request.device,
    )


def _line(request: Request, dataset: str, method: str) -> Line:
    tried = settings_of(method)
    names = [_text(options) for options in tried]
    try:
        variants = [
            (
                _settings(request, dataset, method, options),
                request.out / dataset / method / (file_name(_text(options)) or 'fixed'),
            )
            for options in tried
        ]
    except ValueError as error:
        return Line(dataset, method, note=str(error))
    summaries = request.evaluate(f'{dataset}, {method}', variants)
    figure = chosen_by(dataset)
    best = max(range(len(summaries)), key=lambda i: summaries[i][figure] or 0)
    figures = {name: summaries[best][name] for name in _COLUMNS if name in summaries[best]}
    if 'boundary' in summaries[best]:
        figures['boundary_f_measure'] = summaries[best]['boundary']['f_measure']
    if len(variants) > 1:
        covering = np.array([column(folder, 'covering') for _, folder in variants])
        figures['covering_best_per_image'] = float(covering.max(0).mean())
    points = tuple(
        Point(name, summary['segments_per_image'], summary[figure])
        for name, summary in zip(names, summaries, strict=True)
    )
    return Line(dataset, method, len(variants), names[best], figures, points, _NOTES.get(method, ''))


def _timed(request: Request, line: Line) -> Line:
    """Add the time per image, of the medians of features and method, with nothing stored and in one process."""
    (options,) = [options for options in settings_of(line.method) if _text(options) == line.best]
    settings = _settings(request, line.dataset, line.method, options)
    settings = dataclasses.replace(settings, limit=min(request.limit or _TIMED_IMAGES, _TIMED_IMAGES))
    variant = settings, request.out / line.dataset / line.method / 'time'
    alone = dataclasses.replace(request, cache=Cache(request.cache.folder, 0), jobs=1)
    (summary,) = alone.evaluate(f'{line.dataset}, {line.method}, time', [variant])
    seconds = (summary['features_s']['median'] or 0) + summary['method_s']['median']
    return dataclasses.replace(line, figures={**line.figures, 'ms_per_image': 1000 * seconds})


def chosen_by(dataset: str) -> str:
    """Return the figure that a data set's best setting is chosen by."""
    return 'mean_iou' if DATASETS[dataset].classes else 'covering'


def show(lines: list[Line]) -> None:
    """Print lines as a table; notes come below it."""
    columns = {name: of for name, of in _COLUMNS.items() if any(name in line.figures for line in lines)}
    table = Table()
    for heading in ('data set', 'method', 'settings'):
        table.add_column(heading)
    for heading, _ in columns.values():
        table.add_column(heading, justify='right')
    table.add_column('best setting, note')
    for line in lines:
        figures = [
            f'{line.figures[name]:.{decimals}f}' if name in line.figures else ''
            for name, (_, decimals) in columns.items()
        ]
        about = '; '.join(part for part in (line.best, line.note) if part)
        table.add_row(line.dataset, line.method, str(line.settings or ''), *figures, about)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(table)


def _save(out: Path, lines: list[Line]) -> None:
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(['dataset', 'method', 'settings', 'best', *_COLUMNS, 'note'])
    for line in lines:
        figures = [line.figures.get(name, '') for name in _COLUMNS]
        note = no_formula(printable(line.note))
        writer.writerow([line.dataset, line.method, line.settings, line.best, *figures, note])
    write(out / CSV, text.getvalue())
    write(out / HTML, _plot(lines))


def _plot(lines: list[Line]) -> str:
    """Return a page with a plot for each data set: agreement over the number of segments, a point for each setting."""
    # Only here: importing plotly takes time.
    import plotly.graph_objects as go
    from plotly.colors import qualitative
    from plotly.subplots import make_subplots

    datasets = list(dict.fromkeys(line.dataset for line in lines))
    figure = make_subplots(1, len(datasets), subplot_titles=datasets)
    for line in lines:
        points = sorted(line.points, key=lambda point: point.segments)
        trace = go.Scatter(
            name=line.method,
            x=[point.segments for point in points],
            y=[point.figure for point in points],
            text=[point.setting for point in points],
            mode='lines+markers' if len(GRIDS[line.method]) == 1 else 'markers',
            marker_color=qualitative.D3[list(METHODS).index(line.method)],
            legendgroup=line.method,
            showlegend=line.dataset == datasets[0],
        )
        if points:
            figure.add_trace(trace, 1, datasets.index(line.dataset) + 1)
    for i, dataset in enumerate(datasets, 1):
        figure.update_xaxes(title='segments per image', type='log', row=1, col=i)
        figure.update_yaxes(title=_COLUMNS[chosen_by(dataset)][0], row=1, col=i)
    return figure.to_html(include_plotlyjs=True, full_html=True)


def _text(options: Mapping[str, str]) -> str:
    return ', '.join(f'{name} {value}' for name, value in options.items())
