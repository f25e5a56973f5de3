"""Evaluates one image: reads it, takes its features, has it segmented, scores the segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffcut_ros.evaluation.datasets import Pair, load
from diffcut_ros.evaluation.feature_cache import FeatureCache
from diffcut_ros.evaluation.measure import timed
from diffcut_ros.evaluation.methods import Sample
from diffcut_ros.evaluation.protocols import Score, View
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.features import create_extractor


@dataclass(frozen=True)
class ImageResult:
    """What came out for one image.

    Attributes:
        image: its name in the data set.
        segments: how many the method gave.
        score: how well they agree with the labels.
        features_s: time for its features or attention maps, for reading them where stored; 0 where none are needed.
        method_s: time of the method, features not included.
        stored: whether the features were stored.
        fingerprint: of the extractor that the features are from; empty without one.
    """

    image: str
    segments: int
    score: Score
    features_s: float
    method_s: float
    stored: bool
    fingerprint: str


@dataclass(frozen=True)
class Cache:
    """Where features are stored, and how many bytes of them at most; see `FeatureCache`."""

    folder: Path
    limit_bytes: int


class Evaluator:
    """Evaluates images, one after the other, with one extractor.

    Args:
        settings: what is evaluated and how.
        cache: of features.

    Raises:
        ValueError: for a backend that cannot be loaded, or that does not give what the method needs.
    """

    def __init__(self, settings: Settings, cache: Cache) -> None:
        self._settings = settings
        self._dataset, self._protocol, self._method = settings.parts()
        self._device = torch.device(settings.device)
        self._fingerprint = ''
        if hasattr(settings.backend_options, 'layers'):
            # Only here: importing diffusers takes seconds.
            from diffcut_ros.features.diffusion.layers import LayersExtractor

            self._extractor = LayersExtractor(settings.backend, settings.backend_options, self._device)
            self._cache = FeatureCache(cache.folder, 0, '')  # not stored: they have no fingerprint
        elif self._method.needs == 'features':
            extractor = create_extractor(settings.backend, device=settings.device, **vars(settings.backend_options))
            self._extractor, self._fingerprint = extractor, extractor.fingerprint()
            self._cache = FeatureCache(cache.folder, cache.limit_bytes, self._fingerprint)
        elif self._method.needs == 'attention':
            # Only here: importing diffusers takes seconds.
            from diffcut_ros.features.diffusion.attention import load_attention_extractor

            self._attention = load_attention_extractor(settings.backend, settings.backend_options, self._device)

    def __call__(self, pair: Pair) -> ImageResult:
        """Evaluate one image; see `all`."""
        return self.all(pair, [self._settings.options])[0]

    @torch.inference_mode()
    def all(self, pair: Pair, options: Sequence[Any]) -> list[ImageResult]:
        """Evaluate one image with several options of the method.

        Features are computed once, and so is a hierarchy, if options of one alpha follow each other by falling tau.

        Raises:
            ValueError: naming the image, when it or its labels cannot be used, or its segments not be found.
            MemoryError: when the device has too little memory.
            OSError: when its features cannot be stored.
        """
        view = self._protocol.view(load(self._dataset, pair), self._dataset)
        results = []
        try:
            sample, features_s, stored = self._sample(view)
            for option in options:
                method_s, labels = timed(lambda option=option: self._method.run(sample, option), self._device)
                score = self._protocol.score(labels, view, self._dataset, self._settings.refine == 'pamr')
                segments = int(labels.max()) + 1
                results.append(ImageResult(pair.name, segments, score, features_s, method_s, stored, self._fingerprint))
        except ValueError as error:
            raise ValueError(f'{pair.name}: {error}') from error
        return results

    def _sample(self, view: View) -> tuple[Sample, float, bool]:
        """Return what the method works on, how long its features took, and whether they were stored."""
        if self._method.needs == 'image':
            return Sample(view.image_rgb, count=_count(view)), 0.0, False
        if self._method.needs == 'attention':
            # Not stored: those of an image take 60 MB and more.
            features_s, maps = timed(lambda: self._attention(view.image_rgb), self._device)
            return Sample(view.scored_rgb, attention=maps, count=_count(view)), features_s, False
        features_s, (feature_map, stored) = timed(
            lambda: self._cache.features(self._extractor, view.image_rgb), self._device
        )
        # The method is asked for labels at the size that is scored, whatever the size that features were computed at.
        scored = replace(feature_map, image_size_hw=view.scored_rgb.shape[:2])
        return Sample(view.scored_rgb, scored, count=_count(view)), features_s, stored


def _count(view: View) -> int:
    """Return the true number of segments, the mean over those who drew them, at least 1."""
    counts = [len(np.unique(truth[truth >= 0])) for truth in view.truths]
    return max(1, round(float(np.mean(counts))))
