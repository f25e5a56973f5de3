"""The map of objects of a running node: what is in it, when it comes, and when it begins anew."""

import time

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import Marker

from diffcut_ros.core.colors import number_colors
from support.domain import free_domain
from support.space import DISTANCE_M, position

from .test_target_frame import IN_MAP, MIDDLE, Placed

OBJECTS, MARKERS, LABELS = '/diffcut/objects', '/diffcut/object_markers', '/diffcut/object_labels'


@pytest.fixture
def placed(start_node, connect):
    """A node whose images have places in map, and a peer that listens to its segments."""
    domain = free_domain()
    with start_node(domain, *IN_MAP) as node, connect(domain, topics=('segments', 'segments_3d')) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()
        yield Placed(node, peer)


def see(placed, name: str, pose, seconds: int) -> dict:
    """Show the four quadrants from a pose, by a static transform of a frame; return the outputs."""
    header = placed.header(name)
    header.stamp.sec = seconds
    placed.move(header, *pose, publisher=placed.static)
    assert placed.peer.spin_until(lambda: False, 0.2) is False
    return placed.exchange(header)


def last_map(placed, count: int):
    """Return the last map of so many objects, once it has come."""
    received = placed.peer.received[OBJECTS]
    assert placed.peer.spin_until(lambda: received and len(received[-1].detections) == count), (
        placed.node.log,
        [len(one.detections) for one in received],
    )
    return received[-1]


# Where what it sees is far from what it sees from the first pose. After a pause: it looks the same.
AWAY = MIDDLE[0], MIDDLE[1] + np.array([50.0, 0.0, 0.0])


def test_each_thing_is_in_it_once_whether_anybody_listened_or_not(placed):
    peer = placed.peer
    first = see(placed, 'here', MIDDLE, 1000)
    for k in range(3):
        second = see(placed, 'there', AWAY, 1100 + k)
    assert second['segments_3d'].header.stamp != first['segments_3d'].header.stamp
    for topic in (OBJECTS, MARKERS):
        (info,) = peer.publisher_infos(topic)
        assert info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        peer.subscribe_latched(topic)
    found = last_map(placed, 8)
    assert (found.header.frame_id, found.header.stamp) == ('map', second['segments_3d'].header.stamp)
    expected = {one.id: one for output in (first, second) for one in output['segments_3d'].detections}
    assert {one.id for one in found.detections} == set(expected)
    for one in found.detections:
        mate = expected[one.id]
        assert one.header == found.header
        assert np.abs(position(one) - position(mate)).max() < 0.1
        assert (one.results[0].hypothesis.class_id, one.results[0].hypothesis.score) == ('0', 0.0)
        turn = one.bbox.center.orientation
        assert (turn.x, turn.y) == (0, 0)
        assert np.hypot(turn.z, turn.w) == pytest.approx(1)
        assert one.results[0].pose.pose.orientation == turn
        size, center = one.bbox.size, one.bbox.center.position
        assert size.x >= size.y
        # What was seen is flat, turned, and 0.64 m by 0.32 m at a distance of 1 m.
        distance = DISTANCE_M[np.abs(DISTANCE_M - distance_m(mate)).argmin()]
        assert 0.4 * distance < np.linalg.norm([size.x, size.y, size.z]) < 0.9 * distance
        assert np.linalg.norm(np.subtract(position(one), [center.x, center.y, center.z])) < 0.2 * distance

    assert peer.spin_until(lambda: peer.received[MARKERS])
    shown = peer.received[MARKERS][-1].markers
    assert (shown[0].action, {one.header.frame_id for one in shown}) == (Marker.DELETEALL, {'map'})
    boxes, names = ([one for one in shown if one.ns == ns] for ns in ('boxes', 'names'))
    assert len(shown) == 1 + len(boxes) + len(names)
    for box, name, one in zip(boxes, names, found.detections, strict=True):
        assert (str(box.id), name.id, name.text) == (one.id, box.id, one.id)
        assert box.pose == one.bbox.center
        ends = np.array([[point.x, point.y, point.z] for point in box.points])
        assert np.ptp(ends, 0) == pytest.approx([one.bbox.size.x, one.bbox.size.y, one.bbox.size.z])
        color = [box.color.r, box.color.g, box.color.b]
        assert color == pytest.approx((number_colors(np.array(int(one.id))) / 255).tolist(), abs=1e-6)
        assert name.pose.position.z > box.pose.position.z + one.bbox.size.z / 2


def test_each_pixel_has_the_object_of_the_last_map_that_its_segment_shows(placed):
    peer = placed.peer
    peer.subscribe_to(LABELS)
    first = see(placed, 'here', MIDDLE, 1000)
    assert peer.spin_until(lambda: peer.received[LABELS])
    assert not pixels(peer.received[LABELS][-1]).any()  # there is no map yet
    before = {one.id for one in first['segments'].detections}

    def shown(name: str, pose, stamp_s: int) -> tuple:
        outputs = see(placed, name, pose, stamp_s)
        assert peer.spin_until(lambda: peer.received[LABELS][-1].header == outputs['segments'].header)
        return outputs, peer.received[LABELS][-1]

    def has_a_map() -> bool:
        return pixels(shown('here', MIDDLE, 1001)[1]).any()

    assert any(has_a_map() for _ in range(20))
    _, image = shown('there', AWAY, 1100)
    assert not pixels(image).any()  # of new places the next map knows
    peer.spin_until(lambda: False, 2)
    outputs, image = shown('here', MIDDLE, 1101)
    assert (image.encoding, image.step) == ('mono16', 2 * image.width)
    objects = pixels(image)
    assert {str(one) for one in np.unique(objects)} == before
    assert objects.all()
    for one in outputs['segments'].detections:
        center = one.bbox.center.position
        assert str(objects[int(center.y), int(center.x)]) == one.id


def pixels(image) -> np.ndarray:
    return np.frombuffer(image.data, np.uint16).reshape(image.height, image.width)


def distance_m(detection) -> float:
    """Return how far ahead of the camera a detection is, from one of the two poses."""
    ahead = [MIDDLE[0].apply(position(detection) - at, inverse=True) for _, at in (MIDDLE, AWAY)]
    return min(ahead, key=lambda one: np.abs(one[:2]).max())[2]


def test_it_comes_each_second_while_images_come_and_who_is_late_gets_the_last_one(placed, connect):
    peer = placed.peer
    peer.subscribe_latched(OBJECTS)
    received = peer.received[OBJECTS]
    see(placed, 'here', MIDDLE, 999)
    last_map(placed, 4)
    begin_s, before = time.monotonic(), len(received)
    while time.monotonic() < begin_s + 5:
        header = placed.header('here')
        placed.exchange(header)
    assert 3 <= len(received) - before <= 6
    assert peer.spin_until(lambda: received[-1].header.stamp == header.stamp)
    # Without images there is nothing new.
    count = len(received)
    assert not peer.spin_until(lambda: len(received) > count, 2.5)
    peer.subscribe_latched(MARKERS)
    assert peer.spin_until(lambda: peer.received[MARKERS], 5)


def test_it_begins_anew_when_time_goes_back_and_says_so(placed):
    placed.peer.subscribe_latched(OBJECTS)
    before = {one.id for one in see(placed, 'here', MIDDLE, 1000)['segments'].detections}
    see(placed, 'there', AWAY, 1100)
    assert before < {one.id for one in last_map(placed, 8).detections}
    after = {one.id for one in see(placed, 'here', MIDDLE, 500)['segments'].detections}
    assert {one.id for one in last_map(placed, 4).detections} == after
    placed.node.wait_for_log(
        'the map of objects, of 8 track ids, begins anew: the stamp of an image went back by 600.0 s'
    )


def test_it_outlasts_deactivation_and_ends_with_cleanup(placed):
    peer = placed.peer
    peer.subscribe_latched(OBJECTS)
    see(placed, 'here', MIDDLE, 999)
    last_map(placed, 4)
    assert peer.transition('deactivate')
    assert peer.transition('activate')
    see(placed, 'there', AWAY, 1100)
    last_map(placed, 8)
    assert peer.transition('deactivate')
    assert peer.transition('cleanup')
    placed.node.wait_for_log('the map of objects, of 8 track ids, begins anew: the node is cleaned up')
    assert peer.transition('configure')
    assert peer.transition('activate')
    see(placed, 'there', AWAY, 1200)
    last_map(placed, 4)


@pytest.mark.parametrize(
    ('looks', 'turned', 'tilted'),
    [('ahead', (-90, 0, 0), False), ('down', (180, 0, 0), False), ('up', (0, 0, 0), False), ('side', (0, 90, 0), True)],
)
def test_a_frame_that_is_not_upright_is_told_once_to_who_listens(placed, looks, turned, tilted):
    """In the last one y points down, as in the frame of a camera, of which this one looks to the side."""
    pose = Rotation.from_euler('xyz', turned, degrees=True), np.array([1.0, -2.0, 0.5])
    see(placed, looks, pose, 100)
    for k in range(12):
        placed.exchange(header_of(placed, looks, 101 + k))
    assert not placed.peer.spin_until(lambda: 'point up' in placed.node.log, 2.5)
    placed.peer.subscribe_latched(OBJECTS)
    last_map(placed, 4)
    text = "the map of objects: z of 'map' does not seem to point up: boxes are tilted, unless"
    assert placed.peer.spin_until(lambda: text in placed.node.log, 30.0 if tilted else 2.5) == tilted
    placed.exchange(header_of(placed, looks, 120))
    placed.peer.spin_until(lambda: False, 1.5)
    assert placed.node.log.count('point up') == tilted


def header_of(placed, name: str, seconds: int):
    header = placed.header(name)
    header.stamp.sec = seconds
    return header


def test_an_image_without_a_transform_is_not_in_it(placed):
    placed.peer.subscribe_latched(OBJECTS)
    see(placed, 'here', MIDDLE, 999)
    header = placed.header('unheard_of')
    placed.exchange(header)
    assert placed.peer.spin_until(lambda: placed.peer.received[OBJECTS][-1:] and stamp(placed) == header.stamp)
    last_map(placed, 4)


def test_what_is_missing_shows_where_the_map_alone_is_wanted(placed):
    peer = placed.peer
    peer.unsubscribe()
    peer.subscribe_latched(OBJECTS)
    peer.diagnostics(told=lambda _, values: values['subscribers'] == '1')
    texts = []
    for _ in range(5):  # once, unless the machine stands still: it is told for some seconds
        header = placed.header('unheard_of')
        placed.send(header)
        assert peer.spin_until(lambda: peer.received[OBJECTS] and stamp(placed) == header.stamp)  # noqa: B023
        texts.append(peer.diagnostics()[1])
        if "no places in 'map': there is no frame" in texts[-1]:
            break
    else:
        pytest.fail(str(texts))
    header = placed.header('here')
    placed.move(header, *MIDDLE, publisher=placed.static)
    assert not peer.spin_until(lambda: False, 0.2)
    placed.send(header)
    last_map(placed, 4)


def stamp(placed):
    return placed.peer.received[OBJECTS][-1].header.stamp


def test_nothing_is_remembered_where_that_is_not_wanted(placed):
    assert placed.peer.set(**{'tracking.max_remembered': 0}).successful
    placed.peer.subscribe_latched(OBJECTS)
    see(placed, 'here', MIDDLE, 999)
    placed.node.wait_for_log('the map of objects is empty, since tracking.max_remembered is 0')
    assert all(not one.detections for one in placed.peer.received[OBJECTS])


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (['-p', 'depth:=true'], 'target_frame is empty. Next: set target_frame to a frame that'),
        ([], 'there is no depth. Next: set depth: true, and target_frame to a frame that'),
    ],
)
def test_what_is_missing_is_told_once_to_who_listens(start_node, connect, options, reason):
    domain = free_domain()
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        assert peer.spin_until(lambda: False, 6) is False
        assert 'not advertised' not in node.log
        peer.subscribe_latched(OBJECTS)
        node.wait_for_log(f'{OBJECTS}: not advertised, since {reason}')
        assert peer.spin_until(lambda: False, 6) is False
        assert node.log.count('not advertised') == 1
        assert peer.publisher_infos(OBJECTS) == []
