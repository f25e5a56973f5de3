"""Optional last step: segment borders drawn to the image's edges."""

import numpy as np
import torch
import torch.nn.functional as F

from diffcut_ros.core.assignment import assign_concepts
from diffcut_ros.core.types import FeatureMap
from diffcut_ros.core.upsampling import best_upsampled

_PIXELS_PER_CELL = 4
ITERATIONS = 10
DILATIONS = (1, 2, 4, 8)

# The eight neighbours of a pixel, as steps in rows and columns.
_STEPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def pamr(
    image: torch.Tensor,
    masks: torch.Tensor,
    iterations: int = ITERATIONS,
    dilations: tuple[int, ...] = DILATIONS,
) -> torch.Tensor:
    """Refine masks by the image (pixel-adaptive mask refinement, Araslanov & Roth, CVPR 2020, section 3.3).

    Each iteration replaces a pixel's mask values by a mean over its neighbours at every dilation, weighted by how
    alike their colours are: softmax of -|difference| / (0.1 * local standard deviation), the mean over colour channels.
    The defaults are those that DiffCut is evaluated with. The cost grows with h * w * K * iterations *
    len(dilations); a mask of many pixels is refined at a smaller size.

    Args:
        image: float32 [C, h, w], any range.
        masks: float32 [K, h, w], one per segment.
        iterations: at least 0.
        dilations: distances of the neighbours in pixels, each at least 1; beyond the border, the border's pixels count.

    Returns:
        float32 [K, h, w]; where masks sum to 1, they still do.

    Raises:
        ValueError: for other shapes, or without a dilation.
    """
    if image.ndim != 3 or masks.ndim != 3 or image.shape[1:] != masks.shape[1:]:
        raise ValueError(
            f'masks: expected [K, h, w] with h and w of the image [C, h, w], received {tuple(masks.shape)} and '
            f'{tuple(image.shape)}'
        )
    if not dilations or min(dilations) < 1:
        raise ValueError(f'dilations: expected at least one, each at least 1 pixel, received {dilations}')
    _, h, w = image.shape
    neighbours = _neighbours(h, w, dilations, image.device)
    weights = _weights(image, neighbours)
    table = masks.flatten(1).T.contiguous()
    for _ in range(iterations):
        # A weighted sum of rows of a table, without a copy of each: what embedding bags are made for.
        table = F.embedding_bag(neighbours, table, mode='sum', per_sample_weights=weights)
    return table.T.reshape(masks.shape)


def refine_assignment(image_rgb: np.ndarray, feature_map: FeatureMap, concepts: torch.Tensor) -> torch.Tensor:
    """Assign pixels to segments as `assign_concepts` does, and move the borders to the image's edges.

    As in the paper, masks are refined at four pixels per cell and side: 128x128 for a grid of 32x32. They are then
    upsampled instead of their labels, which leaves smooth borders and no need for the paper's median filter.

    Args:
        image_rgb: uint8 [H, W, 3].
        feature_map: of that image.
        concepts: float32 [K, C], one per segment.

    Returns:
        int64 [H, W], 0..K-1, on the features' device.
    """
    features = feature_map.features
    h, w = feature_map.grid_hw
    size_hw = _PIXELS_PER_CELL * h, _PIXELS_PER_CELL * w
    pixels = torch.from_numpy(np.require(image_rgb, requirements=['C', 'W']))  # PyTorch warns of read-only arrays
    image = pixels.to(features.device).permute(2, 0, 1).float()
    image = F.interpolate(image[None], size_hw, mode='bilinear', antialias=True)[0]
    labels = assign_concepts(FeatureMap(features, size_hw), concepts)
    masks = F.one_hot(labels, len(concepts)).permute(2, 0, 1).float()
    return best_upsampled(pamr(image, masks), feature_map.image_size_hw)


def _neighbours(h: int, w: int, dilations: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return the index of each pixel's neighbours, int64 [h * w, 8 * dilations]."""
    rows, columns = torch.arange(h, device=device)[:, None], torch.arange(w, device=device)
    indices = [
        (rows + dilation * row).clamp(0, h - 1) * w + (columns + dilation * column).clamp(0, w - 1)
        for dilation in dilations
        for row, column in _STEPS
    ]
    return torch.stack(indices, 2).flatten(0, 1)


def _weights(image: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """Return the weight of each neighbour, float32 [h * w, neighbours]; those of a pixel sum to 1."""
    pixels = image.flatten(1)
    around = pixels[:, neighbours]
    # The pixel itself belongs to the window at every dilation.
    centre = pixels[:, :, None].expand(-1, -1, neighbours.shape[1] // len(_STEPS))
    deviation = torch.cat([around, centre], 2).std(2, keepdim=True)
    distance = (pixels[:, :, None] - around).abs() / (1e-8 + 0.1 * deviation)
    return torch.softmax(-distance.mean(0), 1)
