"""What a table or curve of the paper is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from diffcut_ros.evaluation.tables.request import Request
from diffcut_ros.evaluation.tables.rows import Cell, Row


@dataclass(frozen=True)
class Table:
    """A table or curve.

    Attributes:
        title: as it is printed.
        measure: function from a request, a row of the table and one of its data sets to cells. Raises ValueError and
            MemoryError for what cannot be measured, OSError where nothing can be written.
        rows: in order.
        figure: what is measured, with its unit.
        decimals: that are shown.
        x: name of what a curve is over; empty: a table, whose plot has bars.
        y: name of what the curves show, where that is not the figure.
        finish: of a request and rows, called after each: brings together what several of them left.
    """

    title: str
    measure: Callable[[Request, Row, str], list[Cell]]
    rows: tuple[Row, ...]
    figure: str = 'mIoU, %'
    decimals: int = 1
    x: str = ''
    y: str = ''
    finish: Callable[[Request, Sequence[Row]], None] = lambda request, rows: None
