"""The method written as plainly as possible, in float64: dense eigenvectors, thresholds by brute force."""

from typing import NamedTuple

import numpy as np
import scipy.linalg


class Split(NamedTuple):
    """NCut value, part (bool [n]), and distance of the second eigenvalue from the third (1 for two nodes)."""

    value: float
    part: np.ndarray
    gap: float


def ncut_value(affinity: np.ndarray, part: np.ndarray) -> float:
    """Return NCut(A, B) by its definition; `part` is bool [n]."""
    cut = affinity[part][:, ~part].sum()
    return cut / affinity[part].sum() + cut / affinity[~part].sum()


def best_split(affinity: np.ndarray, literal: bool = False) -> Split:
    """Return the split with the lowest NCut value over all thresholds of the second eigenvector.

    Args:
        affinity: float64 [n, n], n >= 2.
        literal: try the thresholds of the authors' procedure, not all.
    """
    n = len(affinity)
    degree = np.diag(affinity.sum(1))
    values, vectors = scipy.linalg.eigh(degree - affinity, degree, subset_by_index=[0, min(2, n - 1)])
    x = vectors[:, 1]
    thresholds = np.linspace(0.99 * x.min(), 0.99 * x.max(), 100) if literal else np.sort(x)[:-1]
    tried = [threshold for threshold in np.unique(thresholds) if threshold < x.max()]
    best = min(tried, key=lambda threshold: ncut_value(affinity, x <= threshold))
    part = x <= best
    return Split(ncut_value(affinity, part), part, values[2] - values[1] if n > 2 else 1.0)


def recursive_ncut(affinity: np.ndarray, tau: float, literal: bool = False) -> tuple[np.ndarray, float]:
    """Return labels [N] of the recursive cut, and the smallest eigenvalue gap of all splits on the way."""
    labels = np.zeros(len(affinity), int)
    todo = [np.arange(len(affinity))]
    done, gap = 0, 1.0
    while todo:
        nodes = todo.pop()
        split = best_split(affinity[np.ix_(nodes, nodes)], literal) if len(nodes) > 1 else None
        gap = min(gap, split.gap) if split else gap
        if split and split.value < tau:
            todo += [nodes[split.part], nodes[~split.part]]
        else:
            labels[nodes] = done
            done += 1
    return labels, gap


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Return the adjusted Rand index of two labellings (Hubert & Arabie 1985), 1 for equal partitions."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs, rows, columns = (float((x * (x - 1)).sum()) / 2 for x in (table, table.sum(1), table.sum(0)))
    expected = rows * columns / (len(a) * (len(a) - 1) / 2)
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (pairs - expected) / (largest - expected)
