"""What a camera gives at one moment, checked."""

import time
from dataclasses import dataclass, field
from typing import Any

from diffcut_ros.core import PinholeCamera
from diffcut_ros.core.geometry import check_aspect
from diffcut_ros.stream.images import (
    DEPTH_ENCODINGS,
    check_compressed,
    check_image,
    is_compressed,
)
from diffcut_ros.stream.message_sync import stamp_ns
from diffcut_ros.stream.video_packets import VideoImage


@dataclass(frozen=True)
class Inputs:
    """Messages of one camera with one stamp.

    Attributes:
        image: sensor_msgs/Image or CompressedImage, or `VideoImage`.
        camera_info: sensor_msgs/CameraInfo where depth is wanted.
        depth: sensor_msgs/Image where depth is wanted.
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
        return stamp_ns(self.image) or self.arrival_ns

    @property
    def warning(self) -> str:
        """What may be wrong with positions in space, for people; empty: nothing known."""
        if self.depth is None or self.depth.header.frame_id == self.header.frame_id:
            return ''
        return (
            f"depth is in frame '{self.depth.header.frame_id}', the image in '{self.header.frame_id}': positions are "
            'right only if depth is registered to the image'
        )

    def check(self, max_pixels: int) -> None:
        """Check all messages without touching pixels, so far as that tells.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
        if isinstance(self.image, VideoImage):
            self.image.check(max_pixels)
            self.check_sizes(*self.image.size_hw)
            return
        if is_compressed(self.image):
            check_compressed(self.image, max_pixels)
            return  # the size is known after decoding only
        check_image(self.image, max_pixels)
        self.check_sizes(self.image.height, self.image.width)

    def check_sizes(self, height: int, width: int) -> None:
        """Check that camera_info and depth, where there are some, belong to an image of this size.

        Raises:
            ValueError: naming the message, what was expected and received.
        """
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
            check_aspect(about, (own_height, own_width), (height, width))
        if self.depth is not None and self.depth.encoding not in DEPTH_ENCODINGS:
            raise ValueError(
                f'depth: encoding: expected one of {", ".join(DEPTH_ENCODINGS)}, received {self.depth.encoding!r}'
            )
        if self.camera_info is not None:
            pinhole_camera(self.camera_info)


def calibration(camera_info: Any) -> tuple[Any, ...]:
    """Return all of a camera_info but its header, to compare."""
    roi = camera_info.roi
    sizes = camera_info.height, camera_info.width, camera_info.binning_x, camera_info.binning_y
    values = (tuple(map(float, values)) for values in (camera_info.d, camera_info.k, camera_info.r, camera_info.p))
    return (*sizes, roi.x_offset, roi.y_offset, roi.height, roi.width, camera_info.distortion_model, *values)


def pinhole_camera(camera_info: Any) -> PinholeCamera:
    """Return the camera that a camera_info describes, for the part of the sensor that its images show.

    Its projection P where it has one, as image_geometry and depth_image_proc do: that of the rectified image; else K,
    which holds for images of cameras with little distortion. The distortion itself is not applied: positions in images
    that are not rectified are off by it. Binning needs no care, since images of other sizes are scaled to.

    Raises:
        ValueError: for a camera_info without a calibration.
    """
    p, k, roi = camera_info.p, camera_info.k, camera_info.roi
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if p[0] > 0 else (k[0], k[4], k[2], k[5])
    size_hw = camera_info.height, camera_info.width
    if roi.width and roi.height:  # 0: the whole sensor
        cx, cy, size_hw = cx - roi.x_offset, cy - roi.y_offset, (roi.height, roi.width)
    return PinholeCamera(float(fx), float(fy), float(cx), float(cy), size_hw)
