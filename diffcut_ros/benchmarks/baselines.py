"""Other people's graph cuts, to compare with."""

import numpy as np
from skimage import graph
from sklearn.cluster import SpectralClustering


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
