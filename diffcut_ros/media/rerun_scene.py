"""Segments as rerun shows them: one function for each kind of thing, and how they are laid out on the screen.

The package rerun-sdk is optional: it is imported where it is used, and `load_rerun` says what to do without it.
"""

from collections.abc import Collection
from types import ModuleType

import cv2
import numpy as np

from diffcut_ros.core import PinholeCamera
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.outlines import outlines_by_label
from diffcut_ros.missing import needed

# Where things are. All in space is in the camera's optical frame, or in a target frame, in which the pinhole then is;
# what lies below the pinhole is in pixels.
CAMERA = 'camera'
PINHOLE = f'{CAMERA}/pinhole'
IMAGE, OVERLAY, LABELS, SEGMENTS = (f'{PINHOLE}/{name}' for name in ('image', 'overlay', 'labels', 'segments'))
BOXES_2D = f'{PINHOLE}/boxes'
BOXES, POINTS, OBJECTS = f'{CAMERA}/segments_3d', f'{CAMERA}/points', f'{CAMERA}/objects'
COUNT, COUNT_IN_SPACE = 'count/segments', 'count/segments_3d'
TIMELINE = 'stamp'

# As JPEG: a tenth of the bytes on the way to the browser and in its memory.
_JPEG_QUALITY = 90
# A browser keeps points of many images.
_MAX_POINTS = 150_000
_MAX_OUTLINE_POINTS = 200
# Widths of lines and points on the screen, in pixels of the user interface: alike near and far.
_LINE_PX, _OBJECT_LINE_PX, _POINT_PX = 1.0, 2.5, 1.5
# Share of the segment's colour in that of a point.
_TINT = 0.5
_SPACE_BACKGROUND = (24, 24, 28)
# How far in front of the camera its image is drawn in space.
_IMAGE_PLANE_M = 0.4
# The eye in space: behind the camera, above it and to its right.
_EYE_M, _TARGET_M = (0.7, -0.9, -0.75), (0.15, 0.25, 1.8)


def load_rerun() -> ModuleType:
    """Return the module rerun.

    Raises:
        MissingPackageError: when it is not installed; says how to get it.
    """
    with needed('the viewer', 'view'):
        import rerun
        import rerun.blueprint
    return rerun


def picture(image_rgb: np.ndarray):
    """Return an image, uint8 [H, W, 3], as `rerun.EncodedImage` (JPEG)."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, data = cv2.imencode('.jpg', cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), quality)
    return load_rerun().EncodedImage(contents=data.tobytes(), media_type='image/jpeg')


def label_image(labels: np.ndarray):
    """Return labels, uint8 or uint16 [H, W], as `rerun.SegmentationImage`."""
    return load_rerun().SegmentationImage(labels)


def label_names(labels: np.ndarray, numbers: np.ndarray):
    """Return `rerun.AnnotationContext`: for each label [K] the name and colour of its track id, or its own [K]."""
    named = zip(labels.tolist(), numbers.tolist(), number_colors(numbers).tolist(), strict=True)
    return load_rerun().AnnotationContext(
        [(0, 'none', (0, 0, 0, 0)), *((label, str(number), color) for label, number, color in named)]
    )


def outlines(labels: np.ndarray):
    """Return the outlines of labels, uint8 or uint16 [H, W], as `rerun.LineStrips2D`; `label_names` colours them."""
    strips, class_ids = [], []
    for label, parts in outlines_by_label(labels, _MAX_OUTLINE_POINTS).items():
        strips += [np.concatenate([part, part[:1]]) for part in parts]
        class_ids += [label] * len(parts)
    return load_rerun().LineStrips2D(strips, class_ids=class_ids, radii=_px(_LINE_PX), show_labels=False)


def boxes_2d(centers: np.ndarray, sizes: np.ndarray, numbers: np.ndarray):
    """Return `rerun.Boxes2D`, named and coloured by numbers [K]; centers and sizes float [K, 2] in pixels."""
    rerun = load_rerun()
    return rerun.Boxes2D(
        centers=centers, sizes=sizes, labels=_names(numbers), colors=number_colors(numbers), radii=_px(_LINE_PX)
    )


def boxes_3d(
    centers_m: np.ndarray,
    sizes_m: np.ndarray,
    quaternions_xyzw: np.ndarray,
    numbers: np.ndarray,
    of_objects: bool = False,
):
    """Return `rerun.Boxes3D`, named and coloured by numbers [K], with wide lines if of objects.

    The others are float [K, 3], [K, 3], [K, 4].
    """
    rerun = load_rerun()
    names = [f'object {name}' for name in _names(numbers)] if of_objects else _names(numbers)
    return rerun.Boxes3D(
        centers=centers_m,
        sizes=sizes_m,
        quaternions=quaternions_xyzw,
        labels=names,
        colors=number_colors(numbers),
        radii=_px(_OBJECT_LINE_PX if of_objects else _LINE_PX),
        show_labels=True,
        fill_mode='majorwireframe',  # solid faces hide what is in the box
    )


def points(points_m: np.ndarray, colors: np.ndarray, numbers: np.ndarray):
    """Return `rerun.Points3D`: every n-th point with a position, n such that there are 150,000 at most.

    Args:
        points_m: float32 [N, 3], NaN where there is none.
        colors: uint8 [N, 3] RGB, tinted with that of the segment.
        numbers: integers [N], track id of the segment, else its label; 0 = none.
    """
    valid = np.flatnonzero(np.isfinite(points_m).all(1))
    chosen = valid[:: max(1, -(-len(valid) // _MAX_POINTS))]
    colors, numbers = colors[chosen], numbers[chosen]
    tint = np.where((numbers > 0)[:, None], number_colors(numbers), colors)
    tinted = np.round((1 - _TINT) * colors + _TINT * tint).astype(np.uint8)
    return load_rerun().Points3D(points_m[chosen], colors=tinted, radii=_px(_POINT_PX))


def pinhole(camera: PinholeCamera, scale: float = 1.0):
    """Return `rerun.Pinhole`, of images that are shown smaller by a factor."""
    height, width = camera.size_hw
    return load_rerun().Pinhole(
        focal_length=(scale * camera.fx, scale * camera.fy),
        principal_point=(scale * camera.cx, scale * camera.cy),
        resolution=(scale * width, scale * height),
        image_plane_distance=_IMAGE_PLANE_M,
    )


def optical_frame():
    """Return the axes of a camera's optical frame: x to the right, y down, z forward."""
    return load_rerun().ViewCoordinates.RDF


def upright_frame():
    """Return the axes of a frame whose z points up."""
    return load_rerun().ViewCoordinates.RIGHT_HAND_Z_UP


def placed(turned: np.ndarray, at_m: np.ndarray):
    """Return where the camera is in the target frame, float64 [3, 3] and [3], as `rerun.Transform3D`."""
    return load_rerun().Transform3D(translation=at_m, mat3x3=turned)


def count(number: int):
    """Return a number as `rerun.Scalars`."""
    return load_rerun().Scalars(number)


def count_style(name: str):
    """Return what the line of a count is called, as `rerun.SeriesLines`."""
    return load_rerun().SeriesLines(names=name)


def blueprint(panels: Collection[str], in_target: bool = False, with_camera: bool = True):
    """Return what is seen at first: images on the left, space on the right, the count below.

    Args:
        panels: those that have something to show, of 'image', 'overlay', 'labels' and 'space'.
        in_target: whether space is a target frame, and not the camera's.
        with_camera: whether the camera and its image are drawn in space.
    """
    rerun = load_rerun()
    views = rerun.blueprint

    def flat(name: str, *entities: str):
        return views.Spatial2DView(origin=PINHOLE, contents=list(entities), name=name)

    flats = {
        'image': flat('Image', IMAGE, SEGMENTS, BOXES_2D),
        'overlay': flat('Overlay', OVERLAY),
        'labels': flat('Labels', LABELS),
    }
    images = [view for name, view in flats.items() if name in panels]
    counts = views.TimeSeriesView(origin='count', name='Segments')
    if 'space' in panels:
        space = views.Spatial3DView(
            origin=CAMERA,
            contents=[CAMERA, *([PINHOLE, IMAGE] if with_camera else []), BOXES, POINTS, OBJECTS],
            name='In space',
            # In another frame, the viewer itself finds a place from which all is seen.
            eye_controls=None
            if in_target
            else views.EyeControls3D(position=_EYE_M, look_target=_TARGET_M, eye_up=(0, -1, 0)),
            line_grid=False,
            background=_SPACE_BACKGROUND,
        )
        top = views.Horizontal(views.Vertical(*images), space, column_shares=[2, 3]) if images else space
    else:
        top = views.Horizontal(*images)
    return views.Blueprint(
        views.Vertical(top, counts, row_shares=[6, 1]),
        views.TimePanel(timeline=TIMELINE, state='collapsed'),
        collapse_panels=True,
    )


def _names(numbers: np.ndarray) -> list[str]:
    return [str(number) for number in numbers.tolist()]


def _px(width: float):
    """A radius on the screen instead of in space."""
    return load_rerun().Radius.ui_points(width)
