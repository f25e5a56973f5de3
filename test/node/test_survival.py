"""What must not end the node, nor leave it running without working: it is told, and goes on."""

import signal
import time

import pytest
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants
from support.waiting import wait_for

IMAGE = quadrants(64, 128)[0]
# The node, in which SIGUSR1 ends a thread as nothing that its code catches does.
WITH_A_THREAD_THAT_ENDS = """
import ctypes, signal, sys, threading
from diffcut_ros.node.diffcut_node import main

def end(*_):
    (thread,) = [one for one in threading.enumerate() if one.name == 'diffcut-{name}']
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)) == 1

signal.signal(signal.SIGUSR1, end)
sys.exit(main())
"""


def test_a_callback_that_fails(start_node, connect):
    """A type that parameters do not have: rclpy raises, before anything of the node is asked."""
    domain = free_domain()
    with start_node(domain) as node, connect(domain) as peer:
        peer.segment(IMAGE)
        client = peer.client(SetParameters, '/diffcut/set_parameters')
        assert peer.spin_until(client.service_is_ready)
        bad = Parameter(name='tau', value=ParameterValue(type=77))
        for _ in range(3):
            client.call_async(SetParameters.Request(parameters=[bad]))
            peer.diagnostics('diffcut', level=b'\x02', told=lambda text, _: text.startswith('internal error: '))
        peer.segment(IMAGE)
        peer.diagnostics('diffcut', level=b'\x00')
        assert peer.set(tau=0.4).successful
        (line,) = [line for line in node.log.splitlines() if 'internal error' in line]
        assert line.endswith('what was asked is not done, the node goes on')
        assert node.process.poll() is None


@pytest.mark.parametrize('name', ['worker', 'finisher', 'mapper'])
def test_a_worker_that_ends(start_node, connect, monkeypatch, name):
    monkeypatch.setenv('OMP_NUM_THREADS', '2')  # the second thread is there on one core, too
    domain = free_domain()
    program = ('-c', WITH_A_THREAD_THAT_ENDS.format(name=name))
    with start_node(domain, '-p', 'rate_hz:=0.0', program=program) as node, connect(domain) as peer:
        peer.segment(IMAGE)
        node.process.send_signal(signal.SIGUSR1)

        def ended() -> bool:  # it hears of its end with the next image
            peer.send(encode_image(IMAGE, 'rgb8', peer.header()))
            peer.spin_until(lambda: False, 0.1)
            return 'a thread of the node ended; started again' in node.log

        assert peer.spin_until(ended)
        peer.segment(IMAGE)
        assert 'ERROR' in node.log
        assert peer.state() == 'active'


def test_a_thread_that_cuts_again_ends(start_node, connect):
    domain = free_domain()
    program = ('-c', WITH_A_THREAD_THAT_ENDS.format(name='recutter'))
    with start_node(domain, '-p', 'rate_hz:=0.0', program=program) as node, connect(domain) as peer:
        header, _ = peer.segment(IMAGE)
        node.process.send_signal(signal.SIGUSR1)
        peer.spin_until(lambda: False, 1.0)
        assert peer.set(tau=0.0).successful
        node.wait_for_log('a thread of the node ended; started again')
        assert peer.set(tau=0.01).successful
        assert peer.spin_until(lambda: len(peer.outputs(header)['labels']) > 1)


def test_a_node_that_was_stopped_goes_on_and_tells_nothing_false(start_node, connect):
    """Stopped for longer than anything may be silent, or an image may take."""
    domain = free_domain()
    options = ('-p', 'timeout_s:=2.0', '-p', 'diagnostics.stale_after_s:=3.0')
    options += ('-p', 'diagnostics.warn_age_s:=3600.0')  # the output that was in work is old
    with start_node(domain, *options) as node, connect(domain) as peer:
        peer.segment(IMAGE)

        def play(seconds: float) -> None:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                peer.send(encode_image(IMAGE, 'rgb8', peer.now()))
                peer.spin_until(lambda: False, 0.1)

        play(2.0)
        node.process.send_signal(signal.SIGSTOP)
        play(7.0)
        before = len(peer.received['labels'])
        seen = len(peer.received['diagnostics'])
        node.process.send_signal(signal.SIGCONT)
        wait_for(lambda: 'this node stood still for ' in node.log, node.process)
        play(2.0)
        assert before < len(peer.received['labels']) <= before + 25  # 20 were sent since, one was kept
        for text in ('no image in', 'timeout_s', 'lost on the way', 'sync_slop_s', 'internal error'):
            assert text not in node.log
        statuses = [status for message in peer.received['diagnostics'][seen:] for status in message.status]
        assert len(statuses) > 1
        assert not [status.message for status in statuses if status.level != b'\x00']
