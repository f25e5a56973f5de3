"""`slic_ncut`: recursive Normalized Cut of adjacent superpixels, as scikit-image does it."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError
from skimage import graph
from skimage.segmentation import slic

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.evaluation.methods.sample import Sample, numbered


# The defaults are the best single setting of those that `diffcut_benchmark bsds` tries, by covering on BSDS500 val.
@dataclass(frozen=True)
class SlicNcutConfig:
    """Settings of `slic_ncut`; raises ValueError for a value out of its range."""

    superpixels: int = parameter(200, 'SLIC superpixels, about', minimum=1, maximum=100_000)
    compactness: float = parameter(
        20.0, 'Weight of closeness against likeness in SLIC (Achanta et al., PAMI 2012)', minimum=0.001, maximum=1e6
    )
    sigma: float = parameter(
        300.0,
        'Affinity of two superpixels is exp(-d^2 / sigma), d = difference of their mean colours of 0 to 255',
        minimum=0.001,
        maximum=1e6,
    )
    threshold: float = parameter(
        0.001, 'Subsets whose best split has a lower NCut value are split', minimum=0.0, maximum=2.0
    )

    def __post_init__(self) -> None:
        validate(self)


def segment(sample: Sample, config: SlicNcutConfig) -> np.ndarray:
    """Segment an image by its colours alone; see `Method.run`.

    An image on which scikit-image's eigensolver gives up is a single segment.
    """
    image = sample.image_rgb
    superpixels = slic(image, n_segments=config.superpixels, compactness=config.compactness, start_label=0)
    if not superpixels.any():
        return np.zeros(superpixels.shape, np.int64)  # scikit-image's graph of one superpixel is empty
    adjacency = graph.rag_mean_color(image, superpixels, mode='similarity', sigma=config.sigma)
    try:
        return numbered(graph.cut_normalized(superpixels, adjacency, thresh=config.threshold, rng=0))
    except ArpackError:
        return np.zeros(superpixels.shape, np.int64)
