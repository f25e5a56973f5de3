"""Which frames of a recording are shown: such as differ from each other."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from diffcut_ros.analysis.reading import Moments
from diffcut_ros.analysis.run import open_recording
from diffcut_ros.analysis.settings import AnalysisOptions, Settings
from diffcut_ros.core import Scene
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import quarters
from diffcut_ros.printable import counted

# Frames that are compared, evenly over the recording.
_CANDIDATES = 150


def farthest(points: np.ndarray, count: int, chosen: Sequence[int] = ()) -> list[int]:
    """Choose points that differ from each other: each is the farthest from those before it.

    Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.

    Args:
        points: float [N, D].
        count: how many more, at most.
        chosen: those that are chosen already; without one, the point nearest to the mean is the first.

    Returns:
        Their indices, in the order in which they were chosen.
    """
    found: list[int] = []
    distance = np.full(len(points), np.inf)
    for one in chosen:
        distance = np.minimum(distance, _distances(points, one))
    while len(found) < min(count, len(points) - len(set(chosen))):
        if not len(found) and not len(chosen):
            one = int(((points - points.mean(0)) ** 2).sum(1).argmin())
        else:
            one = int(distance.argmax())
        found.append(one)
        distance = np.minimum(distance, _distances(points, one))
        distance[[*chosen, *found]] = -1  # two frames may be equal
    return found


def _distances(points: np.ndarray, one: int) -> np.ndarray:
    return ((points - points[one]) ** 2).sum(1)


@dataclass
class Recording:
    """Chooses frames of a recording, and reads them.

    Attributes:
        path: of the recording.
        options: how it is read.
        topic: of the images; known once it was looked through.
        stamps_ns: of the frames that are compared, by their place.
        chosen: places of those that were chosen so far.
        notes: what could not be read or was guessed, as text.
    """

    path: Path
    options: AnalysisOptions
    topic: str = ''
    stamps_ns: list[int] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _points: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    _step: int = 1

    def look_through(self, on_share: Callable[[float], None] = lambda share: None) -> Settings:
        """Describe frames all over the recording by colour and texture, whatever the backend: that is quick.

        Args:
            on_share: called with the share that is done.

        Returns:
            The parameters that hold.

        Raises:
            ValueError: for a recording that cannot be read, or has no image that can.
        """
        extractor, points, problems = create_extractor('color'), [], []
        with open_recording(self.path, self.options) as (bag, topics, settings, _):
            self.topic = topics.image
            count = bag.topics[topics.image].count
            self._step = max(1, count // _CANDIDATES) * self.options.every
            moments = Moments(bag, topics, replace(self.options, every=self._step), settings)
            for moment in moments:
                if moment.problem:
                    problems.append(moment.problem)
                if moment.scene is not None:
                    self.stamps_ns.append(moment.stamp_ns)
                    points.append(quarters(extractor(moment.scene.image_rgb)).cpu().numpy().ravel())
                    on_share(min(1.0, len(points) * self._step / max(1, count)))
            told = moments.warning
            self.notes = [one for one in (bag.lost and f'not all could be read: {bag.lost}', told) if one]
        if problems:
            self.notes.append(f'{counted(len(problems), "image")} could not be taken: {problems[0]}')
        if not points:
            why = f': {"; ".join(self.notes)}' if self.notes else ''
            raise ValueError(f'{self.path}: expected images on {self.topic}, found none that can be taken{why}')
        self._points = np.array(points)
        return settings

    def more(self, count: int, wanted_ns: Collection[int] = ()) -> list[int]:
        """Choose frames that differ from each other and from those that were chosen before.

        Args:
            count: how many, at most.
            wanted_ns: stamps of frames that are chosen in any case, where they are among those that were compared.

        Returns:
            Their places, rising.
        """
        wanted = [place for place, stamp in enumerate(self.stamps_ns) if stamp in wanted_ns]
        new = [place for place in wanted if place not in self.chosen]
        new += farthest(self._points, max(0, count - len(new)), [*self.chosen, *new])
        self.chosen += new
        return sorted(new)

    def put_back(self, places: Collection[int]) -> None:
        """Let frames be chosen again that could not be made."""
        self.chosen = [place for place in self.chosen if place not in places]

    def scenes(self, places: Sequence[int], settings: Settings) -> Iterator[Scene]:
        """Read frames again, by their rising places."""
        wanted, place = set(places), -1
        with open_recording(self.path, self.options) as (bag, topics, *_):
            for moment in Moments(bag, topics, replace(self.options, every=self._step), settings):
                if moment.scene is None:
                    continue
                place += 1
                if place in wanted:
                    yield replace(moment.scene, stamp_ns=moment.stamp_ns)
                if place >= places[-1]:
                    return
