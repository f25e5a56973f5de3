"""Segments in space: where they are and how far they reach, from a depth image.

Coordinates are those of the camera's optical frame (REP 103): x to the right, y down, z forward, in metres; or of
another frame, where a transform into it is given. Pixel (column u, row v) has its centre at (u, v), as in camera_info.
Depth is z, not the distance along the ray (REP 118).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from diffcut_ros.core.distortion import Distortion
from diffcut_ros.core.transform import Transform

# Sides of images that belong together may differ by rounding when one is a scaled copy of the other.
_ASPECT_TOLERANCE = 0.02

# A segment is located from at least so many pixels with depth, and at least this share of its pixels.
MIN_DEPTH_PIXELS = 10
MIN_VALID_SHARE = 0.1

# Depth from here on is none: a garbled pixel shall not make positions coarse, which are exact to 1/65535 of the range
# of all points.
MAX_DEPTH_M = 1000.0
_LEVELS = 65535

# What lies beyond these percentiles is left out of a box, on each side of each axis: flying pixels between near and
# far, and pixels of the neighbours where a border is not exact.
_TRIMMED_SHARE = 0.05

NOT_TURNED = (0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class PinholeCamera:
    """A camera: u = fx * x / z + cx, v = fy * y / z + cy, where its lens has bent x / z and y / z if it does.

    Attributes:
        fx, fy: focal lengths, px.
        cx, cy: principal point, px.
        size_hw: height and width of the images that these hold for, px.
        distortion: of its lens; None: none, as in rectified images.

    Raises:
        ValueError: for values that are not finite, a focal length that is not positive, or an empty image.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    size_hw: tuple[int, int]
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f'fx, fy, cx, cy: expected finite numbers, received {numbers}')
        if not (self.fx > 0 and self.fy > 0):
            raise ValueError(
                f'fx, fy: expected focal lengths above 0 px, received {self.fx:g} and {self.fy:g}: camera_info is '
                f'uncalibrated; calibrate the camera, or have its driver publish the calibration'
            )
        if len(self.size_hw) != 2 or min(self.size_hw) < 1:
            raise ValueError(f'size_hw: expected height and width of at least 1, received {self.size_hw}')

    def scaled_to(self, size_hw: tuple[int, int]) -> 'PinholeCamera':
        """Return the camera for images of another size that show the same.

        Raises:
            ValueError: for another aspect.
        """
        if size_hw == self.size_hw:
            return self
        check_aspect(f'camera_info of {_text(self.size_hw)} for images of {_text(size_hw)}', self.size_hw, size_hw)
        scale_y, scale_x = size_hw[0] / self.size_hw[0], size_hw[1] / self.size_hw[1]
        # Half a pixel: the images' outlines coincide, not the centres of their first pixels.
        return replace(
            self,
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            cx=(self.cx + 0.5) * scale_x - 0.5,
            cy=(self.cy + 0.5) * scale_y - 0.5,
            size_hw=size_hw,
        )


@dataclass(frozen=True)
class SegmentGeometry:
    """Where a segment is, in the camera's optical frame or another one.

    Attributes:
        position_m: x, y and z, the median of its points along each axis of the box.
        box_min_m: the corner of its box with the smallest x, y and z, along the box's own axes where it is turned.
        box_max_m: the corner with the largest. A flat segment that faces the camera has a box of depth 0.
        valid_share: share of its pixels with depth, above 0 to 1.
        turned_xyzw: quaternion that turns the frame's axes into those of the box.

    Raises:
        ValueError: for numbers that are not finite, a position outside the box, or a share out of range.
    """

    position_m: tuple[float, float, float]
    box_min_m: tuple[float, float, float]
    box_max_m: tuple[float, float, float]
    valid_share: float
    turned_xyzw: tuple[float, float, float, float] = NOT_TURNED

    def __post_init__(self) -> None:
        if not 0 < self.valid_share <= 1:
            raise ValueError(f'valid_share: expected above 0 to 1, received {self.valid_share}')
        if self.turned_xyzw != NOT_TURNED:
            numbers = (*self.position_m, *self.box_min_m, *self.box_max_m, *self.turned_xyzw)
            if not all(map(math.isfinite, numbers)):
                raise ValueError(f'position, box and turned_xyzw: expected finite numbers, received {numbers}')
            return
        # A comparison with NaN is false, too; infinite numbers are not between others.
        for low, middle, high in zip(self.box_min_m, self.position_m, self.box_max_m, strict=True):
            if not -math.inf < low <= middle <= high < math.inf:
                raise ValueError(
                    f'position_m: expected a point inside the box {self.box_min_m} to {self.box_max_m}, '
                    f'received {self.position_m}'
                )

    @property
    def center_m(self) -> tuple[float, float, float]:
        """The centre of the box."""
        x, y, z = ((low + high) / 2 for low, high in zip(self.box_min_m, self.box_max_m, strict=True))
        return x, y, z

    @property
    def size_m(self) -> tuple[float, float, float]:
        """The box's sides along its x, y and z."""
        diagonal = [high - low for low, high in zip(self.box_min_m, self.box_max_m, strict=True)]
        if self.turned_xyzw != NOT_TURNED:
            turned = Rotation.from_quat(self.turned_xyzw).apply(diagonal, inverse=True)
            diagonal = np.maximum(turned, 0).tolist()  # rounded, a side of 0 may be less
        x, y, z = diagonal
        return x, y, z


def sample_at(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an image [H, W, ...] at another size by nearest pixels; the same array if it has that size.

    Raises:
        ValueError: for another aspect.
    """
    height, width = image.shape[:2]
    if (height, width) == tuple(size_hw):
        return image
    check_aspect(f'image of {_text((height, width))} for depth of {_text(size_hw)}', (height, width), size_hw)
    return image[middles(height, size_hw[0])[:, None], middles(width, size_hw[1])]


def middles(side: int, count: int) -> np.ndarray:
    """Return the pixels in the middle of so many equal parts of a side, int64 [count]."""
    return (2 * np.arange(count) + 1) * side // (2 * count)


def back_project(depth_m: np.ndarray, camera: PinholeCamera, into: Transform | None = None) -> np.ndarray:
    """Return the point that each pixel of a depth image sees.

    Args:
        depth_m: float32 [H, W], NaN where there is none.
        camera: of any size; scaled to that of the depth image.
        into: takes the points into another frame; None: they are in the camera's.

    Returns:
        float32 [H, W, 3]: x, y, z in metres, NaN where there is no depth, or no direction by the camera's distortion.

    Raises:
        ValueError: for another aspect of the camera.
    """
    rays_x, rays_y = _rays(camera.scaled_to(depth_m.shape))
    points = np.empty((*depth_m.shape, 3), np.float32)
    if into is not None:
        for k, axis in enumerate(_turned(depth_m, rays_x, rays_y, into)):
            np.add(axis, np.float32(into.translation_m[k]), out=points[:, :, k])
        return points
    np.multiply(depth_m, rays_x, out=points[:, :, 0])
    np.multiply(depth_m, rays_y, out=points[:, :, 1])
    points[:, :, 2] = depth_m
    if camera.distortion is not None:
        points[np.isnan(rays_x), 2] = np.nan
    return points


def points_at(depth_m: np.ndarray, camera: PinholeCamera, into: Transform, grid_hw: tuple[int, int]) -> np.ndarray:
    """Return what the middles of so many equal parts of a depth image see, float64 [*grid_hw, 3]; see `back_project`.

    Unlike there, points are exact far from the frame's origin, too, and NaN at depths that no camera measures.
    """
    y, x = map(middles, depth_m.shape, grid_hw)
    at = y[:, None], x
    depth = depth_m[at].astype(float)
    depth[~(depth < MAX_DEPTH_M)] = np.nan
    rays = (np.broadcast_to(ray, depth_m.shape)[at] for ray in _rays(camera.scaled_to(depth_m.shape)))
    return into(np.stack([*rays, np.ones_like(depth)], -1) * depth[..., None])


def _turned(depth_m: np.ndarray, rays_x: np.ndarray, rays_y: np.ndarray, into: Transform) -> Iterator[np.ndarray]:
    """Yield x, y and z of each pixel along the axes of another frame, float32 [H, W], from the camera."""
    for x, y, z in into.rotation.as_matrix().astype(np.float32):
        axis = x * rays_x + (y * rays_y + z)  # the last is a column of numbers in general
        yield np.multiply(depth_m, axis, out=axis)


def share_without_direction(camera: PinholeCamera) -> float:
    """Return the share of pixels whose direction the camera's distortion does not tell, 0 to 1; 0 without distortion.

    Where strong distortion is extrapolated beyond the points that it was calibrated with, its polynomial may fold.
    """
    return 0.0 if camera.distortion is None else _unbent_rays(camera)[2]


def project(points_m: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Return where points are in the image: float [..., 2], column and row, for points [..., 3] with z above 0."""
    focal, center = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    directions = points_m[..., :2] / points_m[..., 2:]
    if camera.distortion is not None:
        directions = camera.distortion.bend(directions.reshape(-1, 2)).reshape(directions.shape)
    return directions * focal + center


def locate_segments(
    labels: np.ndarray, depth_m: np.ndarray, camera: PinholeCamera, count: int, into: Transform | None = None
) -> tuple[SegmentGeometry | None, ...]:
    """Locate all segments of an image.

    A box reaches from the 5th to the 95th percentile of its points along each axis, widened on both sides by what that
    takes from points that are spread evenly (1/18 of its length), but not beyond the outermost point: where less than
    5 % of the points on a side fly, the box of a flat or straight thing is its own. A surface seen at a flat angle has
    few pixels: the far end of a cuboid may be cut short. Positions and boxes are exact to 1/65535 of the range that all
    points span along the axis: 0.1 mm in a room.

    Args:
        labels: integers [H', W'], 0 = none, 1..count; sampled at the pixels of the depth image.
        depth_m: float32 [H, W] in metres, NaN where there is none; so are 0, and `MAX_DEPTH_M` and beyond.
        camera: of any size; scaled to that of the depth image. Pixels without a direction by its distortion count as
            those without depth.
        count: number of segments.
        into: takes points into another frame, along whose axes positions and boxes are measured; None: the camera's.

    Returns:
        One entry per label from 1; None for a segment with fewer than `MIN_DEPTH_PIXELS` pixels with depth, or with
        less than `MIN_VALID_SHARE` of its pixels.

    Raises:
        ValueError: when labels or camera have another aspect than the depth image, or there are more labels.
    """
    rays_x, rays_y = _rays(camera.scaled_to(depth_m.shape))
    flat = sample_at(labels, depth_m.shape).ravel()
    # Pixels with depth in the order of their labels, so that those of each segment are in one piece.
    usable = (depth_m > 0) & (depth_m < MAX_DEPTH_M)  # NaN is neither
    if camera.distortion is not None:
        usable &= ~np.isnan(rays_x)
    seen = np.flatnonzero(usable)
    order = seen[np.argsort(flat[seen], kind='stable')]
    ends = np.searchsorted(flat[order], np.arange(count + 1), side='right')
    with_depth = np.diff(ends)
    pixels = np.bincount(flat, minlength=count + 1)[1:]
    if len(pixels) > count:
        raise ValueError(f'labels: expected values up to {count}, the number of segments, received {len(pixels)}')
    found = np.flatnonzero((with_depth >= MIN_DEPTH_PIXELS) & (with_depth >= MIN_VALID_SHARE * pixels))
    if not len(found):
        return (None,) * count
    starts, with_depth, pixels = ends[found], with_depth[found], pixels[found]
    if into is None:
        axes = [depth_m * rays_x, depth_m * rays_y, depth_m]
    else:
        axes = list(_turned(depth_m, rays_x, rays_y, into))
    measured = np.stack([_center_and_extent(axis.ravel()[order], starts, with_depth) for axis in axes], axis=-1)
    if into is not None:
        measured += into.translation_m  # last, as float64: it may be far from the frame's origin
    located: list[SegmentGeometry | None] = [None] * count
    for k, (position, box_min, box_max), share in zip(
        found.tolist(), measured.transpose(1, 0, 2).tolist(), (with_depth / pixels).tolist(), strict=True
    ):
        located[k] = SegmentGeometry(tuple(position), tuple(box_min), tuple(box_max), share)
    return tuple(located)


def moved(geometries: Sequence[SegmentGeometry | None], into: Transform) -> tuple[SegmentGeometry | None, ...]:
    """Return places in another frame, with the same boxes, which turn with their axes."""
    found = [one for one in geometries if one is not None]
    turns = (into.rotation * Rotation.from_quat(np.reshape([one.turned_xyzw for one in found], (-1, 4)))).as_quat()
    points_m = into(np.reshape([(one.box_min_m, one.position_m, one.box_max_m) for one in found], (-1, 3, 3)))
    straight = (turns == NOT_TURNED).all(1)
    points_m[straight] = np.sort(points_m[straight], axis=1)  # rounded, a position may lie beyond an end
    places = (
        SegmentGeometry(tuple(position), tuple(low), tuple(high), one.valid_share, tuple(turned))
        for one, (low, position, high), turned in zip(found, points_m.tolist(), turns.tolist(), strict=True)
    )
    return tuple(None if one is None else next(places) for one in geometries)


def _center_and_extent(values: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return median, lower and upper end of each group of values, float64 [3, K]; see `locate_segments`.

    Args:
        values: float32 [N], finite, the values of a group in one piece.
        starts, counts: where each of the K groups begins, and its length.
    """
    # 16 bits, for which NumPy has a radix sort: floats take 25 times as long on processors and with versions of NumPy
    # that do not sort them by vector instructions.
    lowest, highest = float(values.min()), float(values.max())
    step = max((highest - lowest) / _LEVELS, 1e-12)  # above 0 where all values are the same
    levels = np.rint((values - np.float32(lowest)) * np.float32(1 / step)).astype(np.uint16)
    for start, end in zip(starts, starts + counts, strict=True):
        levels[start:end].sort(kind='stable')

    def quantile(share: float) -> np.ndarray:
        """Between neighbouring values where it falls between them."""
        at = share * (counts - 1)
        before = np.floor(at).astype(np.intp)
        low = levels[starts + before].astype(float)
        return low + (levels[starts + np.ceil(at).astype(np.intp)] - low) * (at - before)

    low, middle, high = quantile(_TRIMMED_SHARE), quantile(0.5), quantile(1 - _TRIMMED_SHARE)
    widening = (high - low) * (_TRIMMED_SHARE / (1 - 2 * _TRIMMED_SHARE))
    low = np.maximum(low - widening, levels[starts])
    high = np.minimum(high + widening, levels[starts + counts - 1])
    return lowest + step * np.stack([middle, low, high])


def _rays(camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """Return x / z and y / z of each pixel: float32 [W] and [H, 1]; with distortion both [H, W], NaN where none."""
    if camera.distortion is not None:
        return _unbent_rays(camera)[:2]
    rays_x, rays_y = _pinhole_rays(camera)
    return rays_x.astype(np.float32), rays_y.astype(np.float32)[:, None]


# As many as a node has cameras, in general. One takes 0.1 s and 2.4 MB at 640 x 480.
@lru_cache(maxsize=8)
def _unbent_rays(camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray, float]:
    """Return x / z and y / z of each pixel, float32 [H, W], NaN where there is no direction, and the share of those."""
    assert camera.distortion is not None
    bent = np.stack(np.meshgrid(*_pinhole_rays(camera)), -1).reshape(-1, 2)
    rays = camera.distortion.unbend(bent).astype(np.float32).reshape(*camera.size_hw, 2)
    rays_x, rays_y = np.ascontiguousarray(rays[..., 0]), np.ascontiguousarray(rays[..., 1])
    rays_x.flags.writeable = rays_y.flags.writeable = False  # others are given the same
    return rays_x, rays_y, float(np.isnan(rays_x).mean())


def _pinhole_rays(camera: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """Return x / z of each column and y / z of each row of a camera without distortion, float64."""
    height, width = camera.size_hw
    return (np.arange(width) - camera.cx) / camera.fx, (np.arange(height) - camera.cy) / camera.fy


def check_aspect(about: str, first_hw: tuple[int, int], second_hw: tuple[int, int]) -> None:
    """Raise ValueError unless one size is the other scaled, up to rounding; `about` says which they are."""
    if abs(first_hw[1] * second_hw[0] / (first_hw[0] * second_hw[1]) - 1) > _ASPECT_TOLERANCE:
        raise ValueError(f'{about}: expected the same aspect')


def _text(size_hw: tuple[int, int]) -> str:
    return f'{size_hw[1]} x {size_hw[0]}'
