"""Several recordings, each analysed by itself: one that fails is tried again, and ends none of the others."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from diffcut_ros.analysis.parts import begun, merge_outputs, read_run
from diffcut_ros.analysis.run import Summary
from diffcut_ros.analysis.tables import Row
from diffcut_ros.exit_status import Status
from diffcut_ros.printable import file_name, printable

_RESUME = '--resume'
# Names of what lies beside the folders of recordings end in these.
_OF_FILES = ('.csv', '.parquet', '.html')


class Engine(Protocol):
    """What runs analyses; a context manager."""

    def __enter__(self) -> 'Engine': ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run `diffcut_analyze` with arguments for one recording; return its exit status and what it says."""

    def stop(self) -> None:
        """End all that run."""


class Processes:
    """Runs each analysis in a process of its own, with its share of the cores.

    Args:
        at_a_time: how many run at a time.
    """

    def __init__(self, at_a_time: int) -> None:
        share = max(1, len(os.sched_getaffinity(0)) // at_a_time)
        # Heard by PyTorch and by the linear algebra of NumPy and SciPy; who has set it is obeyed.
        self._environment = {'OMP_NUM_THREADS': str(share), **os.environ}
        self._running: set[subprocess.Popen] = set()
        self._starting, self._stopped = threading.Lock(), False

    def __enter__(self) -> 'Processes':
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run `diffcut_analyze` with arguments for one recording; return its exit status and its last line."""
        command = [sys.executable, '-m', 'diffcut_ros.analysis.main', *arguments]
        with self._starting:  # none begins once all are ended
            if self._stopped:
                return Status.FAILED, 'not begun'
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='backslashreplace',
                env=self._environment,
            )
            self._running.add(process)
        lines = process.communicate()[0].strip().splitlines()
        self._running.discard(process)
        return process.returncode, lines[-1] if lines else f'ended with status {process.returncode}'

    def stop(self) -> None:
        """End all that run."""
        with self._starting:
            self._stopped = True
            for process in list(self._running):
                process.terminate()


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: the exit status and what its analysis says of it, after all tries."""

    bag: Path
    folder: Path
    status: int
    text: str


def folder_names(bags: Sequence[Path]) -> list[str]:
    """Return the name of the folder of each recording's outputs: its own, without the ending, or one
    that can be a folder's there.

    Raises:
        ValueError: when two would have the same.
    """
    names = [_folder_name(bag.resolve()) for bag in bags]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f'recordings: expected different names, since folders are named after them, received {", ".join(twice)} '
            'twice; analyse them in calls of their own, with another folder'
        )
    return names


def _folder_name(bag: Path) -> str:
    name = file_name(bag.stem if bag.is_file() else bag.name)
    return f'{name}_' if name.endswith(_OF_FILES) else name


def analyze_many(
    bags: Sequence[Path],
    out: Path,
    arguments: Sequence[str],
    engine: Engine,
    at_a_time: int,
    retries: int,
    check_complete: Callable[[dict[str, Any], Path, Path], None],
    on_done: Callable[[Outcome], None],
) -> list[Outcome]:
    """Run `diffcut_analyze` on each recording, each with a folder in `out` of its name.

    Args:
        bags: the recordings.
        out: where the folders are.
        arguments: further ones of the command, for all.
        engine: what runs them.
        at_a_time: how many may be under way at a time.
        retries: how often one that failed is tried again; it goes on where it was. Wrong input stays wrong.
        check_complete: called with what run.json of a complete analysis says, its folder and the recording; raises
            ValueError if it is not the one that is asked for.
        on_done: called with each outcome when it is there.

    Returns:
        The outcomes, in the order of the recordings.
    """
    # Tasks may run elsewhere: nothing hangs on where this process is.
    bags, folders = [bag.resolve() for bag in bags], [out.resolve() / name for name in folder_names(bags)]
    stopping = threading.Event()
    # A sweep is made for complete ones, too.
    skips_complete = _RESUME in arguments and not any(argument.startswith('--sweep') for argument in arguments)

    def analyze(bag: Path, folder: Path) -> Outcome:
        if skips_complete and (run := read_run(folder)) is not None:
            try:
                check_complete(run, folder, bag)
            except ValueError as error:
                return Outcome(bag, folder, Status.BAD_INPUT, str(error))
            summary = Summary.of(run)
            return Outcome(bag, folder, summary.status, summary.text(bag, folder).removeprefix(f'{bag}: '))
        before, own = begun(folder), list(arguments)
        tries = 0
        while tries <= retries:
            tries += 1
            if stopping.is_set():
                return Outcome(bag, folder, Status.FAILED, 'not begun')
            status, text = engine.run([str(bag), '-o', str(folder), *own])
            if status in (0, Status.BAD_INPUT, Status.INCOMPLETE, Status.INTERRUPTED):
                break
            if begun(folder) - before:
                own = [argument for argument in arguments if argument not in (_RESUME, '--overwrite')] + [_RESUME]
        # Who tells it names the recording.
        text = text.removeprefix('diffcut_analyze: ').removeprefix(f'{bag}: ')
        return Outcome(bag, folder, status, text + f' (tried {tries} times)' * (tries > 1))

    with ThreadPoolExecutor(at_a_time) as pool:
        futures = [pool.submit(analyze, bag, folder) for bag, folder in zip(bags, folders, strict=True)]
        try:
            for future in as_completed(futures):
                on_done(future.result())
        except BaseException:
            stopping.set()
            engine.stop()
            raise
    return [future.result() for future in futures]


def merge(outcomes: Sequence[Outcome], out: Path, ending: str) -> None:
    """Write the tables of all recordings that were analysed as one each, and the table `recordings`.

    Raises:
        ValueError: when a recording has tables of another kind, from an analysis with other options.
        OSError: when they cannot be written.
    """
    folders = [outcome.folder for outcome in outcomes if outcome.status in (0, Status.INCOMPLETE)]
    merge_outputs(folders, out, ending, [_row(outcome) for outcome in outcomes])


def _row(outcome: Outcome) -> Row:
    """Return the values of `RECORDINGS`."""
    counts: tuple = (None,) * 3 + ('',)
    if outcome.status in (0, Status.INCOMPLETE):
        summary = Summary.of(read_run(outcome.folder))
        counts = summary.frames, summary.images, summary.problems, summary.lost
    return outcome.folder.name, outcome.status, *counts, printable(outcome.text)
