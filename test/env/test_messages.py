"""The generated message packages are the released ones to every other node: same fields, same type hashes."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from support.domain import free_domain
from support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(
        Path(sys.prefix) != ROOT / '.venv', reason='messages come from the ROS distribution, not from make setup'
    ),
    # By lark, which rclpy imports with the first message type.
    pytest.mark.filterwarnings("ignore:module 'sre_parse':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:module 'sre_constants':DeprecationWarning"),
]

# Of the released packages, vision_msgs the same on Jazzy and Kilted. A hash covers the types inside, too.
RELEASED = {
    'vision_msgs/Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'vision_msgs/Detection3DArray': '793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'vision_msgs/LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'foxglove_msgs/ImageAnnotations': 'bc4e578b1ef80953415d6f966a4cab305c8a44c8b64fc405312b6f06a08fc45e',
    'foxglove_msgs/PointsAnnotation': 'e151e5042d911c2949ff9ef427944596eefdf9672ff93d381e8d24e60addf8e6',
    'foxglove_msgs/TextAnnotation': '9678167e063be85463865db2383506c704498e5f8657f24c576a996e7f2ed2e4',
    'semantic_inference_msgs/FeatureImage': 'cf8e2ea1a32a371a022af721e27394b8d8ef7a2fa436c69cbf890aa38aff2146',
}

FIELDS = {
    'vision_msgs/Point2D': ['x', 'y'],
    'vision_msgs/Pose2D': ['position', 'theta'],
    'vision_msgs/BoundingBox2D': ['center', 'size_x', 'size_y'],
    'vision_msgs/BoundingBox3D': ['center', 'size'],
    'vision_msgs/ObjectHypothesis': ['class_id', 'score'],
    'vision_msgs/ObjectHypothesisWithPose': ['hypothesis', 'pose'],
    'vision_msgs/Detection2D': ['header', 'results', 'bbox', 'id'],
    'vision_msgs/Detection2DArray': ['header', 'detections'],
    'vision_msgs/Detection3D': ['header', 'results', 'bbox', 'id'],
    'vision_msgs/Detection3DArray': ['header', 'detections'],
    'vision_msgs/VisionClass': ['class_id', 'class_name'],
    'vision_msgs/LabelInfo': ['header', 'class_map', 'threshold'],
    'foxglove_msgs/ImageAnnotations': ['timestamp', 'circles', 'points', 'texts', 'metadata'],
    'foxglove_msgs/Point2': ['x', 'y'],
    'foxglove_msgs/Color': ['r', 'g', 'b', 'a'],
    'semantic_inference_msgs/FeatureImage': ['header', 'mask_ids', 'image', 'features'],
    'semantic_inference_msgs/FeatureVector': ['data'],
    'tf2_msgs/TFMessage': ['transforms'],
}


def class_of(name: str) -> type:
    package, _, kind = name.partition('/')
    return getattr(import_module(f'{package}.msg'), kind)


@pytest.mark.parametrize('name', FIELDS)
def test_fields(name):
    assert list(class_of(name).get_fields_and_field_types()) == FIELDS[name]


@pytest.fixture
def node():
    """A node on a domain of its own, so that no other node's topics are seen."""
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = rclpy.create_node('messages_test', context=context)
    yield node
    node.destroy_node()
    context.shutdown()


def spin_until(node, condition):
    """Spins the node until the condition holds; whether it did."""
    import time

    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    end_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end_s:
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()
    return condition()


@pytest.mark.parametrize('name', RELEASED)
def test_type_hash_announced_to_other_nodes_is_the_released_one(node, name):
    node.create_publisher(class_of(name), 'topic', 1)
    assert spin_until(node, lambda: node.get_publishers_info_by_topic('topic'))
    [info] = node.get_publishers_info_by_topic('topic')
    assert str(info.topic_type_hash) == f'RIHS01_{RELEASED[name]}'


def test_nested_message_survives_the_middleware(node):
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    detection = Detection2D(id='chair', results=[ObjectHypothesisWithPose()])
    detection.results[0].hypothesis.class_id = '7'
    detection.results[0].hypothesis.score = 0.25
    detection.bbox.center.position.x = 12.5
    sent = Detection2DArray(detections=[detection, Detection2D(id='second')])
    received = []
    node.create_subscription(Detection2DArray, 'topic', received.append, 1)
    publisher = node.create_publisher(Detection2DArray, 'topic', 1)
    assert spin_until(node, lambda: publisher.get_subscription_count() == 1)
    publisher.publish(sent)
    assert spin_until(node, lambda: received)
    assert received == [sent]
