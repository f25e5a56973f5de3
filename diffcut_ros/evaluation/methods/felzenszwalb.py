"""`felzenszwalb`: a graph of pixels, merged greedily (Felzenszwalb & Huttenlocher, IJCV 2004), as scikit-image does."""

from dataclasses import dataclass

import numpy as np
import skimage.segmentation

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.evaluation.methods.sample import Sample, numbered


# The defaults are the best single setting of those that `diffcut_benchmark bsds` tries, by covering on BSDS500 val.
@dataclass(frozen=True)
class FelzenszwalbConfig:
    """Settings of `felzenszwalb`; raises ValueError for a value out of its range."""

    scale: float = parameter(400.0, "The paper's k: larger gives larger segments", minimum=0.0, maximum=1e6)
    sigma: float = parameter(1.2, 'Width of the Gaussian that smooths the image', unit='px', minimum=0.0, maximum=100.0)
    min_size: int = parameter(
        1500, 'Smaller segments are merged with a neighbour', unit='px', minimum=1, maximum=100_000_000
    )

    def __post_init__(self) -> None:
        validate(self)


def segment(sample: Sample, config: FelzenszwalbConfig) -> np.ndarray:
    """Segment an image by its colours alone; see `Method.run`."""
    labels = skimage.segmentation.felzenszwalb(
        sample.image_rgb, scale=config.scale, sigma=config.sigma, min_size=config.min_size
    )
    return numbered(labels)
