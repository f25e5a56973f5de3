"""The paper's protocol, as the code that its authors published does it.

1. The square in the middle of the image, one pixel smaller than its shorter side, is resized to 1024 pixels, without
   antialiasing; its labels to 128, by way of 1024.
2. Segments are compared at 128 pixels. A method of features gives its segments at that size; those of a method that
   works on the image itself are sampled from 1024.
3. Where a data set has a background, ignored pixels count as background, too, and all segments that stand for no other
   class become one.
4. PAMR, if any, comes after that: 10 iterations with dilations 1, 2, 4, 8, then a median over 3x3 pixels.
5. Hungarian matching by shared pixels, one to one, per image; true and false positives and false negatives are summed
   over the data set.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import median_filter

from diffcut_ros.evaluation.datasets import IGNORED, Dataset, Example
from diffcut_ros.evaluation.matching import count_as_published, merge_background, overlap
from diffcut_ros.evaluation.protocols.pamr import refined_masks
from diffcut_ros.evaluation.protocols.view import Protocol, Score, View

_SIDE, _SCORED_SIDE = 1024, 128


def view(example: Example, dataset: Dataset) -> View:
    """Return the middle of an image at 1024 pixels, and at 128 with its labels.

    Raises:
        ValueError: for an image of less than 2 pixels along a side.
    """
    image = _pixels(resized(crop(example.image_rgb), _SIDE))
    (truth,) = example.truths
    truth = resize_labels(crop(truth))
    if dataset.background:
        truth = np.where(truth == IGNORED, len(dataset.classes) - 1, truth)
    return View(image, _pixels(resized(image, _SCORED_SIDE)), (truth,))


def score(labels: np.ndarray, shown: View, dataset: Dataset, refine: bool) -> Score:
    """Score segments, int64 [128, 128] or as sampled from [1024, 1024]."""
    (truth,) = shown.truths
    labels = labels[:: len(labels) // _SCORED_SIDE, :: len(labels) // _SCORED_SIDE]
    if dataset.background:
        labels = merge_background(labels, truth, len(dataset.classes) - 1)
    if refine:
        labels = median_filter(refined_masks(resized(shown.image_rgb, _SCORED_SIDE), labels).argmax(0).numpy(), 3)
    return Score(classes=count_as_published(overlap(truth, labels, len(dataset.classes))))


def crop(pixels: np.ndarray) -> np.ndarray:
    """Return the square in the middle, one pixel smaller than the shorter side.

    Args:
        pixels: [H, W] or [H, W, C].

    Raises:
        ValueError: when nothing is left.
    """
    height, width = pixels.shape[:2]
    side = min(height, width) - 1
    if side < 1:
        raise ValueError(f'expected an image of at least 2x2 pixels, received {width}x{height}')
    top, left = round((height - side) / 2), round((width - side) / 2)  # half to even, as torchvision rounds
    return pixels[top : top + side, left : left + side]


def resized(image_rgb: np.ndarray, side: int) -> torch.Tensor:
    """Return a square image at another size, bilinear without antialiasing, float32 [3, side, side], 0 to 255."""
    planes = torch.from_numpy(np.ascontiguousarray(image_rgb)).permute(2, 0, 1)[None].float()
    return F.interpolate(planes, (side, side), mode='bilinear')[0]


def _pixels(planes: torch.Tensor) -> np.ndarray:
    """Return an image, float32 [3, h, w], as uint8 [h, w, 3]."""
    return planes.round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def resize_labels(truth: np.ndarray) -> np.ndarray:
    """Return labels at 128 pixels, int64 [128, 128]: the nearest at 1024, of which every eighth."""
    planes = torch.from_numpy(np.ascontiguousarray(truth))[None, None].float()
    resized = F.interpolate(planes, (_SIDE, _SIDE), mode='nearest-exact')
    return F.interpolate(resized, (_SCORED_SIDE, _SCORED_SIDE), mode='nearest')[0, 0].long().numpy()


PAPER = Protocol(view, score, 'middle square at 1024, scored at 128x128 as published', needs_classes=True)
