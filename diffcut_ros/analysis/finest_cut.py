"""The finest cut of a frame's hierarchy, small enough to be kept; every coarser cut follows from it."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from diffcut_ros.core import FeatureMap, Frame, assign_concepts
from diffcut_ros.core.assignment import concept_features
from diffcut_ros.core.refinement import refine_borders

# Down to this tau, or to that of the analysis where it is larger: beyond, there is hardly anything but specks.
DEEPEST_TAU = 0.9
# Longer side of the map of pixels, px, at most: what a page shows.
LONGEST_PX = 640


@dataclass(frozen=True)
class FinestCut:
    """K parts of an image, numbered so that each segment of a coarser cut is a run of them.

    Attributes:
        parts: uint16 [h, w], the part 0..K-1 that each pixel belongs to, of an image of reduced size.
        taus: float64 [K - 1]: parts k and k + 1 lie in different segments at a tau above `taus[k]`.
        tau: of this cut; the largest one whose cut follows from it.
    """

    parts: np.ndarray
    taus: np.ndarray
    tau: float


def reduced_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an image that is reduced to `LONGEST_PX`, if it is larger."""
    scale = min(1.0, LONGEST_PX / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


@torch.inference_mode()
def finest_cut(frame: Frame, alpha: float, tau: float, refine: str) -> FinestCut:
    """Return the finest cut of a frame's hierarchy, down to tau or further.

    Args:
        frame: whose hierarchy grows where it ends before.
        alpha: exponent of the affinity.
        tau: of the analysis.
        refine: see `SegmenterConfig`; watershed moves borders here, too.

    Raises:
        MemoryError: when the device has too little memory.
    """
    deepest = max(DEEPEST_TAU, tau)
    tree = frame.tree(alpha, deepest)
    positions, taus = tree.boundaries()
    positions, taus = positions[taus < deepest], taus[taus < deepest]
    cells = np.empty(tree.n_nodes, np.int64)
    cells[tree.order] = np.searchsorted(positions, np.arange(tree.n_nodes), side='right')
    concepts = concept_features(frame.feature_map, cells)
    small = FeatureMap(frame.feature_map.features, reduced_size(frame.feature_map.image_size_hw))
    parts = assign_concepts(small, concepts).cpu().numpy().astype(np.uint16)
    if refine == 'watershed':
        image = cv2.resize(frame.image_rgb, small.image_size_hw[::-1], interpolation=cv2.INTER_AREA)
        parts = refine_borders(image, parts, small.grid_hw)
    return FinestCut(parts, taus, deepest)
