"""Thousands of damaged messages through the running node: it takes the good ones and lives."""

import numpy as np
import pytest
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage

from diffcut_ros.node.images import decode_compressed, decode_image, encode_image
from support.damage import FILES, damaged_compressed_image, damaged_image
from support.domain import free_domain

MESSAGES = 2600
# At most so many different errors are logged in five seconds.
LINES_PER_SECOND = 10 / 5


def is_good(decode, message) -> bool:
    try:
        decode(message, 200_000)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ('transport', 'damaged', 'decode'),
    [('raw', damaged_image, decode_image), ('compressed', damaged_compressed_image, decode_compressed)],
)
def test_damaged_messages(start_node, connect, transport, damaged, decode):
    domain, random = free_domain(), np.random.default_rng(3)
    topic = '/image' if transport == 'raw' else '/image/compressed'
    options = ['-p', f'image_transport:={transport}', '-p', 'rate_hz:=0.0', '-p', 'color.cells:=4']
    options += ['-p', 'max_image_megapixels:=0.2', '-p', f'qos_overrides.{topic}.subscription.reliability:=reliable']
    options += ['-p', f'qos_overrides.{topic}.subscription.history:=keep_all', '-p', 'max_consecutive_failures:=1']
    with start_node(domain, *options) as node, connect(domain) as peer:
        if transport == 'raw':
            good = encode_image(np.full((48, 64, 3), 100, np.uint8), 'rgb8', peer.header())
        else:
            good = CompressedImage(header=peer.header(), format='jpeg', data=FILES[0])
        peer.exchange(good)
        # Both ends keep what is under way: all of them arrive, however slow the machine is.
        publisher = peer.publisher(type(good), topic, QoSProfile(history=HistoryPolicy.KEEP_ALL))
        assert peer.spin_until(lambda: publisher.get_subscription_count() > 0)
        fate = {}
        while len(fate) < MESSAGES:
            message = damaged(random)
            message.header = peer.header()
            fate[message.header.stamp.sec] = is_good(decode, message)
            publisher.publish(message)
            if len(fate) % 20 == 0:
                peer.spin_until(lambda: False, 0.02)
        assert 0.1 < np.mean(list(fate.values())) < 0.9

        _, _, values = peer.diagnostics(told=lambda _, values: int(values['received']) > MESSAGES)
        # Some of those that only decoding tells are replaced before they are decoded.
        assert int(values['rejected']) > 0.5 * (MESSAGES - sum(fate.values()))
        assert values['failed'] == values['timed out'] == '0'
        outputs = {m.header.stamp.sec for m in peer.received['labels']} & fate.keys()
        assert outputs
        assert all(fate[stamp] for stamp in outputs)

        good.header = peer.header()
        peer.exchange(good)
        assert node.process.poll() is None
        assert 'Traceback' not in node.log
        errors = [line for line in node.log.splitlines() if 'ERROR' in line]
        assert not [line for line in errors if f'{topic}: image ignored: ' not in line or 'expected' not in line]
        seconds = [float(line.split('[')[2].split(']')[0]) for line in errors]
        assert len(errors) <= LINES_PER_SECOND * (max(seconds) - min(seconds)) + 10
