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
# All values have moved, as after a thermal camera's flat-field correction, where some are beyond the range, and at its
# other end a larger share of it is empty than this: twice what the margin leaves there.
_MOVED = 2 * _MARGIN / (1 + 2 * _MARGIN)
# How far the range moves towards the one that is wanted, from image to image: there in about ten.
_PACE = 0.25
# What a camera's largest value may be: of floats, and of 8, 10, 12, 14 and 16 bits.
_NATURAL = (1, 255, 1023, 4095, 16383, 65535)


def find_values(values: np.ndarray) -> tuple[float, float, float] | None:
    """Return low, median and high value of an image, [H, W] or [H, W, C], but for the outermost; None: none is finite.

    A fourth channel is alpha, and does not count.
    """
    values = values[..., :3] if values.ndim == 3 else values
    step = math.isqrt(values.size // _SAMPLES) | 1  # odd: of a Bayer mosaic all colours
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    first = int(_OUTSIDE * (sample.size - 1))
    sample.sort()  # np.partition is slow near the ends
    return float(sample[first]), float(sample[sample.size // 2]), float(sample[-1 - first])


def next_range(shown: Range | None, found: tuple[float, float, float], whole_numbers: bool) -> Range:
    """Return the range that an image is shown over.

    Args:
        shown: that of the image before; None: there is none.
        found: low, median and high of its values.
        whole_numbers: whether values are; a difference of 1 is then at most one shade of gray.
    """
    low, median, high = found
    least = 255.0 if whole_numbers else max(4.0, abs(low), abs(high)) / 16
    wanted = _wanted(low, high, least)
    if shown is None or not shown[0] <= median <= shown[1]:  # the first, or another scene
        return wanted
    width = shown[1] - shown[0]
    above, below = low - shown[0] > _MOVED * width, shown[1] - high > _MOVED * width
    if (above and high > shown[1]) or (below and low < shown[0]):
        return wanted
    filled_enough = high - low >= _LEAST_FILLED * width or width <= (1 + _MARGIN) * least
    if filled_enough and shown[0] <= low and high <= shown[1]:
        return shown
    return shown[0] + _PACE * (wanted[0] - shown[0]), shown[1] + _PACE * (wanted[1] - shown[1])


def _wanted(low: float, high: float, least: float) -> Range:
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
