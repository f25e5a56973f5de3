"""A process that subscribes to a node's outputs, and may be slow."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import rclpy
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from diffcut_ros.interruption import interruptible

_KINDS = {'labels': Image, 'segments': Detection2DArray, 'label_info': LabelInfo, 'overlay': Image, 'features': Image}
# The first three need no subscriber to be computed.
OUTPUTS = tuple(_KINDS)


@contextmanager
def listener(node: str, topics: Sequence[str] = OUTPUTS, pause_s: float = 0.0) -> Iterator[None]:
    """Run a process that subscribes to outputs, with reliable delivery.

    Args:
        node: full name of the node.
        topics: of `OUTPUTS`.
        pause_s: how long it sleeps after each message.
    """
    process = subprocess.Popen([sys.executable, '-m', __name__, node, str(pause_s), *topics])
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listen(name: str, pause_s: float, topics: Sequence[str]) -> None:
    with suppress(KeyboardInterrupt), interruptible():
        rclpy.init(args=[])
        node = rclpy.create_node('diffcut_benchmark_listener')
        for topic in topics:
            # Serialized: to make Python objects of messages takes longer than a consumer in C++ takes for them.
            node.create_subscription(_KINDS[topic], f'{name}/{topic}', lambda _: time.sleep(pause_s), 10, raw=True)
        rclpy.spin(node)
    rclpy.try_shutdown()


if __name__ == '__main__':
    _listen(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
