"""Depth messages: raw, and as image_transport compresses them."""

import struct
from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image


def raw_depth(values: np.ndarray, encoding: str, padding=0, big_endian=False) -> Image:
    """Return rows of values as a message, each row with `padding` bytes more."""
    values = values.astype(values.dtype.newbyteorder('>' if big_endian else '<'))
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message = Image(encoding=encoding, height=len(values), width=values.shape[1], step=rows.shape[1])
    message.is_bigendian, message.data = int(big_endian), rows.tobytes()
    return message


def png(values: np.ndarray) -> bytes:
    return cv2.imencode('.png', values)[1].tobytes()


def run_lengths(values: np.ndarray) -> bytes:
    """Return uint16 [H, W] as RVL: see `decode_rvl`."""
    digits: list[int] = []

    def write(number: int) -> None:
        while number > 7:
            digits.append(8 | number & 7)
            number >>= 3
        digits.append(number)

    flat = values.ravel().astype(int)
    # Where runs begin: zeros and others in turn, first zeros, maybe none.
    edges = [0, *(np.flatnonzero(np.diff(flat > 0)) + 1).tolist(), flat.size]
    if flat[0] > 0:
        edges.insert(0, 0)
    if len(edges) % 2 == 0:
        edges.append(flat.size)
    before = 0
    for start, middle, end in zip(edges[:-2:2], edges[1:-1:2], edges[2::2], strict=True):
        write(middle - start)
        write(end - middle)
        for value in flat[middle:end].tolist():
            difference, before = value - before, value
            write(2 * difference if difference >= 0 else -2 * difference - 1)
    digits += [0] * (-len(digits) % 8)
    words = np.array(digits, np.uint32).reshape(-1, 8) @ (np.uint32(16) ** np.arange(7, -1, -1, dtype=np.uint32))
    height, width = values.shape
    return struct.pack('<II', width, height) + words.astype('<u4').tobytes()


def packed_depth(
    depth: np.ndarray,
    pack: Callable[[np.ndarray], bytes] = png,
    text: str | None = None,
    header: bool = True,
) -> CompressedImage:
    """Return depth as a compressed message: uint16 counts, or float metres by their inverse in 16 bits.

    Args:
        depth: [H, W]; none is 0, or NaN.
        pack: `png` or `run_lengths`.
        text: format; None: that of image_transport.
        header: of compressedDepth; else a plain picture.
    """
    a = b = 0.0
    values, encoding = depth, '16UC1'
    if depth.dtype != np.uint16:
        encoding = '32FC1'
        a = 100.0 * 101.0
        b = 1 - a / 10.0  # 10 m at most
        values = np.where(depth > 0, a / np.where(depth > 0, depth, 1) + b, 0).astype(np.uint16)
    if text is None:
        text = (
            f'{encoding}; compressedDepth {"png" if pack is png else "rvl"}'
            if header
            else f'{encoding}; png compressed '
        )
    start = struct.pack('<iff', 1, a, b) if header else b''
    return CompressedImage(format=text, data=start + pack(values))
