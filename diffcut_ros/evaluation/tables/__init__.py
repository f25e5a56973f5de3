"""The paper's tables and curves: what was published, what is measured here, the difference."""

import dataclasses

from diffcut_ros.evaluation.tables.paper import TABLES
from diffcut_ros.evaluation.tables.plot import check_plotly
from diffcut_ros.evaluation.tables.report import check_same, save, show
from diffcut_ros.evaluation.tables.request import Request
from diffcut_ros.evaluation.tables.rows import Cell, Row
from diffcut_ros.evaluation.tables.table import Table

__all__ = ['TABLES', 'Cell', 'Request', 'Row', 'Table', 'run_table']


def run_table(table: Table, request: Request) -> tuple[bool, list[str]]:
    """Measure a table, print it, and leave it as CSV, JSON and a plot in the request's folder.

    What is missing on this machine is said in its cell, and the rest is measured. The files are written anew after each
    row and data set, so an interrupted table leaves what it has, and goes on from there.

    Returns:
        Whether anything was measured, and the names of rows that could not be although their data set is there.

    Raises:
        ValueError: for a folder that holds a table with other settings, a row that is not known, or without the package
            plotly.
        OSError: when results cannot be written.
    """
    check_plotly()
    rows = request.wanted(table.rows)
    settings = request.describe()
    check_same(request.out, settings)
    request.out.mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    failed: dict[str, None] = {}
    for row in rows:
        for dataset in row.published:
            found, complete = _measured(table, request, row, dataset)
            if not complete:
                failed[row.name] = None
            cells += found
            save(request.out, table, settings, cells)
            table.finish(request, rows)
    left_out = [row.name for row in table.rows if row not in rows and row.method is not None]
    show(table, settings, cells, left_out)
    return any(cell.measured is not None for cell in cells), list(failed)


def _measured(table: Table, request: Request, row: Row, dataset: str) -> tuple[list[Cell], bool]:
    """Return the figures of a row on a data set, or one that says what is missing; False where it is more than data."""
    missing = Cell(row.title, dataset, row.published[dataset])
    if row.method is None:
        return [dataclasses.replace(missing, note='published figure only')], True
    try:
        request.dataset(dataset)
    except ValueError as error:
        return [dataclasses.replace(missing, note=str(error))], True
    try:
        return table.measure(request, row, dataset), True
    except (ValueError, MemoryError) as error:
        return [dataclasses.replace(missing, note=str(error))], False
