"""`maskcut`: one object after the other by Normalized Cut, without the random field that its authors refine masks by.

Source: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance Segmentation" (CutLER), CVPR 2023,
section 3.2.

    symbol      meaning
    f_i         feature of cell i; 0 once the cell belongs to an object
    W           1 where the cosine similarity of f_i and f_j is above tau, else 1e-5
    x           solution of (D - W) x = lambda D x with the second smallest lambda, D the diagonal matrix of W's degrees

Each round parts the cells at the mean of x. Foreground is the part with the largest |x|, unless it has three or four of
the grid's corners: then it is the other one. Of the foreground, the connected piece with its most extreme x is the
object. From the second round on, an object is dropped if it is mostly that of the round before, or too small.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.evaluation.methods.cells import labels_of_pixels, upsampling
from diffcut_ros.evaluation.methods.sample import Sample, features_of, numbered

_WEAK = 1e-5
# An object is dropped above this IoU with the one before, and up to this share of the image.
_LARGEST_IOU = 0.5
_SMALLEST_SHARE = 0.01
# Up to so many cells all eigenvectors are computed at once. Twenty rounds on 1376 to 1536 cells take 0.3 to 0.6 s by
# iteration, 2.1 to 3.5 s so; on 24 photographs at three taus, the objects were the same but for one of 72.
_DENSE = 100


@dataclass(frozen=True)
class MaskcutConfig:
    """Settings of `maskcut`; raises ValueError for a value out of its range."""

    objects: int = parameter(5, 'Rounds, so the most objects; k of DiffCut, table 6', minimum=1, maximum=1000)
    # Below 0, cells whose features were set to 0 would be alike to all others.
    tau: float = parameter(
        0.15, 'Cells of a higher cosine similarity than this are connected', minimum=0.0, maximum=1.0
    )
    upsampling: str = upsampling('nearest')  # as MaskCut's authors do

    def __post_init__(self) -> None:
        validate(self)


@torch.inference_mode()
def segment(sample: Sample, config: MaskcutConfig) -> np.ndarray:
    """Segment an image from its features; what belongs to no object is one segment; see `Method.run`.

    Raises:
        ValueError: for a sample without features.
    """
    feature_map = features_of(sample)
    unit = F.normalize(feature_map.flat(), dim=1).cpu().numpy()
    cells = numbered(objects_of(unit, feature_map.grid_hw, config))
    return numbered(labels_of_pixels(feature_map, cells.ravel(), config.upsampling))


def objects_of(features: np.ndarray, grid_hw: tuple[int, int], config: MaskcutConfig) -> np.ndarray:
    """Return the objects of a grid of cells, int64 [h, w]: 0 = none, k + 1 = found in round k.

    Args:
        features: float [h * w, C], L2-normalised.
        grid_hw: h and w.
        config: settings.
    """
    similarity = features @ features.T
    labels = np.zeros(grid_hw, np.int64)
    free = np.ones(grid_hw, bool)
    before = np.zeros(grid_hw, bool)
    for k in range(config.objects):
        connected = (similarity > config.tau) & free.ravel() & free.ravel()[:, None]
        affinity = np.where(connected, 1, _WEAK)
        if connected.all() or not connected.any():
            break  # all vectors are solutions: there is nothing to part
        mask = foreground_object(second_eigenvector(affinity).reshape(grid_hw))
        if k > 0 and (_iou(before, mask) > _LARGEST_IOU or mask.mean() <= _SMALLEST_SHARE):
            if not before.any():
                break  # as in the round before, and so in all that follow
            mask = np.zeros(grid_hw, bool)
        labels[mask & (labels == 0)] = k + 1
        free &= ~mask
        before = mask
    return labels


def second_eigenvector(affinity: np.ndarray) -> np.ndarray:
    """Return x of the table above, float64 [N]; its entry with the largest magnitude is positive.

    Args:
        affinity: float64 [N, N], N >= 2, symmetric, positive.
    """
    scale = affinity.sum(1) ** -0.5
    # Its second largest eigenvalue is 1 - lambda.
    symmetric = scale[:, None] * affinity * scale
    n = len(affinity)
    x = scale * (_iterated(symmetric) if n > _DENSE else _dense(symmetric))
    return x * np.sign(x[np.abs(x).argmax()])


def _iterated(symmetric: np.ndarray) -> np.ndarray:
    """Return the eigenvector of the second largest eigenvalue; the same at each call."""
    start = np.random.default_rng(0).standard_normal(len(symmetric))
    try:
        return eigsh(symmetric, 2, which='LA', v0=start)[1][:, 0]
    except ArpackNoConvergence:
        return _dense(symmetric)


def _dense(symmetric: np.ndarray) -> np.ndarray:
    second = len(symmetric) - 2
    return scipy.linalg.eigh(symmetric, subset_by_index=[second, second])[1][:, 0]


def foreground_object(x: np.ndarray) -> np.ndarray:
    """Return the object of one round, bool [h, w].

    With this sign, the authors' program does the same as their paper says. With the other one, which an eigensolver may
    give as well, it never looks at the corners.

    Args:
        x: float64 [h, w]; its entry with the largest magnitude is positive.
    """
    foreground = x > x.mean()
    # A grid of one row or column has each corner twice, here as in the program.
    if np.count_nonzero(foreground[[0, 0, -1, -1], [0, -1, 0, -1]]) >= 3:
        foreground, x = ~foreground, -x
    pieces, _ = ndimage.label(foreground)
    return pieces == pieces.ravel()[x.argmax()]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two masks, of which the second is not empty."""
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)
