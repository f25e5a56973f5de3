import resource
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants


def changed(**fields):
    message = encode_image(quadrants(64, 128)[0], 'rgb8', Header())
    for name, value in fields.items():
        setattr(message, name, value)
    return message


# No two whose messages differ in numbers alone: of those one is logged in five seconds.
BAD = {
    'empty data': (changed(data=b''), ['rgb8', '128 x 64', 'expected 24576 bytes', 'received 0']),
    'short data': (changed(encoding='bgr8', data=bytes(24575)), ['bgr8', 'expected 24576 bytes', 'received 24575']),
    'rows of pixels without all their channels': (
        changed(encoding='bgra8', step=384, data=bytes(24576)),
        ['bgra8', 'at least 512 bytes', 'received 384'],
    ),
    'zero width': (changed(width=0), ['rgb8', '0 x 64', 'at least 1 x 1']),
    'zero height': (changed(encoding='bgr8', height=0), ['bgr8', '128 x 0', 'at least 1 x 1']),
    'small step': (changed(step=383, data=bytes(64 * 383)), ['rgb8', 'at least 384 bytes', 'received 383']),
    'unknown encoding': (changed(encoding='jpeg2000'), ['expected one of rgb8, bgr8', "received 'jpeg2000'"]),
}


@pytest.mark.parametrize('case', BAD)
def test_a_bad_image_is_an_error_line_and_the_next_good_one_is_segmented(running, case):
    node, peer, _ = running
    message, words = BAD[case]
    message.header = peer.header()
    logged = len(node.log)

    def errors() -> list[str]:
        return [line for line in node.log[logged:].splitlines() if 'ERROR' in line]

    peer.publish(message)
    assert peer.spin_until(errors)
    line = errors()[0]
    for word in ['/image: image ignored', *words, 'so far)']:
        assert word in line
    _, outputs = peer.segment(quadrants(64, 128)[0])
    assert len(outputs['segments'][0].detections) == 4
    assert not any(peer.outputs(message.header).values())


def test_memory_that_runs_out_while_decoding_costs_one_image(start_node, connect):
    domain = free_domain()
    options = '-p', 'image_transport:=compressed', '-p', 'max_image_megapixels:=200.0', '-p', 'rate_hz:=0.0'
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        small = quadrants(64, 128)[0]
        _, outputs = peer.exchange(compressed(small))
        assert outputs['segments']
        pid = node.process.pid
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[0])
        before = resource.prlimit(pid, resource.RLIMIT_AS)
        resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + 30_000_000, before[1]))
        logged = len(node.log)
        large = compressed(np.zeros((9000, 9000), np.uint8))
        large.header = peer.header()
        peer.publish(large)
        assert peer.spin_until(lambda: 'ERROR' in node.log[logged:])
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        _, outputs = peer.exchange(compressed(small))
        assert len(outputs['segments'][0].detections) == 4
        assert 'Traceback' not in node.log


def compressed(image) -> CompressedImage:
    message = CompressedImage(format='png')
    message.data = cv2.imencode('.png', image)[1].tobytes()
    return message


def test_the_same_error_does_not_flood_the_log(running):
    node, peer, _ = running
    logged = len(node.log)
    _, _, before = peer.diagnostics()

    def publish() -> None:
        peer.publish(changed(encoding='flood', header=peer.header()))

    start_s = time.monotonic()
    peer.diagnostics(told=lambda _, now: int(now['rejected']) >= int(before['rejected']) + 10, meanwhile=publish)
    peer.segment(np.zeros((8, 8, 3), np.uint8))
    lines = [line for line in node.log[logged:].splitlines() if 'flood' in line]
    assert 1 <= len(lines) <= 1 + (time.monotonic() - start_s) // 5  # one in five seconds


def test_names_in_messages_reach_the_log_in_one_bounded_line(running):
    node, peer, _ = running
    logged = len(node.log)
    long = '\x1b]0;owned\x07\n[INFO] forged ' + 'x' * 10**6
    header = peer.header()
    peer.publish(changed(encoding=long, header=header))
    assert peer.spin_until(lambda: 'expected one of rgb8' in node.log[logged:])
    header.frame_id = long
    peer.publish(changed(header=header))
    assert peer.spin_until(lambda: 'frame_id: expected at most 1000 characters' in node.log[logged:])
    lines = node.log[logged:].splitlines()
    assert all(line.isprintable() and len(line) < 5000 for line in lines)
    assert not [line for line in lines if line.startswith('[INFO] forged')]
    _, message, values = peer.diagnostics(told=lambda _, values: 'frame_id' in values['last error'])
    assert all(len(text) < 5000 for text in (message, *values.values()))
    assert values['failed'] == '0'
    peer.segment(quadrants(64, 128)[0])
