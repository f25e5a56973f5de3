"""Track ids in 15 bits, for receivers that keep an instance in the upper half of a signed 32-bit value."""

from collections import OrderedDict

import numpy as np

MAX_INSTANCE = 2**15 - 1


class InstanceIds:
    """Gives each track an id of 15 bits that it keeps: its own while that fits, else a free one.

    Attributes:
        reused: whether an id had to be taken from the track that was not seen for longest.
    """

    def __init__(self) -> None:
        self.reused = False
        self._of_track: OrderedDict[int, int] = OrderedDict()  # the one seen last is the last
        self._used: set[int] = set()
        self._next = MAX_INSTANCE

    def of(self, track_id: np.ndarray) -> np.ndarray:
        """Return the ids of the tracks in an image, int64 [K], 1 to 32767; 0 for 0, which is not tracked."""
        tracks = track_id.tolist()
        for track in tracks:  # none that is in view loses its id to another
            if track in self._of_track:
                self._of_track.move_to_end(track)
        return np.array([self._of(track) if track else 0 for track in tracks], np.int64)

    def _of(self, track: int) -> int:
        if track not in self._of_track:
            self._of_track[track] = self._free(track)
            self._used.add(self._of_track[track])
        return self._of_track[track]

    def _free(self, track: int) -> int:
        if track <= MAX_INSTANCE and track not in self._used:
            return track
        while self._next in self._used and self._next > 1:
            self._next -= 1
        if self._next not in self._used:
            return self._next
        self.reused = True
        return self._of_track.popitem(last=False)[1]
