"""Motion between images: where the segments of one are in another.

Dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), as in OpenCV, on small
grey images: each pixel of the later image says where it was in the earlier one. Where the two look different then,
what the pixel shows was hidden or out of view, or is found wrongly.
"""

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np

# Sides of the small images, px: a fifth of such a pixel is found, in 1 ms.
_LONGER_PX, _SHORTEST_PX = 320, 32
# Side of the window whose median, between two segments the majority, removes the shreds that each step leaves behind.
_SMOOTHING_PX = 5
# Grey levels that two places may differ by at most, in the mean over a window of so many pixels of the small images.
_TOLERANCE, _WINDOW_PX = 20, 5
# Of the pixels: when so many more than in the image before are not found again, the camera shows something else. A
# camera that is walked through a kitchen, 30 Hz: 0.1 at most; from one photograph to another: mostly over 0.6.
_CUT = 0.4


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
    flow, differ = _find(before, after)
    place = _place(flow, (height, width))
    hidden = cv2.resize(differ.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0

    def carry(layer: np.ndarray) -> np.ndarray:
        # One more, so that beyond the image is 0.
        carried = cv2.remap(layer + np.uint16(1), place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        carried[hidden] = 0
        return cv2.medianBlur(carried, _SMOOTHING_PX).astype(np.int32) - 1

    return carry(segments) if segments.ndim == 2 else np.stack([carry(layer) for layer in segments])


@dataclass(frozen=True)
class Trail:
    """Where the pixels of an image were in one before it, followed from image to image: motion may be large by now.

    Attributes:
        key: the image it begins with, or its `thumbnail`.
        flow: float32 [h, w, 2], steps in x and y from pixels of the last image's thumbnail to those of the key's; None:
            that is the last image.
        unlike: share of the pixels that were not found again.
    """

    key: np.ndarray = field(repr=False)
    flow: np.ndarray | None = field(default=None, repr=False)
    unlike: float = 0.0

    def follow(self, image_rgb: np.ndarray) -> 'Trail | None':
        """Return where it leads in the next image, uint8 [H, W, 3] of the same size; None: that shows another scene."""
        # From where the image before has led to, in the one it began with: so errors of one step do not add up.
        key = thumbnail(self.key)
        flow, differ = _find(key, thumbnail(image_rgb), self.flow)
        unlike = float(differ.mean())
        return Trail(key, flow, unlike) if unlike - self.unlike <= _CUT else None

    def carry(self, segments: np.ndarray) -> np.ndarray:
        """Return which of the segments each pixel of the last image shows.

        What has come into view gets the segment that is nearest in the direction it came from.

        Args:
            segments: uint8 or uint16 [H, W], of the first image.

        Returns:
            Of the same shape and type.
        """
        if self.flow is None:
            return segments
        place = _place(self.flow, segments.shape)
        return cv2.remap(segments, place, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def _find(before: np.ndarray, after: np.ndarray, start: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return steps from the pixels of a thumbnail to those of an earlier one, [h, w, 2], and where both differ then."""
    dense = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = dense.calc(after, before, None if start is None else start.copy())
    there = cv2.remap(before, flow + _places(*flow.shape[:2]), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    window = _WINDOW_PX, _WINDOW_PX
    return flow, cv2.absdiff(cv2.blur(there, window), cv2.blur(after, window)) > _TOLERANCE


def _place(flow: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    """Return where the pixels of an image were, x and y, float32 [H, W, 2], by the steps of its thumbnail's."""
    height, width = size_hw
    scale = width / flow.shape[1], height / flow.shape[0]
    steps = cv2.resize(flow * np.array(scale, np.float32), (width, height))
    return cv2.add(steps, _places(height, width), dst=steps)


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
