"""The map of a recording's objects: kept of each part of an analysis, and written as a table, points and pictures."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffcut_ros.analysis.frame_result import FrameResult
from diffcut_ros.analysis.report.gallery import encode_jpeg
from diffcut_ros.analysis.settings import Settings
from diffcut_ros.analysis.tables import OBJECTS, PICTURES, object_rows, write_table
from diffcut_ros.classes_file import ClassesFile
from diffcut_ros.core.objects import ObjectMap, Sightings, better_view, join
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
    """Pictures of tracks, each of the image of a part that shows it best."""

    def __init__(self) -> None:
        self._views: dict[int, tuple[tuple[int, ...], tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, result: FrameResult) -> None:
        """Take pictures of what an image shows better than those before it."""
        if result.sightings is None:
            return
        segments = result.segmentation.segments
        for track_id, best in zip(result.sightings.track_id.tolist(), result.sightings.best.tolist(), strict=True):
            before = self._views.get(track_id)
            if before is None or better_view(best) > better_view(before[0]):
                (row,) = np.flatnonzero(segments.track_id == track_id)
                mask = result.segmentation.labels == segments.label[row]
                self._views[track_id] = tuple(best), cut_out(result.image_rgb, mask, _PICTURE_PX)

    def write(self, folder: Path) -> None:
        """Write them into the folder of a part."""
        views = [
            [track_id, *best, encode_jpeg(outlined(*part, _OUTLINE_RGB))]
            for track_id, (best, part) in self._views.items()
        ]
        with writing(folder / _VIEWS_FILE):
            (folder / _VIEWS_FILE).write_bytes(pack(views))


def read_views(folder: Path) -> Iterator[tuple[int, tuple[int, ...], bytes]]:
    """Yield track id, row of `Sightings.best` and JPEG file of each picture of a part.

    Raises:
        ValueError, OSError: for a file that holds something else, or is not there.
    """
    try:
        for track_id, *best, jpeg in unpack(read_plain(folder / _VIEWS_FILE, _MOST_BYTES), _MOST_BYTES):
            if not all(isinstance(one, int) for one in (track_id, *best)) or not isinstance(jpeg, bytes):
                raise ValueError('expected whole numbers and a picture, received others')
            yield track_id, tuple(best), jpeg
    except (ValueError, TypeError) as error:
        raise ValueError(f'{folder.name}/{_VIEWS_FILE}: expected pictures of this analysis: {error}') from error


def write_pictures(path: Path, found: ObjectMap, parts: Sequence[Path]) -> None:
    """Write the best view of each object into a new folder, as ID.jpg."""
    with writing(path):
        path.mkdir()
    wanted = {(track_id, one.best): one.object_id for one in found.objects for track_id in one.track_ids}
    for part in parts:
        for track_id, best, jpeg in read_views(part):
            object_id = wanted.get((track_id, best))
            if object_id is not None:
                with writing(path / f'{object_id}.jpg'):
                    (path / f'{object_id}.jpg').write_bytes(jpeg)


def about_map(seen: Sightings, found: ObjectMap) -> dict[str, int]:
    """Return what run.json says of the map, beside the number of its objects."""
    return {
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


def object_outputs(
    found: ObjectMap, settings: Settings, classes: ClassesFile | None, ending: str
) -> dict[str, Callable[[Path, Sequence[Path]], None]]:
    """Return the functions that write the map, by the names of the files, for `AnalysisFolder.finish`."""
    frame = settings.node.target_frame
    rows = object_rows(found.objects, None if classes is None else classes.classes)
    return {
        f'objects{ending}': lambda path, _: write_table(path, OBJECTS, rows, frame),
        'objects.ply': lambda path, _: write_ply(path, found, frame),
        PICTURES: lambda path, parts: write_pictures(path, found, parts),
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
