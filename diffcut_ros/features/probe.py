"""What tells whether features of two backends can be compared: those of one picture that everybody can make."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.types import FeatureMap

_SIZE_PX = 256
# Of half and single precision, or of another device, features agree far better; those of other settings do not.
_ALIKE = 0.97


def probe(extractor: Callable[[np.ndarray], FeatureMap]) -> np.ndarray:
    """Return what a backend makes of the picture: the mean features of its quarters, L2-normalised, float32 [4, C]."""
    with torch.inference_mode():
        return quarters(extractor(_picture())).float().cpu().numpy()


def quarters(feature_map: FeatureMap) -> torch.Tensor:
    """Return the mean features of the quarters of an image, L2-normalised, float32 [4, C]."""
    cells = F.normalize(feature_map.features, dim=2).movedim(2, 0)
    return F.normalize(F.adaptive_avg_pool2d(cells, 2).flatten(1).T, dim=1)


def comparable(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether features of two backends can be compared, given their probes."""
    return first.shape == second.shape and bool((np.einsum('qc,qc->q', first, second) > _ALIKE).all())


def _picture() -> np.ndarray:
    """Return shapes, shades and textures, uint8 [256, 256, 3] RGB, the same everywhere."""
    y, x = np.mgrid[:_SIZE_PX, :_SIZE_PX]
    stripes = 127 + 90 * np.sin(x / 5.0) * (y > 128)
    picture = np.stack([x * 0.8, stripes, y * 0.9], 2).astype(np.uint8)
    cv2.circle(picture, (70, 80), 45, (220, 40, 30), -1)
    cv2.rectangle(picture, (150, 30), (230, 100), (30, 160, 60), -1)
    cv2.ellipse(picture, (190, 190), (50, 25), 30, 0, 360, (240, 230, 90), -1)
    return picture
