"""Running out of device memory: the memory is returned, and the error says what to do."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar('Result')
_SAID = 'out of memory on'


def check_memory(needed_bytes: float, device: torch.device, advice: str) -> None:
    """Refuse what would take more of the host's memory than there is: Linux grants it, and ends the process later.

    Args:
        needed_bytes: that are to be taken.
        device: where; others than the CPU refuse by themselves.
        advice: as for `within_memory`.

    Raises:
        MemoryError: when that is more than is free, swap included.
    """
    free = _free_bytes() if device.type == 'cpu' else math.inf
    if needed_bytes > free:
        sizes = f'{needed_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free'
        raise MemoryError(f'{_SAID} {device}: {advice} ({sizes})')


def _free_bytes() -> float:
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        return sum(int(lines[name].split()[0]) * 1024 for name in ('MemAvailable', 'SwapFree'))
    except (OSError, ValueError, KeyError):  # not Linux
        return math.inf


def within_memory(function: Callable[[], Result], device: torch.device, advice: str) -> Result:
    """Return what the function returns.

    Args:
        function: what is to be computed.
        device: where.
        advice: what it is and how it gets smaller; part of the error.

    Raises:
        MemoryError: when the device has too little memory. What the function had taken is free again.
    """
    try:
        return function()
    except (RuntimeError, MemoryError) as error:
        # Only PyTorch's own allocator raises OutOfMemoryError; libraries and the CPU's allocator have other words.
        words = ('out of memory', 'ALLOC_FAILED', 'DefaultCPUAllocator', 'Cannot allocate memory', 'Unable to allocate')
        known = isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
        if not known or str(error).startswith(_SAID):
            raise
        found = str(error)
    # Only here, with the error gone, nothing refers to the function's tensors any more.
    if device.type == 'cuda':
        torch.cuda.empty_cache()
    raise MemoryError(f'{_SAID} {device}: {advice} ({found.splitlines()[0]})')
