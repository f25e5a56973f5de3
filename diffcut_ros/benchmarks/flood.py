"""A camera of 1920x1080 at 30 Hz, in a process of its own: five of these are more than a node can take."""

import sys
import time
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diffcut_ros.interruption import interruptible
from diffcut_ros.node.images import encode_image

_SIZE_HW = (1080, 1920)
_PERIOD_S = 1 / 30


def run(reliability: str) -> None:
    """Publish images until the process is ended, with 'reliable' or 'best_effort' delivery."""
    with suppress(KeyboardInterrupt), interruptible():
        rclpy.init(args=[])
        node = rclpy.create_node('diffcut_benchmark_flood', enable_rosout=False)
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability.upper()])
        publisher = node.create_publisher(Image, 'image', qos)
        message = encode_image(np.random.default_rng(0).integers(0, 255, (*_SIZE_HW, 3), np.uint8), 'rgb8', Header())
        next_s = time.monotonic()
        while True:
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
            next_s = max(next_s + _PERIOD_S, time.monotonic())
            time.sleep(max(0.0, next_s - time.monotonic()))
    rclpy.try_shutdown()


if __name__ == '__main__':
    run(sys.argv[1])
