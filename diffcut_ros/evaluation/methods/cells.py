"""From the labels of cells to those of pixels, for methods that group cells."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap, assign_concepts
from diffcut_ros.core.assignment import concept_features
from diffcut_ros.core.parameters import parameter

UPSAMPLINGS = ('concepts', 'nearest')


def upsampling(default: str = 'concepts') -> Any:
    """Return the field `upsampling` of a method's configuration; see `labels_of_pixels`."""
    return parameter(
        default,
        'How cells become pixels: concepts (by the most similar mean feature) or nearest (as their cell)',
        choices=UPSAMPLINGS,
    )


def labels_of_pixels(feature_map: FeatureMap, cells: np.ndarray, upsampling: str) -> np.ndarray:
    """Return the labels of pixels, int64 [H, W].

    Args:
        feature_map: features [h, w, C] of an image of H x W pixels.
        cells: int64 [h * w], 0..K-1, each at least once.
        upsampling: 'concepts' gives each pixel the segment with the most similar mean feature (DiffCut, section 3.3);
            'nearest' gives it that of its cell (DiffCut, table 8).

    Raises:
        ValueError: for another upsampling.
    """
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f'upsampling: expected one of {", ".join(UPSAMPLINGS)}, received {upsampling!r}')
    if upsampling == 'nearest':
        grid = torch.from_numpy(cells).reshape(1, 1, *feature_map.grid_hw)
        # Labels up to the number of cells are exact in float64.
        return F.interpolate(grid.double(), feature_map.image_size_hw, mode='nearest-exact')[0, 0].long().numpy()
    concepts = concept_features(feature_map, cells)
    return assign_concepts(feature_map, concepts).cpu().numpy()
