"""What a node with depth publishes, made by its own functions, for a scene of four quadrants; and bags of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python import get_package_share_directory
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from diffcut_ros.core import PinholeCamera, Segmentation, back_project, locate_segments
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.media.overlay import draw_overlay, track_colors
from diffcut_ros.node.images import encode_image
from diffcut_ros.node.messages import MESSAGES
from diffcut_ros.node.messages_3d import point_cloud
from support.scenes import quadrants

SIZE_HW = 48, 64
CAMERA = PinholeCamera(60.0, 61.0, 31.5, 23.5, SIZE_HW)
# Of labels 1 to 4; the third is not tracked.
TRACK_IDS = 7, 8, 0, 60000
NAMES = ['7', '8', '3', '60000']
DEPTH_M = 2.0
STAMPS_NS = [1_700_000_000_000_000_005 + k * 100_000_000 for k in range(3)]
ROLES = 'image', 'camera_info', 'labels', 'segments', 'overlay', 'segments_3d', 'points'


def messages(
    stamp_ns: int, node: str = '/diffcut', camera: str = '', image: str = '/image', in_space: bool = True
) -> Iterator[tuple[str, Any]]:
    """Topic and message of all that belongs to one image. The first row of the image has no depth."""
    header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id='camera_optical')
    image_rgb, quadrant = quadrants(*SIZE_HW)
    found = describe_segments(quadrant, np.full((4, 8), 0.3, np.float32), 0, 0.5)
    tracked = replace(found.segments, track_id=np.array(TRACK_IDS))
    segmentation = Segmentation(found.labels, tracked, 0.5)
    prefix = f'{node}/{camera}/' if camera else f'{node}/'
    info = CameraInfo(header=header, width=SIZE_HW[1], height=SIZE_HW[0])
    info.k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
    yield image, encode_image(image_rgb, 'rgb8', header)
    yield f'{image.rpartition("/")[0]}/camera_info', info
    yield f'{prefix}labels', MESSAGES.label_image(segmentation, header)
    yield f'{prefix}segments', MESSAGES.detections(tracked, header)
    yield (
        f'{prefix}overlay',
        encode_image(draw_overlay(image_rgb, segmentation.labels, track_colors(tracked)), 'rgb8', header),
    )
    if in_space:
        depth_m = np.full(SIZE_HW, DEPTH_M, np.float32)
        depth_m[0] = np.nan
        geometries = locate_segments(segmentation.labels, depth_m, CAMERA, 4)
        yield f'{prefix}segments_3d', MESSAGES.detections_3d(tracked, header, geometries)
        points_m = back_project(depth_m, CAMERA)
        yield f'{prefix}points', point_cloud(points_m, image_rgb, segmentation, header, organized=True)


def type_name(message: Any) -> str:
    """The name of a message's type, as bags have it."""
    return f'{type(message).__module__.partition(".")[0]}/msg/{type(message).__name__}'


def write_bag(path: Path, storage: StoragePlugin, content: list[tuple[str, Any]]) -> Path:
    """Write messages with headers into a bag as ros2 bag record does, definitions and all."""
    types = get_typestore(Stores.ROS2_JAZZY)
    for file in Path(get_package_share_directory('vision_msgs'), 'msg').glob('*.msg'):
        types.register(get_types_from_msg(file.read_text(), f'vision_msgs/msg/{file.stem}'))
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        for topic, message in content:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, type_name(message), typestore=types)
            stamp = message.header.stamp
            stamp_ns = stamp.sec * 10**9 + stamp.nanosec
            writer.write(connections[topic], stamp_ns, serialize_message(message))
    return path
