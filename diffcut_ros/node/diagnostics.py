"""What /diagnostics tells of each camera: rates, latencies, drops, the last error."""

import math
import re
import resource
import statistics
import threading
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from diffcut_ros.core import Result
from diffcut_ros.printable import counted
from diffcut_ros.settings import DiagnosticsConfig

# Latencies of so many images are kept, and rates are taken over this time.
_WINDOW = 100
RATE_WINDOW_S = 5.0
_SETTLING_S = 1.0
_FIRST_ALONE_S = 0.3
_MOST_TIMES = 1000

_MOST_ERRORS = 10

# What other programs read.
_IMAGE_TOPIC = 'image topic'

STAGES = ('decode', 'features', 'segments', 'carry', 'publish', 'age')


class ErrorThrottle:
    """Decides which errors are logged, so that those of every image do not flood the log.

    Args:
        repeat_s: an error that repeats is logged again after this time; different ones at once, up to 10 within it.
    """

    def __init__(self, repeat_s: float = 5.0) -> None:
        self._repeat_s = repeat_s
        self._logged: dict[str, float] = {}
        self._turn = threading.Lock()

    def allows(self, error: str) -> bool:
        """Say whether an error is to be logged."""
        # The same error may come with another size or byte each time.
        shape = re.sub(r'[0-9a-f]*\d[0-9a-f]*', '#', error)
        now_s = time.monotonic()
        with self._turn:
            self._logged = {s: at_s for s, at_s in self._logged.items() if now_s - at_s < self._repeat_s}
            allowed = shape not in self._logged and len(self._logged) < _MOST_ERRORS
            if allowed:
                self._logged[shape] = now_s
        return allowed


class CameraRecord:
    """What happened to the images of one camera; written by the node's threads, read by its diagnostics.

    `counts` holds images by fate: 'lost' (on the way, or replaced before they were taken; of depth, too),
    'received', 'joined' (with depth and camera_info, where wanted), 'rejected' (cannot be decoded), 'skipped' (above
    the rate), 'replaced' (by a newer one while the pipeline was busy), 'failed', 'timed out', 'published', and of these
    'without transform' (into the target frame) and 'carried images' (see the parameter network_hz). Of those that came
    out neither computed nor carried: 'not carried'. 'network images' were computed; 'network images dropped' were, too,
    but the camera showed something else by then.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.segments, self.tau = 0, 0.0
        self._carried_ns: int | None = None  # of the last image, see `Result.carried_ns`
        self.last_error = ''
        # Why the last image was rejected, and why the last one failed; one hides nothing of the other.
        self.last_rejection = self.last_failure = ''
        self.no_space = ''  # see `Decoder.no_space`
        self.no_transform = ''  # why the last image has no places in the target frame
        self.failures_in_a_row = 0
        self._stamp_ns, self._stamp_since_s = 0, 0.0
        self._rejected_s = self._failed_s = self._listening_since_s = -math.inf
        self._hangs = False  # the last failure is of an image that is still under way
        self._alone_since_s = math.inf
        self._joined_since = False  # whether an image had all it needs, since the node listens
        self._inputs: deque[float] = deque(maxlen=_MOST_TIMES)
        self._lost: deque[tuple[float, str]] = deque(maxlen=_MOST_TIMES)
        self._outputs: deque[float] = deque(maxlen=_MOST_TIMES)
        self._latencies = {stage: deque(maxlen=_WINDOW) for stage in STAGES}

    def received(self, stamp_ns: int) -> None:
        """Take note of an image that came."""
        self.counts['received'] += 1
        if stamp_ns != self._stamp_ns:
            self._stamp_ns, self._stamp_since_s = stamp_ns, time.monotonic()
        self._alone_since_s = min(self._alone_since_s, time.monotonic())
        self._inputs.append(time.monotonic())

    def lost(self, topic: str, count: int) -> None:
        """Take note of messages that got lost on the way."""
        self.counts['lost'] += count
        self._lost.extend([(time.monotonic(), topic)] * min(count, _MOST_TIMES))

    def lost_lately(self) -> Counter[str]:
        """Return how many messages got lost on the way in the last seconds, by topic.

        What is told lost as listening begins, was lost before.
        """
        since_s = max(time.monotonic() - RATE_WINDOW_S, self._listening_since_s + _SETTLING_S)
        return Counter(topic for moment, topic in list(self._lost) if moment >= since_s)

    def often_lost(self) -> Counter[str]:
        """Return the same of topics where more than a quarter of what was sent got lost."""
        came = len(_recent(self._inputs, time.monotonic()))
        return Counter({topic: count for topic, count in self.lost_lately().items() if 3 * count > came})

    def rejected_lately(self) -> bool:
        """Say whether a message was refused for its content in the last seconds."""
        return _lately(self._rejected_s, time.monotonic())

    def listening(self) -> None:
        """Take note that the node listens from now on: what did not come before is nobody's fault."""
        self._listening_since_s = time.monotonic()
        self._joined_since = False
        self.resumed()

    def resumed(self) -> None:
        """Take note that a topic came back: what it is joined with may take its time, too."""
        self._alone_since_s = math.inf

    def joined(self) -> None:
        """Take note of an image that has all it needs."""
        self.counts['joined'] += 1
        self._joined_since = True
        self._alone_since_s = math.inf

    def computed(self) -> None:
        """Take note of an image that the backend has computed."""
        self.counts['network images'] += 1
        self.failures_in_a_row = 0

    def took(self, seconds: dict[str, float]) -> None:
        """Take note of what an image took, by stage; age only where stamps tell it."""
        for stage, value in seconds.items():
            self._latencies[stage].append(value)

    def published(self, result: Result) -> None:
        """Take note of outputs that went out."""
        self.counts['published'] += 1
        self.counts['carried images'] += result.carried_ns is not None
        self.published_again(result)
        self._outputs.append(time.monotonic())

    def published_again(self, result: Result) -> None:
        """Take note of another cut of the last image."""
        self.segments, self.tau = len(result.segmentation.segments), result.segmentation.tau
        self._carried_ns = result.carried_ns

    def alone_s(self) -> float:
        """Return for how long images have come without the depth or camera_info that they are to be joined with."""
        return max(0.0, self._inputs[-1] - self._alone_since_s) if self._inputs else 0.0

    def failed(self, cause: str, error: str) -> None:
        """Take note of an image that came to nothing: 'rejected', 'failed' or 'timed out'."""
        self.counts[cause] += 1
        self.last_error = error
        if cause == 'rejected':
            self._rejected_s, self.last_rejection = time.monotonic(), error
        else:
            self._failed_s, self.last_failure, self._hangs = time.monotonic(), error, cause == 'timed out'
            self.failures_in_a_row += 1

    def status(
        self,
        name: str,
        hardware: str,
        config: DiagnosticsConfig,
        delivery: dict[str, str],
        subscribers: int,
        topic: str,
        lacks: str,
        refused: str = '',
    ) -> DiagnosticStatus:
        """Return the state of the camera: its level, a line, and all figures.

        Args:
            name: of the status, such as 'diffcut: front'.
            hardware: the device.
            config: the thresholds.
            delivery: how the topics that the node subscribes to now are delivered, by their names.
            subscribers: of the camera's outputs.
            topic: of its images, whether the node subscribes to it or not.
            lacks: what its images are not joined with, where that is so.
            refused: which transforms were not taken lately, where its places need some.
        """
        now_s = time.monotonic()
        level, text = self._judge(now_s, config, bool(delivery), lacks, refused)
        values = {'input rate [Hz]': f'{_rate(self._inputs, now_s):.1f}'}
        values['output rate [Hz]'] = f'{_rate(self._outputs, now_s):.1f}'
        for stage, latencies in self._latencies.items():
            if found := list(latencies):
                values[f'{stage} mean [ms]'] = f'{1000 * statistics.mean(found):.1f}'
                values[f'{stage} p95 [ms]'] = f'{1000 * np.percentile(found, 95):.1f}'
        for fate in ('lost', 'received', 'published', 'skipped', 'replaced', 'rejected', 'failed', 'timed out'):
            values[fate] = str(self.counts[fate])
        for fate in ('network images', 'carried images', 'not carried', 'network images dropped'):
            values[fate] = str(self.counts[fate])
        values['without depth or camera_info'] = str(self.counts['received'] - self.counts['joined'])
        values['without transform'] = str(self.counts['without transform'])
        values['subscribers'] = str(subscribers)
        values[_IMAGE_TOPIC] = topic
        values['delivery'] = '; '.join(f'{topic}: {how}' for topic, how in delivery.items())
        if self.counts['published']:
            values |= {'segments': str(self.segments), 'tau': f'{self.tau:g}'}
            values['last image'] = 'network' if self._carried_ns is None else 'carried'
            values['key image age [s]'] = f'{(self._carried_ns or 0) / 1e9:.2f}'
        values['last error'] = self.last_error
        return status(level, name, text, hardware, values)

    def _judge(
        self, now_s: float, config: DiagnosticsConfig, wanted: bool, lacks: str, refused: str
    ) -> tuple[bytes, str]:
        """Return level and message: the cause of the last seconds, before one that was seen earlier."""
        failed = (
            DiagnosticStatus.ERROR,
            f'{counted(self.failures_in_a_row, "image")} in a row failed: {self.last_failure}',
        )
        rejected = DiagnosticStatus.WARN, f'{counted(self.counts["rejected"], "image")} rejected: {self.last_rejection}'
        fails_lately = self.failures_in_a_row and (self._hangs or _lately(self._failed_s, now_s))
        if fails_lately and (self._hangs or self._failed_s >= self._rejected_s):
            return failed
        if not wanted:
            return DiagnosticStatus.OK, 'idle: nobody subscribes'
        silent_s = now_s - max(self._inputs[-1], self._listening_since_s) if self._inputs else None
        if silent_s is None or silent_s > config.stale_after_s:
            return DiagnosticStatus.STALE, 'no image yet' if silent_s is None else f'no image for {silent_s:.0f} s'
        last_output_s = self._outputs[-1] if self._outputs else -math.inf
        if self._rejected_s > last_output_s and self.rejected_lately():
            return rejected
        # The first ones are lost as long as topics are found, one after the other.
        if self.alone_s() > (config.stale_after_s if self._joined_since else _FIRST_ALONE_S):
            return DiagnosticStatus.WARN, f'images come, but {lacks}'
        if self.failures_in_a_row:
            return failed
        if self.no_space:
            return DiagnosticStatus.WARN, self.no_space
        if self.no_transform:
            return (
                DiagnosticStatus.WARN,
                f'{self.no_transform} ({counted(self.counts["without transform"], "image")} so far)',
            )
        if refused:
            return DiagnosticStatus.WARN, refused
        for topic, count in self.often_lost().items():
            return DiagnosticStatus.WARN, f'{topic}: {counted(count, "message")} lost on the way in {RATE_WINDOW_S:g} s'
        same_s = now_s - max(self._stamp_since_s, self._listening_since_s)
        if self._stamp_ns and same_s > config.stale_after_s and not _recent(self._outputs, now_s):
            return DiagnosticStatus.WARN, (
                f'images come, but their stamps have stood still for {same_s:.0f} s: simulated time is paused, or the '
                'camera repeats a stamp'
            )
        if self._rejected_s > last_output_s:  # nothing else is known since
            return rejected
        ages = list(self._latencies['age'])
        # The median: where a clock is set, a few outputs seem as old as the step is wide.
        if ages and statistics.median(ages) > config.warn_age_s:
            return DiagnosticStatus.WARN, f'outputs are {statistics.median(ages):.1f} s old'
        allowed = self.counts['received'] - self.counts['skipped']
        if allowed and self.counts['published'] < config.warn_output_share * allowed:
            return DiagnosticStatus.WARN, f'{self.counts["published"]} of {allowed} images came out'
        return DiagnosticStatus.OK, f'{_rate(self._outputs, now_s):.1f} images/s, {self.segments} segments'


def status(level: bytes, name: str, text: str, hardware: str, values: dict[str, str]) -> DiagnosticStatus:
    """Return a status message."""
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id=hardware, values=pairs)


def title(node: str, camera: str) -> str:
    """Return the name of a camera's status.

    Args:
        node: full name.
        camera: empty for the only one.
    """
    return f'{node.lstrip("/")}: {camera or "camera"}'


def image_topic(message: DiagnosticArray, node: str, camera: str) -> str:
    """Return the topic of a camera's images, as its node tells; empty: this message does not."""
    wanted = title(node, camera)
    pairs = (pair for one in message.status if one.name == wanted for pair in one.values)
    return next((pair.value for pair in pairs if pair.key == _IMAGE_TOPIC), '')


def memory(device: torch.device) -> dict[str, str]:
    """Return the memory of this process, and what of a GPU's memory PyTorch uses."""
    resident_pages = int(Path('/proc/self/statm').read_text().split()[1])
    values = {'process memory [MB]': f'{resident_pages * resource.getpagesize() / 1e6:.0f}'}
    if device.type != 'cuda':
        return values
    return values | {
        'device memory allocated [MB]': f'{torch.cuda.memory_allocated(device) / 1e6:.0f}',
        'device memory reserved [MB]': f'{torch.cuda.memory_reserved(device) / 1e6:.0f}',
    }


def _lately(moment_s: float, now_s: float) -> bool:
    return now_s - moment_s <= RATE_WINDOW_S


def _rate(times_s: deque[float], now_s: float) -> float:
    return len(_recent(times_s, now_s)) / RATE_WINDOW_S


def _recent(times_s: deque[float], now_s: float) -> list[float]:
    return [moment for moment in list(times_s) if _lately(moment, now_s)]
