"""What each part of a vision transformer takes on a CPU, beside what it takes at least."""

import statistics
from collections import defaultdict

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

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
    runs: dict[str, list[float]] = defaultdict(list)
    for run in range(-1, repeats):
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            extractor.features(pixels)
        if run < 0:  # the first prepares
            continue
        parts = dict.fromkeys((*_PARTS, _REST), 0.0)
        for event in profiled.events():
            if event.cpu_parent is None:
                parts[_part(event.name.removeprefix('aten::'))] += event.cpu_time_total / 1e6
        for part, seconds in parts.items():
            runs[part].append(seconds)
    return {part: statistics.median(seconds) for part, seconds in runs.items()}


def _part(function: str) -> str:
    return next((part for part, (functions, _) in _PARTS.items() if function in functions), _REST)
