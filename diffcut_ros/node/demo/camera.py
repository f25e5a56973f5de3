"""A camera node that pans and zooms over photographs, for machines without a camera."""

import time

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from diffcut_ros.media.virtual_camera import PHOTOGRAPHS, load_photograph, render_view, view_matrix
from diffcut_ros.node.images import encode_image


class VirtualCameraNode(Node):
    """Publishes `image_raw`, rgb8, stamped with the wall clock; shows one photograph after the other."""

    def __init__(self) -> None:
        super().__init__('virtual_camera')
        names = self.declare_parameter('photographs', list(PHOTOGRAPHS)).value
        self._seconds_each = self.declare_parameter('seconds_each', 5.0).value
        self._size_hw = (self.declare_parameter('height', 480).value, self.declare_parameter('width', 640).value)
        rate_hz = self.declare_parameter('rate_hz', 15.0).value
        self._photographs = [load_photograph(name) for name in names]
        self._publisher = self.create_publisher(Image, 'image_raw', 5)
        self._start_s = time.monotonic()
        self.create_timer(1 / rate_hz, self._publish)

    def _publish(self) -> None:
        time_s = time.monotonic() - self._start_s
        photo = self._photographs[int(time_s / self._seconds_each) % len(self._photographs)]
        matrix = view_matrix(time_s, photo.shape[:2], self._size_hw)
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id='virtual_camera')
        self._publisher.publish(encode_image(render_view(photo, matrix, self._size_hw), 'rgb8', header))


def main() -> None:
    """Run the camera until it is interrupted."""
    rclpy.init()
    try:
        rclpy.spin(VirtualCameraNode())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
