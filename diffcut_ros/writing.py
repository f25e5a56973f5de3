"""Errors of writing that say which file it was: of a full disk, the system says only that it is full."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WritingError(OSError):
    """A file cannot be written; the text, one line, says which and why."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file, or into a folder, inside.

    Raises:
        WritingError: for any OSError inside.
    """
    try:
        yield
    except WritingError:  # of a file of the folder
        raise
    except OSError as error:
        other = error.filename not in (None, path, str(path))
        # NumPy counts bytes, and does not say why.
        why = error if other else error.strerror or f'{error}; is the disk full?'
        raise WritingError(f'{path} cannot be written: {why}') from error
