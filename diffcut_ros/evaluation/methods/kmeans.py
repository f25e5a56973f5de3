"""`kmeans`: as many clusters of features as asked for (DiffCut, table 9)."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.evaluation.methods.cells import labels_of_pixels, upsampling
from diffcut_ros.evaluation.methods.sample import Sample, features_of, numbered


@dataclass(frozen=True)
class KMeansConfig:
    """Settings of `kmeans`; raises ValueError for a value out of its range."""

    clusters: int = parameter(
        0, 'Number of them; 0: as many as the labels have segments, K* of DiffCut, table 9', minimum=0, maximum=10_000
    )
    restarts: int = parameter(10, 'Runs from other starts, of which the tightest is taken', minimum=1, maximum=1000)
    seed: int = parameter(0, 'Of the starts', minimum=0, maximum=2**32 - 1)
    upsampling: str = upsampling()

    def __post_init__(self) -> None:
        validate(self)


@torch.inference_mode()
def segment(sample: Sample, config: KMeansConfig) -> np.ndarray:
    """Cluster the L2-normalised features of cells by k-means, as many as asked for; see `Method.run`.

    Where fewer cells than that differ, there are fewer segments.

    Raises:
        ValueError: for a sample without features or count, or a count above the number of cells.
    """
    feature_map = features_of(sample)
    features = F.normalize(feature_map.flat(), dim=1).cpu().numpy()
    count = config.clusters or sample.count
    if count is None:
        raise ValueError('count: expected the number of segments for kmeans, received none; give the sample a count')
    if count > len(features):
        raise ValueError(f'count: expected at most {len(features)} segments, one per cell, received {count}')
    with warnings.catch_warnings():
        # That there are fewer different cells than clusters is said to the caller by the labels.
        warnings.simplefilter('ignore', ConvergenceWarning)
        cells = KMeans(count, n_init=config.restarts, random_state=config.seed).fit_predict(features)
    return numbered(labels_of_pixels(feature_map, numbered(cells), config.upsampling))
