"""The frames of a running node that are shown, out of the images that it has seen last."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from diffcut_ros.analysis.settings import Settings
from diffcut_ros.core import Pipeline, Scene
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import quarters
from diffcut_ros.features.registry import Extractor
from diffcut_ros.printable import counted
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.inputs import Inputs
from diffcut_ros.teach.frames import Frame, frame_of
from diffcut_ros.teach.spread import farthest

# Images that are kept. Then every second one goes, and it is twice as long until the next one.
_MOST, _STEP_NS = 60, 250_000_000


class LiveFrames:
    """Keeps images of a camera, and gives out such as differ from each other.

    Args:
        settings: of the pipeline.
        extractor: of the backend.

    Attributes:
        topic: of the images.
        name: of a recording, in examples: there is none.
        start_ns: stamp of the first image.
    """

    name = ''

    def __init__(self, settings: Settings, extractor: Extractor) -> None:
        self.topic, self.start_ns = '', 0
        self._max_pixels = round(settings.node.max_image_megapixels * 1e6)
        self._decoder = Decoder(self._max_pixels)
        self._pipeline = Pipeline(extractor, replace(settings.segmenter, damping=0.0))
        self._look = create_extractor('color')
        self._kept: list[tuple[Scene, np.ndarray]] = []
        self._taken: list[np.ndarray] = []
        self._problems: Counter[str] = Counter()
        self._step_ns, self._last_ns = _STEP_NS, 0
        self._turn = threading.Lock()

    def add(self, message: Any) -> None:
        """Take an image, unless it follows another too soon."""
        inputs = Inputs(message)
        if 0 <= inputs.stamp_ns - self._last_ns < self._step_ns:
            return
        self._last_ns = inputs.stamp_ns
        try:
            inputs.check(self._max_pixels)
            inputs.check_contents(self._max_pixels)
            scene = replace(self._decoder.decode(inputs), stamp_ns=inputs.stamp_ns, header=None)
        except ValueError as error:
            self._problems[str(error)] += 1
            return
        point = quarters(self._look(scene.image_rgb)).cpu().numpy().ravel()
        with self._turn:
            self.start_ns = self.start_ns or inputs.stamp_ns
            self._kept.append((scene, point))
            if len(self._kept) > _MOST:
                self._kept, self._step_ns = self._kept[::2], 2 * self._step_ns

    @property
    def left(self) -> int:
        """How many images there are beside those that were taken."""
        with self._turn:
            return len(self._kept)

    @property
    def notes(self) -> list[str]:
        """What could not be taken, as text."""
        return [
            f'{counted(count, "image")} could not be taken: {problem}'
            for problem, count in self._problems.most_common(3)
        ]

    def take(
        self, count: int, wanted_ns: Collection[int] = (), on_frame: Callable[[int, int], None] = lambda done, all: None
    ) -> Iterator[Frame]:
        """Yield more frames, in the order of the camera; otherwise as `RecordedFrames.take`."""
        with self._turn:
            points = np.array([*self._taken, *(point for _, point in self._kept)])
            before = len(self._taken)
            chosen = {one - before for one in farthest(points, count, range(before))}
            scenes = [self._kept[one][0] for one in sorted(chosen)]
            self._taken += [self._kept[one][1] for one in sorted(chosen)]
            self._kept = [kept for one, kept in enumerate(self._kept) if one not in chosen]
        for done, scene in enumerate(scenes, 1):
            yield frame_of(self._pipeline.process(scene), '', self.topic)
            on_frame(done, len(scenes))
