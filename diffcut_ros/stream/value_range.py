"""Which values of an image are shown from black to white, where the encoding does not say: a range that stands still.

The range is that of most of the image's values, or a camera's natural one (0 to 4095 for 12 bits) where the values fill
a good part of it. It stays from image to image as long as it fits, so that a picture does not flicker.
"""

import math

import cv2
import numpy as np

# Least and largest value shown.
Range = tuple[float, float]

# So many values of an image tell their range.
_SAMPLES = 2**14
# Share of the values below the range, and above it: dead pixels and highlights.
_OUTSIDE = 0.01
# Added to the range on each side, as a share of it: what the next images may reach beyond it.
_MARGIN = 0.25
# A range that the values fill less than this share of is too wide.
_LEAST_FILLED = 0.25
# How far the range moves towards the one that is wanted, from image to image: there in about ten.
_PACE = 0.25
# What a camera's largest value may be: of floats, and of 8, 10, 12, 14 and 16 bits.
_NATURAL = (1, 255, 1023, 4095, 16383, 65535)


def robust_range(values: np.ndarray) -> Range | None:
    """Return the range of an image's values, [H, W] or [H, W, C], but for the outermost; None: no value is finite.

    A fourth channel is alpha, and does not count.
    """
    step = math.isqrt(values[..., :3].size // _SAMPLES) | 1  # odd: of a Bayer mosaic all colours
    sample = values[::step, ::step, :3] if values.ndim == 3 else values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    first = int(_OUTSIDE * (sample.size - 1))
    sample.partition((first, sample.size - 1 - first))
    return float(sample[first]), float(sample[-1 - first])


def next_range(shown: Range | None, found: Range, whole_numbers: bool) -> Range:
    """Return the range that an image is shown over.

    Args:
        shown: that of the image before; None: there is none.
        found: that of its values.
        whole_numbers: whether values are; a difference of 1 is then at most one shade of gray.
    """
    least = 255.0 if whole_numbers else max(1.0, *map(abs, found)) / 16
    wanted = _wanted(found, least)
    if shown is None:
        return wanted
    filled, width = found[1] - found[0], shown[1] - shown[0]
    fits = shown[0] <= found[0] and found[1] <= shown[1]
    if fits and (filled >= _LEAST_FILLED * width or width <= (1 + _MARGIN) * least):
        return shown
    if min(found[1], shown[1]) - max(found[0], shown[0]) < filled / 2:
        return wanted  # another scene
    return shown[0] + _PACE * (wanted[0] - shown[0]), shown[1] + _PACE * (wanted[1] - shown[1])


def _wanted(found: Range, least: float) -> Range:
    low, high = found
    filled = high - low
    for top in _NATURAL:
        if top >= max(high, least) and low >= 0 and filled >= _LEAST_FILLED * top:
            return 0.0, float(top)
    width = max(least, (1 + 2 * _MARGIN) * filled)
    start = (low + high - width) / 2
    start = max(start, 0.0) if low >= 0 else start
    return start, start + width


def to_8_bits(values: np.ndarray, shown: Range) -> np.ndarray:
    """Return values as uint8, from 0 at the range's lower end to 255 at its upper end; NaN is 0."""
    low, high = shown
    if values.dtype == np.uint16:
        low, flat = round(low), values.reshape(len(values), -1)
        return cv2.convertScaleAbs(cv2.subtract(flat, low) if low else flat, alpha=255 / (high - low)).reshape(
            values.shape
        )
    with np.errstate(over='ignore', invalid='ignore'):
        scaled = (values - low) * (255 / (high - low))
    np.nan_to_num(scaled, copy=False, nan=0, posinf=255, neginf=0)
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
