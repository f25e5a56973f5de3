"""Messages into a recording, from wherever they come."""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from diffcut_ros.core.transform import Transform
from diffcut_ros.media import rerun_scene as scene
from diffcut_ros.node.view.contents import CONTENTS, PANELS, Contents, Shrinking, of_boxes, of_names
from diffcut_ros.printable import counted, quoted, tell
from diffcut_ros.stream.transforms import TransformError

# Label images that wait for their segments. The node sends both at once: after so many others, they do not come.
_MOST_WAITING = 3
_IN_SPACE = 'segments_3d', 'points', 'objects'


class Recorder:
    """Logs messages at the times of their stamps.

    Segments say what labels are called and how they are coloured. A label image is logged after those of its stamp, or
    it would wear the colours of the image before; one that waits in vain is logged without names.

    Args:
        recording: a `rerun.RecordingStream` whose sink is set.
        counts: those that are counted on.
        boxes: whether boxes of segments are shown, too.
        max_px: images whose longer side is longer are shown smaller; 0: none.
        look_up: gives what takes points of a frame, the second, into another, the first, at a stamp in ns, or raises
            TransformError; None: it is not known, and a camera that is not in the frame of the boxes is not drawn.

    Attributes:
        counts: messages logged, by role.
    """

    def __init__(
        self,
        recording: Any,
        counts: Counter[str] | None = None,
        boxes: bool = False,
        max_px: int = 0,
        look_up: Callable[[str, str, int], Transform] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._recording, self._boxes, self._shrinking = recording, boxes, Shrinking(max_px)
        self._panels: set[str] = set()
        self._look_up, self._camera, self._target = look_up, '', ''
        self._unplaced, self._unplaced_ns, self._why = 0, -1, ''
        self._complaints: set[str] = set()
        # Stamp and contents of label images without segments, and stamps of segments without a label image.
        self._waiting: deque[tuple[int, Contents]] = deque()
        self._named: deque[int] = deque(maxlen=_MOST_WAITING)
        # The stamp is the only time: that of arrival says nothing about what is seen.
        recording.set_log_time_enabled(False)
        recording.set_log_tick_enabled(False)
        recording.send_blueprint(scene.blueprint(['image']))
        recording.log(scene.CAMERA, scene.optical_frame(), static=True)
        recording.log(scene.COUNT, scene.count_style('in the image'), static=True)
        recording.log(scene.COUNT_IN_SPACE, scene.count_style('in space'), static=True)

    def add(self, role: str, message: Any) -> None:
        """Log a message; one that cannot be shown is left out, and the first of its kind is told."""
        try:
            contents = CONTENTS[role](message, self._shrinking)
            if role == 'segments' and self._boxes:
                contents += of_boxes(message, self._shrinking)
        except ValueError as error:
            # Figures differ from one message to the next.
            kind = f'{role} {"".join(c for c in str(error) if not c.isdigit())}'
            if kind not in self._complaints:
                self._complaints.add(kind)
                tell(f'left out: {role}: {error}')
            return
        panel = PANELS.get(role)
        if panel and panel not in self._panels:
            self._panels.add(panel)
            self._send_blueprint()
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if role == 'segments':
            self._camera = message.header.frame_id.lstrip('/')
        elif role in _IN_SPACE:
            self._place_camera(message.header.frame_id.lstrip('/'), stamp_ns)
        if role == 'labels' and stamp_ns not in self._named:
            self._waiting.append((stamp_ns, contents))
            if len(self._waiting) > _MOST_WAITING:
                self._log_unnamed()
            return
        self._log(role, stamp_ns, contents)
        if role == 'labels':
            self._named.remove(stamp_ns)
        elif role == 'segments':
            for waiting in self._waiting:
                if waiting[0] == stamp_ns:
                    self._waiting.remove(waiting)
                    self._log('labels', *waiting)
                    return
            self._named.append(stamp_ns)

    def close(self) -> None:
        """Log what still waits, and tell how often it is not known where the camera was."""
        while self._waiting:
            self._log_unnamed()
        if self._unplaced:
            tell(f'the camera is drawn where it was before at {counted(self._unplaced, "image")}: {self._why}')
            self._unplaced = 0

    def _send_blueprint(self) -> None:
        away = bool(self._target)
        self._recording.send_blueprint(scene.blueprint(self._panels, away, not away or self._look_up is not None))

    def _place_camera(self, frame: str, stamp_ns: int) -> None:
        """Let the camera lie where it was in the frame of what is in space, if that is another one than its own."""
        if not self._camera or frame == self._camera:
            return
        if frame != self._target:
            self._target = frame
            self._recording.log(scene.CAMERA, scene.upright_frame(), static=True)
            self._send_blueprint()
            if self._look_up is None:
                tell(
                    f'the camera is not drawn in space: boxes are in {quoted(frame)}, and where {quoted(self._camera)} '
                    'is in it is not known, as there are no /tf and /tf_static. Of a recording, diffcut_analyze '
                    '--with-source copies them'
                )
        if self._look_up is None:
            return
        try:
            found = self._look_up(frame, self._camera, stamp_ns)
        except TransformError as error:
            self._unplaced += stamp_ns != self._unplaced_ns
            self._unplaced_ns, self._why = stamp_ns, self._why or str(error)
            return
        self._recording.set_time(scene.TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        self._recording.log(scene.PINHOLE, scene.placed(found.rotation.as_matrix(), found.translation_m))

    def _log_unnamed(self) -> None:
        stamp_ns, contents = self._waiting.popleft()
        none = np.zeros(0, np.int64)
        self._log('labels', stamp_ns, [*of_names(none, none), *contents])

    def _log(self, role: str, stamp_ns: int, contents: Contents) -> None:
        self._recording.set_time(scene.TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        for entity, thing in contents:
            self._recording.log(entity, thing)
        self.counts[role] += 1
