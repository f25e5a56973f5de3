"""`diffcut_benchmark soak`: whether the node lives, and whether it grows, under all that robots do to it, for long.

A real node (color backend) runs in its own process, and gets in turn, cycle after cycle, the phases that --help lists.
What surrounds it in a cycle is a process, too, which is replaced, and counted, where it stands still: calls into the
middleware may never return. The same seed gives the same images, damages and parameters. Exit status 1 when

- the node ends, does not answer, no longer segments, or logs a traceback;
- its memory has no plateau: at rest, which is unconfigured, between cycles, the least of the second half of the run is
  more than 10 % above the least of the first half, of which the first cycle does not count (the least, since an image
  that is still under way at cleanup only adds); or the highest of all in the second half is more than twice that of the
  first;
- at rest it has more threads or open files, or maps more files of /dev/shm, in the second half than ever in the first;
- it leaves files in /dev/shm;
- what surrounds it stood still in every fourth cycle or more.
"""

import argparse
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.listener import listener
from diffcut_ros.benchmarks.peer import Peer, images, node_process, processor_s, resident_mb
from diffcut_ros.exit_status import Status
from diffcut_ros.node.images import encode_image
from diffcut_ros.progress import track
from diffcut_ros.stream.encodings import ENCODINGS

# What memory may grow by at rest, of noise, and while it works: that hangs on which images meet.
_GROWTH, _PEAK_GROWTH = 1.1, 2.0
_REST_S = 1.0
# Longer than any phase takes beyond its time.
_STANDS_STILL_S = 240.0
_OUTPUTS = {'labels': Image, 'segments': Detection2DArray, 'label_info': LabelInfo, 'overlay': Image, 'features': Image}
_OUTPUTS_3D = {'segments_3d': Detection3DArray, 'points': PointCloud2, 'markers': MarkerArray}
_CLIENTS = 4
_GOOD = {
    'tau': lambda draw: draw.uniform(0.0, 0.9),
    'alpha': lambda draw: draw.uniform(1.0, 20.0),
    'target_segments': lambda draw: draw.choice([0, 0, 5, 20]),
    'min_segment_area': lambda draw: draw.choice([0, 1000]),
    'refine': lambda draw: draw.choice(['none', 'watershed', 'pamr']),
    'overlay_opacity': lambda draw: draw.random(),
    'labels': lambda draw: draw.choice(['frame', 'track']),
}
_DEFAULTS = {'tau': 0.5, 'alpha': 10.0, 'target_segments': 0, 'min_segment_area': 100, 'refine': 'watershed'}
_BAD = {'tau': 1.5, 'alpha': 0.0, 'refine': 'crf', 'backend': 'ssd-1b', 'no_such_parameter': 1, 'rate_hz': float('inf')}


class _Rest(NamedTuple):
    """What the node holds between cycles, unconfigured."""

    memory_mb: float
    threads: int
    files: int
    shared: frozenset[str]


class _Phase(NamedTuple):
    """What came of one phase of one cycle."""

    sent: int
    labels: int
    seconds: float
    cpu_s: float
    peak_mb: float


class _Robot:
    """All that surrounds the node."""

    def __init__(self, peer: Peer, pid: int, seed: int) -> None:
        self.peer, self.pid = peer, pid
        self.draw, self.random = random.Random(seed), np.random.default_rng(seed)
        self.sent = 0
        self._views = images(24, step_s=1.0)
        self._change_state = peer.create_client(ChangeState, '/diffcut/change_state')
        self._get_state = peer.create_client(GetState, '/diffcut/get_state')
        self.clients = [AsyncParameterClient(peer, '/diffcut') for _ in range(_CLIENTS)]
        for client in self.clients:
            peer.spin_until(client.services_are_ready, 30.0, 'parameter services')
        for service in (self._change_state, self._get_state):
            peer.spin_until(service.service_is_ready, 30.0, 'lifecycle services')

    def image(self, width: int = 640, height: int = 480) -> np.ndarray:
        """Return a view of a photograph."""
        return cv2.resize(self.draw.choice(self._views), (width, height))

    def exchange(self, image_rgb: np.ndarray, patience_s: float = 2.0) -> None:
        """Publish an image, and wait for labels."""
        self.sent += 1
        self.peer.exchange(image_rgb, patience_s)

    def wait(self, seconds: float) -> None:
        """Handle messages for a while."""
        self.peer.wait(time.monotonic() + seconds)

    def change_state(self, *transitions: str) -> None:
        """Make the node go through lifecycle transitions; ValueError where one fails."""
        for name in transitions:
            future = self._change_state.call_async(ChangeState.Request(transition=Transition(label=name)))
            self.peer.spin_until(future.done, 60.0, f'an answer to {name}')
            if not future.result().success:
                raise RuntimeError(f'{name} failed')

    def set(self, name: str, value: object) -> None:
        """Set a parameter that can be set."""
        self.peer.set(name, value)

    def begin(self) -> None:
        """Make the node active, with defaults, from wherever it was left."""
        future = self._get_state.call_async(GetState.Request())
        self.peer.spin_until(future.done, 60.0, 'an answer to get_state')
        state = future.result().current_state.id
        if state == State.PRIMARY_STATE_ACTIVE:
            self.change_state('deactivate')
        if state != State.PRIMARY_STATE_UNCONFIGURED:
            self.change_state('cleanup')
        for name, value in (_DEFAULTS | {'depth': False}).items():
            self.set(name, value)
        self.change_state('configure', 'activate')


def run(args: argparse.Namespace) -> Status | int:
    """Run the benchmark and print its tables; return `Status.FAILED` where the node died or grew."""
    console = Figures()
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    cycles = max(4, round(args.minutes / 2))
    seconds = max(1.0, (args.minutes * 60 / cycles - _REST_S) / len(args.phases))
    phases: dict[str, list[_Phase]] = {name: [] for name in args.phases}
    rests: list[_Rest] = []
    problems: list[str] = []
    stood_still: list[str] = []
    with tempfile.TemporaryFile('w+', encoding='utf-8', errors='replace') as log:
        try:
            with node_process(log) as process:
                for cycle in track(range(cycles), cycles, 'soak'):
                    for found in _cycle(process, args.seed + cycle, args.phases, seconds):
                        match found:
                            case _Rest():
                                rests.append(found)
                            case name, phase:
                                phases[name].append(phase)
                            case str():
                                stood_still.append(f'{found} of cycle {cycle + 1}')
        except (OSError, RuntimeError) as error:
            problems.append(str(error))
        log.seek(0)
        said = log.read()
    if process.returncode:
        problems.append(f'the node ended with {process.returncode}, expected 0')
    shared = frozenset().union(*(rest.shared for rest in rests))
    # Those of a robot that was ended by force stay: not the node's.
    if not stood_still and (left := sorted(name for name in shared if Path(name).exists())):
        problems.append(f'left in /dev/shm: {", ".join(left)}')
    problems.extend(_judge(phases, rests, said))
    if stood_still:
        text = f'what surrounds the node stood still, and was replaced, in: {", ".join(stood_still)}'
        problems.append(text) if 4 * len(stood_still) >= cycles else console.print(text)
    middleware = rclpy.get_rmw_implementation_identifier()
    console.print(f'{os.cpu_count()} CPU cores, {cycles} cycles, seed {args.seed}, {middleware}')
    console.print(*_tables(phases, rests), sep='\n')
    levels = {level: len(re.findall(rf'^\[{level}\]', said, re.MULTILINE)) for level in ('WARN', 'ERROR', 'FATAL')}
    console.print('lines logged: ' + ', '.join(f'{count} {level}' for level, count in levels.items()))
    if problems:
        console.print(*(line[:400] for line in said.splitlines()[-20:]), sep='\n', markup=False)
        console.print(*[f'FAILED: {problem}' for problem in problems], sep='\n', markup=False)
        return Status.FAILED
    console.print('passed: it lives, memory has a plateau, threads and files are constant, nothing is left in /dev/shm')
    return 0


def _cycle(
    process: subprocess.Popen, seed: int, names: Sequence[str], seconds: float
) -> Iterator[tuple[str, _Phase] | _Rest | str]:
    """Play phases in a process of their own.

    Yields:
        What came of each phase, with its name, and of the rest at the end; or the name of the one that stood still.

    Raises:
        ChildProcessError: when the node has ended.
        RuntimeError: when it does not do what it should.
    """
    forking = get_context('fork')  # this process has no part in the middleware
    ours, theirs = forking.Pipe(duplex=False)
    robot = forking.Process(target=_surround, args=(process.pid, seed, names, seconds, theirs))
    robot.start()
    theirs.close()
    left, last_s = [*names, 'rest'], time.monotonic()
    try:
        while left:
            if (status := process.poll()) is not None:
                raise ChildProcessError(f'the node has ended with {status}')
            if ours.poll(1.0):
                try:
                    found = ours.recv()
                except EOFError:
                    raise RuntimeError(f'what surrounds the node ended in {left[0]}') from None
                if isinstance(found, str):
                    raise RuntimeError(f'{left[0]}: {found}')
                yield found
                left, last_s = left[1:], time.monotonic()
                if not left:
                    robot.join(_STANDS_STILL_S)  # it leaves the middleware
            elif time.monotonic() - last_s > seconds + _STANDS_STILL_S:
                yield left[0]
                return
    finally:
        robot.kill()
        with suppress(ProcessLookupError):
            os.killpg(robot.pid, signal.SIGKILL)  # what it has started
        robot.join()
        ours.close()


def _surround(pid: int, seed: int, names: Sequence[str], seconds: float, to: Connection) -> None:
    """Send what came of each phase, or what went wrong."""
    os.setpgid(0, 0)
    rclpy.init(args=[])
    peer = Peer(lambda: None)
    try:
        robot = _Robot(peer, pid, seed)
        robot.begin()
        peer.start()
        for name in names:
            to.send((name, _play(robot, name, seconds)))
        to.send(_rest(robot))
    except (OSError, RuntimeError, ValueError) as error:
        to.send(f'{type(error).__name__}: {error}')
    finally:
        peer.destroy_node()
        rclpy.try_shutdown()


def _play(robot: _Robot, name: str, seconds: float) -> _Phase:
    """Run a phase and say what came of it."""
    sent, cpu_s, start_s = robot.sent, processor_s(robot.pid), time.monotonic()
    robot.peer.arrived.clear()
    Path(f'/proc/{robot.pid}/clear_refs').write_text('5')  # the highest memory counts from here on
    _PHASES[name](robot, start_s + seconds)
    labels = len(robot.peer.arrived)
    peak_mb = int(_status(robot.pid)['VmHWM'].split()[0]) * 1024 / 1e6
    return _Phase(robot.sent - sent, labels, time.monotonic() - start_s, processor_s(robot.pid) - cpu_s, peak_mb)


# The phases. Each ends soon after a moment of the monotonic clock, and leaves the node as it was.


def _sizes(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        for size_wh in ((1, 1), (4000, 3000)):
            robot.exchange(robot.image(*size_wh), 5.0)


def _encodings(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        message = _any_image(robot)
        if robot.draw.random() < 0.2:
            _damage(message, robot.draw)
        robot.peer.camera.publish(message)
        robot.sent += 1
        robot.wait(0.03)
    robot.exchange(robot.image())


def _bursts(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        image = robot.image()
        for _ in range(50):
            robot.peer.send(image)
            robot.sent += 1
        robot.wait(1.0)


def _publishers(robot: _Robot, end_s: float) -> None:
    peer = robot.peer
    kinds = itertools.product(ReliabilityPolicy, DurabilityPolicy)
    offers = [
        QoSProfile(depth=1, reliability=reliability, durability=durability)
        for reliability, durability in kinds
        if reliability.name in ('RELIABLE', 'BEST_EFFORT') and durability.name in ('VOLATILE', 'TRANSIENT_LOCAL')
    ]
    for qos in itertools.cycle(offers):
        peer.destroy_publisher(peer.camera)
        peer.camera = peer.create_publisher(Image, 'image', qos)
        with _participant() as node:
            other = node.create_publisher(Image, 'image', qos)
            for _ in range(5):
                other.publish(encode_image(robot.image(), 'rgb8', peer.header()))
                robot.sent += 1
                robot.exchange(robot.image(), 0.2)
        if time.monotonic() > end_s:
            break
    peer.destroy_publisher(peer.camera)
    peer.camera = peer.create_publisher(Image, 'image', 1)


def _subscribers(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        with _participant() as node, _subscribed(node), _subscribed(robot.peer):
            for _ in range(5):
                robot.exchange(robot.image(), 0.5)


def _alone(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        robot.exchange(robot.image())


def _slow(robot: _Robot, end_s: float) -> None:
    with listener('/diffcut', pause_s=1.0):
        _alone(robot, end_s)


def _parameters(robot: _Robot, end_s: float) -> None:
    asked: dict = {}
    while time.monotonic() < end_s or asked:
        for client in robot.clients:
            if client in asked and asked[client][0].done():
                answer, name, good = asked.pop(client)
                if answer.result().results[0].successful != good:
                    raise RuntimeError(f'{name}: {"refused" if good else "accepted"}')
            if client not in asked and time.monotonic() < end_s:
                good = robot.draw.random() < 0.6
                name = robot.draw.choice(list(_GOOD if good else _BAD))
                value = _GOOD[name](robot.draw) if good else _BAD[name]
                asked[client] = client.set_parameters([Parameter(name, value=value)]), name, good
        robot.exchange(robot.image(), 0.02)
        if time.monotonic() > end_s + 30:
            raise TimeoutError(f'answers to {", ".join(name for _, name, _ in asked.values())}: none within 30 s')
    for name, value in _DEFAULTS.items():
        robot.set(name, value)


def _lifecycle(robot: _Robot, end_s: float) -> None:
    while time.monotonic() < end_s:
        robot.change_state('deactivate', 'cleanup', 'configure', 'activate')
        robot.exchange(robot.image(), 0.5)


def _depth(robot: _Robot, end_s: float) -> None:
    peer = robot.peer
    robot.change_state('deactivate', 'cleanup')
    robot.set('depth', True)
    robot.change_state('configure', 'activate')
    publishers = [
        peer.create_publisher(kind, topic, 1) for kind, topic in ((CameraInfo, 'camera_info'), (Image, 'depth'))
    ]
    with _subscribed(peer, _OUTPUTS_3D):
        while time.monotonic() < end_s:
            header, depth_m = peer.header(), robot.random.uniform(0.5, 9, (480, 640)).astype(np.float32)
            depth_m[robot.random.random((480, 640)) < 0.1] = np.nan
            if robot.draw.random() < 0.1:
                depth_m = depth_m[: robot.draw.randrange(480)]
            rows, columns = depth_m.shape
            camera_info = CameraInfo(header=header, width=640, height=480)
            camera_info.k = np.array([500, 0, 320, 0, 500, 240, 0, 0, 1], np.float64)

            publishers[0].publish(camera_info)
            message = Image(header=header, encoding='32FC1', width=columns, height=rows, step=4 * columns)
            message.data = depth_m.tobytes()
            publishers[1].publish(message)
            peer.camera.publish(encode_image(robot.image(), 'rgb8', header))
            robot.sent += 1
            robot.wait(0.1)
    for publisher in publishers:
        peer.destroy_publisher(publisher)
    robot.change_state('deactivate', 'cleanup')
    robot.set('depth', False)
    robot.change_state('configure', 'activate')


def _flood(robot: _Robot, end_s: float) -> None:
    command = [sys.executable, '-m', 'diffcut_ros.benchmarks.flood']
    kinds = itertools.cycle(('reliable', 'best_effort'))
    cameras = [subprocess.Popen([*command, next(kinds)]) for _ in range(5)]
    try:
        robot.peer.wait(end_s)
    finally:
        for camera in cameras:
            camera.terminate()
        for camera in cameras:
            camera.wait()


_PHASES = {
    function.__name__[1:]: function
    for function in (
        _sizes,
        _encodings,
        _bursts,
        _publishers,
        _subscribers,
        _alone,
        _slow,
        _parameters,
        _lifecycle,
        _depth,
        _flood,
    )
}


# What phases are made of.


def _any_image(robot: _Robot) -> Image:
    """Return an image of any encoding, a small size, padded or not, of random values."""
    encoding = robot.draw.choice(list(ENCODINGS))
    layout = ENCODINGS[encoding]
    width, height = (2 * robot.draw.randint(8, 160) for _ in range(2))
    step = layout.row_bytes(width) + robot.draw.choice([0, 0, 8])
    data = robot.random.bytes(step * layout.rows(height))
    return Image(header=robot.peer.header(), encoding=encoding, width=width, height=height, step=step, data=data)


def _damage(message: Image, draw: random.Random) -> None:
    match draw.randrange(5):
        case 0:
            message.data = message.data[: draw.randrange(len(message.data))]
        case 1:
            message.encoding = draw.choice(['', 'rgb565', 'x' * 99])
        case 2:
            message.width, message.height = 2**31, 2**31
        case 3:
            message.step = draw.randrange(message.step)
        case 4:
            message.width = 0


@contextmanager
def _participant() -> Iterator[Node]:
    """A node of its own participant, as of another process."""
    context = Context()
    rclpy.init(args=[], context=context)
    node = Node('diffcut_benchmark_guest', context=context, enable_rosout=False)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


@contextmanager
def _subscribed(node: Node, outputs: dict[str, type] = _OUTPUTS) -> Iterator[None]:
    subscriptions = [
        node.create_subscription(kind, f'/diffcut/{topic}', lambda _: None, 10) for topic, kind in outputs.items()
    ]
    try:
        yield
    finally:
        for subscription in subscriptions:
            node.destroy_subscription(subscription)


# What is seen of the node.


def _status(pid: int) -> dict[str, str]:
    return dict(line.split(':', 1) for line in Path(f'/proc/{pid}/status').read_text().splitlines())


def _rest(robot: _Robot) -> _Rest:
    """Bring the node to unconfigured, let it finish what is under way, and look at what it holds."""
    pid = robot.pid
    robot.change_state('deactivate', 'cleanup')
    for _ in range(30):
        cpu_s = processor_s(pid)
        robot.wait(_REST_S)
        if processor_s(pid) - cpu_s < 0.1 * _REST_S:
            break
    # Not the ports of Fast DDS, which belong to all processes of a machine.
    maps = Path(f'/proc/{pid}/maps').read_text()
    shared = re.findall(r' (/dev/shm/fast[a-z]+_[0-9a-f]{16}\S*)$', maps, re.MULTILINE)
    files = len(os.listdir(f'/proc/{pid}/fd'))
    return _Rest(resident_mb(pid), int(_status(pid)['Threads']), files, frozenset(shared))


def _judge(phases: dict[str, list[_Phase]], rests: list[_Rest], said: str) -> Iterator[str]:
    """Say what is wrong; see the top of the file for the rules."""
    if 'Traceback' in said:
        yield 'a traceback in the log'
    for name, played in phases.items():
        if played and not any(phase.labels for phase in played) and name != 'flood':
            yield f'{name}: no label image came'
    half = len(rests) // 2
    if half < 2:
        return
    resting_mb = [rest.memory_mb for rest in rests]
    peaks_mb = [max(phase.peak_mb for phase in cycle) for cycle in zip(*phases.values(), strict=False)]
    for what, before_mb, after_mb, growth in (
        ('memory at rest', min(resting_mb[1:half]), min(resting_mb[half:]), _GROWTH),
        ('highest memory', max(peaks_mb[:half]), max(peaks_mb[half:]), _PEAK_GROWTH),
    ):
        if after_mb > growth * before_mb:
            yield f'{what}: from {before_mb:.0f} to {after_mb:.0f} MB'
    counts = {
        'threads': [rest.threads for rest in rests],
        'open files': [rest.files for rest in rests],
        'files of /dev/shm': [len(rest.shared) for rest in rests],
    }
    for what, values in counts.items():
        if max(values[half:]) > max(values[:half]):
            yield f'{what}, at rest: from {max(values[:half])} to {max(values[half:])}'


def _tables(phases: dict[str, list[_Phase]], rests: list[_Rest]) -> Iterator[Table]:
    table = Table(title='phases')
    for column in (
        '',
        'images sent',
        'label images',
        '... a second',
        'CPU s for each',
        'highest memory, MB: first cycle',
    ):
        table.add_column(column, justify='right')
    table.add_column('last')
    for name, played in phases.items():
        if played:
            sent, labels, seconds, cpu_s = (sum(phase[i] for phase in played) for i in range(4))
            each = f'{cpu_s / labels:.3f}' if labels else '-'
            peaks = (f'{phase.peak_mb:.0f}' for phase in (played[0], played[-1]))
            table.add_row(name, str(sent or '-'), str(labels), f'{labels / seconds:.1f}', each, *peaks)
    yield table
    table = Table(title='at rest, unconfigured, after each cycle', show_header=False)
    rows = {
        'memory, MB': [f'{rest.memory_mb:.0f}' for rest in rests],
        'threads': [rest.threads for rest in rests],
        'open files': [rest.files for rest in rests],
        'files of /dev/shm': [len(rest.shared) for rest in rests],
    }
    for what, values in rows.items():
        table.add_row(what, ', '.join(map(str, values)))
    yield table
