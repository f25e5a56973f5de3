"""`autosc`: spectral clustering that chooses its graph and its number of clusters (DiffCut, table 2).

    symbol      meaning
    W           affinity matrix at an exponent alpha (DiffCut, section 3.2), D the diagonal matrix of its degrees
    lambda_i    eigenvalues of I - D^-1/2 W D^-1/2, rising, i from 0
    m_i         mean of lambda_0 to lambda_i
    gap_i       (lambda_i - m_i) / (m_i + 1e-6), the relative eigengap before lambda_i

The alpha with the largest gap is taken, and as many clusters K as there are eigenvalues before that gap (after Fan et
al., "A Simple Approach to Automated Spectral Clustering", NeurIPS 2022). The mean includes lambda_i itself, as in the
program of DiffCut's authors: without it, the gap after lambda_0 = 0 would always be the largest. The first K
eigenvectors are clustered by a pivoted QR decomposition (Damle, Minden & Ying, Information and Inference 2019).
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster._spectral import cluster_qr  # public only within SpectralClustering, on vectors of its own

from diffcut_ros.core import affinity_matrix
from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.evaluation.methods.cells import labels_of_pixels, upsampling
from diffcut_ros.evaluation.methods.sample import Sample, features_of, numbered

ALPHAS = (1, 5, 10, 15)
_EPSILON = 1e-6


@dataclass(frozen=True)
class AutoscConfig:
    """Settings of `autosc`; raises ValueError for a value out of its range."""

    eigenvectors: str = parameter(
        'best',
        "Which alpha's eigenvectors are clustered: best (that of the largest gap) or last (of those tried, as the "
        "authors' program does by a slip)",
        choices=('best', 'last'),
    )
    upsampling: str = upsampling()

    def __post_init__(self) -> None:
        validate(self)


@torch.inference_mode()
def segment(sample: Sample, config: AutoscConfig) -> np.ndarray:
    """Segment an image from its features; see `Method.run`.

    Raises:
        ValueError: for a sample without features.
    """
    feature_map = features_of(sample)
    cells = cluster(affinity_matrix(feature_map.flat(), 1.0), config)
    return numbered(labels_of_pixels(feature_map, cells, config.upsampling))


def cluster(affinity: torch.Tensor, config: AutoscConfig) -> np.ndarray:
    """Return the clusters of cells, int64 [N] 0..K-1, each at least once.

    Args:
        affinity: float32 [N, N] at alpha 1, see `affinity_matrix`.
        config: settings.
    """
    graphs = [affinity.double() ** alpha for alpha in ALPHAS]
    gaps = torch.stack([relative_eigengaps(torch.linalg.eigvalsh(_laplacian(graph))) for graph in graphs])
    best, count = divmod(int(gaps.argmax()), gaps.shape[1])  # the first alpha of equal ones
    if count <= 1:
        return np.zeros(len(affinity), np.int64)
    graph = graphs[best if config.eigenvectors == 'best' else -1]
    vectors = graph.sum(1)[:, None] ** -0.5 * torch.linalg.eigh(_laplacian(graph))[1][:, :count]
    return numbered(cluster_qr(vectors.cpu().numpy()))


def relative_eigengaps(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Return the relative gap before each eigenvalue, gap_i of the table above.

    Args:
        eigenvalues: float64 [N], rising.

    Returns:
        float64 [N]; 0 for the first, at most i for that of index i.
    """
    mean = eigenvalues.cumsum(0) / torch.arange(1, len(eigenvalues) + 1).to(eigenvalues)
    return (eigenvalues - mean) / (mean + _EPSILON)


def _laplacian(affinity: torch.Tensor) -> torch.Tensor:
    scale = affinity.sum(1) ** -0.5
    return torch.eye(len(affinity)).to(affinity) - scale[:, None] * affinity * scale
