"""`diffcut_benchmark teach`: how many clicks names take on a labelled data set, as diffcut_teach asks and in any order.

Whoever is asked answers by the ground truth: the class that more than half of a segment's pixels are of; what has none
is skipped, which counts, too. Accuracy is that of all labelled pixels of all images, of which the page shows some.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.table import Table

from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.core import Pipeline, Scene, SegmenterConfig
from diffcut_ros.evaluation.datasets import DATASETS, load
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.teach import find_dataset
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe, quarters
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import track
from diffcut_ros.teach.frames import Frame, frame_of
from diffcut_ros.teach.lesson import Lesson
from diffcut_ros.teach.spread import farthest

_AFTER = 5, 10, 20, 40, 80
# Orders of asking: by the page's proposal; any segment; that of any pixel.
PROPOSAL, SEGMENTS, PIXELS = 'proposal', 'random segments', 'random pixels'


@dataclass(frozen=True)
class Labelled:
    """An image of the data set.

    Attributes:
        frame: its segments.
        pixels: int64 [K + 1, classes], labelled pixels in no segment, then in each one.
    """

    frame: Frame
    pixels: np.ndarray

    def answer(self, label: int) -> int | None:
        """Return the class of a segment; None where no class has more than half of it."""
        row = self.pixels[label]
        return int(row.argmax()) if 2 * row.max() > self.frame.segments.area_px[label - 1] else None


@dataclass(frozen=True)
class Asked:
    """One question, and what came of it: the accuracy then, and how long the page took to go on."""

    accuracy: float
    seconds: float


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table; ValueError for a folder that is no data set with classes."""
    name, _ = find_dataset(args.root, None)
    dataset, device = DATASETS[name], resolve_device('auto')
    extractor, look = create_extractor(args.backend, device=device), create_extractor('color')
    pipeline = Pipeline(extractor, SegmenterConfig(tau=args.tau))
    pairs = dataset.pairs(args.root, dataset.splits[0])[: args.limit]
    images, points = [], []
    for index, pair in enumerate(track(pairs, len(pairs), 'segments')):
        example = load(dataset, pair)
        result = pipeline.process(Scene(example.image_rgb, index))
        pixels = _pixels(result.segmentation.labels, example.truths[0], len(dataset.classes))
        images.append(Labelled(frame_of(result, str(args.root), pair.name), pixels))
        points.append(quarters(look(example.image_rgb)).cpu().numpy().ravel())
    shown = [images[index] for index in sorted(farthest(np.array(points), args.frames))]
    bound = sum(one.pixels[1:].max(1).sum() for one in images) / sum(one.pixels.sum() for one in images)
    console = Figures()
    console.print(machine(device))
    table = Table(
        title=f'{dataset.title}, {len(images)} images, {len(shown)} of them shown, backend {args.backend}, tau '
        f'{args.tau:g}; at best {bound:.3f}'
    )
    console.begin(lambda: table)
    columns = [
        'order',
        f'questions to {args.goal:g}',
        'seconds',
        *(f'accuracy after {count}' for count in _AFTER),
        'in the end',
        'for each',
    ]
    for column in columns:
        table.add_column(column, justify='left' if column == 'order' else 'right')
    for order in (PROPOSAL, SEGMENTS, PIXELS):
        runs = []
        for choice in range(1 if order == PROPOSAL else args.choices):
            with tempfile.TemporaryDirectory() as folder:
                lesson = Lesson(Path(folder) / 'classes.yaml', extractor.description, probe(extractor))
                lesson.add([one.frame for one in shown])
                asked = _ask(lesson, shown, images, dataset.classes, _next(lesson, shown, order, choice))
                runs.append(list(track(islice(asked, args.questions), args.questions, order)))
        table.add_row(order, *_row(runs, args.goal))
    console.finish()


def _pixels(labels: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    labelled, rows = truth >= 0, int(labels.max()) + 1
    place = labels[labelled].astype(np.int64) * classes + truth[labelled]
    return np.bincount(place, minlength=rows * classes).reshape(rows, classes)


def _next(lesson: Lesson, shown: list[Labelled], order: str, seed: int) -> Callable[[list], tuple[int, int] | None]:
    """Return what chooses the next segment, given those that were skipped."""
    if order == PROPOSAL:
        return lesson.proposal
    random = np.random.default_rng(seed)
    places = [(frame, label + 1) for frame, one in enumerate(shown) for label in range(len(one.frame.segments))]
    area = np.concatenate([one.frame.segments.area_px for one in shown]).astype(float)
    weight = area / area.sum() if order == PIXELS else np.full(len(area), 1 / len(area))
    left = iter(random.choice(len(places), len(places), replace=False, p=weight).tolist())
    return lambda skipped: next((places[index] for index in left), None)


def _ask(
    lesson: Lesson,
    shown: list[Labelled],
    images: list[Labelled],
    names: tuple[str, ...],
    choose: Callable[[list], tuple[int, int] | None],
) -> Iterator[Asked]:
    """Ask and answer until nothing is left to ask."""
    feature = np.concatenate([one.frame.segments.feature for one in images])
    skipped: list[tuple[int, int]] = []
    while True:
        begin_s = time.perf_counter()
        place = choose(skipped)
        if place is None:
            return
        frame, label = place
        kind = shown[frame].answer(label)
        if kind is None:
            skipped.append(place)
        else:
            x, y = shown[frame].frame.places[label - 1].tolist()
            lesson.teach(frame, x, y, None, names[kind])
        lesson.state()
        seconds = time.perf_counter() - begin_s
        yield Asked(_accuracy(lesson, images, names, feature), seconds)


def _accuracy(lesson: Lesson, images: list[Labelled], names: tuple[str, ...], feature: np.ndarray) -> float:
    ids, _ = lesson.classes.classify_features(feature)
    kind = {key: names.index(one.name) for key, one in lesson.classes.classes.items()}
    called = np.array([kind.get(key, -1) for key in ids.tolist()])
    inside = np.concatenate([one.pixels[1:] for one in images])
    known = called >= 0
    return float(inside[known, called[known]].sum() / sum(one.pixels.sum() for one in images))


def _row(runs: list[list[Asked]], goal: float) -> list[str]:
    counts = [_to_goal(asked, goal) for asked in runs]
    reached = ' to '.join(dict.fromkeys(_count(one) for one in (min(counts), max(counts))))
    # Of those that get there.
    whole = [sum(one.seconds for one in asked[: int(n)]) for asked, n in zip(runs, counts, strict=True) if n < np.inf]
    after = [np.mean([asked[min(count, len(asked)) - 1].accuracy for asked in runs]) for count in (*_AFTER, 10**9)]
    seconds = statistics.median(one.seconds for asked in runs for one in asked)
    return [
        reached,
        f'{statistics.mean(whole):.1f}' if whole else '',
        *(f'{accuracy:.3f}' for accuracy in after),
        f'{1000 * seconds:.0f} ms',
    ]


def _to_goal(asked: list[Asked], goal: float) -> float:
    return next((k for k, one in enumerate(asked, 1) if one.accuracy >= goal), np.inf)


def _count(questions: float) -> str:
    return f'{questions:g}' if np.isfinite(questions) else 'never'
