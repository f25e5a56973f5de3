"""Track ids, which persist: which segment of an image is which segment of the images before.

1. A segment is known by where it is, on a grid of samples over the image, and by its feature.
2. The motion between two images is the shift that makes their label images agree most, climbed to from where their
   borders correlate most.
3. Tracks, moved by it, and segments are paired so that as many samples as possible keep their track, each weighted by
   how alike the features are (Hungarian method). The larger part of a split, and the larger of two that merge, thus
   keep their track id; the others get a new one, or wait for their segment to come back.
4. What is left over is paired by features alone: what moved too far to overlap, or comes back elsewhere.

Where places in a frame that does not move are known, such as map, a sample meets the tracks that its place belongs to
(see `core.places`), however long ago they were seen: then what is out of the last image comes back by its place.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from scipy.optimize import linear_sum_assignment

from diffcut_ros.core.colors import COLOR_CHOICE, give_numbers
from diffcut_ros.core.compiled import compiled
from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.core.places import KEPT_SHARE, Places
from diffcut_ros.core.plain import expect
from diffcut_ros.core.transform import Transform
from diffcut_ros.core.types import MAX_TRACK_ID, Segmentation, Segments

# Rows and columns of samples, whatever the image's size: bounds the time. A segment of 24 x 24 pixels in an image of
# 640 x 480 has about 13.
SAMPLES_HW = (72, 96)
# A stamp this much before the last one of its topic is a jump in time (a looped bag, a restarted simulation); a
# smaller step is disorder.
JUMP_BACK_NS = 10**8
# Samples that a lost track may be away by.
_FARTHEST = 2**40
# Steps of the search for the motion, in samples, and how many of each at most.
_SHIFT_STEPS, _STEPS_OF_EACH = (2, 1), 3
# Of overlap (intersection over union) times squared similarity: below, a segment is another one.
_WEAKEST_OVERLAP = 0.05
# An image seen just now is worth more than one from before a disappearance.
_LOST_WEIGHT = 0.7
# How much the places of a track count, beside where it was in the image before, if that showed it.
_PLACE_WEIGHT = 0.9
# Cosine similarity from which a segment may be what was at its place and not in the image before.
_ALIKE_AT_PLACE = 0.5
# What `Places.owners` returns of no place.
_NO_OWNERS = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
# After so many images that moved by so many samples while the camera did not, by its pose, the frame moves with it.
_MOST_UNTRUE, _MOVED = 5, 2
# How far, as a share of the image's width and height, and up to which ratio of areas features alone may pair.
_REACH, _LARGEST_RATIO = 0.25, 4.0
# Weight of the new feature in a track's running mean.
_NEWEST = 0.3
# Segments and lost tracks that are followed, the largest and the latest ones; the pairing of 1000 takes some 0.1 s.
_MOST_SEGMENTS, _MOST_LOST = 1000, 500


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of the tracker; raises ValueError for a value out of its range."""

    max_age_s: float = parameter(
        3.0,
        'A segment that comes back within this time gets its track id back; after a longer pause it gets a new one, '
        'unless target_frame lets it be found again',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )
    min_similarity: float = parameter(
        0.9,
        'Cosine similarity of features from which a segment may be one that was elsewhere, or hidden, before',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    voxel_m: float = parameter(
        0.1,
        'With target_frame: side of the cubes of space whose track ids are remembered, so that what comes back after '
        'any time gets its id back; a new value forgets all',
        unit='m',
        minimum=0.01,
        maximum=10.0,
        live=True,
    )
    max_remembered: int = parameter(
        1000,
        'With target_frame: track ids out of sight that are remembered; beyond that, those seen longest ago end. '
        '0 = none: ids end after max_age_s, as without target_frame, and a node has no map of objects',
        minimum=0,
        maximum=20_000,
        live=True,
    )
    max_voxels: int = parameter(
        500000,
        'With target_frame: cubes of space that are remembered, each counted for every track id that it had, at 20 '
        'bytes, and as many again in the map of objects, at 80 bytes; beyond that, those seen longest ago are '
        'forgotten',
        minimum=1000,
        maximum=5_000_000,
        live=True,
    )

    def __post_init__(self) -> None:
        validate(self)

    def follows(self, before_ns: Any, stamp_ns: int) -> Any:
        """Return whether an image goes on from one before it, by their stamps in ns; both may be arrays."""
        age_ns = stamp_ns - before_ns
        return (age_ns >= 0) & (age_ns <= round(self.max_age_s * 1e9))

    def forgets(self, before_ns: int, stamp_ns: int, voxel_m: float) -> str:
        """Return why what is remembered of places ends with an image; empty: it does not.

        Args:
            before_ns: stamp of the image before.
            stamp_ns: of this one.
            voxel_m: that places are remembered by.
        """
        if stamp_ns < before_ns - JUMP_BACK_NS:
            return f'the stamp of an image went back by {(before_ns - stamp_ns) / 1e9:.1f} s'
        if self.voxel_m != voxel_m:
            return f'tracking.voxel_m is {self.voxel_m:g} now'
        return '' if self.max_remembered else 'tracking.max_remembered is 0 now'


_log = logging.getLogger('diffcut_ros')


class View(NamedTuple):
    """Where what an image shows is, in a frame that does not move.

    Attributes:
        points_m: float64 [*SAMPLES_HW, 3], what its samples show, NaN where that is not known.
        into: takes points of the camera into that frame.
    """

    points_m: np.ndarray
    into: Transform


@dataclass(frozen=True)
class _Tracks:
    """What is known of T tracks, or of segments that may become some.

    Attributes:
        id: int64 [T], from 1; 0 = not given yet.
        seen_ns: int64 [T], stamp of the last image that showed it.
        feature: float32 [T, C], of unit length (or 0).
        area: float64 [T], as a share of the image.
        center: float64 [T, 2], x and y as shares of the image's width and height, where it was last seen.
        samples: int64 [T], number of samples that are its.
    """

    id: np.ndarray
    seen_ns: np.ndarray
    feature: np.ndarray
    area: np.ndarray
    center: np.ndarray
    samples: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    def check(self, channels: int, most: int) -> None:
        """Raise ValueError unless there are at most so many tracks, of so many channels, with possible values."""
        count = min(len(self), most)
        expect('id', self.id, 'i', (count,), 0, MAX_TRACK_ID)
        expect('seen_ns', self.seen_ns, 'i', (count,))
        expect('feature', self.feature, 'f', (count, channels), -2, 2)
        expect('area', self.area, 'f', (count,), 0, 1)
        expect('center', self.center, 'f', (count, 2), -1, 2)
        expect('samples', self.samples, 'i', (count,), 0, SAMPLES_HW[0] * SAMPLES_HW[1])

    def take(self, rows: np.ndarray | slice) -> '_Tracks':
        """Return some of the rows."""
        return _Tracks(*(values[rows] for values in vars(self).values()))

    def join(self, other: '_Tracks') -> '_Tracks':
        """Return the rows of both."""
        return _Tracks(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


class Tracker:
    """Gives segments track ids, which persist from image to image of one camera.

    All tracks end, so that every segment is new, when the stamp goes back, when it goes on by more than `max_age_s`, or
    when the features have another number of channels (another backend). The size of the image may change as long as it
    shows the same field of view. The same images and stamps give the same track ids, whatever the order of the labels.
    Not to be used by several threads at once.

    Tracks that were seen at known places are remembered beyond their end, up to `max_remembered`, until the stamp jumps
    back or the features change.

    Args:
        config: settings; `tracker.config` may be replaced at any time and holds from the next update on.
        tell: called with a readable line when what was remembered is forgotten.
    """

    def __init__(
        self,
        config: TrackerConfig | None = None,
        tell: Callable[[str], object] = _log.warning,
    ) -> None:
        self.config = config or TrackerConfig()
        self._tell = tell
        self._told: set[str] = set()
        self._stamp_ns = 0
        self._last_id = 0
        self._skipped: np.ndarray
        self._live: _Tracks
        self._lost: _Tracks
        self._grid: np.ndarray
        self._lost_samples: np.ndarray
        self._shift: tuple[int, int]
        self._places = Places(self.config.voxel_m)
        self._ended = self._none(channels=0)
        self._pose = np.zeros(0)  # of the last image with a view
        self._untrue = 0  # images that contradicted their pose, until that changes for the first time
        self._forget(channels=0)

    def update(
        self, segmentation: Segmentation, stamp_ns: int, view: View | None = None, carried: bool = False
    ) -> Segmentation:
        """Return a segmentation with the `track_id` of each of its segments.

        Track ids count up from 1: a new segment gets the first of the next 12 whose colour differs from those of its
        neighbours (see `colors`). None is given twice, until 65535 have been: then those of tracks that have ended are
        given again, the oldest first. Beyond the 1000 largest segments, the others are not tracked (0).

        Args:
            segmentation: of the camera's next image, or another one of the last image with the same stamp.
            stamp_ns: when the image was taken, ns.
            view: where what it shows is; None: not known.
            carried: whether segments keep the track ids that they have, of which some may be 0: not given yet.
        """
        order = _by_size(segmentation.segments)[:_MOST_SEGMENTS]
        found = _describe(segmentation.segments[order], segmentation.labels.shape, stamp_ns)
        grid = _sample(segmentation, order)
        found = replace(found, samples=np.bincount(grid.ravel(), minlength=len(order) + 1)[1:])
        self._check_memory(found.feature.shape[1], stamp_ns)
        if not self.config.follows(self._stamp_ns, stamp_ns) or found.feature.shape[1] != self._live.feature.shape[1]:
            self._remember(self._live.join(self._lost))
            self._forget(channels=found.feature.shape[1])
        self._stamp_ns = stamp_ns
        follows = self.config.follows(self._lost.seen_ns, stamp_ns)
        self._remember(self._lost.take(~follows))
        self._lost, self._lost_samples = _kept(self._lost, self._lost_samples, follows)

        voxel, moves = np.full(grid.size, -1), self._moves(view)
        by_places = view is not None and self.config.max_remembered > 0 and self._untrue < _MOST_UNTRUE
        owners = _NO_OWNERS
        if view is not None and by_places:
            voxel = self._places.voxels(view.points_m).ravel()
            owners = self._places.owners(voxel)
        tracks = self._live.join(self._lost)
        live, lost = len(self._live), len(self._lost)
        tracks = tracks.join(self._ended.take(np.isin(self._ended.id, owners[1])))
        likeness = np.empty((len(tracks), len(found)), np.float32)
        _liken(tracks.feature, found.feature, likeness)
        self._shift = dy, dx = _find_shift(self._grid, grid, likeness[:live], self._shift)
        self._lost_samples += np.array([[0], [dy], [dx]])
        if not moves and max(abs(dy), abs(dx)) >= _MOVED:
            self._doubt()
        if carried:
            found.id[:] = segmentation.segments.track_id[order]
            row, column = np.nonzero((tracks.id[:, None] == found.id) & (found.id > 0))
        else:
            row, column = self._match(tracks, found, grid, likeness, voxel, owners)
        self._lose(tracks.take(slice(live + lost)), np.setdiff1d(np.arange(live + lost), row))
        self._ended = self._ended.take(~np.isin(self._ended.id, tracks.id[row]))
        found.feature[column] = _unit((1 - _NEWEST) * tracks.feature[row] + _NEWEST * found.feature[column])
        found.id[column] = tracks.id[row]
        if not found.id.all():
            found.id[:] = self._with_new_ids(found.id, grid, np.concatenate([self._lost.id, self._ended.id]))
        self._live, self._grid = found, grid
        if view is not None and by_places and self._untrue < _MOST_UNTRUE:
            self._places.see(voxel, np.append(0, found.id)[grid.ravel()], stamp_ns)
            self._places.look_through(view.points_m.reshape(-1, 3), view.into.translation_m)
            if self._places.forget_beyond(self.config.max_voxels):
                self._tell_once('tracking.max_voxels', self.config.max_voxels)
        track_id = np.zeros(len(segmentation.segments), np.int64)
        track_id[order] = found.id
        return replace(segmentation, segments=replace(segmentation.segments, track_id=track_id))

    def _match(
        self,
        tracks: _Tracks,
        found: _Tracks,
        grid: np.ndarray,
        likeness: np.ndarray,
        voxel: np.ndarray,
        owners: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which track goes on as which segment, as indices; see `_pair`.

        Args:
            tracks: live ones, lost ones and ended ones.
            found: the segments.
            grid: int64, their samples.
            likeness: of both, see `_liken`.
            voxel: int64 [samples], where each sample is; -1: not known.
            owners: of these, see `Places.owners`.
        """
        live, lost = len(self._live), len(self._lost)
        sample, owner, share = owners
        shape = len(tracks), len(found)
        meetings, there = self._meetings(grid, shape), np.zeros(shape)
        if len(sample):
            without = np.where(voxel < 0, grid.ravel(), 0).reshape(grid.shape)
            there = _meetings_at_places(tracks.id, owner, share, grid.ravel()[sample], shape)
            there[live:][likeness[live:] < _ALIKE_AT_PLACE**2] = 0
            by_place = there + self._meetings(without, shape)
            meetings[:live] += _PLACE_WEIGHT * (by_place[:live] - meetings[:live])
            meetings[live:] = by_place[live:]
        # A lost track that was seen elsewhere is not this one, however alike.
        placed = np.bincount(grid.ravel()[voxel >= 0], minlength=len(found) + 1)[1:] > found.samples / 2
        likely = likeness >= self.config.min_similarity**2
        likely[live:, placed] = likely[live + lost :] = False
        return _pair(tracks, found, meetings, likeness, live, there > 0, likely)

    def save(self) -> dict[str, Any]:
        """Return what the next images depend on, for `plain.pack`."""
        named = vars(self) | {name: vars(getattr(self, name)) for name in ('_live', '_lost', '_ended')}
        named |= {'_places': self._places.save(), '_told': sorted(self._told)}
        return {name: value for name, value in named.items() if name not in ('config', '_tell')}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from where a tracker with the same settings was saved.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: for another state.
        """
        live, lost, ended = (_Tracks(**state[name]) for name in ('_live', '_lost', '_ended'))
        live.check(live.feature.shape[1], _MOST_SEGMENTS)
        lost.check(live.feature.shape[1], _MOST_LOST)
        ended.check(live.feature.shape[1], MAX_TRACK_ID)
        places = Places.load(state['_places'])
        expect('pose', state['_pose'], 'f', (min(len(state['_pose']), 12),))
        grid, samples = state['_grid'], state['_lost_samples']
        expect('grid', grid, 'i', SAMPLES_HW, 0, len(live))
        expect('lost_samples', samples, 'i', (3, samples.shape[1]), -_FARTHEST, _FARTHEST)
        expect('lost_samples', samples[0], 'i', samples[0].shape, 0, len(lost) - 1)
        skipped = state['_skipped']
        expect('skipped', skipped, 'i', (min(len(skipped), COLOR_CHOICE - 1),), 1, MAX_TRACK_ID)
        dy, dx = state['_shift']
        for value, least, most in (
            (state['_stamp_ns'], -(2**63), 2**63 - 1),
            (state['_last_id'], 0, MAX_TRACK_ID),
            (state['_untrue'], -(2**63), _MOST_UNTRUE),
            (dy, -SAMPLES_HW[0], SAMPLES_HW[0]),
            (dx, -SAMPLES_HW[1], SAMPLES_HW[1]),
        ):
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f'expected a whole number from {least} to {most}, received {value!r}')
        self._stamp_ns, self._last_id, self._skipped = state['_stamp_ns'], state['_last_id'], skipped
        self._live, self._lost, self._grid, self._lost_samples, self._shift = live, lost, grid, samples, (dy, dx)
        self._ended, self._places, self._told = ended, places, set(state['_told'])
        self._pose, self._untrue = state['_pose'], state['_untrue']

    def _forget(self, channels: int) -> None:
        """End all tracks; track ids count on."""
        self._live = self._lost = self._none(channels)
        # Ids up to the last one that none has got yet.
        self._skipped = np.zeros(0, np.int64)
        self._grid = np.zeros(SAMPLES_HW, np.int64)
        # Three rows: which of the lost tracks, y and x, in samples, where it would be by the motion since; y and x may
        # lie outside, from where the camera may come back.
        self._lost_samples = np.zeros((3, 0), np.int64)
        self._shift = (0, 0)

    @staticmethod
    def _none(channels: int) -> _Tracks:
        none = np.zeros(0, np.int64)
        return _Tracks(none, none, np.zeros((0, channels), np.float32), np.zeros(0), np.zeros((0, 2)), none)

    def _moves(self, view: View | None) -> bool:
        """Say whether the camera may have moved since the last image with a view."""
        if view is None:
            return True
        pose = np.append(view.into.rotation.as_matrix(), view.into.translation_m)
        same = len(self._pose) == len(pose) and np.allclose(self._pose, pose, rtol=0, atol=1e-5)
        if len(self._pose) and not same:
            self._untrue = -(2**62)  # a frame that does not move with the camera, whatever moves before it later
        self._pose = pose
        return not same

    def _doubt(self) -> None:
        """Take note that the image moved, but not the camera in its frame."""
        if self._untrue == _MOST_UNTRUE:
            return
        self._untrue += 1
        if self._untrue == _MOST_UNTRUE:
            self._places, self._ended = Places(self.config.voxel_m), self._none(self._live.feature.shape[1])
            self._tell(
                'the target frame seems to move with the camera: images change, but the camera does not move in it. '
                'Until it does, track ids are not found again by place, and a map of objects in this frame is of no '
                'use. Next: take a frame that does not move, such as map or odom, or set tracking.max_remembered to 0'
            )

    def _check_memory(self, channels: int, stamp_ns: int) -> None:
        """Forget all places where they may be wrong, or would be of no use."""
        reason = self.config.forgets(self._stamp_ns, stamp_ns, self._places.voxel_m)
        if not reason and channels != self._live.feature.shape[1]:
            reason = 'features are of another backend'
        if reason:
            if len(self._places):
                self._tell(f'places of {len(self._places.ids)} track ids are forgotten: {reason}')
            self._places, self._ended = Places(self.config.voxel_m), self._none(channels)

    def _remember(self, tracks: _Tracks) -> None:
        """Keep tracks that end and were seen at known places."""
        if not len(tracks) or not len(self._places):
            return
        self._ended = self._ended.join(tracks.take(np.isin(tracks.id, self._places.ids)))
        if len(self._ended) > self.config.max_remembered:
            order = np.argsort(-self._ended.seen_ns, kind='stable')
            kept, left = np.split(order, [round(KEPT_SHARE * self.config.max_remembered)])
            self._places.forget(self._ended.id[left])
            self._ended = self._ended.take(np.sort(kept))
            self._tell_once('tracking.max_remembered', self.config.max_remembered)

    def _tell_once(self, parameter: str, most: int) -> None:
        if parameter not in self._told:
            self._told.add(parameter)
            self._tell(f'{parameter}: {most} are reached; from now on those seen longest ago are forgotten')

    def _meetings(self, grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Return how many samples live and lost tracks share with segments in the image, float64 `shape`; else 0."""
        live, lost, values = len(self._live), len(self._lost), shape[1] + 1
        meetings = np.zeros(shape)
        meetings[:live] = _meetings(self._grid, grid, (live + 1, values), self._shift)[1:, 1:]
        meetings[live : live + lost] = _meetings_of_samples(self._lost_samples, grid, (lost, values))[:, 1:]
        return meetings

    def _lose(self, tracks: _Tracks, rows: np.ndarray) -> None:
        """Keep the latest of those tracks, live ones then lost ones, that were not found again: they may come back."""
        latest = np.lexsort((tracks.id[rows], -tracks.area[rows], -tracks.seen_ns[rows]))
        keep = np.zeros(len(tracks), bool)
        keep[rows[latest[:_MOST_LOST]]] = True
        self._remember(tracks.take(rows[latest[_MOST_LOST:]]))
        y, x = np.nonzero(self._grid)
        live_samples = np.stack([self._grid[y, x] - 1, y + self._shift[0], x + self._shift[1]])
        lost_samples = self._lost_samples + np.array([[len(self._live)], [0], [0]])
        self._lost, self._lost_samples = _kept(tracks, np.concatenate([live_samples, lost_samples], 1), keep)

    def _with_new_ids(self, ids: np.ndarray, grid: np.ndarray, in_use: np.ndarray) -> np.ndarray:
        """Return track ids with new ones in place of 0: the next that are not in use, so that colours differ.

        Args:
            ids: int64 [S], of the segments.
            grid: int64, their samples.
            in_use: int64, further ids that are.
        """
        count = int((ids == 0).sum())
        in_use = np.concatenate([ids, in_use])
        # One more than the last, and around: those in use are left out, so as many more candidates are enough.
        ahead = count + len(in_use) + len(self._skipped) + COLOR_CHOICE
        following = (self._last_id + np.arange(ahead)) % MAX_TRACK_ID + 1
        following = following[~np.isin(following, np.concatenate([in_use, self._skipped]))]
        skipped = self._skipped[~np.isin(self._skipped, in_use)]
        candidates = np.concatenate([skipped, following])[: count + COLOR_CHOICE - 1]
        given = give_numbers(ids, _neighbours(grid, len(ids)), candidates)
        taken = np.flatnonzero(np.isin(following, given))
        end = int(taken[-1]) + 1 if len(taken) else 0
        self._last_id = int(following[end - 1]) if end else self._last_id
        passed = np.concatenate([skipped, following[:end]])
        self._skipped = passed[~np.isin(passed, given)]
        return given


@compiled('void(float32[:, ::1], float32[:, ::1], float32[:, ::1])')
def _liken(tracks: np.ndarray, found: np.ndarray, likeness: np.ndarray) -> None:
    """Write the squared cosine similarity, 0 where it is negative, of vectors [T, C] and [S, C] of unit length, [T, S].

    Not by BLAS: it wakes threads for so little, and where all cores are busy waits 6 ms for them.
    """
    for t in range(len(tracks)):
        for s in range(len(found)):
            a, b, cosine = tracks[t], found[s], np.float32(0)
            for c in range(len(a)):
                cosine += a[c] * b[c]
            cosine = min(max(cosine, np.float32(0)), np.float32(1))
            likeness[t, s] = cosine * cosine


def _kept(tracks: _Tracks, samples: np.ndarray, keep: np.ndarray) -> tuple[_Tracks, np.ndarray]:
    """Return some of the tracks with their samples, int64 [3, M] of track, y and x; `keep` is bool [T]."""
    samples = samples[:, keep[samples[0]]]
    samples[0] = (np.cumsum(keep) - 1)[samples[0]]
    return tracks.take(np.flatnonzero(keep)), samples


def _by_size(segments: Segments) -> np.ndarray:
    """Return the segments' indices, the largest first; equal ones by place, so that their order does not matter."""
    return np.lexsort([*segments.box_xyxy.T[::-1], *segments.centroid_xy.T[::-1], -segments.area_px])


def _describe(segments: Segments, size_hw: tuple[int, int], stamp_ns: int) -> _Tracks:
    """Return what is known of some segments of an image of this size, except samples."""
    height, width = size_hw
    none = np.zeros(len(segments), np.int64)
    return _Tracks(
        id=none.copy(),
        seen_ns=np.full(len(segments), stamp_ns, np.int64),
        feature=_unit(segments.feature),
        area=segments.area_px / max(1, height * width),
        center=(segments.centroid_xy + 0.5) / (width, height),
        samples=none,
    )


def _unit(feature: np.ndarray) -> np.ndarray:
    """Return vectors [T, C] at unit length; zeros stay."""
    length = np.linalg.norm(feature, axis=1, keepdims=True)
    return feature / np.where(length > 0, length, 1)


def _sample(segmentation: Segmentation, order: np.ndarray) -> np.ndarray:
    """Return which segment each sample shows, int64 of the grid's shape: 1 + its place in `order`, or 0."""
    height, width = segmentation.labels.shape
    rows, columns = SAMPLES_HW
    y = (2 * np.arange(rows) + 1) * height // (2 * rows)
    x = (2 * np.arange(columns) + 1) * width // (2 * columns)
    place = np.zeros(len(segmentation.segments) + 1, np.int64)
    place[order + 1] = np.arange(1, len(order) + 1)
    return place[segmentation.labels[y[:, None], x]]


def _neighbours(grid: np.ndarray, count: int) -> np.ndarray:
    """Return which of the segments touch, by their samples: bool [count, count], symmetric."""
    near = np.zeros((count + 1, count + 1), np.bool_)
    near[grid[1:], grid[:-1]] = near[grid[:, 1:], grid[:, :-1]] = True
    return (near | near.T)[1:, 1:]


def _meetings(before: np.ndarray, after: np.ndarray, shape: tuple[int, int], shift: tuple[int, int]) -> np.ndarray:
    """Return in how many samples value i of one grid, moved by (y, x), meets value j of the other, int64 `shape`."""
    rows, columns = before.shape
    dy, dx = shift
    moved = before[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
    met = after[max(0, dy) : rows + min(0, dy), max(0, dx) : columns + min(0, dx)]
    return np.bincount((moved * shape[1] + met).ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def _find_shift(before: np.ndarray, after: np.ndarray, likeness: np.ndarray, start: tuple[int, int]) -> tuple[int, int]:
    """Return by how many samples, y and x, one grid of labels has to be moved to agree the most with another.

    A segment agrees by the share of its samples that meet the one label they agree with most, times the likeness of the
    two. All segments count alike: a single large one that moves does not pass for the camera. Samples beyond the image
    count half of the best likeness, or a small rest that is left would agree best. Of equal shifts the smallest counts.

    Args:
        before: int64 of the grid's shape, 0 = none.
        after: likewise.
        likeness: [labels before, labels after], 0 to 1, without the 0.
        start: where to look too.
    """
    shape = likeness.shape[0] + 1, likeness.shape[1] + 1
    samples = np.bincount(after.ravel(), minlength=shape[1])
    half_likest = likeness.max(0, initial=0) / 2
    known: dict[tuple[int, int], tuple[float, int]] = {}

    def merit(shift: tuple[int, int]) -> tuple[float, int]:
        if shift not in known:
            meetings = _meetings(before, after, shape, shift)
            beyond = samples - meetings.sum(0)
            agreement = ((meetings[1:, 1:] * likeness).max(0) + half_likest * beyond[1:]) / np.maximum(1, samples[1:])
            known[shift] = float(agreement.sum()), -abs(shift[0]) - abs(shift[1])
        return known[shift]

    if 1 in shape:
        return 0, 0  # no segments here or there
    best = max((0, 0), start, _shift_of_borders(before, after), key=merit)
    limits = before.shape[0] // 2, before.shape[1] // 2
    for step in _SHIFT_STEPS:
        for _ in range(_STEPS_OF_EACH):
            around = [(best[0] + dy, best[1] + dx) for dy, dx in ((step, 0), (-step, 0), (0, step), (0, -step))]
            around = [shift for shift in around if abs(shift[0]) <= limits[0] and abs(shift[1]) <= limits[1]]
            better = max(best, *around, key=merit)
            if better == best:
                break
            best = better
    return best


def _shift_of_borders(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Return the shift, up to half the grid, at which the borders of two grids of labels coincide the most."""
    rows, columns = before.shape
    room = rows + rows // 2, columns + columns // 2  # for the shift, so that nothing comes in again on the other side
    spectra = [scipy.fft.rfft2(_borders(grid), room) for grid in (before, after)]
    correlation = scipy.fft.irfft2(spectra[0].conj() * spectra[1], room)
    y, x = np.arange(rows) - rows // 2, np.arange(columns) - columns // 2
    best = int(correlation[y[:, None], x].argmax())
    return int(y[best // columns]), int(x[best % columns])


def _borders(grid: np.ndarray) -> np.ndarray:
    """Return where labels change, three samples wide and with a mean of 0, float32 of the grid's shape."""
    change = np.zeros(grid.shape, np.float32)
    change[:-1] += grid[1:] != grid[:-1]
    change[:, :-1] += grid[:, 1:] != grid[:, :-1]
    wide = np.pad(change, 1)
    wide = wide[:-2] + wide[1:-1] + wide[2:]
    wide = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    return wide - wide.mean()


def _meetings_at_places(
    ids: np.ndarray, owner: np.ndarray, share: np.ndarray, value: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return in how many samples places of track i meet segment j, float64 `shape`, each sample divided by shares.

    Args:
        ids: int64 [T], of the tracks.
        owner, share: see `Places.owners`.
        value: int64 [L], the segment of each, from 1; 0 = none.
        shape: tracks, segments.
    """
    row_of = np.full(MAX_TRACK_ID + 1, -1)
    row_of[ids] = np.arange(len(ids))
    row = row_of[owner]
    known = row >= 0
    pairs = row[known] * (shape[1] + 1) + value[known]
    return np.bincount(pairs, share[known], shape[0] * (shape[1] + 1)).reshape(shape[0], -1)[:, 1:]


def _meetings_of_samples(samples: np.ndarray, after: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return in how many samples, int64 [3, M] of track i, y and x, track i meets value j of a grid, int64 `shape`."""
    rows, columns = after.shape
    track, y, x = samples
    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
    pairs = track[inside] * shape[1] + after[y[inside], x[inside]]
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def _pair(
    tracks: _Tracks,
    found: _Tracks,
    meetings: np.ndarray,
    likeness: np.ndarray,
    live: int,
    there: np.ndarray,
    likely: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Decide which track goes on as which segment.

    Args:
        tracks: T of them, where they would be now, live ones first.
        found: the S segments.
        meetings: [T, S], samples they share.
        likeness: float32 [T, S], squared cosine similarity of their features, 0 where it is negative.
        live: number of live tracks.
        there: bool [T, S], whether some of the track's places are the segment's: no matter how few for a track that the
            last image did not show.
        likely: bool [T, S], whether features alone may pair them.

    Returns:
        The paired tracks and their segments, as indices.
    """
    union = tracks.samples[:, None] + found.samples - meetings
    weight = meetings * likeness
    weak = weight < _WEAKEST_OVERLAP * union
    weak[live:] &= ~there[live:]
    weight[weak] = 0
    weight[live:] *= _LOST_WEIGHT
    row, column = _heaviest(weight)
    left, free = np.setdiff1d(np.arange(len(tracks)), row), np.setdiff1d(np.arange(len(found)), column)
    likeness = likeness[np.ix_(left, free)]
    distance = np.abs(tracks.center[left][:, None] - found.center[free]).max(2)
    ratio = tracks.area[left][:, None] / found.area[free]
    may = likely[np.ix_(left, free)] & (distance <= _REACH) & (ratio <= _LARGEST_RATIO) & (ratio >= 1 / _LARGEST_RATIO)
    by_feature = _heaviest(np.where(may, likeness, 0))
    return np.concatenate([row, left[by_feature[0]]]), np.concatenate([column, free[by_feature[1]]])


def _heaviest(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the pairs of largest total weight; only pairs of positive weight."""
    # Most rows and columns of a large scene have no candidate at all.
    rows, columns = np.flatnonzero(weight.any(1)), np.flatnonzero(weight.any(0))
    row, column = linear_sum_assignment(weight[np.ix_(rows, columns)], maximize=True)
    row, column = rows[row], columns[column]
    positive = weight[row, column] > 0
    return row[positive], column[positive]
