"""The bond with a lifecycle manager such as that of Nav2. The package `bond`, which it needs, is built for the test."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from support.domain import free_domain
from support.packages import message_package
from support.waiting import wait_for

SUPPORT = Path(__file__).parents[1] / 'support'
IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope='module')
def with_bond(tmp_path_factory):
    """The environment in which the package is there."""
    return message_package(SUPPORT / 'bond.txt', '4.1.2', tmp_path_factory.mktemp('bond'))


@contextmanager
def manager(domain: int, path: Path, topic: str):
    """Run a manager; yields a function that gives what it has heard so far."""
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    command = [sys.executable, str(SUPPORT / 'bond_manager.py'), 'diffcut', topic]
    with path.open('w') as log:
        process = subprocess.Popen(command, stdout=log, env=environment)
    try:
        yield lambda: [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith('\n')]
    finally:
        process.kill()
        process.wait()


def test_from_activation_to_deactivation(start_node, connect, with_bond, monkeypatch, tmp_path):
    for name, value in with_bond.items():
        monkeypatch.setenv(name, value)
    domain = free_domain()
    with (
        manager(domain, tmp_path / 'heard.txt', '/bond') as heard,
        start_node(domain, '-p', 'autostart:=false') as node,
        connect(domain) as peer,
    ):

        def infos() -> list:
            return [info for info in peer.publisher_infos('/bond') if info.node_name == 'diffcut']

        assert peer.spin_until(infos)
        (info,) = infos()
        assert info.topic_type == 'bond/msg/Status'
        assert peer.transition('configure')
        assert not heard()
        instances = []
        for leave, state in (('deactivate', 'inactive'), ('shutdown', 'finalized')):
            before = len(heard())
            assert peer.transition('activate')
            peer.segment(IMAGE)
            wait_for(lambda before=before: len(heard()) >= before + 20, node.process)
            assert peer.transition(leave)
            assert peer.state() == state
            wait_for(lambda: not heard()[-1]['active'], node.process)
            peer.spin_until(lambda: False, 1.0)
            *alive, last = heard()[before:]
            assert all(one['active'] for one in alive)
            assert not last['active']
            assert {one['id'] for one in [*alive, last]} == {'diffcut'}
            assert {round(one['heartbeat_period'], 3) for one in alive} == {0.1}
            assert {one['heartbeat_timeout'] for one in alive} == {4.0}
            (instance,) = {one['instance_id'] for one in [*alive, last]}
            instances.append(instance)
        assert len(set(instances)) == 2
        assert 'Traceback' not in node.log


def test_goes_on_without_the_manager_and_in_its_namespace(start_node, connect, with_bond, monkeypatch, tmp_path):
    for name, value in with_bond.items():
        monkeypatch.setenv(name, value)
    domain = free_domain()
    with start_node(domain, '-r', '__ns:=/robot1') as node:
        node.wait_for_log('waiting for images')
        for name in ('first', 'second'):  # managers: one goes, another comes
            with manager(domain, tmp_path / name, '/robot1/bond') as heard:
                wait_for(lambda heard=heard: len(heard()) >= 10, node.process)
                assert all(one['active'] for one in heard())
    assert 'Traceback' not in node.log


def test_without_the_package_there_is_none(running):
    _, peer, _ = running
    peer.segment(IMAGE)
    assert not peer.publisher_infos('/bond')
