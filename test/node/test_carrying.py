"""Between two images that a slow backend computes: labels come with every image, carried along by motion."""

import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from skimage import data
from std_msgs.msg import Header

from diffcut_ros.core import Pipeline, Scene
from diffcut_ros.features import create_extractor
from diffcut_ros.node.diagnostics import CameraRecord
from diffcut_ros.node.images import encode_image
from diffcut_ros.stream.rate import RateLimit
from support.domain import free_domain

HEIGHT, WIDTH = 240, 320
PHOTO = data.astronaut()
# Photograph pixels that the camera moves by, and seconds, from image to image.
STEP_PX, STEP_S = 2, 0.1
# Takes far longer than there is between two images.
SLOW = '-p', 'color.cells:=64'
CARRIED = 'carried along by motion'


class Film:
    """A camera that moves over a photograph, there and back, seen by a peer."""

    def __init__(self, peer, frame_id='camera', start_s=5000.0):
        self.peer, self.frame_id, self.start_s, self.count = peer, frame_id, start_s, 0

    def image(self, i: int) -> np.ndarray:
        x = STEP_PX * abs((i + 60) % 120 - 60)
        return np.ascontiguousarray(PHOTO[60 : 60 + HEIGHT, 40 + x : 40 + x + WIDTH])

    def play(self, image=None) -> Header:
        """Publish the next image, and wait for a twentieth of a second."""
        stamp_ns = round((self.start_s + STEP_S * self.count) * 1e9)
        header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=self.frame_id)
        self.peer.publish(encode_image(self.image(self.count) if image is None else image, 'rgb8', header))
        self.count += 1
        self.peer.spin_until(lambda: False, 0.05)
        return header

    def until(self, condition) -> None:
        assert self.peer.spin_until(lambda: bool(condition()) or (self.play() and False))

    def values(self, told=lambda values: True, name='diffcut: camera') -> dict[str, str]:
        """Return the values of the next diagnostics for which something is true; images come meanwhile."""
        return self.peer.diagnostics(name, told=lambda _, values: told(values), meanwhile=self.play)[2]


def ids(segments) -> list[str]:
    return [one.id for one in segments.detections]


def pixels(message) -> np.ndarray:
    dtype = np.uint8 if message.encoding == 'mono8' else np.uint16
    return np.frombuffer(bytes(message.data), dtype).reshape(message.height, message.width)


@pytest.fixture
def start(start_node, connect):
    """A slow node that carries, and its film."""

    def made(*options, topics=('labels', 'segments')):
        domain = free_domain()
        default = '-p', 'rate_hz:=0.0', '-p', 'network_hz:=1.0', *SLOW
        return start_node(domain, *default, *options), connect(domain, topics=topics)

    return made


def test_labels_come_with_every_image(start):
    begin_s = time.monotonic()
    running, connecting = start('-p', 'labels:=track')
    with running as node, connecting as peer:
        film, labels = Film(peer), peer.received['labels']
        node.wait_for_log(CARRIED)
        film.until(lambda: labels)
        first, before = film.count, len(labels)
        for _ in range(40):
            film.play()
        values = film.values(lambda values: values.get('last image') == 'carried' and int(values['network images']) > 1)
        assert int(values['carried images']) > int(values['network images'])
        assert 0 < float(values['key image age [s]']) < 60
        carried_ms = int(values['carried images']) * float(values['carry mean [ms]'])
        assert 0 < carried_ms < 1000 * (time.monotonic() - begin_s)
        assert values['last error'] == ''
        came = len(labels) - before
        assert came > 0.7 * (film.count - first)
        stamps = [one.header.stamp.sec * 10**9 + one.header.stamp.nanosec for one in labels]
        assert stamps == sorted(set(stamps))
        # From image to image pixels keep their ids, but where a new result sets in.
        shares = []
        for one, other in zip(labels[before:], labels[before + 1 :], strict=False):
            if other.header.stamp.nanosec // 10**8 == (one.header.stamp.nanosec // 10**8 + 1) % 10:
                a, b = pixels(one), pixels(other)
                assert (b > 0).all()
                shifts = [(a[:, s:], b[:, : WIDTH - s]) if s > 0 else (a[:, : WIDTH + s], b[:, -s:]) for s in (2, -2)]
                shares.append(max((left == right).mean() for left, right in shifts))
        assert len(shares) > 10
        assert np.median(shares) > 0.95
        assert node.log.count(CARRIED) == 1
        assert 'ERROR' not in node.log


def test_the_last_image_is_cut_anew(start):
    running, connecting = start('-p', 'tau:=0.3')
    with running as node, connecting as peer:
        film = Film(peer)
        film.values(lambda values: values.get('last image') == 'carried')
        peer.spin_until(lambda: False, 1.0)  # nothing is under way any more
        last = peer.received['segments'][-1]
        assert peer.set(tau=0.8).successful
        assert peer.spin_until(lambda: len(peer.received['segments'][-1].detections) > len(last.detections))
        again = peer.received['segments'][-1]
        assert again.header == last.header
        assert set(ids(again)) & set(ids(last))
        # No image goes back.
        count = len(peer.received['segments'])
        for _ in range(10):
            film.play()
        assert peer.spin_until(lambda: len(peer.received['segments']) > count)
        assert all(len(one.detections) > len(last.detections) for one in peer.received['segments'][count:])
        assert 'ERROR' not in node.log


def test_it_is_turned_on_and_off_while_images_come(start):
    running, connecting = start('-p', 'network_hz:=0.0', '-p', 'color.cells:=32')
    with running as node, connecting as peer:
        film = Film(peer)
        values = film.values(lambda values: values.get('last image') == 'network')
        assert (values['carried images'], values['not carried']) == ('0', '0')
        assert CARRIED not in node.log
        for bad in (-1.0, 1e-5, 1e4):
            refused = peer.set(network_hz=bad)
            assert not refused.successful
            assert 'network_hz' in refused.reason
        assert peer.set(network_hz=0.01).successful
        node.wait_for_log(CARRIED)
        film.values(lambda values: values['last image'] == 'carried')
        # Sooner than after the 100 s of before.
        computed = int(film.values()['network images'])
        assert peer.set(network_hz=5.0).successful
        film.values(lambda values: int(values['network images']) > computed + 3)
        # As often as images are taken at all: all are computed.
        assert peer.set(rate_hz=5.0).successful
        film.values(lambda values: values['last image'] == 'network')
        assert peer.set(rate_hz=0.0).successful
        film.values(lambda values: values['last image'] == 'carried')
        assert peer.set(network_hz=0.0).successful
        film.values(lambda values: values['last image'] == 'network')
        assert 'ERROR' not in node.log


def test_it_is_deactivated_in_the_middle(start):
    running, connecting = start()
    with running as node, connecting as peer:
        film, labels = Film(peer), peer.received['labels']
        film.values(lambda values: values.get('last image') == 'carried')
        for _ in range(2):
            film.play()
            assert peer.transition('deactivate')
            peer.spin_until(lambda: False, 0.3)
            count = len(labels)
            assert peer.transition('activate')
            film.until(lambda count=count: len(labels) > count + 3)
        assert peer.transition('deactivate')
        assert peer.transition('cleanup')
        count = len(labels)
        assert peer.transition('configure')
        assert peer.transition('activate')
        film.until(lambda: len(labels) > count + 3)
        assert 'ERROR' not in node.log
        assert 'Traceback' not in node.log


def test_what_does_not_go_on_waits_for_the_network(start):
    running, connecting = start('-p', 'color.cells:=32')
    with running as node, connecting as peer:
        film, labels = Film(peer), peer.received['labels']
        film.values(lambda values: values.get('last image') == 'carried')
        highest = max(int(key) for one in peer.received['segments'] for key in ids(one))
        waited = int(film.values()['not carried'])
        # Time goes back.
        film.start_s, film.count = 100.0, 0
        film.until(lambda: labels[-1].header.stamp.sec < 1000)
        assert peer.spin_until(lambda: peer.received['segments'][-1].header.stamp.sec < 1000)
        assert min(int(key) for key in ids(peer.received['segments'][-1])) > highest
        # Another size.
        small = np.ascontiguousarray(film.image(0)[::2, ::2])
        assert peer.spin_until(lambda: film.play(small) and labels[-1].height == HEIGHT // 2)
        assert int(film.values()['not carried']) > waited
        assert 'ERROR' not in node.log


def test_a_click_means_what_is_shown(start):
    running, connecting = start(topics=('segments', 'labels', 'clicked', 'clicked_mask'))
    with running as node, connecting as peer:
        film, clicks = Film(peer), peer.publisher(Point, '/diffcut/click')
        film.values(lambda values: values.get('last image') == 'carried')
        peer.spin_until(lambda: False, 1.0)  # nothing is under way any more
        labels, segments = pixels(peer.received['labels'][-1]), peer.received['segments'][-1]
        clicks.publish(Point(x=160.0, y=120.0))
        assert peer.spin_until(lambda: peer.received['clicked'] and peer.received['clicked_mask'])
        (found,) = peer.received['clicked'][-1].detections
        assert found.header == segments.header
        assert found.id == ids(segments)[labels[120, 160] - 1]
        assert np.array_equal(pixels(peer.received['clicked_mask'][-1]) > 0, labels == labels[120, 160])
        assert 'ERROR' not in node.log


def test_several_cameras_share_the_network(start_node, connect):
    domain = free_domain()
    options = '-p', 'cameras:=[front, rear]', '-p', 'rate_hz:=0.0', '-p', 'network_hz:=2.0', '-p', 'color.cells:=48'
    with (
        start_node(domain, *options) as node,
        connect(domain, 'one', camera='front', topics=('labels',)) as front,
        connect(domain, 'two', camera='rear', topics=('labels',)) as rear,
    ):
        films = Film(front), Film(rear)

        def both() -> None:
            for film in films:
                film.play()

        for name in ('front', 'rear'):
            front.diagnostics(
                f'diffcut: {name}',
                told=lambda _, values: int(values['network images']) > 3 and int(values['carried images']) > 3,
                meanwhile=both,
            )
        assert 'ERROR' not in node.log


def test_without_subscribers_nothing_is_computed(start):
    running, connecting = start('-p', 'color.cells:=32')
    with running as node, connecting as peer:
        film = Film(peer)
        film.values(lambda values: values.get('last image') == 'carried')
        peer.unsubscribe()
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)
        film.count += 100
        peer.subscribe('labels')
        count = len(peer.received['labels'])
        film.until(lambda: len(peer.received['labels']) > count)
        film.values(lambda values: values.get('last image') == 'carried')
        assert 'ERROR' not in node.log


def test_a_rate_that_cannot_be_is_refused(start_node):
    with start_node(free_domain(), '-p', 'network_hz:=-2.0') as node:
        assert node.wait() == 2
        assert 'network_hz: expected 0.0 to 1000.0 Hz' in node.log


def test_it_gives_up_where_the_backend_fails(start_node, connect, broken_bundle):
    domain = free_domain()
    options = (
        '-p',
        f'backend:={broken_bundle}',
        '-p',
        'diffusion.input_size:=128',
        '-p',
        'max_consecutive_failures:=3',
    )
    options += ('-p', 'rate_hz:=0.0', '-p', 'network_hz:=5.0')
    with start_node(domain, *options) as node, connect(domain, topics=('labels',)) as peer:
        node.wait_for_log('waiting for images')
        film = Film(peer)
        film.play()

        def given_up() -> bool:
            peer.send(encode_image(film.image(0), 'rgb8', peer.header()))
            peer.spin_until(lambda: False, 0.1)
            return not peer.camera_is_subscribed

        assert peer.spin_until(given_up)
        assert 'failures in a row (max_consecutive_failures: 3), the last one: /image: image not segmented' in node.log
        assert not peer.received['labels']


def test_images_that_are_carried_do_not_hide_that_the_backend_fails():
    camera, record = Pipeline(create_extractor('color', cells=8)), CameraRecord()
    image = np.ascontiguousarray(PHOTO[:HEIGHT, :WIDTH])
    camera.process(Scene(image, 0), deliver=record.published)
    for i in range(1, 4):
        record.failed('failed', 'out of memory')
        camera.carry(Scene(image, i * 10**8), deliver=record.published)
        assert record.failures_in_a_row == i
    record.computed()
    assert record.failures_in_a_row == 0
    assert record.counts['carried images'] == 3


def test_a_rate_that_changes_holds_at_once():
    limit = RateLimit(0.001)
    limit.passed(0)
    assert not limit.ready(10**9)
    limit.rate_hz = 2.0
    assert limit.ready(10**9)
    limit.passed(10**9)
    assert not limit.ready(14 * 10**8)
    limit.rate_hz = 2.0  # the same
    assert not limit.ready(14 * 10**8)
    assert limit.ready(15 * 10**8)
