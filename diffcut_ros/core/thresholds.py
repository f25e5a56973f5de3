"""The best threshold on an eigenvector: NCut values of all thresholds at once.

Sorted by the eigenvector x, a threshold is a position k: the first k nodes against the rest. From one position to the
next a single node i changes sides, so that cut and association of all positions are cumulative sums,

    cut(k) - cut(k - 1) = sum_{j after i} W_ij - sum_{j before i} W_ij,    assoc(k) - assoc(k - 1) = d_i.
"""

from typing import NamedTuple

import numpy as np

# NCut values are rounded to this many decimals: sums of float32 affinities say no more. It also keeps values that are
# equal on paper, as all those of a graph without structure, equal here.
_DECIMALS = 6


class SortedGraphs(NamedTuple):
    """Graphs in the order of their eigenvectors, all that a threshold needs to know; padded to the same size.

    Attributes:
        size: int64 [B], number of nodes of each graph, at least 2.
        x: float64 [B, n], rising; infinity beyond the size.
        degree: float64 [B, n].
        before: float64 [B, n], affinity of each node to those before it.
        itself: float64 [B, n], affinity of each node to itself.
    """

    size: np.ndarray
    x: np.ndarray
    degree: np.ndarray
    before: np.ndarray
    itself: np.ndarray


def best_thresholds(graphs: SortedGraphs) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest NCut value of each graph, float64 [B], and the position k it is found at, int64 [B].

    Of several positions with the same value the one that divides the nodes most evenly is taken.

    Args:
        graphs: in the order of their eigenvectors.
    """
    n = graphs.x.shape[1]
    change = graphs.degree - graphs.itself - 2 * graphs.before
    # Each side is summed from its own end: what is small there would drown in a sum over the whole graph.
    first, last = np.cumsum(graphs.degree, 1), np.cumsum(graphs.degree[:, ::-1], 1)[:, ::-1]
    first_cut, last_cut = np.cumsum(change, 1), -np.cumsum(change[:, ::-1], 1)[:, ::-1]
    first, last, first_cut, last_cut = first[:, :-1], last[:, 1:], first_cut[:, :-1], last_cut[:, 1:]
    cut = np.maximum(np.where(first <= last, first_cut, last_cut), 0)
    position = np.arange(1, n)
    inside = position < graphs.size[:, None]
    value = np.full(cut.shape, np.inf)
    value[inside] = np.round(cut[inside] / first[inside] + cut[inside] / last[inside], _DECIMALS)
    best = value.min(1)
    balance = np.minimum(position, graphs.size[:, None] - position)
    return best, np.where(value == best[:, None], balance, -1).argmax(1) + 1
