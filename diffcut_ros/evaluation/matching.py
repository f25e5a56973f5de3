"""Which segment stands for which class: the segments of an image have no names, so they are matched with its labels.

Two ways, clearly apart: `count_as_published` is what the code of DiffCut's authors does, `count` is the plain one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class ClassCounts:
    """Pixels of each of K classes, of one image or summed over many.

    Attributes:
        true_positive: int64 [K], pixels of the class in its segment.
        false_positive: int64 [K], labelled pixels of other classes in its segment.
        false_negative: int64 [K], pixels of the class elsewhere.
    """

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray

    def __add__(self, other: 'ClassCounts') -> 'ClassCounts':
        return ClassCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
        )

    def iou(self) -> np.ndarray:
        """Return the intersection over union of each class, float64 [K]; NaN for classes that do not occur."""
        union = self.true_positive + self.false_positive + self.false_negative
        return np.divide(self.true_positive, union, out=np.full(len(union), np.nan), where=union > 0)

    def mean_iou(self) -> float:
        """Return the mean IoU over the classes that occur, 0 to 1; NaN without any."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else np.nan

    def pixel_accuracy(self) -> float:
        """Return the share of labelled pixels that are in their class's segment, 0 to 1; NaN without any."""
        pixels = int((self.true_positive + self.false_negative).sum())
        return float(self.true_positive.sum() / pixels) if pixels else np.nan


def overlap(truth: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of each class in each segment.

    Args:
        truth: int64 [h, w]; values outside 0..classes-1 are not counted.
        labels: int64 [h, w], segments from 0.
        classes: their number, K.

    Returns:
        int64 [K, S], S = the number of segments, but at least K.
    """
    columns = max(classes, int(labels.max()) + 1)
    counted = (truth >= 0) & (truth < classes)
    pairs = truth[counted] * columns + labels[counted]
    return np.bincount(pairs, minlength=classes * columns).reshape(classes, columns)


def count_as_published(table: np.ndarray) -> ClassCounts:
    """Match segments with classes as the code of DiffCut's authors does, and count.

    Every class gets a segment, also one that is not in the image: what is left over. There its pixels are false
    positives, so that the scores of rare classes suffer from segments too many; which rare classes is chance.

    Args:
        table: int64 [K, S], S >= K; see `overlap`.
    """
    _, column = linear_sum_assignment(table, maximize=True)
    matched = table[:, column]
    correct = matched.diagonal()
    return ClassCounts(correct, matched.sum(0) - correct, table.sum(1) - correct)


def merge_background(labels: np.ndarray, truth: np.ndarray, foreground: int) -> np.ndarray:
    """Make one segment of all that stand for no foreground class, as the code of DiffCut's authors does.

    Args:
        labels: int64 [h, w], segments from 0.
        truth: int64 [h, w]; classes 0..foreground-1, everything else is background.
        foreground: number of foreground classes.

    Returns:
        int64 [h, w]; the background, if any, is the highest label + 1.
    """
    table = overlap(truth, labels, foreground)
    _, column = linear_sum_assignment(table, maximize=True)
    # A class that is in the image keeps its segment, even one that it shares no pixel with.
    present = table[:, column].max(1) > 0
    return np.where(np.isin(labels, column[present]), labels, labels.max() + 1)


def count(table: np.ndarray, background: bool) -> ClassCounts:
    """Match segments with the classes that are in the image, one to one by their overlap, and count.

    Args:
        table: int64 [K, S]; see `overlap`.
        background: whether the last class is the background: all segments that match no other class belong to it.
            Otherwise segments that match no class belong to none.
    """
    foreground = table[:-1] if background else table
    present = np.flatnonzero(foreground.any(1))
    row, column = linear_sum_assignment(foreground[present], maximize=True)
    row = present[row]
    shared = table[row, column] > 0
    row, column = row[shared], column[shared]
    in_class = np.zeros_like(table[:, : len(table)])  # [true class, class of the segment]
    in_class[:, row] = table[:, column]
    if background:
        in_class[:, -1] = np.delete(table, column, 1).sum(1)
    correct = in_class.diagonal()
    return ClassCounts(correct, in_class.sum(0) - correct, table.sum(1) - correct)
