"""The node with a diffusion backend (a small one, random weights: its segments mean nothing)."""

import numpy as np
import pytest

from support.domain import free_domain


def test_segments_images(start_node, connect, small_bundle):
    domain = free_domain()
    options = (
        '-p',
        f'backend:={small_bundle}',
        '-p',
        'diffusion.input_size:=128',
        '-p',
        'diffusion.vae:=tiny',
        '-p',
        'diffusion.aspect:=4:3',
    )
    with start_node(domain, *options, '-p', 'refine:=pamr') as node, connect(domain) as peer:
        node.wait_for_log('tiny VAE in float32, UNet in float32, input 160x96, 3x5 cells) on cpu')
        image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        header, outputs = peer.segment(image)
        assert (outputs['labels'][0].height, outputs['labels'][0].width) == (120, 160)
        assert outputs['segments'][0].detections
        assert peer.set(tau=0.9).successful
        assert peer.spin_until(lambda: len(peer.outputs(header)['labels']) > 1)
        assert len(peer.outputs(header)['segments'][-1].detections) >= len(outputs['segments'][0].detections)


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (('-p', 'backend:=magic'), 'backend: expected color, or ssd-1b, ssd-vega, sd1.4, dinov2-small, '),
        (
            ('-p', 'backend:=nobody/nothing'),
            'model nobody/nothing is not on this machine, and downloads are not allowed',
        ),
        (('-p', 'diffusion.precision:=int8'), 'parameter diffusion.precision: expected one of auto, float32'),
    ],
)
def test_says_why_it_cannot_start(start_node, options, problem):
    with start_node(free_domain(), *options) as node:
        assert node.wait() == 2
        assert problem in node.log
        assert 'Traceback' not in node.log
