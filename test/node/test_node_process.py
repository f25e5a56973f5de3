import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import CameraInfo

from diffcut_ros.node.images import encode_image
from support.domain import free_domain

CONFIG = Path(__file__).parents[2] / 'config'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_with_code_0(start_node, connect, number):
    domain = free_domain()
    with start_node(domain) as node, connect(domain) as peer:
        peer.segment(np.zeros((480, 640, 3), np.uint8))
        node.process.send_signal(number)
        assert node.wait() == 0
        assert 'Traceback' not in node.log


@pytest.mark.parametrize('pause_s', [0.01, 0.03, 0.1])
def test_a_second_signal_changes_nothing(start_node, pause_s):
    """Ctrl-C under ros2 launch: one signal from the terminal, one from launch."""
    with start_node(free_domain()) as node:
        node.wait_for_log('waiting for images')
        for _ in range(2):
            node.process.send_signal(signal.SIGINT)
            time.sleep(pause_s)
        assert node.wait() == 0
        assert 'Traceback' not in node.log


def test_says_what_to_do_when_images_may_get_lost(start_node, connect):
    domain = free_domain()
    option = 'qos_overrides./image.subscription.reliability:=best_effort'
    with start_node(domain, '-p', option) as node, connect(domain) as peer:
        peer.segment(np.zeros((8, 8, 3), np.uint8))  # after that, the peer's reliable publisher is silent
        node.wait_for_log('(1 publisher); large images may get lost: try -p qos_overrides./image.subscription')


def test_says_which_of_several_topics_is_silent(start_node, connect):
    domain = free_domain()
    options = ('-p', 'depth:=true', '-r', 'depth:=/nowhere', '-p', 'lazy:=false')
    with start_node(domain, *options) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images on /image, /camera_info, /nowhere')
        assert peer.spin_until(lambda: peer.camera_is_subscribed)

        def told() -> bool:
            header = peer.now()
            peer.camera_info.publish(CameraInfo(header=header, width=8, height=8))
            peer.publish(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)
            return 'no message in 5 s on /nowhere (0 publishers)' in node.log

        assert peer.spin_until(told)
        assert 'on /image (' not in node.log
        assert 'on /camera_info (' not in node.log


@pytest.mark.parametrize(
    ('arguments', 'code', 'text'),
    [
        (['--help'], 0, 'usage: diffcut_node'),
        (['--tau', '0.7'], 2, 'unrecognized arguments: --tau 0.7'),
        (['--ros-args', '--params-file', '/no/such.yaml'], 2, '/no/such.yaml'),
    ],
)
def test_other_arguments(arguments, code, text):
    command = [sys.executable, '-m', 'diffcut_ros.node.diffcut_node', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert text in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr


def test_says_where_it_waits_when_no_image_comes(start_node):
    with start_node(free_domain(), '-r', 'image:=/nowhere', '-p', 'lazy:=false') as node:
        node.wait_for_log('no image in 5 s on /nowhere (0 publishers); to listen elsewhere, remap')


@pytest.mark.parametrize('path', sorted(CONFIG.glob('*.yaml')), ids=lambda p: p.name)
def test_parameter_files_have_declared_parameters_with_good_values(start_node, connect, path):
    """Without a model: those of diffusion backends are not here."""
    domain = free_domain()
    given = yaml.safe_load(path.read_text())
    expected = next(iter(given.values()))['ros__parameters']
    with (
        start_node(domain, '--params-file', str(path), '-p', 'autostart:=false') as node,
        connect(domain, topics=()) as peer,
    ):
        assert peer.state() == 'unconfigured', node.log
        for name, value in flat(expected).items():
            assert peer.get(name) == value


def flat(tree: dict, prefix: str = '') -> dict:
    """Return parameters by their full names, without QoS overrides, whose topics have dots of their own."""
    leaves = {}
    for name, value in tree.items():
        if name != 'qos_overrides':
            leaves |= flat(value, f'{prefix}{name}.') if isinstance(value, dict) else {prefix + name: value}
    return leaves


def test_a_model_that_is_not_there_is_told_with_the_command_that_fetches_it(start_node):
    with start_node(free_domain(), '--params-file', str(CONFIG / 'gpu.yaml')) as node:
        assert node.wait() == 2
        assert 'is not on this machine, and downloads are not allowed. Fetch it once: diffcut_export' in node.log


def test_rate_hz_goes_by_the_stamps(start_node, connect):
    domain = free_domain()
    image = np.zeros((8, 8, 3), np.uint8)
    with start_node(domain, '-p', 'rate_hz:=0.25') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(image)
        early = [peer.header() for _ in range(3)]  # the stamps are a second apart, and four are asked for
        for header in early:
            peer.publish(encode_image(image, 'rgb8', header))
            peer.spin_until(lambda: False, 0.2)
        peer.segment(image)
        assert not any(any(peer.outputs(header).values()) for header in early)
