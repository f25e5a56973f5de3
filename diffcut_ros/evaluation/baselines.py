"""Other people's segmenters, from scikit-image, to compare with."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from scipy.sparse.linalg import ArpackError
from skimage import graph
from skimage.segmentation import felzenszwalb, slic

# A setting of a method: what it is, and the function from an image, uint8 [H, W, 3], to labels, int [H, W].
Setting = tuple[str, Callable[[np.ndarray], np.ndarray]]


def felzenszwalb_settings() -> list[Setting]:
    """Return Felzenszwalb & Huttenlocher (2004) over scales, smoothing and minimum sizes."""
    grid = product((100, 200, 400, 700, 1000, 1500), (0.5, 0.8, 1.2), (100, 500, 1500))
    return [
        (
            f'scale {scale}, sigma {sigma}, min_size {min_size}',
            partial(felzenszwalb, scale=scale, sigma=sigma, min_size=min_size),
        )
        for scale, sigma, min_size in grid
    ]


def slic_ncut_settings() -> list[Setting]:
    """Return `slic_ncut` over affinity widths and thresholds."""
    return [
        (f'sigma {sigma}, threshold {threshold}', partial(slic_ncut, sigma=sigma, threshold=threshold))
        for sigma, threshold in product((30, 100, 300), (0.001, 0.01, 0.1))
    ]


def slic_ncut(image_rgb: np.ndarray, sigma: float, threshold: float) -> np.ndarray:
    """Cut the graph of 200 adjacent SLIC superpixels by recursive Normalized Cut, as scikit-image does it.

    The affinity is exp(-d^2 / sigma), d = difference of mean colours. An image on which scikit-image's eigensolver
    gives up counts as a single segment.
    """
    superpixels = slic(image_rgb, n_segments=200, compactness=20, start_label=0)
    adjacency = graph.rag_mean_color(image_rgb, superpixels, mode='similarity', sigma=sigma)
    try:
        return graph.cut_normalized(superpixels, adjacency, thresh=threshold, rng=0)
    except ArpackError:
        return np.zeros_like(superpixels)
