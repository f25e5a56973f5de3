"""The classes of the messages that are read and written, in rosbags."""

from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

COMPRESSED_VIDEO, FFMPEG_PACKET = 'foxglove_msgs/msg/CompressedVideo', 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket'

# vision_msgs 4.1, which rosbags does not know. Names, types and order are those of the released package: readers tell
# types apart by a hash of them.
_VISION_MSGS = {
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'BoundingBox3D': 'geometry_msgs/Pose center\ngeometry_msgs/Vector3 size',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': 'ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose',
    'Detection2D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id',
    'Detection2DArray': 'std_msgs/Header header\nDetection2D[] detections',
    'Detection3D': 'std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox3D bbox\nstring id',
    'Detection3DArray': 'std_msgs/Header header\nDetection3D[] detections',
    'VisionClass': 'uint16 class_id\nstring class_name',
    'LabelInfo': 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold',
}

# Packets of video, as foxglove_msgs and ffmpeg_image_transport_msgs define them.
_VIDEO = {
    COMPRESSED_VIDEO: 'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format',
    FFMPEG_PACKET: 'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n'
    'bool is_bigendian\nuint8[] data',
}


def _store() -> Typestore:
    # The types of images and camera_info are the same in all distributions of ROS 2, and in CDR those of ROS 1, too.
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, fields in _VISION_MSGS.items():
        store.register(get_types_from_msg(fields, f'vision_msgs/msg/{name}'))
    for name, fields in _VIDEO.items():
        store.register(get_types_from_msg(fields, name))
    return store


STORE = _store()


def deserialize(cdr: bytes, type_name: str) -> Any:
    """Return a message; a packet of video as a CompressedImage, which holds the same.

    Raises:
        SerdeError: for damaged data.
    """
    message = STORE.deserialize_cdr(cdr, type_name)
    image = STORE.types['sensor_msgs/msg/CompressedImage']
    if type_name == COMPRESSED_VIDEO:
        header = STORE.types['std_msgs/msg/Header'](stamp=message.timestamp, frame_id=message.frame_id)
        return image(header=header, format=message.format, data=message.data)
    if type_name == FFMPEG_PACKET:
        return image(header=message.header, format=message.encoding, data=message.data)
    return message
