"""A table on the terminal, and as files: table.csv, table.json, table.html."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

from diffcut_ros.evaluation.results import write
from diffcut_ros.evaluation.tables.plot import plot
from diffcut_ros.evaluation.tables.rows import Cell
from diffcut_ros.evaluation.tables.table import Table
from diffcut_ros.printable import no_formula, printable

JSON, CSV, HTML = 'table.json', 'table.csv', 'table.html'
# Columns of a file or a pipe, where there is no terminal to fit.
_WIDTH = 160


def save(folder: Path, table: Table, settings: dict[str, Any], cells: list[Cell]) -> None:
    """Write a table, as far as it is measured, and its plot."""
    columns = ('row', 'dataset', 'x', 'published', 'measured', 'difference', 'images', 'note')
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(columns)
    for one in cells:
        row = {column: getattr(one, column) for column in columns}
        writer.writerow((row | {'note': no_formula(printable(one.note))}).values())
    about = {'title': table.title, 'figure': table.figure, 'settings': settings}
    write(folder / JSON, json.dumps(about | {'cells': [_described(cell) for cell in cells]}, indent=2) + '\n')
    write(folder / CSV, text.getvalue())
    write(folder / HTML, plot(table, headline(table, settings), cells))


def check_same(folder: Path, settings: dict[str, Any]) -> None:
    """Check that a folder holds no table with other settings.

    Raises:
        ValueError: when it does.
    """
    path = folder / JSON
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text())['settings']
        # Some are there only if they were given.
        differing = [
            f'{name} {before.get(name)} there, {settings.get(name)} here'
            for name in {**settings, **before}
            if before.get(name) != settings.get(name)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path}: expected a table, it is damaged: {error}') from error
    if differing:
        raise ValueError(f'{folder}: holds a table with other settings, take another -o: {"; ".join(differing)}')


def headline(table: Table, settings: dict[str, Any]) -> str:
    """Return the title, and what makes figures other than the paper's."""
    title = f'{table.title}; {table.figure}'
    if settings['limit']:
        title += f'; first {settings["limit"]} images only'
    if not settings['backend'].startswith('the paper'):
        title += f"; backend {settings['backend']} in place of the paper's models, not comparable with its figures"
    for row, model in settings.get('models', {}).items():
        title += f'; {row}: {model}'
    return title


def show(table: Table, settings: dict[str, Any], cells: list[Cell], left_out: list[str]) -> None:
    """Print a table; below it notes, which several cells may share, and names of rows that were not asked for."""
    notes = list(dict.fromkeys(cell.note for cell in cells if cell.note))
    over_x = table.x and any(cell.x is not None for cell in cells)
    printed = Printed(title=headline(table, settings), title_justify='left')
    for column in ('row', 'data set'):
        printed.add_column(column)
    for column in (*([table.x] if over_x else []), 'published', 'measured', 'difference', 'images', 'note'):
        printed.add_column(column, justify='right')
    for cell in cells:
        measured = [_number(value, table.decimals) for value in (cell.published, cell.measured)]
        difference = _number(cell.difference, table.decimals, '+')
        note = f'[{notes.index(cell.note) + 1}]' if cell.note else ''
        over = ['' if cell.x is None else f'{cell.x:g}'] if over_x else []
        printed.add_row(cell.row, cell.dataset, *over, *measured, difference, str(cell.images or ''), note)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(printed)
    for number, note in enumerate(notes, 1):
        console.print(f'[{number}] {note}', soft_wrap=True)
    if left_out:
        console.print(f'rows left out: {", ".join(left_out)} (--rows NAME,...)', soft_wrap=True)


def _number(value: float | None, decimals: int, sign: str = '') -> str:
    return '' if value is None else f'{value:{sign}.{decimals}f}'


def _described(cell: Cell) -> dict[str, Any]:
    return vars(cell) | {'difference': cell.difference}
