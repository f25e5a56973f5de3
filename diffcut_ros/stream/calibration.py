"""Which camera a camera_info describes for an image: that of its K and distortion, or that of its P."""

import re
from typing import Any

from diffcut_ros.core import Distortion, PinholeCamera
from diffcut_ros.printable import printable

# `auto`: P where topic or frame of the image say that it is rectified, else K.
CALIBRATIONS = ('auto', 'K', 'P')

# As a word of its own: image_rect, image_rect_color, rect/image, image_rectified.
_RECTIFIED = re.compile(r'(?<![a-z])rect(ified)?(?![a-z])', re.IGNORECASE)
_ALIASES = {'fisheye': 'equidistant', '': 'plumb_bob'}
# Without a model's name, so many coefficients are plumb_bob's.
_NAMELESS = (4, 5)
# K and P that differ by less than this share of the focal length give the same positions.
_SAME = 0.005
# Focal lengths over the image's side: a field of view of 179 degrees, and one of 20 seconds of arc.
_FOCAL_SHARES = (0.01, 1e4)
# The principal point from the first pixel, in sides of the image: crops may lie beside it.
_FARTHEST = 100.0
# The third row of K and P, which drivers leave empty at worst, and how far off it may be. Binning at most, in pixels.
_THIRD_ROWS, _OFF, _MOST_BINNING = ((0, 0, 1), (0, 0, 0)), 0.01, 64
# More than any model has, and characters of what is said of them.
_MOST_COEFFICIENTS, _LONGEST = 64, 600


def read_calibration(
    camera_info: Any,
    calibration: str = 'auto',
    names: tuple[str, ...] = (),
    image_hw: tuple[int, int] | None = None,
) -> tuple[PinholeCamera, str]:
    """Return the camera that a camera_info describes, for the part of the sensor that its images show.

    K and the distortion hold for images as the lens makes them, P for rectified ones. Where one of both is zero, the
    other is taken. Binning needs no care, since images of other sizes are scaled to.

    Args:
        camera_info: sensor_msgs/CameraInfo.
        calibration: one of `CALIBRATIONS`.
        names: topic and frame of the image, where they are known.
        image_hw: height and width of the image, px: taken where the camera_info has none.

    Returns:
        The camera, and what was guessed, as text; empty: nothing that matters.

    Raises:
        ValueError: for a camera_info without a calibration, and for one that no lens has.
    """
    rectified = calibration == 'P' or (calibration == 'auto' and any(map(_RECTIFIED.search, names)))
    m, q, roi = camera_info.k, camera_info.p, camera_info.roi
    k, p = (m[0], m[4], m[2], m[5]), (q[0], q[5], q[2], q[6])
    has_k, has_p = (min(matrix[:2]) > 0 for matrix in (k, p))
    by_p = rectified if has_k == has_p else has_p
    distortion, note = None, ''
    if by_p != rectified:
        note = f'camera_info has no {"K: positions by P" if by_p else "P: positions by K"}, without distortion'
    elif not by_p:
        distortion, note = _read_distortion(camera_info)
        differs = has_p and max(abs(a - b) for a, b in zip(k, p, strict=True)) > _SAME * k[0]
        if calibration == 'auto' and (distortion is not None or (differs and not note)):
            lens = 'without distortion' if distortion is None else f'with its distortion ({distortion.model})'
            note += '; ' * bool(note) + (
                f'positions by K of camera_info, {lens}: neither topic nor frame of the image say that it is rectified '
                '(image_rect...); if it is, set calibration: P'
            )
    fx, fy, cx, cy = map(float, p if by_p else k)
    size_hw = camera_info.height, camera_info.width
    if roi.width and roi.height:  # 0: the whole sensor
        cx, cy, size_hw = cx - roi.x_offset, cy - roi.y_offset, (roi.height, roi.width)
    elif image_hw is not None and not min(size_hw):
        size_hw = image_hw
        note += '; ' * bool(note) + f"camera_info has no width and height: the image's, {size_hw[1]} x {size_hw[0]}"
    camera = PinholeCamera(fx, fy, cx, cy, size_hw, distortion)
    _check_plausible(camera)
    _check_matrix(*(('P', q[:3], q[4:7], q[8:11]) if by_p else ('K', m[:3], m[3:6], m[6:9])))
    if (binning := max(camera_info.binning_x, camera_info.binning_y)) > _MOST_BINNING:
        raise ValueError(
            f'camera_info: expected binning of at most {_MOST_BINNING} x {_MOST_BINNING} px, received {binning}; '
            'calibrate the camera'
        )
    return camera, note


def pinhole_camera(
    camera_info: Any,
    calibration: str = 'auto',
    names: tuple[str, ...] = (),
    image_hw: tuple[int, int] | None = None,
) -> PinholeCamera:
    """Return the camera of `read_calibration` alone."""
    return read_calibration(camera_info, calibration, names, image_hw)[0]


def scaling(camera_info: Any, camera: PinholeCamera, image_hw: tuple[int, int]) -> str:
    """Say by how much a calibration is scaled, because it is of images of another size; empty: it is not.

    Images that the camera itself has made smaller, by binning, are as its camera_info says.

    Args:
        camera_info: sensor_msgs/CameraInfo.
        camera: what `read_calibration` has made of it.
        image_hw: height and width of the image, px, with the aspect of the camera.
    """
    (own_height, own_width), (height, width) = camera.size_hw, image_hw
    binned = own_height // max(camera_info.binning_y, 1), own_width // max(camera_info.binning_x, 1)
    if image_hw in (camera.size_hw, binned):
        return ''
    matrix = 'K' if camera.fx == camera_info.k[0] else 'P'
    return (
        f'camera_info is for {own_width}x{own_height}, images have {width}x{height}: {matrix} is scaled by '
        f'{width / own_width:.4g} (wrong if images are cropped)'
    )


def _check_plausible(camera: PinholeCamera) -> None:
    """Refuse finite nonsense, which would make positions infinite, or all the same."""
    height, width = camera.size_hw
    for focal, center, side in ((camera.fx, camera.cx, width), (camera.fy, camera.cy, height)):
        least, most = (share * side for share in _FOCAL_SHARES)
        if not least <= focal <= most or abs(center) > _FARTHEST * side:
            raise ValueError(
                f'camera_info: expected focal lengths of {_FOCAL_SHARES[0]:g} to {_FOCAL_SHARES[1]:g} times and a '
                f"principal point within {_FARTHEST:g} times the image's size, received fx {camera.fx:g}, "
                f'fy {camera.fy:g}, cx {camera.cx:g}, cy {camera.cy:g} px for {width} x {height}; calibrate the camera'
            )


def _check_matrix(name: str, first: Any, second: Any, third: Any) -> None:
    """Refuse finite nonsense beside what positions follow: a skew larger than a focal length, another third row."""
    is_row = any(all(abs(a - b) <= _OFF for a, b in zip(third, row, strict=True)) for row in _THIRD_ROWS)
    if not (is_row and abs(first[1]) <= first[0] and abs(second[0]) <= second[1]):
        others = ', '.join(f'{value:g}' for value in (first[1], second[0], *third))
        raise ValueError(
            f'camera_info: expected a matrix {name} of fx, skew, cx; 0, fy, cy; 0, 0, 1, with a skew below the focal '
            f'lengths, received {others} beside fx, fy, cx and cy; calibrate the camera'
        )


def _read_distortion(camera_info: Any) -> tuple[Distortion | None, str]:
    """Return the distortion, None for none; and why one that is there is left out, or what was guessed of it."""
    left_out = 'positions by K of camera_info without its distortion: '
    if len(camera_info.d) > _MOST_COEFFICIENTS:
        count = len(camera_info.d)
        return None, f'{left_out}expected at most {_MOST_COEFFICIENTS} coefficients, received {count}'
    coefficients, model = tuple(map(float, camera_info.d)), camera_info.distortion_model.strip().lower()
    if not any(coefficients):
        return None, ''
    known = model if not model and len(coefficients) not in _NAMELESS else _ALIASES.get(model, model)
    try:
        guess = '' if model else 'distortion_model of camera_info is empty: taken as plumb_bob'
        return Distortion(known, coefficients), guess
    except ValueError as error:
        return None, f'{left_out}{printable(error, _LONGEST)}'
