"""The paper's tables and curves: what was published, what is measured here, the difference."""

from diffcut_ros.evaluation.tables.paper import TABLES
from diffcut_ros.evaluation.tables.plot import check_plotly
from diffcut_ros.evaluation.tables.report import check_same, save, show
from diffcut_ros.evaluation.tables.request import Request
from diffcut_ros.evaluation.tables.rows import Cell, Row
from diffcut_ros.evaluation.tables.table import Table

__all__ = ['TABLES', 'Cell', 'Request', 'Row', 'Table', 'run_table']


def run_table(table: Table, request: Request) -> bool:
    """Measure a table, print it, and leave it as CSV, JSON and a plot in the request's folder.

    What is missing on this machine is said in its cell, and the rest is measured. The files are written anew after each
    row and data set, so an interrupted table leaves what it has, and goes on from there.

    Returns:
        Whether anything was measured.

    Raises:
        ValueError: for a folder that holds a table with other settings, or without the package plotly.
        OSError: when results cannot be written.
    """
    check_plotly()
    settings = request.describe()
    check_same(request.out, settings)
    request.out.mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    for row in table.rows:
        for dataset in row.published:
            cells += _measured(table, request, row, dataset)
            save(request.out, table, settings, cells)
    show(table, settings, cells)
    return any(cell.measured is not None for cell in cells)


def _measured(table: Table, request: Request, row: Row, dataset: str) -> list[Cell]:
    """Return the figures of a row on a data set, or one that says what is missing."""
    published = row.published[dataset]
    if row.method is None:
        return [Cell(row.title, dataset, published, note='published figure only')]
    try:
        return table.measure(request, row, dataset)
    except (ValueError, MemoryError) as error:
        return [Cell(row.title, dataset, published, note=str(error))]
