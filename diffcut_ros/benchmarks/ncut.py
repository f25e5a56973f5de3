"""`diffcut_benchmark ncut`: time, memory and quality of recursive Normalized Cut, beside other ways to cut a graph.

The graphs come from photographs: features of the color backend, and of a network with random weights laid out like a
diffusion encoder. All methods cut the same graphs in the same run. NCut is the sum of cut(A, V - A) / assoc(A, V) over
all segments A, divided by their number: the lower, the better. Other methods are left out above --others-up-to nodes,
where they take minutes.
"""

import argparse
import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.progress import MofNCompleteColumn
from rich.table import Table
from scipy.sparse.linalg import ArpackError

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks.baselines import scikit_image_ncut, spectral_clustering
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.graphs import FEATURES, photographs
from diffcut_ros.benchmarks.plain_ncut import plain_ncut
from diffcut_ros.core import SegmenterConfig, recursive_ncut
from diffcut_ros.core.affinity import graph_of
from diffcut_ros.evaluation.measure import machine, peak_bytes, timed
from diffcut_ros.features.registry import resolve_device
from diffcut_ros.progress import BarOrLines


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its tables.

    Raises:
        ValueError: for a device that is not there.
    """
    args.tau = SegmenterConfig(**given(args, 'tau')).tau
    device = resolve_device(args.device)
    console = Figures()
    console.print(machine(device))
    scaling = Table(title=f'recursive_ncut on {device.type}: median over photographs (range)')
    for column in ('features', 'nodes', f'tau {args.tau:g}', 'segments', f'tau {args.largest_tau:g}', 'segments'):
        scaling.add_column(column)
    for column in ('depth', 'a cut', 'memory'):
        scaling.add_column(column)
    others = Table(title=f'other methods at tau {args.tau:g}: median over photographs')
    for column in ('features', 'nodes', 'method', 'time', 'slower by (range)', 'segments', 'NCut'):
        others.add_column(column)
    for table in (scaling, others):
        console.begin(lambda table=table: table)
    growth = []
    images = photographs()[: args.photographs]
    with BarOrLines(MofNCompleteColumn()) as progress:
        task = progress.add_task('', total=len(args.features) * len(args.nodes) * len(images))
        for features in args.features:
            measured = []
            for nodes in sorted(args.nodes):
                results = []
                for image in images:
                    progress.update(task, description=f'{features}, {nodes} nodes')
                    graph = graph_of(FEATURES[features](image, math.isqrt(nodes))).to(device)
                    results.append(_measure(graph, args, others=nodes <= args.others_up_to))
                    progress.update(task, advance=1)
                scaling.add_row(features, str(nodes), *_scaling_row(results))
                if nodes <= args.others_up_to:
                    for name in results[0].methods:
                        others.add_row(features, str(nodes), name, *_method_row(results, name))
                measured.append((nodes, results))
            if len(measured) > 1:
                growth.append(_growth(features, measured))
    console.finish()
    for line in growth:
        console.print(line)


@dataclass(frozen=True)
class _Method:
    """One method on one graph: seconds, number of segments and NCut; NaN where it gave up."""

    seconds: float
    segments: float = math.nan
    ncut: float = math.nan


@dataclass(frozen=True)
class _Result:
    """What was measured of one graph."""

    seconds: float
    segments: int
    whole_seconds: float
    whole_segments: int
    depth: int
    cut_seconds: float
    memory: float | None
    methods: dict[str, _Method]


def _measure(graph: torch.Tensor, args: argparse.Namespace, others: bool) -> _Result:
    recursive_ncut(graph, args.largest_tau)  # the first run also sets up libraries
    seconds, tree = _median_time(lambda: recursive_ncut(graph, args.tau), args.repeats, graph.device)
    whole_seconds, whole = _median_time(lambda: recursive_ncut(graph, args.largest_tau), args.repeats, graph.device)
    # A fresh tree: what the first cut keeps for later ones is part of a cut.
    cut_seconds, labels = _median_time(lambda: replace(whole).cut(args.tau), args.repeats, torch.device('cpu'))
    return _Result(
        seconds=seconds,
        segments=int(labels.max()) + 1,
        whole_seconds=whole_seconds,
        whole_segments=int(whole.cut(args.largest_tau).max()) + 1,
        depth=int(whole.depth.max()),
        cut_seconds=cut_seconds,
        memory=peak_memory(lambda: recursive_ncut(graph, args.largest_tau), graph),
        methods=_compare(graph, args.tau, tree.cut(args.tau), seconds) if others else {},
    )


def _compare(graph: torch.Tensor, tau: float, labels: np.ndarray, seconds: float) -> dict[str, _Method]:
    """Cut one graph by every method, each once; ours is done."""
    affinity = graph.cpu().numpy()
    segments = int(labels.max()) + 1
    others = {
        "the paper's procedure": lambda: plain_ncut(graph, tau),
        'scikit-image cut_normalized': lambda: scikit_image_ncut(affinity, tau),
        'scikit-learn SpectralClustering': lambda: spectral_clustering(affinity, segments),
    }
    methods = {'recursive_ncut': _Method(seconds, segments, ncut_per_segment(affinity, labels))}
    for name, function in others.items():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # SpectralClustering warns of graphs that it takes for disconnected
            try:
                seconds, labels = timed(function, graph.device)
            except ArpackError:
                methods[name] = _Method(math.nan)
                continue
        methods[name] = _Method(seconds, len(np.unique(labels)), ncut_per_segment(affinity, labels))
    return methods


def _median_time(function: Callable, repeats: int, device: torch.device) -> tuple[float, Any]:
    """Return the median time in seconds of several calls, and the last result."""
    runs = [timed(function, device) for _ in range(repeats)]
    return statistics.median(seconds for seconds, _ in runs), runs[-1][1]


def peak_memory(function: Callable, graph: torch.Tensor) -> float | None:
    """Return the peak memory of a call, with its input, in copies of the graph's matrix; None where it is unknown.

    On a CPU, memory that the process had kept from before hides a part of it, so graphs of less than 32 MiB give None.
    """
    # The C library returns only large blocks to the system at once.
    if graph.device.type != 'cuda' and graph.nbytes <= 32 * 2**20:
        return None
    peak = peak_bytes(function, graph.device)
    return None if peak is None else 1 + peak / graph.nbytes


def ncut_per_segment(affinity: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over all segments A of cut(A, V - A) / assoc(A, V).

    Args:
        affinity: float [N, N].
        labels: int [N] of at least 0.
    """
    segments = np.eye(labels.max() + 1)[labels]
    segments = segments[:, segments.any(0)]
    inside = np.einsum('nk,nk->k', segments, affinity.astype(float) @ segments)
    assoc = affinity.sum(1, dtype=float) @ segments
    return float(np.mean(1 - inside / assoc))


def _scaling_row(results: list[_Result]) -> list[str]:
    memory = [result.memory for result in results if result.memory is not None]
    return [
        _milliseconds([result.seconds for result in results]),
        f'{statistics.median(result.segments for result in results):g}',
        _milliseconds([result.whole_seconds for result in results]),
        f'{statistics.median(result.whole_segments for result in results):g}',
        f'{statistics.median(result.depth for result in results):g}',
        f'{1000 * statistics.median(result.cut_seconds for result in results):.2f} ms',
        f'{max(memory):.1f} N²' if memory else '',
    ]


def _milliseconds(seconds: list[float]) -> str:
    return f'{1000 * statistics.median(seconds):.0f} ms ({1000 * min(seconds):.0f} to {1000 * max(seconds):.0f})'


def _method_row(results: list[_Result], name: str) -> list[str]:
    done = [(result.methods[name], result.seconds) for result in results if result.methods[name].seconds > 0]
    if not done:
        return ['gave up'] * 4
    ratios = [method.seconds / seconds for method, seconds in done]
    gave_up = f', {len(results) - len(done)} gave up' if len(done) < len(results) else ''
    return [
        f'{statistics.median(method.seconds for method, _ in done):.3g} s{gave_up}',
        f'{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})',
        f'{statistics.median(method.segments for method, _ in done):g}',
        f'{statistics.mean(method.ncut for method, _ in done):.3f}',
    ]


def _growth(features: str, measured: list[tuple[int, list[_Result]]]) -> str:
    """Fit time ~ N^e, with and without depth, to the whole hierarchies of all sizes."""
    nodes = np.log([nodes for nodes, results in measured for _ in results])
    seconds = np.array([result.whole_seconds for _, results in measured for result in results])
    depth = np.array([result.depth for _, results in measured for result in results])
    plain, by_depth = (np.polyfit(nodes, np.log(y), 1)[0] for y in (seconds, seconds / depth))
    return f'{features}: time of the whole hierarchy grows as N^{plain:.2f}, time / depth as N^{by_depth:.2f}'
