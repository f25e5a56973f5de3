"""A camera that sees four flat things in space, and what is read of the answer."""

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diffcut_ros.node.images import encode_image
from support.scenes import quadrants

IMAGE, QUADRANT = quadrants(64, 128)
DISTANCE_M = np.array([1.0, 2.0, 3.0, 4.0])  # of each quadrant
RELIABLE = 'qos_overrides./{}.subscription.reliability:=reliable'


def camera_info(width=128, height=64, focal=100.0) -> CameraInfo:
    info = CameraInfo(width=width, height=height)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def depth_of(depth_m: np.ndarray, encoding: str = '16UC1') -> Image:
    if encoding == '16UC1':
        message = encode_image(np.nan_to_num(1000 * depth_m).astype(np.uint16), 'mono16', Header())
    else:
        message = Image(height=depth_m.shape[0], width=depth_m.shape[1], step=4 * depth_m.shape[1])
        message.data = depth_m.astype('<f4').tobytes()
    message.encoding = encoding
    return message


def position(detection) -> np.ndarray:
    point = detection.results[0].pose.pose.position
    return np.array([point.x, point.y, point.z])


def points_of(cloud) -> np.ndarray:
    kinds = {7: '<f4', 6: '<u4'}
    fields = {f.name: (kinds[f.datatype], f.offset) for f in cloud.fields}
    dtype = np.dtype(
        {
            'names': list(fields),
            'formats': [k for k, _ in fields.values()],
            'offsets': [o for _, o in fields.values()],
            'itemsize': cloud.point_step,
        }
    )
    return np.frombuffer(bytes(cloud.data), dtype).reshape(cloud.height, cloud.width)
