"""How well features tell what belongs together: similarity to a chosen cell, and same-class ROC (DiffCut, section 3.1).

Figure 4 shows the cosine similarity of one cell to all cells of its own and of other images; figure 3 takes it as the
score by which pairs of cells are said to be of one class.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import auc, roc_curve

from diffcut_ros.core import FeatureMap

# Pairs whose features are held at once: bounds the memory.
_PAIRS = 10_000


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic of "same class", over all thresholds on the cosine similarity.

    Attributes:
        false_positive_rate: float64 [T], share of the pairs of two classes above the threshold, rising from 0 to 1.
        true_positive_rate: float64 [T], share of the pairs of one class above it.
        area: under the curve, 0.5 for features that tell nothing, 1 for perfect ones.
        pairs: number of pairs.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    area: float
    pairs: int


def similarity_map(reference: FeatureMap, cell: tuple[int, int], target: FeatureMap | None = None) -> np.ndarray:
    """Return the cosine similarity of a cell to all cells (DiffCut, figure 4).

    Args:
        reference: features of the image that the cell belongs to.
        cell: its row and column.
        target: features of another image, with as many channels; None: the same image.

    Returns:
        float32 [h, w] of the target, -1 to 1.

    Raises:
        ValueError: for a cell that is not there, or another number of channels.
    """
    target = target or reference
    h, w = reference.grid_hw
    row, column = cell
    if not (0 <= row < h and 0 <= column < w):
        raise ValueError(f'cell: expected (row, column) within a grid of {h} x {w} cells, received {tuple(cell)}')
    if target.features.shape[2] != reference.features.shape[2]:
        raise ValueError(
            f'target: expected features of {reference.features.shape[2]} channels, as the reference has, received '
            f'{target.features.shape[2]}'
        )
    return F.cosine_similarity(target.features, reference.features[row, column], dim=2).cpu().numpy()


def cell_classes(labels: np.ndarray, grid_hw: tuple[int, int]) -> np.ndarray:
    """Return the class of each cell: the one with the most of its pixels.

    Args:
        labels: int [H, W], classes from 0; negative = no class.
        grid_hw: rows and columns of the grid that covers the image, at most one per pixel.

    Returns:
        int64 [h, w]; -1 where most pixels have no class. Of equally frequent ones, the first.

    Raises:
        ValueError: for a grid finer than the pixels.
    """
    (height, width), (h, w) = labels.shape, grid_hw
    if h > height or w > width:
        raise ValueError(f'grid_hw: expected at most one cell per pixel of {height} x {width}, received {h} x {w}')
    cell = (np.arange(height) * h // height)[:, None] * w + np.arange(width) * w // width
    classes = np.maximum(labels.astype(np.int64), -1) + 1
    count = np.bincount((cell * (classes.max() + 1) + classes).ravel(), minlength=h * w * (classes.max() + 1))
    return count.reshape(h, w, -1).argmax(2) - 1


def same_class_roc(features: torch.Tensor, classes: np.ndarray, pairs: int = 1_000_000, seed: int = 0) -> Roc:
    """Return how well the cosine similarity of two cells tells whether they are of one class (DiffCut, figure 3).

    Args:
        features: float32 [N, C], of cells of any number of images.
        classes: int [N], from 0; cells of a negative one are left out.
        pairs: all pairs are taken up to this number, otherwise so many at random.
        seed: of the choice.

    Raises:
        ValueError: for unequal numbers, or where all pairs are of one class, or none is.
    """
    if len(features) != len(classes):
        raise ValueError(f'classes: expected one for each of {len(features)} features, received {len(classes)}')
    kept = np.flatnonzero(classes >= 0)
    first, second = (kept[index] for index in _choose_pairs(len(kept), pairs, np.random.default_rng(seed)))
    same = classes[first] == classes[second]
    if same.all() or not same.any():
        found = 'none, as fewer than two cells have a class' if not len(same) else f'{same.sum()} of {len(same)}'
        raise ValueError(f'classes: expected pairs of one class and pairs of two, received of one class: {found}')
    unit = F.normalize(features, dim=1)
    similarity = [
        (unit[first[i : i + _PAIRS]] * unit[second[i : i + _PAIRS]]).sum(1) for i in range(0, len(first), _PAIRS)
    ]
    false, true, _ = roc_curve(same, torch.cat(similarity).cpu().numpy())
    return Roc(false, true, float(auc(false, true)), len(same))


def _choose_pairs(count: int, pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of pairs of different elements: all, or so many with repetition."""
    if count * (count - 1) // 2 <= pairs:
        return np.triu_indices(count, 1)
    first = rng.integers(0, count, pairs)
    # One of the others, each as likely.
    return first, (first + rng.integers(1, count, pairs)) % count
