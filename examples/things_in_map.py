#!/usr/bin/env python3
"""Keeps where things are in a map: joins outputs of diffcut_ros with the camera's images and transforms them.

It needs message_filters and tf2_ros, and a node with `depth: true` that runs beside it:

    python3 examples/things_in_map.py --ros-args -r image:=/camera/color/image_raw -p frame:=map
"""

from contextlib import suppress
from dataclasses import dataclass

import message_filters
import numpy as np
import rclpy
import tf2_ros
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection3DArray


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
        self.frame = self.declare_parameter('frame', 'map').value
        self.things: dict[str, Thing] = {}
        self.buffer = tf2_ros.Buffer()
        self.listener = tf2_ros.TransformListener(self.buffer, self, spin_thread=True)
        topics = {'image': Image, '/diffcut/labels': Image, '/diffcut/segments_3d': Detection3DArray}
        subscribers = [message_filters.Subscriber(self, kind, topic) for topic, kind in topics.items()]
        # Every output has the stamp of its image.
        self.joined = message_filters.TimeSynchronizer(subscribers, 30)
        self.joined.registerCallback(self.take)

    def take(self, image: Image, labels: Image, segments: Detection3DArray) -> None:
        """Update all things that an image shows."""
        header = segments.header
        try:
            found = self.buffer.lookup_transform(
                self.frame, header.frame_id, Time.from_msg(header.stamp), Duration(seconds=0.2)
            ).transform
        except tf2_ros.TransformException as error:
            self.get_logger().warning(f'an image is left out: {error}', throttle_duration_sec=5.0)
            return
        t, q = found.translation, found.rotation
        turn, move = Rotation.from_quat([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z])
        pixels, label_of = array_of(image), array_of(labels)
        for one in segments.detections:
            at, label = one.results[0].pose.pose.position, int(one.results[0].hypothesis.class_id)
            thing = self.things.setdefault(one.id, Thing(np.zeros(3)))
            thing.position_m = turn.apply([at.x, at.y, at.z]) + move
            thing.seen += 1
            rows, columns = np.nonzero(label_of == label)
            thing.picture = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        places = ', '.join(f'{key} at {np.round(thing.position_m, 2)}' for key, thing in list(self.things.items())[:3])
        self.get_logger().info(f'{len(self.things)} things in {self.frame}: {places}', throttle_duration_sec=1.0)


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
