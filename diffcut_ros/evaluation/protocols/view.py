"""What a protocol makes of an image: what is segmented, and what is scored."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffcut_ros.evaluation.datasets import Dataset, Example
from diffcut_ros.evaluation.matching import ClassCounts
from diffcut_ros.evaluation.metrics import Agreement, BoundaryCounts


@dataclass(frozen=True)
class View:
    """An image as a protocol shows it.

    Attributes:
        image_rgb: uint8 [H, W, 3], what features are of, and what methods that need none segment.
        scored_rgb: uint8 [h, w, 3], the same image at the size that labels are scored at.
        truths: int64 [h, w] each, see `Example`.
    """

    image_rgb: np.ndarray
    scored_rgb: np.ndarray
    truths: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Score:
    """How well the segments of one image agree with its labels.

    Attributes:
        classes: pixels of each class; None without classes.
        agreement: of regions, the mean over those who drew them; None where the protocol knows none.
        boundary: of borders; None where they are not compared.
    """

    classes: ClassCounts | None = None
    agreement: Agreement | None = None
    boundary: BoundaryCounts | None = None


@dataclass(frozen=True)
class Protocol:
    """A way to score.

    Attributes:
        view: function from an example and its data set to what is segmented and scored.
        score: function from segments, int64 [h, w], their view, the data set and whether to refine them by PAMR to
            the score.
        summary: in one line, as text.
        needs_classes: whether it scores only data sets with classes.
    """

    view: Callable[[Example, Dataset], View]
    score: Callable[[np.ndarray, View, Dataset, bool], Score]
    summary: str
    needs_classes: bool = False
