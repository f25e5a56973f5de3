"""Which images of a recording are segmented: joined, selected and decoded as the node does."""

import dataclasses
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rosbags.serde import SerdeError

from diffcut_ros.analysis.bag import Bag, BagMessage
from diffcut_ros.analysis.message_types import STORE
from diffcut_ros.analysis.settings import AnalysisOptions, Settings
from diffcut_ros.analysis.topics import Topics
from diffcut_ros.core import Scene
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.inputs import Inputs
from diffcut_ros.stream.message_sync import SimpleFilter, stamp_ns
from diffcut_ros.stream.rate import RateLimit
from diffcut_ros.stream.sync import synchronize

# Messages of a topic that wait for partners, as in the node.
_QUEUE = 10


@dataclass(frozen=True)
class Moment:
    """One message of a recording, and what became of it.

    Attributes:
        position: number of messages read with it.
        image_number: number of the scene's image in its topic, from 1; 0 without a scene.
        message: as recorded; None where it lies outside the time that is analysed.
        stamp_ns: its header stamp, or when it was recorded where it has none.
        time_ns: when it was recorded.
        scene: the image that is to be segmented, complete with this message; None: it completes none.
        problem: why an image is left out, for people; empty: it is not.
        decoder: what the decoding of the next images depends on; see `Decoder.save`; empty: as before.
    """

    position: int
    message: BagMessage | None
    stamp_ns: int
    time_ns: int
    scene: Scene | None = None
    image_number: int = 0
    problem: str = ''
    decoder: tuple[Any, ...] = ()


class Moments:
    """The messages of a recording in their order, with the images to be segmented.

    The same recording and settings give the same moments.

    Attributes:
        images: images read so far.
        joined: sets of image, camera_info and depth among them, within the time that is analysed.

    Args:
        bag: open.
        topics: that are read.
        options: which part of it.
        settings: of the node.
        after: messages up to this position are read, since later ones are joined with them, but their images are not
            decoded and they are not given out.
        decoder: of the moment at that position, where reading goes on.
    """

    def __init__(
        self,
        bag: Bag,
        topics: Topics,
        options: AnalysisOptions,
        settings: Settings,
        after: int = 0,
        decoder: tuple[Any, ...] = (),
    ) -> None:
        self.images = self.within = self.joined = 0
        self._warning = topics.note
        # Stamps and numbers of the last images: of more than the joining keeps.
        self._numbered: deque[tuple[int, int]] = deque(maxlen=2 * _QUEUE)
        self._bag, self._topics, self._after = bag, topics, after
        self._options, self._max_pixels = options, round(settings.node.max_image_megapixels * 1e6)
        node = settings.node
        self._decoder = Decoder(
            self._max_pixels, depth_scale=node.depth_scale, calibration=node.calibration, topic=topics.image
        )
        self._decoder.load(decoder)
        self._limit = RateLimit(settings.node.rate_hz)
        self._found: Inputs | None = None
        self._problem = ''
        self._arrival_ns = 0
        self._span_ns: tuple[int, float] | None = None
        self._inputs = {name: SimpleFilter() for name in topics.names()}
        names = list(self._inputs)
        synchronize(
            list(self._inputs.values()),
            self._join,
            lambda index: self._report(f'{names[index]}: expected a stamp, to join it by, received 0'),
            settings.node.sync_slop_s,
            _QUEUE,
        )

    def __iter__(self) -> Iterator[Moment]:
        for position, message in enumerate(self._bag.messages(set(self._inputs)), 1):
            is_image = message.topic == self._topics.image
            self.images += is_image
            self._found, self._problem, self._arrival_ns = None, '', message.time_ns
            try:
                decoded = STORE.deserialize_cdr(message.cdr, message.type_name)
            except SerdeError as error:
                if position > self._after:
                    problem = f'{message.topic}: message ignored: {error}'
                    yield Moment(position, None, message.time_ns, message.time_ns, problem=problem)
                continue
            own_ns = stamp_ns(decoded) or message.time_ns
            if is_image and not self._start(own_ns):
                self.images -= 1  # beyond the end
                return
            if is_image:
                self.within += self._within(own_ns)
                self._numbered.appendleft((own_ns, self.images))
            self._inputs[message.topic].signalMessage(decoded)
            moment = Moment(
                position,
                message if self._within(own_ns) else None,
                own_ns,
                message.time_ns,
                problem=self._problem,
            )
            if position > self._after:
                yield self._decoded(moment)

    @property
    def warning(self) -> str:
        """What may be wrong with all of the images, or was guessed, for people; empty: nothing known."""
        return '; '.join(filter(None, (self._warning, *self._decoder.notes)))

    def _start(self, image_ns: int) -> bool:
        """Let the time that is analysed begin with the first image; say whether it goes on with this one."""
        if self._span_ns is None:
            start_ns = image_ns + round(self._options.start_s * 1e9)
            duration_s = self._options.duration_s
            self._span_ns = start_ns, float('inf') if duration_s is None else start_ns + round(duration_s * 1e9)
        return image_ns < self._span_ns[1]

    def _within(self, own_ns: int) -> bool:
        return self._span_ns is not None and self._span_ns[0] <= own_ns < self._span_ns[1]

    def _join(self, *messages: object) -> None:
        inputs = Inputs(*messages, arrival_ns=self._arrival_ns)
        if not self._within(inputs.stamp_ns):
            return
        self.joined += 1
        self._warning = self._warning or inputs.warning  # a note on depth is of none that could be joined
        if (self.joined - 1) % self._options.every:
            return
        try:
            inputs.check(self._max_pixels)
        except ValueError as error:
            self._report(f'{self._topics.image}: image ignored: {error}')
            return
        if self._limit.ready(inputs.stamp_ns):
            self._limit.passed(inputs.stamp_ns)
            self._found = inputs

    def _report(self, problem: str) -> None:
        self._problem = problem

    def _decoded(self, moment: Moment) -> Moment:
        if self._found is None:
            return moment
        try:
            scene = self._decoder.decode(self._found)
        except ValueError as error:
            problem = f'{self._topics.image}: image ignored: {error}'
            return dataclasses.replace(moment, problem=problem, decoder=self._decoder.save())
        number = next(number for own_ns, number in self._numbered if own_ns == self._found.stamp_ns)
        return dataclasses.replace(moment, scene=scene, image_number=number, decoder=self._decoder.save())
