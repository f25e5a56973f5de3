"""The node as a managed node, alone and under a manager."""

import resource
import signal

import numpy as np
import pytest
import torch
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from support.domain import free_domain
from support.process import cpu_s, has_loaded, memory_and_threads
from support.scenes import quadrants
from support.waiting import wait_for

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


def test_a_transition_that_the_state_does_not_know_is_refused(start_node, connect):
    """As when a manager configures a node that has activated itself, or two managers race; they ask by number."""
    domain = free_domain()
    with start_node(domain) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        client = peer.client(ChangeState, '/diffcut/change_state')

        def change(number: int) -> bool:
            return peer.call(client, ChangeState.Request(transition=Transition(id=number))).success

        for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE, 77, 255):
            assert not change(number)
        assert not peer.transition('no_such_transition')
        assert peer.state() == 'active'
        lines = [line for line in node.log.splitlines() if 'transition' in line]
        assert len(lines) == 2  # of numbers and of a label
        assert lines[0].endswith('no transition 1 from the state active: possible are deactivate, shutdown')
        peer.segment(IMAGE)
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert not change(Transition.TRANSITION_DEACTIVATE)
        assert change(Transition.TRANSITION_CLEANUP)
        assert not change(Transition.TRANSITION_ACTIVATE)
        assert change(Transition.TRANSITION_CONFIGURE)
        assert change(Transition.TRANSITION_ACTIVATE)
        peer.segment(IMAGE)
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
        peer.diagnostics(
            'diffcut', level=b'\x02', told=lambda message, _: message.startswith('device: expected auto or')
        )
        result = peer.set(cameras=['front', 'front'])
        assert (result.successful, result.reason[:39]) == (False, 'cameras: expected at least one name, an')
        assert peer.set(device='cpu', cameras=['two words']).successful
        assert not peer.transition('configure')
        assert 'topic name must not contain characters other than' in node.log
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
def test_a_signal_ends_it_in_the_middle_of_an_inference(start_node, connect, slow_bundle, number):
    """An inference takes 8 s of a core, and more images wait: what is computed afterwards tells whether it ended."""
    domain = free_domain()
    with start_node(domain, *slow_bundle(1536), '-p', 'timeout_s:=1000.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.diagnostics(
            told=lambda _, values: int(values['received']) > 1,
            meanwhile=lambda: peer.publish(image_message(peer)),
        )
        before_s = cpu_s(node.process.pid) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        node.process.send_signal(number)
        assert node.wait() == 0
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before_s < 4
        assert 'Traceback' not in node.log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_loads_a_model(start_node, small_bundle, number):
    with start_node(free_domain(), '-p', f'backend:={small_bundle}') as node:
        # A library that only models need is there: the others, and the model, are still to come.
        wait_for(lambda: has_loaded(node.process.pid, 'safetensors'), node.process, lambda: node.log)
        node.process.send_signal(number)
        assert node.wait() == 0, node.log
        assert 'waiting for images' not in node.log


def image_message(peer):
    from diffcut_ros.node.images import encode_image

    return encode_image(np.zeros((64, 128, 3), np.uint8), 'rgb8', peer.header())


def test_after_too_many_failures_it_gives_up_and_can_be_started_again(start_node, connect, broken_bundle):
    domain = free_domain()
    options = ('-p', f'backend:={broken_bundle}', '-p', 'diffusion.input_size:=128')
    options += ('-p', 'max_consecutive_failures:=3', '-p', 'rate_hz:=0.0')
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.publish(image_message(peer))
        _, message, values = peer.diagnostics(level=b'\x02')
        assert 'features: expected finite values, received NaN' in message
        assert int(values['failed']) >= 1

        def given_up() -> bool:
            peer.send(image_message(peer))
            peer.spin_until(lambda: False, 0.1)
            return not peer.camera_is_subscribed

        assert peer.spin_until(given_up)
        assert peer.spin_until(lambda: peer.state() == 'unconfigured')
        assert 'failures in a row (max_consecutive_failures: 3), the last one: /image: image not segmented' in node.log
        assert 'unconfigured from now on, configure and activate' in node.log
        for _ in range(2):  # until it is configured again
            _, message, _ = peer.diagnostics('diffcut', level=b'\x02', told=lambda text, _: text.startswith('gave up'))
            assert 'received NaN' in message
        assert node.process.poll() is None
        assert peer.set(backend='color').successful
        assert peer.transition('configure')
        assert peer.transition('activate')
        peer.segment(IMAGE)
        peer.diagnostics('diffcut', level=b'\x00', told=lambda message, _: message == 'active')


def test_an_image_that_outlasts_a_deactivation_is_told(start_node, connect, slow_bundle):
    domain = free_domain()
    with start_node(domain, *slow_bundle(1536), '-p', 'timeout_s:=1000.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def begin() -> None:
            peer.diagnostics(
                told=lambda _, values: int(values['received']) > 1,
                meanwhile=lambda: peer.publish(image_message(peer)),
            )

        begin()
        assert peer.transition('deactivate')
        assert 'an image is still being computed, which cannot be stopped' in node.log
        assert peer.transition('activate')
        peer.publish(image_message(peer))
        node.wait_for_log('waiting for an image of before the deactivation')
        # A new backend does not wait for the old one.
        for name in ('deactivate', 'cleanup'):
            assert peer.transition(name)
        assert peer.set(backend='color').successful
        for name in ('configure', 'activate'):
            assert peer.transition(name)
        peer.segment(IMAGE)


def test_an_image_that_takes_too_long_is_an_error(start_node, connect, slow_bundle):
    domain = free_domain()
    with start_node(domain, *slow_bundle(1024), '-p', 'timeout_s:=0.2') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.publish(image_message(peer))
        node.wait_for_log('the pipeline has been busy for over 0.2 s (timeout_s)')
        peer.diagnostics(told=lambda _, values: int(values['timed out']) >= 1)


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
        _, _, values = peer.diagnostics('diffcut', told=lambda message, _: message == 'not active')
        assert 'model' not in values
