"""The map of objects from above, as the report's page draws it."""

import base64
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffcut_ros.analysis.objects import Shown
from diffcut_ros.core.classes import UNKNOWN, Classes
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.objects import MapObject, ObjectMap
from diffcut_ros.plain_files import read_plain
from diffcut_ros.printable import printable

# Objects that are drawn, those of the most voxels: the page holds a picture of each.
_MOST_OBJECTS = 200
# Of a picture.
_MOST_BYTES = 2**20
# What is higher above the lowest points is not drawn, since it would hide what is below: ceilings, lamps. The lowest
# points: those that this share of all lie below.
_CEILING_M, _LOWEST = 2.2, 0.02
# Around all boxes, as a share of their extent.
_AROUND = 0.04
_MOST_PIXELS = 1000


def plan_of(
    found: ObjectMap,
    shown: Mapping[int, Shown],
    frame: str,
    voxel_m: float,
    classes: Classes | None,
    pictures: Path,
    at: Callable[[int], str],
) -> dict[str, Any]:
    """Return what the page draws of a map, as for JSON; without objects, none of them and no extent.

    Args:
        found: the map.
        shown: what shows each of its objects, by its id.
        frame: that it is in.
        voxel_m: side of its voxels.
        classes: that objects may have; None: they have none.
        pictures: the folder of the objects' best views.
        at: gives a stamp in ns as text.
    """
    largest = sorted(found.objects, key=lambda one: one.voxels, reverse=True)[:_MOST_OBJECTS]
    if not largest:
        return {'frame': printable(frame), 'total': 0, 'objects': [], 'extent': None, 'ground': None}
    corners = np.array([_corners(one) for one in largest])
    low, high = corners.min((0, 1)), corners.max((0, 1))
    margin = np.maximum(_AROUND * (high - low).max(), voxel_m)
    low, high = low - margin, high + margin
    return {
        'frame': printable(frame),
        'total': len(found.objects),
        'ceiling': _CEILING_M,
        'extent': [*_short(low), *_short(high)],
        'ground': _ground(found, voxel_m, low, high),
        'objects': [
            {
                'id': one.object_id,
                'name': printable(classes.classes[one.class_id].name) if classes and one.class_id != UNKNOWN else '',
                'confidence': round(one.confidence, 2),
                'color': '#' + bytes(number_colors(np.array(one.object_id))).hex(),
                'class_color': '#' + bytes(classes.color(one.class_id)).hex() if classes else None,
                'corners': [_short(corner) for corner in own],
                'position': _short(one.position_m),
                'size': _short(one.box_size_m),
                'tracks': len(one.track_ids),
                **_views(shown.get(one.object_id, Shown()), at),
                'picture': _picture(pictures / f'{one.object_id}.jpg'),
            }
            for one, own in zip(largest, corners, strict=True)
        ],
    }


def _views(shown: Shown, at: Callable[[int], str]) -> dict[str, Any]:
    first, last = ('' if ns is None else at(ns) for ns in (shown.first_ns, shown.last_ns))
    whole, _, best_ns, *_ = shown.best or (0, 0, None)
    best = '' if best_ns is None else at(best_ns)
    return {'views': shown.views, 'first': first, 'last': last, 'best': best, 'whole': bool(whole)}


def _corners(one: MapObject) -> np.ndarray:
    """Return the corners of a box from above, float64 [4, 2]."""
    cos, sin = math.cos(one.box_yaw_rad), math.sin(one.box_yaw_rad)
    along, across = np.array([cos, sin]) * one.box_size_m[0] / 2, np.array([-sin, cos]) * one.box_size_m[1] / 2
    middle = np.array(one.box_center_m[:2])
    return np.array([middle + a * along + b * across for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def _ground(found: ObjectMap, voxel_m: float, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Return a picture of the highest points of all voxels, each a pixel, and where it lies: left, bottom, size, m."""
    cell_m = max(voxel_m, float((high - low).max()) / _MOST_PIXELS)
    columns, rows = np.ceil((high - low) / cell_m).astype(int)
    z = found.points_m[:, 2]
    order = np.argsort(z)
    order = order[z[order] <= np.quantile(z, _LOWEST) + _CEILING_M]
    cell = np.floor((found.points_m[order, :2] - low) / cell_m).astype(np.int64)
    inside = ((cell >= 0) & (cell < (columns, rows))).all(1)
    image = np.zeros((rows, columns, 4), np.uint8)
    column, row = cell[inside].T
    image[rows - 1 - row, column, :3] = found.colors[order[inside]][:, ::-1]  # OpenCV takes blue first
    image[rows - 1 - row, column, 3] = 255
    png = cv2.imencode('.png', image)[1].tobytes()
    return {
        'image': f'data:image/png;base64,{base64.b64encode(png).decode()}',
        'place': [*_short(low), *_short(cell_m * np.array([columns, rows]))],
    }


def _picture(path: Path) -> str:
    """Return a picture as the address of an image; empty where there is none."""
    if not path.exists():
        return ''
    return f'data:image/jpeg;base64,{base64.b64encode(read_plain(path, _MOST_BYTES)).decode()}'


def _short(values: Any) -> list[float]:
    """Return lengths in m, to the millimetre."""
    return [round(float(value), 3) for value in values]
