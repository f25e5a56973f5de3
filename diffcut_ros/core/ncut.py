"""Recursive Normalized Cut (Shi & Malik 2000; DiffCut, section 3.2).

    symbol      meaning
    W           affinity matrix of the current subset V, symmetric, entries >= 0
    D, d        diagonal matrix of the degrees d_i = sum_j W_ij
    x           solution of (D - W) x = lambda D x with the second smallest lambda
    assoc(A)    sum of d_i over A, the weight that connects A to V
    NCut(A, B)  cut(A, B) / assoc(A) + cut(A, B) / assoc(B), for the two parts of V

The threshold on x with the lowest NCut splits V, if that value is below tau; both parts are split in turn. Large subsets
are split level by level on the graph's device, then the small ones that are left, level by level on the host.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from diffcut_ros.core.eigenvectors import BLOCK, Graph, dense_second_eigenvector, solve
from diffcut_ros.core.thresholds import SortedGraphs, best_thresholds
from diffcut_ros.core.tree import SegmentTree, TreeBuilder

THRESHOLDS = ('exact', 'linspace100')
# Up to this many nodes a dense eigenvector costs less than an iteration.
_SMALL = 96
# Rows of a matrix that are reordered at a time: bounds the memory, and what is summed next is still in the cache.
_ROWS = 256
# Share of pseudo-random vectors in what a part inherits, for what its parent's block does not hold.
_FRESH = 0.05
# Up to this many nodes products are too short to be handed out to several CPU threads.
_SINGLE_THREAD = 1600


def recursive_ncut(affinity: torch.Tensor, tau: float = 0.5, thresholds: str = 'exact') -> SegmentTree:
    """Split a graph recursively while the best split has an NCut value below tau.

    The same input gives the same tree, on each device.

    Args:
        affinity: float32 [N, N], N >= 1, symmetric, entries >= 0, on any device; see `affinity_matrix`. A node
            without any affinity is a segment of its own.
        tau: the largest threshold of interest, 0 to 2; the tree can be cut at any smaller one.
        thresholds: 'exact' takes the best of all thresholds on x; 'linspace100' the best of the 100 that the authors'
            procedure tries, for comparison with it.

    Returns:
        The hierarchy, with the NCut value of every split.

    Raises:
        ValueError: for a matrix that is not square, empty, not symmetric, or holds NaN, infinite or negative entries;
            for a tau out of range and unknown thresholds.
    """
    if not 0 <= tau <= 2:
        raise ValueError(f'tau: expected 0 to 2, received {tau}')
    if thresholds not in THRESHOLDS:
        raise ValueError(f'thresholds: expected one of {", ".join(THRESHOLDS)}, received {thresholds!r}')
    check_affinity(affinity)
    n = len(affinity)
    tree = TreeBuilder(n, tau)
    with torch.inference_mode():
        with _single_thread() if n <= _SINGLE_THREAD else nullcontext():
            small = _split_large(affinity.float(), tree, thresholds)
        with _single_thread():
            _split_small(small, tree, thresholds)
    return tree.build()


def check_affinity(affinity: torch.Tensor) -> None:
    """Raise ValueError unless this is a matrix [N, N], N >= 1, symmetric, of finite entries of at least 0."""
    if affinity.ndim != 2 or affinity.shape[0] != affinity.shape[1] or affinity.shape[0] < 1:
        raise ValueError(f'affinity: expected a square matrix [N, N] with N >= 1, received {tuple(affinity.shape)}')
    low, high = affinity.aminmax()
    if not (low >= 0 and torch.isfinite(high)):
        i, j = torch.nonzero(~((affinity >= 0) & torch.isfinite(affinity)))[0].tolist()
        raise ValueError(f'affinity: expected finite entries of at least 0, received {affinity[i, j]:g} at [{i}, {j}]')
    # By blocks: a whole transposed copy is slow, as each of its rows touches every page of the matrix.
    for a in range(0, len(affinity), _ROWS):
        for b in range(0, a + 1, _ROWS):
            block, mirrored = affinity[a : a + _ROWS, b : b + _ROWS], affinity[b : b + _ROWS, a : a + _ROWS].T
            if not torch.allclose(block, mirrored, rtol=1e-4, atol=1e-5 * float(high)):
                i, j = divmod(int((block - mirrored).abs().argmax()), block.shape[1])
                raise ValueError(
                    f'affinity: expected a symmetric matrix, received {block[i, j]:g} at [{a + i}, {b + j}] '
                    f'and {mirrored[i, j]:g} at [{b + j}, {a + i}]; symmetrise it, as by (W + W.T) / 2'
                )


class _Subset(NamedTuple):
    """A subset that waits for its split.

    Attributes:
        index: in the tree.
        affinity: float32 [n, n].
        nodes: int64 [n], graph nodes.
        block: float32 [n, BLOCK], start for the eigenvector.
    """

    index: int
    affinity: torch.Tensor
    nodes: torch.Tensor
    block: torch.Tensor


def _split_large(affinity: torch.Tensor, tree: TreeBuilder, thresholds: str) -> list[_Subset]:
    """Split, level by level, while subsets are large; return the small ones."""
    n = len(affinity)
    isolated = affinity.sum(1) == 0
    if isolated.any():  # `Graph` would give them affinity in the caller's matrix
        affinity = affinity + torch.diag(isolated)
    # A fixed seed makes results repeat; numbers drawn on the host are the same for every device.
    fresh = torch.randn(n, BLOCK, generator=torch.Generator().manual_seed(0)).to(affinity)
    waiting, small = [_Subset(0, affinity, torch.arange(n, device=affinity.device), fresh)], []
    while waiting:
        small += [subset for subset in waiting if len(subset.nodes) <= _SMALL]
        waiting = [subset for subset in waiting if len(subset.nodes) > _SMALL]
        waiting = _split_level(waiting, tree, thresholds, fresh) if waiting else []
    return small


def _split_level(subsets: list[_Subset], tree: TreeBuilder, thresholds: str, fresh: torch.Tensor) -> list[_Subset]:
    """Split the subsets of one level; return the parts."""
    graphs = [Graph(subset.affinity, subset.block) for subset in subsets]
    ordered = []
    for subset, graph, x in zip(subsets, graphs, solve(graphs, tree.tau), strict=True):
        if x is None:
            tree.end(subset.index, subset.nodes)
        else:
            ordered.append((subset, graph, *_in_order(graph, x)))
    if not ordered:
        return []
    sums = torch.cat([sums for *_, sums in ordered], 1).cpu().double().numpy()  # one transfer for the whole level
    parts = []
    offset = 0
    for subset, graph, rank, affinity, _ in ordered:
        n = len(rank)
        own = sums[:, None, offset : offset + n]
        offset += n
        value, position = best_thresholds(SortedGraphs(np.array([n]), *own), thresholds)
        nodes, k = subset.nodes[rank], int(position[0])
        indices = tree.split(subset.index, float(value[0]), k)
        if indices is None:
            tree.end(subset.index, nodes)
            continue
        block = graph.block[rank] + _FRESH / n**0.5 * fresh[:n]
        for index, part in zip(indices, (slice(0, k), slice(k, n)), strict=True):
            parts.append(_Subset(index, affinity[part, part], nodes[part], block[part]))
    return parts


def _in_order(graph: Graph, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the order of x, int64 [n], the affinity in that order, [n, n], and the rows of `SortedGraphs`, [4, n]."""
    rank = torch.argsort(x, stable=True)
    affinity = torch.empty(graph.affinity.shape, dtype=x.dtype, device=x.device)
    before = torch.empty_like(x)
    for a in range(0, len(rank), _ROWS):
        b = min(a + _ROWS, len(rank))
        rows = torch.index_select(graph.affinity.index_select(0, rank[a:b]), 1, rank, out=affinity[a:b])
        before[a:b] = rows[:, :a].sum(1) + rows[:, a:b].tril(-1).sum(1)
    return rank, affinity, torch.stack([x[rank], graph.degree[rank], before, affinity.diagonal()])


class _Part(NamedTuple):
    """A small subset on the host: rows of a matrix, float64 [stride, stride], that starts at `offset` of a buffer."""

    index: int
    offset: int
    stride: int
    nodes: np.ndarray
    rows: np.ndarray


def _split_small(subsets: list[_Subset], tree: TreeBuilder, thresholds: str) -> None:
    """Split small subsets to the end, on the host, all of one level and similar size in one batch."""
    if not subsets:
        return
    affinity = torch.cat([subset.affinity.reshape(-1) for subset in subsets]).cpu().double().numpy()
    nodes = torch.cat([subset.nodes for subset in subsets]).cpu().numpy()
    sizes = np.array([len(subset.nodes) for subset in subsets])
    level = [
        _Part(subset.index, offset, size, own, np.arange(size))
        for subset, offset, size, own in zip(
            subsets,
            (np.cumsum(sizes**2) - sizes**2).tolist(),
            sizes.tolist(),
            np.split(nodes, np.cumsum(sizes)[:-1]),
            strict=True,
        )
    ]
    while level:
        for part in level:
            if len(part.rows) == 1:
                tree.end(part.index, part.nodes[part.rows])
        level = [part for part in level if len(part.rows) > 1]
        level.sort(key=_size_class)
        batches = [list(batch) for _, batch in groupby(level, _size_class)]
        level = [part for batch in batches for part in _split_batch(batch, affinity, tree, thresholds)]


def _size_class(part: _Part) -> int:
    """Return the exponent of the power of 2 that the part is padded to."""
    return (len(part.rows) - 1).bit_length()


def _split_batch(parts: list[_Part], buffer: np.ndarray, tree: TreeBuilder, thresholds: str) -> list[_Part]:
    """Split small subsets of the same size class; return their parts."""
    sizes = np.array([len(part.rows) for part in parts])
    # Padding to the class, not to the largest of the batch: sums do not depend on what else is in the batch.
    padded = 2 ** _size_class(parts[0])
    rows = np.zeros((len(parts), padded), np.int64)
    for i, part in enumerate(parts):
        rows[i, : sizes[i]] = part.rows
    present = np.arange(padded) < sizes[:, None]
    first = np.array([part.offset for part in parts])[:, None, None]
    stride = np.array([part.stride for part in parts])[:, None, None]
    affinity = buffer[first + stride * rows[:, :, None] + rows[:, None, :]]
    affinity *= present[:, :, None] & present[:, None, :]
    degree = affinity.sum(2)
    isolated = present & (degree == 0)
    if isolated.any():  # as in `Graph`
        affinity[:, np.arange(padded), np.arange(padded)] += isolated
        degree += isolated
    x = np.full(rows.shape, np.inf)
    for i, size in enumerate(sizes.tolist()):
        x[i, :size] = dense_second_eigenvector(affinity[i, :size, :size], degree[i, :size])
    rank = np.argsort(x, 1, kind='stable')
    place = np.argsort(rank, 1)
    before = np.where(place[:, None, :] < place[:, :, None], affinity, 0).sum(2)
    itself = np.diagonal(affinity, axis1=1, axis2=2)
    in_order = [np.take_along_axis(values, rank, 1) for values in (x, degree, before, itself)]
    value, position = best_thresholds(SortedGraphs(sizes, *in_order), thresholds)
    rows = np.take_along_axis(rows, rank, 1)
    result = []
    for part, own, size, v, k in zip(parts, rows, sizes.tolist(), value.tolist(), position.tolist(), strict=True):
        indices = tree.split(part.index, v, k)
        if indices is None:
            tree.end(part.index, part.nodes[own[:size]])
        else:
            result.append(part._replace(index=indices[0], rows=own[:k]))
            result.append(part._replace(index=indices[1], rows=own[k:size]))
    return result


@contextmanager
def _single_thread() -> Iterator[None]:
    """Let PyTorch compute on a single CPU thread: short operations lose more by waking others than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
