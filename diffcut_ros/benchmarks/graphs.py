"""Graphs of photographs that the NCut benchmark cuts."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from skimage import data

from diffcut_ros.core import FeatureMap
from diffcut_ros.features import create_extractor

# Channels and heads of the layer that DiffCut takes its features from in SSD-1B.
_CHANNELS, _HEADS = 1280, 20
# Makes attention as sharp as gives segment counts like those of trained features (median 6.5 at tau 0.5).
_SHARPNESS = 2.0


def photographs() -> list[np.ndarray]:
    """Return the colour photographs inside scikit-image, cut square, uint8 [S, S, 3] RGB."""
    left, right, _ = data.stereo_motorcycle()
    return [square(image) for image in (data.coffee(), data.astronaut(), data.chelsea(), data.rocket(), left, right)]


def square(image_rgb: np.ndarray) -> np.ndarray:
    """Return the largest square in the middle of an image."""
    height, width = image_rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image_rgb[top : top + side, left : left + side, :3])


def color_features(image_rgb: np.ndarray, side: int) -> FeatureMap:
    """Return the features of the colour backend on a grid of side x side cells."""
    return create_extractor('color', device='cpu', cells=side)(image_rgb)


@torch.inference_mode()
def random_features(image_rgb: np.ndarray, side: int) -> FeatureMap:
    """Return features of a small network with random weights, 1280 channels on a grid of side x side cells.

    The network is laid out as the encoder that DiffCut uses: convolutions down to an eighth of the size, then
    self-attention, whose output is the feature. It has learnt nothing; what it shares with trained features are their
    number, their smoothness and how they are mixed over the image.
    """
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) / np.sqrt(np.prod(shape[1:]))

    image = cv2.resize(image_rgb, (8 * side, 8 * side), interpolation=cv2.INTER_AREA)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    for channels, stride in ((80, 2), (160, 2), (320, 2), (_CHANNELS, 1)):
        x = F.conv2d(x, weights(channels, x.shape[1], 3, 3), stride=stride, padding=1)
        x = F.silu(F.group_norm(x, 8))
    tokens = F.layer_norm(x[0].flatten(1).T, (_CHANNELS,))
    query, key, value = (
        (tokens @ weights(_CHANNELS, _CHANNELS).T).view(len(tokens), _HEADS, -1).transpose(0, 1) for _ in range(3)
    )
    mixed = F.scaled_dot_product_attention(_SHARPNESS * query, key, value).transpose(0, 1).reshape(len(tokens), -1)
    return FeatureMap((mixed @ weights(_CHANNELS, _CHANNELS).T).view(side, side, -1), image_rgb.shape[:2])


# kind -> features of an image on a grid of side x side cells
FEATURES: dict[str, Callable[[np.ndarray, int], FeatureMap]] = {'color': color_features, 'random': random_features}
