"""Each parameter that may change while the node runs changes what it does, at the latest with the next image."""

import numpy as np
import pytest
from skimage import data

from diffcut_ros.node.images import decode_image, encode_image
from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]


@pytest.fixture(scope='module')
def photograph(running):
    """Header of a photograph that the node has segmented, as the last one."""
    return running[1].segment(data.coffee())[0]


@pytest.mark.parametrize(
    ('change', 'back'),
    [
        ({'alpha': 2.0}, {'alpha': 10.0}),
        ({'refine': 'pamr'}, {'refine': 'watershed'}),
        ({'refine': 'none'}, {'refine': 'watershed'}),
        ({'tau': 0.7}, {'tau': 0.5}),
        ({'target_segments': 3}, {'target_segments': 0}),
        ({'min_segment_area': 8000}, {'min_segment_area': 0}),
        ({'instances': 'segments'}, {'instances': 'connected'}),
        ({'min_part_share': 0.1}, {'min_part_share': 0.001}),
    ],
)
def test_the_last_image_is_cut_again_at_once_and_back(running, photograph, change, back):
    _, peer, _ = running

    def last():
        return peer.outputs(photograph)['labels'][-1]

    first = last()
    assert peer.set(**change).successful
    assert peer.spin_until(lambda: last() != first)
    assert peer.set(**back).successful
    assert peer.spin_until(lambda: last() == first)


def test_overlay_opacity(running, photograph):
    _, peer, _ = running
    assert peer.set(overlay_opacity=0.0).successful
    _, outputs = peer.segment(data.coffee())
    assert peer.set(overlay_opacity=0.5).successful
    overlay = decode_image(outputs['overlay'][-1])
    changed = (overlay != data.coffee()).any(2)
    assert 0 < changed.mean() < 0.2
    assert (overlay[changed] == 255).all(1).mean() > 0.5  # borders and names alone


def test_max_image_megapixels(running):
    node, peer, _ = running
    assert peer.set(max_image_megapixels=0.1).successful
    refused = encode_image(data.coffee(), 'rgb8', peer.header())
    peer.publish(refused)
    assert peer.spin_until(lambda: 'expected at most 0.1 megapixels, received 0.24' in node.log)
    assert peer.set(max_image_megapixels=50.0).successful
    peer.segment(data.coffee())
    assert not any(peer.outputs(refused.header).values())


def test_rate_hz(running):
    _, peer, _ = running
    peer.segment(IMAGE)
    assert peer.set(rate_hz=0.001).successful  # a thousand seconds; the stamps are a second apart
    first = peer.header()  # since the change
    peer.publish(encode_image(IMAGE, 'rgb8', first))
    assert peer.spin_until(lambda: all(peer.outputs(first).values()))
    skipped = [peer.header() for _ in range(3)]
    for header in skipped:
        peer.publish(encode_image(IMAGE, 'rgb8', header))
        peer.spin_until(lambda: False, 0.2)
    assert not any(any(peer.outputs(header).values()) for header in skipped)
    assert peer.set(rate_hz=0.0).successful
    peer.segment(IMAGE)


def test_timeout_s(start_node, connect, slow_bundle):
    domain = free_domain()
    with start_node(domain, *slow_bundle(768), '-p', 'timeout_s:=1000.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(IMAGE)
        assert 'timeout_s' not in node.log
        assert peer.set(timeout_s=0.1).successful
        peer.publish(encode_image(IMAGE, 'rgb8', peer.header()))
        node.wait_for_log('the pipeline has been busy for over 0.1 s (timeout_s)')


def test_max_consecutive_failures(start_node, connect, broken_bundle):
    domain = free_domain()
    options = ('-p', f'backend:={broken_bundle}', '-p', 'diffusion.input_size:=128')
    options += ('-p', 'max_consecutive_failures:=0', '-p', 'rate_hz:=0.0')
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def publish() -> None:
            peer.publish(encode_image(np.zeros((64, 128, 3), np.uint8), 'rgb8', peer.header()))
            peer.spin_until(lambda: False, 0.1)

        peer.diagnostics(told=lambda _, values: int(values['failed']) > 3, meanwhile=publish)
        assert peer.state() == 'active'
        assert peer.set(max_consecutive_failures=3).successful
        assert peer.spin_until(lambda: peer.state() == 'unconfigured')


def test_no_image_at_the_old_tau_follows_one_at_the_new(running):
    """With images coming all the time, one is always in work when tau changes."""
    _, peer, _ = running
    image, labels = data.coffee(), peer.received['labels']

    def play(outputs: int) -> None:
        end = len(labels) + outputs

        def sent() -> bool:
            peer.send(encode_image(image, 'rgb8', peer.header()))
            return len(labels) >= end

        assert peer.spin_until(sent)

    peer.segment(image)
    orders = []
    for tau in (0.3, 0.9) * 5:
        play(4)
        old, start = bytes(labels[-1].data), len(labels)
        assert peer.set(tau=tau).successful
        play(6)
        orders.append(''.join('o' if bytes(message.data) == old else 'n' for message in labels[start:]))
    assert peer.set(tau=0.5).successful
    assert all(order.endswith('nnn') for order in orders), orders
    assert not [order for order in orders if 'no' in order], orders
