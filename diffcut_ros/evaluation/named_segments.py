"""The segments of a labelled image, with the classes of their pixels: what naming by example is scored on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffcut_ros.evaluation.datasets import Pair, load
from diffcut_ros.evaluation.evaluator import Cache, Evaluator
from diffcut_ros.evaluation.measure import timed
from diffcut_ros.evaluation.results import floats
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.printable import no_formula, printable


@dataclass(frozen=True, eq=False)
class NamedSegments:
    """The S segments of an image, and its labels.

    Attributes:
        image: its name in the data set.
        feature: float32 [S, C], `Segments.feature`.
        score: float64 [S], `Segments.score`.
        area_px: int64 [S], `Segments.area_px`.
        pixels: int64 [S + 1, K], labelled pixels of each class: in no segment, then in each one.
        features_s: time for its features, for reading them where stored.
        method_s: time for its hierarchy and cut.
        stored: whether the features were stored.
        fingerprint: of the extractor.
    """

    image: str
    feature: np.ndarray
    score: np.ndarray
    area_px: np.ndarray
    pixels: np.ndarray
    features_s: float
    method_s: float
    stored: bool
    fingerprint: str

    @property
    def true_class(self) -> np.ndarray:
        """The class 0, 1, ... that more than half of a segment's pixels are of, or -1; int64 [S]."""
        inside = self.pixels[1:]
        return np.where(2 * inside.max(1) > self.area_px, inside.argmax(1), -1)


class SegmentsOfImages(Evaluator):
    """Finds the segments of images, one after the other; otherwise as `Evaluator`."""

    @torch.inference_mode()
    def find(self, pair: Pair) -> NamedSegments:
        """Return the segments of one image; errors are those of `Evaluator.all`."""
        view = self._protocol.view(load(self._dataset, pair), self._dataset)
        try:
            sample, features_s, stored = self._sample(view)
            method_s, cut = timed(lambda: sample.frame.cut(self._settings.options), self._device)
        except ValueError as error:
            raise ValueError(f'{pair.name}: {error}') from error
        (truth,) = view.truths
        classes, labelled = len(self._dataset.classes), truth >= 0
        place = cut.labels[labelled].astype(np.int64) * classes + truth[labelled]
        rows = len(cut.segments) + 1
        return NamedSegments(
            pair.name,
            cut.segments.feature,
            cut.segments.score,
            cut.segments.area_px,
            np.bincount(place, minlength=rows * classes).reshape(rows, classes),
            features_s,
            method_s,
            stored,
            self._fingerprint,
        )


def finder(settings: Settings, cache: Cache) -> Callable[[Pair], NamedSegments]:
    """Return the function from an image to its segments, see `run.each`."""
    return SegmentsOfImages(settings, cache).find


def read_segments(values: Mapping[str, Any]) -> NamedSegments:
    """Return what a line of images.jsonl was written from."""
    score = np.array(values['score'], np.float64)
    return NamedSegments(
        **{
            **values,
            'feature': floats(values['feature']).reshape(len(score), -1)
            if len(score)
            else np.zeros((0, 0), np.float32),
            'score': score,
            'area_px': np.array(values['area_px'], np.int64),
            'pixels': np.array(values['pixels'], np.int64),
        }
    )


def row_of(segments: NamedSegments) -> dict[str, Any]:
    """Return a row of images.csv."""
    labelled = int(segments.pixels.sum())
    return {
        'image': no_formula(printable(segments.image)),
        'segments': len(segments.score),
        'bound': float(segments.pixels[1:].max(1).sum() / labelled) if labelled else '',
        'features_s': round(segments.features_s, 6),
        'features_stored': segments.stored,
        'method_s': round(segments.method_s, 6),
    }


class Bound:
    """The share of labelled pixels that are named right at best: each segment as most of its pixels are."""

    def __init__(self) -> None:
        self._right = self._labelled = 0

    def add(self, segments: NamedSegments) -> None:
        """Add an image."""
        self._right += int(segments.pixels[1:].max(1).sum())
        self._labelled += int(segments.pixels.sum())

    def headline(self) -> str:
        """Return the share, as text."""
        return f'at best {self._right / self._labelled:.3f}' if self._labelled else 'at best'
