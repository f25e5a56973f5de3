"""Values of cells drawn over their image, such as similarities to one of them."""

import cv2
import numpy as np

_MARKER_RGB = (255, 0, 0)


def draw_heat_map(
    image_rgb: np.ndarray,
    values: np.ndarray,
    marked: tuple[int, int] | None = None,
    opacity: float = 0.6,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Draw values over an image, from dark for small to bright for large ones.

    Args:
        image_rgb: uint8 [H, W, 3].
        values: float [h, w], finite, of a grid of cells that covers the image.
        marked: row and column of a cell to mark by a cross.
        opacity: of the colours, 0 to 1.
        limits: values that get the darkest and the brightest colour, as those beyond them; None: the least and the
            largest one.

    Returns:
        uint8 [H, W, 3] RGB, a new array.

    Raises:
        ValueError: for values that are not finite, or a cell that is not there.
    """
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f'values: expected a finite array [h, w], received {values.dtype} {values.shape}')
    (h, w), (height, width) = values.shape, image_rgb.shape[:2]
    low, high = limits or (values.min(), values.max())
    spread = max(float(high - low), np.finfo(np.float32).tiny)
    share = (np.clip((values - low) / spread, 0, 1) * 255).astype(np.float32)
    shown = np.round(cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(shown, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    drawn = cv2.addWeighted(image_rgb, 1 - opacity, colors, opacity, 0)
    if marked is not None:
        row, column = marked
        if not (0 <= row < h and 0 <= column < w):
            raise ValueError(f'marked: expected (row, column) within a grid of {h} x {w} cells, received {marked}')
        centre = int((column + 0.5) * width / w), int((row + 0.5) * height / h)
        size = max(5, min(height, width) // 20)
        for color, thickness in ((255, 255, 255), 3), (_MARKER_RGB, 1):
            cv2.drawMarker(drawn, centre, color, cv2.MARKER_CROSS, size, thickness, cv2.LINE_AA)
    return drawn
