"""Clicks in the image and in space, as rqt_image_view and RViz publish them, and what they teach."""

import gc
import importlib.util
import itertools
import math
import time
import weakref
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import Point, PointStamped, TransformStamped
from rclpy.context import Context
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from diffcut_ros.classes_file import read_classes
from diffcut_ros.core import Distortion, PinholeCamera, Pipeline, Scene
from diffcut_ros.core.geometry import project
from diffcut_ros.features import create_extractor
from diffcut_ros.node.camera import Camera
from diffcut_ros.node.clicks import rounded, visible
from diffcut_ros.node.images import encode_image
from diffcut_ros.settings import NodeConfig, PointsConfig
from diffcut_ros.stream.decoder import Decoder
from support.domain import free_domain
from support.scenes import quadrants
from support.taught import teach

HEIGHT, WIDTH = SIZE_HW = (192, 256)
IMAGE, QUADRANT = quadrants(*SIZE_HW)
MIDDLES = {0: (40, 40), 1: (200, 40), 2: (40, 160), 3: (200, 160)}
INNER = np.ones(SIZE_HW, bool)
INNER[80:112] = INNER[:, 110:146] = False  # not within a cell's width of another quadrant
TOPICS = ('labels', 'segments', 'clicked', 'clicked_mask', 'class_info', 'classes')
CAMERA_INFO = CameraInfo(height=HEIGHT, width=WIDTH, k=[200.0, 0, 128, 0, 200, 96, 0, 0, 1])
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Longer than a second click may take.
OTHER_CLICK_S = 2.1


class Clicker:
    """A peer that clicks, beside a node."""

    def __init__(self, node, peer, camera=''):
        self.node, self.peer = node, peer
        prefix = f'/diffcut/{camera}/' if camera else '/diffcut/'
        self.pixel, self.space = (
            peer.publisher(Point, f'{prefix}click'),
            peer.publisher(PointStamped, f'{prefix}clicked_point'),
        )
        self.undo_service = peer.client(Trigger, '/diffcut/undo')
        assert peer.spin_until(lambda: self.pixel.get_subscription_count() and self.space.get_subscription_count())

    def click(self, x, y):
        """Click on a pixel; return the answer: detection, mask, header."""
        return self._answer(lambda: self.pixel.publish(Point(x=float(x), y=float(y))))

    def point(self, x, y, z, frame='camera_optical'):
        """Click on a point in space; return the answer."""
        return self._answer(lambda: self.space.publish(self.stamped(x, y, z, frame)))

    def stamped(self, x, y, z, frame):
        message = PointStamped(point=Point(x=float(x), y=float(y), z=float(z)))
        message.header.frame_id, message.header.stamp = frame, self.peer.now().stamp
        return message

    def _answer(self, send):
        answers, masks = self.peer.received['clicked'], self.peer.received['clicked_mask']
        count = len(answers)
        send()
        assert self.peer.spin_until(lambda: len(answers) > count and len(masks) > count), self.node.log[-2000:]
        (detection,), mask = answers[count].detections, masks[count]
        assert mask.header == answers[count].header == detection.header
        assert (mask.encoding, mask.step) == ('mono8', WIDTH)
        values = np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE_HW)
        assert set(np.unique(values)) <= {0, 255}
        return detection, values > 0, mask.header

    def refused(self, send, text):
        """Say what is logged of a click that is not answered."""
        count, start = len(self.peer.received['clicked']), len(self.node.log)
        send()
        assert self.peer.spin_until(lambda: text in self.node.log[start:], 30), self.node.log[start:]
        self.peer.spin_until(lambda: False, 0.2)
        # Others may be of a machine that has little time.
        (line,) = [one for one in self.node.log[start:].splitlines() if '/click' in one]
        assert len(self.peer.received['clicked']) == count
        return line

    def names(self):
        """Return the names of the classes as they were told last; none before the first message."""
        return [one.class_name for told in self.peer.received['class_info'][-1:] for one in told.class_map]

    def wait_for_names(self, *names):
        assert self.peer.spin_until(lambda: self.names() == ['unknown', *names]), self.names()

    def class_at(self, x, y):
        """Return the name at a pixel in the image of classes that was shown last."""
        message = self.peer.received['classes'][-1]
        info = {one.class_id: one.class_name for one in self.peer.received['class_info'][-1].class_map}
        return info[message.data[y * message.step + x]]

    def undo(self):
        return self.peer.call(self.undo_service, Trigger.Request())


@pytest.fixture(scope='module')
def clicking(start_node, connect):
    """Function that starts a node with parameters, shows it the quadrants and gives a `Clicker`; a context manager."""

    @contextmanager
    def start(*parameters, shows=True, **given):
        domain = free_domain()
        arguments = [one for name in ('rate_hz:=0.0', *parameters) for one in ('-p', name)]
        with start_node(domain, *arguments, **given) as node, connect(domain, topics=TOPICS) as peer:
            node.wait_for_log('waiting for images')
            clicker = Clicker(node, peer)
            peer._outputs = {topic: peer._outputs[topic] for topic in ('labels', 'segments')}  # that come with an image
            if shows:
                peer.segment(IMAGE)
            yield clicker

    return start


@pytest.fixture(scope='module')
def asked(clicking):
    """A node that teaches nothing."""
    with clicking() as clicker:
        yield clicker


@pytest.fixture
def alone():
    """Time passes, so that no click belongs to one before."""
    time.sleep(OTHER_CLICK_S)


def test_a_click_is_answered_with_the_segment_there(asked, alone):
    header, outputs = asked.peer.segment(IMAGE)
    labels = np.frombuffer(bytes(outputs['labels'][0].data), np.uint8).reshape(SIZE_HW)
    by_label = {one.results[0].hypothesis.class_id: one for one in outputs['segments'][0].detections}
    for x, y in MIDDLES.values():
        detection, mask, answered = asked.click(x, y)
        assert answered == header
        assert np.array_equal(mask, labels == labels[y, x])
        assert detection == by_label[str(labels[y, x])]


def test_the_sides_belong_to_the_image(asked, alone):
    """rqt_image_view rounds, so that x may be the width."""
    for x, y, quadrant in ((0, 0, 0), (WIDTH, 0, 1), (0, HEIGHT, 2), (WIDTH, HEIGHT, 3), (WIDTH - 0.5, 0.4, 1)):
        _, mask, _ = asked.click(x, y)
        assert (QUADRANT[mask & INNER] == quadrant).all()


def test_another_click_on_the_spot_goes_up(asked, alone):
    x, y = MIDDLES[0]
    found = [asked.click(x, y), asked.click(x + 3, y - 3), asked.click(x, y + 2), asked.click(x, y), asked.click(x, y)]
    for (first, one, _), (second, larger, _) in itertools.pairwise(found):
        assert not (one & ~larger).any()
        assert first.results[0].hypothesis.class_id == second.results[0].hypothesis.class_id
    assert found[0][0].id
    assert not found[1][0].id  # the union is no segment of the image
    assert found[-1][1].all()
    assert (found[-1][0].bbox.size_x, found[-1][0].bbox.size_y) == (WIDTH, HEIGHT)
    assert f'/diffcut/click: ({x}, {y}) is part of nothing larger than what is shown' in asked.node.log


def test_a_click_elsewhere_or_later_begins_anew(asked, alone):
    x, y = MIDDLES[3]
    first = asked.click(x, y)[1]
    assert asked.click(x, y)[1].sum() > first.sum()
    assert np.array_equal(asked.click(x + 20, y)[1], first)
    time.sleep(OTHER_CLICK_S)
    assert np.array_equal(asked.click(x + 20, y)[1], first)


def test_it_is_the_image_that_is_shown_last(asked, alone):
    x, y = MIDDLES[0]
    asked.peer.segment(IMAGE)
    before = asked.click(x, y)[0].bbox
    header, _ = asked.peer.segment(np.ascontiguousarray(IMAGE[::-1]))
    assert asked.click(x + 30, y)[2] == header
    assert asked.peer.set(tau=0.0).successful
    assert asked.peer.spin_until(lambda: len(asked.peer.received['segments'][-1].detections) == 1)
    _, mask, answered = asked.click(x - 30, y)
    assert answered == header
    assert mask.all()
    assert asked.peer.set(tau=0.5).successful
    asked.peer.segment(IMAGE)
    time.sleep(OTHER_CLICK_S)
    assert asked.click(x, y)[0].bbox == before


@pytest.mark.parametrize(
    ('x', 'y', 'said'),
    [
        (-1, 5, 'expected a point in the image of 256 x 192, received (-1, 5)'),
        (5, 193, 'received (5, 193)'),
        (1e300, 5, 'received (1e+300, 5)'),
        (math.nan, 5, 'received (nan, 5)'),
        (5, math.inf, 'received (5, inf)'),
    ],
)
def test_a_click_outside_the_image_is_told(asked, x, y, said):
    time.sleep(1.1)  # the same is told once a second
    line = asked.refused(lambda: asked.pixel.publish(Point(x=float(x), y=float(y))), said)
    assert '/diffcut/click: ' in line


def test_a_click_on_what_is_left_out_is_told(asked):
    assert asked.peer.set(min_segment_area=10**6).successful
    assert asked.peer.spin_until(lambda: not asked.peer.received['segments'][-1].detections)
    asked.refused(lambda: asked.pixel.publish(Point(x=5.0, y=5.0)), 'there is no segment at (5, 5)')
    assert asked.peer.set(min_segment_area=0).successful
    assert asked.peer.spin_until(lambda: asked.peer.received['segments'][-1].detections)


def test_a_click_before_the_first_image_is_told(clicking):
    with clicking(shows=False) as asked:
        asked.refused(lambda: asked.pixel.publish(Point(x=5.0, y=5.0)), 'no image has come yet on /image')
        asked.peer.segment(IMAGE)
        asked.click(*MIDDLES[0])
        # What was seen before a pause is no longer what is there.
        assert asked.peer.transition('deactivate')
        assert asked.peer.transition('activate')
        assert asked.peer.spin_until(lambda: asked.pixel.get_subscription_count())
        asked.peer.diagnostics(told=lambda _, values: values['subscribers'] == str(len(TOPICS)))
        start = len(asked.node.log)
        for _ in range(30):  # the first clicks get lost where the node does not know of who clicks yet
            asked.pixel.publish(Point(x=5.0, y=5.0))
            if asked.peer.spin_until(lambda: 'no image has come' in asked.node.log[start:], 2):
                break
        assert 'no image has come' in asked.node.log[start:]


def test_a_click_that_nobody_could_have_seen_is_told(start_node, connect):
    """While nobody subscribes, images of long ago are no longer shown."""
    domain = free_domain()
    with start_node(domain) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        clicker = Clicker(node, peer)
        line = clicker.refused(lambda: clicker.pixel.publish(Point(x=5.0, y=5.0)), 'nobody subscribes to an output')
        assert 'subscribe to /diffcut/clicked, or set lazy to false' in line


@pytest.fixture(scope='module')
def calibrated(clicking):
    """A node whose camera is calibrated."""
    with clicking() as clicker:
        peer = clicker.peer
        assert peer.spin_until(lambda: peer.camera_info.get_subscription_count() > 0)
        CAMERA_INFO.header = peer.header()
        for _ in range(3):  # the first may come before they have met
            peer.camera_info.publish(CAMERA_INFO)
            peer.spin_until(lambda: False, 0.2)
        peer.segment(IMAGE)
        yield clicker


def test_a_point_in_space_is_where_the_camera_sees_it(calibrated):
    for quadrant, (x, y) in MIDDLES.items():
        z = 2.0 + quadrant
        detection, mask, _ = calibrated.point((x - 128) / 200 * z, (y - 96) / 200 * z, z)
        assert (QUADRANT[mask & INNER] == quadrant).all()
        assert mask[y, x]
        assert detection.id
    # ROS 1 began frames with a slash.
    assert calibrated.point(-1.2, -0.8, 2, '/camera_optical')[1][10, 10]


def test_a_point_clicked_twice_goes_up(calibrated, alone):
    first, second = calibrated.point(0.5, 0.5, 2)[1], calibrated.point(0.51, 0.5, 2)[1]
    assert second.sum() > first.sum()


@pytest.mark.parametrize(
    ('point', 'frame', 'said'),
    [
        ((0, 0, -2), 'camera_optical', 'received one behind it: z is -2 m'),
        ((1, 1, 0), 'camera_optical', 'received one behind it: z is 0 m'),
        ((5, 0, 2), 'camera_optical', 'received one at (628, 96) of an image of 256 x 192'),
        ((math.nan, 0, 2), 'camera_optical', 'expected finite numbers, received [nan, 0.0, 2.0]'),
        ((0, 0, 2), '', "expected a frame, received '' for an image in 'camera_optical'"),
        ((0, 0, 2), 'mars', "the point is in frame 'mars', the image in 'camera_optical'"),
        ((0, 0, 2), 'm\nars' * 300, 'the point is in frame'),
    ],
)
def test_a_point_that_is_nowhere_in_the_image_is_told(calibrated, point, frame, said):
    time.sleep(1.1)
    line = calibrated.refused(lambda: calibrated.space.publish(calibrated.stamped(*point, frame)), said)
    assert '/diffcut/clicked_point: ' in line


def test_a_point_without_camera_info_is_told(clicking):
    with clicking() as asked:
        asked.refused(lambda: asked.space.publish(asked.stamped(0, 0, 2, 'camera_optical')), 'none has come yet')
        CAMERA_INFO.header = asked.peer.header()
        asked.peer.camera_info.publish(CameraInfo(height=HEIGHT, width=WIDTH))
        asked.refused(lambda: asked.space.publish(asked.stamped(0, 0, 2, 'camera_optical')), 'uncalibrated')


def test_with_depth_the_answer_has_a_position(start_node, connect):
    domain = free_domain()
    with (
        start_node(domain, '-p', 'depth:=true', '-p', 'rate_hz:=0.0') as node,
        connect(domain, topics=('segments', 'clicked', 'clicked_mask')) as peer,
    ):
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        clicker = Clicker(node, peer)
        peer._outputs = {'segments': peer._outputs['segments']}
        depth = Image(encoding='32FC1', height=48, width=64, step=256, data=np.full((48, 64), 2, np.float32).tobytes())
        _, outputs = peer.exchange_depth(IMAGE, depth, CAMERA_INFO)
        detection, _, _ = clicker.point(-0.8, -0.5, 2)
        assert detection in outputs['segments'][0].detections
        assert abs(detection.results[0].pose.pose.position.z - 2) < 1e-3
        larger, _, _ = clicker.point(-0.8, -0.5, 2)
        assert abs(larger.results[0].pose.pose.position.z - 2) < 1e-3


def test_each_camera_has_its_own_clicks(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'cameras:=[front, rear]', '-p', 'rate_hz:=0.0') as node:
        node.wait_for_log('waiting for images')
        with connect(domain, camera='rear', topics=('segments', 'clicked', 'clicked_mask')) as peer:
            clicker = Clicker(node, peer, 'rear')
            peer._outputs = {'segments': peer._outputs['segments']}
            header, _ = peer.segment(IMAGE)
            assert clicker.click(*MIDDLES[2])[2] == header


def kept(camera=None) -> list[bool]:
    """Return of which of four images something is left in memory after the last one."""
    pipeline, images = Pipeline(create_extractor('color')), []
    for stamp in range(1, 5):
        image = IMAGE.copy()
        images.append(weakref.ref(image))
        scene = Scene(image, stamp, header=Header())
        pipeline.process(scene, deliver=camera.publish if camera else lambda _: None)
    assert camera is None or camera.shown.scene is scene
    del image, scene
    gc.collect()
    return [one() is not None for one in images]


def test_no_image_is_kept_for_clicks_but_the_one_that_is_kept_anyway():
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = LifecycleNode('kept', context=context)
    camera = Camera(node, '', NodeConfig(), PointsConfig(), Decoder(10**6), None, print, print)
    try:
        assert kept(camera) == kept()
    finally:
        camera.destroy()
        node.destroy_node()
        rclpy.shutdown(context=context)


# Where points are.


def test_clicks_are_rounded_into_the_image():
    assert rounded(0, 0, (2, 3)) == (0, 0)
    assert rounded(3, 2, (2, 3)) == (2, 1)
    assert rounded(2.9, 0.2, (2, 3)) == (2, 0)
    for x, y in ((-0.1, 0), (3.1, 0), (0, 2.1), (math.nan, 0), (0, -math.inf)):
        with pytest.raises(ValueError, match='expected a point in the image of 3 x 2'):
            rounded(x, y, (2, 3))


@pytest.mark.parametrize(
    'distortion',
    [
        None,
        Distortion('plumb_bob', (-0.3, 0.1, 0.001, -0.001, 0.0)),
        Distortion('equidistant', (0.01, -0.002, 0.0, 0.0)),
    ],
)
def test_points_in_view_are_where_the_lens_bends_them(distortion):
    camera = PinholeCamera(300.0, 310.0, 320.0, 240.0, (480, 640), distortion)
    for x, y in itertools.product(np.linspace(-0.7, 0.7, 5), np.linspace(-0.5, 0.5, 5)):
        point_m = 3.0 * np.array([x, y, 1])
        assert np.allclose(visible(point_m, camera), project(point_m, camera))


def test_what_a_lens_would_fold_into_the_image_is_out_of_view():
    camera = PinholeCamera(300.0, 300.0, 320.0, 240.0, (480, 640), Distortion('plumb_bob', (-0.3, 0.0)))
    point_m = np.array([1.8, 0.0, 1.0])
    assert 0 < project(point_m, camera)[0] < 640
    with pytest.raises(ValueError, match='beyond what the lens sees'):
        visible(point_m, camera)


def test_what_is_too_far_aside_to_compute_is_out_of_view():
    point_m = np.array([1e300, 1e300, 1e-300])
    lens = 300.0, 300.0, 320.0, 240.0, (480, 640)
    assert visible(point_m, PinholeCamera(*lens)) == (math.inf, math.inf)
    with pytest.raises(ValueError, match='beyond what the lens sees'):
        visible(point_m, PinholeCamera(*lens, Distortion('plumb_bob', (-0.3, 0.0))))


def test_a_point_of_another_frame_is_transformed_at_the_stamp_of_the_image(clicking):
    """The camera has moved since: what counts is where it was."""
    with clicking('lazy:=false') as asked:
        peer = asked.peer
        tf = peer.publisher(TFMessage, '/tf', 100)
        assert peer.spin_until(lambda: tf.get_subscription_count() > 0)
        CAMERA_INFO.header = header = peer.now()
        peer.camera_info.publish(CAMERA_INFO)
        for seconds, x in ((-1, 5.0), (1, 15.0), (2, 30.0)):
            moved = TransformStamped(child_frame_id='camera_optical')
            moved.header.frame_id, moved.header.stamp.sec = 'map', header.stamp.sec + seconds
            moved.header.stamp.nanosec = header.stamp.nanosec
            moved.transform.translation.x, moved.transform.rotation.w = x, 1.0
            tf.publish(TFMessage(transforms=[moved]))
        peer.exchange(encode_image(IMAGE, 'rgb8', header))
        assert asked.point(10 - 0.8, -0.5, 2, 'map')[1][MIDDLES[0][::-1]]


def test_a_frame_that_nothing_connects_is_named(calibrated):
    tf = calibrated.peer.publisher(TFMessage, '/tf_static', LATCHED)
    bent, other = TransformStamped(child_frame_id='bent'), TransformStamped(child_frame_id='base')
    bent.header.frame_id = other.header.frame_id = 'odom'
    bent.transform.rotation.w, other.transform.rotation.w = math.nan, 1.0
    tf.publish(TFMessage(transforms=[bent, other]))
    send = partial(calibrated.space.publish, calibrated.stamped(0, 0, 1, 'base'))
    line = calibrated.refused(send, "the point is in frame 'base', the image in 'camera_optical'")
    if importlib.util.find_spec('tf2_ros') is None:  # which has words of its own
        assert "there is no frame 'camera_optical'; there are 'base', 'odom'" in line
        assert "tf: 'bent' in 'odom': expected finite numbers (1 times)" in calibrated.node.log


# Teaching.


def test_clicks_teach_names_that_the_next_image_has(clicking, tmp_path):
    path = tmp_path / 'taught.yaml'
    with clicking('teach:=floor', f'classes_file:={path}') as asked:
        assert asked.names() == ['unknown']
        assert not path.exists()
        asked.click(*MIDDLES[0])
        asked.wait_for_names('floor')
        assert asked.peer.spin_until(lambda: path.exists())
        # The image that is shown has the name at once.
        assert asked.peer.spin_until(lambda: asked.class_at(*MIDDLES[0]) == 'floor')
        assert asked.peer.set(teach='person').successful
        asked.click(*MIDDLES[1])
        asked.wait_for_names('floor', 'person')
        assert asked.peer.set(teach='').successful
        asked.click(*MIDDLES[2])
        header, _ = asked.peer.segment(IMAGE)
        assert asked.peer.spin_until(lambda: asked.peer.received['classes'][-1].header == header)
        assert [asked.class_at(*MIDDLES[k]) for k in range(4)] == ['floor', 'person', 'unknown', 'unknown']
    classes = read_classes(path).classes
    assert [classes.name(key) for key in classes.class_id.tolist()] == ['floor', 'person']
    first = classes.sources[0]
    assert (first.recording, first.topic, first.point_xy, first.size_wh) == ('', '/image', MIDDLES[0], (WIDTH, HEIGHT))
    assert first.stamp_ns % 10**9 == 123456789
    assert first.box_xyxy[0] <= MIDDLES[0][0] < first.box_xyxy[2]
    # Another node has them from its first image on.
    with clicking(f'classes_file:={path}') as asked:
        assert asked.peer.spin_until(lambda: asked.peer.received['classes'])
        assert [asked.class_at(*MIDDLES[k]) for k in range(3)] == ['floor', 'person', 'unknown']


def test_an_example_is_replaced_by_what_it_is_part_of_and_taken_back(clicking, tmp_path):
    path = tmp_path / 'taught.yaml'
    teach(path, [IMAGE], {'grass': MIDDLES[2]})
    read = path.read_bytes()
    with clicking(f'classes_file:={path}', 'teach:=wheel') as asked:
        asked.wait_for_names('grass')
        asked.click(*MIDDLES[0])
        asked.wait_for_names('grass', 'wheel')
        _, larger, _ = asked.click(*MIDDLES[0])

        def examples():
            classes = read_classes(path).classes
            return [
                (classes.name(key), s.box_xyxy)
                for key, s in zip(classes.class_id.tolist(), classes.sources, strict=True)
            ]

        rows, columns = np.flatnonzero(larger.any(1)), np.flatnonzero(larger.any(0))
        box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert asked.peer.spin_until(lambda: examples()[1:] == [('wheel', box)])
        time.sleep(OTHER_CLICK_S)
        asked.click(*MIDDLES[0])
        assert asked.peer.spin_until(lambda: len(examples()) == 3)
        assert asked.undo().success
        assert len(examples()) == 2
        answer = asked.undo()
        assert answer.success
        assert "'wheel', at (40, 40) on /image" in answer.message
        asked.wait_for_names('grass')
        assert path.read_bytes() == read
        answer = asked.undo()
        assert not answer.success
        assert 'no example to take back' in answer.message
        assert path.read_bytes() == read


def test_a_click_after_undo_for_another_name_or_in_an_image_of_another_size_begins_anew(clicking):
    with clicking('teach:=wheel') as asked:
        first = asked.click(*MIDDLES[0])[1]
        asked.wait_for_names('wheel')
        assert asked.undo().success
        assert np.array_equal(asked.click(*MIDDLES[0])[1], first)
        asked.wait_for_names('wheel')
        assert asked.peer.set(teach='person').successful
        assert np.array_equal(asked.click(*MIDDLES[0])[1], first)
        asked.wait_for_names('wheel', 'person')
        answers = asked.peer.received['clicked']
        count, _ = len(answers), asked.peer.segment(np.ascontiguousarray(IMAGE[:-8]))
        asked.pixel.publish(Point(x=float(MIDDLES[0][0]), y=float(MIDDLES[0][1])))
        assert asked.peer.spin_until(lambda: len(answers) > count)
        assert answers[-1].detections[0].id  # of the segment itself, not of what is above
        assert asked.peer.spin_until(lambda: "2 examples of 'person' now" in asked.node.log)
        assert 'the last one is replaced' not in asked.node.log


def test_a_file_that_is_not_there_is_an_error_unless_something_is_taught(start_node, clicking, tmp_path):
    path = tmp_path / 'typo.yaml'
    with start_node(free_domain(), '-p', f'classes_file:={path}') as node:
        assert node.wait() == 2
        assert f'{path}: expected a file of classes, cannot read it: there is none' in node.log
    with clicking() as asked:
        answer = asked.peer.set(classes_file=str(path))
        assert not answer.successful
        assert 'there is none; correct classes_file, or set teach' in answer.reason
        assert asked.peer.set(teach='floor').successful
        assert not asked.peer.set(classes_file=str(tmp_path / 'none' / 'typo.yaml')).successful
        assert asked.peer.set(classes_file=str(path)).successful
        assert not path.exists()
        asked.click(*MIDDLES[0])
        assert asked.peer.spin_until(path.exists)


def test_examples_without_a_file_are_written_into_a_new_one_alone(clicking, tmp_path):
    new, other = tmp_path / 'new.yaml', tmp_path / 'other.yaml'
    teach(other, [IMAGE], {'grass': MIDDLES[2]})
    with clicking('teach:=floor') as asked:
        assert asked.peer.set(teach='wall').successful
        assert asked.peer.set(teach='floor').successful
        told = "teach without classes_file: examples of 'floor', and of names after it, are lost when the node ends"
        assert asked.node.log.count(told) == asked.node.log.count('teach without') == 1  # not with each name
        asked.click(*MIDDLES[0])
        asked.wait_for_names('floor')
        answer = asked.peer.set(classes_file=str(other))
        assert not answer.successful
        assert '1 example in no file yet' in answer.reason
        assert asked.names() == ['unknown', 'floor']
        assert asked.peer.set(teach='').successful
        assert asked.peer.set(classes_file=str(new)).successful
        assert len(read_classes(new).classes) == 1
        assert asked.peer.set(classes_file=str(other)).successful
        asked.wait_for_names('grass')


def test_a_file_that_cannot_be_written_costs_no_example(clicking, tmp_path):
    folder, away = tmp_path / 'folder', tmp_path / 'away'
    folder.mkdir()
    path = folder / 'taught.yaml'
    with clicking('teach:=floor', f'classes_file:={path}') as asked:
        folder.rename(away)  # as a disk that is taken out
        asked.click(*MIDDLES[0])
        asked.node.wait_for_log('kept in memory')
        asked.wait_for_names('floor')
        answer = asked.peer.set(classes_file='')
        assert not answer.successful
        assert 'in no file yet' in answer.reason
        away.rename(folder)
        assert asked.peer.set(teach='person').successful
        asked.click(*MIDDLES[1])
        assert asked.peer.spin_until(path.exists)
        assert len(read_classes(path).classes) == 2
        (line,) = [one for one in asked.node.log.splitlines() if 'ERROR' in one]
        assert str(folder) in line
        assert 'cannot be written' in line


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('a\nb', 'no line breaks'),
        ('x' * 10_000, 'received 10000 characters'),
        ('unknown', "expected another than 'unknown'"),
        (' floor', 'no blanks at its ends'),
    ],
)
def test_names_that_cannot_be(asked, start_node, name, said):
    answer = asked.peer.set(teach=name)
    assert not answer.successful
    assert said in answer.reason
    assert answer.reason.startswith('teach: ')
    assert len(answer.reason) < 300
    assert asked.peer.get('teach') == ''


def test_the_255th_class_is_refused(clicking, tmp_path):
    from dataclasses import replace

    from diffcut_ros.classes_file import write_classes

    path = tmp_path / 'many.yaml'
    teach(path, [IMAGE], {'grass': MIDDLES[2]})
    content = read_classes(path)
    classes = content.classes
    for k in range(253):
        classes = classes.with_class(f'class {k}')
    write_classes(path, replace(content, classes=classes))
    with clicking(f'classes_file:={path}') as asked:
        answer = asked.peer.set(teach='one more')
        assert not answer.successful
        assert "expected at most 254, received one more, 'one more'" in answer.reason
        assert asked.peer.set(teach='class 7').successful


def test_clicks_while_images_come_hold_up_nothing(clicking):
    """Each is answered, with an image that was shown, and images go on."""
    with clicking() as asked:
        peer, x, y = asked.peer, *MIDDLES[0]
        count, headers = len(peer.received['clicked']), []
        for k in range(15):
            headers.append(peer.header())
            peer.send(encode_image(IMAGE, 'rgb8', headers[-1]))
            asked.pixel.publish(Point(x=float(x + 12 * (k % 2)), y=float(y)))
            peer.spin_until(lambda: False, 0.05)
        assert peer.spin_until(lambda: len(peer.received['clicked']) == count + 15)
        assert peer.spin_until(lambda: peer.received['labels'][-1].header == headers[-1])
        shown = [message.header for message in peer.received['labels']]
        assert all(answer.header in shown for answer in peer.received['clicked'])
