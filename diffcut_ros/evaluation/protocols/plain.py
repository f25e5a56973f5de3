"""Plain scoring: whole images at their own size, ignored pixels left out.

Segments are matched by shared pixels with the classes that are in the image; see `matching.count`. Beside classes,
regions are compared, and borders where people drew segments. Figures are not comparable with the paper's.
"""

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.upsampling import best_upsampled
from diffcut_ros.evaluation.datasets import IGNORED, Dataset, Example
from diffcut_ros.evaluation.matching import count, overlap
from diffcut_ros.evaluation.metrics import agreement, boundary_counts
from diffcut_ros.evaluation.protocols.pamr import refined_masks
from diffcut_ros.evaluation.protocols.view import Protocol, Score, View

# Pixels along the shorter side that PAMR works at, as in the paper.
_REFINED_SIDE = 128


def view(example: Example, dataset: Dataset) -> View:
    """Return an image as it is."""
    return View(example.image_rgb, example.image_rgb, example.truths)


def score(labels: np.ndarray, shown: View, dataset: Dataset, refine: bool) -> Score:
    """Score segments, int64 [H, W]."""
    if refine:
        labels = refined(shown.image_rgb, labels)
    labelled = [truth != IGNORED for truth in shown.truths]
    regions = agreement([(truth[kept], labels[kept]) for truth, kept in zip(shown.truths, labelled, strict=True)])
    if not dataset.classes:
        return Score(agreement=regions, boundary=boundary_counts(labels, shown.truths))
    (truth,) = shown.truths
    return Score(count(overlap(truth, labels, len(dataset.classes)), dataset.background), regions)


@torch.inference_mode()
def refined(image_rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return segments with their borders at the image's edges, by PAMR at 128 pixels along the shorter side.

    Masks are upsampled instead of their labels, as the node does; see `core.refinement.refine_assignment`.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: int64 [H, W], segments from 0.
    """
    shorter = min(labels.shape)
    size_hw = tuple(max(1, round(side * _REFINED_SIDE / shorter)) for side in labels.shape)
    planes = torch.from_numpy(np.ascontiguousarray(image_rgb)).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, size_hw, mode='bilinear', antialias=True)[0]
    cells = F.interpolate(torch.from_numpy(labels)[None, None].float(), size_hw, mode='nearest-exact')[0, 0].long()
    masks = refined_masks(small, cells.numpy())
    return best_upsampled(masks, labels.shape).numpy()


PLAIN = Protocol(view, score, 'whole images at full resolution')
