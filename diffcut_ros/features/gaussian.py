"""A Gaussian kernel over cells as features: their cosine similarity is that of the kernel."""

import numpy as np
import torch

from diffcut_ros.core.types import FeatureMap

_FREQUENCIES = 256


class Gaussian:
    """Fourier features of a Gaussian kernel (Rahimi & Recht 2007).

    The cosine similarity of two cells at distance d is exp(-d^2 / (2 width^2)), up to an error of about 0.05.

    Args:
        dimensions: of the space that distances are measured in.
        width: above 0.
    """

    channels = 2 * _FREQUENCIES

    def __init__(self, dimensions: int, width: float) -> None:
        self._width = np.float32(width)
        # A fixed seed makes features repeat.
        self._frequencies = np.random.default_rng(0).standard_normal((dimensions, _FREQUENCIES), np.float32)

    def __call__(self, cells: np.ndarray, image_hw: tuple[int, int], device: torch.device) -> FeatureMap:
        """Return the features [h, w, 512], with their points, on a device.

        Args:
            cells: float32 [h, w, dimensions].
            image_hw: height and width of the image.
            device: where the features are put.
        """
        points = np.divide(cells, self._width, dtype=np.float32)
        phase = points @ self._frequencies
        features = np.empty((*cells.shape[:2], self.channels), np.float32)
        np.cos(phase, out=features[:, :, :_FREQUENCIES])
        np.sin(phase, out=features[:, :, _FREQUENCIES:])
        return FeatureMap(torch.from_numpy(features).to(device), image_hw, torch.from_numpy(points).to(device))
