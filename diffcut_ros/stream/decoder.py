"""From the messages of one camera to scenes, one after the other."""

from typing import Any

import numpy as np

from diffcut_ros.core import PinholeCamera, Scene
from diffcut_ros.core.geometry import check_aspect, share_without_direction
from diffcut_ros.printable import printable
from diffcut_ros.stream.calibration import read_calibration, scaling
from diffcut_ros.stream.depth import decode_depth
from diffcut_ros.stream.guesses import Guesses
from diffcut_ros.stream.images import Convert, convert_with_rosbags, decode_compressed, decode_image, is_compressed
from diffcut_ros.stream.inputs import Inputs
from diffcut_ros.stream.video_packets import VideoImage

# A smaller part of an image without directions is not worth a word.
_FEW = 0.01


class Decoder:
    """Decodes what one camera gives, in its order, and keeps what the next images depend on.

    Attributes:
        max_pixels: of an image at most. It and the next two may be replaced at any time.
        depth_scale: millimetres per count of depth of 16 bits.
        calibration: one of `CALIBRATIONS`.
        topic: of the image, where it is known.
        no_space: why the last image has no depth although there was some: its camera_info is none; empty: it has.

    Args:
        max_pixels, depth_scale, calibration, topic: the attributes.
        convert: as for `decode_image`.
    """

    def __init__(
        self,
        max_pixels: int,
        convert: Convert = convert_with_rosbags,
        depth_scale: float = 1.0,
        calibration: str = 'auto',
        topic: str = '',
    ) -> None:
        self.max_pixels, self.depth_scale, self.calibration = max_pixels, depth_scale, calibration
        self.topic = topic
        self._convert = convert
        self.no_space = ''
        self._guesses = Guesses()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was guessed of the images so far, each once, as text."""
        return tuple(self._guesses.notes.values())

    def decode(self, inputs: Inputs) -> Scene:
        """Return what the messages hold; without a camera where camera_info does not say what depth means.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        self.no_space = ''
        image_rgb, depth_m = self._image_rgb(inputs.image), None
        if inputs.depth is not None and inputs.camera_info is not None:
            try:
                depth_m = decode_depth(inputs.depth, self.max_pixels, self.depth_scale, self._guesses)
            except ValueError as error:
                raise ValueError(f'depth: {error}') from error
        image_hw = image_rgb.shape[:2]
        if is_compressed(inputs.image):  # else they have been checked before
            height, width = image_hw
            inputs.check_sizes(height, width, None if depth_m is None else depth_m.shape)
        if depth_m is None:
            return Scene(image_rgb, inputs.stamp_ns, header=inputs.header)
        try:
            camera = self._camera(inputs, depth_m.shape, image_hw)
        except ValueError as error:
            self.no_space = f'no positions in space: {printable(error)}'
            return Scene(image_rgb, inputs.stamp_ns, depth_m, header=inputs.header)  # depth alone divides segments
        return Scene(image_rgb, inputs.stamp_ns, depth_m, camera, inputs.header)

    def save(self) -> tuple[Any, ...]:
        """Return what the next images depend on: plain values, which do not change when the next one is decoded."""
        return self._guesses.save()

    def load(self, state: tuple[Any, ...]) -> None:
        """Go on from where a decoder with the same settings was saved; of an empty state, from the beginning."""
        if state:
            self._guesses.load(state)

    def _image_rgb(self, message: Any) -> np.ndarray:
        if isinstance(message, VideoImage):
            return message.rgb()
        decode = decode_compressed if is_compressed(message) else decode_image
        return decode(message, self.max_pixels, self._convert, self._guesses)

    def _camera(self, inputs: Inputs, depth_hw: tuple[int, int], image_hw: tuple[int, int]) -> PinholeCamera:
        names = self.topic, inputs.header.frame_id
        camera, note = read_calibration(inputs.camera_info, self.calibration, names, image_hw)
        (own_height, own_width), (height, width) = camera.size_hw, image_hw
        about = f'camera_info of {own_width} x {own_height} for an image of {width} x {height}'
        check_aspect(about, camera.size_hw, image_hw)
        if note:
            self._guesses.note('calibration', note)
        if note := scaling(inputs.camera_info, camera, image_hw):
            self._guesses.note('scaling', note)
        share = share_without_direction(camera.scaled_to(depth_hw))
        if share > _FEW:
            self._guesses.note(
                'directions',
                f"{share:.0%} of the image have no direction by camera_info's distortion, and count as without depth",
            )
        return camera
