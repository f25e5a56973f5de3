"""Running out of device memory: the memory is returned, and the error says what to do."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar('Result')


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
    except RuntimeError as error:
        # Only PyTorch's own allocator raises OutOfMemoryError; libraries and the CPU's allocator have other words.
        words = ('out of memory', 'ALLOC_FAILED', 'DefaultCPUAllocator', 'Cannot allocate memory')
        if not isinstance(error, torch.OutOfMemoryError) and not any(word in str(error) for word in words):
            raise
        found = str(error)
    # Only here, with the error gone, nothing refers to the function's tensors any more.
    if device.type == 'cuda':
        torch.cuda.empty_cache()
    raise MemoryError(f'out of memory on {device}: {advice} ({found.splitlines()[0]})')
