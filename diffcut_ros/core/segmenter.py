"""The pipeline as a library: images one after the other, and the last one again at another tau."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from diffcut_ros.core.frame import SegmenterConfig
from diffcut_ros.core.pipeline import Pipeline, Scene
from diffcut_ros.core.types import FeatureMap, Segmentation


class Segmenter:
    """Segments the images of one camera and keeps the last hierarchy: another cut of an image needs no features.

    Args:
        extractor: maps an image, uint8 [H, W, 3] RGB, to its `FeatureMap`.
        config: settings; `segmenter.config` may be replaced at any time and holds from the next call on.

    Raises:
        ValueError: for instances in space, which need depth: `Pipeline` takes scenes that have some.
        TypeError: for an extractor that cannot be called, such as the name of one.
    """

    def __init__(self, extractor: Callable[[np.ndarray], FeatureMap], config: SegmenterConfig | None = None) -> None:
        if not callable(extractor):
            raise TypeError(
                f'extractor: expected a function of an image, received {extractor!r}; '
                "diffcut_ros.features.create_extractor('color') returns one"
            )
        self._pipeline = Pipeline(extractor)
        self.config = config or SegmenterConfig()

    @property
    def config(self) -> SegmenterConfig:
        """The settings."""
        return self._pipeline.config

    @config.setter
    def config(self, config: SegmenterConfig) -> None:
        if config.instances == 'space':
            raise ValueError('instances: expected segments or connected without depth, received space; take Pipeline')
        self._pipeline.config = config

    def segment(self, image_rgb: np.ndarray, stamp_ns: int = 0) -> Segmentation:
        """Segment one image.

        Args:
            image_rgb: uint8 [H, W, 3], RGB, every side at least 1.
            stamp_ns: when it was taken, ns. Track ids, and what damping follows, end with a gap between images, see
                `TrackerConfig.max_age_s`; left out, there is none.

        Raises:
            ValueError: for another shape or dtype.
            MemoryError: when the device has too little memory; the last image stays the one to cut again.
        """
        return self._pipeline.process(Scene(image_rgb, stamp_ns)).segmentation

    def recut(self, tau: float | None = None) -> Segmentation:
        """Segment the last image again with the current settings, from its stored features and hierarchy.

        A smaller tau, a target number and a minimum area cost no more than a cut of the stored hierarchy; a larger tau
        makes it grow from where it ends, and another alpha computes it anew. The extractor is never called.

        Cells of a larger tau divide those of a smaller one exactly, pixels nearly: each cut assigns pixels and refines
        borders anew (docs/library.md has figures).

        Args:
            tau: if given, replaces `config.tau`.

        Raises:
            RuntimeError: before the first image.
            ValueError: for a tau out of range.
        """
        result = self._pipeline.recut(None if tau is None else replace(self.config, tau=tau))
        if result is None:
            raise RuntimeError('recut: expected an image to have been segmented before, received none; call segment')
        return result.segmentation
