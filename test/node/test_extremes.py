"""The lowest and the highest value of each parameter, live and at start, while images flow."""

import pytest

from diffcut_ros.core.parameters import parameters
from diffcut_ros.node.images import encode_image
from diffcut_ros.settings import SPECS
from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]
BACKENDS = ('color.', 'diffusion.')


def ends(live: bool, among: str = '') -> dict[str, tuple]:
    """Return the lowest and the highest value of parameters, or all choices, with the default as the last one."""
    found = {}
    for prefix, config in SPECS:
        for name, (field, info) in parameters(config).items():
            if info.live == live and (prefix == among if among else prefix not in BACKENDS):
                values = info.choices or ((False, True) if field.type is bool else (info.minimum, info.maximum))
                if None not in values:
                    found[prefix + name] = *(field.type(value) for value in values), field.default
    return found


def test_live(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'max_consecutive_failures:=0', '-p', 'lazy:=false') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(IMAGE)
        walked = ends(live=True)
        del walked['max_consecutive_failures']  # an image may fail, at a timeout_s of 0.1 s
        assert {'tau', 'rate_hz', 'timeout_s', 'tracking.max_age_s', 'diagnostics.stale_after_s'} < walked.keys()
        for name, values in walked.items():
            for value in values:
                result = peer.set(**{name: value})
                if value == 'space':  # needs depth
                    assert not result.successful
                    continue
                assert result.successful, (name, value, result.reason)
                for _ in range(3):
                    peer.send(encode_image(IMAGE, 'rgb8', peer.header()))
                    peer.spin_until(lambda: False, 0.1)
            peer.segment(IMAGE)
        assert peer.state() == 'active'
        assert 'internal error' not in node.log
        assert 'a thread of the node ended' not in node.log
        assert 'Traceback' not in node.log


@pytest.mark.parametrize('at', [0, 1], ids=['lowest', 'highest'])
def test_at_start(start_node, connect, at):
    """All that are no backend's; of several choices the first and the last."""
    domain = free_domain()
    given = {
        name: values[0 if at == 0 else -2]
        for name, values in (ends(live=False) | ends(live=True)).items()
        if name
        not in ('autostart', 'depth', 'image_transport', 'depth_transport', 'max_consecutive_failures', 'instances')
    }
    assert len(given) > 15
    options = [option for name, value in given.items() for option in ('-p', f'{name}:={value}')]
    with start_node(domain, *options, '-p', 'max_consecutive_failures:=0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        for name, value in given.items():
            assert peer.get(name) == value
        for _ in range(5):
            peer.send(encode_image(IMAGE, 'rgb8', peer.header()))
            peer.spin_until(lambda: False, 0.2)
        assert peer.set(
            rate_hz=0.0, timeout_s=100.0, max_image_megapixels=1.0, min_segment_area=0, target_segments=0, tau=0.5
        ).successful
        peer.segment(IMAGE)
        assert peer.state() == 'active'
        assert 'internal error' not in node.log
        assert 'Traceback' not in node.log


def test_of_the_color_backend(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'autostart:=false', '-p', 'rate_hz:=0.0') as node, connect(domain) as peer:
        for name, values in ends(live=False, among='color.').items():
            for value in values:
                assert peer.set(**{name: value}).successful
                assert peer.transition('configure')
                assert peer.transition('activate')
                peer.segment(IMAGE)
                assert peer.transition('deactivate')
                assert peer.transition('cleanup')
        assert 'failed' not in node.log
        assert 'Traceback' not in node.log
