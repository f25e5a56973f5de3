"""What every method is given and gives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from diffcut_ros.core import FeatureMap, Frame
from diffcut_ros.core.types import check_image

NEEDS = ('features', 'attention', 'image')


@dataclass(frozen=True)
class Sample:
    """One image with all that a method may work on.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        feature_map: of that image; None where no method that is run needs features.
        attention: self-attention maps, float [h, w, h, w] each, averaged over heads: [i, j] is the share of its
            attention, from 0, that cell (i, j) gives to each cell of the same grid. None where no method needs them.
        count: number of segments asked for, for methods that have to be told; None where it is not known.

    Raises:
        ValueError: for other shapes, or features of an image of another size.
    """

    image_rgb: np.ndarray
    feature_map: FeatureMap | None = None
    attention: Sequence[torch.Tensor] | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        image = self.image_rgb
        check_image(image)
        if self.feature_map is not None and tuple(self.feature_map.image_size_hw) != image.shape[:2]:
            raise ValueError(
                f'feature_map: expected one of an image of {image.shape[:2]} pixels, received one of '
                f'{tuple(self.feature_map.image_size_hw)}'
            )
        for maps in self.attention or ():
            if maps.ndim != 4 or maps.shape[:2] != maps.shape[2:] or maps.numel() == 0 or not maps.is_floating_point():
                raise ValueError(
                    f'attention: expected floating-point tensors [h, w, h, w], received {maps.dtype} '
                    f'{tuple(maps.shape)}'
                )
        if self.count is not None and self.count < 1:
            raise ValueError(f'count: expected at least 1 segment, received {self.count}')

    @cached_property
    def frame(self) -> Frame:
        """The image with its features and what is computed from them, so that another tau computes no hierarchy anew.

        Raises:
            ValueError: for a sample without features.
        """
        return Frame(self.image_rgb, features_of(self))


@dataclass(frozen=True)
class Method:
    """A system that segments images.

    Attributes:
        run: function from a sample and options, an instance of `config`, to labels: int64 [H, W], 0..K-1, each at least
            once. Raises ValueError where the sample lacks what it needs.
        config: frozen dataclass of its options, with descriptions and ranges; see `core.parameters`.
        needs: what it works on: 'features', 'attention' or 'image'.
    """

    run: Callable[[Sample, Any], np.ndarray]
    config: type
    needs: str

    def __post_init__(self) -> None:
        if self.needs not in NEEDS:
            raise ValueError(f'needs: expected one of {", ".join(NEEDS)}, received {self.needs!r}')


def features_of(sample: Sample) -> FeatureMap:
    """Return the features of a sample.

    Raises:
        ValueError: when it has none.
    """
    if sample.feature_map is None:
        raise ValueError('feature_map: expected features of the image, received none; give the sample a feature map')
    return sample.feature_map


def attention_of(sample: Sample) -> Sequence[torch.Tensor]:
    """Return the attention maps of a sample.

    Raises:
        ValueError: when it has none.
    """
    if not sample.attention:
        raise ValueError(
            'attention: expected self-attention maps of the image, received none; take them from a whole Stable '
            'Diffusion checkpoint, see features.diffusion.attention'
        )
    return sample.attention


def numbered(labels: np.ndarray) -> np.ndarray:
    """Return labels, int [H, W], as int64 0..K-1, each at least once, in their old order."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)
