"""Names by example on a labelled data set: which segments are shown, how the others are named, how right that is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from diffcut_ros.core import Classes
from diffcut_ros.core.classes import UNKNOWN, NamedClass, Source, class_color
from diffcut_ros.evaluation.matching import ClassCounts
from diffcut_ros.evaluation.named_segments import NamedSegments

_BINS = 10

# From features [T, C] to ids [T], 0 for unknown, and how sure they are [T], 0 to 1; None where a method does not say.
Naming = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def shown_frames(images: int, frames: int, choice: int = 0) -> list[int]:
    """Return the images that are shown: in the first choice spread evenly, from the first to the last, else random.

    Raises:
        ValueError: where no image would be left.
    """
    if frames >= images:
        raise ValueError(f'--frames: expected fewer than the {images} images of the data set, received {frames}')
    if choice:
        return sorted(np.random.default_rng(choice).choice(images, frames, replace=False).tolist())
    return np.linspace(0, images - 1, frames).round().astype(int).tolist()


def show(images: Sequence[NamedSegments], frames: Sequence[int], clicks: int, names: Sequence[str]) -> Classes:
    """Return classes with the largest segments of each one in some images as examples; none where none is shown.

    Args:
        images: of the data set.
        frames: indices of those that are shown.
        clicks: segments that are shown of each class in each of them, at most.
        names: of the classes; '' for one that is not shown.
    """
    examples = [
        (frame, kind, int(row))
        for frame in frames
        for kind, name in enumerate(names)
        if name
        for row in _largest(images[frame], kind, clicks)
    ]
    if not examples:
        return Classes()
    kinds = sorted({kind for _, kind, _ in examples})
    return Classes(
        {kind + 1: NamedClass(names[kind], class_color(kind + 1)) for kind in kinds},
        np.array([kind + 1 for _, kind, _ in examples]),
        np.stack([images[frame].feature[row] for frame, _, row in examples]),
        np.array([images[frame].score[row] for frame, _, row in examples]),
        tuple(Source(images[frame].image, stamp_ns=frame) for frame, _, _ in examples),
    )


def _largest(image: NamedSegments, kind: int, clicks: int) -> np.ndarray:
    """Return the rows of the largest segments of a class."""
    of_kind = np.flatnonzero(image.true_class == kind)
    return of_kind[np.argsort(-image.area_px[of_kind], kind='stable')][:clicks]


def _by_library(make: Callable[[int], Any]) -> Callable[[Classes], Naming]:
    """Return a method of scikit-learn, made for a number of examples; all features have length 1."""

    def learn(classes: Classes) -> Naming:
        if len(classes.classes) < 2:  # which some refuse
            only = next(iter(classes.classes), UNKNOWN)
            return lambda feature: (np.full(len(feature), only), None)
        fitted = make(len(classes)).fit(_unit(classes.feature), classes.class_id)
        return lambda feature: (fitted.predict(_unit(feature)), None)

    return learn


def _unit(feature: np.ndarray) -> np.ndarray:
    return feature / np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)


# Function from classes to how segments are named. The first is what the node does; the others know no unknown.
METHODS: Mapping[str, Callable[[Classes], Naming]] = {
    'classes': lambda classes: classes.classify_features,
    'classes-without-unknown': lambda classes: partial(classes.classify_features, unknown=False),
    'nearest': _by_library(lambda examples: KNeighborsClassifier(1, metric='cosine')),
    'three-nearest': _by_library(
        lambda examples: KNeighborsClassifier(min(3, examples), metric='cosine', weights='distance')
    ),
    # Of a few values of C and kernels, and of alpha, the best on CamVid.
    'svm': _by_library(lambda examples: SVC(kernel='linear', C=100)),
    'ridge': _by_library(lambda examples: RidgeClassifier(0.01)),
}


@dataclass(frozen=True, eq=False)
class Bin:
    """The labelled pixels of the segments whose confidence is in a tenth of its range.

    Attributes:
        pixels: their number.
        confidence: mean.
        right_segments: share of them in segments that are named as most of their pixels are: what confidence is about.
        right_pixels: share that is named right; less, since segments hold pixels of several classes.
    """

    pixels: int
    confidence: float
    right_segments: float
    right_pixels: float


@dataclass(frozen=True, eq=False)
class Scored:
    """How right names are, over labelled pixels; unknown is wrong.

    Attributes:
        counts: pixels of each class.
        unknown: share of the pixels that are named unknown, or that are in no segment.
        unknown_of_class: float64 [K], likewise, of the pixels of each class; NaN for those that do not occur.
        named_accuracy: share of the others that are named right; NaN where all are unknown.
        calibration_error: mean of the differences between confidence and `Bin.right_segments` over the tenths, weighted
            by their pixels; None without confidences.
        calibration_error_of_pixels: likewise, of `Bin.right_pixels`.
        bins: from low confidence to high; without pixels None.
    """

    counts: ClassCounts
    unknown: float
    unknown_of_class: np.ndarray
    named_accuracy: float
    calibration_error: float | None = None
    calibration_error_of_pixels: float | None = None
    bins: tuple[Bin | None, ...] = ()


def name_and_score(images: Sequence[NamedSegments], frames: Sequence[int], naming: Naming) -> Scored:
    """Name the segments of all images but those that were shown, and compare them with the labels."""
    others = [image for index, image in enumerate(images) if index not in set(frames)]
    inside = np.concatenate([image.pixels[1:] for image in others])
    feature = [image.feature for image in others if len(image.feature)]
    answer, confidence = naming(np.concatenate(feature)) if feature else (np.zeros(0, np.int64), None)
    confusion = np.zeros((inside.shape[1] + 1, inside.shape[1]), np.int64)  # [answer, true class]
    np.add.at(confusion, answer, inside)
    confusion[UNKNOWN] += np.sum([image.pixels[0] for image in others], 0)
    right = confusion[1:].diagonal()
    counts = ClassCounts(right, confusion[1:].sum(1) - right, confusion.sum(0) - right)
    labelled, named = confusion.sum(), confusion[1:].sum()
    if not labelled:
        raise ValueError('expected labelled pixels in images that are not shown, found none')
    unknown_of_class = confusion[UNKNOWN] / np.where(confusion.sum(0), confusion.sum(0), np.nan)
    unknown = float(confusion[UNKNOWN].sum() / labelled)
    scored = counts, unknown, unknown_of_class, float(right.sum() / named) if named else np.nan
    if confidence is None:
        return Scored(*scored)
    known = np.flatnonzero(answer != UNKNOWN)
    return Scored(*scored, *_calibration(confidence[known], inside[known], answer[known] - 1))


def _calibration(
    confidence: np.ndarray, inside: np.ndarray, kind: np.ndarray
) -> tuple[float | None, float | None, tuple[Bin | None, ...]]:
    """Compare confidences [T] with what is right, given pixels of each class [T, K] and the named class [T]."""
    tenth = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    pixels = inside.sum(1)
    right = np.where(inside.argmax(1) == kind, pixels, 0), inside[np.arange(len(kind)), kind]
    weight, sure, *right = (np.bincount(tenth, values, _BINS) for values in (pixels, confidence * pixels, *right))
    total = weight.sum()
    if not total:
        return None, None, ()
    bins = [
        Bin(int(weight[k]), *(float(values[k] / weight[k]) for values in (sure, *right))) if weight[k] else None
        for k in range(_BINS)
    ]
    return *(float(np.abs(sure - values).sum() / total) for values in right), tuple(bins)
