"""Other people's segmenters and graph cuts, to compare with."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from scipy.sparse.linalg import ArpackError
from skimage import graph
from skimage.segmentation import felzenszwalb, slic
from sklearn.cluster import SpectralClustering

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


def scikit_image_ncut(affinity: np.ndarray, threshold: float) -> np.ndarray:
    """Cut a graph by scikit-image's recursive Normalized Cut.

    Args:
        affinity: float [N, N], symmetric.
        threshold: subsets whose best split, of ten thresholds, has a lower NCut value are split.

    Returns:
        int [N] labels.

    Raises:
        ArpackError: where its eigensolver gives up.
    """
    n = len(affinity)
    adjacency = graph.RAG()
    adjacency.add_nodes_from((i, {'labels': [i]}) for i in range(n))
    first, second = np.nonzero(np.triu(affinity, 1))
    adjacency.add_weighted_edges_from(
        zip(first.tolist(), second.tolist(), affinity[first, second].astype(float).tolist(), strict=True)
    )
    return graph.cut_normalized(np.arange(n)[None], adjacency, thresh=threshold, rng=0, in_place=True)[0]


def spectral_clustering(affinity: np.ndarray, segments: int) -> np.ndarray:
    """Cut a graph into a number of segments by scikit-learn's spectral clustering, at its defaults.

    Args:
        affinity: float [N, N], symmetric.
        segments: their number.

    Returns:
        int [N] labels.
    """
    return SpectralClustering(segments, affinity='precomputed', random_state=0).fit_predict(affinity)
