"""`diffcut_benchmark bsds`: agreement with people on BSDS500, over all taus, beside baselines.

A method gives each image one segmentation per setting (tau for DiffCut, grid points for the baselines). ODS is the mean
score over the images at the single setting that is best for the data set; OIS takes the best setting of each image.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffcut_ros.core import Segmenter, SegmenterConfig
from diffcut_ros.evaluation.datasets import DATASETS, Pair, load
from diffcut_ros.evaluation.methods import METHODS, Sample
from diffcut_ros.evaluation.metrics import contingency_table, covering, rand_index
from diffcut_ros.features import create_extractor

DATASET = DATASETS['bsds500']
# Taus that each image is segmented at.
TAUS = np.round(np.arange(0.04, 1.0, 0.02), 2)
# scores of one image: float [S, 3], for each setting covering, Rand index, number of segments
COVERING, RAND_INDEX, SEGMENTS = range(3)
# What a baseline is tried with: option -> values, in all combinations.
_GRIDS = {
    'felzenszwalb': {'scale': (100, 200, 400, 700, 1000, 1500), 'sigma': (0.5, 0.8, 1.2), 'min_size': (100, 500, 1500)},
    'slic_ncut': {'sigma': (30, 100, 300), 'threshold': (0.001, 0.01, 0.1)},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument('root', type=Path, help='folder BSDS500/data, or one with images/*.jpg and groundTruth/*.mat')
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--alpha', type=float, default=SegmenterConfig.alpha, help='exponent of the affinity')
    parser.add_argument('--refine', default=SegmenterConfig.refine, help='refinement of borders: none or pamr')
    parser.add_argument('--methods', nargs='+', default=list(_METHODS), choices=list(_METHODS), help='what to compare')
    parser.add_argument('--limit', type=int, default=None, metavar='N', help='only the first N images')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), metavar='N', help='parallel processes')


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its table."""
    pairs = DATASET.pairs(args.root, 'val')[: args.limit]
    table = Table(
        title=f'BSDS500: {len(pairs)} images, backend {args.backend}, alpha {args.alpha}, refine {args.refine}'
    )
    for column in ('method', 'covering ODS', 'OIS', 'PRI ODS', 'OIS', 'segments', 'single setting of covering ODS'):
        table.add_column(column)
    with Progress(transient=True) as progress, ProcessPoolExecutor(args.jobs, initializer=_single_thread) as pool:
        for method in args.methods:
            names, score = _METHODS[method](args)
            scores = pool.map(score, pairs)
            table.add_row(
                method, *summary(names, np.stack(list(progress.track(scores, len(pairs), description=method))))
            )
    Console().print(table)


def summary(names: list[str], scores: np.ndarray) -> list[str]:
    """Return a method's row: covering ODS and OIS, PRI ODS and OIS, segments and setting at the ODS of covering.

    Args:
        names: the S settings.
        scores: float [images, S, 3].
    """
    mean = scores.mean(0)
    best = int(mean[:, COVERING].argmax())
    figures = [
        mean[best, COVERING],
        scores[:, :, COVERING].max(1).mean(),
        mean[:, RAND_INDEX].max(),
        scores[:, :, RAND_INDEX].max(1).mean(),
    ]
    return [*(f'{figure:.3f}' for figure in figures), f'{np.median(scores[:, best, SEGMENTS]):.0f}', names[best]]


def score_diffcut(pair: Pair, backend: str, alpha: float, refine: str) -> np.ndarray:
    """Score one image at all `TAUS`, cut from one hierarchy; returns float [S, 3]."""
    example = load(DATASET, pair)
    segmenter = Segmenter(
        create_extractor(backend, device='cpu'), SegmenterConfig(tau=TAUS[-1], alpha=alpha, refine=refine)
    )
    segmenter.segment(example.image_rgb)
    return np.array([score(segmenter.recut(tau).labels, example.truths) for tau in TAUS.tolist()])


def score_settings(pair: Pair, method: str, configs: list[Any]) -> np.ndarray:
    """Score one image with each setting of a baseline, see `METHODS`; returns float [S, 3]."""
    example = load(DATASET, pair)
    sample = Sample(example.image_rgb)
    return np.array([score(METHODS[method].run(sample, config), example.truths) for config in configs])


def score(labels: np.ndarray, truths: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Return covering, Rand index (both averaged over the people) and the number of segments."""
    tables = [contingency_table(truth, labels) for truth in truths]
    count = len(np.unique(labels))
    return float(np.mean([covering(t) for t in tables])), float(np.mean([rand_index(t) for t in tables])), count


def _diffcut(args: argparse.Namespace) -> tuple[list[str], Callable[[Pair], np.ndarray]]:
    return [f'tau {tau:g}' for tau in TAUS], partial(
        score_diffcut, backend=args.backend, alpha=args.alpha, refine=args.refine
    )


def _baseline(method: str, _: argparse.Namespace) -> tuple[list[str], Callable[[Pair], np.ndarray]]:
    settings = [dict(zip(_GRIDS[method], values, strict=True)) for values in product(*_GRIDS[method].values())]
    names = [', '.join(f'{option} {value}' for option, value in options.items()) for options in settings]
    configs = [METHODS[method].config(**options) for options in settings]
    return names, partial(score_settings, method=method, configs=configs)


# name -> function from the command's options to the names of the settings and the function that scores an image
_METHODS = {'diffcut': _diffcut, **{name: partial(_baseline, name) for name in _GRIDS}}


def _single_thread() -> None:
    # Images are spread over the cores; threads within an image would only get in their way.
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
