"""The things of a recording, each once: where they are in a frame that does not move, and what they were seen as.

Each image adds what it shows: which voxels of space each track was seen in, with their points and colours, and what is
known of the tracks. That of several images is the sum of theirs, in any grouping. At the end tracks become objects:

1. A track holds a voxel where it was seen there in at least a share of the images that show it. Two tracks that hold
   most of the voxels of the smaller one, and look alike, are one thing that was cut into both over time; likewise with
   what that makes of them, until no two are left.
2. A voxel belongs to the object that was seen there the most. What was seen mostly in voxels of others, such as a track
   that joined two things in some images, is no object: its voxels belong to those that are left.
3. A segment of an image shows the object that most of its samples lie in: two segments may show one object, and a
   track may show another one in some images.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from diffcut_ros.core.classes import UNKNOWN, Classes
from diffcut_ros.core.geometry import PinholeCamera, check_aspect, middles, points_at
from diffcut_ros.core.places import KEPT_SHARE
from diffcut_ros.core.plain import expect
from diffcut_ros.core.transform import Transform
from diffcut_ros.core.types import MAX_TRACK_ID, Segmentation

# Rows and columns of samples of an image: twice those that tracks are followed by, so that what is 4 pixels wide in an
# image of 640 x 480 has some.
SAMPLES_HW = (144, 192)
# Of a voxel along one axis: three fit into an int64. Voxels of 0.1 m repeat after 209 km.
_AXIS_BITS = 21
# A track holds a voxel that it was seen in by this share of the images that show the voxel.
# Of the kitchen that was measured, 0.25 leaves a wall in two: its halves share 0.40 of the smaller one, 0.51 with 0.15.
_HELD = 0.15
# Two tracks are one thing from this share of the smaller one's voxels, and this cosine similarity of features: from 0.8
# on a cup and papers join the table that they lie on; the halves of a wall have 0.94.
_MOST_OF_IT, _ALIKE = 0.5, 0.85
# Of an object, this share of what was seen of it lies in its own voxels, or this share where nothing else was seen.
_ITS_OWN, _LOST = 0.4, 0.05
# What was one thing, or an object, in the map before stays so down to these: else many would come and go.
_STILL_MOST_OF_IT, _STILL_ITS_OWN = 0.3, 0.25
# How far apart points of one piece of an object are at most.
_GAP_VOXELS = 2.5
# What lies beyond this share on each side is left out of a box, as in `core.geometry`.
_TRIMMED = 0.05
# Parts that are added up at a time.
_AT_A_TIME = 64


@dataclass(frozen=True)
class Sightings:
    """What images show of things: N rows of a voxel and a track in it, and T of tracks.

    Attributes:
        voxel: int64 [N], sorted, then by track.
        track: int64 [N], a track id that was seen in it.
        share: float64 [N], in how many images, each counted by the track's share of the voxel's samples.
        samples: int64 [N], number of samples.
        points_m: float64 [N, 3], their sum.
        colors: int64 [N, 3], the sum of their RGB.
        track_id: int64 [T], sorted.
        views: int64 [T], segments.
        seen_ns: int64 [T, 2], stamps of the first and the last image.
        feature: float32 [T, C], the sum of features of unit length, each times the segment's samples.
        best: int64 [T, 7], the best view, see `better_view`: whether the segment's box is inside the image, the area of
            the segment in pixels, the stamp, the box.
        images: how many have places.
        without_places: how many have none.
        left_out: rows of voxels that there was no room for.
    """

    voxel: np.ndarray = field(repr=False)
    track: np.ndarray = field(repr=False)
    share: np.ndarray = field(repr=False)
    samples: np.ndarray = field(repr=False)
    points_m: np.ndarray = field(repr=False)
    colors: np.ndarray = field(repr=False)
    track_id: np.ndarray = field(repr=False)
    views: np.ndarray = field(repr=False)
    seen_ns: np.ndarray = field(repr=False)
    feature: np.ndarray = field(repr=False)
    best: np.ndarray = field(repr=False)
    images: int = 0
    without_places: int = 0
    left_out: int = 0

    def __len__(self) -> int:
        """Return the number of pairs of a voxel and a track."""
        return len(self.voxel)

    def limited(self, most: int) -> 'Sightings':
        """Return at most so many pairs of a voxel and a track, of more those that the most images show."""
        if len(self) <= most:
            return self
        keep = np.zeros(len(self), bool)
        keep[np.argsort(-self.share, kind='stable')[: int(KEPT_SHARE * most)]] = True
        return self._only(keep)

    def latest(self, most_tracks: int, most: int) -> 'Sightings':
        """Return at most so many tracks, and pairs of a voxel and a track; of more those of the tracks seen last."""
        tracks, rows = len(self.track_id), len(self)
        if tracks <= most_tracks and rows <= most:
            return self
        row = np.searchsorted(self.track_id, self.track)
        latest = np.lexsort((self.track_id, -self.seen_ns[:, 1]))
        fits = np.arange(tracks) < (tracks if tracks <= most_tracks else max(1, int(KEPT_SHARE * most_tracks)))
        if rows > most:
            fits &= np.bincount(row, minlength=tracks)[latest].cumsum() <= KEPT_SHARE * most
            fits[0] = True  # what alone is more is limited as other maps are
        kept = np.zeros(tracks, bool)
        kept[latest[fits]] = True
        return self._only(kept[row]).limited(most)

    def _only(self, rows: np.ndarray) -> 'Sightings':
        """Return some of the pairs of a voxel and a track, bool [N], and what is known of their tracks."""
        left = replace(self, **{name: getattr(self, name)[rows] for name in _OF_VOXELS})
        tracks = np.isin(self.track_id, left.track)
        return replace(
            left,
            **{name: getattr(self, name)[tracks] for name in _OF_TRACKS},
            left_out=self.left_out + len(self) - len(left),
        )

    @classmethod
    def load(cls, state: dict[str, Any]) -> 'Sightings':
        """Return what `vars` of one, packed and unpacked, holds.

        Raises:
            ValueError, TypeError: for another state.
        """
        found = cls(**state)
        rows, tracks = len(found.voxel), len(found.track_id)
        most = 2**62
        for name, kind, shape, low, high in (
            ('voxel', 'i', (rows,), 0, 2**63 - 1),
            ('track', 'i', (rows,), 1, MAX_TRACK_ID),
            ('share', 'f', (rows,), 0, most),
            ('samples', 'i', (rows,), 1, most),
            ('points_m', 'f', (rows, 3), -most, most),
            ('colors', 'i', (rows, 3), 0, most),
            ('track_id', 'i', (tracks,), 1, MAX_TRACK_ID),
            ('views', 'i', (tracks,), 1, most),
            ('seen_ns', 'i', (tracks, 2), -(2**63), 2**63 - 1),
            ('feature', 'f', (tracks, *found.feature.shape[1:2]), -most, most),
            ('best', 'i', (tracks, 7), -(2**63), 2**63 - 1),
        ):
            expect(name, getattr(found, name), kind, shape, low, high)
        for name in ('images', 'without_places', 'left_out'):
            if not isinstance(getattr(found, name), int) or getattr(found, name) < 0:
                raise ValueError(f'{name}: expected a whole number from 0, received {getattr(found, name)!r}')
        if not np.isin(found.track, found.track_id).all():
            raise ValueError('track: expected track ids of track_id, received others')
        return found


_OF_VOXELS = ('voxel', 'track', 'share', 'samples', 'points_m', 'colors')
_OF_TRACKS = ('track_id', 'views', 'seen_ns', 'feature', 'best')


def nothing(images: int = 0, without_places: int = 0) -> Sightings:
    """Return what images without things show."""
    none, triples = np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
    return Sightings(
        *(none, none, np.zeros(0), none, np.zeros((0, 3)), triples),
        *(none, none, np.zeros((0, 2), np.int64), np.zeros((0, 0), np.float32), np.zeros((0, 7), np.int64)),
        images,
        without_places,
    )


def look(
    image_rgb: np.ndarray,
    segmentation: Segmentation,
    stamp_ns: int,
    depth_m: np.ndarray,
    camera: PinholeCamera,
    into: Transform,
    voxel_m: float,
) -> Sightings:
    """Return what one image shows of things.

    Args:
        image_rgb: uint8 [H, W, 3].
        segmentation: of it, with `track_id`; segments that are not tracked do not count.
        stamp_ns: when it was taken.
        depth_m: float32 [H', W'] in metres, NaN where there is none.
        camera: of any size; scaled to that of the depth image.
        into: takes points of the camera into a frame that does not move.
        voxel_m: side of a voxel.

    Raises:
        ValueError: when image or camera have another aspect than the depth image.
    """
    labels, segments = segmentation.labels, segmentation.segments
    check_aspect('image and depth', labels.shape, depth_m.shape)
    rows, columns = grid_hw = min(SAMPLES_HW[0], depth_m.shape[0]), min(SAMPLES_HW[1], depth_m.shape[1])
    at = middles(labels.shape[0], rows)[:, None], middles(labels.shape[1], columns)
    points_m, label = points_at(depth_m, camera, into, grid_hw), labels[at]
    track = np.append(0, segments.track_id)[label]
    seen = (track > 0) & np.isfinite(points_m).all(-1)
    if not seen.any():
        return nothing(images=1)
    points_m, track, label, color = points_m[seen], track[seen], label[seen], image_rgb[at][seen].astype(np.int64)
    voxel = _voxels(points_m, voxel_m)
    order, starts = _groups(voxel, track)
    samples = np.diff(starts, append=len(order))
    voxel, track = voxel[order[starts]], track[order[starts]]
    _, of = np.unique(voxel, return_inverse=True)
    samples_of = np.bincount(label, minlength=len(segments) + 1)[1:]
    shown = np.flatnonzero(samples_of)
    shown = shown[np.argsort(segments.track_id[shown], kind='stable')]
    ids, boxes = segments.track_id[shown], segments.box_xyxy[shown]
    size = np.array(labels.shape[::-1])
    whole = ((boxes[:, :2] > 0) & (boxes[:, 2:] < size)).all(1)
    best = [whole, segments.area_px[shown], np.full(len(ids), stamp_ns), *boxes.T]
    feature = segments.feature[shown]
    length = np.linalg.norm(feature, axis=1)
    weight = samples_of[shown] / np.where(length > 0, length, 1)
    return Sightings(
        voxel,
        track,
        samples / np.bincount(of, samples)[of],
        samples,
        np.add.reduceat(points_m[order], starts),
        np.add.reduceat(color[order], starts),
        ids,
        np.ones(len(ids), np.int64),
        np.full((len(ids), 2), stamp_ns),
        (feature * weight[:, None]).astype(np.float32),
        np.stack(best, 1).astype(np.int64),
        images=1,
    )


def join(some: Sequence[Sightings]) -> Sightings:
    """Return what all of some images show together."""

    def all_of(name: str) -> np.ndarray:
        return np.concatenate([getattr(one, name) for one in some])

    if not some:
        return nothing()
    order, starts = _groups(all_of('voxel'), all_of('track'))
    rows = {name: all_of(name)[order] for name in _OF_VOXELS}
    joined = {name: values[starts] for name, values in rows.items() if name in ('voxel', 'track')}
    for name in ('share', 'samples', 'points_m', 'colors'):
        joined[name] = _added(rows[name], starts)
    features = [one.feature for one in some if len(one.feature)] or [some[0].feature]
    best = all_of('best')
    # Of each track the best view last.
    order = np.lexsort((*np.stack(better_view(best.T))[::-1], all_of('track_id')))
    ids = all_of('track_id')[order]
    starts = np.flatnonzero(np.diff(ids, prepend=0))
    seen_ns = all_of('seen_ns')[order]
    joined |= {
        'track_id': ids[starts],
        'views': _added(all_of('views')[order], starts),
        'seen_ns': np.stack([_added(seen_ns[:, 0], starts, np.minimum), _added(seen_ns[:, 1], starts, np.maximum)], 1),
        'feature': _added(np.concatenate(features)[order], starts),
        'best': best[order][np.append(starts, len(ids))[1:] - 1],
    }
    counts = {name: sum(getattr(one, name) for one in some) for name in ('images', 'without_places', 'left_out')}
    return Sightings(**joined, **counts)


def total(parts: Iterable[Sightings], most: int) -> Sightings:
    """Return what all parts show together, with at most so many pairs of a voxel and a track, see `limited`."""
    kept: list[Sightings] = []
    for part in parts:
        kept.append(part)
        if len(kept) >= _AT_A_TIME or sum(map(len, kept)) > 2 * most:
            kept = [join(kept).limited(most)]
    return join(kept).limited(most)


@dataclass(frozen=True, eq=False)
class MapObject:
    """One thing of a recording.

    Attributes:
        object_id: the smallest of its track ids.
        track_ids: that it was seen as, rising.
        class_id: number of what its mean feature is called; 0 = unknown, or without classes.
        confidence: how sure that is, 0 to 1, see `Classes.classify`.
        position_m: median of its voxels' points, where those with fewer samples than the median one count less.
        box_center_m: of a box that stands upright, where z of the frame is up.
        box_size_m: its length and width along the ground and its height, each at least a voxel's side; the length is at
            least the width.
        box_yaw_rad: turn of the length from x to y of the frame, above -pi / 2 up to pi / 2.
        voxels: number of them.
        views: number of its segments in all images; one image may show several.
        first_ns, last_ns: stamps of the first and the last image that shows it.
        feature: float32 [C], mean over its samples, of unit length.
        best_ns: stamp of the image that shows it best.
        best_area_px: of the segment in that image.
        best_whole: whether the segment's box is inside that image, not at its edge.
        best_box_xyxy: first column, first row, last column + 1, last row + 1.
    """

    object_id: int
    track_ids: tuple[int, ...]
    class_id: int
    confidence: float
    position_m: tuple[float, float, float]
    box_center_m: tuple[float, float, float]
    box_size_m: tuple[float, float, float]
    box_yaw_rad: float
    voxels: int
    views: int
    first_ns: int
    last_ns: int
    feature: np.ndarray = field(repr=False)
    best_ns: int
    best_area_px: int
    best_whole: bool
    best_box_xyxy: tuple[int, int, int, int]

    @property
    def best(self) -> tuple[int, ...]:
        """The row of `Sightings.best` that it comes from."""
        return int(self.best_whole), self.best_area_px, self.best_ns, *self.best_box_xyxy

    @property
    def turned_xyzw(self) -> tuple[float, float, float, float]:
        """The turn of the box as a quaternion."""
        return 0.0, 0.0, math.sin(self.box_yaw_rad / 2), math.cos(self.box_yaw_rad / 2)


@dataclass(frozen=True)
class ObjectMap:
    """All objects of a recording, and the V voxels that they consist of.

    Attributes:
        objects: sorted by `object_id`.
        points_m: float64 [V, 3], the mean of each voxel's points.
        colors: uint8 [V, 3] RGB, of their colours.
        object_id: int64 [V], whose it is.
        voxel: int64 [V], as in `Sightings`.
    """

    objects: tuple[MapObject, ...]
    points_m: np.ndarray = field(repr=False)
    colors: np.ndarray = field(repr=False)
    object_id: np.ndarray = field(repr=False)
    voxel: np.ndarray = field(repr=False)
    _by_voxel: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Rows by rising voxel: here, where a map is made, as to sort a large one takes longer than an image may.
        object.__setattr__(self, '_by_voxel', np.argsort(self.voxel))

    def object_of(self, voxel: np.ndarray, group: np.ndarray, samples: np.ndarray, count: int) -> np.ndarray:
        """Return the object that most samples of each of G groups lie in, such as of each segment of an image.

        Args:
            voxel: int64 [M], as in `Sightings`.
            group: int64 [M], 0..G-1.
            samples: int64 [M], number of samples of that group in that voxel.
            count: G.

        Returns:
            int64 [G], an `object_id`, of equal ones the smallest; 0 = no sample lies in a voxel of the map.
        """
        at = np.searchsorted(self.voxel, voxel, sorter=self._by_voxel)
        row = np.append(self._by_voxel, -1)[at]
        known = np.append(self.voxel, -1)[row] == voxel
        group, owner, samples = group[known], self.object_id[row[known]], samples[known]
        order, starts = _groups(group, owner)
        group, owner, samples = group[order[starts]], owner[order[starts]], _added(samples[order], starts)
        found = np.zeros(count, np.int64)
        rising = np.lexsort((-owner, samples))  # the last one that is written is left
        found[group[rising]] = owner[rising]
        return found

    def named(self, classes: Classes, min_confidence: float) -> 'ObjectMap':
        """Return it with objects that are called what their mean feature is, whatever their segments were called.

        Args:
            classes: by example.
            min_confidence: 0 to 1; what is less sure is unknown.

        Raises:
            ValueError: for features of another length than the examples'.
        """
        if not self.objects:
            return self
        feature = np.stack([one.feature for one in self.objects])
        class_id, confidence = classes.classify_features(feature, min_confidence=min_confidence)
        named = zip(self.objects, class_id.tolist(), confidence.tolist(), strict=True)
        return replace(self, objects=tuple(replace(one, class_id=key, confidence=sure) for one, key, sure in named))


def object_map(seen: Sightings, voxel_m: float, merges: bool = True, before: ObjectMap | None = None) -> ObjectMap:
    """Return the objects that sightings tell of, without classes; see `ObjectMap.named`.

    Args:
        seen: of all images.
        voxel_m: side of their voxels.
        merges: whether tracks of one thing become one object; False: each is one.
        before: the map of fewer images. What is on the edge of being an object, or one thing, stays what it was there.
    """
    if not len(seen):
        none = np.zeros(0, np.int64)
        return ObjectMap((), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), none, none)
    row = np.searchsorted(seen.track_id, seen.track)
    was = _objects_of(seen.track_id, before)
    thing = one_thing(seen, was) if merges else np.arange(len(seen.track_id))
    # The rows of a voxel, then of a thing, together; of each voxel the thing that was seen there the most is last.
    order, starts = _groups(seen.voxel, thing[row])
    voxel, of, share = seen.voxel[order[starts]], thing[row][order[starts]], _added(seen.share[order], starts)
    samples = _added(seen.samples[order], starts)
    points_m, colors = (_added(sums[order], starts) / samples[:, None] for sums in (seen.points_m, seen.colors))
    known = np.bincount(thing, seen.track_id == was, len(thing)) > 0
    owned = _owned(voxel, of, share, np.where(known, _STILL_ITS_OWN, _ITS_OWN))
    owned = owned[np.argsort(of[owned], kind='stable')]
    points_m, colors, of, samples = points_m[owned], np.rint(colors[owned]).astype(np.uint8), of[owned], samples[owned]
    objects = []
    for places in np.split(np.arange(len(of)), np.flatnonzero(np.diff(of)) + 1):
        tracks = np.flatnonzero(thing == of[places[0]])
        objects.append(_object(seen, tracks, points_m[places], samples[places], voxel_m))
    # A thing's number is the row of its first track.
    return ObjectMap(tuple(objects), points_m, colors, seen.track_id[of], voxel[owned])


def _objects_of(track_id: np.ndarray, before: ObjectMap | None) -> np.ndarray:
    """Return the object that each track, int64 [T], was of in a map; 0 = none."""
    found = np.zeros(len(track_id), np.int64)
    for one in before.objects if before else ():
        found[np.isin(track_id, one.track_ids)] = one.object_id
    return found


def _owned(voxel: np.ndarray, thing: np.ndarray, share: np.ndarray, its_own: np.ndarray) -> np.ndarray:
    """Return the rows whose thing their voxel belongs to, int64 [V].

    Things that are no objects are left out one after the other, those with the smallest share of their own first, as
    what they held may make objects of others; at a time all that compete with no smaller one for a voxel.

    Args:
        voxel, thing, share: int64, int64 and float64 [N], each pair of the first two once.
        its_own: float64 [T], of each thing the share that lies in its own voxels, at least.
    """
    count = len(its_own)
    left = np.lexsort((-thing, share, voxel))
    seen = np.maximum(np.bincount(thing, share, count), 1e-12)
    while True:
        starts = np.flatnonzero(np.append(True, voxel[left][1:] != voxel[left][:-1]))
        owned = left[np.append(starts[1:], len(left)) - 1]
        own = np.bincount(thing[owned], share[owned], count) / seen
        rank = np.full(count, count)
        alone = left[starts[np.diff(starts, append=len(left)) == 1]]
        lost = np.bincount(thing[alone], share[alone], count) / seen
        there = np.bincount(thing[left], minlength=count) > 0
        no_object = np.flatnonzero(there & (own < its_own) & (lost < _LOST))
        if not len(no_object):
            return owned
        rank[no_object[np.lexsort((no_object, own[no_object]))]] = np.arange(len(no_object))
        rank[own == 0] = np.minimum(rank[own == 0], 0)  # nobody gains by them
        smallest = np.repeat(np.minimum.reduceat(rank[thing[left]], starts), np.diff(starts, append=len(left)))
        waits = np.bincount(thing[left], smallest < rank[thing[left]], count) > 0
        gone = (rank < count) & ~waits
        left = left[~gone[thing[left]]]


def one_thing(seen: Sightings, was: np.ndarray | None = None) -> np.ndarray:
    """Return which tracks are one thing, int64 [T]: for each the row of the first track of its thing.

    Those that share the most come first. Then what they hold together counts: a small track beside two large ones joins
    one of them, and does not join them.

    Args:
        seen: of all images.
        was: int64 [T], the object of each before, 0 = none: tracks of one stay one thing while they share enough.
    """
    row = np.searchsorted(seen.track_id, seen.track)
    thing = np.arange(len(seen.track_id)) if was is None else _still_one(seen, row, was)
    while True:
        order, starts = _groups(seen.voxel, thing[row])
        same, shared, size = overlaps(
            seen.voxel[order[starts]], thing[row][order[starts]], _added(seen.share[order], starts), len(thing)
        )
        feature = np.zeros_like(seen.feature)
        np.add.at(feature, thing, seen.feature)
        feature /= np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
        alike = np.einsum('ij,ij->i', feature[same[:, 0]], feature[same[:, 1]]) >= _ALIKE
        common = shared / size[same].min(1, initial=len(seen))
        joined: set[int] = set()
        for pair in np.lexsort((*same.T, -shared, -common)):
            one, other = same[pair].tolist()
            if alike[pair] and common[pair] >= _MOST_OF_IT and not {one, other} & joined:
                joined |= {one, other}
                thing[thing == other] = one
        if not joined:
            return thing


def in_one_piece(found: ObjectMap, voxel_m: float) -> np.ndarray:
    """Return of each object the share of its voxels in its largest piece, 0 to 1.

    Pieces are more than 2.5 voxels apart. A small share means that several things were taken for one, or that something
    hides the middle of one.

    Args:
        found: the map, of K objects.
        voxel_m: side of its voxels.

    Returns:
        float64 [K].
    """
    shares = np.zeros(len(found.objects))
    for k, one in enumerate(found.objects):
        points_m = found.points_m[found.object_id == one.object_id]
        pairs = cKDTree(points_m).query_pairs(_GAP_VOXELS * voxel_m, output_type='ndarray')
        shares[k] = np.bincount(_parts(pairs, len(points_m))).max() / len(points_m)
    return shares


def _parts(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return which part each of so many belongs to, int [count], where pairs, int64 [P, 2], are in one part."""
    graph = coo_array((np.ones(len(pairs), bool), tuple(pairs.T)), (count, count))
    return connected_components(graph, directed=False)[1]


def _still_one(seen: Sightings, row: np.ndarray, was: np.ndarray) -> np.ndarray:
    """Return what `one_thing` begins with: tracks that were one, and share enough with others of it, int64 [T]."""
    same, shared, size = overlaps(seen.voxel, row, seen.share, len(was))
    common = shared / size[same].min(1, initial=len(seen))
    kept = same[(was[same[:, 0]] == was[same[:, 1]]) & (was[same[:, 0]] > 0) & (common >= _STILL_MOST_OF_IT)]
    part = _parts(kept, len(was))
    _, first = np.unique(part, return_index=True)
    return first[part]


def overlaps(
    voxel: np.ndarray, row: np.ndarray, share: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which of so many tracks hold voxels that others hold, too.

    Args:
        voxel, row, share: int64, int64 and float64 [N], of `Sightings` in its order, `row` the track's.
        count: of the tracks.

    Returns:
        int64 [P, 2], pairs of tracks, the first one first; int64 [P], the number of voxels that both hold; int64
        [count], the number that each holds.
    """
    _, of = np.unique(voxel, return_inverse=True)
    held = share >= _HELD * np.bincount(of, share)[of]
    of, row = of[held], row[held]
    pairs = [np.zeros(0, np.int64)]
    for step in range(1, int(1 / _HELD)):  # no voxel is held by more
        both = np.flatnonzero(of[step:] == of[:-step])
        pairs.append(row[both] * count + row[both + step])
    same, shared = np.unique(np.concatenate(pairs), return_counts=True)
    return np.stack(np.divmod(same, count), 1), shared, np.bincount(row, minlength=count)


def _object(
    seen: Sightings, tracks: np.ndarray, points_m: np.ndarray, samples: np.ndarray, voxel_m: float
) -> MapObject:
    """Return one from the rows of its tracks, and the points and the numbers of samples of its voxels."""
    ids = seen.track_id[tracks]
    best = max(seen.best[tracks].tolist(), key=better_view)
    feature = seen.feature[tracks].sum(0)
    # Points that fly between near and far fill their voxels with few samples; of others, none counts for two.
    weight = np.minimum(samples, np.median(samples)).astype(float)
    center_m, size_m, yaw_rad = upright_box(points_m, weight, voxel_m)
    return MapObject(
        int(ids[0]),
        tuple(ids.tolist()),
        UNKNOWN,
        0.0,
        tuple(_quantiles(points_m, weight, 0.5).tolist()),
        tuple(center_m.tolist()),
        tuple(size_m.tolist()),
        yaw_rad,
        len(points_m),
        int(seen.views[tracks].sum()),
        int(seen.seen_ns[tracks, 0].min()),
        int(seen.seen_ns[tracks, 1].max()),
        feature / max(float(np.linalg.norm(feature)), 1e-12),
        best[2],
        best[1],
        bool(best[0]),
        tuple(best[3:]),
    )


def better_view(best: Sequence[Any] | np.ndarray) -> tuple[Any, Any]:
    """Return by what a row of `Sightings.best` is better than another: a large segment, then an early image.

    At the image's edge, where a part is not seen, a segment counts by half its area: a large view that misses a part
    shows more of a thing than a sliver inside the image.
    """
    whole, area_px, stamp_ns = best[:3]
    return area_px * (1 + whole), -stamp_ns


def upright_box(points_m: np.ndarray, weight: np.ndarray, least_m: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the box of points, float64 [N, 3], that stands upright: z is up, and its length lies as they spread most.

    Along each of its axes it reaches from 5 to 95 % of their weights, [N], widened as in `locate_segments`, and is no
    shorter than `least_m`: the points of a surface, or of one voxel, may have no extent.

    Returns:
        Its centre, float64 [3]; length, width and height, float64 [3]; the turn of the length from x to y, rad.
    """
    middle = np.average(points_m, axis=0, weights=weight)
    around = points_m - middle
    _, axes = np.linalg.eigh((around[:, :2] * weight[:, None]).T @ around[:, :2])
    yaw = float(np.arctan2(axes[1, 1], axes[0, 1]))
    low, high, turn = _extent(around, weight, yaw)
    if high[0] - low[0] < high[1] - low[1]:  # spread is not extent: the length is the longer side
        yaw += np.pi / 2
        low, high, turn = _extent(around, weight, yaw)
    yaw = np.pi / 2 - (np.pi / 2 - yaw) % np.pi
    return middle + turn.T @ ((low + high) / 2), np.maximum(high - low, least_m), yaw


def _extent(points_m: np.ndarray, weight: np.ndarray, yaw: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends of a box's sides, along its axes, and the matrix that takes points into these."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    along = points_m @ turn.T
    low, high = _quantiles(along, weight, _TRIMMED), _quantiles(along, weight, 1 - _TRIMMED)
    widening = (high - low) * _TRIMMED / (1 - 2 * _TRIMMED)
    return np.maximum(low - widening, along.min(0)), np.minimum(high + widening, along.max(0)), turn


def _quantiles(values: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """Return for each column of values, float64 [N, D], what a share of the weights, float64 [N], lies below."""
    found = []
    for column in values.T:
        order = np.argsort(column, kind='stable')
        below = np.cumsum(weight[order]) - weight[order] / 2
        found.append(np.interp(share * weight.sum(), below, column[order]))
    return np.array(found)


def _voxels(points_m: np.ndarray, voxel_m: float) -> np.ndarray:
    """Return the voxel that each point, float64 [M, 3], lies in, int64 [M], from 0."""
    mask = (1 << _AXIS_BITS) - 1
    x, y, z = (np.floor(points_m / voxel_m).astype(np.int64) & mask).T
    return (x << _AXIS_BITS | y) << _AXIS_BITS | z


def _groups(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order that sorts pairs, and where in it each different pair begins, both int64."""
    order = np.lexsort((second, first))
    if not len(order):
        return order, order
    a, b = first[order], second[order]
    return order, np.flatnonzero(np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])))


def _added(values: np.ndarray, starts: np.ndarray, by: np.ufunc = np.add) -> np.ndarray:
    """Return the sums of groups of rows that begin at `starts`; of none, none."""
    return by.reduceat(values, starts) if len(starts) else values[:0]
