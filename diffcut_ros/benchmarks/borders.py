"""`diffcut_benchmark borders`: do borders follow the image? Each refinement of them, against what people drew.

Covering and the F-measure of borders, as `diffcut_evaluate` scores them; in a data set with classes, borders are those
between classes. What is small and what is thin is where a refinement may do harm: of the pieces that people drew, those
count as found that a piece of a segment has an intersection over union above 0.5 with.
"""

import argparse
import time
from dataclasses import replace

import cv2
import numpy as np
from rich.table import Table

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.core import Frame, SegmenterConfig
from diffcut_ros.core.part_graph import chosen, components
from diffcut_ros.core.runs import Runs
from diffcut_ros.evaluation.datasets import DATASETS, load
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.metrics import BoundaryCounts, agreement, boundary_counts
from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import track

# Pieces smaller than this share of the image do not count; below the next, they are small.
_LEAST, _SMALL = 0.001, 0.01
# Nowhere wider than this share of the image's shorter side, they are thin.
_THIN = 1 / 40


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table.

    Raises:
        ValueError: for a folder that does not hold the data set.
    """
    dataset = DATASETS[args.dataset]
    pairs = dataset.pairs(args.root, dataset.splits[0])[: args.limit]
    device = resolve_device('auto')
    extractor = create_extractor(args.backend, device=device)
    config = SegmenterConfig(**given(args, 'tau'), instances='segments')
    agreements = {refine: [] for refine in args.refine}
    borders = {refine: BoundaryCounts(0, 0, 0, 0) for refine in args.refine}
    things = {refine: np.zeros((2, 3), int) for refine in args.refine}
    seconds = {refine: [] for refine in args.refine}
    lost = dict.fromkeys(args.refine, 0)
    segments = 0
    for pair in track(pairs, len(pairs), args.dataset):
        example = load(dataset, pair)
        frame = Frame(example.image_rgb, extractor(example.image_rgb))
        unrefined, plain_s = _cut(frame, replace(config, refine='none'))
        segments += len(np.unique(unrefined))
        for refine in args.refine:
            labels, cut_s = _cut(frame, replace(config, refine=refine))
            seconds[refine].append(cut_s - plain_s)
            lost[refine] += len(np.setdiff1d(unrefined, labels))
            regions = agreement([(truth[truth >= 0], labels[truth >= 0]) for truth in example.truths])
            agreements[refine] += [] if regions is None else [regions.covering]
            borders[refine] += boundary_counts(labels, example.truths)
            things[refine] += sum(found_things(labels, truth) for truth in example.truths)
    console = Figures()
    console.print(machine(device))
    table = Table(title=f'borders: {dataset.title}, {len(pairs)} images, backend {args.backend}, tau {config.tau:g}')
    console.begin(lambda: table)
    for column in 'refine', 'covering', 'border F', 'precision', 'recall', 'small', 'thin', 'lost', 'time':
        table.add_column(column, justify='left' if column == 'refine' else 'right')
    for refine in args.refine:
        (_, small, thin), (_, small_found, thin_found) = things[refine]
        table.add_row(
            refine,
            f'{np.mean(agreements[refine]):.3f}' if agreements[refine] else '',
            f'{borders[refine].f_measure():.3f}',
            f'{borders[refine].precision():.3f}',
            f'{borders[refine].recall():.3f}',
            f'{small_found} of {small}',
            f'{thin_found} of {thin}',
            f'{lost[refine]} of {segments}',
            f'{1000 * np.median(seconds[refine]):.1f} ms',
        )
    console.finish()
    console.print(
        f'small, thin: pieces found of those that people drew, at least {_LEAST:.1%} of the image, smaller than '
        f'{_SMALL:.0%} of it,\n'
        f'nowhere wider than 1/{1 / _THIN:.0f} of its shorter side; lost: segments without a pixel;\n'
        'time: CPU time that a cut takes more than one without refinement, median'
    )


def _cut(frame: Frame, config: SegmenterConfig) -> tuple[np.ndarray, float]:
    """Return the segment of each pixel, int64 [H, W], and the CPU time of the cut; the hierarchy is known by then."""
    frame.tree(config.alpha, config.tau)
    start = time.process_time()
    frame.cut(config)
    cut_s = time.process_time() - start
    assert frame.parts is not None, 'parts: expected those of a frame that has been cut, received None'
    return frame.parts.astype(np.int64), cut_s


def found_things(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Count the pieces that a person drew, and those of them that are found.

    Args:
        labels: integers [H, W], segments from 0.
        truth: likewise; -1 = not labelled, which counts nowhere.

    Returns:
        int64 [2, 3]: pieces, and those found; all, small ones, thin ones.
    """
    labelled = truth >= 0
    drawn, found = pieces(truth)[labelled], pieces(labels)[labelled]
    table = np.zeros((drawn.max(initial=-1) + 1, found.max(initial=-1) + 1), np.int64)
    np.add.at(table, (drawn, found), 1)
    area = table.sum(1)
    overlap = table / np.maximum(area[:, None] + table.sum(0) - table, 1)
    square = np.ones(2 * (2 * round(_THIN * min(truth.shape) / 2) + 1,), np.uint8)
    values = pieces(truth).astype(np.float32)
    wide = np.zeros(len(table), bool)
    wide[drawn[(cv2.dilate(values, square) == cv2.erode(values, square))[labelled]]] = True
    counts = area >= _LEAST * truth.size
    kinds = np.stack([counts, counts & (area < _SMALL * truth.size), counts & ~wide])
    return np.stack([kinds.sum(1), (kinds & (overlap.max(1, initial=0) > 0.5)).sum(1)])


def pieces(labels: np.ndarray) -> np.ndarray:
    """Return which connected piece each pixel of a label image is of, int64 [H, W], from 0; corners do not connect."""
    runs = Runs.of(labels)
    above, below = pairs = runs.touching
    return runs.painted(components(len(runs.label), chosen(pairs, runs.label[above] == runs.label[below]))).astype(int)
