"""The examples, beside a running node."""

import re
import time
from pathlib import Path

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from support.domain import free_domain
from support.peer import OUTPUTS
from support.space import DISTANCE_M, IMAGE, QUADRANT, RELIABLE, camera_info, depth_of
from support.waiting import PATIENCE_S

TOLD = re.compile(r'\[things_in_map\]: (\d+) things in map: ((?:\d+ at \[[-\d. ]+\](?:, |$))+)$', re.MULTILINE)
EXAMPLES = Path(__file__).parents[2] / 'examples'


def test_things_in_map(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0', '-p', 'target_frame:=map']
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
    for topic in ('/image', '/diffcut/labels', '/diffcut/segments_3d'):
        assert peer.spin_until(lambda topic=topic: '/things_in_map' in peer.subscribers(topic)), things.log
    deadline_s = time.monotonic() + PATIENCE_S
    while not (told := TOLD.search(things.log)) and time.monotonic() < deadline_s:
        _, outputs = peer.exchange_depth(IMAGE, depth_of(DISTANCE_M[QUADRANT]), camera_info())
        peer.spin_until(lambda: TOLD.search(things.log), 0.5)
    assert told, things.log
    assert told[1] == '4'
    places = dict(re.findall(r'(\d+) at \[(.*?)\]', told[2]))
    labels = np.frombuffer(bytes(outputs['labels'][0].data), np.uint8).reshape(QUADRANT.shape)
    for one in outputs['segments_3d'][0].detections:
        if one.id in places:
            found = np.array(places.pop(one.id).split(), float)
            rows, columns = np.nonzero(labels == int(one.results[0].hypothesis.class_id))
            z = DISTANCE_M[QUADRANT[rows, columns]]
            in_camera = np.median([(columns - 63.5) * z / 100, (rows - 31.5) * z / 100, z], 1)
            assert np.allclose(found, turn.apply(in_camera) + move, atol=0.011)
    assert not places


def test_the_recipe_shows_what_is_logged():
    shown = (EXAMPLES.parent / 'docs/recipes.md').read_text()
    assert len(TOLD.findall(shown)) == shown.count('[things_in_map]') > 0
