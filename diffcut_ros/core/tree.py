"""The hierarchy of segments: every tau of interest is a cut of one tree."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from diffcut_ros.core.host_ncut import grow


@dataclass(frozen=True)
class SegmentTree:
    """A binary tree of node subsets, made by recursive Normalized Cut.

    Tree node 0 is the whole graph. The graph nodes of tree node i are `order[start[i]:stop[i]]`, so that the parts of a
    split are neighbours in `order` and a cut is a set of ranges.

    Attributes:
        tau: the largest tau that this tree can be cut at.
        order: int64 [N], the graph nodes.
        start, stop: int64 [T], range of each tree node in `order`.
        children: int64 [T, 2], the two parts, or -1 where the tree ends.
        ncut: float64 [T], NCut value of each node's best split. Where the tree ends it is tau or above, or infinity if
            no split is known.
        middle: int64 [T], position in `order` where that split begins its second part; of no meaning without a split.
        depth: int64 [T], 0 for the whole graph.
        vectors: float32 [N, BLOCK] on the device of the graph, a row for each graph node: what the search for
            eigenvectors goes on from when the tree grows, see `eigenvectors`; None for a graph on the host.
    """

    tau: float
    order: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    children: np.ndarray
    ncut: np.ndarray
    middle: np.ndarray
    depth: np.ndarray
    vectors: torch.Tensor | None = None

    @staticmethod
    def undivided(n: int, vectors: torch.Tensor | None = None) -> 'SegmentTree':
        """Return the tree of a graph of n nodes that has not been looked at yet, which is its cut at tau 0."""
        return SegmentTree(
            tau=0.0,
            order=np.arange(n),
            start=np.array([0]),
            stop=np.array([n]),
            children=np.array([(-1, -1)]),
            ncut=np.array([np.inf]),
            middle=np.array([n]),
            depth=np.array([0]),
            vectors=vectors,
        )

    @property
    def n_nodes(self) -> int:
        """Number of graph nodes N."""
        return len(self.order)

    @property
    def size(self) -> np.ndarray:
        """Int64 [T]: number of graph nodes of each tree node."""
        return self.stop - self.start

    @cached_property
    def _parent(self) -> np.ndarray:
        parent = np.full(len(self.start), -1)
        split = np.flatnonzero(self.children[:, 0] >= 0)
        parent[self.children[split]] = split[:, None]
        return parent

    @cached_property
    def _split_tau(self) -> np.ndarray:
        """Float64 [T]: a tree node is split at every tau above this: the largest NCut value on its way to the root."""
        value = self.ncut.copy()
        by_depth = np.argsort(self.depth, kind='stable')
        for level in np.split(by_depth, np.cumsum(np.bincount(self.depth))[:-1])[1:]:
            value[level] = np.maximum(value[level], value[self._parent[level]])
        return value

    def cut(self, tau: float) -> np.ndarray:
        """Return the segmentation at a threshold tau.

        Args:
            tau: splits with an NCut value below tau are made; at most the tree's own tau.

        Returns:
            int64 [N] labels 0..K-1, numbered by the lowest graph node of each segment.

        Raises:
            ValueError: for a tau beyond the tree's.
        """
        self._check(tau)
        return self._labels(self._split_tau < tau)

    def cut_like(self, before: np.ndarray, tau: float, margin: float) -> np.ndarray:
        """Return the segmentation at about a threshold tau that is the most like another one of the same graph nodes.

        Splits below tau * (1 - margin) are made, those from tau * (1 + margin) on are not. In between, those are made
        that raise the covering of this segmentation by the other: the mean over the graph nodes of the best
        intersection over union that a segment of the other has with theirs (Arbelaez et al., PAMI 2011, section 3.1).

        Args:
            before: int64 [N], labels of at least 0, or -1 for graph nodes that count for nothing here.
            tau: as for `cut`.
            margin: at least 0; tau * (1 + margin) is at most the tree's own tau, or that is where it ends.

        Returns:
            As `cut`.

        Raises:
            ValueError: for a tau beyond the tree's.
        """
        self._check(tau)
        made = self._split_tau < tau * (1 - margin)
        # Parents have lower indices than their parts: from the last to the first, parts are decided before parents.
        optional = np.flatnonzero((self._split_tau < min(self.tau, tau * (1 + margin))) & ~made)[::-1]
        if len(optional):
            covered = self._covered(before)
            best = covered.copy()
            for node in optional:
                parts = best[self.children[node]].sum()
                # Equal ones are decided by tau alone.
                if parts > best[node] or (parts == best[node] and self._split_tau[node] < tau):
                    best[node], made[node] = parts, True
            # A part that is split needs its parent to be.
            for node in optional[::-1]:
                made[node] &= node == 0 or made[self._parent[node]]
        return self._labels(made)

    def _covered(self, before: np.ndarray) -> np.ndarray:
        """Return of each tree node its number of graph nodes that count times the best IoU with one of `before`."""
        label = before[self.order]
        counts = np.zeros((self.n_nodes + 1, int(before.max()) + 1))
        counts[1 + np.flatnonzero(label >= 0), label[label >= 0]] = 1
        counts = counts.cumsum(0)
        shared = counts[self.stop] - counts[self.start]
        size = shared.sum(1)
        union = size[:, None] + counts[-1] - shared
        return size * (shared / np.maximum(1, union)).max(1, initial=0)

    def _check(self, tau: float) -> None:
        if not tau <= self.tau:
            raise ValueError(
                f'tau: expected at most {self.tau}, the tau this tree was computed to, received {tau}; '
                'compute the tree with a larger tau'
            )

    def _labels(self, made: np.ndarray) -> np.ndarray:
        """Return the segmentation of the splits that are made, bool [T]; none is made without that of its parent."""
        reached = made.copy()
        reached[1:] &= made[self._parent[1:]]
        return cut_order(self.order, np.sort(self.start[self.children[reached, 1]]))

    def boundaries(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all that cuts depend on beside `order`: where it is cut, and from which tau on.

        Returns:
            Positions in `order` where a segment may begin, int64 [B], rising, and the tau of each, float64 [B]: a cut
            at a larger one has a segment that begins there. See `cut_order`.
        """
        split = np.flatnonzero(self._split_tau < self.tau)
        position = self.start[self.children[split, 1]]
        rising = np.argsort(position)
        return position[rising], self._split_tau[split][rising]

    def levels(self) -> list[tuple[float, int]]:
        """Return (tau, segment count) for each distinct tau above which the segmentation changes, in rising order.

        The count holds for every tau just above the listed one, up to the next. The list starts with (0.0, 1) unless
        the graph falls apart at no cost.
        """
        taus = np.sort(self._split_tau[self._split_tau < self.tau])
        distinct, counts = np.unique(taus, return_counts=True)
        levels = [(float(tau), 1 + int(count)) for tau, count in zip(distinct, np.cumsum(counts), strict=True)]
        return levels if levels and levels[0][0] <= 0 else [(0.0, 1), *levels]

    def tau_for(self, n_segments: int) -> float:
        """Return the largest tau up to the tree's own at which the cut has at most `n_segments` segments.

        Raises:
            ValueError: for a number below 1.
        """
        if n_segments < 1:
            raise ValueError(f'n_segments: expected at least 1, received {n_segments}')
        # The split that would make the count too large is not made at exactly its own tau.
        return next((tau for tau, count in self.levels() if count > n_segments), self.tau)


def cut_order(order: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Return the segmentation whose segments are ranges of an order of the graph nodes.

    Args:
        order: int64 [N], a permutation of 0..N-1.
        begins: int64 [B], rising, 1..N-1: where segments begin beside the first.

    Returns:
        int64 [N] labels 0..B, numbered by the lowest graph node of each segment.
    """
    begins = np.concatenate(([0], begins))
    lowest = np.minimum.reduceat(order, begins)
    labels = np.empty(len(order), np.int64)
    labels[order] = np.repeat(np.argsort(np.argsort(lowest)), np.diff(begins, append=len(order)))
    return labels


class TreeBuilder:
    """Collects splits while a graph is cut; makes the `SegmentTree`.

    Args:
        tree: where to begin; it is left as it is.
        tau: splits with an NCut value of tau or more are refused.

    Attributes:
        waiting: the tree nodes that may be split, of which no split is known.
    """

    def __init__(self, tree: SegmentTree, tau: float) -> None:
        self.tau = tau
        n, self._count = tree.n_nodes, len(tree.start)
        self._order = tree.order.copy()
        self._vectors = None if tree.vectors is None else tree.vectors.clone()
        # With room for all splits that there can be.
        self._start, self._stop, self._children, self._ncut, self._middle, self._depth = (
            np.concatenate([values, np.empty((2 * n - len(values), *values.shape[1:]), values.dtype)])
            for values in (tree.start, tree.stop, tree.children, tree.ncut, tree.middle, tree.depth)
        )
        self._ends: list[tuple[int, torch.Tensor]] = []
        self.waiting: list[int] = []
        for index in np.flatnonzero((tree.children[:, 0] < 0) & (tree.size > 1)).tolist():
            if np.isinf(tree.ncut[index]):
                self.waiting.append(index)
            elif indices := self.split(index, tree.ncut[index], tree.middle[index] - tree.start[index]):
                self.waiting += indices

    def nodes(self, index: int) -> np.ndarray:
        """Return the graph nodes, int64 [n], of a tree node; for one that was split off here, once `end` has told."""
        return self._order[self._start[index] : self._stop[index]]

    def split(self, index: int, ncut: float, first: int) -> tuple[int, int] | None:
        """Split a tree node into its first `first` graph nodes and the rest; return both indices.

        Return None, and only remember the split, for an NCut value that is not below tau.
        """
        middle, count = self._start[index] + first, self._count
        self._ncut[index], self._middle[index] = ncut, middle
        if ncut >= self.tau:
            return None
        both = slice(count, count + 2)
        self._start[both] = self._start[index], middle
        self._stop[both] = self._middle[both] = middle, self._stop[index]
        self._children[index], self._children[both] = (count, count + 1), -1
        self._ncut[both], self._depth[both] = np.inf, self._depth[index] + 1
        self._count += 2
        return count, count + 1

    def grow(self, index: int, affinity: np.ndarray, rows: np.ndarray, start: np.ndarray, memory: np.ndarray) -> None:
        """Split a tree node, and its parts, to the end, on the host; see `host_ncut.grow`."""
        tree = self._order, self._start, self._stop, self._children, self._ncut, self._middle, self._depth
        self._count = grow(affinity, rows, index, self.tau, start, memory, *tree, self._count)

    def end(self, index: int, nodes: torch.Tensor) -> None:
        """Say which graph nodes a tree node holds that is not split, in the order of its best split if it has one."""
        self._ends.append((index, nodes))

    def settle(self) -> None:
        """Write down the graph nodes that `end` was told."""
        if self._ends:
            # In one piece: each copy from a device waits for it.
            copied = torch.cat([nodes for _, nodes in self._ends]).cpu().numpy()
            for (index, _), own in zip(
                self._ends, np.split(copied, np.cumsum([len(nodes) for _, nodes in self._ends])[:-1]), strict=True
            ):
                self.nodes(index)[:] = own
            self._ends = []

    def keep(self, nodes: torch.Tensor, vectors: torch.Tensor) -> None:
        """Take the vectors, float32 [n, BLOCK], of graph nodes of a tree node that is not split."""
        assert self._vectors is not None
        self._vectors[nodes] = vectors

    def build(self) -> SegmentTree:
        """Return the tree."""
        self.settle()
        return SegmentTree(
            self.tau,
            self._order,
            self._start[: self._count],
            self._stop[: self._count],
            self._children[: self._count],
            self._ncut[: self._count],
            self._middle[: self._count],
            self._depth[: self._count],
            self._vectors,
        )
