#!/usr/bin/env python3
"""Keeps where things are in a map, with a picture of each: joins outputs of diffcut_ros with the camera's images.

It needs a node with `depth: true` and `target_frame: map` that runs beside it:

    python3 examples/things_in_map.py --ros-args -r image:=/camera/color/image_raw
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection3DArray

try:
    import message_filters
except ModuleNotFoundError:  # as after `make setup`: the Python registry lacks it
    from diffcut_ros.node import message_sync as message_filters


@dataclass
class Thing:
    """What is known of a thing: where it is in the map, in how many images it was seen, and its last picture."""

    position_m: np.ndarray
    seen: int = 0
    picture: np.ndarray | None = None


class ThingsInMap(Node):
    """Keeps a dictionary of things by their track id."""

    def __init__(self) -> None:
        super().__init__('things_in_map')
        self.things: dict[str, Thing] = {}
        topics = {'image': Image, '/diffcut/labels': Image, '/diffcut/segments_3d': Detection3DArray}
        inputs = [message_filters.SimpleFilter() for _ in topics]
        for (topic, kind), one in zip(topics.items(), inputs, strict=True):
            self.create_subscription(kind, topic, one.signalMessage, 10)
        # Every output has the stamp of its image.
        self.joined = message_filters.TimeSynchronizer(inputs, 30)
        self.joined.registerCallback(self.take)

    def take(self, image: Image, labels: Image, segments: Detection3DArray) -> None:
        """Update all things that an image shows."""
        pixels, label_of = array_of(image), array_of(labels)
        for one in segments.detections:
            at, label = one.results[0].pose.pose.position, int(one.results[0].hypothesis.class_id)
            thing = self.things.setdefault(one.id, Thing(np.zeros(3)))
            thing.position_m = np.array([at.x, at.y, at.z])
            thing.seen += 1
            rows, columns = np.nonzero(label_of == label)
            thing.picture = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        places = ', '.join(f'{key} at {np.round(thing.position_m, 2)}' for key, thing in list(self.things.items())[:3])
        frame = segments.header.frame_id
        self.get_logger().info(f'{len(self.things)} things in {frame}: {places}', throttle_duration_sec=1.0)


def array_of(image: Image) -> np.ndarray:
    """Return the pixels of an image of 8 or 16 bits; cv_bridge knows more encodings."""
    dtype = np.dtype(np.uint16 if image.encoding.endswith('16') else np.uint8)
    rows = np.frombuffer(image.data, dtype).reshape(image.height, image.step // dtype.itemsize)
    channels = 3 if image.encoding in ('rgb8', 'bgr8') else 1
    return (
        rows[:, : channels * image.width]
        .reshape(image.height, image.width, channels)
        .squeeze(2 if channels == 1 else ())
    )


def main() -> None:
    """Run the node until Ctrl-C."""
    rclpy.init()
    with suppress(KeyboardInterrupt):
        rclpy.spin(ThingsInMap())


if __name__ == '__main__':
    main()
