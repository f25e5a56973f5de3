"""What a process uses."""

import os
from pathlib import Path


def memory_and_threads(pid: int) -> tuple[float, int, int]:
    """Return megabytes of memory, threads and open files of a process."""
    status = _status(pid)
    return int(status['VmRSS'].split()[0]) / 1000, int(status['Threads']), len(os.listdir(f'/proc/{pid}/fd'))


def peak_memory(pid: int) -> float:
    """Return the most megabytes of memory that a process has used so far."""
    return int(_status(pid)['VmHWM'].split()[0]) / 1000


def catches(pid: int, number: int) -> bool:
    """Say whether a process handles a signal by itself."""
    return bool(int(_status(pid)['SigCgt'], 16) >> (number - 1) & 1)


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
