"""The node and `diffcut_analyze` on the same frames with the same parameter file: every message is the same."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

from diffcut_ros.analysis.main import main
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from support.domain import free_domain
from support.recordings import DEPTH, IMAGE, INFO, Recorder, moving_scene
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


def test_both_give_up_a_backend_that_fails(film, broken_bundle, tmp_path, capsys):
    """The node after as many failures in a row: test_lifecycle."""
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text('/**:\n  ros__parameters: {diffusion.input_size: 64, max_consecutive_failures: 3}\n')
    out = tmp_path / 'out'
    command = [str(film), '-o', str(out), '--csv', '--backend', str(broken_bundle), '--params', str(parameters)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith('diffcut_analyze: 3 failures in a row (max_consecutive_failures): image not segmented: ')
    parameters.write_text('/**:\n  ros__parameters: {diffusion.input_size: 64, max_consecutive_failures: 0}\n')
    assert main([*command, '--overwrite']) == 3
    assert f'0 of {FRAMES} images segmented' in capsys.readouterr().out
