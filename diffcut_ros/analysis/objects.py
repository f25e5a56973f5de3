"""The map of a recording's objects: kept of each part of an analysis, and written as a table, points and pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.analysis.report.gallery import encode_jpeg
from diffcut_ros.analysis.settings import Settings
from diffcut_ros.analysis.tables import OBJECTS, PICTURES, SEGMENTS, Row, check_count, read_rows, write_table
from diffcut_ros.classes_file import ClassesFile
from diffcut_ros.core.classes import Classes
from diffcut_ros.core.objects import ObjectMap, Sightings, better_view, in_one_piece, join
from diffcut_ros.core.plain import expect, pack, unpack
from diffcut_ros.core.types import MAX_TRACK_ID
from diffcut_ros.media.cutout import cut_out, outlined
from diffcut_ros.plain_files import read_plain
from diffcut_ros.printable import printable, quoted
from diffcut_ros.writing import writing

_FILE, _PLACES_FILE, _VIEWS_FILE = 'objects.npz', 'places.npz', 'views.npz'
# Longer side of a picture, at most; where the segment is smaller, it is as large as in the image.
_PICTURE_PX = 320
# Of outlines in pictures: which object a track belongs to, and so its colour, is known at the end only.
_OUTLINE_RGB = np.array([255, 210, 0], np.uint8)
# Of such a file, packed or unpacked: every sample of 32 images in a voxel of its own takes 80 MB.
_MOST_BYTES = 2**28
# In a kitchen that was measured, with 32 images 3 of the 35 objects that segments show have no picture; with 8, none.
_IMAGES_PER_PICTURE = 8
# Values of a row of `Sightings.best`.
_BEST = 7
# From here on, numbers of 32 bits are off by more than half a millimetre.
_FAR_M = 8192.0


def write_sightings(folder: Path, seen: Sequence[tuple[Sightings, np.ndarray]]) -> None:
    """Write what the images of a part show of things into its folder.

    Args:
        folder: of the part.
        seen: of each image what it shows, and the track ids of all its segments, int64 [K].
    """
    with writing(folder / _FILE):
        (folder / _FILE).write_bytes(pack(vars(join([one for one, _ in seen]))))
    places: dict[str, list[np.ndarray]] = {'voxel': [], 'row': [], 'samples': []}
    rows = 0
    for one, track_id in seen:
        order = np.argsort(track_id)
        places['row'].append(rows + order[np.searchsorted(track_id, one.track, sorter=order)])
        places['voxel'].append(one.voxel)
        places['samples'].append(one.samples)
        rows += len(track_id)
    none = np.zeros(0, np.int64)
    with writing(folder / _PLACES_FILE):
        arrays = {name: np.concatenate([none, *values]) for name, values in places.items()}
        (folder / _PLACES_FILE).write_bytes(pack(arrays | {'rows': rows}))


def read_sightings(folder: Path) -> Sightings:
    """Return what the images of a part show of things.

    Raises:
        ValueError, OSError: for a file that holds something else, or is not there.
    """
    try:
        return Sightings.load(unpack(read_plain(folder / _FILE, _MOST_BYTES), _MOST_BYTES))
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f'{folder.name}/{_FILE}: expected things of this analysis: {error}') from error


def objects_of_rows(found: ObjectMap, table: Path) -> list[int | None]:
    """Return which object each row of the table `segments` of a part shows; None: no place of it is in the map.

    Raises:
        ValueError, OSError: for a file beside it that holds something else, or is not there.
    """
    folder = table.parent
    try:
        state = unpack(read_plain(folder / _PLACES_FILE, _MOST_BYTES), _MOST_BYTES)
        voxel, row, samples, rows = (state[name] for name in ('voxel', 'row', 'samples', 'rows'))
        expect('voxel', voxel, 'i', (len(voxel),), 0)
        expect('row', row, 'i', (len(voxel),), 0, rows - 1)
        expect('samples', samples, 'i', (len(voxel),), 1)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{folder.name}/{_PLACES_FILE}: expected places of this analysis: {error}') from error
    return [one or None for one in found.object_of(voxel, row, samples, rows).tolist()]


class BestViews:
    """Pictures of a part's segments: of each track, in each few images in turn, the one that shows it best.

    Which object a segment shows is known at the end only, and the segments of a track may show several, see
    `shown_objects`: with the best one of all of the part alone, the others would have none.
    """

    def __init__(self) -> None:
        self._rows = self._images = 0
        self._views: dict[int, tuple[int, tuple[int, ...], tuple[np.ndarray, np.ndarray]]] = {}
        self._done: list[list[Any]] = []

    def add(self, result: FrameResult) -> None:
        """Take pictures of what an image shows better than those before it; of all images of the part, in turn."""
        if self._images % _IMAGES_PER_PICTURE == 0:
            self._end_turn()
        segments, before = result.segmentation.segments, self._rows
        self._images += 1
        self._rows += len(segments)
        if result.sightings is None:
            return
        for track_id, best in zip(result.sightings.track_id.tolist(), result.sightings.best.tolist(), strict=True):
            kept = self._views.get(track_id)
            if kept is None or better_view(best) > better_view(kept[1]):
                (row,) = np.flatnonzero(segments.track_id == track_id).tolist()
                mask = result.segmentation.labels == segments.label[row]
                self._views[track_id] = before + row, tuple(best), cut_out(result.image_rgb, mask, _PICTURE_PX)

    def _end_turn(self) -> None:
        """Keep the pictures as files, which are smaller."""
        for row, best, part in self._views.values():
            self._done.append([row, *best, encode_jpeg(outlined(*part, _OUTLINE_RGB))])
        self._views = {}

    def write(self, folder: Path) -> None:
        """Write them into the folder of a part."""
        self._end_turn()
        with writing(folder / _VIEWS_FILE):
            (folder / _VIEWS_FILE).write_bytes(pack(self._done))


def read_views(folder: Path) -> Iterator[tuple[int, tuple[int, ...], bytes]]:
    """Yield of each picture of a part its segment's row in the part's table, row of `Sightings.best`, and JPEG file.

    Raises:
        ValueError, OSError: for a file that holds something else, or is not there.
    """
    try:
        for row, *best, jpeg in unpack(read_plain(folder / _VIEWS_FILE, _MOST_BYTES), _MOST_BYTES):
            if not all(isinstance(one, int) for one in (row, *best)) or not isinstance(jpeg, bytes):
                raise ValueError('expected whole numbers and a picture, received others')
            yield row, tuple(best), jpeg
    except (ValueError, TypeError) as error:
        raise ValueError(f'{folder.name}/{_VIEWS_FILE}: expected pictures of this analysis: {error}') from error


@dataclass(frozen=True)
class Shown:
    """What shows an object of a map: the segments whose `object_id` it is.

    Attributes:
        views: number of them.
        first_ns, last_ns: stamps of the first and the last one's image; None without any.
        best: of the best one that there is a picture of, the row of `Sightings.best`; None: there is none.
        picture: where that is, part and row; None likewise.
    """

    views: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    best: tuple[int, ...] | None = None
    picture: tuple[int, int] | None = None

    def and_of(self, stamps_ns: np.ndarray) -> 'Shown':
        """Return it with further segments, of at least one image."""
        first_ns, last_ns = int(stamps_ns.min()), int(stamps_ns.max())
        return replace(
            self,
            views=self.views + len(stamps_ns),
            first_ns=first_ns if self.first_ns is None else min(first_ns, self.first_ns),
            last_ns=last_ns if self.last_ns is None else max(last_ns, self.last_ns),
        )


def shown_objects(found: ObjectMap, tables: Sequence[Path]) -> dict[int, Shown]:
    """Return what shows each object of a map, by its id; one part after the other.

    Args:
        found: the map.
        tables: `segments` of all parts, beside which their places and pictures lie.

    Raises:
        ValueError, OSError: for a part that holds something else.
    """
    shown = {one.object_id: Shown() for one in found.objects}
    for number, table in enumerate(tables):
        owner = np.array([one or 0 for one in objects_of_rows(found, table)], np.int64)
        stamps_ns = np.array([stamp_ns for (stamp_ns,) in read_rows(table, SEGMENTS, ('stamp_ns',))], np.int64)
        check_count(owner, len(stamps_ns), table)
        for object_id in np.unique(owner[owner > 0]).tolist():
            shown[object_id] = shown[object_id].and_of(stamps_ns[owner == object_id])
        for row, best, _ in read_views(table.parent):
            if not 0 <= row < len(owner) or len(best) != _BEST:
                raise ValueError(f'{table.parent.name}/{_VIEWS_FILE}: expected pictures of this analysis')
            before = shown.get(int(owner[row]))
            if before is not None and (before.best is None or better_view(best) > better_view(before.best)):
                shown[int(owner[row])] = replace(before, best=best, picture=(number, row))
    return shown


def write_pictures(path: Path, shown: Mapping[int, Shown], parts: Sequence[Path]) -> None:
    """Write the best view of each object that there is a picture of into a new folder, as ID.jpg."""
    with writing(path):
        path.mkdir()
    wanted = {one.picture: object_id for object_id, one in shown.items() if one.picture is not None}
    for number, part in enumerate(parts):
        for row, _, jpeg in read_views(part):
            object_id = wanted.get((number, row))
            if object_id is not None:
                with writing(path / f'{object_id}.jpg'):
                    (path / f'{object_id}.jpg').write_bytes(jpeg)


def about_map(seen: Sightings, found: ObjectMap, shown: Mapping[int, Shown]) -> dict[str, int]:
    """Return what run.json says of the map, beside the number of its objects."""
    return {
        'objects_without_segments': sum(not one.views for one in shown.values()),
        'objects_without_picture': sum(one.picture is None for one in shown.values()),
        'tracks': len(seen.track_id),
        'tracks_in_objects': sum(len(one.track_ids) for one in found.objects),
        'voxels': len(found.points_m),
        'voxels_of_no_object': len(np.unique(seen.voxel)) - len(found.points_m),
        'images': seen.images,
        'images_without_places': seen.without_places,
        'left_out': seen.left_out,
    }


def note(seen: Sightings, settings: Settings, moves_with_camera: bool, is_tilted: bool) -> str:
    """Say what the map of objects lacks, and how the node's would differ; empty: nothing.

    Args:
        seen: what is in it.
        settings: of the analysis.
        moves_with_camera: whether its frame does.
        is_tilted: whether z of its frame does not seem to point up.
    """
    words = []
    if moves_with_camera:
        words.append(
            f'the target frame {quoted(settings.node.target_frame)} moves with the camera, so the map is of no use, as '
            'all things lie upon each other. Next: take a frame that does not move, such as map or odom'
        )
    if not settings.tracker.max_remembered:
        words.append('tracking.max_remembered is 0, with which a node has no map of objects')
    if seen.without_places:
        total = seen.images + seen.without_places
        frame = quoted(settings.node.target_frame)
        words.append(f'{seen.without_places} of {total} images are not in it, since they have no places in {frame}')
    if seen.left_out:
        words.append(
            f'tracking.max_voxels: {settings.tracker.max_voxels} are reached, {seen.left_out} that the fewest images '
            'show are left out'
        )
    if MAX_TRACK_ID in seen.track_id:
        words.append('all track ids were given, and some again: one object may be two things')
    if is_tilted and not moves_with_camera:
        words.append(
            f'z of {quoted(settings.node.target_frame)} does not seem to point up: boxes and the plan are tilted, '
            'unless the camera is mounted on its side or upside down'
        )
    return f'objects: {"; ".join(words)}' if words else ''


def object_rows(found: ObjectMap, shown: Mapping[int, Shown], voxel_m: float, classes: Classes | None) -> list[Row]:
    """Return the values of `tables.OBJECTS`, one row per object.

    Args:
        found: the map.
        shown: by the objects' ids.
        voxel_m: side of its voxels.
        classes: of the numbers of the objects' classes.
    """
    return [
        (
            one.object_id,
            list(one.track_ids),
            *((None, None) if classes is None else (classes.name(one.class_id), one.confidence)),
            *one.position_m,
            *one.box_center_m,
            *one.box_size_m,
            one.box_yaw_rad,
            one.voxels,
            share,
            *_of_views(one.object_id, shown[one.object_id]),
            one.feature.tolist(),
        )
        for one, share in zip(found.objects, in_one_piece(found, voxel_m).tolist(), strict=True)
    ]


def _of_views(object_id: int, shown: Shown) -> Row:
    """Return the values of `OBJECTS` from `views` to `picture`."""
    counted = shown.views, shown.first_ns, shown.last_ns
    if shown.best is None:
        return *counted, *(None,) * 8
    whole, area_px, stamp_ns, *box_xyxy = shown.best
    return *counted, stamp_ns, whole, area_px, *box_xyxy, f'{PICTURES}/{object_id}.jpg'


def object_outputs(
    found: ObjectMap, shown: Mapping[int, Shown], settings: Settings, classes: ClassesFile | None, ending: str
) -> dict[str, Callable[[Path, Sequence[Path]], None]]:
    """Return the functions that write the map, by the names of the files, for `AnalysisFolder.finish`."""
    frame = settings.node.target_frame
    rows = object_rows(found, shown, settings.tracker.voxel_m, None if classes is None else classes.classes)
    return {
        f'objects{ending}': lambda path, _: write_table(path, OBJECTS, rows, frame),
        'objects.ply': lambda path, _: write_ply(path, found, frame),
        PICTURES: lambda path, parts: write_pictures(path, shown, parts),
    }


def write_ply(path: Path, found: ObjectMap, frame: str) -> None:
    """Write the voxels of objects as a binary PLY file: the mean point and colour of each, and whose it is.

    Coordinates are floats, doubles where a float would be off by more than half a millimetre.
    """
    kind, number = ('double', '<f8') if np.abs(found.points_m).max(initial=0) > _FAR_M else ('float', '<f4')
    fields: list[tuple[str, str, Any]] = [
        *((name, kind, number) for name in 'xyz'),
        *((name, 'uchar', 'u1') for name in ('red', 'green', 'blue')),
        ('object_id', 'int', '<i4'),
    ]
    header = [
        'ply',
        'format binary_little_endian 1.0',
        f'comment frame_id {printable(frame)}'.encode('ascii', 'backslashreplace').decode(),
        f'element vertex {len(found.points_m)}',
        *(f'property {kind} {name}' for name, kind, _ in fields),
        'end_header',
    ]
    vertices = np.empty(len(found.points_m), [(name, dtype) for name, _, dtype in fields])
    for name, values in zip(vertices.dtype.names, [*found.points_m.T, *found.colors.T, found.object_id], strict=True):
        vertices[name] = values
    with writing(path):
        path.write_bytes('\n'.join([*header, '']).encode() + vertices.tobytes())
