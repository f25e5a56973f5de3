"""The node with a vision transformer (a small one, random weights: its segments mean nothing)."""

import numpy as np
import pytest

from diffcut_ros.features.models import fast_on_cpu, precision_name
from support.domain import free_domain


def test_segments_images(start_node, connect, vit_bundle):
    domain = free_domain()
    options = ('-p', f'backend:={vit_bundle}', '-p', 'vit.input_size:=112', '-p', 'tau:=0.5')
    with start_node(domain, *options) as node, connect(domain) as peer:
        numbers = precision_name(fast_on_cpu())
        node.wait_for_log(f'last, in {numbers}, input 126x98 for images of 4:3, patch 14, joint kernel) on cpu')
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
        (('-p', 'vit.input_size:=100'), 'input_size: expected a multiple of 14'),
        (('-p', 'vit.layer:=9.keys'), 'layer: expected last, the one in the bundle'),
        (('-p', 'vit.precision:=int8'), 'parameter vit.precision: expected one of auto, float32'),
        (('-p', 'vit.kernel:=cosine'), 'parameter vit.kernel: expected one of joint, plain'),
    ],
)
def test_says_why_it_cannot_start(start_node, vit_bundle, options, problem):
    with start_node(free_domain(), '-p', f'backend:={vit_bundle}', *options) as node:
        assert node.wait() == 2
        assert problem in node.log
        assert 'Traceback' not in node.log


def test_a_name_that_is_not_here(start_node):
    with start_node(free_domain(), '-p', 'backend:=dinov3-vits16') as node:
        assert node.wait() == 2
        assert 'diffcut_export dinov3-vits16 FOLDER' in node.log
        assert 'Traceback' not in node.log
