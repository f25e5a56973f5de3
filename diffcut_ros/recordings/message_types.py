"""The classes of the messages that are read and written, in rosbags."""

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

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


def _store() -> Typestore:
    # The types of images and camera_info are the same in all distributions of ROS 2, and in CDR those of ROS 1, too.
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, fields in _VISION_MSGS.items():
        store.register(get_types_from_msg(fields, f'vision_msgs/msg/{name}'))
    return store


STORE = _store()
