"""What a camera gives at one moment, checked."""

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from diffcut_ros.node.images import (
    DEPTH_ENCODINGS,
    check_compressed,
    check_image,
    decode_compressed,
    decode_image,
)

# Sides of images that belong together may differ by rounding when one is a scaled copy of the other.
_ASPECT_TOLERANCE = 0.02


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

    def decode(self, max_pixels: int) -> np.ndarray:
        """Return the image as uint8 [H, W, 3] RGB.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if not isinstance(self.image, CompressedImage):
            return decode_image(self.image, max_pixels)
        image_rgb = decode_compressed(self.image, max_pixels)
        self._check_sizes(*image_rgb.shape[:2])
        return image_rgb

    def _check_sizes(self, height: int, width: int) -> None:
        others = {'camera_info': self.camera_info, 'depth': self.depth}
        for name, message in others.items():
            if message is None:
                continue
            about = f'{name} of {message.width} x {message.height} for an image of {width} x {height}'
            if message.width < 1 or message.height < 1:
                raise ValueError(f'{about}: expected a size of at least 1 x 1')
            if abs(message.width * height / (message.height * width) - 1) > _ASPECT_TOLERANCE:
                raise ValueError(f'{about}: expected the same aspect')
        if self.depth is not None and self.depth.encoding not in DEPTH_ENCODINGS:
            raise ValueError(
                f'depth: encoding: expected one of {", ".join(DEPTH_ENCODINGS)}, received {self.depth.encoding!r}'
            )
