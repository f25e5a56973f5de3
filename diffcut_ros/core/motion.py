"""Motion between two images: where the segments of one are in the other.

Dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), as in OpenCV, on small
grey images: each pixel of the later image says where it was in the earlier one. Where the two look different then,
what the pixel shows was hidden or out of view, or is found wrongly.
"""

import functools

import cv2
import numpy as np

# Sides of the small images, px: a fifth of such a pixel is found, in 1 ms.
_LONGER_PX, _SHORTEST_PX = 320, 32
# Side of the window whose median, between two segments the majority, removes the shreds that each step leaves behind.
_SMOOTHING_PX = 5
# Grey levels that two places may differ by at most, in the mean over a window of so many pixels of the small images.
_TOLERANCE, _WINDOW_PX = 20, 5


def carry_segments(segments: np.ndarray, image_before: np.ndarray, image_rgb: np.ndarray) -> np.ndarray:
    """Find the segments of an image in the next one.

    Args:
        segments: uint8 or uint16 [H, W] or [L, H, W], values below 65535, of the image before.
        image_before: uint8 [H, W, 3] RGB, or the `thumbnail` of it.
        image_rgb: uint8 [H, W, 3].

    Returns:
        int32, of the same shape, the segment that each pixel of `image_rgb` shows, or -1 where that is not known:
        everywhere if the images differ in size.
    """
    height, width = image_rgb.shape[:2]
    if segments.shape[-2:] != (height, width):
        return np.full((*segments.shape[:-2], height, width), -1, np.int32)
    before, after = thumbnail(image_before), thumbnail(image_rgb)
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(after, before, None)
    there = cv2.remap(before, flow + _places(*flow.shape[:2]), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    window = _WINDOW_PX, _WINDOW_PX
    differ = cv2.absdiff(cv2.blur(there, window), cv2.blur(after, window)) > _TOLERANCE
    scale = width / flow.shape[1], height / flow.shape[0]
    place = cv2.resize(flow * np.array(scale, np.float32), (width, height)) + _places(height, width)
    hidden = cv2.resize(differ.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0

    def carry(layer: np.ndarray) -> np.ndarray:
        # One more, so that beyond the image is 0.
        carried = cv2.remap(layer + np.uint16(1), place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        carried[hidden] = 0
        return cv2.medianBlur(carried, _SMOOTHING_PX).astype(np.int32) - 1

    return carry(segments) if segments.ndim == 2 else np.stack([carry(layer) for layer in segments])


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the small image that motion is found on: uint8 [h, w], grey.

    Args:
        image: uint8 [H, W, 3] RGB, or a thumbnail, which is returned as it is.
    """
    if image.ndim == 2:
        return image
    height, width = thumbnail_hw(image.shape[:2])
    return cv2.cvtColor(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)


def thumbnail_hw(image_hw: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the `thumbnail` of an image of a size."""
    scale = _LONGER_PX / max(image_hw)
    height, width = (max(_SHORTEST_PX, round(scale * side)) for side in image_hw)
    return height, width


@functools.lru_cache(maxsize=8)
def _places(height: int, width: int) -> np.ndarray:
    """Return the x and y of each pixel, float32 [height, width, 2]."""
    return np.indices((height, width), np.float32)[::-1].transpose(1, 2, 0).copy()
