"""What a camera gives at one moment, checked."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffcut_ros.core.geometry import check_aspect
from diffcut_ros.printable import quoted
from diffcut_ros.stream.depth import depth_size
from diffcut_ros.stream.images import check_compressed, check_image, is_compressed
from diffcut_ros.stream.stamps import stamp_ns
from diffcut_ros.stream.video_packets import VideoImage

LONGEST_FRAME = 1000


@dataclass(frozen=True)
class Inputs:
    """Messages of one camera with one stamp.

    Attributes:
        image: sensor_msgs/Image or CompressedImage, or `VideoImage`.
        camera_info: sensor_msgs/CameraInfo where depth is wanted.
        depth: sensor_msgs/Image or CompressedImage where depth is wanted.
        arrival_ns: when they arrived, by any clock.
    """

    image: Any
    camera_info: Any | None = None
    depth: Any | None = None
    arrival_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def header(self) -> Any:
        """The header of the image, which all outputs carry."""
        return self.image.header

    @property
    def stamp_ns(self) -> int:
        """The stamp in nanoseconds.

        A driver that leaves stamps at zero still gets its rate limited, by the time of arrival.
        """
        return max(stamp_ns(self.image), 0) or self.arrival_ns

    @property
    def warning(self) -> str:
        """What may be wrong with positions in space, as text; empty: nothing known."""
        # ROS 1 began frames with a slash.
        if self.depth is None or self.depth.header.frame_id.lstrip('/') == self.header.frame_id.lstrip('/'):
            return ''
        return (
            f'depth is in frame {quoted(self.depth.header.frame_id)}, the image in {quoted(self.header.frame_id)}: '
            'positions are right only if depth is registered to the image'
        )

    @property
    def compressed_bytes(self) -> int:
        """The bytes of compressed messages, all of which `check_contents` may read."""
        messages = (one for one in (self.image, self.depth) if one is not None and is_compressed(one))
        return sum(len(one.data) for one in messages)

    def check(self, max_pixels: int) -> None:
        """Check what raw messages say of themselves; takes constant time.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if (length := len(self.header.frame_id)) > LONGEST_FRAME:  # each segment carries it
            raise ValueError(f'frame_id: expected at most {LONGEST_FRAME} characters, received {length}')
        if isinstance(self.image, VideoImage):
            self.image.check(max_pixels)
        elif not is_compressed(self.image):
            check_image(self.image, max_pixels)
        if self.depth is None or not is_compressed(self.depth):
            self._check_known_sizes(max_pixels)

    def check_contents(self, max_pixels: int) -> None:
        """Check compressed messages after `check`, so far as that goes without decoding pixels; takes time.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if is_compressed(self.image):
            check_compressed(self.image, max_pixels)
        if self.depth is not None and is_compressed(self.depth):
            self._check_known_sizes(max_pixels)

    def _check_known_sizes(self, max_pixels: int) -> None:
        depth_hw = None
        if self.depth is not None:
            try:
                depth_hw = depth_size(self.depth, max_pixels)
            except ValueError as error:
                raise ValueError(f'depth: {error}') from error
        if isinstance(self.image, VideoImage):
            self.check_sizes(*self.image.size_hw, depth_hw)
        elif not is_compressed(self.image):  # else its size is known after decoding only
            self.check_sizes(self.image.height, self.image.width, depth_hw)

    def check_sizes(self, height: int, width: int, depth_hw: tuple[int, int] | None = None) -> None:
        """Check that depth, where its size is known, belongs to an image of this size.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if depth_hw is not None:
            about = f'depth of {depth_hw[1]} x {depth_hw[0]} for an image of {width} x {height}'
            check_aspect(about, depth_hw, (height, width))


def calibration(camera_info: Any) -> tuple[Any, ...]:
    """Return all of a camera_info but its header, to compare: bytes, since NaN is not equal to itself."""
    roi = camera_info.roi
    sizes = camera_info.height, camera_info.width, camera_info.binning_x, camera_info.binning_y
    values = (
        np.array(values, float).tobytes() for values in (camera_info.d, camera_info.k, camera_info.r, camera_info.p)
    )
    return (*sizes, roi.x_offset, roi.y_offset, roi.height, roi.width, camera_info.distortion_model, *values)
