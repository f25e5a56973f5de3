"""`diffcut_benchmark load`: the node under more images than it can take, its memory over many, and live parameters.

A real node (color backend) runs in its own process; images come and outputs go over the middleware, with reliable
delivery. Ages and answers are measured at the receiver.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.time import Time
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diffcut_ros.media.virtual_camera import load_photograph, render_view, view_matrix
from diffcut_ros.node.images import encode_image
from diffcut_ros.progress import track

_SIZE_HW = (480, 640)
_STAGES = ('decode', 'features', 'segments', 'publish')
# What is changed, from and to: the last image is there, published again at each.
_CHANGES = [
    ('tau', 0.5, 0.4),
    ('tau', 0.5, 0.6),
    ('tau', 0.4, 0.8),
    ('target_segments', 0, 10),
    ('min_segment_area', 0, 1000),
]


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its tables.

    Raises:
        ValueError: for a time that is too short for outputs.
        TimeoutError: when the node does not start or does not answer.
    """
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(args=[])
    try:
        console.print(f'{os.cpu_count()} CPU cores, {os.environ.get("RMW_IMPLEMENTATION", "default middleware")}')
        console.print(_load(args))
        console.print(_memory(args.frames))
        console.print(_live(args.changes))
    finally:
        rclpy.try_shutdown()


class _Peer(Node):
    """Camera and consumer of one node: `arrived` holds (stamp in ns, age in seconds) of label images."""

    def __init__(self) -> None:
        super().__init__('diffcut_benchmark_load', enable_rosout=False)
        self.arrived: list[tuple[int, float]] = []
        self.values: dict[str, str] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._camera = self.create_publisher(Image, 'image', 1)
        self.create_subscription(Image, '/diffcut/labels', self._on_labels, 10)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self._node_parameters = AsyncParameterClient(self, '/diffcut')

    def _on_labels(self, message: Image) -> None:
        stamp = Time.from_msg(message.header.stamp)
        self.arrived.append((stamp.nanoseconds, (self.get_clock().now() - stamp).nanoseconds / 1e9))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.values |= {pair.key: pair.value for pair in status.values}

    def spin_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Handle messages until a condition holds; TimeoutError when it does not in time."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f'{what}: expected within {timeout_s:.0f} s, received nothing')
            self._executor.spin_once(timeout_sec=0.002)

    def wait(self, until_s: float) -> None:
        """Handle messages until a moment of the monotonic clock."""
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def send(self, image_rgb: np.ndarray) -> None:
        """Publish an image with the stamp of now."""
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id='camera')
        self._camera.publish(encode_image(image_rgb, 'rgb8', header))

    def set(self, name: str, value: float) -> None:
        """Set a parameter; returns with the answer."""
        answer = self._node_parameters.set_parameters([Parameter(name, value=value)])
        self.spin_until(answer.done, 10.0, f'an answer to {name}')
        result = answer.result().results[0]
        if not result.successful:
            raise ValueError(f'{name}: {result.reason}')

    def start(self) -> None:
        """Wait for the node, until it has segmented a first image."""
        self.spin_until(lambda: self._camera.get_subscription_count() > 0, 60.0, 'the node on /image')
        for _ in range(20):
            self.send(_images(1)[0])
            self.wait(time.monotonic() + 0.5)
            if self.arrived:
                self.spin_until(self._node_parameters.services_are_ready, 10.0, 'parameter services')
                return
        raise TimeoutError('labels: expected within 10 s, received nothing')


@contextmanager
def _node_and_peer(**parameters: float) -> Iterator[tuple[subprocess.Popen, _Peer]]:
    """Run a node and a peer that talks to it; the node's process ends with the context."""
    command = [sys.executable, '-m', 'diffcut_ros.node.diffcut_node', '--ros-args', '--log-level', 'warn']
    given = {'rate_hz': 0.0, **parameters}
    for name, value in given.items():
        command += ['-p', f'{name}:={value}']
    process = subprocess.Popen(command)
    peer = _Peer()
    try:
        peer.start()
        yield process, peer
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        peer.destroy_node()


def _load(args: argparse.Namespace) -> Table:
    """More images than the node can take: how old its outputs are, and what became of the images."""
    images = _images(round(10 * args.hz))
    with _node_and_peer(**{'color.cells': args.cells}) as (_, peer):
        peer.arrived.clear()
        start_s = time.monotonic()
        sent = round(args.seconds * args.hz)
        for i in track(range(sent), sent, 'load'):
            peer.send(images[i % len(images)])
            peer.wait(start_s + (i + 1) / args.hz)
        peer.values.clear()
        peer.spin_until(lambda: 'publish p95 [ms]' in peer.values, 5.0, 'diagnostics')
        ages = np.array([age_s for _, age_s in peer.arrived])
        mean_s, p95_s = (
            sum(float(peer.values[f'{stage} {kind} [ms]']) for stage in _STAGES) / 1000 for kind in ('mean', 'p95')
        )
        counts = peer.values
    if len(ages) < 6:
        raise ValueError(f'--seconds: expected time for 6 outputs, received {len(ages)} in {args.seconds:g} s')
    third = len(ages) // 3
    table = Table(title=f'{args.seconds:g} s at {args.hz:g} Hz, 640x480, color.cells {args.cells}', show_header=False)
    for name, value in {
        'processing of an image, mean (p95)': f'{1000 * mean_s:.0f} ms ({1000 * p95_s:.0f})',
        'age of outputs on arrival, median (p95, largest)': f'{1000 * np.median(ages):.0f} ms '
        f'({1000 * np.percentile(ages, 95):.0f}, {1000 * ages.max():.0f})',
        'the same in the first and the last third': f'{1000 * np.median(ages[:third]):.0f}, '
        f'{1000 * np.median(ages[-third:]):.0f} ms',
        'p95 of the age / two processing times (p95) and a frame': f'{_limit(ages, p95_s, args.hz):.2f}',
        'images sent, received, segmented': f'{sent + 1}, {counts["received"]}, {counts["published"]}',
        'replaced by a newer one while one was processed': counts['replaced'],
    }.items():
        table.add_row(name, value)
    return table


def _limit(ages: np.ndarray, processing_s: float, hz: float) -> float:
    return float(np.percentile(ages, 95) / (2 * processing_s + 1 / hz))


def _memory(frames: int) -> Table:
    """The memory of the node over many images, each sent when the last one's labels have arrived."""
    images = _images(300)
    resident = []
    with _node_and_peer(**{'color.cells': 16}) as (process, peer):
        for i in track(range(frames), frames, 'memory'):
            peer.arrived.clear()
            peer.send(images[i % len(images)])
            deadline_s = time.monotonic() + 1
            while not peer.arrived and time.monotonic() < deadline_s:  # one that is lost is let go
                peer.wait(time.monotonic() + 0.002)
            if (i + 1) % max(1, frames // 10) == 0:
                resident.append(_resident_mb(process.pid))
    table = Table(title=f'memory of the node over {frames} images, MB')
    for tenth in range(1, len(resident) + 1):
        table.add_column(f'{tenth * max(1, frames // 10)}', justify='right')
    table.add_column('growth since the first', justify='right')
    table.add_row(*[f'{value:.0f}' for value in resident], f'{resident[-1] - resident[0]:.1f}')
    return table


def _live(repeats: int) -> Table:
    """From the call of the parameter service to the arrival of the last image's new labels."""
    table = Table(title=f'from the service call to the new label image of the last frame, ms ({repeats} photographs)')
    for column in ('parameter', 'from', 'to', 'median', 'p95', 'largest'):
        table.add_column(column, justify='right')
    with _node_and_peer() as (_, peer):
        for name, before, after in _CHANGES:
            seconds = []
            for image in track(_images(repeats, step_s=4.0), repeats, name):
                peer.set(name, before)
                peer.arrived.clear()
                peer.send(image)
                peer.spin_until(lambda: len(peer.arrived) > 0, 10.0, 'labels')
                peer.wait(time.monotonic() + 0.2)  # nothing of before is under way
                peer.arrived.clear()
                start_s = time.perf_counter()
                peer.set(name, after)
                peer.spin_until(lambda: len(peer.arrived) > 0, 10.0, 'labels')
                seconds.append(time.perf_counter() - start_s)
            peer.set(name, _CHANGES[0][1] if name == 'tau' else before)
            cells = [f'{1000 * value:.0f}' for value in (np.median(seconds), np.percentile(seconds, 95), max(seconds))]
            table.add_row(name, str(before), str(after), *cells)
    return table


def _images(count: int, step_s: float = 0.1) -> list[np.ndarray]:
    """Return what the virtual camera sees over time, uint8 [480, 640, 3] each, of several photographs in turn."""
    photographs = [load_photograph(name) for name in ('coffee', 'astronaut', 'motorcycle', 'chelsea')]
    chosen = [photographs[i * len(photographs) // count] for i in range(count)]
    return [
        render_view(photo, view_matrix(i * step_s, photo.shape[:2], _SIZE_HW), _SIZE_HW)
        for i, photo in enumerate(chosen)
    ]


def _resident_mb(pid: int) -> float:
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6
