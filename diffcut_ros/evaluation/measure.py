"""Time and memory, and what they were measured on."""

import ctypes
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

Result = TypeVar('Result')

# Share of the time from which on a machine counts as busy.
_BUSY = 0.05
_RESET, _STATUS = Path('/proc/self/clear_refs'), Path('/proc/self/status')


def machine(device: torch.device) -> str:
    """Say what the figures were measured on."""
    processor = f'{os.cpu_count()} CPU cores'
    if device.type == 'cuda':
        processor = f'{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}'
    return (
        f'{processor}, {platform.machine()}, Python {platform.python_version()}, PyTorch {torch.__version__} '
        f'({torch.get_num_threads()} threads), NumPy {np.__version__}'
    )


def timed(function: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """Return the time of a call in seconds, until the device is done with it, and its result."""
    start = synchronized_time(device)
    result = function()
    return synchronized_time(device) - start, result


def synchronized_time(device: torch.device) -> float:
    """Return the time in seconds at which a device has done all that it was given."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Waiting:
    """How long this process's threads wait for a processor that others have, from here on (Linux only)."""

    def __init__(self) -> None:
        self._begin = _processor_ns()

    def share(self) -> float | None:
        """Return the time waited as a share of the time waited or computed, of all threads; None where unknown."""
        ran_ns, waited_ns = (now - before for now, before in zip(_processor_ns(), self._begin, strict=True))
        return waited_ns / (ran_ns + waited_ns) if ran_ns > 0 and waited_ns >= 0 else None

    def told(self) -> str:
        """Say that times are too long where the share is more than a twentieth; else, and where unknown, nothing."""
        share = self.share()
        if share is None or share < _BUSY:
            return ''
        return (
            f'The machine was busy: for {share:.0%} of the time, what could have run waited for a processor. Times are '
            'too long; shares of a limit are too small.'
        )


def _processor_ns() -> tuple[int, int]:
    """Return how long the threads have run, and waited to run, in ns; zeros where the system does not say."""
    ran_ns = waited_ns = 0
    for file in Path('/proc/self/task').glob('*/schedstat'):
        with suppress(OSError):  # a thread that has ended meanwhile
            ran, waited, _ = file.read_text().split()
            ran_ns, waited_ns = ran_ns + int(ran), waited_ns + int(waited)
    return ran_ns, waited_ns


def peak_bytes(function: Callable[[], object], device: torch.device) -> int | None:
    """Return by how much memory grew at most during a call, in bytes; None where it is unknown.

    On a CPU it is the growth of the process (Linux only), without what it had kept from before.
    """
    if device.type == 'cuda':
        # Reserved, not allocated: the memory of a CUDA graph stays reserved for it.
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        return torch.cuda.max_memory_reserved(device) - before
    if not _RESET.exists():
        return None
    # What the C library keeps of earlier calls would hide what this one takes; others than glibc have no such function.
    if trim := getattr(ctypes.CDLL(None), 'malloc_trim', None):
        trim(0)
    _RESET.write_text('5')  # sets the peak to the present size, see proc(5)
    before = _status_bytes('VmRSS')
    function()
    return _status_bytes('VmHWM') - before


def _status_bytes(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
