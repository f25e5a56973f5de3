"""Hierarchies as an analysis stores them: each further cut of an image needs no features."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from diffcut_ros.analysis.csv_file import read_csv
from diffcut_ros.core import SegmentTree
from diffcut_ros.core.tree import cut_order


@dataclass(frozen=True)
class Hierarchy:
    """The hierarchy of an image's cells.

    Attributes:
        grid_hw: rows and columns of the grid of cells.
        tau: how far it goes; cuts reach up to it.
        order: int64 [N], the cells, row by row, in an order in which each segment of each cut is a range.
        begins: int64 [B], rising: where a segment may begin in that order, beside the first.
        begins_tau: float64 [B]: at each tau above it, one does.
    """

    grid_hw: tuple[int, int]
    tau: float
    order: np.ndarray
    begins: np.ndarray
    begins_tau: np.ndarray

    @staticmethod
    def of(tree: SegmentTree, grid_hw: tuple[int, int]) -> 'Hierarchy':
        """Return that of a tree of cells."""
        return Hierarchy(grid_hw, tree.tau, tree.order, *tree.boundaries())

    def cut(self, tau: float) -> np.ndarray:
        """Return int64 [N], the segment of each cell, 0..K-1, as `SegmentTree.cut` numbers them.

        Raises:
            ValueError: for a tau beyond the hierarchy's.
        """
        if not tau <= self.tau:
            raise ValueError(
                f'tau: expected at most {self.tau:g}, how far the stored hierarchy goes, received {tau:g}; '
                'analyse the recording anew with --hierarchy-tau to that tau'
            )
        return cut_order(self.order, self.begins[self.begins_tau < tau])


def read_hierarchies(path: Path) -> Iterator[tuple[int, Hierarchy]]:
    """Yield stamp in ns and hierarchy of each image of a table `hierarchies`, .parquet or .csv."""
    for stamp_ns, rows, columns, tau, *lists in _rows(path):
        order, begins = (np.asarray(values, np.int64) for values in lists[:2])
        yield stamp_ns, Hierarchy((rows, columns), tau, order, begins, np.asarray(lists[2], np.float64))


def _rows(path: Path) -> Iterator[tuple]:
    if path.suffix == '.csv':
        yield from ([json.loads(value) for value in row] for row in islice(read_csv(path), 1, None))
        return
    import pyarrow.parquet

    with path.open('rb') as file:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(64):
            # Whole lists at once: one by one, `to_pylist` takes longer than the cuts.
            yield from zip(*(list(column.to_numpy(zero_copy_only=False)) for column in batch.columns), strict=True)
