"""One command of the set-up as one line on the terminal; what it prints goes to a log."""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TAIL_LINES = 20
QUIET_S = 30  # without a terminal (a log of continuous integration), say this often that work goes on


class CommandFailedError(Exception):
    """A command of the set-up ended with an error; `tail` has the last lines it printed."""

    def __init__(self, message: str, tail: str):
        super().__init__(message)
        self.tail = tail


class Step:
    """A numbered line that is rewritten while its commands run and ends with the time they took."""

    def __init__(self, title: str):
        self._title = title
        self._start_s = self._shown_s = time.monotonic()
        self._live = sys.stdout.isatty()
        print(title, end='' if self._live else '\n', flush=True)

    def show(self, note: str) -> None:
        """Rewrites the line on a terminal; elsewhere prints it now and then."""
        now_s = time.monotonic()
        line = f'{self._title}  {now_s - self._start_s:.0f} s  {note}'
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            print(f'\r\033[K{line[:width]}', end='', flush=True)
        elif now_s - self._shown_s > QUIET_S:
            self._shown_s = now_s
            print(line, flush=True)

    def end(self) -> None:
        """Leaves the title and the time."""
        elapsed_s = time.monotonic() - self._start_s
        print(f'\r\033[K{self._title}  {elapsed_s:.0f} s' if self._live else f'      {elapsed_s:.0f} s', flush=True)

    def run(
        self,
        command: list[str | Path],
        log: Path,
        note: Callable[[str], str | None] = lambda line: None,
        env: dict[str, str] | None = None,
        keep_open: tuple[int, ...] = (),
    ) -> None:
        """Runs a command to its end.

        `note` makes a short text of an output line worth showing (None: not worth it). `keep_open` are file
        descriptors that the command inherits. Raises CommandFailedError.
        """
        with log.open('ab') as log_file:
            begin = log_file.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=keep_open,
            )
            shown, rest = '', b''
            while True:
                if select.select([process.stdout], [], [], 1.0)[0]:
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        break
                    log_file.write(chunk)
                    *lines, rest = (rest + chunk).split(b'\n')
                    for line in lines:
                        shown = note(line.decode(errors='replace')) or shown
                self.show(shown)
        if process.wait() != 0:
            if self._live:
                print()
            printed = log.read_bytes()[begin:].decode(errors='replace').splitlines()
            raise CommandFailedError(
                f'{Path(command[0]).name} ended with {process.returncode}', '\n'.join(printed[-TAIL_LINES:])
            )
