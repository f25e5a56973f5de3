"""Label images as runs: pieces of rows with one label each, some thousands where there are 300,000 pixels."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.part_graph import Pairs


@dataclass(frozen=True, eq=False)
class Runs:
    """The R runs of a label image, row by row.

    Attributes:
        size_hw: height and width of the image, px.
        begin, end: int64 [R], first pixel and last pixel + 1, counted row by row over the image.
        label: [R], of its pixels.
    """

    size_hw: tuple[int, int]
    begin: np.ndarray
    end: np.ndarray
    label: np.ndarray

    @staticmethod
    def of(labels: np.ndarray) -> 'Runs':
        """Return the runs of integers [H, W] with at least one pixel."""
        flat = labels.ravel()
        begins = np.ones(flat.shape, bool)
        np.not_equal(flat[1:], flat[:-1], out=begins[1:])
        begins[:: labels.shape[1]] = True
        begin = np.flatnonzero(begins)
        return Runs(labels.shape, begin, np.append(begin[1:], flat.size), flat[begin])

    @cached_property
    def length(self) -> np.ndarray:
        """Number of pixels of each run, int64 [R]."""
        return self.end - self.begin

    @cached_property
    def touching(self) -> Pairs:
        """The pairs of runs that touch with a side, as indices: first those below each other, then those beside."""
        width = self.size_hw[1]
        pairs = np.empty((2, 2 * len(self.begin)), np.int64)
        above, below = pairs[:, : _below(self.begin, self.end, width, pairs)]
        left = np.flatnonzero(self.end[:-1] % width)
        return np.concatenate([above, left]), np.concatenate([below, left + 1])

    def painted(self, values: np.ndarray) -> np.ndarray:
        """Return the image [H, W] in which each run has its value of [R]."""
        return np.repeat(values, self.length).reshape(self.size_hw)


@compiled('int64(int64[::1], int64[::1], int64, int64[:, ::1])')
def _below(begin: np.ndarray, end: np.ndarray, width: int, pairs: np.ndarray) -> int:
    """Write the pairs of runs that lie below each other to `pairs`, [2, any]; return their number.

    Two rows of a and b runs have at most a + b - 1 of them.
    """
    count, first = 0, 0
    for run in range(len(begin)):
        while first < len(begin) and end[first] <= begin[run] + width:
            first += 1
        other = first
        while other < len(begin) and begin[other] < end[run] + width:
            pairs[0, count], pairs[1, count] = run, other
            count += 1
            other += 1
    return count
