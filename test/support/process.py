"""What a process uses."""

import os
from pathlib import Path


def memory_and_threads(pid: int) -> tuple[float, int, int]:
    """Return megabytes of memory, threads and open files of a process."""
    status = dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())
    return int(status['VmRSS'].split()[0]) / 1000, int(status['Threads']), len(os.listdir(f'/proc/{pid}/fd'))
