"""What each part of a vision transformer takes on a CPU, beside what it takes at least."""

import statistics
import time
from typing import Any

import torch
from rich.table import Table
from torch.overrides import TorchFunctionMode

from diffcut_ros.features.vit.extractor import VitExtractor

# Part -> the functions it consists of, and the operations that are counted for it.
_PARTS = {
    'patches': ({'conv2d'}, {'convolution'}),
    'linear maps': ({'linear'}, {'addmm', 'mm'}),
    'attention': ({'scaled_dot_product_attention', 'matmul', 'softmax'}, {'bmm', 'baddbmm'}),
}
_REST = 'norms, activations and others'


def table(extractor: VitExtractor, pixels: torch.Tensor, rate: float, repeats: int) -> Table:
    """Return a table of the parts.

    Args:
        extractor: on a CPU.
        pixels: an image as its `upload` gives it.
        rate: operations per second (multiply and add are two) of a large matrix product.
        repeats: runs, whose median counts.
    """
    counted = extractor.operations(pixels)
    result = Table(title=f'parts of the network: {rate / 1e9:.0f} GFLOP/s in a large matrix product')
    for column in ('part', 'operations', 'at least', 'takes', 'share of the limit'):
        result.add_column(column, justify='left' if column == 'part' else 'right')
    for part, seconds in _seconds(extractor, pixels, repeats).items():
        _, names = _PARTS.get(part, ((), ()))
        operations = sum(count for name, count in counted.items() if name in names)
        least = operations / rate
        figures = (f'{operations / 1e9:.2f} G', f'{1000 * least:.1f} ms') if operations else ('', '')
        share = f'{least / seconds:.0%}' if operations else ''
        result.add_row(part, *figures, f'{1000 * seconds:.1f} ms', share)
    return result


def _seconds(extractor: VitExtractor, pixels: torch.Tensor, repeats: int) -> dict[str, float]:
    """Return part -> seconds, of the median run."""
    runs = []
    for _ in range(repeats + 1):
        with _Timer() as timer:
            extractor.features(pixels)
        runs.append(timer.seconds)
    return {part: statistics.median(run[part] for run in runs[1:]) for part in runs[0]}  # the first prepares


class _Timer(TorchFunctionMode):
    """Times the functions of PyTorch that are called inside, without those that they call."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = dict.fromkeys((*_PARTS, _REST), 0.0)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        begun = time.perf_counter()
        result = function(*args, **(kwargs or {}))
        took = time.perf_counter() - begun
        name = getattr(function, '__name__', '').strip('_')
        part = next((part for part, (functions, _) in _PARTS.items() if name in functions), _REST)
        self.seconds[part] += took
        return result
