"""Recordings of cameras, written as drivers and recorders write them."""

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000
FRAME_ID = 'camera_optical'
IMAGE, INFO, DEPTH = '/camera/image_raw', '/camera/camera_info', '/camera/depth/image_raw'
COMPRESSED = f'{IMAGE}/compressed'

_STORE = get_typestore(Stores.ROS2_JAZZY)
_ROS1_STORE = get_typestore(Stores.ROS1_NOETIC)
_ROS1_STORE.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', 'tf2_msgs/msg/TFMessage'))


def moving_scene(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return image `index` of a film, uint8 [H, W, 3] RGB: two things move over a background, one comes and goes."""
    image = np.full((height, width, 3), 127, np.uint8)
    x = 4 + index % (width // 2)
    image[6:20, x : x + 14] = 254, 0, 0
    image[28:42, width - 16 - x // 2 : width - 2 - x // 2] = 0, 254, 0
    if index % 10 >= 3:
        image[24:34, 4:14] = 0, 0, 254
    return image


def depth_mm(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return the film's depth, uint16 [H, W] in mm: 1 to 2 m from left to right, none in the upper rows."""
    depth = np.linspace(1000 + index, 2000 + index, width).astype(np.uint16)[None].repeat(height, 0)
    depth[:4] = 0
    return depth


def header(stamp_ns: int, store=_STORE, frame_id: str = FRAME_ID):
    """Return a header of this stamp."""
    time = store.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    own = (0,) if store is _ROS1_STORE else ()
    return store.types['std_msgs/msg/Header'](*own, stamp=time, frame_id=frame_id)


def image_message(values: np.ndarray, encoding: str, stamp_ns: int, store=_STORE):
    """Return an image of rows of values."""
    rows = np.ascontiguousarray(values)
    data = rows.view(np.uint8).reshape(-1)
    height, width = rows.shape[:2]
    make = store.types['sensor_msgs/msg/Image']
    return make(header(stamp_ns, store), height, width, encoding, 0, len(data) // height, data)


def compressed_message(image_rgb: np.ndarray, stamp_ns: int, store=_STORE):
    """Return an image as PNG, which loses nothing."""
    data = cv2.imencode('.png', image_rgb[:, :, ::-1])[1].reshape(-1)
    return store.types['sensor_msgs/msg/CompressedImage'](header(stamp_ns, store), 'png', data)


def packed_message(data: bytes, text: str, stamp_ns: int, store=_STORE):
    """Return a CompressedImage of any data."""
    return store.types['sensor_msgs/msg/CompressedImage'](header(stamp_ns, store), text, np.frombuffer(data, np.uint8))


def info_message(height: int, width: int, stamp_ns: int, store=_STORE, focal_p: float = 60, d=(0.0,) * 5):
    """Return the calibration of a camera with a focal length of 60 px, in P `focal_p`."""
    k = np.array([60, 0, (width - 1) / 2, 0, 60, (height - 1) / 2, 0, 0, 1], np.float64)
    p = np.insert(k, (3, 6, 9), 0.0)
    p[[0, 5]] = focal_p
    roi = store.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    make = store.types['sensor_msgs/msg/CameraInfo']
    return make(
        header(stamp_ns, store), height, width, 'plumb_bob', np.array(d), k, np.eye(3).reshape(-1), p, 0, 0, roi
    )


class Recorder:
    """Writes a recording, a context manager: ROS 1 for a path with .bag, else 'mcap' or 'sqlite3'.

    'storage', 'file' and 'message' are MCAP of which these are compressed with zstd.
    """

    def __init__(self, path: Path, storage: str = 'mcap') -> None:
        self.path = path
        self._ros1 = path.suffix == '.bag'
        self.store = _ROS1_STORE if self._ros1 else _STORE
        plugin = StoragePlugin.SQLITE3 if storage == 'sqlite3' else StoragePlugin.MCAP
        self._writer = Ros1Writer(path) if self._ros1 else Writer(path, version=9, storage_plugin=plugin)
        if storage in ('storage', 'file', 'message'):
            self._writer.set_compression(CompressionMode[storage.upper()], CompressionFormat.ZSTD)
        self._connections = {}

    def __enter__(self) -> 'Recorder':
        self._writer.open()
        return self

    def __exit__(self, *_) -> None:
        self._writer.close()

    def topic(self, topic: str, type_name: str):
        """Return the connection of a topic."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, type_name, typestore=self.store)
        return self._connections[topic]

    def write(self, topic: str, message, time_ns: int | None = None) -> None:
        """Write a message; recorded when its stamp says, unless told otherwise."""
        stamp = message.timestamp if hasattr(message, 'timestamp') else message.header.stamp
        self._write(topic, message, stamp.sec * 10**9 + stamp.nanosec if time_ns is None else time_ns)

    def write_transform(
        self,
        child: str,
        rotation_xyzw,
        translation_m,
        stamp_ns: int,
        parent: str = 'map',
        static: bool = False,
        time_ns: int | None = None,
    ) -> None:
        """Write where a frame is in its parent, into /tf or /tf_static; recorded when its stamp says, or else."""
        types = self.store.types
        transform = types['geometry_msgs/msg/Transform'](
            types['geometry_msgs/msg/Vector3'](*map(float, translation_m)),
            types['geometry_msgs/msg/Quaternion'](*map(float, rotation_xyzw)),
        )
        about = header(stamp_ns, self.store, parent)
        message = types['tf2_msgs/msg/TFMessage'](
            [types['geometry_msgs/msg/TransformStamped'](about, child, transform)]
        )
        self._write('/tf_static' if static else '/tf', message, stamp_ns if time_ns is None else time_ns)

    def _write(self, topic: str, message, time_ns: int) -> None:
        serialize = self.store.serialize_ros1 if self._ros1 else self.store.serialize_cdr
        type_name = message.__msgtype__
        data = serialize(message, type_name)
        self._writer.write(self.topic(topic, type_name), time_ns, bytes(data))

    def write_frame(self, index: int, depth: bool = True, compressed: bool = False) -> None:
        """Write image, camera_info and depth number `index` of the film."""
        stamp_ns = START_NS + index * STEP_NS
        image = moving_scene(index)
        if compressed:
            self.write(COMPRESSED, compressed_message(image, stamp_ns, self.store))
        else:
            self.write(IMAGE, image_message(image, 'rgb8', stamp_ns, self.store))
        if depth:
            self.write(INFO, info_message(*image.shape[:2], stamp_ns, self.store))
            self.write(DEPTH, image_message(depth_mm(index), '16UC1', stamp_ns, self.store))


def record(path: Path, frames: int = 6, storage: str = 'mcap', **options) -> Path:
    """Write a recording of the film; return its path."""
    with Recorder(path, storage) as recorder:
        for index in range(frames):
            recorder.write_frame(index, **options)
    return path
