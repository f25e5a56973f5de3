"""A device without one: PyTorch's fake tensors know shape, type and place, and hold no numbers.

They stand on the meta device, as a build of PyTorch without CUDA cannot index fake tensors on 'cuda'. An operation with
tensors of two devices fails, and so does one that the host would have to wait for: a value that Python asks for, or a
shape that depends on values. That kernels compute rightly, fit into memory or take part in a CUDA graph, only a GPU can
show; so it is with pinned memory and streams.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device('meta')


class _OnDevice(TorchDispatchMode):
    """Refuses what fake tensors allow and a CUDA graph does not: tensors on the host, such as indices or constants."""

    def __init__(self, answers: list[float]) -> None:
        super().__init__()
        self.answers = answers

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        if operation is torch.ops.aten._local_scalar_dense.default and self.answers:
            return self.answers.pop(0)
        result = operation(*arguments, **(options or {}))
        values = tree_leaves((arguments, options, result))
        places = {value.device for value in values if isinstance(value, torch.Tensor)}
        assert places <= {DEVICE}, f'{operation} has to do with {places}'
        return result


@contextmanager
def on_device(*answers: float) -> Iterator[None]:
    """Let everything run on fake tensors, and fail for a tensor on the host and for what the host would wait for.

    Args:
        answers: what the host reads when it asks the device for a value, one after the other; all have to be read.
    """
    left = list(answers)
    with FakeTensorMode(), torch.no_grad(), _OnDevice(left):
        yield
    assert not left


def fake(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same shape, strides and type on the device."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
