"""How many CPU threads compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Up to this many nodes, operations are too short to be handed out to several CPU threads: each waits for the slowest of
# them. With 2 threads on 2 cores, cuts of 1024 nodes took 0.9 to 1.8 times as long, and beside a busy core an affinity
# took 16 to 200 ms instead of 8. With 2304 nodes 2 threads gain 20 to 30 %.
_SINGLE_THREAD = 1600


def may_overlap(device: torch.device) -> bool:
    """Say whether the next image is prepared while one is finished, see `Pipeline`.

    Not with one core, nor where OMP_NUM_THREADS asks for one thread. A GPU does one thing after the other: what is
    to be finished there would wait for the features of the next image.
    """
    return device.type == 'cpu' and torch.get_num_threads() > 1


@contextmanager
def threads_for(n: int) -> Iterator[None]:
    """Let PyTorch compute on a single CPU thread, the caller's, for graphs of few nodes n."""
    if n > _SINGLE_THREAD:
        yield
        return
    with _threads(1):
        yield


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """Let PyTorch compute on one CPU thread less, if there are several: something else goes on beside it."""
    with _threads(max(1, torch.get_num_threads() - 1)):
        yield


@contextmanager
def _threads(count: int) -> Iterator[None]:
    # Of this thread: others keep theirs. One that first computes at this moment begins with as many and keeps that,
    # which only graphs of more nodes would notice.
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
