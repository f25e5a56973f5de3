"""A Gaussian kernel over cells as features: their cosine similarity is that of the kernel."""

import numpy as np

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
        # A fixed seed makes features repeat.
        frequencies = np.random.default_rng(0).standard_normal((dimensions, _FREQUENCIES), np.float32)
        self._frequencies = frequencies / np.float32(width)

    def __call__(self, cells: np.ndarray, out: np.ndarray) -> None:
        """Write the features, float32 [h, w, 512], of cells, float32 [h, w, dimensions]."""
        phase = cells @ self._frequencies
        np.cos(phase, out=out[:, :, :_FREQUENCIES])
        np.sin(phase, out=out[:, :, _FREQUENCIES:])
