"""From the results of images to those of a data set."""

from typing import Any

import numpy as np

from diffcut_ros.evaluation.evaluator import ImageResult
from diffcut_ros.evaluation.matching import ClassCounts
from diffcut_ros.evaluation.metrics import Agreement, BoundaryCounts

_AGREEMENT = ('covering', 'rand_index', 'variation_of_information')


class Totals:
    """Sums results as they come in.

    Args:
        classes: names of the data set's classes.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._counts: ClassCounts | None = None
        self._boundary: BoundaryCounts | None = None
        self._agreements: list[Agreement] = []
        self._results: list[tuple[int, float, float, bool]] = []

    def add(self, result: ImageResult) -> None:
        """Add an image."""
        score = result.score
        if score.classes is not None:
            self._counts = score.classes if self._counts is None else self._counts + score.classes
        if score.boundary is not None:
            self._boundary = score.boundary if self._boundary is None else self._boundary + score.boundary
        if score.agreement is not None:
            self._agreements.append(score.agreement)
        self._results.append((result.segments, result.method_s, result.features_s, result.stored))

    def headline(self) -> str:
        """Return the figure that matters most: mean IoU, or covering without classes."""
        if self._classes:
            return f'mIoU {self._counts.mean_iou():.3f}' if self._counts is not None else 'mIoU'
        return f'covering {self._mean("covering"):.3f}' if self._agreements else 'covering'

    def summary(self) -> dict[str, Any]:
        """Return all figures, as for JSON; None where there is nothing to count."""
        segments, method_s, features_s, stored = (np.array(values) for values in zip(*self._results, strict=True))
        summary: dict[str, Any] = {'images': len(self._results)}
        if self._counts is not None:
            summary |= {
                'mean_iou': _number(self._counts.mean_iou()),
                'pixel_accuracy': _number(self._counts.pixel_accuracy()),
                'classes': self._class_table(self._counts),
            }
        if self._agreements:
            summary |= {name: self._mean(name) for name in _AGREEMENT}
        if self._boundary is not None:
            summary['boundary'] = {
                'precision': self._boundary.precision(),
                'recall': self._boundary.recall(),
                'f_measure': self._boundary.f_measure(),
                **vars(self._boundary),
            }
        summary['segments_per_image'] = float(segments.mean())
        summary['method_s'] = {'median': float(np.median(method_s)), 'mean': float(method_s.mean())}
        computed = features_s[~stored.astype(bool)]
        summary['features_s'] = {'median': float(np.median(computed)) if len(computed) else None}
        summary['features_stored'] = int(stored.sum())
        return summary

    def _class_table(self, counts: ClassCounts) -> dict[str, dict[str, Any]]:
        columns = {name: values.tolist() for name, values in vars(counts).items()}
        return {
            name: {'iou': _number(iou), **{column: values[k] for column, values in columns.items()}}
            for k, (name, iou) in enumerate(zip(self._classes, counts.iou().tolist(), strict=True))
        }

    def _mean(self, name: str) -> float:
        return float(np.mean([getattr(agreement, name) for agreement in self._agreements]))


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
