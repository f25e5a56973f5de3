"""Which images of a recording are segmented: joined, selected and decoded."""

from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rosbags.serde import SerdeError

from diffcut_ros.analysis.decoded import Held, read_messages
from diffcut_ros.analysis.frames import TF_STATIC, RecordedFrames, transforms_ns
from diffcut_ros.analysis.joining import Joiner, Stamped
from diffcut_ros.analysis.settings import AnalysisOptions, Settings
from diffcut_ros.analysis.timeline import Timeline, times
from diffcut_ros.analysis.topics import Topics
from diffcut_ros.core import Scene
from diffcut_ros.printable import counted
from diffcut_ros.recordings.bag import Bag, BagMessage, open_bag
from diffcut_ros.recordings.message_types import deserialize
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.inputs import Inputs, calibration
from diffcut_ros.stream.rate import RateLimit
from diffcut_ros.stream.stamps import stamp_ns
from diffcut_ros.stream.video_packets import VideoDecoder, VideoImage

# Images before a camera_info that may have its stamp, where both are recorded in any order.
_NEARBY = 10
# Stamps from here on, of the year 2001, are of a clock that knows the date: there, 0 is no stamp.
_WALL_CLOCK_NS = 10**18
# Messages with stamp 0 that a simulation may begin with, as while it is paused.
_MOST_ZEROS = 100
# Transforms with a stamp up to so long before the first image are copied, too: its place lies between two of them. Of
# stamps further away from the last image's than the second, which are of another clock, the image's time is taken.
_TRANSFORMS_BEFORE_NS, _OTHER_CLOCK_NS = 10**9, 60 * 10**9
# Packets of video before the time that is analysed which are kept for the copy of the source.
_LONGEST_LEAD = 1000
# Messages of transforms before it that are kept likewise, of /tf and of /tf_static each.
_MOST_TRANSFORMS = 1000


@dataclass(frozen=True)
class Moment:
    """A message of a recording, or an image of it that is to be segmented.

    Attributes:
        position: number of moments up to this one.
        stamp_ns: header stamp of the message or image, or when it was recorded where it has none.
        log_ns: the same, going on where stamps jump: when it takes place in what is written.
        time_ns: when the message was recorded with which all is known of this moment.
        message: as recorded; None for images to be segmented, and outside the time that is analysed.
        scene: the image that is to be segmented; None: it is none.
        image_number: number of the scene's image in its topic, from 1; 0 without a scene.
        problem: why an image is left out, as text; empty: it is not.
        no_space: why the scene has no places although it has depth; see `Decoder.no_space`, `RecordedFrames.place`.
        in_gap: whether the scene lies in a gap of /tf; see `RecordedFrames.place`.
        decoder: what the decoding of the next images depends on; see `Decoder.save`; empty: as before.
    """

    position: int
    stamp_ns: int
    log_ns: int
    time_ns: int
    message: BagMessage | None = None
    scene: Scene | None = None
    image_number: int = 0
    problem: str = ''
    no_space: str = ''
    in_gap: bool = False
    decoder: tuple[Any, ...] = ()


@dataclass
class _Image:
    """An image of the recording that waits for what belongs to it."""

    message: Any
    stamp_ns: int
    log_ns: int
    number: int
    within: bool
    recorded_ns: int
    camera_info: Any | None = None


class Moments:
    """The messages of a recording in their order, with the images to be segmented in theirs.

    The same recording and settings give the same moments. An image is joined with the depth that is nearest by stamp,
    see `Joiner`, and with the camera_info of its stamp or else the last one recorded before it; images before the first
    camera_info take that one.

    Attributes:
        images: images so far within the time that is analysed.
        within: those of them that are not damaged.
        alone: those of these without depth, where it is wanted.
        joined: those of these with camera_info and depth, where these are wanted.

    Args:
        bag: open.
        topics: that are read.
        options: which part of it.
        settings: of the node.
        after: moments up to this position are gone through, but their images are not decoded and they are not given
            out.
        decoder: of the moment at that position, where reading goes on.
        done: how many images were segmented or left out up to that position; see `check_resumed`.
        frames: by which places are in another frame than the camera's; None: they are not.
        copied: topics of transforms whose messages are given out, too, for the copy of the source.
    """

    def __init__(
        self,
        bag: Bag,
        topics: Topics,
        options: AnalysisOptions,
        settings: Settings,
        after: int = 0,
        decoder: tuple[Any, ...] = (),
        done: int = 0,
        frames: RecordedFrames | None = None,
        copied: Collection[str] = (),
    ) -> None:
        self._copied = copied
        # Before the time that is analysed: stamps and messages of /tf, and what there is of /tf_static, once each.
        self._transforms: deque[tuple[int, BagMessage]] = deque(maxlen=_MOST_TRANSFORMS)
        self._static: dict[bytes, BagMessage] = {}
        self._damaged_transforms = 0
        self.images = self.within = self.joined = self._read = 0
        self._bag, self._topics, self._after = bag, topics, after
        self._done, self._passed = done, 0
        self._frames = frames
        self._options, self._max_pixels = options, round(settings.node.max_image_megapixels * 1e6)
        node = settings.node
        self._decoder = Decoder(
            self._max_pixels, depth_scale=node.depth_scale, calibration=node.calibration, topic=topics.image
        )
        self._decoder.load(decoder)
        self._limit = RateLimit(settings.node.rate_hz)
        self._timeline = Timeline()
        self._span_ns: tuple[int, float] | None = None
        self._slop_s = settings.node.sync_slop_s
        self._joiner = Joiner(round(self._slop_s * 1e9))
        self._waiting = self.alone = self._uncalibrated = 0
        self._stamps_ns: dict[str, int] = {}
        self._beside_zero_ns: dict[str, int] = {}  # of topics with a stamp of 0, another stamp
        self._camera_info: Any | None = None
        self._early: BagMessage | None = None
        self._video, self._lead = VideoDecoder(self._max_pixels), []
        self._changes, self._begun = 0, False
        self._position = self._time_ns = self._last_ns = 0
        self._frame_warning = ''

    def __iter__(self) -> Iterator[Moment]:
        ended = False
        for held in read_messages(self._bag, self._topics, self._video, self._copied):
            message, decoded = held.message, held.content
            self._time_ns = message.time_ns
            if message.topic in self._copied:
                yield from self._transformed(message)
                continue
            if decoded is None:
                yield from self._parameters(held)
                continue
            if isinstance(decoded, SerdeError):
                log_ns = self._timeline.log_ns(message.time_ns)
                if message.topic == self._topics.image:
                    self._read += 1
                    # Before the first image that can be read, it is not known when the time begins.
                    self.images += self._is_within(log_ns) or (self._span_ns is None and not self._options.start_s)
                problem = f'{message.topic}: message ignored: {decoded}'
                yield from self._given(message.time_ns, log_ns, problem=problem)
                continue
            own_ns = self._stamp_ns(message, decoded)
            found: list[tuple[_Image, Any | None]] = []
            problem = ''
            if message.topic == self._topics.image:
                self._last_ns = own_ns
                self._timeline.advance(own_ns, message.time_ns)
                log_ns = self._timeline.log_ns(own_ns)
                ended = not self._start(log_ns)
                if ended and not self._waiting:
                    return
                self._read += not ended
                within = self._is_within(log_ns)
                self.images += within
                self.within += within
                if within and self._early is not None:
                    yield from self._given(own_ns, log_ns, self._early)
                    self._early = None
                if within:
                    yield from self._transforms_before(own_ns)
                yield from self._led(held, own_ns, log_ns, within)
                image = _Image(decoded, own_ns, log_ns, self._read, within, message.time_ns, self._camera_info)
                if self._topics.depth is None:
                    found = [(image, None)]
                else:
                    problem = self._add(message, decoded, image)
            else:
                log_ns = self._timeline.log_ns(own_ns)
                if message.topic == self._topics.camera_info:
                    self._early = None if self._is_within(log_ns) else message
                    self._calibrate(decoded)
                else:
                    problem = self._add(message, decoded)
            yield from self._given(own_ns, log_ns, message if self._is_within(log_ns) else None, problem)
            if self._topics.depth is not None and (self._camera_info is not None or self._joiner.full):
                found = [(image.content, depth) for image, depth in self._joiner.joined()]
            for image, depth in found:
                yield from self._taken(image, depth)
            if ended and not self._waiting:
                return
        for waiting, depth in list(self._joiner.joined(ended=True)):
            yield from self._taken(waiting.content, depth)

    def check_resumed(self) -> None:
        """Check, once there are moments after the position to go on from, or none, that it is the right one.

        Raises:
            ValueError: when the recording ends before it, or has other images up to there.
        """
        if self._position < self._after or self._passed != self._done:
            raise ValueError(
                f'expected {self._passed} images or messages done in the first {min(self._after, self._position)} '
                f'places of the recording, received {self._done} in {self._after}'
            )

    @property
    def warning(self) -> str:
        """What may be wrong with the images, was guessed, or left out, as text; empty: nothing known."""
        parts = (
            self._bag.note,
            self._topics.note,
            self._timeline.note(self._topics.image),
            self.unjoined,
            self._frame_warning,
            self._recalibrated,
            self._video.note,
            *self._decoder.notes,
            '' if self._frames is None else self._frames.note,
            f'not copied, as damaged: {counted(self._damaged_transforms, "message")} of transforms'
            if self._damaged_transforms
            else '',
        )
        return '; '.join(filter(None, parts))

    @property
    def unjoined(self) -> str:
        """How many images are left out for lack of depth or camera_info, why, and what helps; empty: none."""
        found = []
        if self.alone:
            found.append(
                f'{self.alone} of {self.within} images of {self._topics.image} have no depth of {self._topics.depth} '
                f'within {self._slop_s:g} s of their stamps{self._joiner.advice(self.joined > 0)}'
            )
        if self._uncalibrated:
            found.append(f'{self._uncalibrated} have no camera_info: none of {self._topics.camera_info} can be read')
        return '; '.join(found)

    @property
    def _recalibrated(self) -> str:
        if not self._changes:
            return ''
        return f'{self._topics.camera_info} changes {times(self._changes)}; positions follow it'

    def _stamp_ns(self, message: BagMessage, decoded: Any) -> int:
        """The header stamp, or when it was recorded where it has none."""
        own_ns, topic = stamp_ns(decoded), message.topic
        if own_ns > 0:
            self._stamps_ns[topic] = own_ns
            return own_ns
        if topic == self._topics.camera_info:
            return self._last_ns or message.time_ns  # one that is sent once, in general
        if own_ns == 0 and self._beside_zero_ns.get(topic) is None:
            self._beside_zero_ns[topic] = self._stamps_ns.get(topic) or self._first_stamp_ns(topic)
        return 0 if self._has_stamp(topic, own_ns) else message.time_ns

    def _has_stamp(self, topic: str, own_ns: int) -> bool:
        """Say whether a stamp is one; 0 is one where a topic's stamps count from the start of a simulation."""
        return own_ns > 0 or (own_ns == 0 and 0 < self._beside_zero_ns.get(topic, 0) < _WALL_CLOCK_NS)

    def _first_stamp_ns(self, topic: str) -> int:
        """The first stamp of a topic that is not 0; 0 where there is none soon."""
        with open_bag(self._bag.path) as again, suppress(SerdeError):
            of_type = (one for one in again.messages({topic}) if one.type_name == again.topics[topic].type_name)
            for one in islice(of_type, _MOST_ZEROS):
                if own_ns := stamp_ns(deserialize(one.cdr, one.type_name)):
                    return own_ns
        return 0

    def _add(self, message: BagMessage, decoded: Any, image: _Image | None = None) -> str:
        """Let an image or depth be joined; return what is wrong with it."""
        if not self._has_stamp(message.topic, stamp_ns(decoded)):
            received = 'one before 1970' if stamp_ns(decoded) < 0 else 0
            return f'{message.topic}: expected a stamp, to join it by, received {received}'
        if image is None:
            self._joiner.add_depth(Stamped(stamp_ns(decoded), len(message.cdr), decoded))
        else:
            self._waiting += image.within
            size = decoded.nbytes if isinstance(decoded, VideoImage) else len(message.cdr)
            self._joiner.add_image(Stamped(image.stamp_ns, size, image))
        return ''

    def _calibrate(self, camera_info: Any) -> None:
        """Take note of a camera_info: it holds for the images after it, and for one with its stamp."""
        before, self._camera_info = self._camera_info, camera_info
        if before is None:  # the images before it take it, too
            for waiting in self._joiner.waiting():
                waiting.content.camera_info = camera_info
        elif calibration(before) != calibration(camera_info):
            self._changes += 1
            for waiting in islice(self._joiner.waiting(), _NEARBY):
                if waiting.stamp_ns == stamp_ns(camera_info):
                    waiting.content.camera_info = camera_info

    def _parameters(self, held: Held) -> Iterator[Moment]:
        """Yield a packet of video that holds no image."""
        own_ns = self._last_ns or held.message.time_ns
        log_ns = self._timeline.log_ns(own_ns)
        within = self._is_within(log_ns)
        yield from self._led(held, own_ns, log_ns, within)
        yield from self._given(own_ns, log_ns, held.message if within else None)

    def _led(self, held: Held, own_ns: int, log_ns: int, within: bool) -> Iterator[Moment]:
        """Keep packets of video before the time that is analysed while its images depend on them; yield them then."""
        if within:
            for lead_ns, lead_log_ns, message in self._lead:
                # Parameters before the first image have no time but that of recording, which may be later.
                yield from self._given(lead_ns, min(lead_log_ns, log_ns), message)
            self._lead = []
        elif held.restarts or self._lead:
            self._lead = [*([] if held.restarts else self._lead[-_LONGEST_LEAD:]), (own_ns, log_ns, held.message)]

    def _transformed(self, message: BagMessage) -> Iterator[Moment]:
        """Yield a message of transforms, or keep it while the time that is analysed has not begun."""
        own_ns = 0
        try:
            own_ns = transforms_ns(message.cdr)
        except SerdeError:
            self._damaged_transforms += 1
            return
        is_static = message.topic == TF_STATIC
        if self._begun:
            if is_static or abs(own_ns - self._last_ns) > _OTHER_CLOCK_NS:
                own_ns = self._last_ns
            log_ns = self._timeline.log_ns(own_ns)
            yield from self._given(own_ns, log_ns, message if self._is_within(log_ns) else None)
        elif is_static:
            self._static.pop(message.cdr, None)
            self._static[message.cdr] = message
            if len(self._static) > _MOST_TRANSFORMS:
                del self._static[next(iter(self._static))]
        else:
            self._transforms.append((own_ns, message))

    def _transforms_before(self, image_ns: int) -> Iterator[Moment]:
        """Yield, once, what transforms there were before the first image of the time that is analysed."""
        if self._begun:
            return
        self._begun = True
        near = [(own_ns, one) for own_ns, one in self._transforms if 0 <= image_ns - own_ns <= _TRANSFORMS_BEFORE_NS]
        first_ns = min((own_ns for own_ns, _ in near), default=image_ns)
        for own_ns, message in (*((first_ns, one) for one in self._static.values()), *near):
            yield from self._given(own_ns, self._timeline.log_ns(own_ns), message)
        self._static, self._transforms = {}, deque()

    def _start(self, image_ns: int) -> bool:
        """Let the time that is analysed begin with the first image; say whether it goes on with this one."""
        if self._span_ns is None:
            start_ns = image_ns + round(self._options.start_s * 1e9)
            duration_s = self._options.duration_s
            self._span_ns = start_ns, float('inf') if duration_s is None else start_ns + round(duration_s * 1e9)
        return image_ns < self._span_ns[1]

    def _is_within(self, log_ns: int) -> bool:
        return self._span_ns is not None and self._span_ns[0] <= log_ns < self._span_ns[1]

    def _given(
        self, own_ns: int, log_ns: int, message: BagMessage | None = None, problem: str = '', **more: Any
    ) -> Iterator[Moment]:
        """Yield the next moment, unless that was given out before."""
        self._position += 1
        if self._position <= self._after:
            self._passed += bool(problem) or 'scene' in more
        else:
            yield Moment(self._position, own_ns, log_ns, self._time_ns, message, problem=problem, **more)

    def _taken(self, image: _Image, depth: Any | None) -> Iterator[Moment]:
        """Yield an image about which all is known, if it is to be segmented, or what is wrong with it."""
        if not image.within:
            return
        if self._topics.depth is None:
            inputs = Inputs(image.message, arrival_ns=image.stamp_ns)
        else:
            self._waiting -= 1
            if depth is None:
                self.alone += 1
                return
            if image.camera_info is None:
                self._uncalibrated += 1
                return
            inputs = Inputs(image.message, image.camera_info, depth.content, arrival_ns=image.stamp_ns)
            self._frame_warning = self._frame_warning or inputs.warning
        self.joined += 1
        if (self.joined - 1) % self._options.every:
            return
        problem, no_space, in_gap, scene = '', '', False, None
        try:
            inputs.check(self._max_pixels)
            inputs.check_contents(self._max_pixels)
            if not self._limit.ready(inputs.stamp_ns):
                return
            self._limit.passed(inputs.stamp_ns)
            if self._position >= self._after:
                scene = self._decoder.decode(inputs)
                no_space = self._decoder.no_space
                if self._frames is not None and scene.camera is not None:
                    scene, no_space, in_gap = self._frames.place(scene, image.recorded_ns)
        except ValueError as error:
            problem = f'{self._topics.image}: image ignored: {error}'
        more: dict[str, Any] = {
            'scene': scene,
            'image_number': 0 if scene is None else image.number,
            'decoder': self._decoder.save(),
        }
        more |= {'no_space': no_space, 'in_gap': in_gap}
        yield from self._given(image.stamp_ns, image.log_ns, problem=problem, **more)
