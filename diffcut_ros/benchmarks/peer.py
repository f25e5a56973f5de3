"""A node in its own process, and the camera and consumer that it is measured with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diffcut_ros.media.virtual_camera import load_photograph, render_view, view_matrix
from diffcut_ros.node.images import encode_image

SIZE_HW = (480, 640)


class Peer(Node):
    """Camera and consumer of one node: `arrived` holds (stamp in ns, age in seconds) of label images.

    What waits for something raises ChildProcessError when the node's process has ended, and TimeoutError.

    Args:
        ended: says with which status the node's process has ended; None while it runs.
    """

    def __init__(self, ended: Callable[[], int | None]) -> None:
        super().__init__('diffcut_benchmark_peer', enable_rosout=False)
        self._ended = ended
        self.arrived: list[tuple[int, float]] = []
        self.values: dict[str, str] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self.camera = self.create_publisher(Image, 'image', 1)
        self.create_subscription(Image, '/diffcut/labels', self._on_labels, 10)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.parameters = AsyncParameterClient(self, '/diffcut')

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
            self._spin(0.002)

    def wait(self, until_s: float) -> None:
        """Handle messages until a moment of the monotonic clock."""
        while (left_s := until_s - time.monotonic()) > 0:
            self._spin(left_s)

    def _spin(self, timeout_s: float) -> None:
        if (status := self._ended()) is not None:
            raise ChildProcessError(f'the node has ended with {status}')
        self._executor.spin_once(timeout_sec=min(timeout_s, 1.0))

    def exchange(self, image_rgb: np.ndarray, patience_s: float = 1.0) -> None:
        """Publish an image, and handle messages until labels have come; one that is lost is let go."""
        before, end_s = len(self.arrived), time.monotonic() + patience_s
        self.send(image_rgb)
        while len(self.arrived) == before and time.monotonic() < end_s:
            self._spin(0.002)

    def header(self) -> Header:
        """Return a header with the stamp of now."""
        return Header(stamp=self.get_clock().now().to_msg(), frame_id='camera')

    def send(self, image_rgb: np.ndarray) -> None:
        """Publish an image with the stamp of now."""
        self.camera.publish(encode_image(image_rgb, 'rgb8', self.header()))

    def set(self, name: str, value: float) -> None:
        """Set a parameter; returns with the answer."""
        answer = self.parameters.set_parameters([Parameter(name, value=value)])
        self.spin_until(answer.done, 10.0, f'an answer to {name}')
        result = answer.result().results[0]
        if not result.successful:
            raise ValueError(f'{name}: {result.reason}')

    def start(self) -> None:
        """Wait for the node, until it has segmented a first image."""
        self.spin_until(lambda: self.camera.get_subscription_count() > 0, 60.0, 'the node on /image')
        for _ in range(20):
            self.send(images(1)[0])
            self.wait(time.monotonic() + 0.5)
            if self.arrived:
                self.spin_until(self.parameters.services_are_ready, 10.0, 'parameter services')
                return
        raise TimeoutError('labels: expected within 10 s, received nothing')


@contextmanager
def node_process(log: IO[str] | None = None, **parameters: float) -> Iterator[subprocess.Popen]:
    """Run a node in a process of its own, which ends with the context.

    Args:
        log: where the node's output goes; None: to that of this program.
        parameters: of the node.
    """
    command = [sys.executable, '-m', 'diffcut_ros.node.diffcut_node', '--ros-args', '--log-level', 'warn']
    given = {'rate_hz': 0.0, **parameters}
    for name, value in given.items():
        command += ['-p', f'{name}:={value}']
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def node_and_peer(**parameters: float) -> Iterator[tuple[subprocess.Popen, Peer]]:
    """Run a node with these parameters, as `node_process`, and a peer that talks to it."""
    with node_process(**parameters) as process:
        peer = Peer(process.poll)
        try:
            peer.start()
            yield process, peer
        finally:
            peer.destroy_node()


def images(count: int, step_s: float = 0.1) -> list[np.ndarray]:
    """Return what the virtual camera sees over time, uint8 [480, 640, 3] each, of several photographs in turn."""
    photographs = [load_photograph(name) for name in ('coffee', 'astronaut', 'motorcycle', 'chelsea')]
    chosen = [photographs[i * len(photographs) // count] for i in range(count)]
    return [
        render_view(photo, view_matrix(i * step_s, photo.shape[:2], SIZE_HW), SIZE_HW) for i, photo in enumerate(chosen)
    ]


def processor_s(pid: int) -> float:
    """Return the processor time that a process has taken, in seconds."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid: int) -> float:
    """Return the memory of a process in megabytes."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6
