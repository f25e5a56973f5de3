"""`diffseg`: self-attention maps merged where they are alike, without the k-means that its authors may add.

Source: Tian et al., "Diffuse, Attend, and Segment: Unsupervised Zero-Shot Segmentation using Stable Diffusion", CVPR
2024, section 3.

1. Attention aggregation: maps of all resolutions are brought to the finest one, and averaged with weights
   proportional to their resolution.
2. Iterative attention merging: the maps of a grid of anchors are each replaced by the mean of all maps within a
   distance; the proposals that come out are merged with each other by the same distance, in several rounds.
3. Non-maximum suppression: each pixel takes the proposal with the largest value there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.upsampling import best_upsampled
from diffcut_ros.evaluation.methods.sample import Sample, attention_of, numbered


@dataclass(frozen=True)
class DiffsegConfig:
    """Settings of `diffseg`; raises ValueError for a value out of its range."""

    # DiffCut, table 1; the authors take 1.1 for COCO-Stuff-27 and 0.9 for Cityscapes.
    threshold: float = parameter(
        1.0, 'Maps of a smaller distance are merged; larger gives fewer segments', minimum=0.001, maximum=1000.0
    )
    anchors: int = parameter(
        16, 'Anchors along each side of the grid, at most one per row and column', minimum=1, maximum=1000
    )
    rounds: int = parameter(3, 'Of merging, the first one with all maps', minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        validate(self)


@torch.inference_mode()
def segment(sample: Sample, config: DiffsegConfig) -> np.ndarray:
    """Segment an image from its self-attention maps; see `Method.run`.

    Raises:
        ValueError: for a sample without attention maps.
    """
    maps = aggregate(attention_of(sample))
    proposals = merge_anchors(maps, anchor_cells(maps.shape[:2], config.anchors), config.threshold)
    for _ in range(config.rounds - 1):
        proposals = merge_proposals(proposals, config.threshold)
    labels = best_upsampled(proposals.reshape(-1, *maps.shape[2:]), sample.image_rgb.shape[:2])
    return numbered(labels.cpu().numpy())


def aggregate(attention: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the weighted mean of attention maps at the finest of their grids (step 1).

    Each map is upsampled bilinearly and normalised to a sum of 1; cells that a coarse cell covers share its map.

    Args:
        attention: float [h, w, h, w] each, see `Sample`.

    Returns:
        float32 [H, W, H, W], each map of a sum of 1.
    """
    h, w = max((maps.shape[:2] for maps in attention), key=math.prod)
    sides = [math.prod(maps.shape[:2]) ** 0.5 for maps in attention]
    total = torch.zeros(h, w, h, w, device=attention[0].device)
    for maps, side in zip(attention, sides, strict=True):
        rows, columns = maps.shape[:2]
        finer = F.interpolate(maps.float().reshape(rows * columns, 1, rows, columns), (h, w), mode='bilinear')
        finer = finer / finer.sum((2, 3), keepdim=True) * (side / sum(sides))
        covered = torch.arange(h)[:, None] * rows // h * columns + torch.arange(w) * columns // w
        total += finer[covered.flatten().to(total.device), 0].reshape(h, w, h, w)
    return total


def anchor_cells(grid_hw: tuple[int, int], anchors: int) -> torch.Tensor:
    """Return the cells of a centred regular grid of anchors, int64 [M, 2] rows and columns, row by row."""
    rows, columns = (_anchors_along(length, anchors) for length in grid_hw)
    return torch.cartesian_prod(rows, columns)


def _anchors_along(length: int, anchors: int) -> torch.Tensor:
    anchors = min(anchors, length)
    if anchors == 1:
        return torch.tensor([(length - 1) // 2])
    step = (length - 1) // (anchors - 1)
    return (length - 1 - step * (anchors - 1)) // 2 + step * torch.arange(anchors)


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return (KL(p, q) + KL(q, p)) / 2 of all pairs of distributions (step 2).

    Args:
        a: float32 [A, N], each row p of a sum of 1.
        b: float32 [B, N], each row q of a sum of 1.

    Returns:
        float32 [A, B]; large, not infinite, where one is 0 and the other is not.
    """
    log_a, log_b = (rows.clamp(min=torch.finfo(rows.dtype).tiny).log() for rows in (a, b))
    # Half the sum of (p - q) (log p - log q), by products of matrices.
    own = (a * log_a).sum(1)[:, None] + (b * log_b).sum(1)
    return (own - a @ log_b.T - log_a @ b.T) / 2


def merge_anchors(maps: torch.Tensor, anchors: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return a proposal per anchor: the mean of all maps within the threshold of its own.

    Args:
        maps: float32 [H, W, H, W], each of a sum of 1.
        anchors: int64 [M, 2], cells.
        threshold: above 0.

    Returns:
        float32 [M, H * W].
    """
    h, w = maps.shape[:2]
    rows, columns = anchors.to(maps.device).T
    flat = maps.reshape(h * w, h * w)
    near = (distances(maps[rows, columns].flatten(1), flat) < threshold).float()
    # An anchor is within any threshold of itself, if not by rounding.
    near[torch.arange(len(near)), rows * w + columns] = 1
    return near @ flat / near.sum(1, keepdim=True)


def merge_proposals(proposals: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return fewer proposals: each that none before it took up becomes the mean of all within the threshold of it.

    As in the authors' program, a proposal may be part of several means.

    Args:
        proposals: float32 [M, N], each of a sum of 1.
        threshold: above 0.

    Returns:
        float32 [K, N], 1 <= K <= M.
    """
    near = (distances(proposals, proposals) < threshold).cpu()
    near.fill_diagonal_(True)
    taken = torch.zeros(len(near), dtype=torch.bool)
    merged = []
    for i in range(len(near)):
        if not taken[i]:
            taken |= near[i]
            merged.append(proposals[near[i].to(proposals.device)].mean(0))
    return torch.stack(merged)
