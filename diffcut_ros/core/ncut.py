"""Recursive Normalized Cut (Shi & Malik 2000; DiffCut, section 3.2).

    symbol      meaning
    W           affinity matrix of the current subset V, symmetric, entries >= 0
    D, d        diagonal matrix of the degrees d_i = sum_j W_ij
    x           solution of (D - W) x = lambda D x with the second smallest lambda
    assoc(A)    sum of d_i over A, the weight that connects A to V
    NCut(A, B)  cut(A, B) / assoc(A) + cut(A, B) / assoc(B), for the two parts of V

The threshold on x with the lowest NCut splits V, if that value is below tau; both parts are split in turn. On a CPU
`host_ncut` does it. A GPU splits large subsets level by level (`eigenvectors`), and leaves small ones to the host.
"""

import threading
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from diffcut_ros.core.eigenvectors import BLOCK, FRESH, Graph, fresh_vectors, solve
from diffcut_ros.core.host_ncut import SYMMETRY, best_threshold, is_plain, memory_for
from diffcut_ros.core.tree import SegmentTree, TreeBuilder

# Up to this many nodes the host is as fast as a GPU, which waits for it at each level.
_SMALL = 80
# Rows of a matrix that are reordered at a time: bounds the memory, and what is summed next is still in the cache.
_ROWS = 128
# Numbers that a thread keeps memory for, at most: those of 1800 nodes.
_KEPT = 2_100_000
_of_thread = threading.local()


def recursive_ncut(
    affinity: torch.Tensor, tau: float = 0.5, *, tree: SegmentTree | None = None, checked: bool = False
) -> SegmentTree:
    """Split a graph recursively while the best split has an NCut value below tau.

    The same input gives the same tree, on each device, and a tree computed to a larger tau, or from another tree, has
    the same cuts: neither the search for eigenvectors nor where it starts depends on tau.

    Args:
        affinity: float32 [N, N], N >= 1, entries >= 0, symmetric (up to 1e-5 of a node's degree), on any device; see
            `affinity_matrix`. A node without any affinity is a segment of its own.
        tau: the largest threshold of interest, 0 to 2; the tree can be cut at any smaller one.
        tree: a hierarchy of the same affinity, to go on from where it ends.
        checked: whether the affinity is known to be as it must be, as that of `affinity_matrix` is. On a CPU only the
            diagonal and what is below it are then read.

    Returns:
        The hierarchy, with the NCut value of every split; `tree` itself where it reaches to this tau.

    Raises:
        ValueError: for a matrix that is not square, empty, not symmetric, or holds NaN, infinite or negative entries;
            for a tau out of range, and a tree of another number of nodes.
    """
    if not 0 <= tau <= 2:
        raise ValueError(f'tau: expected 0 to 2, received {tau}')
    with torch.inference_mode():
        affinity = affinity.detach().float()
        on_host = _on_host(affinity)
        if on_host:
            affinity = affinity.contiguous()
        square = affinity.ndim == 2 and len(affinity) == affinity.shape[1]
        if not (on_host and square and (checked or is_plain(affinity.numpy()))):
            affinity = _checked(affinity)
        n = len(affinity)
        fresh = None if on_host else fresh_vectors(n, BLOCK).to(affinity)
        if tree is None:
            tree = SegmentTree.undivided(n, fresh)
        if tree.n_nodes != n:
            raise ValueError(f'tree: expected one of this affinity, of {n} nodes, received one of {tree.n_nodes}')
        if tree.tau >= tau:
            return tree
        builder = TreeBuilder(tree, tau)
        if fresh is None:
            matrix, memory, start = affinity.numpy(), _host_memory(n), _start(n)
            for index in builder.waiting:
                builder.grow(index, matrix, builder.nodes(index).copy(), start, memory)
        else:
            _grow_on_device(builder, affinity, tree.vectors if tree.vectors is not None else fresh, fresh)
        return builder.build()


def _on_host(affinity: torch.Tensor) -> bool:
    """Return whether a graph is cut by `host_ncut` alone."""
    return affinity.device.type == 'cpu'


@lru_cache(maxsize=8)
def _start(n: int) -> np.ndarray:
    """Return what the host starts each search for an eigenvector from, float32 [n]."""
    return fresh_vectors(n, 1)[:, 0].numpy()


def _host_memory(n: int) -> np.ndarray:
    """Return what `host_ncut.grow` computes in, for graphs of n nodes.

    Each thread keeps that of a small graph: to take 5 MB anew for each image takes a tenth of a hierarchy's time.
    """
    size = memory_for(n)
    kept: np.ndarray | None = getattr(_of_thread, 'memory', None)
    if kept is not None and len(kept) >= size:
        return kept
    memory = np.empty(size, np.float32)  # NumPy asks Linux for large pages, PyTorch does not
    if size <= _KEPT:
        _of_thread.memory = memory
    return memory


def _checked(affinity: torch.Tensor) -> torch.Tensor:
    """Return the matrix as it can be cut, or raise the ValueError of `recursive_ncut`."""
    n = len(affinity) if affinity.ndim else 0
    if affinity.shape != (n, n) or n < 1:
        raise ValueError(f'affinity: expected a square matrix [N, N] with N >= 1, received {tuple(affinity.shape)}')
    low, high = (float(value) for value in affinity.aminmax())
    if not (low >= 0 and high < float('inf')):
        i, j = torch.nonzero(~(affinity >= 0) | torch.isinf(affinity))[0].tolist()
        raise ValueError(f'affinity: expected finite entries of at least 0, received {affinity[i, j]:g} at [{i}, {j}]')
    if high > 0 and not 1e-30 < high < 1e30:
        affinity = affinity / high  # NCut does not depend on the scale, sums and square roots in float32 do
    degree = affinity.sum(1)
    # W r = W^T r for a vector r without small entries; its changing signs keep the sums, and their rounding, small. To
    # compare all entries would take as long as a level of splits.
    uniform = torch.frac(torch.arange(n, device=affinity.device) * 0.618034)
    probe = torch.where(uniform < 0.5, uniform - 1, uniform)
    if bool(((affinity @ probe - affinity.T @ probe).abs() > SYMMETRY * degree).any()):
        i, j = divmod(int((affinity - affinity.T).abs().argmax()), n)
        raise ValueError(
            f'affinity: expected a symmetric matrix, received {affinity[i, j]:g} at [{i}, {j}] and '
            f'{affinity[j, i]:g} at [{j}, {i}]; symmetrise it, as by (W + W.T) / 2'
        )
    # A node without any affinity gets some to itself: that makes it a part of its own, which is cut off at no cost.
    isolated = degree == 0
    return affinity + torch.diag(isolated) if isolated.any() else affinity


class _Large(NamedTuple):
    """A large subset that waits for its split: index in the tree, graph nodes, int64 [n], and its part of the graph."""

    tree_index: int
    nodes: torch.Tensor
    graph: Graph


def _grow_on_device(builder: TreeBuilder, affinity: torch.Tensor, vectors: torch.Tensor, fresh: torch.Tensor) -> None:
    """Split all that waits: large subsets on the affinity's device, then small ones on the host.

    Args:
        builder: takes the splits.
        affinity: float32 [N, N].
        vectors: float32 [N, BLOCK], where the search for eigenvectors goes on from.
        fresh: float32 [N, BLOCK], what fresh vectors are made of.
    """
    waiting = [(index, torch.from_numpy(builder.nodes(index)).to(affinity.device)) for index in builder.waiting]
    large = [_with_graph(*subset, affinity, vectors) for subset in waiting if len(subset[1]) > _SMALL]
    small = [subset for subset in waiting if len(subset[1]) <= _SMALL] + _split_large(large, builder, fresh)
    if not small:
        return
    # One transfer for all subsets.
    parts = [affinity.index_select(0, nodes).index_select(1, nodes).flatten() for _, nodes in small]
    values = torch.cat(parts).cpu().numpy()
    for index, nodes in small:
        builder.end(index, nodes)
    builder.settle()
    memory, start = _host_memory(_SMALL), _start(_SMALL)
    for index, nodes in small:
        n = len(nodes)
        matrix, values = values[: n * n].reshape(n, n), values[n * n :]
        builder.grow(index, matrix, np.arange(n), start, memory)


def _with_graph(index: int, nodes: torch.Tensor, affinity: torch.Tensor, vectors: torch.Tensor) -> _Large:
    """Return a large subset with its part of the graph."""
    if len(nodes) == len(affinity):
        return _Large(index, nodes, Graph(affinity, affinity.sum(1), vectors, BLOCK))
    return _Large(index, nodes, _part(affinity.index_select(0, nodes).index_select(1, nodes), vectors[nodes]))


def _part(affinity: torch.Tensor, block: torch.Tensor) -> Graph:
    """Return a part of a graph; nodes without any affinity get some to themselves, in place, see `_checked`."""
    degree = affinity.sum(1)
    isolated = degree == 0
    affinity.diagonal().add_(isolated)
    return Graph(affinity, degree + isolated, block, FRESH)


def _split_large(waiting: list[_Large], tree: TreeBuilder, fresh: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    """Split, level by level, while subsets are large; return the small ones: index in the tree, graph nodes."""
    if not waiting:
        return []
    # The matrices of a level are blocks on the diagonal of one: two take turns, as new memory at each split takes time.
    nodes = sum(len(subset.nodes) for subset in waiting)
    present, following = torch.empty(2, nodes, nodes, device=fresh.device)
    small = []
    while waiting:
        waiting, rest = _split_level(waiting, tree, fresh, following)
        present, following = following, present
        small += rest
    return small


def _split_level(
    subsets: list[_Large], tree: TreeBuilder, fresh: torch.Tensor, memory: torch.Tensor
) -> tuple[list[_Large], list[tuple[int, torch.Tensor]]]:
    """Split the subsets of one level; return the parts, large and small.

    Args:
        subsets: of the level.
        tree: takes the splits.
        fresh: float32 [N, BLOCK], vectors to start from.
        memory: float32 [N, N], takes the matrices of the parts, and before what the search for eigenvectors needs; no
            matrix of the level may lie in it.
    """
    graphs = [subset.graph for subset in subsets]
    starts = [graph.block for graph in graphs]
    ordered = []
    offset = 0
    for subset, graph, start, x in zip(subsets, graphs, starts, solve(graphs, tree.tau, memory), strict=True):
        if x is None:
            tree.end(subset.tree_index, subset.nodes)
            # Not what the iteration has come to: from the same start, a larger tau finds the same vector at any time.
            tree.keep(subset.nodes, start)
        else:
            place = slice(offset, offset + len(x))
            offset = place.stop
            ordered.append((subset, graph, *_in_order(graph, x, memory[place, place]), place))
    if not ordered:
        return [], []
    sums = torch.cat([sums for *_, sums, _ in ordered], 1).cpu().double().numpy()  # one transfer for the whole level
    large, small = [], []
    for subset, graph, rank, _, place in ordered:
        n = len(rank)
        affinity = memory[place, place]
        value, k = best_threshold(*sums[:, place])
        nodes = subset.nodes[rank]
        block = torch.cat([graph.block[rank, :-FRESH], fresh[:n, :FRESH]], 1)
        indices = tree.split(subset.tree_index, value, k)
        if indices is None:
            tree.end(subset.tree_index, nodes)
            tree.keep(nodes, block)
            continue
        for index, part in zip(indices, (slice(0, k), slice(k, n)), strict=True):
            if len(nodes[part]) > _SMALL:
                large.append(_Large(index, nodes[part], _part(affinity[part, part], block[part])))
            else:
                small.append((index, nodes[part]))
    return large, small


def _in_order(graph: Graph, x: torch.Tensor, affinity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Put a graph into the order of x.

    Args:
        graph: of n nodes.
        x: float32 [n].
        affinity: float32 [n, n], takes the ordered matrix.

    Returns:
        The order, int64 [n], and the arguments of `best_threshold`, float32 [3, n].
    """
    rank = torch.argsort(x, stable=True)
    before = torch.empty_like(x)
    for a in range(0, len(rank), _ROWS):
        b = min(a + _ROWS, len(rank))
        # Not with `out`: into a view with gaps PyTorch copies each number by itself, in 15 times the time.
        rows = graph.affinity.index_select(0, rank[a:b]).index_select(1, rank)
        affinity[a:b] = rows
        before[a:b] = rows[:, :a].sum(1) + rows[:, a:b].tril(-1).sum(1)
    return rank, torch.stack([graph.degree[rank], before, affinity.diagonal()])
