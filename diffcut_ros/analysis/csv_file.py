"""Tables as CSV, read and written."""

import csv
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from diffcut_ros.printable import no_formula

# Lists of large grids are longer than the reader takes by itself.
_LONGEST_FIELD = 2**31 - 1


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], texts: Sequence[bool]) -> None:
    """Write a table; None is an empty field.

    Args:
        path: of the file.
        header: names of the columns.
        rows: their values.
        texts: for each column, whether it holds text, which spreadsheets shall not take for a formula.
    """
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(header)
        for row in rows:
            pairs = zip(row, texts, strict=True)
            writer.writerow([no_formula(value) if text and value is not None else value for value, text in pairs])


def append_file(part: Path, path: Path) -> None:
    """Write the rows of a table after those of another one of the same columns."""
    with path.open('ab') as file, part.open('rb') as rows:
        next(rows)
        shutil.copyfileobj(rows, file)


def append_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows as `read_csv` yields them after those of a table."""
    with path.open('a', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(rows)


def read_csv(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a table, the names of the columns first.

    Raises:
        ValueError: for a file that is no such table.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with path.open(newline='', encoding='utf-8') as file:
        try:
            yield from csv.reader(file)
        except csv.Error as error:
            raise ValueError(f'{path}: expected a table as CSV, it is damaged: {error}') from error
