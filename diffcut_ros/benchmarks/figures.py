"""What a benchmark prints, and keeps for `--json`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from diffcut_ros.writing import writing

# What was printed by this process.
_lines: list[str] = []
_tables: list[Table] = []
# What makes the tables that are being filled.
_begun: list[Callable[[], Table]] = []


class Figures(Console):
    """The terminal; a table in a file or a pipe needs no folding."""

    def __init__(self) -> None:
        super().__init__(width=None if sys.stdout.isatty() else 120, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, see `Console.print`."""
        super().print(*objects, **options)
        for one in objects:
            if isinstance(one, Table):
                _tables.append(one)
            else:
                _lines.append(str(one))

    def begin(self, make: Callable[[], Table]) -> None:
        """Take note of a table that is being filled: `finish` prints it, also when the benchmark is interrupted.

        Args:
            make: returns the table with what was measured so far.
        """
        _begun.append(make)

    def finish(self) -> None:
        """Print what was begun, but for tables without rows."""
        for table in [make() for make in _begun]:
            if table.row_count:
                self.print(table)
        _begun.clear()


def tell_interrupted() -> None:
    """Print the tables that were being filled, with what was measured until then, if there are any."""
    if any(make().row_count for make in _begun):
        console = Figures()
        console.print('Interrupted: what was measured until then.')
        console.finish()


def write_json(path: Path, command: list[str], problem: str) -> None:
    """Write what was printed so far: the command's words, lines, tables as titles, columns and rows of text.

    Args:
        path: of the file.
        command: what was asked for.
        problem: why the benchmark ended early; empty: it did not.

    Raises:
        WritingError: when it cannot be written.
    """
    tables = [
        {
            'title': str(table.title or ''),
            'columns': [str(column.header) for column in table.columns],
            'rows': [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)],
        }
        for table in _tables
    ]
    content = {'command': command, 'problem': problem, 'lines': _lines, 'tables': tables}
    with writing(path):
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
