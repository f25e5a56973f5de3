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
    except torch.OutOfMemoryError as error:
        found = str(error)
    except RuntimeError as error:
        if 'DefaultCPUAllocator' not in str(error):  # PyTorch's word for the same on a CPU
            raise
        found = str(error)
    # Only here, with the error gone, nothing refers to the function's tensors any more.
    if device.type == 'cuda':
        torch.cuda.empty_cache()
    raise MemoryError(f'out of memory on {device}: {advice} ({found.splitlines()[0]})')
