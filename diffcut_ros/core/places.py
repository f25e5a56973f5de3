"""Which track each place belongs to: what things that come back after a long time are known by.

Space is divided into cubes, voxels, in a frame that does not move, such as map. Each that was seen keeps how often it
was whose: a surface that is one segment in some images and two in others belongs to all three tracks, each by its
share, so that each way of cutting it finds its tracks again. A wall of which another part is seen is found, too, which
a distance of centres would miss.
"""

from typing import Any

import numpy as np

from diffcut_ros.core.plain import expect
from diffcut_ros.core.types import MAX_TRACK_ID

# Of a voxel along one axis, of a track id: both fit into one positive int64. Voxels of 0.1 m repeat after 3.3 km.
_AXIS_BITS, _ID_BITS = 15, 16
# Images that a voxel remembers, in effect: what it has become outweighs what it was after so many more.
_MOST_WEIGHT = 200.0
# What is left of a claim after its voxel was looked through once; a claim below the least ends.
_SEEN_THROUGH, _LEAST_WEIGHT = 0.8, 0.1
# A look ends this many voxels before what it meets, as depth and poses are not exact.
_MARGIN = 3
# Of what is full, this share is kept, so that not each image forgets a little.
KEPT_SHARE = 0.9


class Places:
    """Remembers of voxels which tracks they belong to.

    Args:
        voxel_m: side of a voxel.
    """

    def __init__(self, voxel_m: float) -> None:
        self.voxel_m = voxel_m
        # Sorted: a voxel's number, then one of its tracks. With each how often, and when the voxel was seen last.
        self._claim = np.zeros(0, np.int64)
        self._weight = np.zeros(0, np.float32)
        self._seen_ns = np.zeros(0, np.int64)
        self._looks = 0

    def __len__(self) -> int:
        """Return the number of pairs of a voxel and a track that it belongs to."""
        return len(self._claim)

    @property
    def ids(self) -> np.ndarray:
        """The track ids that some place belongs to, int64, sorted."""
        return np.flatnonzero(np.bincount(self._claim & MAX_TRACK_ID))

    def voxels(self, points_m: np.ndarray) -> np.ndarray:
        """Return the voxel that each point, float64 [..., 3], lies in, int64 [...]; -1 for NaN."""
        known = np.isfinite(points_m).all(-1)
        x, y, z = np.moveaxis(np.floor(np.where(known[..., None], points_m, 0) / self.voxel_m).astype(np.int64), -1, 0)
        mask = (1 << _AXIS_BITS) - 1
        return np.where(known, ((x & mask) << _AXIS_BITS | (y & mask)) << _AXIS_BITS | (z & mask), -1)

    def owners(self, voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whose voxels are.

        Args:
            voxel: int64 [M], see `voxels`.

        Returns:
            int64 [L], which of the M; int64 [L], a track that it belongs to; float64 [L], its share, all of one voxel
            together 1.
        """
        claim, which = self._claims(voxel)
        weight = self._weight[claim]
        return which, self._claim[claim] & MAX_TRACK_ID, weight / np.bincount(which, weight, len(voxel))[which]

    def see(self, voxel: np.ndarray, track_id: np.ndarray, stamp_ns: int) -> None:
        """Remember whose voxels are in an image.

        Args:
            voxel: int64 [M], of samples of the image; -1 does not count.
            track_id: int64 [M], of the same; 0 does not count.
            stamp_ns: of the image.
        """
        known = (voxel >= 0) & (track_id > 0)
        claim, count = np.unique(voxel[known] << _ID_BITS | track_id[known], return_counts=True)
        seen, which = np.unique(claim >> _ID_BITS, return_inverse=True)
        share = (count / np.bincount(which, count)[which]).astype(np.float32)
        before, of = self._claims(seen)
        total = np.bincount(of, self._weight[before], len(seen))
        fading = np.minimum(1, (_MOST_WEIGHT - 1) / np.maximum(total, 1))
        self._weight[before] *= fading[of].astype(np.float32)
        self._seen_ns[before] = stamp_ns
        at = np.searchsorted(self._claim, claim)
        old = np.append(self._claim, -1)[at] == claim
        self._weight[at[old]] += share[old]
        at, new = at[~old], ~old
        self._claim = np.insert(self._claim, at, claim[new])
        self._weight = np.insert(self._weight, at, share[new])
        self._seen_ns = np.insert(self._seen_ns, at, stamp_ns)

    def look_through(self, points_m: np.ndarray, eye_m: np.ndarray) -> None:
        """Let places fade that something behind them is seen through: what was there has moved away.

        Each image tries one place on the way to each point, another one each time.

        Args:
            points_m: float64 [M, 3], what is seen.
            eye_m: float64 [3], where the camera is.
        """
        if not len(self):
            return
        self._looks += 1
        way = points_m - eye_m
        length = np.linalg.norm(way, axis=-1)
        far = length > (_MARGIN + 1) * self.voxel_m
        share = (self._looks * 0.618034) % 1 * (1 - _MARGIN * self.voxel_m / length[far])
        tried = np.setdiff1d(self.voxels(eye_m + way[far] * share[:, None]), self.voxels(points_m))
        claim, _ = self._claims(tried)
        self._weight[claim] *= _SEEN_THROUGH
        if (self._weight[claim] < _LEAST_WEIGHT).any():
            self._keep(self._weight >= _LEAST_WEIGHT)

    def forget(self, track_id: np.ndarray) -> None:
        """Forget tracks, int64 [T]."""
        self._keep(~np.isin(self._claim & MAX_TRACK_ID, track_id))

    def forget_beyond(self, most: int) -> bool:
        """Forget the voxels that were seen longest ago if more than so many claims are kept; say whether there were."""
        if len(self) <= most:
            return False
        keep = np.zeros(len(self), bool)
        keep[np.argsort(self._seen_ns, kind='stable')[len(self) - int(KEPT_SHARE * most) :]] = True
        self._keep(keep)
        return True

    def save(self) -> dict[str, Any]:
        """Return what is remembered, for `plain.pack`."""
        return dict(vars(self))

    @classmethod
    def load(cls, state: dict[str, Any]) -> 'Places':
        """Return what was saved.

        Raises:
            KeyError, TypeError, ValueError: for another state.
        """
        places = cls(float(state['voxel_m']))
        claim, count = state['_claim'], (len(state['_claim']),)
        expect('claim', claim, 'i', count, 0)
        expect('weight', state['_weight'], 'f', count, 0, 2 * _MOST_WEIGHT)
        expect('seen_ns', state['_seen_ns'], 'i', count)
        if not 0 < places.voxel_m < np.inf or (np.diff(claim) <= 0).any():
            raise ValueError('expected voxels of a size above 0 with sorted claims, received others')
        places._claim, places._weight, places._seen_ns = claim, state['_weight'], state['_seen_ns']
        places._looks = int(state['_looks'])
        return places

    def _claims(self, voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the claims on voxels, int64 [M], as rows, and on which of the M each is, both int64 [L]."""
        first = voxel << _ID_BITS
        start = np.searchsorted(self._claim, first)
        count = np.searchsorted(self._claim, first + (1 << _ID_BITS)) - start
        which = np.repeat(np.arange(len(voxel)), count)
        return np.arange(len(which)) + (start - np.cumsum(count) + count)[which], which

    def _keep(self, claims: np.ndarray) -> None:
        self._claim, self._weight = self._claim[claims], self._weight[claims]
        self._seen_ns = self._seen_ns[claims]
