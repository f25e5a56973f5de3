"""Pictures of single segments: the part of an image around one, with its outline."""

import cv2
import numpy as np

# What is shown around the segment, as a share of the longer side of its box.
_AROUND = 0.15


def cut_out(
    image_rgb: np.ndarray, mask: np.ndarray, longest_px: int, enlarges: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of an image around a segment.

    Args:
        image_rgb: uint8 [H, W, 3].
        mask: bool or uint8 [H, W], the segment's pixels, at least one.
        longest_px: the longer side of what is returned, at most.
        enlarges: whether it has that side, too, where the part is smaller.

    Returns:
        uint8 [h, w, 3] RGB and the segment's pixels in it, uint8 [h, w]; neither is a view.
    """
    mask = mask.view(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    margin = round(_AROUND * max(width, height)) + 2
    rows, columns = slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)
    image, mask = image_rgb[rows, columns].copy(), mask[rows, columns].copy()
    scale = longest_px / max(mask.shape)
    if scale < 1 or enlarges:
        size = tuple(max(1, round(side * scale)) for side in mask.shape[::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    return image, mask


def outlined(image_rgb: np.ndarray, mask: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return an image with what lies beside a segment dimmed, and the segment's border drawn.

    Args:
        image_rgb, mask: as `cut_out` returns them.
        color: uint8 [3] RGB, of the border.

    Returns:
        uint8 [h, w, 3] RGB.
    """
    beside = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)[:, :, None] // 2 + np.uint8(80)
    drawn = np.where(mask[:, :, None] > 0, image_rgb, beside)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, color.tolist(), 2, cv2.LINE_AA)
    return drawn
