"""Several recordings, each analysed by a process of its own: one that fails ends none of the others."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: the exit status of its process and the last line that it wrote."""

    bag: Path
    status: int
    text: str


def folder_names(bags: Sequence[Path]) -> list[str]:
    """Return the name of the folder of each recording's outputs: its own, without the ending.

    Raises:
        ValueError: when two would have the same.
    """
    names = [bag.resolve().stem if bag.is_file() else bag.resolve().name for bag in bags]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f'recordings: expected different names, since folders are named after them, received {twice}')
    return names


def analyze_many(
    bags: Sequence[Path], out: Path, arguments: Sequence[str], jobs: int, on_done: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run `diffcut_analyze` on each recording, `jobs` at a time, each with a folder in `out` of its name.

    Args:
        bags: the recordings.
        out: where the folders are.
        arguments: further ones of the command, for all.
        jobs: processes at a time.
        on_done: called with each outcome when it is there.

    Returns:
        The outcomes, in the order of the recordings.
    """
    folders = [out / name for name in folder_names(bags)]
    running: set[subprocess.Popen] = set()
    stopping = threading.Event()

    def analyze(bag: Path, folder: Path) -> Outcome:
        if stopping.is_set():
            return Outcome(bag, 1, 'not begun')
        command = [sys.executable, '-m', 'diffcut_ros.replay.main', str(bag), '-o', str(folder), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.add(process)
        lines = process.communicate()[0].strip().splitlines()
        running.discard(process)
        return Outcome(bag, process.returncode, lines[-1] if lines else f'ended with status {process.returncode}')

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(analyze, bag, folder) for bag, folder in zip(bags, folders, strict=True)]
        try:
            for future in as_completed(futures):
                on_done(future.result())
        except BaseException:
            stopping.set()
            for process in list(running):
                process.terminate()
            raise
    return [future.result() for future in futures]


def failures(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line for each recording that did not succeed in full."""
    for outcome in outcomes:
        if outcome.status:
            yield f'{outcome.bag}: {outcome.text} (exit status {outcome.status})'
