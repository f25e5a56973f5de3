"""The method written as plainly as possible, in float64: dense eigenvectors, every threshold by brute force."""

import numpy as np
import scipy.linalg


def ncut_value(affinity: np.ndarray, part: np.ndarray) -> float:
    """Return NCut(A, B) by its definition; `part` is bool [n]."""
    cut = affinity[part][:, ~part].sum()
    return cut / affinity[part].sum() + cut / affinity[~part].sum()


def best_split(affinity: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the lowest NCut value over all thresholds of the second eigenvector, and the part."""
    degree = affinity.sum(1)
    laplacian = np.diag(degree) - affinity
    vector = scipy.linalg.eigh(laplacian, np.diag(degree), subset_by_index=[0, 1])[1][:, 1]
    candidates = [vector <= threshold for threshold in np.sort(vector)[:-1]]
    values = [ncut_value(affinity, part) for part in candidates]
    return min(values), candidates[int(np.argmin(values))]


def recursive_ncut(affinity: np.ndarray, tau: float) -> np.ndarray:
    """Return labels [N] of the recursive cut."""
    labels = np.zeros(len(affinity), int)
    todo = [np.arange(len(affinity))]
    done = 0
    while todo:
        nodes = todo.pop()
        value, part = best_split(affinity[np.ix_(nodes, nodes)]) if len(nodes) > 1 else (np.inf, None)
        if value < tau:
            todo += [nodes[part], nodes[~part]]
        else:
            labels[nodes] = done
            done += 1
    return labels
