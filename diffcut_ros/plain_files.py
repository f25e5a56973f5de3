"""Files in folders that others may have made: a link there leads to files of the user, a pipe never ends."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


def check_plain(paths: Iterable[Path]) -> None:
    """Check that what lies at some paths, where something does, is a file or folder itself.

    Raises:
        ValueError: for a symbolic link, a pipe, a socket or a device.
    """
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            what = 'a symbolic link' if stat.S_ISLNK(mode) else 'a pipe, socket or device'
            raise ValueError(
                f'{path}: expected a plain file or folder, received {what}; remove it, or take another folder'
            )


def open_plain(path: Path) -> BinaryIO:
    """Open a file to be read and appended to, made where it is missing.

    Raises:
        ValueError: when it is no plain file, or has another name (a hard link), where it would change, too.
    """
    check_plain([path])
    # Neither followed nor waited for, if it became a link or a pipe since.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.fdopen(os.open(path, flags, 0o666), 'a+b')
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise ValueError(f'{path}: expected a file of one name, received one with others (hard links); remove it')
    return file


def read_plain(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: when it is no plain file, or a longer one.
        OSError: when it cannot be read.
    """
    check_plain([path])
    if (size := path.stat().st_size) > most_bytes:
        raise ValueError(f'{path}: expected at most {most_bytes / 1e6:.0f} MB, received {size / 1e6:.0f} MB')
    return path.read_bytes()
