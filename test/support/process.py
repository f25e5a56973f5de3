"""What a process uses."""

import os
from pathlib import Path


def memory_and_threads(pid: int) -> tuple[float, int, int]:
    """Return megabytes of memory, threads and open files of a process."""
    status = _status(pid)
    return int(status['VmRSS'].split()[0]) / 1000, int(status['Threads']), len(os.listdir(f'/proc/{pid}/fd'))


def cpu_s(pid: int) -> float:
    """Return for how many seconds a process has computed so far, of its own, on all cores."""
    ticks = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[11])
    return ticks / os.sysconf('SC_CLK_TCK')


def has_loaded(pid: int, library: str) -> bool:
    """Say whether a process has loaded a shared library with this in its path."""
    return any(library in line for line in Path(f'/proc/{pid}/maps').read_text().splitlines() if '.so' in line)


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
