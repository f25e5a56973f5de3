"""Graphs of the parts of an image: which belong together, and which goes to which."""

import numpy as np

from diffcut_ros.core.compiled import compiled

# Indices of nodes, int [E] each.
Pairs = tuple[np.ndarray, np.ndarray]


def components(count: int, pairs: Pairs) -> np.ndarray:
    """Return which component each of so many nodes belongs to, int32 [count], numbered in the order of their nodes."""
    component = np.arange(count, dtype=np.int32)
    first, second = (np.ascontiguousarray(nodes, np.int64) for nodes in pairs)
    _join(first, second, component)
    return component


@compiled("void(Array(int64, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), int32[::1])")
def _join(first: np.ndarray, second: np.ndarray, component: np.ndarray) -> None:
    """Write which component each node belongs to, see `components`; it begins as a component of its own."""
    root = component  # of each node one before it, or itself
    for pair in range(len(first)):
        a, b = first[pair], second[pair]
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        root[max(a, b)] = min(a, b)
    count = 0
    for node in range(len(root)):
        if root[node] == node:
            component[node] = count
            count += 1
        else:
            component[node] = component[root[node]]


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
    other = np.flatnonzero(pairs[0] != pairs[1])
    first, second = pairs[0][other], pairs[1][other]
    key = np.minimum(first, second).astype(np.int64) * count + np.maximum(first, second)
    weight = None if weight is None else weight[other]
    if count**2 <= 16 * len(key):  # a table of all pairs takes less time than to sort
        found = np.flatnonzero(np.bincount(key))
        total = np.bincount(key, weight)[found]
    else:
        found, which = np.unique(key, return_inverse=True)
        total = np.bincount(which, weight, len(found))
    return (found // count, found % count), total


def of_first(part: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the value of the first member of each part, int64 [P]."""
    first = np.empty(int(part.max()) + 1, np.int64)
    first[part[::-1]] = values[::-1]  # of all that are written to a place, the last one stays
    return first
