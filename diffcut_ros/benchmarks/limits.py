"""How fast an image of the colour backend could be at most: what has to be computed and moved, over the core's peaks.

What has to be done is counted from below: each input is read and each output written once, whatever passes between them
stays in the core; a multiplication and an addition are two operations, an exponential or a cosine is one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table

from diffcut_ros.core import FeatureMap, SegmentTree

# Products with a subset's matrix that a search for its eigenvector takes at least; see `core.host_ncut`.
_PRODUCTS = 8
# Rounds of the diffusion, sweeps of each, directions of a sweep, and operations for a channel of a cell; see
# `features.color`.
_DIFFUSION = 2 * 3 * 2 * 6
# Pixels of a cell in which borders are sought, those around that each looks at, rounds, operations; see
# `core.refinement`.
_VOTES = 16 * 16 * 3 * 4


@dataclass(frozen=True)
class Work:
    """What a stage has to compute and to move at least."""

    operations: float
    bytes: float

    def seconds(self, rate: float, bandwidth: float) -> float:
        """Return the time that it takes at least, for operations and bytes per second."""
        return max(self.operations / rate, self.bytes / bandwidth)


def work(feature_map: FeatureMap, tree: SegmentTree, segments: int, alpha: float) -> dict[str, Work]:
    """Return the work of each stage of an image.

    Args:
        feature_map: of the colour backend.
        tree: the hierarchy of its cells.
        segments: number of segments it is cut into.
        alpha: exponent of the affinity.
    """
    assert feature_map.points is not None, 'points: expected those of the colour backend, received None'
    pixels, cells = np.prod(feature_map.image_size_hw), np.prod(feature_map.grid_hw)
    channels, dimensions = feature_map.features.shape[2], feature_map.points.shape[2]
    pairs = cells * (cells + 1) / 2
    # Half of each matrix is read: every number of it counts for its row and for its column.
    subsets = (tree.stop - tree.start).astype(float)
    looked_at = (subsets**2).sum() / 2
    return {
        'features': Work(
            6 * pixels + cells * (dimensions * (channels + _DIFFUSION) + channels), 3 * pixels + 4 * cells * channels
        ),
        'affinity': Work(pairs * (3 * dimensions + 3 + 2 * np.log2(alpha)), 4 * cells**2),
        'hierarchy': Work(_PRODUCTS * 4 * looked_at, 4 * cells**2 / 2 + 4 * _PRODUCTS * looked_at),
        'assignment': Work(2 * segments * cells * channels + 2 * pixels, 4 * cells * channels + 2 * pixels),
        'borders': Work(_VOTES * cells, (3 + 2 + 2) * pixels),
        'segments': Work(pixels, (2 + 1) * pixels),
    }


def peaks() -> tuple[float, float]:
    """Return operations and bytes per second of one core: of a matrix product, and of a sum over 4 MB."""
    side = 1024
    a, b = torch.randn(2, side, side)
    values = torch.randn(1_000_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return 2 * side**3 / _fastest(lambda: a @ b), 4 * len(values) / _fastest(values.sum)
    finally:
        torch.set_num_threads(threads)


def table(works: list[dict[str, Work]], medians: dict[str, float]) -> Table:
    """Return a table of the limits.

    Args:
        works: of some images, see `work`; their mean counts.
        medians: seconds that each stage took.
    """
    rate, bandwidth = peaks()
    result = Table(title=f'limits of one core: {rate / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s (both measured)')
    for column in ('stage', 'operations', 'bytes', 'at least', 'share of the limit'):
        result.add_column(column, justify='left' if column == 'stage' else 'right')
    for stage in works[0]:
        mean = Work(*(np.mean([getattr(each[stage], name) for each in works]) for name in ('operations', 'bytes')))
        least = mean.seconds(rate, bandwidth)
        result.add_row(
            stage,
            f'{mean.operations / 1e6:.1f} M',
            f'{mean.bytes / 1e6:.1f} MB',
            f'{1000 * least:.2f} ms',
            f'{least / medians[stage]:.0%}',
        )
    return result


def _fastest(function: Callable[[], object]) -> float:
    times = []
    for _ in range(20):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)
