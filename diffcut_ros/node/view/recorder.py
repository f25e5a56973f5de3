"""Messages into a recording, from wherever they come."""

import sys
from collections import Counter
from typing import Any

import numpy as np

from diffcut_ros.media import rerun_scene as scene
from diffcut_ros.node.view.contents import CONTENTS, IN_SPACE


class Recorder:
    """Logs messages at the times of their stamps.

    Args:
        recording: a `rerun.RecordingStream` whose sink is set.

    Attributes:
        counts: messages logged, by role.
    """

    def __init__(self, recording: Any) -> None:
        self.counts: Counter[str] = Counter()
        self._recording = recording
        self._in_space = False
        self._complaints: set[str] = set()
        # The stamp is the only time: that of arrival says nothing about what is seen.
        recording.set_log_time_enabled(False)
        recording.set_log_tick_enabled(False)
        recording.send_blueprint(scene.blueprint(in_space=False))
        recording.log(scene.CAMERA, scene.optical_frame(), static=True)
        recording.log(scene.COUNT, scene.count_style('in the image'), static=True)
        recording.log(scene.COUNT_IN_SPACE, scene.count_style('in space'), static=True)

    def add(self, role: str, message: Any) -> None:
        """Log a message; one that cannot be shown is left out, and the first of its kind is told."""
        try:
            contents = CONTENTS[role](message)
        except ValueError as error:
            # Figures differ from one message to the next.
            kind = f'{role} {"".join(c for c in str(error) if not c.isdigit())}'
            if kind not in self._complaints:
                self._complaints.add(kind)
                print(f'left out: {role}: {error}', file=sys.stderr, flush=True)
            return
        if role in IN_SPACE and not self._in_space:
            self._in_space = True
            self._recording.send_blueprint(scene.blueprint(in_space=True))
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec
        self._recording.set_time(scene.TIMELINE, timestamp=np.datetime64(stamp_ns, 'ns'))
        for entity, thing in contents:
            self._recording.log(entity, thing)
        self.counts[role] += 1
