"""Images and graphs whose right segmentation is known."""

import numpy as np
import torch
import torch.nn.functional as F


def quadrants(height: int = 64, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of four flat colours, uint8 [H, W, 3], and its quadrants, int [H, W] 0..3 in reading order."""
    labels = 2 * (np.arange(height)[:, None] >= height // 2) + (np.arange(width) >= width // 2)
    # Seen from mid grey (127) the colours are the corners of a tetrahedron: no mixture of two resembles a third.
    palette = np.array([[254, 254, 254], [254, 0, 0], [0, 254, 0], [0, 0, 254]], np.uint8)
    return palette[labels], labels


def two_cliques(first: int, second: int, bridge: float) -> torch.Tensor:
    """Return two cliques of weight 1 joined by a single edge of weight `bridge`; nodes 0..first-1 are one."""
    affinity = torch.zeros(first + second, first + second)
    affinity[:first, :first] = 1
    affinity[first:, first:] = 1
    affinity[first - 1, first] = affinity[first, first - 1] = bridge
    return affinity


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two labellings group the elements alike, whatever the labels are called."""
    pairs = np.unique(np.stack([np.ravel(a), np.ravel(b)]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth random image."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    image = F.interpolate(small, (height, width), mode='bicubic').clamp(0, 1)[0].permute(1, 2, 0)
    return (image * 255).byte().numpy()
