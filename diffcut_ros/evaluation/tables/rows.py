"""Rows of a table, which are measured, and its cells, which come out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


def file_name(title: str) -> str:
    """Return a title as the name of a file or folder."""
    return re.sub(r'[^\w.]+', '_', title.lower()).strip('_')


@dataclass(frozen=True)
class Row:
    """One system, on one or several data sets.

    Attributes:
        title: of the row, as text; names its folder of results.
        published: data set, a key of `DATASETS` or `ANY`, -> the paper's figure; None: measured, but not in the paper.
        method: key of `METHODS`; None: the figures are published ones alone.
        options: of method and backend, as of `--set`.
        backend: the paper's model.
        refine: by the protocol: none or pamr.
        values: of what a curve is over, or what is chosen from.
        note: what to know about it.
        compared: whether its model is what it stands for, beside the paper's, so that no `--backend` replaces it.
    """

    title: str
    published: Mapping[str, float | None]
    method: str | None = 'diffcut'
    options: Mapping[str, str] = field(default_factory=dict)
    backend: str = 'ssd-1b'
    refine: str = 'none'
    values: tuple[float, ...] = ()
    note: str = ''
    compared: bool = False

    @property
    def name(self) -> str:
        """What it is called on the command line and in the names of folders."""
        return file_name(self.title)


@dataclass(frozen=True)
class Cell:
    """One figure.

    Attributes:
        row: title of its row, with what it is of where a row has several on one data set.
        dataset: what it was measured on.
        published: in the paper; None where it is not there.
        measured: here; None where something is missing, which `note` says.
        images: number of them that were measured.
        x: where it lies on a curve.
        note: what to know about it.
        curve: points (x, y), for a figure that is a measure of a curve.
    """

    row: str
    dataset: str
    published: float | None
    measured: float | None = None
    images: int = 0
    x: float | None = None
    note: str = ''
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def difference(self) -> float | None:
        """Measured less published."""
        if self.published is None or self.measured is None:
            return None
        return self.measured - self.published
