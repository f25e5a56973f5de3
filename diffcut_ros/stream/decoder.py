"""From the messages of one camera to scenes, one after the other."""

from typing import Any

import numpy as np

from diffcut_ros.core import Scene
from diffcut_ros.stream.images import (
    Convert,
    convert_with_rosbags,
    decode_compressed,
    decode_depth,
    decode_image,
    is_compressed,
)
from diffcut_ros.stream.inputs import Inputs, pinhole_camera
from diffcut_ros.stream.video_packets import VideoImage


class Decoder:
    """Decodes what one camera gives, in its order, and keeps what the next images depend on.

    Attributes:
        max_pixels: of an image at most; may be replaced at any time.
        notes: what was guessed of the images so far, each once, for people.

    Args:
        max_pixels: the attribute.
        convert: as for `decode_image`.
    """

    def __init__(self, max_pixels: int, convert: Convert = convert_with_rosbags) -> None:
        self.max_pixels = max_pixels
        self.notes: tuple[str, ...] = ()
        self._convert = convert

    def decode(self, inputs: Inputs) -> Scene:
        """Return what the messages hold.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        image_rgb = self._image_rgb(inputs.image)
        if is_compressed(inputs.image):  # else they have been checked before
            inputs.check_sizes(*image_rgb.shape[:2])
        if inputs.depth is None or inputs.camera_info is None:
            return Scene(image_rgb, inputs.stamp_ns, header=inputs.header)
        try:
            depth_m = decode_depth(inputs.depth, self.max_pixels)
        except ValueError as error:
            raise ValueError(f'depth: {error}') from error
        return Scene(image_rgb, inputs.stamp_ns, depth_m, pinhole_camera(inputs.camera_info), inputs.header)

    def save(self) -> tuple[Any, ...]:
        """Return what the next images depend on: plain values, which do not change when the next one is decoded."""
        return (self.notes,)

    def load(self, state: tuple[Any, ...]) -> None:
        """Go on from where a decoder with the same settings was saved; of an empty state, from the beginning."""
        (self.notes,) = state or ((),)

    def _image_rgb(self, message: Any) -> np.ndarray:
        if isinstance(message, VideoImage):
            return message.rgb()
        decode = decode_compressed if is_compressed(message) else decode_image
        return decode(message, self.max_pixels, self._convert)
