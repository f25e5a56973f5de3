"""The examples, beside a running node."""

import re
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from support.domain import free_domain
from support.peer import OUTPUTS
from support.space import DISTANCE_M, IMAGE, QUADRANT, RELIABLE, camera_info, depth_of, position

EXAMPLES = Path(__file__).parents[2] / 'examples'


def test_things_in_map(start_node, connect):
    for package in ('message_filters', 'tf2_ros'):
        pytest.importorskip(package, reason=f'{package} is not installed: the Python registry lacks it')
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0']
    for topic in ('camera_info', 'depth'):
        options += ['-p', RELIABLE.format(topic)]
    example = (str(EXAMPLES / 'things_in_map.py'),)
    with start_node(domain, *options) as node, connect(domain, topics=(*OUTPUTS, 'segments_3d')) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        with start_node(domain, program=example) as things:
            follow(peer, things)


def follow(peer, things) -> None:
    """Play the camera, and what tells where it is, until the example tells where things are."""
    latched = peer.publisher(TFMessage, '/tf_static', QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    turn, move = Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), np.array([1.0, -2.0, 0.5])
    at = TransformStamped(child_frame_id=peer.header().frame_id)
    at.header.frame_id = 'map'
    t, q = at.transform.translation, at.transform.rotation
    t.x, t.y, t.z = move.tolist()
    q.x, q.y, q.z, q.w = turn.as_quat().tolist()
    latched.publish(TFMessage(transforms=[at]))
    told = {}
    for _ in range(30):
        _, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
        lines = re.findall(r'(\d+) things in map: (.*)', things.log)
        told = dict(re.findall(r'(\d+) at \[(.*?)\]', lines[-1][1])) if lines else {}
        if told:
            break
    assert lines[-1][0] == '4', things.log
    for one in outputs['segments_3d'][0].detections:
        if one.id in told:
            found = np.array(told.pop(one.id).split(), float)
            assert np.allclose(found, turn.apply(position(one)) + move, atol=0.011)
    assert not told
