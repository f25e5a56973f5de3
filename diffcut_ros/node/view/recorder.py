"""Messages into a recording, from wherever they come."""

from collections import Counter, deque
from typing import Any

import numpy as np

from diffcut_ros.media import rerun_scene as scene
from diffcut_ros.node.view.contents import CONTENTS, PANELS, Contents, Shrinking, of_boxes, of_names
from diffcut_ros.printable import tell

# Label images that wait for their segments. The node sends both at once: after so many others, they do not come.
_MOST_WAITING = 3


class Recorder:
    """Logs messages at the times of their stamps.

    Segments say what labels are called and how they are coloured. A label image is logged after those of its stamp, or
    it would wear the colours of the image before; one that waits in vain is logged without names.

    Args:
        recording: a `rerun.RecordingStream` whose sink is set.
        counts: those that are counted on.
        boxes: whether boxes of segments are shown, too.
        max_px: images whose longer side is longer are shown smaller; 0: none.

    Attributes:
        counts: messages logged, by role.
    """

    def __init__(
        self, recording: Any, counts: Counter[str] | None = None, boxes: bool = False, max_px: int = 0
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._recording, self._boxes, self._shrinking = recording, boxes, Shrinking(max_px)
        self._panels: set[str] = set()
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
            self._recording.send_blueprint(scene.blueprint(self._panels))
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
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
        """Log what still waits."""
        while self._waiting:
            self._log_unnamed()

    def _log_unnamed(self) -> None:
        stamp_ns, contents = self._waiting.popleft()
        none = np.zeros(0, np.int64)
        self._log('labels', stamp_ns, [*of_names(none, none), *contents])

    def _log(self, role: str, stamp_ns: int, contents: Contents) -> None:
        self._recording.set_time(scene.TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        for entity, thing in contents:
            self._recording.log(entity, thing)
        self.counts[role] += 1
