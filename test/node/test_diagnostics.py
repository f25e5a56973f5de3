"""What /diagnostics says, and when it turns from OK."""

import re
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from diffcut_ros.node.diagnostics import ErrorThrottle
from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants
from support.space import RELIABLE, camera_info, depth_of

IMAGE = quadrants(64, 128)[0]
OK, WARN, ERROR, STALE = (getattr(DiagnosticStatus, name) for name in ('OK', 'WARN', 'ERROR', 'STALE'))


@pytest.fixture
def flow(running):
    """Function that publishes an image and waits for a twentieth of a second."""
    _, peer, _ = running

    def step() -> None:
        peer.publish(encode_image(IMAGE, 'rgb8', peer.now()))
        peer.spin_until(lambda: False, 0.05)

    return step


def test_it_tells_rates_latencies_and_counts(running, flow):
    _, peer, _ = running
    assert peer.set(tau=0.5).successful
    _, message, values = peer.diagnostics(
        level=OK, told=lambda _, values: float(values['input rate [Hz]']) > 5, meanwhile=flow
    )
    assert 'images/s, 4 segments' in message
    assert (values['segments'], values['tau'], values['subscribers']) == ('4', '0.5', '4')
    assert float(values['input rate [Hz]']) < 30
    assert 0 < float(values['output rate [Hz]']) <= float(values['input rate [Hz]']) + 1
    mean = {
        stage: float(values[f'{stage} mean [ms]']) for stage in ('decode', 'features', 'segments', 'publish', 'age')
    }
    assert mean['age'] > mean['decode'] + mean['features'] + mean['segments']
    # One image that takes long on a busy machine can bring the mean above it.
    assert all(float(values[f'{stage} p95 [ms]']) > 0 for stage in mean)
    received, lost = int(values['received']), sum(int(values[c]) for c in ('skipped', 'replaced', 'rejected'))
    assert abs(received - lost - int(values['published'])) <= 2  # what is under way
    level, message, values = peer.diagnostics('diffcut')
    assert (level, message, values['tau'], values['backend']) == (OK, 'active', '0.5', 'color')
    assert 'cells along the shorter side' in values['model']
    assert 50 < float(values['process memory [MB]']) < 5000
    # Every second; one may be late, or left out, where the machine is busy.
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in peer.received['diagnostics']]
    periods = np.round(np.diff(stamps))
    assert np.median(periods) == 1
    assert abs(stamps[-1] - stamps[0] - periods.sum()) < 0.5


def test_warns_when_outputs_are_old(running, flow):
    _, peer, _ = running
    assert peer.set(**{'diagnostics.warn_age_s': 0.0}).successful
    peer.diagnostics(level=WARN, told=lambda message, _: 's old' in message, meanwhile=flow)
    assert peer.set(**{'diagnostics.warn_age_s': 100.0}).successful
    peer.diagnostics(level=OK, meanwhile=flow)


def test_images_lost_on_the_way_are_counted_and_told(start_node, connect):
    # Best effort over Fast DDS as it comes: of images of many UDP packets hardly any arrives.
    domain = free_domain()
    option = 'qos_overrides./image.subscription.reliability:=best_effort'
    with start_node(domain, '-p', option) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        large = encode_image(np.zeros((1080, 1920, 3), np.uint8), 'rgb8', peer.now())

        def told() -> bool:
            peer.publish(large)
            return 'messages lost on the way' in node.log

        assert peer.spin_until(told)
        assert 'try -p qos_overrides./image.subscription.reliability:=reliable' in node.log
        level, message, values = peer.diagnostics()
        assert level in (WARN, STALE)
        assert 'lost on the way' in message or 'no image' in message
        assert int(values['lost']) > 5


@pytest.mark.parametrize('depth', [False, True])
def test_every_image_that_was_sent_is_counted(start_node, connect, depth):
    """Also those that others replace before the node takes them, of which the middleware says nothing."""
    domain, sent = free_domain(), 60
    options = ['-p', 'qos_overrides./image.subscription.reliability:=reliable', '-p', f'depth:={str(depth).lower()}']
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def came(values) -> int:
            return int(values['received']) + int(values['lost'])

        # What is lost before the first one that comes, nobody knows.
        before = 0
        while before == 0:
            peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
            peer.spin_until(lambda: False, 2)
            before = came(peer.diagnostics()[2])
        for _ in range(sent):  # faster than anybody takes them
            peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
        _, _, values = peer.diagnostics(told=lambda _, values: came(values) >= before + sent)
        assert came(values) == before + sent
        assert int(values['received']) > 0
        assert int(values['lost']) > 0


def test_warns_when_few_images_come_out(running, flow):
    _, peer, _ = running
    peer.segment(IMAGE)  # what is under way would come out after the first bad one
    for count in (1, 2, 3):
        bad = encode_image(IMAGE, 'rgb8', peer.header())
        bad.data = b''
        peer.publish(bad)
        peer.diagnostics(
            level=WARN,
            told=lambda message, _, count=count: message.startswith(
                f'{count} image{"s" * (count > 1)} rejected: /image: image ignored: rgb8 image of'
            ),
        )
    peer.segment(IMAGE)
    peer.diagnostics(level=OK)
    assert peer.set(**{'diagnostics.warn_output_share': 1.0}).successful
    peer.diagnostics(level=WARN, told=lambda message, _: 'came out' in message, meanwhile=flow)
    assert peer.set(**{'diagnostics.warn_output_share': 0.0}).successful


def test_is_stale_when_the_camera_stops(running):
    _, peer, _ = running
    peer.segment(IMAGE)
    assert peer.set(**{'diagnostics.stale_after_s': 1.0}).successful
    peer.diagnostics(level=STALE, told=lambda message, _: message.startswith('no image for'))
    assert peer.set(**{'diagnostics.stale_after_s': 5.0}).successful
    peer.segment(IMAGE)
    peer.diagnostics(level=OK)


@pytest.mark.parametrize('late', ['camera_info', 'depth'])
def test_images_that_come_before_the_first_camera_info_or_depth_are_told(start_node, connect, late):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', RELIABLE.format('image'), '-p', 'diagnostics.stale_after_s:=60.0']
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()

        def publish(all_of_it: bool = False) -> None:
            header, info, depth = peer.now(), camera_info(), depth_of(np.ones((64, 128)))
            info.header = depth.header = header
            if late != 'camera_info' or all_of_it:
                peer.camera_info.publish(info)
            if late != 'depth' or all_of_it:
                peer.depth.publish(depth)
            peer.publish(encode_image(IMAGE, 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)

        told = f'images come, but nothing on /{late} (1 publisher)'
        peer.diagnostics(level=WARN, told=lambda message, _: message == told, meanwhile=publish)
        assert 'left out' not in node.log
        assert peer.spin_until(lambda: publish(all_of_it=True) or peer.received['labels'])
        values = peer.diagnostics(level=OK)[2]
        line = re.search(rf'INFO.*/image: the first (\d+) images left out, since /{late} came \d.\d s after', node.log)
        assert int(line[1]) == int(values['without depth or camera_info'])
        assert 'lazy: false' in node.log
        publish(all_of_it=True)
        assert node.log.count('left out') == 1


def test_says_that_images_lack_their_depth(start_node, connect):
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'diagnostics.stale_after_s:=1.0']
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def publish() -> None:
            header = peer.now()
            peer.camera_info.publish(CameraInfo(header=header, width=128, height=64))
            peer.publish(encode_image(IMAGE, 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)

        peer.diagnostics(
            level=WARN,
            told=lambda message, values: (
                message == 'images come, but nothing on /depth (1 publisher)'
                and int(values['without depth or camera_info']) > 10
            ),
            meanwhile=publish,
        )
        assert not peer.received['labels']

        # Without a stamp nothing can be joined.
        def publish_without_stamp() -> None:
            peer.depth.publish(encode_image(np.zeros((64, 128), np.uint16), 'mono16', Header()))
            peer.spin_until(lambda: False, 0.1)

        start_s = time.monotonic()
        peer.diagnostics(told=lambda _, values: int(values['rejected']) > 3, meanwhile=publish_without_stamp)
        told = node.log.count('/depth: expected a stamp, to join it by, received 0')
        assert 1 <= told <= 1 + (time.monotonic() - start_s) // 5  # one in five seconds


def test_the_message_tells_the_cause_of_the_last_seconds(start_node, connect):
    """One fault after the other: images of another encoding, depth with other stamps, and then no images."""
    domain = free_domain()
    options = ['-p', 'depth:=true', '-p', 'diagnostics.stale_after_s:=2.0']
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()

        def publish(encoding: str, apart_s: int) -> None:
            header, other = peer.now(), peer.now()
            other.stamp.sec += apart_s
            peer.camera_info.publish(
                CameraInfo(header=header, width=128, height=64, k=[99.0, 0, 64, 0, 99, 32, 0, 0, 1])
            )
            depth = encode_image(np.full((64, 128), 1500, np.uint16), 'mono16', other)
            depth.encoding = '16UC1'
            peer.depth.publish(depth)
            image = encode_image(IMAGE, 'rgb8', header)
            image.encoding = encoding
            peer.send(image)
            peer.spin_until(lambda: False, 0.1)

        def told(text: str, publish_one=lambda: None) -> None:
            peer.diagnostics(level=None, told=lambda message, _: text in message, meanwhile=publish_one)

        told('rejected: /image: image ignored: encoding', lambda: publish('rgb7', 0))
        told('no depth within 0.02 s (sync_slop_s) of their stamps on /depth', lambda: publish('rgb8', 7))
        told('rejected: /image: image ignored: encoding', lambda: publish('rgb7', 0))
        told('no image for')
        told('images/s', lambda: publish('rgb8', 0))


def test_errors_do_not_flood_the_log():
    throttle = ErrorThrottle()
    assert throttle.allows('JPEG image of 650 bytes: expected an end mark')
    assert not throttle.allows('JPEG image of 12345 bytes: expected an end mark')
    assert sum(throttle.allows(f'{"x" * i}: expected another') for i in range(1, 30)) == 9


def test_what_is_refused_for_its_content_is_not_lost_on_the_way(start_node, connect):
    domain = free_domain()
    with start_node(domain) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def publish_bad() -> None:
            bad = encode_image(IMAGE, 'rgb8', peer.now())
            bad.encoding = 'rgb7'
            peer.publish(bad)
            peer.spin_until(lambda: False, 0.1)

        _, message, values = peer.diagnostics(
            told=lambda _, values: int(values['rejected']) > 60, meanwhile=publish_bad
        )
        assert 'images rejected: /image: image ignored: encoding' in message
        assert values['lost'] == '0'
        assert 'lost' not in node.log
        assert 'no image' not in node.log
