"""How a camera lay to the frame that places are wanted in, at the stamp of each image."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from std_msgs.msg import Header

from diffcut_ros.core import Scene
from diffcut_ros.core.transform import Transform
from diffcut_ros.node.diagnostics import CameraRecord
from diffcut_ros.node.transforms import Transforms
from diffcut_ros.printable import printable, quoted
from diffcut_ros.stream.stamps import stamp_ns


class TargetFrame:
    """Looks up the transforms of a camera's images, and takes note of those that have none.

    An image waits for its transform, but transforms that do not come hold up no more than one image: those after it do
    not wait, until waiting would have helped one of them.

    Args:
        transforms: by /tf.
        name: of the frame.
        timeout_s: returns how long after its arrival an image waits at most.
        record: of the camera.
        warn: called with why an image has no places.
    """

    def __init__(
        self,
        transforms: Transforms,
        name: str,
        timeout_s: Callable[[], float],
        record: CameraRecord,
        warn: Callable[[str], None],
    ) -> None:
        self.name = name
        self._transforms, self._timeout_s, self._record, self._warn = transforms, timeout_s, record, warn
        self._worth_waiting = True
        transforms.listen()

    def header(self, header: Header) -> Header:
        """Return the header of what is in this frame, in an image with a header."""
        return Header(stamp=header.stamp, frame_id=self.name)

    def place(self, scene: Scene, arrival_ns: int) -> Scene:
        """Return a scene whose places are wanted in this frame.

        Args:
            scene: of the camera.
            arrival_ns: when it arrived, by `time.monotonic_ns`.
        """
        found: Transform | None = None
        counted = False

        def look_up() -> Transform | None:
            nonlocal found, counted
            if found is None:  # an image that is cut again may find what came meanwhile
                try:
                    found = self._look_up(scene, arrival_ns / 1e9 + self._timeout_s())
                    self._record.no_transform = ''
                except ValueError as error:
                    self._record.no_transform = f'no places in {quoted(self.name)}: {printable(error)}'
                    self._record.counts['without transform'] += not counted
                    counted = True
                    self._warn(self._record.no_transform)
            return found

        return replace(scene, look_up=look_up)

    def _look_up(self, scene: Scene, end_s: float) -> Transform:
        frame, stamp = scene.header.frame_id.lstrip('/'), stamp_ns(scene)
        if frame == self.name:
            return Transform()
        if not frame:
            raise ValueError('the image names no frame; set frame_id in the driver')
        left_s = max(end_s - time.monotonic(), 0.0)
        try:
            found = self._transforms.lookup(self.name, frame, stamp, left_s if self._worth_waiting else 0.0)
        except ValueError:
            if not self._worth_waiting:
                late = threading.Timer(left_s, self._look_again, (frame, stamp))
                late.daemon = True
                late.start()
            self._worth_waiting = False
            raise
        self._worth_waiting = True
        return found

    def _look_again(self, frame: str, stamp: int) -> None:
        """See whether waiting would have helped."""
        try:
            self._transforms.lookup(self.name, frame, stamp, 0.0)
            self._worth_waiting = True
        except ValueError:
            pass
