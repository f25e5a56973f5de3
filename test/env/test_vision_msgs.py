"""The generated message package is the released one to every other node: same fields, same type hashes."""

import sys
from pathlib import Path

import pytest

from support.domain import free_domain
from support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(
        Path(sys.prefix) != ROOT / '.venv', reason='vision_msgs comes from the ROS distribution, not from make setup'
    ),
    # By lark, which rclpy imports with the first message type.
    pytest.mark.filterwarnings("ignore:module 'sre_parse':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:module 'sre_constants':DeprecationWarning"),
]

# Of the released package, the same on Jazzy and Kilted. A hash covers the types inside too: these three cover all.
RELEASED = {
    'Detection2DArray': 'RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'Detection3DArray': 'RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'LabelInfo': 'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
}

FIELDS = {
    'Point2D': ['x', 'y'],
    'Pose2D': ['position', 'theta'],
    'BoundingBox2D': ['center', 'size_x', 'size_y'],
    'BoundingBox3D': ['center', 'size'],
    'ObjectHypothesis': ['class_id', 'score'],
    'ObjectHypothesisWithPose': ['hypothesis', 'pose'],
    'Detection2D': ['header', 'results', 'bbox', 'id'],
    'Detection2DArray': ['header', 'detections'],
    'Detection3D': ['header', 'results', 'bbox', 'id'],
    'Detection3DArray': ['header', 'detections'],
    'VisionClass': ['class_id', 'class_name'],
    'LabelInfo': ['header', 'class_map', 'threshold'],
}


@pytest.mark.parametrize('name', FIELDS)
def test_fields(name):
    import vision_msgs.msg

    assert list(getattr(vision_msgs.msg, name).get_fields_and_field_types()) == FIELDS[name]


@pytest.fixture
def node():
    """A node on a domain of its own, so that no other node's topics are seen."""
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = rclpy.create_node('vision_msgs_test', context=context)
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
    import vision_msgs.msg

    node.create_publisher(getattr(vision_msgs.msg, name), 'topic', 1)
    assert spin_until(node, lambda: node.get_publishers_info_by_topic('topic'))
    [info] = node.get_publishers_info_by_topic('topic')
    assert str(info.topic_type_hash) == RELEASED[name]


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
