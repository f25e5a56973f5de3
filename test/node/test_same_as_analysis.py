"""The node and `diffcut_analyze` on the same frames with the same parameter file: every message is the same."""

import csv

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from diffcut_ros.analysis.main import main
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from support.domain import free_domain
from support.recordings import DEPTH, FRAME_ID, IMAGE, INFO, START_NS, Recorder, moving_scene
from support.taught import teach

FRAMES = 8
TOPICS = {
    'labels': 'sensor_msgs/msg/Image',
    'label_info': 'vision_msgs/msg/LabelInfo',
    'segments': 'vision_msgs/msg/Detection2DArray',
    'segments_3d': 'vision_msgs/msg/Detection3DArray',
    'classes': 'sensor_msgs/msg/Image',
    'confidence': 'sensor_msgs/msg/Image',
}
PARAMETERS = """
/**:
  ros__parameters:
    backend: color
    depth: true
    rate_hz: 0.0
    tau: 0.6
    damping: 0.2
    min_segment_area: 10
    classes_file: %s
    min_confidence: 0.2
    color: {cells: 24}
    tracking.max_age_s: 2
diffcut:
  ros__parameters:
    labels: %s
    qos_overrides:
      /depth: {subscription: {reliability: reliable}}
      /camera_info: {subscription: {reliability: reliable}}
other:
  ros__parameters: {tau: 0.1}
"""


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp('film') / 'film'
    with Recorder(path) as recorder:
        for index in (*range(FRAMES - 1), 40):  # tracks end in the pause before the last one
            recorder.write_frame(index)
    return path


def sets(film) -> list[list]:
    """Return image, camera_info and depth of each frame as messages of rclpy."""
    kinds, found = {IMAGE: Image, INFO: CameraInfo, DEPTH: Image}, {IMAGE: [], INFO: [], DEPTH: []}
    with open_bag(film) as bag:
        for message in bag.messages(set(kinds)):
            found[message.topic].append(deserialize_message(message.cdr, kinds[message.topic]))
    return list(zip(*found.values(), strict=True))


@pytest.mark.parametrize('labels', ['frame', 'track'])
def test_same_messages(film, start_node, connect, tmp_path, labels):
    parameters = tmp_path / 'parameters.yaml'
    points = {'ground': (32, 24), 'red': (10, 13), 'green': (52, 35)}
    teach(tmp_path / 'things.yaml', [moving_scene(index) for index in range(3)], points, cells=24)
    parameters.write_text(PARAMETERS % (tmp_path / 'things.yaml', labels))
    out = tmp_path / 'out'
    assert main([str(film), '-o', str(out), '--csv', '--raw-labels', '--params', str(parameters)]) == 0
    analysed = {topic: [] for topic in (*TOPICS, 'class_info')}
    with open_bag(out / 'segments.mcap') as bag:
        for message in bag.messages(set(bag.topics)):
            analysed[message.topic.removeprefix('/diffcut/')].append(message.cdr)

    domain, topics = free_domain(), tuple(TOPICS)
    with (
        start_node(domain, '--params-file', str(parameters)) as node,
        connect(domain, topics=(*topics, 'class_info')) as peer,
    ):
        node.wait_for_log('waiting for images on /image')
        peer.wait_until_met()
        for count, (image, camera_info, depth) in enumerate(sets(film), 1):
            peer.camera_info.publish(camera_info)
            peer.depth.publish(depth)
            peer.publish(image)
            assert peer.spin_until(lambda n=count: all(len(peer.received[topic]) == n for topic in topics)), node.log
        for topic, type_name in TOPICS.items():
            published = [STORE.deserialize_cdr(serialize_message(m), type_name) for m in peer.received[topic]]
            published = [bytes(STORE.serialize_cdr(message, type_name)) for message in published]
            assert published == analysed[topic], topic
        (info,) = peer.received['class_info']  # before the first image, and so with a header of its own
    names = [(one.class_id, one.class_name) for one in info.class_map]
    assert names == [(0, 'unknown'), (1, 'ground'), (2, 'red'), (3, 'green')]
    for cdr in analysed['class_info']:
        same = STORE.deserialize_cdr(cdr, TOPICS['label_info'])
        assert ([(one.class_id, one.class_name) for one in same.class_map], same.threshold) == (names, info.threshold)
    images = [STORE.deserialize_cdr(cdr, TOPICS['classes']).data for cdr in analysed['classes']]
    assert {0, 1, 2, 3} == set(np.unique(images).tolist())
    tracks = [STORE.deserialize_cdr(cdr, TOPICS['segments']).detections for cdr in analysed['segments']]
    ids = [{detection.id for detection in detections} for detections in tracks]
    assert len(ids[0] & ids[-2]) >= 2
    assert not ids[0] & ids[-1]
    assert np.unique([len(one) for one in ids]).min() >= 3


def test_same_map_of_objects(start_node, connect, tmp_path):
    """The node's at the end, and the analysis', of a film whose camera stands askew in map."""
    turned, at_m = Rotation.from_euler('xyz', [-100, 10, 30], degrees=True), [1.0, -2.0, 0.5]
    with Recorder(tmp_path / 'film') as recorder:
        recorder.write_transform(FRAME_ID, turned.as_quat(), at_m, START_NS, parent='map', static=True)
        for index in (*range(FRAMES - 1), 40):
            recorder.write_frame(index)
    parameters, out = tmp_path / 'parameters.yaml', tmp_path / 'out'
    teach(tmp_path / 'things.yaml', [moving_scene(0)], {'red': (10, 13)}, cells=24)
    text = PARAMETERS % (tmp_path / 'things.yaml', 'frame')
    parameters.write_text(text.replace('depth: true', 'depth: true\n    target_frame: map'))
    arguments = '--csv', '--params', str(parameters), '--objects', '--no-report', '--no-video'
    assert main([str(tmp_path / 'film'), '-o', str(out), *arguments]) == 0
    with (out / 'objects.csv').open() as file:
        table = {row['object_id']: row for row in csv.DictReader(file)}
    frames = sets(tmp_path / 'film')

    domain = free_domain()
    with (
        start_node(domain, '--params-file', str(parameters)) as node,
        connect(domain, topics=('segments_3d',)) as peer,
    ):
        node.wait_for_log('waiting for images on /image')
        peer.wait_until_met()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        static = peer.publisher(TFMessage, '/tf_static', latched)
        assert peer.spin_until(lambda: static.get_subscription_count() > 0)
        transform = TransformStamped(child_frame_id=FRAME_ID)
        transform.header.frame_id = 'map'
        t, q = transform.transform.translation, transform.transform.rotation
        (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = at_m, turned.as_quat().tolist()
        static.publish(TFMessage(transforms=[transform]))
        assert not peer.spin_until(lambda: False, 1.0)
        for count, (image, camera_info, depth) in enumerate(frames, 1):
            peer.camera_info.publish(camera_info)
            peer.depth.publish(depth)
            peer.publish(image)
            assert peer.spin_until(lambda n=count: len(peer.received['segments_3d']) == n), node.log
        peer.subscribe_latched('/diffcut/objects')
        found = peer.received['/diffcut/objects']
        assert peer.spin_until(lambda: found and found[-1].header.stamp == image.header.stamp), node.log
    assert {one.id for one in found[-1].detections} == set(table)
    assert len(table) >= 3
    assert {row['class'] for row in table.values()} == {'red', 'unknown'}
    for one in found[-1].detections:
        row, box, at = table[one.id], one.bbox, one.results[0].pose.pose.position
        said = one.results[0].hypothesis
        assert {'0': 'unknown', '1': 'red'}[said.class_id] == row['class']
        assert said.score == pytest.approx(float(row['confidence']), abs=1e-6)
        yaw = 2 * np.arctan2(box.center.orientation.z, box.center.orientation.w)
        values = at.x, at.y, at.z, *(getattr(box.center.position, axis) for axis in 'xyz')
        values += box.size.x, box.size.y, box.size.z, yaw
        names = [f'{what}_{axis}_m' for what in ('position', 'box') for axis in 'xyz']
        names += ['box_length_m', 'box_width_m', 'box_height_m', 'box_yaw_rad']
        assert values == pytest.approx([float(row[name]) for name in names], abs=1e-6)


def test_both_give_up_a_backend_that_fails(film, broken_bundle, tmp_path, capsys):
    """The node after as many failures in a row: test_lifecycle."""
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text('/**:\n  ros__parameters: {diffusion.input_size: 64, max_consecutive_failures: 3}\n')
    out = tmp_path / 'out'
    command = [str(film), '-o', str(out), '--csv', '--backend', str(broken_bundle), '--params', str(parameters)]
    assert main(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('diffcut_analyze: 3 failures in a row (max_consecutive_failures): image not segmented: ')
    parameters.write_text('/**:\n  ros__parameters: {diffusion.input_size: 64, max_consecutive_failures: 0}\n')
    assert main([*command, '--overwrite']) == 3
    assert f'0 of {FRAMES} images segmented' in capsys.readouterr().out
