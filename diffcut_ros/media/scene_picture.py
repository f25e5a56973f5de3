"""A picture of segments in space: boxes over the image, and the scene from above beside it."""

from collections.abc import Sequence

import cv2
import numpy as np

from diffcut_ros.core import PinholeCamera, SegmentGeometry, back_project
from diffcut_ros.core.geometry import sample_at
from diffcut_ros.media.boxes import draw_boxes
from diffcut_ros.media.top_view import draw_top_view

# Of the picture, at least; a small image is enlarged so that lines and texts are fine beside it.
_HEIGHT_PX = 720
_OPACITY = 0.45
# Rest of the image: how bright, and how much of that without colour.
_BRIGHTNESS, _GRAYNESS = 0.7, 0.6
_NO_BOX = (88, 88, 88)
_TOP_VIEW_ASPECT = 0.75


def draw_scene(
    image_rgb: np.ndarray,
    depth_m: np.ndarray,
    camera: PinholeCamera,
    labels: np.ndarray,
    colors: np.ndarray,
    geometries: Sequence[SegmentGeometry | None],
    longest_side_m: float = 0.7,
) -> np.ndarray:
    """Draw the segments of an image in space: those that have a box of handy size in colour, the rest in gray.

    Args:
        image_rgb: uint8 [H, W, 3].
        depth_m: float32 [H', W'] in metres, NaN where there is none.
        camera: of any size.
        labels: integers [H, W], 0 = none, 1..K.
        colors: uint8 [K, 3] RGB, of the labels from 1; see `track_colors`.
        geometries: one per label from 1, of `locate_segments`.
        longest_side_m: boxes with a longer side are left out: those of walls and floors would cover all others.

    Returns:
        uint8 [H'', W'', 3] RGB, at least 720 px high.

    Raises:
        ValueError: when image, depth image and camera have different aspects.
    """
    boxed = np.array([g is not None and max(g.size_m) <= longest_side_m for g in geometries], bool)
    boxes = [geometry for geometry, shown in zip(geometries, boxed, strict=True) if shown]
    table = np.concatenate([[_NO_BOX], np.where(boxed[:, None], colors, _NO_BOX)]).astype(np.uint8)
    shown = np.concatenate([[False], boxed])

    enlarged = max(1, -(-_HEIGHT_PX // image_rgb.shape[0]))
    image = cv2.resize(image_rgb, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    enlarged_labels = labels.repeat(enlarged, 0).repeat(enlarged, 1)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    faint = cv2.addWeighted(image, _BRIGHTNESS * (1 - _GRAYNESS), gray, _BRIGHTNESS * _GRAYNESS, 0)
    tinted = cv2.addWeighted(faint, 1 - _OPACITY, table[enlarged_labels], _OPACITY, 0)
    picture = np.where(shown[enlarged_labels][:, :, None], tinted, faint)
    texts = [f'{box.position_m[2]:.1f} m' for box in boxes]
    picture = draw_boxes(picture, camera, boxes, colors[boxed], texts)

    points = back_project(depth_m, camera)
    valid = ~np.isnan(points[:, :, 2])
    point_colors = table[sample_at(labels, depth_m.shape)]
    height = picture.shape[0]
    size = height, round(height * _TOP_VIEW_ASPECT)
    return np.concatenate(
        [picture, draw_top_view(points[valid], point_colors[valid], boxes, colors[boxed], size)], axis=1
    )
