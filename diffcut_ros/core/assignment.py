"""From cells to pixels: which segment each pixel of the image belongs to."""

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.threads import threads_for
from diffcut_ros.core.types import FeatureMap
from diffcut_ros.core.upsampling import best_upsampled, upsampled_at


def concept_features(feature_map: FeatureMap, labels: np.ndarray) -> torch.Tensor:
    """Return the mean of the L2-normalised features of each segment's cells (DiffCut, section 3.3).

    Args:
        feature_map: features [h, w, C].
        labels: int64 [h * w], 0..K-1, each at least once, as from `SegmentTree.cut`.

    Returns:
        float32 [K, C], not normalised: its length is the segment's cohesion (see `Segment.score`).
    """
    return mean_features(feature_map, labels, np.arange(len(labels)))


def mean_features(feature_map: FeatureMap, labels: np.ndarray, cells: np.ndarray) -> torch.Tensor:
    """Return the mean of the L2-normalised features of those cells, int64 [M], that have each label, int [M].

    Returns:
        float32 [K, C]; see `concept_features`.
    """
    unit, count = feature_map.unit, np.bincount(labels)
    if unit.device.type == 'cpu':
        means = np.empty((len(count), unit.shape[1]), np.float32)
        _means(unit.numpy(), labels.astype(np.int64), cells.astype(np.int64), count, means)
        return torch.from_numpy(means)
    # The cells of one label after the other, as bags: each is summed in this order. `index_add_` sums as it happens on
    # a GPU, and the same image would not give the same features twice.
    bags, begins = (
        torch.from_numpy(values).to(unit.device)
        for values in (cells[np.argsort(labels, kind='stable')], np.cumsum(count) - count)
    )
    return F.embedding_bag(bags, unit, begins, mode='mean')


@compiled("void(Array(float32, 2, 'C', readonly=True), int64[::1], int64[::1], int64[::1], float32[:, ::1])")
def _means(unit: np.ndarray, labels: np.ndarray, cells: np.ndarray, count: np.ndarray, means: np.ndarray) -> None:
    """Do what `mean_features` says, with vectors float32 [N, C]; count is int64 [K], of the labels."""
    means[:] = 0
    for m in range(len(labels)):
        row, mean = unit[cells[m]], means[labels[m]]
        for c in range(len(row)):
            mean[c] += row[c]
    for k in range(len(count)):
        for c in range(means.shape[1]):
            means[k, c] /= count[k]


def assign_concepts(
    feature_map: FeatureMap,
    concepts: torch.Tensor,
    favoured: torch.Tensor | None = None,
    lead: torch.Tensor | None = None,
) -> torch.Tensor:
    """Give each pixel the segment whose mean feature is the most similar (DiffCut, section 3.3).

    Pixel features are the bilinearly upsampled cell features, and the similarity is their dot product with the
    concepts. Upsampling is linear, so the scores of the cells are upsampled instead of the features: the same result
    for K instead of C channels.

    Args:
        feature_map: features [h, w, C] of an image of H x W pixels.
        concepts: float32 [K, C], one per segment; see `concept_features`.
        favoured: int64 [H, W], for each pixel a segment 0..K-1 that it gets unless the most similar one is so by its
            `lead`, or -1; None = no such pixel.
        lead: float32 [K], by how much a segment has to be more similar than the favoured one; needed with `favoured`.

    Returns:
        int64 [H, W], 0..K-1, on the features' device. A segment may be left without pixels.

    Raises:
        ValueError: when the channels differ or there is no concept.
    """
    h, w, channels = feature_map.features.shape
    if concepts.ndim != 2 or concepts.shape[1] != channels or len(concepts) < 1:
        raise ValueError(f'concepts: expected a tensor [K, {channels}] with K >= 1, received {tuple(concepts.shape)}')
    with threads_for(h * w):
        scores = (concepts @ feature_map.unit.T).reshape(-1, h, w)
        labels = best_upsampled(scores, feature_map.image_size_hw)
        if favoured is not None:
            assert lead is not None, 'lead: expected a tensor [K], as favoured is given, received None'
            y, x = torch.nonzero((favoured != labels) & (favoured >= 0), as_tuple=True)
            best, other = labels[y, x], favoured[y, x]
            similarity = upsampled_at(scores, feature_map.image_size_hw, torch.stack([best, other]), y, x)
            labels[y, x] = torch.where(similarity[0] - similarity[1] < lead[best], other, best)
    return labels
