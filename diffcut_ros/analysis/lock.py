"""A lock on a folder, which ends with the process that holds it, however that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffcut_ros.plain_files import open_plain

# A file, since not every file system locks folders. It holds the number of the process; what counts is the lock on it.
LOCK = '.lock'


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; made where it is missing, and removed when it is empty at the end.

    Raises:
        ValueError: when another process holds it, or it is a file, or its lock is a link or no file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder}: expected a folder, received a file')
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    while True:
        file = open_plain(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            process = file.read(20).decode(errors='replace')
            file.close()
            raise ValueError(
                f'{folder}: expected a folder that no other analysis writes into, received one that process {process} '
                'does; wait for it, or take another folder'
            ) from error
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            break
        file.close()  # its holder has removed it since it was opened
    try:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # not empty
            folder.rmdir()
