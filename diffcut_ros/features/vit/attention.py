"""Attention on a CPU that computes bfloat16.

PyTorch's fused attention computes in float32 there, and so at half the speed of the rest.
"""

from typing import Any

import torch
import transformers

_NAME = 'diffcut_by_head'
# Queries at a time: bounds the memory for weights, and keeps them in the cache where images are large.
_ROWS = 800


def attend_by_head(network: Any) -> None:
    """Have a network of `transformers` attend one head after the other, whose weights stay in the processor's cache.

    A version of `transformers` that does not allow it is left as it is: slower, and of the same features.
    """
    if hasattr(transformers, 'AttentionInterface') and hasattr(network, 'set_attn_implementation'):
        transformers.AttentionInterface.register(_NAME, _by_head)
        network.set_attn_implementation(_NAME)


def _by_head(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Return what queries [B, heads, N, C] attend to among as many keys, [B, N, heads, C]; without a mask."""
    query, key = query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3)
    result = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    for i in range(query.shape[1]):
        for first in range(0, query.shape[2], _ROWS):
            rows = slice(first, first + _ROWS)
            result[:, rows, i] = (query[:, i, rows] @ key[:, i]).softmax(-1) @ value[:, i]
    return result, None
