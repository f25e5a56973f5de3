import numpy as np
import pytest
from std_msgs.msg import Header

from diffcut_ros.node.images import encode_image
from support.scenes import quadrants


def good(header: Header | None = None):
    return encode_image(quadrants(64, 128)[0], 'rgb8', header or Header())


def changed(**fields):
    message = good()
    for name, value in fields.items():
        setattr(message, name, value)
    return message


BAD = {
    'empty data': (changed(data=b''), ['rgb8', '128 x 64', 'expected 24576 bytes', 'received 0']),
    'short data': (changed(data=bytes(24575)), ['rgb8', 'expected 24576 bytes', 'received 24575']),
    'long data': (changed(data=bytes(24577)), ['rgb8', 'expected 24576 bytes', 'received 24577']),
    'zero width': (changed(width=0), ['rgb8', '0 x 64', 'at least 1 x 1']),
    'zero height': (changed(height=0), ['rgb8', '128 x 0', 'at least 1 x 1']),
    'small step': (changed(step=383), ['rgb8', 'at least 384 bytes', 'received 383']),
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

    for _ in range(20):  # best effort: an image may be lost
        peer.publish(message)
        if peer.spin_until(errors, 0.5):
            break
    line = errors()[0]
    for word in ['/image: image ignored', *words, 'so far)']:
        assert word in line
    _, outputs = peer.segment(quadrants(64, 128)[0])
    assert len(outputs['segments'][0].detections) == 4
    assert not any(peer.outputs(message.header).values())


def test_the_same_error_does_not_flood_the_log(running):
    node, peer, _ = running
    logged = len(node.log)
    for _ in range(30):
        peer.publish(changed(encoding='flood', header=peer.header()))
        peer.spin_until(lambda: False, 0.02)
    peer.segment(np.zeros((8, 8, 3), np.uint8))
    assert len([line for line in node.log[logged:].splitlines() if 'flood' in line]) == 1
