"""What a camera gives at one moment, checked, and decoded."""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from diffcut_ros.core import PinholeCamera
from diffcut_ros.node.images import (
    DEPTH_ENCODINGS,
    check_compressed,
    check_image,
    decode_compressed,
    decode_depth,
    decode_image,
)
from diffcut_ros.node.messages_3d import pinhole_camera

# Sides of images that belong together may differ by rounding when one is a scaled copy of the other.
_ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Scene:
    """What a camera saw at one moment.

    Attributes:
        header: of the image; all outputs carry it.
        stamp_ns: when that was, to order and compare by.
        image_rgb: uint8 [H, W, 3].
        depth_m: float32 [H', W'] in metres, NaN where there is none; None without depth.
        camera: of the image; None without depth.
    """

    header: Header
    stamp_ns: int
    image_rgb: np.ndarray
    depth_m: np.ndarray | None = None
    camera: PinholeCamera | None = None


@dataclass(frozen=True)
class Inputs:
    """Messages of one camera with one stamp; `camera_info` and `depth` where the node asks for them."""

    image: Image | CompressedImage
    camera_info: CameraInfo | None = None
    depth: Image | None = None

    @property
    def header(self) -> Header:
        """The header of the image, which all outputs carry."""
        return self.image.header

    @cached_property
    def stamp_ns(self) -> int:
        """The stamp in nanoseconds.

        A driver that leaves stamps at zero still gets its rate limited, by the time of arrival.
        """
        stamp = self.header.stamp
        return stamp.sec * 10**9 + stamp.nanosec or time.monotonic_ns()

    def check(self, max_pixels: int) -> None:
        """Check all messages without touching pixels, so far as that tells.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if isinstance(self.image, CompressedImage):
            check_compressed(self.image, max_pixels)
            return  # the size is known after decoding only
        check_image(self.image, max_pixels)
        self._check_sizes(self.image.height, self.image.width)

    def decode(self, max_pixels: int) -> Scene:
        """Return what the messages hold.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if isinstance(self.image, CompressedImage):
            image_rgb = decode_compressed(self.image, max_pixels)
            self._check_sizes(*image_rgb.shape[:2])
        else:
            image_rgb = decode_image(self.image, max_pixels)
        if self.depth is None or self.camera_info is None:
            return Scene(self.header, self.stamp_ns, image_rgb)
        try:
            depth_m = decode_depth(self.depth, max_pixels)
        except ValueError as error:
            raise ValueError(f'depth: {error}') from error
        return Scene(self.header, self.stamp_ns, image_rgb, depth_m, pinhole_camera(self.camera_info))

    def _check_sizes(self, height: int, width: int) -> None:
        sizes_hw = {}
        if self.camera_info is not None:
            roi = self.camera_info.roi
            whole = self.camera_info.height, self.camera_info.width
            sizes_hw['camera_info'] = (roi.height, roi.width) if roi.width and roi.height else whole
        if self.depth is not None:
            sizes_hw['depth'] = self.depth.height, self.depth.width
        for name, (own_height, own_width) in sizes_hw.items():
            about = f'{name} of {own_width} x {own_height} for an image of {width} x {height}'
            if own_width < 1 or own_height < 1:
                raise ValueError(f'{about}: expected a size of at least 1 x 1')
            if abs(own_width * height / (own_height * width) - 1) > _ASPECT_TOLERANCE:
                raise ValueError(f'{about}: expected the same aspect')
        if self.depth is not None and self.depth.encoding not in DEPTH_ENCODINGS:
            raise ValueError(
                f'depth: encoding: expected one of {", ".join(DEPTH_ENCODINGS)}, received {self.depth.encoding!r}'
            )
        if self.camera_info is not None:
            pinhole_camera(self.camera_info)
