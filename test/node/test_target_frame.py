"""Places in another frame than the camera's, through the running node."""

import math
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation, Slerp
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.peer import OUTPUTS
from support.space import DISTANCE_M, IMAGE, QUADRANT, RELIABLE, camera_info, depth_of, points_of, position

TOPICS = (*OUTPUTS, 'segments_3d', 'points', 'markers')
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TIMEOUT_S = 3.0
# Of a node whose images have places in map.
IN_MAP = ['-p', 'depth:=true', '-p', 'rate_hz:=0.0', '-p', 'target_frame:=map']
for _topic in ('camera_info', 'depth', 'image'):
    IN_MAP += ['-p', RELIABLE.format(_topic)]
# Where the camera is in map, 0.4 s before an image and 0.4 s after it.
BEFORE = Rotation.from_euler('xyz', [-100, 10, 30], degrees=True), np.array([1.0, -2.0, 0.5])
AFTER = Rotation.from_euler('xyz', [-80, 20, 70], degrees=True), np.array([3.0, 0.0, 1.5])
MIDDLE = Slerp([0, 2], Rotation.concatenate([BEFORE[0], AFTER[0]]))(1), np.array([2.0, -1.0, 1.0])


def stamp_ns_of(header: Header) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


class Placed:
    """A node with a target frame, and a peer that plays its camera and what tells where that is."""

    def __init__(self, node, peer) -> None:
        self.node, self.peer = node, peer
        self.tf, self.static = peer.publisher(TFMessage, '/tf', 100), peer.publisher(TFMessage, '/tf_static', LATCHED)
        for publisher in (self.tf, self.static):
            assert peer.spin_until(lambda publisher=publisher: publisher.get_subscription_count() > 0)

    def header(self, frame: str = 'camera_optical') -> Header:
        header = self.peer.header()
        header.frame_id = frame
        return header

    def send(self, header: Header, depth_m: np.ndarray = DISTANCE_M[QUADRANT]) -> None:
        info, depth = camera_info(), depth_of(depth_m, '32FC1')
        info.header = depth.header = header
        self.peer.camera_info.publish(info)
        self.peer.depth.publish(depth)
        self.peer.publish(encode_image(IMAGE, 'rgb8', header))

    def receive(self, header: Header) -> dict:
        assert self.peer.spin_until(lambda: all(self.peer.outputs(header).values())), self.node.log
        return {topic: messages[-1] for topic, messages in self.peer.outputs(header).items()}

    def exchange(self, header: Header, **options) -> dict:
        self.send(header, **options)
        return self.receive(header)

    def move(self, header: Header, rotation, translation_m, seconds=0, parent='map', publisher=None) -> None:
        """Say where the frame of a header is, so many seconds after its stamp."""
        moved = TransformStamped(child_frame_id=header.frame_id)
        moved.header.frame_id, stamp = parent, moved.header.stamp
        stamp.sec, stamp.nanosec = divmod(stamp_ns_of(header) + round(1e9 * seconds), 10**9)
        t, q = moved.transform.translation, moved.transform.rotation
        t.x, t.y, t.z = map(float, translation_m)
        q.x, q.y, q.z, q.w = map(float, rotation if isinstance(rotation, (list, tuple)) else rotation.as_quat())
        (publisher or self.tf).publish(TFMessage(transforms=[moved]))

    def move_through(self, header: Header) -> None:
        self.move(header, *BEFORE, -0.4)
        self.move(header, *AFTER, 0.4)

    def without_transform(self, told: str, more_than: int = 0) -> int:
        """Wait until the diagnostics say why the last image has no places; return how many have none."""
        _, _, values = self.peer.diagnostics(
            told=lambda text, values: told in text and int(values['without transform']) > more_than
        )
        return int(values['without transform'])


@pytest.fixture(scope='module')
def placed(start_node, connect):
    domain = free_domain()
    with (
        start_node(domain, *IN_MAP, '-p', f'transform_timeout_s:={TIMEOUT_S}') as node,
        connect(domain, topics=TOPICS) as peer,
    ):
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        yield Placed(node, peer)


def assert_without_places(outputs: dict) -> None:
    """In pixels all is there; in space nothing, and not in a wrong frame either."""
    assert outputs['segments_3d'].detections == []
    assert outputs['segments_3d'].header.frame_id == outputs['points'].header.frame_id == 'map'
    assert outputs['points'].width == 0
    assert [marker.action for marker in outputs['markers'].markers] == [Marker.DELETEALL]
    assert len(outputs['segments'].detections) == 4
    assert all(np.isnan(position(one)).all() for one in outputs['segments'].detections)


def seen_m(labels: np.ndarray, value: int) -> np.ndarray:
    """Return the points of a segment in the camera, float64 [N, 3]."""
    rows, columns = np.nonzero(labels == value)
    z = DISTANCE_M[QUADRANT[rows, columns]]
    return np.stack([(columns - 63.5) * z / 100, (rows - 31.5) * z / 100, z], 1)


def quaternion(message) -> list[float]:
    return [message.x, message.y, message.z, message.w]


@pytest.mark.parametrize('box_axes', ['camera', 'target'])
def test_places_are_where_the_camera_was_at_the_stamp(placed, box_axes):
    assert placed.peer.set(box_axes=box_axes).successful
    header = placed.header()
    placed.move_through(header)
    outputs = placed.exchange(header)
    rotation, translation_m = MIDDLE
    labels = np.frombuffer(outputs['labels'].data, np.uint8).reshape(64, 128)
    flat, solid = outputs['segments'].detections, outputs['segments_3d'].detections
    assert len(flat) == len(solid) == 4
    for detection, mate in zip(flat, solid, strict=True):
        assert detection.header == header
        assert (mate.header.frame_id, mate.header.stamp) == ('map', header.stamp)
        inside_m = seen_m(labels, int(mate.results[0].hypothesis.class_id))
        turned = rotation if box_axes == 'camera' else Rotation.identity()
        along_m = (turned.inv() * rotation).apply(inside_m)  # the axes of the box
        expected = turned.apply(np.median(along_m, 0)) + translation_m
        assert np.abs(position(mate) - expected).max() < 1e-3
        assert np.array_equal(position(detection), position(mate))
        given = Rotation.from_quat(quaternion(mate.bbox.center.orientation))
        assert (given.inv() * turned).magnitude() < 1e-6
        # As `locate_segments` says: 5 % at each end, widened by 1/18.
        low, high = np.percentile(along_m, 5, 0), np.percentile(along_m, 95, 0)
        low, high = (
            np.maximum(low - (high - low) / 18, along_m.min(0)),
            np.minimum(high + (high - low) / 18, along_m.max(0)),
        )
        size = mate.bbox.size
        assert np.abs([size.x, size.y, size.z] - (high - low)).max() < 1e-3
        center = mate.bbox.center.position
        assert np.abs([center.x, center.y, center.z] - turned.apply((low + high) / 2) - translation_m).max() < 1e-3

    cloud = outputs['points']
    assert (cloud.header.frame_id, cloud.header.stamp) == ('map', header.stamp)
    points = points_of(cloud).ravel()
    expected_m = np.concatenate([rotation.apply(seen_m(labels, k)) + translation_m for k in range(1, 5)])
    order = np.concatenate([np.flatnonzero(labels == k) for k in range(1, 5)])
    for k, axis in enumerate('xyz'):
        assert np.abs(points[axis][order] - expected_m[:, k]).max() < 1e-3

    shown = outputs['markers'].markers
    assert {marker.header.frame_id for marker in shown} == {'map'}
    boxes = [marker for marker in shown if marker.ns == 'boxes']
    for marker, mate in zip(boxes, solid, strict=True):
        assert marker.pose == mate.bbox.center
    texts = [marker.pose.position.z for marker in shown if marker.ns == 'ids']
    assert all(above > position(mate)[2] for above, mate in zip(texts, solid, strict=True))
    # As large as in the camera: their size follows the distance.
    assert sorted(marker.scale.x / 0.003 for marker in boxes) == pytest.approx(DISTANCE_M, abs=1e-3)


def test_new_box_axes_are_shown_on_the_last_image(placed):
    assert placed.peer.set(box_axes='camera').successful
    header = placed.header()
    placed.move_through(header)
    placed.exchange(header)

    def last_turn() -> list[float]:
        message = placed.peer.outputs(header)['segments_3d'][-1]
        return quaternion(message.detections[0].bbox.center.orientation)

    assert last_turn() == pytest.approx(MIDDLE[0].as_quat())
    assert placed.peer.set(box_axes='target').successful
    assert placed.peer.spin_until(lambda: last_turn() == [0, 0, 0, 1])


def test_a_segment_without_depth_has_no_place(placed):
    header = placed.header()
    placed.move_through(header)
    outputs = placed.exchange(header, depth_m=np.where(QUADRANT == 2, np.nan, DISTANCE_M[QUADRANT]))
    assert len(outputs['segments_3d'].detections) == 3
    assert sum(np.isnan(position(one)).all() for one in outputs['segments'].detections) == 1


def test_static_transforms_alone(placed):
    header = placed.header('fixed_camera')
    placed.move(header, *AFTER, seconds=5000, publisher=placed.static)
    found = placed.exchange(header)['segments_3d'].detections
    assert sorted((Rotation.inv(AFTER[0]).apply(position(one) - AFTER[1]))[2] for one in found) == pytest.approx(
        DISTANCE_M, abs=1e-3
    )


def test_an_image_in_the_target_frame_needs_no_transform(placed):
    found = placed.exchange(placed.header('map'))['segments_3d'].detections
    assert sorted(position(one)[2] for one in found) == pytest.approx(DISTANCE_M, abs=1e-3)


def test_an_image_waits_for_its_transform(placed):
    header = placed.header()
    placed.move_through(header)
    assert len(placed.exchange(header)['segments_3d'].detections) == 4
    header = placed.header()
    placed.move(header, *BEFORE, -0.4)
    placed.send(header)
    assert not placed.peer.spin_until(lambda: placed.peer.outputs(header)['segments_3d'], TIMEOUT_S / 6)
    placed.move(header, *AFTER, 0.4)
    assert len(placed.receive(header)['segments_3d'].detections) == 4


def test_transforms_that_do_not_come_hold_up_one_image_alone(placed):
    peer = placed.peer
    peer.set(transform_timeout_s=10.0)
    header = placed.header()
    placed.move_through(header)
    assert len(placed.exchange(header)['segments_3d'].detections) == 4
    before = int(peer.diagnostics()[2]['without transform'])
    peer.set(transform_timeout_s=TIMEOUT_S)
    for _ in range(3):
        header = placed.header()
    assert_without_places(placed.exchange(header))
    peer.set(transform_timeout_s=10.0)
    start_s = time.monotonic()
    for _ in range(6):
        assert_without_places(placed.exchange(placed.header()))
    assert time.monotonic() - start_s < 30  # each of them 10 s, if it waited
    known = "no places in 'map': 'camera_optical' in 'map' is known from "
    assert placed.without_transform(known, before + 6) == before + 7
    assert 0 < placed.node.log.count(f'/image: {known}') < 7
    # There at once, and the next one waits again.
    header = placed.header()
    placed.move_through(header)
    assert peer.spin_until(lambda: False, 0.5) is False
    assert len(placed.exchange(header)['segments_3d'].detections) == 4
    peer.diagnostics(told=lambda text, _: 'images/s' in text)
    test_an_image_waits_for_its_transform(placed)
    peer.set(transform_timeout_s=TIMEOUT_S)


def test_images_wait_again_once_that_would_have_helped(placed):
    """Transforms are late always, but in time."""
    peer = placed.peer
    assert_without_places(placed.exchange(placed.header('nowhere')))
    peer.set(transform_timeout_s=2 * TIMEOUT_S)
    found = 0
    for _ in range(5):
        header = placed.header()
        placed.send(header)
        peer.spin_until(lambda header=header: peer.outputs(header)['segments_3d'], 0.8 * TIMEOUT_S)
        placed.move_through(header)
        found = len(placed.receive(header)['segments_3d'].detections)
        if found:
            break
        peer.spin_until(lambda: False, 2 * TIMEOUT_S)
    peer.set(transform_timeout_s=TIMEOUT_S)
    assert found == 4


def test_a_frame_that_nothing_connects_is_told_with_those_there_are(placed):
    header = placed.header()
    placed.move_through(header)
    placed.exchange(header)
    assert_without_places(placed.exchange(placed.header('unheard_of')))
    placed.without_transform("no places in 'map': there is no frame 'unheard_of'; there are ")
    assert "'camera_optical'" in placed.node.log.split("no frame 'unheard_of'; there are ")[1].splitlines()[0]


def test_an_image_without_a_frame(placed):
    assert_without_places(placed.exchange(placed.header('')))
    placed.without_transform('the image names no frame')


def test_a_loop(placed):
    header, other = placed.header('around'), placed.header('again')
    other.stamp = header.stamp
    for seconds in (-0.4, 0.4):
        placed.move(header, *BEFORE, seconds, parent='again')
        placed.move(other, *BEFORE, seconds, parent='around')
    assert_without_places(placed.exchange(header))
    placed.without_transform('the frames form a loop')


def test_two_parents(placed):
    """The last one counts, and it is told."""
    header = placed.header('adopted')
    for seconds in (-0.3, 0.3):
        placed.move(header, *BEFORE, seconds, parent='elsewhere')
    for seconds in (-0.4, 0.4):
        placed.move(header, *AFTER, seconds)
    outputs = placed.exchange(header)
    text = "'adopted' has two parents"
    assert placed.peer.spin_until(lambda: f'tf: {text}' in placed.node.log)
    placed.peer.diagnostics(name='diffcut', told=lambda _, values: text in values['tf'])
    for one in outputs['segments_3d'].detections:
        z = AFTER[0].apply(position(one) - AFTER[1], inverse=True)[2]
        assert np.abs(DISTANCE_M - z).min() < 1e-3


@pytest.mark.parametrize('rotation', [[math.nan, 0, 0, 1], [0, 0, 0, 0], [math.inf, 0, 0, 1]])
def test_a_quaternion_that_is_none(placed, rotation):
    name = f'bent_{rotation[0]}'.replace('.', '_')
    header = placed.header(name)
    for seconds in (-0.4, 0.4):
        placed.move(header, rotation, [0, 0, 0], seconds)
    assert_without_places(placed.exchange(header))
    placed.without_transform(f"there is no frame '{name}'")
    placed.peer.diagnostics(name='diffcut', told=lambda _, values: f"'{name}' in 'map': expected" in values['tf'])


def test_a_quaternion_of_another_length_turns_as_one_of_length_1_and_is_told(placed):
    header = placed.header('stretched')
    for seconds in (-0.4, 0.4):
        placed.move(header, (2 * AFTER[0].as_quat()).tolist(), AFTER[1], seconds)
    found = placed.exchange(header)['segments_3d'].detections
    depths = sorted(AFTER[0].apply(position(one) - AFTER[1], inverse=True)[2] for one in found)
    assert depths == pytest.approx(DISTANCE_M, abs=1e-3)
    assert placed.peer.spin_until(lambda: "'stretched' in 'map': the quaternion is not of length" in placed.node.log)
    assert 'Traceback' not in placed.node.log


def test_points_of_all_pixels_are_nan_without_a_transform(placed):
    assert placed.peer.set(**{'points.organized': True}).successful
    cloud = placed.exchange(placed.header('unheard_of'))['points']
    assert placed.peer.set(**{'points.organized': False}).successful
    assert (cloud.header.frame_id, cloud.height, cloud.width) == ('map', 64, 128)
    assert all(np.isnan(points_of(cloud)[axis]).all() for axis in 'xyz')


def test_what_was_before_simulated_time_went_back_is_forgotten(start_node, connect):
    domain = free_domain()
    with start_node(domain, *IN_MAP, '-p', 'use_sim_time:=true') as node, connect(domain, topics=TOPICS) as peer:
        node.wait_for_log('waiting for images')
        clock = peer.publisher(Clock, '/clock', 10)
        assert peer.spin_until(lambda: clock.get_subscription_count() > 0)
        peer.wait_until_met()
        placed = Placed(node, peer)

        def at(seconds: int, x: float) -> list:
            message = Clock()
            message.clock.sec = seconds
            clock.publish(message)
            peer.spin_until(lambda: False, 1.0)  # /clock and /tf come in no order
            header = placed.header()
            header.stamp.sec = seconds
            if x:
                placed.move(header, Rotation.identity(), [x, 0, 0])
                peer.spin_until(lambda: False, 1.0)
            found = placed.exchange(header)['segments_3d'].detections
            return sorted(position(one)[2] for one in found), sum(position(one)[0] for one in found) / 4

        depths, x = at(1000, 10.0)
        assert (depths, round(x)) == (pytest.approx(DISTANCE_M, abs=1e-3), 10)
        depths, x = at(500, 20.0)
        assert (depths, round(x)) == (pytest.approx(DISTANCE_M, abs=1e-3), 20)
        # What was said of this time is no longer true.
        peer.received['segments_3d'].clear()
        depths, _ = at(1001, 0.0)
        assert depths == []


class Replayed:
    """Recordings that are played to one node without simulated time, one after the other: map > base > camera."""

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        placed.move(placed.header(), Rotation.identity(), [0, 0, 0], parent='base', publisher=placed.static)

    def header(self, frame: str, at_s: float) -> Header:
        header = self.placed.header(frame)
        header.stamp.sec, header.stamp.nanosec = divmod(round(at_s * 1e9), 10**9)
        return header

    def play(self, begin_s: float, end_s: float, x_m: float, image_first: bool = False) -> list[float | None]:
        """Play one in which base is at x_m in map; return where the node says that the things of each image are."""
        placed, found = self.placed, []
        for topic in placed.peer.received:
            placed.peer.received[topic].clear()  # stamps come again
        for at_s in np.arange(begin_s, end_s, 0.5):
            image = self.header('camera_optical', at_s)
            if image_first:
                placed.send(image)
                placed.peer.spin_until(lambda: False, 0.1)
            placed.move(self.header('base', at_s), Rotation.identity(), [x_m, 0, 0])
            if not image_first:
                placed.peer.spin_until(lambda: False, 0.1)
                placed.send(image)
            solid = placed.receive(image)['segments_3d'].detections
            found.append(sum(position(one)[0] for one in solid) / 4 if solid else None)
        return found


@pytest.fixture
def replayed(start_node, connect):
    domain = free_domain()
    with start_node(domain, *IN_MAP, '-p', 'transform_timeout_s:=1.0') as node, connect(domain, topics=TOPICS) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        yield Replayed(Placed(node, peer))


@pytest.mark.parametrize('image_first', [False, True])
@pytest.mark.parametrize(('length_s', 'back_s'), [(13, 13), (9, 9), (13, 24), (4, 2)])
def test_a_recording_that_is_played_again_is_placed_by_its_own_transforms(replayed, length_s, back_s, image_first):
    begin_s = 100.0 + length_s - back_s
    before = replayed.play(100, 100 + length_s, 0, image_first)
    assert max(before) - min(before) < 1e-3
    again = replayed.play(begin_s, begin_s + length_s, 10, image_first)
    assert again == pytest.approx([10 + before[0]] * len(again), abs=1e-3)
    told = [line for line in replayed.placed.node.log.splitlines() if 'the transforms of before are forgotten' in line]
    assert len(told) == 1
    assert '[WARN]' in told[0]
    assert ('the stamp of an image on /image went back by' in told[0]) or "the stamps of 'base' went back by" in told[0]
    replayed.placed.peer.diagnostics(level=b'\0')


def test_images_slightly_out_of_order_forget_no_transforms(replayed):
    placed = replayed.placed
    (x_m,) = replayed.play(100, 100.5, 0)
    placed.move(replayed.header('base', 101), Rotation.identity(), [0, 0, 0])
    placed.exchange(replayed.header('camera_optical', 100.6))
    placed.send(replayed.header('camera_optical', 100.55))  # comes too late to be joined
    placed.peer.spin_until(lambda: False, 0.2)
    # By what came before that one.
    found = placed.exchange(replayed.header('camera_optical', 100.7))['segments_3d'].detections
    assert sum(position(one)[0] for one in found) / 4 == pytest.approx(x_m, abs=1e-3)
    assert 'forgotten' not in placed.node.log


def test_transforms_that_are_refused_are_a_warning_in_the_diagnostics(replayed):
    """Two nodes publish the same frame, one by another clock."""
    placed = replayed.placed
    for at_s in np.arange(100, 103, 0.25):
        placed.move(replayed.header('base', at_s), Rotation.identity(), [0, 0, 0])
        placed.move(replayed.header('base', at_s - 60), Rotation.identity(), [50, 0, 0])
        placed.peer.spin_until(lambda: False, 0.1)
    found = placed.exchange(replayed.header('camera_optical', 102.5))['segments_3d'].detections
    assert abs(sum(position(one)[0] for one in found) / 4) < 1
    placed.node.wait_for_log("tf: the stamps of 'base' jump to and fro by 60.2 s")

    def go_on() -> None:
        placed.move(replayed.header('base', 42), Rotation.identity(), [50, 0, 0])

    text = "tf: 'base' came over 10 s late, and was not taken"
    placed.peer.diagnostics(level=b'\1', told=lambda message, _: message.startswith(text), meanwhile=go_on)


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (
            ['target_frame:=map'],
            "target_frame: 'map' needs depth",
        ),
        (
            ['depth:=true', 'target_frame:=/map'],
            "of at most 1000 characters, received '/map'",
        ),
        (['depth:=true', 'box_axes:=map'], 'box_axes: expected'),
    ],
)
def test_what_cannot_be_ends_the_node(start_node, options, problem):
    arguments = [part for one in options for part in ('-p', one)]
    with start_node(free_domain(), *arguments) as node:
        assert node.wait() == 2
        assert problem in node.log


def test_what_comes_back_after_a_minute_has_its_ids(start_node, connect):
    """By its places in map, until time goes back."""
    domain = free_domain()
    with start_node(domain, *IN_MAP) as node, connect(domain, topics=TOPICS) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        placed = Placed(node, peer)

        def at(seconds: int) -> list[str]:
            header = placed.header()
            header.stamp.sec = seconds
            return [one.id for one in placed.exchange(header)['segments'].detections]

        header = placed.header()
        placed.move(header, *MIDDLE, publisher=placed.static)
        placed.send(header)
        assert peer.spin_until(lambda: 'segments_3d' in peer.received and placed.receive(header))
        before = at(1000)
        assert len(set(before)) == 4
        assert at(1070) == before
        assert not set(at(500)) & set(before)
        node.wait_for_log('track ids are forgotten: the stamp of an image went back by 570.0 s')
        assert not set(at(570)) & set(before)
