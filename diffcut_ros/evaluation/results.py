"""The folder of an evaluation's results.

settings.json says what they depend on, images.jsonl holds a line per image as it is done, so that an evaluation that
was interrupted goes on; from it, at the end, images.csv (a row per image) and results.json (the data set's figures).
"""

import base64
import csv
import dataclasses
import fcntl
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.evaluation.evaluator import ImageResult
from diffcut_ros.evaluation.matching import ClassCounts
from diffcut_ros.evaluation.metrics import Agreement, BoundaryCounts
from diffcut_ros.evaluation.protocols import Score
from diffcut_ros.plain_files import check_plain, open_plain
from diffcut_ros.printable import no_formula, printable
from diffcut_ros.writing import writing

SETTINGS, IMAGES, TABLE, RESULTS = 'settings.json', 'images.jsonl', 'images.csv', 'results.json'


class ResultsFolder:
    """Results of one evaluation; a context manager. No other process writes into it meanwhile.

    Args:
        path: of the folder; made where it is missing.
        about: all that the results depend on, as for JSON.
        resume: go on with an evaluation that was interrupted; one that is complete stays as it is.
        read: function from a line of images.jsonl, as from JSON, to the result that it was written from, a dataclass.
        row: function from a result to its row of images.csv.

    Attributes:
        done: name of the image -> its result, of those that were there.

    Raises:
        ValueError: for a folder that holds something else, such as links, results with other settings, or results
            without `resume`.
    """

    def __init__(
        self,
        path: Path,
        about: dict[str, Any],
        resume: bool,
        read: Callable[[dict[str, Any]], Any] | None = None,
        row: Callable[[Any], dict[str, Any]] | None = None,
    ) -> None:
        self.path = path
        self._result, self._row = read or _result, row or _row
        self._about = json.loads(json.dumps(about, default=str))
        if path.exists() and not path.is_dir():
            raise ValueError(f'{path}: expected a folder, received a file')
        path.mkdir(parents=True, exist_ok=True)
        names = SETTINGS, IMAGES, TABLE, RESULTS
        check_plain(path / name for name in (*names, *(_beginning(path / name).name for name in names)))
        if not (path / SETTINGS).exists() and {entry.name for entry in path.iterdir()} - {IMAGES}:
            raise ValueError(f'{path}: expected a new or empty folder, or results to --resume, received other files')
        self._file = open_plain(path / IMAGES)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.done = self._read()
            if self.done:
                _check_same(path, self._about, resume)
            else:
                write(path / SETTINGS, json.dumps(self._about, indent=2) + '\n')
        except BlockingIOError as error:
            self._file.close()
            raise ValueError(f'{path}: another evaluation is writing into this folder; take another one') from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> 'ResultsFolder':
        return self

    def __exit__(self, *_: object) -> None:
        with writing(self.path / IMAGES):
            self._file.close()

    def add(self, result: Any) -> None:
        """Write an image's result.

        Raises:
            ValueError: when its features are of another model than those of the others.
        """
        for other in self.done.values():
            if other.fingerprint != result.fingerprint:
                raise ValueError(
                    f'{self.path}: expected features of the same model as before to resume, received those of another; '
                    'evaluate it into another folder'
                )
            break
        with writing(self.path / IMAGES):
            self._file.write(json.dumps(dataclasses.asdict(result), default=_plain).encode() + b'\n')
            self._file.flush()
        self.done[result.image] = result

    def finish(self, summary: dict[str, Any], names: Sequence[str]) -> None:
        """Write the figures of the data set, and a row for each image in the order of its names."""
        rows = [self._row(self.done[name]) for name in names]
        text = io.StringIO(newline='')
        # An image without a labelled pixel has fewer columns.
        table = csv.DictWriter(text, max(rows, key=len))
        table.writeheader()
        table.writerows(rows)
        write(self.path / TABLE, text.getvalue())
        write(self.path / RESULTS, json.dumps(summary | self._about, indent=2) + '\n')

    def _read(self) -> dict[str, Any]:
        """Return the results that are there; a last line that was not written to its end is cut off."""
        self._file.seek(0)
        lines = self._file.read().split(b'\n')
        self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))
        try:
            results = [self._result(json.loads(line)) for line in lines[:-1]]
        except Exception as error:  # a boundary: damage shows as any exception of what reads it
            raise ValueError(f'{self.path / IMAGES}: expected a result per line, it is damaged: {error}') from error
        return {result.image: result for result in results}


def _check_same(path: Path, about: dict[str, Any], resume: bool) -> None:
    try:
        before = json.loads((path / SETTINGS).read_text())
        there, here = dict(_flat(before)), dict(_flat(about))
    except Exception as error:  # as above
        raise ValueError(f'{path / SETTINGS}: expected settings of an evaluation, it is damaged: {error}') from error
    differing = [
        f'{name} {there.get(name, "none")} there, {here.get(name, "none")} here'
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if differing:
        raise ValueError(f'{path}: holds results with other settings, take another folder: {"; ".join(differing)}')
    if not resume:
        state = (
            'complete: --resume shows them again'
            if (path / RESULTS).exists()
            else 'unfinished: --resume goes on with them'
        )
        raise ValueError(f'{path}: holds results with these settings, {state}; or take another folder')


def _flat(values: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the full names and values of nested settings."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def _row(result: ImageResult) -> dict[str, Any]:
    """Return a row of the table."""
    row: dict[str, Any] = {'image': no_formula(printable(result.image)), 'segments': result.segments}
    score = result.score
    if score.classes is not None:
        row |= {'mean_iou': score.classes.mean_iou(), 'pixel_accuracy': score.classes.pixel_accuracy()}
    if score.agreement is not None:
        row |= vars(score.agreement)
    if score.boundary is not None:
        boundary = score.boundary
        row |= {
            'boundary_precision': boundary.precision(),
            'boundary_recall': boundary.recall(),
            'boundary_f_measure': boundary.f_measure(),
        }
    return row | {
        'features_s': round(result.features_s, 6),
        'features_stored': result.stored,
        'method_s': round(result.method_s, 6),
    }


def _result(values: dict[str, Any]) -> ImageResult:
    score = values['score']
    classes, agreement, boundary = score['classes'], score['agreement'], score['boundary']
    score = Score(
        classes and ClassCounts(**{name: np.array(counts, np.int64) for name, counts in classes.items()}),
        agreement and Agreement(**agreement),
        boundary and BoundaryCounts(**boundary),
    )
    return ImageResult(**values | {'score': score})


def _plain(value: np.ndarray) -> list | str:
    """Return counts as numbers, and features, which are many, as base64 of their bytes; see `floats`."""
    return base64.b64encode(value).decode() if value.dtype == np.float32 else value.tolist()


def floats(text: str) -> np.ndarray:
    """Return the float32 values, in one row, that a line of images.jsonl holds as text."""
    return np.frombuffer(base64.b64decode(text, validate=True), np.float32)


def column(folder: Path, name: str) -> list[float]:
    """Return a column of a complete evaluation, in the order of its images."""
    with (folder / TABLE).open(newline='') as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def _beginning(path: Path) -> Path:
    return path.with_name(f'.{path.name}.writing')


def write(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    beginning = _beginning(path)
    with writing(path):
        try:
            beginning.unlink(missing_ok=True)  # it may be a link to another file
            with beginning.open('x', newline='', encoding='utf-8') as file:
                file.write(text)
            os.replace(beginning, path)
        finally:
            beginning.unlink(missing_ok=True)
