"""Overlays: segments drawn over their image, for people."""

import colorsys

import cv2
import numpy as np


def segment_colors(count: int) -> np.ndarray:
    """Return distinct colours for labels 0..count, the same for a label in every image.

    Returns:
        uint8 [count + 1, 3] RGB; label 0 (none) is black.
    """
    # Steps of the golden ratio around the hue circle keep neighbouring labels far apart, however many there are.
    hues = (np.arange(count) * 0.6180339887498949) % 1.0
    colors = [colorsys.hsv_to_rgb(hue, 0.75 if i % 2 else 0.95, 1.0 if i % 3 else 0.8) for i, hue in enumerate(hues)]
    return np.round(255 * np.array([(0.0, 0.0, 0.0), *colors])).astype(np.uint8)


def draw_overlay(image_rgb: np.ndarray, labels: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Draw coloured segments with white borders over an image.

    Args:
        image_rgb: uint8 [H, W, 3].
        labels: uint8 or uint16 [H, W], 0 = none (the image shows through).
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 [H, W, 3] RGB, a new array.

    Raises:
        ValueError: when the sizes differ.
    """
    if image_rgb.shape[:2] != labels.shape:
        raise ValueError(f'labels: expected the image size {image_rgb.shape[:2]}, received {labels.shape}')
    tint = segment_colors(int(labels.max(initial=0)))[labels]
    drawn = cv2.addWeighted(image_rgb, 1 - opacity, tint, opacity, 0)
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    none = labels == 0
    drawn[none] = image_rgb[none]
    drawn[border] = 255
    return drawn
