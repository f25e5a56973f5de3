"""Receivers that do with this node's outputs what Nav2, Hydra, nvblox and Foxglove do, and fail where they would fail.

Each follows the code of the consumer: which bytes it reads, which sizes it compares, what it does without checking.
"""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo

from diffcut_ros.classes_file import read_classes
from diffcut_ros.core.colors import number_colors
from diffcut_ros.node.images import encode_image
from support.checkout import ROOT
from support.domain import free_domain
from support.packages import message_package
from support.scenes import quadrants
from support.taught import teach

SIZE_HW = (192, 256)
POINTS = {'floor': (40, 40), 'person': (200, 40), 'grass': (40, 160)}  # the fourth quadrant has no name
TOPICS = ('class_info', 'classes', 'confidence', 'instances', 'classes_color', 'mask', 'mask/camera_info', 'labels')


@pytest.fixture(scope='module')
def scene():
    """An image and what each of its pixels is: nothing, or 'border' within a cell's width of another quadrant."""
    image, quadrant = quadrants(*SIZE_HW)
    name = np.array(['floor', 'person', 'grass', ''], object)[quadrant]
    name[88:104] = name[:, 120:136] = 'border'
    return image, name


@pytest.fixture(scope='module')
def taught(tmp_path_factory, scene):
    path = tmp_path_factory.mktemp('classes') / 'scene.yaml'
    teach(path, [scene[0]], POINTS)
    return path


@pytest.fixture(scope='module')
def node(start_node, connect, taught):
    domain = free_domain()
    parameters = ('rate_hz:=0.0', f'classes_file:={taught}', 'mask_classes:=[person]', 'labels:=track')
    given = [argument for parameter in parameters for argument in ('-p', parameter)]
    with start_node(domain, *given) as process, connect(domain, topics=TOPICS) as peer:
        process.wait_for_log('waiting for images on /image')
        yield process, peer


@pytest.fixture(scope='module')
def received(node, scene):
    """The outputs of the scene, each once, by topic; camera_info comes first, as a driver sends it."""
    _, peer = node
    camera_info = CameraInfo(
        header=peer.header(), height=SIZE_HW[0], width=SIZE_HW[1], k=[100.0, 0, 64, 0, 100, 48, 0, 0, 1]
    )
    assert peer.spin_until(lambda: peer.camera_info.get_subscription_count() > 0)

    def publish(header):
        camera_info.header = header
        peer.camera_info.publish(camera_info)
        peer.publish(encode_image(scene[0], 'rgb8', header))

    peer._outputs.pop('class_info', None)  # it is told before the image, not with it
    _, outputs = peer._exchange(publish, peer.header())
    return {topic: messages[0] for topic, messages in outputs.items()} | {'class_info': peer.received['class_info'][0]}


def nav2_layer(
    classes: Image, confidence: Image, cloud_points: int, costs: dict[str, int], info: LabelInfo
) -> np.ndarray:
    """What semantic_segmentation_layer makes of one synced pair: the cost of each pixel, -1 where it has none."""
    assert info is not None, 'no LabelInfo before the first pair: a null pointer is used'
    pixels = classes.width * classes.height
    assert pixels == cloud_points
    assert len(classes.data) >= pixels
    by_name = {one.class_name: one.class_id & 0xFF for one in info.class_map}
    cost_of = {by_name[name]: cost for name, cost in costs.items() if name in by_name}
    # Pixel i is byte i, in both images, whatever encoding and step say.
    ids = np.frombuffer(bytes(classes.data), np.uint8)[:pixels]
    sure = np.frombuffer(bytes(confidence.data), np.uint8)
    assert len(sure) >= pixels, 'read out of bounds'
    assert (sure[ids == 0] == 0).all(), 'with confidence selection, an unlabelled pixel would block its cell'
    return np.array([cost_of.get(key, -1) for key in range(256)])[ids].reshape(classes.height, classes.width)


def hydra_instances(message: Image) -> tuple[np.ndarray, np.ndarray]:
    """What InstanceImageReceiver makes of an image: class and instance of each pixel."""
    assert message.encoding == '32SC1'
    values = np.frombuffer(bytes(message.data), '<i4').reshape(message.height, message.width)
    return values & 0xFFFF, (values >> 16).astype(np.int16)


def test_nav2_reads_a_cost_for_each_pixel(received, scene):
    image, name = scene
    costs = nav2_layer(
        received['classes'],
        received['confidence'],
        image[..., 0].size,
        {'floor': 0, 'grass': 254},
        received['class_info'],
    )
    assert (costs[name == 'floor'] == 0).all()
    assert (costs[name == 'grass'] == 254).all()
    assert (costs[name == 'person'] == -1).all()
    assert (costs[name == ''] == -1).all()


def test_the_names_are_there_before_any_image(start_node, connect, taught):
    domain = free_domain()
    with start_node(domain, '-p', f'classes_file:={taught}') as process:
        process.wait_for_log('waiting for images')
        with connect(domain, topics=('class_info',)) as late:
            assert late.spin_until(lambda: late.received['class_info'])
            info = late.received['class_info'][0]
    assert {one.class_id: one.class_name for one in info.class_map} == {
        0: 'unknown',
        1: 'floor',
        2: 'person',
        3: 'grass',
    }


def test_class_images_are_bytes_without_padding(received):
    for topic in ('classes', 'confidence', 'mask'):
        message = received[topic]
        assert (message.encoding, message.step, len(message.data)) == ('mono8', SIZE_HW[1], SIZE_HW[0] * SIZE_HW[1])


def test_hydra_reads_classes_and_instances(received, scene):
    _, name = scene
    classes, instances = hydra_instances(received['instances'])
    assert np.unique(classes[name == 'person']).tolist() == [2]
    assert (classes[name == ''] == 0).all()
    tracks = np.frombuffer(bytes(received['labels'].data), '<u2').reshape(SIZE_HW)
    assert np.array_equal(instances, tracks)
    assert [len(np.unique(instances[name == one])) for one in ('floor', 'person', 'grass', '')] == [1, 1, 1, 1]


def test_nvblox_gets_a_mask_with_its_camera(received, scene):
    _, name = scene
    mask, camera_info = received['mask'], received['mask/camera_info']
    assert mask.encoding == 'mono8'
    assert mask.header.stamp == camera_info.header.stamp == received['labels'].header.stamp
    assert (camera_info.width, camera_info.height) == (mask.width, mask.height)
    values = np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE_HW)
    clear = name != 'border'
    assert np.array_equal(values[clear], np.where(name == 'person', 255, 0)[clear])


def test_colors_are_those_of_the_file(received, scene, taught):
    classes = read_classes(taught).classes
    pixels = np.frombuffer(bytes(received['classes_color'].data), np.uint8).reshape(*SIZE_HW, 3)
    for name, (x, y) in POINTS.items():
        assert tuple(pixels[y, x]) == classes.classes[classes.id_of(name)].color
    assert not pixels[160, 200].any()


def test_a_mask_comes_with_every_image(node, scene):
    _, peer = node
    before = len(peer.received['mask'])
    blank = np.full((*SIZE_HW, 3), 90, np.uint8)
    for _ in range(3):
        peer.publish(encode_image(blank, 'rgb8', peer.header()))
        count = len(peer.received['mask'])
        assert peer.spin_until(lambda count=count: len(peer.received['mask']) > count)
    assert len(peer.received['mask']) >= before + 3
    assert not any(peer.received['mask'][-1].data)


def test_images_go_on_while_receivers_of_the_mask_come_and_go(start_node, connect, scene):
    domain, image = free_domain(), encode_image(scene[0], 'rgb8', Header())
    with (
        start_node(domain, '-p', 'rate_hz:=0.0') as process,
        connect(domain, topics=('labels',)) as peer,
        connect(domain, 'nvblox', topics=()) as nvblox,
    ):
        process.wait_for_log('waiting for images')
        peer.exchange(image)
        (before,) = {str(info.endpoint_gid) for info in peer.subscription_infos('/image')}
        for come in (True, False):
            nvblox.subscribe('mask/camera_info') if come else nvblox.unsubscribe()
            assert peer.spin_until(lambda come=come: (peer.camera_info.get_subscription_count() > 0) == come)
            assert {str(info.endpoint_gid) for info in peer.subscription_infos('/image')} == {before}
        peer.exchange(image)


def test_a_mask_whose_camera_has_another_size_is_told(node, scene):
    process, peer = node
    camera_info = CameraInfo(header=peer.header(), height=96, width=128, k=[50.0, 0, 32, 0, 50, 24, 0, 0, 1])
    assert 'mask/camera_info: ' not in process.log
    peer.camera_info.publish(camera_info)
    assert peer.spin_until(lambda: 'calibration has changed' in process.log)
    peer.publish(encode_image(scene[0], 'rgb8', peer.header()))
    process.wait_for_log('mask/camera_info: camera_info of 128 x 96 for an image of 256 x 192')


def test_an_organised_cloud_has_the_pixels_of_the_image(start_node, connect, taught, scene):
    """Also where depth has another size: Nav2's layer wants as many points as pixels."""
    image, _ = scene
    domain = free_domain()
    arguments = ('depth:=true', 'points.organized:=true', f'classes_file:={taught}', 'rate_hz:=0.0')
    with (
        start_node(domain, *(one for name in arguments for one in ('-p', name))) as process,
        connect(domain, topics=('classes', 'confidence', 'points')) as peer,
    ):
        process.wait_for_log('waiting for images')
        peer.wait_until_met()
        depth = Image(encoding='32FC1', height=48, width=64, step=256, data=np.full((48, 64), 2, np.float32).tobytes())
        camera_info = CameraInfo(height=192, width=256, k=[200.0, 0, 128, 0, 200, 96, 0, 0, 1])
        header, outputs = peer.exchange_depth(image, depth, camera_info)
        (cloud,), (classes,), (confidence,) = (outputs[name] for name in ('points', 'classes', 'confidence'))
        assert isinstance(cloud, PointCloud2)
        assert (cloud.height, cloud.width) == SIZE_HW
        assert cloud.header == classes.header == confidence.header == header
        points = np.frombuffer(bytes(cloud.data), '<f4').reshape(*SIZE_HW, -1)
        y, x = np.mgrid[:192, :256]
        assert np.allclose(points[..., 2], 2)
        assert np.abs(points[..., 0] - (x - 128) / 200 * 2).max() < 0.03
        assert np.abs(points[..., 1] - (y - 96) / 200 * 2).max() < 0.03


# What is there only where its package is.

needs_foxglove = pytest.mark.skipif(find_spec('foxglove_msgs') is None, reason='needs foxglove_msgs')
needs_hydra = pytest.mark.skipif(
    find_spec('semantic_inference_msgs') is None, reason='needs semantic_inference_msgs, for Hydra'
)
BLOCKED = (
    'import sys; sys.modules.update(dict.fromkeys(("foxglove_msgs", "semantic_inference_msgs")));'
    'from diffcut_ros.node.diffcut_node import main; sys.exit(main())'
)


@contextmanager
def listener(domain: int, log: Path, package: str, kind: str, topic: str):
    """Run a subscriber in its own process; yields a function that gives the messages so far."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    command = [sys.executable, str(ROOT / 'test/support/topic_listener.py'), package, kind, topic]
    with log.open('w') as file:
        process = subprocess.Popen(command, stdout=file, env=environment)
    try:
        yield lambda: [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith('\n')]
    finally:
        process.kill()
        process.wait()


def foxglove_panel(stamp: dict, messages: list[dict]) -> list[dict]:
    """What the Image panel draws over an image with "sync annotations": exactly those annotations that have its stamp.

    Its open fork goes by each annotation's own timestamp; upstream that of the message, where there is one, goes first.
    """
    found = []
    for message in messages:
        for one in (*message['circles'], *message['points'], *message['texts']):
            both = {'of its own': one['timestamp'], 'of the message': message.get('timestamp', one['timestamp'])}
            assert both['of its own'] == both['of the message'], 'the fork and upstream would draw different things'
            if one['timestamp'] == stamp:
                found.append(one)
    return found


def drawn(points: dict) -> np.ndarray:
    """The inside of a closed line, bool [H, W]; a coordinate of 0 is the left or upper side of the first pixel."""
    assert points['type'] == 2  # LINE_LOOP
    assert 3 <= len(points['points']) <= 64
    xy = np.array([[point['x'], point['y']] for point in points['points']])
    filled = np.zeros(SIZE_HW, np.uint8)
    # OpenCV's are the middles of pixels, here in 1/16 of one.
    cv2.fillPoly(filled, [np.rint(16 * (xy - 0.5)).astype(np.int32)], 1, shift=4)
    return filled.astype(bool)


@pytest.fixture(scope='module', params=['3.4.3', '3.2.4'])
def foxglove_msgs(request, tmp_path_factory):
    """Version of foxglove_msgs, and the environment that has it: that of the tests, or one with the older format."""
    if request.param == '3.4.3':
        return request.param, {}
    folder = tmp_path_factory.mktemp('foxglove')
    text = (ROOT / 'env/foxglove_msgs.txt').read_text().replace(' | foxglove_msgs/KeyValuePair[] metadata', '')
    before, after = text.split('ImageAnnotations:  builtin_interfaces/Time timestamp | ')
    lists = folder / 'foxglove_msgs.txt'
    lists.write_text(f'{before}ImageAnnotations: {after}')
    return request.param, message_package(lists, request.param, folder / 'package')


@needs_foxglove
def test_foxglove_draws_outlines_and_names_on_their_image(
    start_node, connect, taught, scene, foxglove_msgs, monkeypatch, tmp_path
):
    version, environment = foxglove_msgs
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    image, name = scene
    domain, topic = free_domain(), '/diffcut/annotations'
    with (
        start_node(domain, '-p', f'classes_file:={taught}', '-p', 'rate_hz:=0.0') as process,
        connect(domain, topics=('labels', 'segments')) as peer,
        listener(domain, tmp_path / 'heard.txt', 'foxglove_msgs', 'ImageAnnotations', topic) as heard,
    ):
        process.wait_for_log('waiting for images')
        assert peer.spin_until(lambda: '/listener' in peer.subscribers(topic))
        for _ in range(20):  # the first ones may come before all have met
            header, outputs = peer.segment(image)
            stamp = {'sec': header.stamp.sec, 'nanosec': header.stamp.nanosec}
            if peer.spin_until(lambda stamp=stamp: foxglove_panel(stamp, heard()), 2.0):
                break
        (info,) = peer.publisher_infos(topic)
        messages = heard()
        assert 'Traceback' not in process.log
    old, new = (
        '47c6c0891ba263ec1b20d9b785c4261d4bc41051cbcc01668130e36aa2dcaee3',
        'bc4e578b1ef80953415d6f966a4cab305c8a44c8b64fc405312b6f06a08fc45e',
    )
    assert str(info.topic_type_hash) == f'RIHS01_{old if version == "3.2.4" else new}'
    assert ('timestamp' in messages[-1]) == ('metadata' in messages[-1]) == (version != '3.2.4')

    found = foxglove_panel(stamp, messages)
    texts, lines = ([one for one in found if key in one] for key in ('text', 'points'))
    assert len(found) == len(texts) + len(lines)
    (labels,), (segments,) = outputs['labels'], outputs['segments']
    labels = np.frombuffer(bytes(labels.data), np.uint8).reshape(SIZE_HW)
    known = {one.name: one.color for one in read_classes(taught).classes.classes.values()}
    for one in ('floor', 'person', 'grass', ''):
        (label,) = np.unique(labels[name == one])
        detection = segments.detections[label - 1]
        (line,) = [line for line in lines if drawn(line)[name == one].any()]
        segment = labels == label
        assert (drawn(line) & segment).sum() / (drawn(line) | segment).sum() > 0.95
        (text,) = [text for text in texts if labels[int(text['position']['y']), int(text['position']['x'])] == label]
        assert text['text'] == (one or detection.id)
        assert text['font_size'] > 5
        assert line['thickness'] >= 1
        color = [line['outline_color'][channel] for channel in 'rgb']
        expected = known[one] if one else number_colors(np.array(int(detection.id))).tolist()
        assert np.allclose(color, np.array(expected) / 255)
        assert line['outline_color']['a'] == 1
        assert line['fill_color']['a'] == 0
    assert not foxglove_panel({'sec': stamp['sec'], 'nanosec': stamp['nanosec'] + 1}, messages)


def hydra_open_set(message) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """What OpenSetImageReceiver makes of a FeatureImage: the instance of each pixel, and a feature by id."""
    assert len(message.mask_ids) == len(message.features), 'CHECK: Hydra aborts'
    kind = {'mono8': '<u1', '8UC1': '<u1', 'mono16': '<u2', '16UC1': '<u2', '32SC1': '<i4'}[message.image.encoding]
    values = np.frombuffer(bytes(message.image.data), kind).reshape(message.image.height, message.image.width)
    return values, {key: np.array(one.data) for key, one in zip(message.mask_ids, message.features, strict=True)}


@needs_hydra
def test_hydra_finds_the_feature_of_each_pixel(start_node, connect, scene):
    from semantic_inference_msgs.msg import FeatureImage

    image, name = scene
    domain, topic = free_domain(), '/diffcut/feature_image'
    with (
        start_node(domain, '-p', 'rate_hz:=0.0') as process,
        connect(domain, topics=('labels', 'segments', 'features')) as peer,
    ):
        process.wait_for_log('waiting for images')
        peer.subscribe_to(topic, FeatureImage)

        def of(header) -> list:
            return [one for one in peer.received[topic] if one.header == header]

        def exchange() -> tuple:
            for _ in range(20):
                header, outputs = peer.segment(image)
                if peer.spin_until(lambda header=header: of(header), 2.0):
                    return of(header)[-1], *(outputs[key][-1] for key in ('labels', 'segments', 'features'))
            raise AssertionError(f'no {topic}')

        for labels_by in ('frame', 'track'):
            assert peer.set(labels=labels_by).successful
            message, labels, segments, features = exchange()
            values, feature = hydra_open_set(message)
            assert message.image.header == message.header
            assert message.image.encoding == 'mono16'
            kind = {'mono8': '<u1', 'mono16': '<u2'}[labels.encoding]
            assert np.array_equal(values, np.frombuffer(bytes(labels.data), kind).reshape(SIZE_HW))
            assert set(np.unique(values)) - {0} == set(feature)
            rows = np.frombuffer(bytes(features.data), '<f4').reshape(features.height, features.width)
            ids = [int(detection.results[0].hypothesis.class_id) for detection in segments.detections]
            assert ids == list(feature)
            for key, row in zip(ids, rows, strict=True):
                assert np.array_equal(feature[key], row)
            assert len({values[name == one][0] for one in ('floor', 'person', 'grass', '')}) == 4


def test_without_the_packages_the_node_runs_and_tells_who_looks_for_their_topics(start_node, connect, scene, tmp_path):
    domain = free_domain()
    topics = '/diffcut/annotations', '/diffcut/feature_image'
    with (
        start_node(domain, '-p', 'rate_hz:=0.0', program=('-c', BLOCKED)) as process,
        connect(domain) as peer,
    ):
        process.wait_for_log('waiting for images')
        peer.segment(scene[0])
        assert not any(peer.publisher_infos(topic) for topic in topics)
        assert 'not advertised' not in process.log
        peer.subscribe_to(topics[0], Image)  # of any type: the node has none
        process.wait_for_log(f'{topics[0]}: not advertised, since the package foxglove_msgs is not installed')
        peer.segment(scene[0])
        assert topics[1] not in process.log
        assert 'Traceback' not in process.log
