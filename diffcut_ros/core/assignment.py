"""From cells to pixels: which segment each pixel of the image belongs to."""

import torch
import torch.nn.functional as F

from diffcut_ros.core.types import FeatureMap
from diffcut_ros.core.upsampling import best_upsampled


def concept_features(feature_map: FeatureMap, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean of the L2-normalised features of each segment's cells (DiffCut, section 3.3).

    Args:
        feature_map: features [h, w, C].
        labels: int64 [h * w], 0..K-1, each at least once.

    Returns:
        float32 [K, C], not normalised: its length is the segment's cohesion (see `Segment.score`).
    """
    unit = F.normalize(feature_map.flat(), dim=1)
    count = torch.bincount(labels)
    total = unit.new_zeros(len(count), unit.shape[1]).index_add_(0, labels, unit)
    return total / count[:, None]


def assign_concepts(
    feature_map: FeatureMap, concepts: torch.Tensor, favoured: torch.Tensor | None = None, lead: float = 0.0
) -> torch.Tensor:
    """Give each pixel the segment whose mean feature is the most similar (DiffCut, section 3.3).

    Pixel features are the bilinearly upsampled cell features, and the similarity is their dot product with the
    concepts. Upsampling is linear, so the scores of the cells are upsampled instead of the features: the same result
    for K instead of C channels.

    Args:
        feature_map: features [h, w, C] of an image of H x W pixels.
        concepts: float32 [K, C], one per segment; see `concept_features`.
        favoured: int64 [h * w], for each cell a segment 0..K-1 that it is to stay with if none is much more similar, or
            -1; None = no such cell.
        lead: what is added to the similarity of favoured segments.

    Returns:
        int64 [H, W], 0..K-1, on the features' device. A segment may be left without pixels.

    Raises:
        ValueError: when the channels differ or there is no concept.
    """
    h, w, channels = feature_map.features.shape
    if concepts.ndim != 2 or concepts.shape[1] != channels or len(concepts) < 1:
        raise ValueError(f'concepts: expected a tensor [K, {channels}] with K >= 1, received {tuple(concepts.shape)}')
    unit = F.normalize(feature_map.flat(), dim=1)
    scores = concepts @ unit.T
    if favoured is not None:
        cells = torch.nonzero(favoured >= 0).squeeze(1)
        scores[favoured[cells], cells] += lead
    return best_upsampled(scores.reshape(-1, h, w), feature_map.image_size_hw)
