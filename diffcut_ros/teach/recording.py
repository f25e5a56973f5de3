"""The frames of a recording that are shown, processed as the node does."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from diffcut_ros.analysis.settings import Settings
from diffcut_ros.core import Pipeline
from diffcut_ros.features.registry import Extractor
from diffcut_ros.teach.frames import Frame, frame_of
from diffcut_ros.teach.spread import Recording


class RecordedFrames:
    """Frames of a recording that differ from each other.

    Args:
        recording: that was looked through.
        settings: of the pipeline.
        extractor: of the backend.
        name: of the recording, in examples.

    Attributes:
        topic: of the images.
        start_ns: stamp of the first of them.
    """

    def __init__(self, recording: Recording, settings: Settings, extractor: Extractor, name: str) -> None:
        self._recording, self._settings, self.name = recording, settings, name
        self.topic, self.start_ns = recording.topic, min(recording.stamps_ns)
        # They are far apart: nothing is damped, nor tracked.
        self._pipeline = Pipeline(extractor, replace(settings.segmenter, damping=0.0))

    @property
    def left(self) -> int:
        """How many there are beside those that were taken."""
        return len(self._recording.stamps_ns) - len(self._recording.chosen)

    @property
    def notes(self) -> list[str]:
        """What could not be read or was guessed, as text."""
        return self._recording.notes

    def take(
        self, count: int, wanted_ns: Collection[int] = (), on_frame: Callable[[int, int], None] = lambda done, all: None
    ) -> Iterator[Frame]:
        """Yield more frames, in the order of the recording.

        Args:
            count: how many, at most.
            wanted_ns: stamps of such as shall be among them, since they have examples.
            on_frame: called with the number of frames done and of all.

        Raises:
            ValueError, MemoryError: for a recording or an image that cannot be processed.
        """
        places = self._recording.more(count, wanted_ns)
        if not places:
            return
        done = 0
        try:
            for scene in self._recording.scenes(places, self._settings):
                yield frame_of(self._pipeline.process(scene), self.name, self.topic)
                done += 1
                on_frame(done, len(places))
        finally:
            self._recording.put_back(places[done:])
