"""Image messages of arrays."""

import numpy as np
from sensor_msgs.msg import Image


def image_message(values: np.ndarray, encoding: str, height: int | None = None, padding=0, big_endian=False) -> Image:
    """Return a message of rows of values, [rows, ...]."""
    values = values.astype(values.dtype.newbyteorder('>' if big_endian else '<'))
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(encoding=encoding, height=height or len(values), width=values.shape[1], step=rows.shape[1])
    message.is_bigendian = int(big_endian)
    message.data = rows.tobytes()
    return message


def gray(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3, 2)


def mosaic(pattern: str, rgb: tuple[int, int, int], shape=(7, 8)) -> np.ndarray:
    """What a sensor with this pattern sees of one colour."""
    cell = np.array([rgb['rgb'.index(name)] for name in pattern], np.uint8).reshape(2, 2)
    return np.tile(cell, [side // 2 + 1 for side in shape])[: shape[0], : shape[1]]
