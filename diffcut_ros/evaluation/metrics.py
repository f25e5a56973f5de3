"""How well a segmentation agrees with one that a person drew.

Both metrics follow Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation", PAMI 2011, section 3.1,
and work on the contingency table: n[i, j] = pixels with label i in the ground truth and label j in the segmentation.
"""

import numpy as np


def contingency_table(truth: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count pixels for each pair of labels.

    Args:
        truth: integer array [H, W], values >= 0.
        labels: integer array [H, W], values >= 0.

    Returns:
        int64 [max(truth) + 1, max(labels) + 1].

    Raises:
        ValueError: for arrays of different or empty shape.
    """
    if truth.shape != labels.shape or truth.size == 0:
        raise ValueError(f'expected two label images of one size, received {truth.shape} and {labels.shape}')
    columns = int(labels.max()) + 1
    pairs = truth.astype(np.int64).ravel() * columns + labels.ravel()
    return np.bincount(pairs, minlength=(int(truth.max()) + 1) * columns).reshape(-1, columns)


def covering(table: np.ndarray) -> float:
    """Return the covering of the ground truth by the segmentation, 0 to 1.

    The mean over the ground truth's pixels of the best intersection over union that any segment has with their region.

    Args:
        table: contingency table [I, J].
    """
    truth_area, area = table.sum(1), table.sum(0)
    union = truth_area[:, None] + area[None, :] - table
    overlap = np.divide(table, union, out=np.zeros(table.shape), where=union > 0)
    return float((truth_area * overlap.max(1)).sum() / table.sum())


def rand_index(table: np.ndarray) -> float:
    """Return the share of pixel pairs that both segmentations treat alike (together or apart), 0 to 1.

    Args:
        table: contingency table [I, J] of at least two pixels.
    """
    n = table.sum()

    def pairs(counts: np.ndarray) -> float:
        counts = counts.astype(np.float64)
        return float((counts * (counts - 1)).sum() / 2)

    apart_in_one = pairs(table.sum(1)) + pairs(table.sum(0)) - 2 * pairs(table)
    return float(1 - apart_in_one / (n * (n - 1) / 2))
