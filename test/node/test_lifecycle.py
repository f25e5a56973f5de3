"""The node as a managed node, alone and under a manager."""

import signal
import time

import numpy as np
import pytest
import torch

from support.domain import free_domain
from support.process import catches, memory_and_threads
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]


def test_without_autostart_it_waits_for_a_manager(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'autostart:=false') as node, connect(domain) as peer:
        assert peer.state() == 'unconfigured'
        assert peer.transition('configure')
        assert peer.state() == 'inactive'
        # Settings of the subscription are tried out while it configures.
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)
        assert peer.transition('activate')
        peer.segment(IMAGE)
        assert peer.transition('deactivate')
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)
        assert peer.transition('cleanup')
        assert peer.transition('shutdown')
        assert peer.state() == 'finalized'
        assert 'Traceback' not in node.log


def test_what_is_fixed_while_configured_can_be_set_before(start_node, connect):
    domain = free_domain()
    with start_node(domain) as node, connect(domain) as peer:
        peer.segment(IMAGE)
        assert not peer.set(**{'color.cells': 8}).successful
        assert peer.transition('deactivate')
        assert not peer.set(**{'color.cells': 8}).successful
        assert peer.transition('cleanup')
        assert peer.set(**{'color.cells': 8}).successful
        assert peer.transition('configure')
        assert peer.transition('activate')
        assert '8 cells along the shorter side' in node.log
        peer.segment(IMAGE)


def test_a_configuration_that_fails_leaves_it_unconfigured_and_can_be_mended(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'autostart:=false', '-p', 'device:=tpu9') as node, connect(domain) as peer:
        assert not peer.transition('configure')
        assert peer.state() == 'unconfigured'
        assert "device: expected auto or one of cpu, received 'tpu9'" in node.log
        level, message, _ = peer.diagnostics('diffcut')
        assert (level, message[:24]) == (b'\x02', 'device: expected auto or')
        result = peer.set(cameras=['front', 'front'])
        assert (result.successful, result.reason[:39]) == (False, 'cameras: expected at least one name, an')
        assert peer.set(device='cpu', cameras=['two words']).successful
        assert not peer.transition('configure')
        assert 'InvalidTopicNameException' in node.log
        assert peer.set(cameras=['']).successful
        assert peer.transition('configure')
        assert peer.transition('activate')
        peer.segment(IMAGE)


def test_fifty_rounds_leak_nothing(start_node, connect, small_bundle):
    domain = free_domain()
    options = ('-p', 'autostart:=false', '-p', f'backend:={small_bundle}', '-p', 'diffusion.input_size:=128')
    with start_node(domain, *options) as node, connect(domain) as peer:
        seen = []
        for round_number in range(50):
            for name in ('configure', 'activate', 'deactivate', 'cleanup'):
                if name == 'deactivate' and round_number % 10 == 0:
                    peer.segment(IMAGE)
                assert peer.transition(name), node.log
            seen.append(memory_and_threads(node.process.pid))
        (before, threads, files), (after, more_threads, more_files) = seen[10], seen[-1]
        assert more_threads <= threads
        assert more_files <= files + 2
        assert after < before + 20


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_two_seconds_in_the_middle_of_an_inference(start_node, connect, slow_bundle, number):
    domain = free_domain()
    with start_node(domain, *slow_bundle(1536), '-p', 'timeout_s:=100.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images', 60)
        assert peer.spin_until(lambda: peer.camera_is_subscribed)
        for _ in range(20):
            peer.publish(image_message(peer))
            peer.spin_until(lambda: False, 0.05)
        time.sleep(0.5)
        assert not peer.received['labels']  # still at it
        start_s = time.monotonic()
        node.process.send_signal(number)
        assert node.process.wait(10) == 0
        assert time.monotonic() - start_s < 2
        assert 'Traceback' not in node.log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_loads_a_model(start_node, small_bundle, number):
    with start_node(free_domain(), '-p', f'backend:={small_bundle}') as node:
        deadline_s = time.monotonic() + 60
        while not catches(node.process.pid, signal.SIGTERM):  # until then it imports what it needs to begin
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        time.sleep(2)  # importing what diffusion needs takes longer
        start_s = time.monotonic()
        node.process.send_signal(number)
        assert node.process.wait(10) == 0
        assert time.monotonic() - start_s < 2


def image_message(peer):
    from diffcut_ros.node.images import encode_image

    return encode_image(np.zeros((64, 128, 3), np.uint8), 'rgb8', peer.header())


def test_after_too_many_failures_it_gives_up_and_can_be_started_again(start_node, connect, broken_bundle):
    domain = free_domain()
    options = ('-p', f'backend:={broken_bundle}', '-p', 'diffusion.input_size:=128')
    options += ('-p', 'max_consecutive_failures:=3', '-p', 'rate_hz:=0.0')
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images', 60)
        peer.publish(image_message(peer))
        _, message, values = peer.diagnostics(level=b'\x02')
        assert 'features: expected finite values, received NaN' in message
        assert int(values['failed']) >= 1
        for _ in range(40):
            if not peer.camera_is_subscribed:
                break
            peer.publish(image_message(peer))
            peer.spin_until(lambda: False, 0.2)
        assert peer.spin_until(lambda: peer.state() == 'unconfigured')
        assert 'giving up, unconfigured from now on' in node.log
        assert node.process.poll() is None
        assert peer.set(backend='color').successful
        assert peer.transition('configure')
        assert peer.transition('activate')
        peer.segment(IMAGE)


def test_an_image_that_takes_too_long_is_an_error(start_node, connect, slow_bundle):
    domain = free_domain()
    with start_node(domain, *slow_bundle(1024), '-p', 'timeout_s:=0.2') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images', 60)
        peer.publish(image_message(peer))
        node.wait_for_log('the pipeline has been busy for over 0.2 s (timeout_s)')
        # The first may have been sent before.
        assert any(int(peer.diagnostics()[2]['timed out']) >= 1 for _ in range(5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')
def test_cleanup_returns_the_memory_of_the_gpu(start_node, connect, small_bundle):
    domain = free_domain()
    options = ('-p', f'backend:={small_bundle}', '-p', 'diffusion.input_size:=256', '-p', 'device:=cuda')
    with start_node(domain, *options), connect(domain) as peer:
        peer.segment(IMAGE)
        _, _, values = peer.diagnostics('diffcut')
        assert float(values['device memory allocated [MB]']) > 0
        assert peer.transition('deactivate')
        assert peer.transition('cleanup')
        _, message, values = peer.diagnostics('diffcut')
        assert (message, 'model' in values) == ('not active', False)
