"""A camera node that pans and zooms over photographs, for machines without a camera."""

import sys
from pathlib import Path

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diffcut_ros.arguments.parser import Parser
from diffcut_ros.interruption import interruptible
from diffcut_ros.media.own_images import find_images, frames
from diffcut_ros.media.rgbd_photograph import load_rgbd_photograph
from diffcut_ros.media.virtual_camera import (
    PHOTOGRAPHS,
    load_photograph,
    render_depth,
    render_view,
    view_camera,
    view_matrix,
)
from diffcut_ros.node.images import encode_image
from diffcut_ros.node.messages_3d import camera_info

# How long a pause waits until all that was published has arrived.
_ARRIVAL = Duration(seconds=10)


class VirtualCameraNode(Node):
    """Publishes `image_raw`, rgb8, stamped with the wall clock; shows one photograph after the other.

    With the parameter `depth`, it shows the one that has depth, and publishes `depth` (32FC1) and `camera_info`, too.
    While the parameter `paused` is true it publishes nothing; once it is answered, all that was published has arrived.
    `view_matrix` tells what an image shows, for the time from `start_ns` (a read-only parameter) to its stamp.
    `photographs` may change at any time.

    With the parameter `files`, it shows these, whole and still: see `own_images`.
    """

    def __init__(self) -> None:
        super().__init__('virtual_camera')
        constant = ParameterDescriptor(read_only=True)
        names = self.declare_parameter('photographs', list(PHOTOGRAPHS)).value
        self._seconds_each = self.declare_parameter('seconds_each', 5.0).value
        self._size_hw = (self.declare_parameter('height', 480).value, self.declare_parameter('width', 640).value)
        rate_hz = self.declare_parameter('rate_hz', 15.0).value
        self._rgbd = load_rgbd_photograph() if self.declare_parameter('depth', False).value else None
        files = self.declare_parameter('files', Parameter.Type.STRING_ARRAY, constant).value
        self._own = None
        if files:
            own = find_images(list(map(Path, files)))
            rate_hz = min(rate_hz, own.video_hz or rate_hz)
            self._own = frames(own, rate_hz, self._seconds_each, self.get_logger().warning)
        self._photographs = [self._rgbd.image_rgb] if self._rgbd else [load_photograph(name) for name in names]
        self._publisher = self.create_publisher(Image, 'image_raw', 5)
        in_space = {'depth': Image, 'camera_info': CameraInfo} if self._rgbd else {}
        self._in_space = [self.create_publisher(kind, topic, 5) for topic, kind in in_space.items()]
        self._paused = self.declare_parameter('paused', False).value
        self.add_post_set_parameters_callback(self._apply)
        self._start_ns = self.declare_parameter('start_ns', self.get_clock().now().nanoseconds, constant).value
        self.create_timer(1 / rate_hz, self._publish)
        topics = ', '.join(publisher.topic_name for publisher in (self._publisher, *self._in_space))
        self.get_logger().info(f'publishing {topics} at {rate_hz:g} Hz')

    def _apply(self, changes: list[Parameter]) -> None:
        for change in changes:
            if change.name == 'photographs' and self._rgbd is None:
                self._photographs = [load_photograph(name) for name in change.value]
        self._paused = self.get_parameter('paused').value
        for publisher in (*self._in_space, self._publisher) if self._paused else ():
            publisher.wait_for_all_acked(_ARRIVAL)

    def _publish(self) -> None:
        if self._paused:
            return
        now = self.get_clock().now()
        header = Header(stamp=now.to_msg(), frame_id='virtual_camera')
        if self._own is not None:
            self._publisher.publish(encode_image(next(self._own), 'rgb8', header))
            return
        time_s = (now.nanoseconds - self._start_ns) / 1e9
        photo = self._photographs[int(time_s / self._seconds_each) % len(self._photographs)]
        matrix = view_matrix(time_s, photo.shape[:2], self._size_hw)
        if self._rgbd is not None:
            depth_m = render_depth(self._rgbd.depth_m, matrix, self._size_hw)
            to_depth, to_camera_info = self._in_space
            to_depth.publish(encode_image(depth_m, '32FC1', header))
            to_camera_info.publish(camera_info(view_camera(self._rgbd.camera, matrix, self._size_hw), header))
        self._publisher.publish(encode_image(render_view(photo, matrix, self._size_hw), 'rgb8', header))


def main() -> None:
    """Run the camera until it is interrupted."""
    parser = Parser(
        'python -m diffcut_ros.node.demo.camera',
        description='A virtual camera: publishes image_raw and, with -p depth:=true, depth and camera_info.',
        epilog='Topics and parameters as of any node: --ros-args -r image_raw:=/camera/image_raw -p rate_hz:=30.0',
    )
    parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    try:
        with interruptible():
            rclpy.spin(VirtualCameraNode())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
