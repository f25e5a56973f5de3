"""Graphs of real photographs, many and varied, on any machine."""

import functools

import numpy as np
import torch
from skimage import data

from diffcut_ros.benchmarks.graphs import color_features, random_features
from diffcut_ros.core.affinity import graph_of

_PHOTOGRAPHS = ('coffee', 'astronaut', 'chelsea', 'rocket')


@functools.cache
def photograph_graph(seed: int, cells: int) -> torch.Tensor:
    """Return the affinity of a part of a photograph, float32 [N, N], N about cells^2.

    Even seeds have features of the colour backend, odd ones those of a network with random weights.

    Args:
        seed: decides on photograph, part, shape of the part and alpha.
        cells: along the shorter side; the grid of odd seeds is square, others are up to 1.5 times as long.
    """
    random = np.random.default_rng(seed)
    image = getattr(data, _PHOTOGRAPHS[seed // 2 % len(_PHOTOGRAPHS)])()[:, :, :3]
    short = int(random.uniform(0.4, 0.65) * min(image.shape[:2]))
    height, width = random.permutation([short, short if seed % 2 else int(random.uniform(1, 1.5) * short)])
    top, left = random.integers(image.shape[0] - height), random.integers(image.shape[1] - width)
    part = np.ascontiguousarray(image[top : top + height, left : left + width])
    features = random_features if seed % 2 else color_features
    return graph_of(features(part, cells), alpha=float(random.choice([5.0, 10.0, 15.0])))
