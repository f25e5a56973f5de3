"""How well a segmentation agrees with one that a person drew.

The metrics of regions follow Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation", PAMI 2011,
section 3.1, and work on the contingency table: n[i, j] = pixels with label i in the ground truth and label j in the
segmentation. That of borders follows Martin et al., "Learning to Detect Natural Image Boundaries", PAMI 2004.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from scipy.spatial import KDTree
from scipy.stats import entropy

# Borders match within this share of the image's diagonal, as on BSDS500.
BOUNDARY_TOLERANCE = 0.0075


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


def variation_of_information(table: np.ndarray) -> float:
    """Return what each segmentation leaves unknown of the other, in bits, 0 (the same partition) or more.

    H(truth | labels) + H(labels | truth), H = entropy of the segment that a pixel is in.

    Args:
        table: contingency table [I, J].
    """
    joint, truth, labels = (entropy(counts, base=2) for counts in (table.ravel(), table.sum(1), table.sum(0)))
    return max(0.0, float(2 * joint - truth - labels))


@dataclass(frozen=True)
class Agreement:
    """Of a segmentation with those of one or more people, the mean over them.

    Attributes:
        covering: 0 to 1, see `covering`.
        rand_index: 0 to 1, see `rand_index`; the mean over people is the probabilistic Rand index.
        variation_of_information: in bits, 0 is best; see `variation_of_information`.
    """

    covering: float
    rand_index: float
    variation_of_information: float


def agreement(drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> Agreement | None:
    """Compare regions.

    Args:
        drawn: for each person the labels that they drew and those of the segmentation, integers from 0 [M] each, at the
            same pixels.

    Returns:
        The mean over the people who labelled at least two pixels; None without any.
    """
    tables = [contingency_table(truth, labels) for truth, labels in drawn if truth.size >= 2]
    if not tables:
        return None
    metrics = (covering, rand_index, variation_of_information)
    return Agreement(*(float(np.mean([metric(table) for table in tables])) for metric in metrics))


@dataclass(frozen=True)
class BoundaryCounts:
    """Border pixels of a segmentation and of people, of one image or summed over many.

    Attributes:
        found: pixels of the segmentation's borders.
        found_matched: those that match a border pixel of at least one person.
        drawn: pixels of the people's borders, of all people.
        drawn_matched: those that match one of the segmentation.
    """

    found: int
    found_matched: int
    drawn: int
    drawn_matched: int

    def __add__(self, other: 'BoundaryCounts') -> 'BoundaryCounts':
        return BoundaryCounts(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def precision(self) -> float:
        """Return the share of found pixels that match, 0 to 1; 1 where none was found."""
        return self.found_matched / self.found if self.found else 1.0

    def recall(self) -> float:
        """Return the share of drawn pixels that match, 0 to 1; 1 where none was drawn."""
        return self.drawn_matched / self.drawn if self.drawn else 1.0

    def f_measure(self) -> float:
        """Return the harmonic mean of precision and recall, 0 to 1."""
        both = self.precision() + self.recall()
        return 2 * self.precision() * self.recall() / both if both else 0.0


def boundary_counts(labels: np.ndarray, truths: Sequence[np.ndarray]) -> BoundaryCounts:
    """Match the borders of a segmentation with those of each person, one to one and as many as possible.

    Two pixels may match within `BOUNDARY_TOLERANCE` of the diagonal. The benchmark of BSDS500 also thins borders and
    minimises the distance of matches; here borders are as `boundaries` gives them, and only the number counts.

    Args:
        labels: integers [H, W].
        truths: likewise, one per person; below 0 = not labelled. Only borders between pixels that all labelled count.
    """
    reach_px = BOUNDARY_TOLERANCE * np.hypot(*labels.shape)
    labelled = np.all([truth >= 0 for truth in truths], 0)
    found = np.argwhere(boundaries(labels, labelled))
    matched = np.zeros(len(found), bool)
    drawn_count = drawn_matched = 0
    for truth in truths:
        drawn = np.argwhere(boundaries(truth, labelled))
        drawn_count += len(drawn)
        if not len(found) or not len(drawn):
            continue
        near = KDTree(drawn).sparse_distance_matrix(KDTree(found), reach_px, output_type='coo_matrix')
        partners = _matched(near.row, near.col, near.shape)
        matched[partners] = True
        drawn_matched += len(partners)
    return BoundaryCounts(len(found), int(matched.sum()), drawn_count, drawn_matched)


def _matched(first: np.ndarray, second: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which of the second kind are in a matching of as many pairs as possible, of those that may match.

    It is a flow, of 1 through each element: SciPy's `maximum_bipartite_matching` takes minutes for some images,
    whose borders run side by side, the flow 10 ms.
    """
    source, firsts, seconds = 0, 1 + np.arange(shape[0]), 1 + shape[0] + np.arange(shape[1])
    sink = 1 + sum(shape)
    begin = np.concatenate([np.full(shape[0], source), 1 + first, seconds])
    end = np.concatenate([firsts, 1 + shape[0] + second, np.full(shape[1], sink)])
    graph = csr_array((np.ones(len(begin), np.int32), (begin, end)), (sink + 1, sink + 1))
    into_sink = maximum_flow(graph, source, sink).flow.tocsc()[:, [sink]].toarray().ravel()
    return np.flatnonzero(into_sink) - 1 - shape[0]


def boundaries(labels: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Return the pixels whose right or lower neighbour is in another segment, bool [H, W].

    Args:
        labels: integers [H, W].
        counted: bool [H, W], the pixels between which borders count; None: all.
    """
    counted = np.ones(labels.shape, bool) if counted is None else counted
    border = np.zeros(labels.shape, bool)
    border[:, :-1] = (labels[:, :-1] != labels[:, 1:]) & counted[:, :-1] & counted[:, 1:]
    border[:-1] |= (labels[:-1] != labels[1:]) & counted[:-1] & counted[1:]
    return border
