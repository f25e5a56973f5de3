"""Real nodes in their own processes, on a ROS domain that nobody else uses."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context

from support.domain import free_domain
from support.peer import Peer
from support.waiting import PATIENCE_S, wait_for


class NodeProcess:
    """A process under test and what it logged."""

    def __init__(self, process: subprocess.Popen, log_path: Path) -> None:
        self.process, self._log_path = process, log_path

    @property
    def log(self) -> str:
        """All output so far, stdout and stderr."""
        return self._log_path.read_text()

    def wait_for_log(self, text: str) -> None:
        """Wait until the log holds a text, or fail."""
        wait_for(lambda: text in self.log, self.process, lambda: f'{text!r} is not in the log:\n{self.log}')

    def wait(self) -> int:
        """Return the exit code of the process once it has ended."""
        return self.process.wait(PATIENCE_S)


@pytest.fixture(scope='session')
def start_node(tmp_path_factory):
    """Function that runs the node with ROS arguments in its own process; a context manager that yields NodeProcess.

    Or `program` in its place, the arguments of a Python.
    """

    @contextmanager
    def start(domain: int, *ros_args: str, program: tuple[str, ...] = ('-m', 'diffcut_ros.node.diffcut_node')):
        log_path = tmp_path_factory.mktemp('node') / 'log.txt'
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        command = [sys.executable, *program, '--ros-args', *ros_args]
        with log_path.open('w') as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            yield NodeProcess(process, log_path)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    return start


@pytest.fixture(scope='session')
def connect():
    """Function that makes a `Peer` on a domain; a context manager."""

    @contextmanager
    def peer(domain: int, name: str = 'peer', **options):
        previous = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE')
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        context = Context()
        rclpy.init(context=context, domain_id=domain)
        made = Peer(name, context, **options)
        try:
            yield made
        finally:
            made.close()
            rclpy.shutdown(context=context)
            if previous is None:
                del os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE']
            else:
                os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = previous

    return peer


@pytest.fixture(scope='module')
def running(start_node, connect):
    """A node with default parameters and a peer that talks to it, for a whole file: (NodeProcess, Peer, domain)."""
    domain = free_domain()
    with start_node(domain, '-p', 'rate_hz:=0.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images on /image')
        yield node, peer, domain


@pytest.fixture(scope='session')
def small_bundle(checkpoints, tmp_path_factory):
    """An encoder bundle with small networks and random weights: its segments mean nothing."""
    from diffcut_ros.features import export

    out = tmp_path_factory.mktemp('bundles') / 'small'
    assert export.main([str(checkpoints['sdxl']), str(out), '--tiny-vae', str(checkpoints['tiny'])]) == 0
    return out


@pytest.fixture(scope='session')
def vit_bundle(vits, tmp_path_factory):
    """A bundle of a small vision transformer with random weights: its segments mean nothing."""
    from diffcut_ros.features import export

    out = tmp_path_factory.mktemp('bundles') / 'vit'
    assert export.main([str(vits['dinov2']), str(out)]) == 0
    return out


@pytest.fixture(scope='session')
def slow_bundle(small_bundle):
    """Function from an input size to the ROS arguments of a backend that takes long: small networks, large input."""

    def arguments(input_size: int) -> tuple[str, ...]:
        return '-p', f'backend:={small_bundle}', '-p', f'diffusion.input_size:={input_size}', '-p', 'rate_hz:=0.0'

    return arguments


@pytest.fixture(scope='session')
def broken_bundle(small_bundle, tmp_path_factory):
    """An encoder bundle whose features are not finite."""
    import dataclasses

    from diffcut_ros.features.diffusion.bundle import read_bundle, write_bundle

    out = tmp_path_factory.mktemp('bundles') / 'broken'
    encoder = read_bundle(small_bundle)
    weights = {name: tensor * float('nan') for name, tensor in encoder.unet.items()}
    write_bundle(dataclasses.replace(encoder, unet=weights), out)
    return out
