"""Graphs of the parts of an image: which belong together, and which goes to which."""

import numpy as np
from scipy.sparse import coo_matrix, csgraph

# Indices of nodes, int [E] each.
Pairs = tuple[np.ndarray, np.ndarray]


def components(count: int, pairs: Pairs) -> np.ndarray:
    """Return which component each of so many nodes belongs to, int32 [count], numbered in the order of their nodes."""
    graph = coo_matrix((np.ones(len(pairs[0]), np.int8), pairs), (count, count))
    return csgraph.connected_components(graph, directed=False)[1]


def absorb(small: np.ndarray, pairs: Pairs, fit: np.ndarray) -> np.ndarray:
    """Return which part each of P parts goes to, int64 [P]: itself, or the one that absorbs a small one.

    Args:
        small: bool [P]. Those that are connected with none that is not small stay.
        pairs: of parts that may go to each other, E in all, each once.
        fit: [E], how well they fit. The largest counts, of equal ones that with the first part.
    """
    owner, left = np.arange(len(small)), small.copy()
    inner, outer, fit = np.concatenate(pairs), np.concatenate(pairs[::-1]), np.concatenate([fit, fit])
    while True:
        open_ones = left[inner]
        inner, outer, fit = inner[open_ones], outer[open_ones], fit[open_ones]
        may = np.flatnonzero(~left[outer])
        if not len(may):
            return owner
        may = may[np.lexsort((outer[may], -fit[may], inner[may]))]
        best = may[np.unique(inner[may], return_index=True)[1]]
        owner[inner[best]] = owner[outer[best]]
        left[inner[best]] = False


def chosen(pairs: Pairs, mask: np.ndarray) -> Pairs:
    """Return those pairs that a mask chooses."""
    return pairs[0][mask], pairs[1][mask]


def distinct(pairs: Pairs, count: int, weight: np.ndarray | None = None) -> tuple[Pairs, np.ndarray]:
    """Return each pair of different ones of so many nodes once, the smaller first, and the sum of its weights."""
    low, high = np.minimum(*pairs), np.maximum(*pairs)
    other = low != high
    key, which = np.unique((low.astype(np.int64) * count + high)[other], return_inverse=True)
    total = np.bincount(which, None if weight is None else weight[other], len(key))
    return (key // count, key % count), total


def of_first(part: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the value of the first member of each part, int64 [P]."""
    return values[np.unique(part, return_index=True)[1]].astype(np.int64)
