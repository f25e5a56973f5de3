"""Recursive Normalized Cut (Shi & Malik 2000; DiffCut, section 3.2).

    symbol      meaning
    W           affinity matrix of the current subset V, symmetric, entries >= 0
    D, d        diagonal matrix of the degrees d_i = sum_j W_ij
    x           solution of (D - W) x = lambda D x with the second smallest lambda
    assoc(A)    sum of d_i over A, the weight that connects A to V
    NCut(A, B)  cut(A, B) / assoc(A) + cut(A, B) / assoc(B), for the two parts of V

The threshold on x with the lowest NCut splits V, if that value is below tau; both parts are split in turn. Large
subsets are split level by level on the graph's device, then the small ones that are left, level by level on the host.
"""

from bisect import bisect_left
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from diffcut_ros.core.eigenvectors import BLOCK, FRESH, Graph, dense_second_eigenvectors, fresh_vectors, solve
from diffcut_ros.core.threads import threads_for
from diffcut_ros.core.thresholds import SortedGraphs, best_thresholds
from diffcut_ros.core.tree import SegmentTree, TreeBuilder

# Up to this many nodes LAPACK on the host, one batch per level, costs no more than an iteration of its own. By whole
# hierarchies of 1024 nodes, a line at 48, 64, 80 or 96 makes no difference on an idle machine. From 88 nodes on, LAPACK
# hands work to other threads, which spin while they wait: with 96, beside one busy core of 2, it took twice as long.
_SMALL = 80
# Sizes that small subsets are padded to: few, as each makes a batch of its own in every level.
_PADDED = (8, 24, _SMALL)
# Rows of a matrix that are reordered at a time: bounds the memory, and what is summed next is still in the cache.
_ROWS = 128
# Difference between a node's affinity to others and theirs to it, as a share of its degree, that passes for rounding.
_SYMMETRY = 1e-5


def recursive_ncut(affinity: torch.Tensor, tau: float = 0.5, *, tree: SegmentTree | None = None) -> SegmentTree:
    """Split a graph recursively while the best split has an NCut value below tau.

    The same input gives the same tree, on each device, and a tree computed to a larger tau, or from another tree, has
    the same cuts: neither the search for eigenvectors nor where it starts depends on tau.

    Args:
        affinity: float32 [N, N], N >= 1, entries >= 0, symmetric (up to 1e-5 of a node's degree), on any device; see
            `affinity_matrix`. A node without any affinity is a segment of its own.
        tau: the largest threshold of interest, 0 to 2; the tree can be cut at any smaller one.
        tree: a hierarchy of the same affinity, to go on from where it ends.

    Returns:
        The hierarchy, with the NCut value of every split; `tree` itself where it reaches to this tau.

    Raises:
        ValueError: for a matrix that is not square, empty, not symmetric, or holds NaN, infinite or negative entries;
            for a tau out of range, and a tree of another number of nodes.
    """
    if not 0 <= tau <= 2:
        raise ValueError(f'tau: expected 0 to 2, received {tau}')
    with torch.inference_mode(), threads_for(len(affinity) if affinity.ndim else 0):
        affinity = _checked(affinity.float())
        n = len(affinity)
        fresh = fresh_vectors(n, BLOCK).to(affinity)
        if tree is None:
            tree = SegmentTree.undivided(fresh)
        if tree.n_nodes != n:
            raise ValueError(f'tree: expected one of this affinity, of {n} nodes, received one of {tree.n_nodes}')
        if tree.tau >= tau:
            return tree
        builder = TreeBuilder(tree, tau)
        waiting = _unfinished(tree, builder, affinity.device)
        small = [subset for subset in waiting if len(subset.nodes) <= _SMALL]
        large = [_with_graph(subset, affinity, tree.vectors) for subset in waiting if len(subset.nodes) > _SMALL]
        small += _split_large(large, builder, fresh)
        with threads_for(_SMALL):
            _split_small(small, affinity, builder)
    return builder.build()


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
    if bool(((affinity @ probe - affinity.T @ probe).abs() > _SYMMETRY * degree).any()):
        i, j = divmod(int((affinity - affinity.T).abs().argmax()), n)
        raise ValueError(
            f'affinity: expected a symmetric matrix, received {affinity[i, j]:g} at [{i}, {j}] and '
            f'{affinity[j, i]:g} at [{j}, {i}]; symmetrise it, as by (W + W.T) / 2'
        )
    # A node without any affinity gets some to itself: that makes it a part of its own, which is cut off at no cost.
    isolated = degree == 0
    return affinity + torch.diag(isolated) if isolated.any() else affinity


class _Subset(NamedTuple):
    """A subset that waits for its split: index in the tree, and graph nodes, int64 [n]."""

    tree_index: int
    nodes: torch.Tensor


class _Large(NamedTuple):
    """A large subset that waits for its split: index in the tree, graph nodes, int64 [n], and its part of the graph."""

    tree_index: int
    nodes: torch.Tensor
    graph: Graph


def _unfinished(tree: SegmentTree, builder: TreeBuilder, device: torch.device) -> list[_Subset]:
    """Return the subsets that a tree has to be grown from; splits that it knows already are made now."""
    waiting = []
    order = torch.from_numpy(tree.order).to(device)
    for index in np.flatnonzero((tree.children[:, 0] < 0) & (tree.size > 1)).tolist():
        start, middle, stop = tree.start[index], tree.middle[index], tree.stop[index]
        if np.isinf(tree.ncut[index]):
            waiting.append(_Subset(index, order[start:stop]))
        elif indices := builder.split(index, tree.ncut[index], middle - start):
            waiting += [_Subset(indices[0], order[start:middle]), _Subset(indices[1], order[middle:stop])]
    return waiting


def _with_graph(subset: _Subset, affinity: torch.Tensor, vectors: torch.Tensor) -> _Large:
    """Return a large subset with its part of the graph."""
    nodes = subset.nodes
    if len(nodes) == len(affinity):
        return _Large(subset.tree_index, nodes, Graph(affinity, affinity.sum(1), vectors, BLOCK))
    return _Large(
        subset.tree_index, nodes, _part(affinity.index_select(0, nodes).index_select(1, nodes), vectors[nodes])
    )


def _part(affinity: torch.Tensor, block: torch.Tensor) -> Graph:
    """Return a part of a graph; nodes without any affinity get some to themselves, in place, see `_checked`."""
    degree = affinity.sum(1)
    isolated = degree == 0
    affinity.diagonal().add_(isolated)
    return Graph(affinity, degree + isolated, block, FRESH)


def _split_large(waiting: list[_Large], tree: TreeBuilder, fresh: torch.Tensor) -> list[_Subset]:
    """Split, level by level, while subsets are large; return the small ones."""
    if not waiting:
        return []
    # The matrices of a level are blocks on the diagonal of one: two take turns, as new memory at each split takes time.
    present, following = _memory(sum(len(subset.nodes) for subset in waiting), fresh.device)
    small = []
    while waiting:
        largest = max(len(subset.nodes) for subset in waiting)
        with threads_for(largest):
            waiting, rest = _split_level(waiting, tree, fresh, following)
        present, following = following, present
        small += rest
    return small


def _split_level(
    subsets: list[_Large], tree: TreeBuilder, fresh: torch.Tensor, memory: torch.Tensor
) -> tuple[list[_Large], list[_Subset]]:
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
        value, position = best_thresholds(SortedGraphs(np.array([n]), *sums[:, None, place]))
        nodes, k = subset.nodes[rank], int(position[0])
        block = torch.cat([graph.block[rank, :-FRESH], fresh[:n, :FRESH]], 1)
        indices = tree.split(subset.tree_index, float(value[0]), k)
        if indices is None:
            tree.end(subset.tree_index, nodes)
            tree.keep(nodes, block)
            continue
        for index, part in zip(indices, (slice(0, k), slice(k, n)), strict=True):
            if len(nodes[part]) > _SMALL:
                large.append(_Large(index, nodes[part], _part(affinity[part, part], block[part])))
            else:
                small.append(_Subset(index, nodes[part]))
    return large, small


def _in_order(graph: Graph, x: torch.Tensor, affinity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Put a graph into the order of x.

    Args:
        graph: of n nodes.
        x: float32 [n].
        affinity: float32 [n, n], takes the ordered matrix.

    Returns:
        The order, int64 [n], and the rows x to itself of `SortedGraphs`, float32 [4, n].
    """
    rank = torch.argsort(x, stable=True)
    before = torch.empty_like(x)
    for a in range(0, len(rank), _ROWS):
        b = min(a + _ROWS, len(rank))
        # Not with `out`: into a view with gaps PyTorch copies each number by itself, in 15 times the time.
        rows = graph.affinity.index_select(0, rank[a:b]).index_select(1, rank)
        affinity[a:b] = rows
        before[a:b] = rows[:, :a].sum(1) + rows[:, a:b].tril(-1).sum(1)
    return rank, torch.stack([x[rank], graph.degree[rank], before, affinity.diagonal()])


class _Part(NamedTuple):
    """A small subset on the host: rows of a matrix, float64 [stride, stride], that starts at `offset` of a buffer."""

    tree_index: int
    offset: int
    stride: int
    nodes: np.ndarray
    rows: np.ndarray


def _split_small(subsets: list[_Subset], affinity: torch.Tensor, tree: TreeBuilder) -> None:
    """Split small subsets to the end, on the host, all of one level and similar size in one batch."""
    if not subsets:
        return
    sizes = np.array([len(subset.nodes) for subset in subsets])
    nodes = np.split(torch.cat([subset.nodes for subset in subsets]).cpu().numpy(), np.cumsum(sizes)[:-1])
    places = torch.from_numpy(np.concatenate([(own[:, None] * len(affinity) + own).ravel() for own in nodes]))
    buffer = affinity.reshape(-1)[places.to(affinity.device)].cpu().double().numpy()  # one transfer for all subsets
    level = [
        _Part(subset.tree_index, offset, size, own, np.arange(size))
        for subset, offset, size, own in zip(
            subsets, (np.cumsum(sizes**2) - sizes**2).tolist(), sizes.tolist(), nodes, strict=True
        )
    ]
    while level:
        for part in level:
            if len(part.rows) == 1:
                tree.end(part.tree_index, part.nodes[part.rows])
        level = [part for part in level if len(part.rows) > 1]
        level.sort(key=_padded_size)
        batches = [list(batch) for _, batch in groupby(level, _padded_size)]
        level = [part for batch in batches for part in _split_batch(batch, buffer, tree)]


def _padded_size(part: _Part) -> int:
    """Return the size that the matrix of the part is padded to."""
    return _PADDED[bisect_left(_PADDED, len(part.rows))]


def _split_batch(parts: list[_Part], buffer: np.ndarray, tree: TreeBuilder) -> list[_Part]:
    """Split small subsets of the same size class; return their parts."""
    sizes = np.array([len(part.rows) for part in parts])
    # Padding to the class, not to the largest of the batch: sums do not depend on what else is in the batch.
    padded = _padded_size(parts[0])
    rows = np.zeros((len(parts), padded), np.int64)
    for i, part in enumerate(parts):
        rows[i, : sizes[i]] = part.rows
    present = np.arange(padded) < sizes[:, None]
    first = np.array([part.offset for part in parts])[:, None, None]
    stride = np.array([part.stride for part in parts])[:, None, None]
    affinity = buffer[first + stride * rows[:, :, None] + rows[:, None, :]]
    affinity *= present[:, :, None] & present[:, None, :]
    degree = affinity.sum(2)
    isolated = present & (degree == 0)  # see `_checked`
    affinity[:, np.arange(padded), np.arange(padded)] += isolated
    degree += isolated
    x = dense_second_eigenvectors(affinity, degree, sizes)
    rank = np.argsort(x, 1, kind='stable')
    each = np.arange(len(parts))[:, None]
    place = np.empty_like(rank)
    place[each, rank] = np.arange(padded)
    before = np.where(place[:, None, :] < place[:, :, None], affinity, 0).sum(2)
    itself = np.diagonal(affinity, axis1=1, axis2=2)
    in_order = [values[each, rank] for values in (x, degree, before, itself)]
    value, position = best_thresholds(SortedGraphs(sizes, *in_order))
    rows = rows[each, rank]
    result = []
    for part, own, size, v, k in zip(parts, rows, sizes.tolist(), value.tolist(), position.tolist(), strict=True):
        indices = tree.split(part.tree_index, v, k)
        if indices is None:
            tree.end(part.tree_index, part.nodes[own[:size]])
        else:
            whole = part.offset, part.stride, part.nodes
            result.append(_Part(indices[0], *whole, own[:k]))
            result.append(_Part(indices[1], *whole, own[k:size]))
    return result


def _memory(n: int, device: torch.device) -> torch.Tensor:
    """Return float32 [2, n, n], not initialised.

    NumPy asks Linux for large pages, PyTorch does not: the first touch of 4 MiB takes 0.2 ms with them, 2 ms without.
    """
    if device.type == 'cpu':
        return torch.from_numpy(np.empty((2, n, n), np.float32))
    return torch.empty(2, n, n, device=device)
