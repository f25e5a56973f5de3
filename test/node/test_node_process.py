import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import LabelInfo

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


def test_says_that_it_compiles_and_keeps_it(start_node, monkeypatch, tmp_path):
    """When it is configured, before it waits for images; the next start has nothing to compile."""
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(tmp_path))
    logs = []
    for _ in range(2):
        with start_node(free_domain()) as node:
            node.wait_for_log('waiting for images')
            logs.append(node.log)
    assert re.search(
        r'compiling for this processor.*\n.*compiled \d+ functions in \d+ s\n.*waiting for images', logs[0]
    )
    assert 'compil' not in logs[1]


@pytest.mark.parametrize('override', ['best_effort', 'best_available'])
def test_says_that_a_publisher_is_silent(start_node, connect, override):
    domain = free_domain()
    option = f'qos_overrides./image.subscription.reliability:={override}'
    with start_node(domain, '-p', option) as node, connect(domain) as peer:
        peer.segment(np.zeros((8, 8, 3), np.uint8))
        node.wait_for_log('no image in 5 s on /image (1 publisher); /peer publishes on it, but sends nothing')
        node.wait_for_log('sends nothing any more; the last one came')
        assert 'lost' not in node.log
        assert 'too large' not in node.log


def test_says_that_images_come_again(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'lazy:=false') as node, connect(domain) as peer:
        node.wait_for_log('no image in 5 s on /image (1 publisher); /peer publishes on it, but sends nothing')
        image = np.zeros((8, 8, 3), np.uint8)
        peer.segment(image)
        node.wait_for_log('/image: images come now')
        peer.replace_camera(1)  # a driver that is started again, and takes its time
        peer.spin_until(lambda: False, 2.0)
        peer.remove_all()
        node.wait_for_log('no image in 5 s on /image (0 publishers); they have ended: the last one came ')
        assert 'remap' not in node.log
        with connect(domain, 'other', topics=()) as other:
            before = node.log
            other.spin_until(lambda: False, 4.0)
            assert 'sends nothing' not in node.log[len(before) :]
            other.publish(encode_image(image, 'rgb8', other.now()))
            node.wait_for_log('/image: images come again, after ')
            other.publish(encode_image(image, 'rgb8', other.now()))
            other.spin_until(lambda: False, 1.0)
            assert node.log.count('images come again') == 1


def test_no_topic_of_another_camera_is_suggested(start_node, connect):
    domain = free_domain()
    options = ('-p', 'cameras:=[front, rear]', '-p', 'depth:=true', '-p', 'lazy:=false')
    with (
        start_node(domain, *options) as node,
        connect(domain, 'one', camera='front') as front,
        connect(domain, 'two', camera='rear', topics=()) as rear,
    ):
        rear.remove(rear.depth)
        front.publisher(CompressedImage, '/front/depth/compressedDepth')
        node.wait_for_log('waiting for images')

        def told() -> bool:
            header = front.now()
            depth = encode_image(np.full((8, 8), 1500, np.uint16), 'mono16', header)
            depth.encoding = '16UC1'
            front.depth.publish(depth)
            front.camera_info.publish(CameraInfo(header=header, width=8, height=8))
            for peer in (front, rear):
                peer.send(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', header))
                peer.spin_until(lambda: False, 0.05)
            return 'no message in 5 s on /rear/depth' in node.log

        assert front.spin_until(told)
        (line,) = [line for line in node.log.splitlines() if 'no message in 5 s on /rear/depth' in line]
        assert line.endswith(
            '(0 publishers); to listen elsewhere, remap: --ros-args -r rear/depth:=/your/camera/topic; `depth` holds '
            'for all cameras of a node; a camera without depth needs a node of its own'
        )


@pytest.mark.parametrize('profile', [False, True])
def test_names_shared_memory_as_a_cause_until_there_is_more(start_node, connect, monkeypatch, profile):
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):  # of Fast DDS 2 and 3
        if profile:
            monkeypatch.setenv(name, str(CONFIG / 'fastdds_large_images.xml'))
        else:
            monkeypatch.delenv(name, raising=False)
    domain = free_domain()
    with start_node(domain, '-p', 'lazy:=false') as node, connect(domain):
        node.wait_for_log('/peer publishes on it, but sends nothing')
        assert ("too large: Fast DDS's shared memory holds 512 KB" in node.log) != profile
        assert 'XML' not in node.log
        maps = Path(f'/proc/{node.process.pid}/maps').read_text()
        segments = {Path(path) for path in re.findall(r'/dev/shm/fast[a-z]+_[0-9a-f]{16}$', maps, re.MULTILINE)}
        assert (max(path.stat().st_size for path in segments) > 64e6) == profile


def test_says_that_camera_info_and_depth_are_silent(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'depth:=true') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')

        def told() -> bool:
            peer.publish(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', peer.now()))
            peer.spin_until(lambda: False, 0.1)
            silent = '(1 publisher); /peer publishes on it, but sends nothing'
            return all(f'no message in 5 s on {topic} {silent}' in node.log for topic in ('/camera_info', '/depth'))

        assert peer.spin_until(told)
        assert 'lost' not in node.log
        assert 'on /image (' not in node.log


def test_lists_the_topics_that_may_be_meant_nearest_first(start_node, connect):
    """Depth in place of an image, or outputs of another node like this one, are not meant."""
    domain = free_domain()
    options = ('-r', 'image:=/front/image', '-p', 'depth:=true', '-p', 'lazy:=false', '-r', 'camera_info:=/front/info')
    options += ('-r', 'depth:=/front/range')
    with start_node(domain, *options) as node, connect(domain, topics=()) as peer:
        peer.publisher(Image, '/rear_camera/depth/rectified')
        peer.publisher(Image, '/front/image_raw')
        peer.publisher(Image, '/front/image_node/overlay')
        peer.publisher(LabelInfo, '/front/image_node/label_info')
        there = 'sensor_msgs/msg/Image is on /front/image_raw, /image; '
        node.wait_for_log(f'no image in 5 s on /front/image (0 publishers); {there}')
        (line,) = [line for line in node.log.splitlines() if there in line]
        assert line.endswith('to listen there, remap: --ros-args -r image:=/front/image_raw')
        node.wait_for_log('on /front/info (0 publishers); sensor_msgs/msg/CameraInfo is on /camera_info; to listen')
        there = 'sensor_msgs/msg/Image is on /depth, /rear_camera/depth/rectified, /front/image_raw, /image; '
        node.wait_for_log(f'no message in 5 s on /front/range (0 publishers); {there}')
        assert 'remap: --ros-args -r depth:=/depth' in node.log


def test_depth_alone_is_no_image(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-r', 'image:=/cam', '-p', 'lazy:=false') as node, connect(domain, topics=()) as peer:
        peer.remove_all()
        peer.publisher(Image, '/camera/depth')
        node.wait_for_log('to listen elsewhere, remap: --ros-args -r image:=/your/camera/topic')
        assert '/camera/depth' not in node.log


def test_says_where_there_are_compressed_images_only(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-r', 'image:=/cam', '-p', 'lazy:=false') as node, connect(domain, topics=()) as peer:
        peer.remove_all()
        peer.publisher(CompressedImage, '/camera/compressed')
        node.wait_for_log('--ros-args -r image:=/camera -p image_transport:=compressed')


def test_says_that_a_topic_has_another_type(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-r', 'image:=/cam', '-p', 'lazy:=false') as node, connect(domain, topics=()) as peer:
        peer.publisher(CompressedImage, '/cam')
        node.wait_for_log(
            'no image in 5 s on /cam (1 publisher); /peer publishes sensor_msgs/msg/CompressedImage, '
            'expected sensor_msgs/msg/Image'
        )


def test_two_nodes_of_one_name_are_told(start_node):
    domain = free_domain()
    with start_node(domain) as first:
        first.wait_for_log('waiting for images')
        assert 'nodes are called' not in first.log
        with start_node(domain) as second:
            for node in (second, first):
                node.wait_for_log(f'2 nodes are called /diffcut, this one (process {node.process.pid}) and another')
        with start_node(domain, '-r', '__ns:=/robot1') as third:
            third.wait_for_log('waiting for images')
            time.sleep(3)
            assert 'nodes are called' not in third.log


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
    ],
)
def test_other_arguments(arguments, code, text):
    command = [sys.executable, '-m', 'diffcut_ros.node.diffcut_node', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code
    assert text in done.stdout + done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        (None, 'expected a parameter file, cannot read it: No such file or directory'),
        ('a: 1\n  b: 2\n', 'cannot read it: line 2, column 4: mapping values are not allowed here'),
        (
            '/diffcut:\n  ros__parameters:\n\ttau: 0.5\n',
            r'cannot read it: line 3, column 1: found character .+ cannot start',
        ),
        (
            '/diffcut:\n  ros__parameters:\n    tau: [0.5\n    backend: color\n',
            r'cannot read it: line 4, column \d+: expected',
        ),
        ('tau: 0.5\n', 'expected NODE: ros__parameters: ..., received none of these'),
        ('/diffcut:\n  ros__parameters:\n    tau:\n', 'parameter tau: expected a value, received none'),
    ],
)
def test_a_parameter_file_that_ros_refuses(tmp_path, content, text):
    """In one line of ours, without those of ROS's own code."""
    path = tmp_path / 'params.yaml'
    if content is not None:
        path.write_text(content)
    command = [sys.executable, '-m', 'diffcut_ros.node.diffcut_node', '--ros-args', '--params-file', str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert re.search(rf'\[FATAL\].*: {re.escape(str(path))}: .*{text}', done.stderr), done.stderr
    assert '.c:' not in done.stderr


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


@pytest.mark.parametrize('change', ['listener leaves', 'listener returns', 'deactivation', 'depth pauses', 'all pause'])
def test_nothing_is_said_of_slop_after_a_change(start_node, connect, change):
    """Its last image is left without depth, as whatever the change cut off."""
    domain = free_domain()
    with start_node(domain, '-p', 'depth:=true') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()

        def send(with_depth: bool = True) -> None:
            header = peer.now()
            peer.camera_info.publish(CameraInfo(header=header, width=8, height=8, k=[9.0, 0, 4, 0, 9.0, 4, 0, 0, 1]))
            if with_depth:
                depth = encode_image(np.full((8, 8), 1500, np.uint16), 'mono16', header)
                depth.encoding = '16UC1'
                peer.depth.publish(depth)
            peer.send(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)

        def play(seconds: float, with_depth: bool = True) -> None:
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                send(with_depth)

        assert peer.spin_until(lambda: send() or peer.received['labels'])
        send(with_depth=False)
        if change == 'deactivation':
            assert peer.transition('deactivate')
            peer.spin_until(lambda: False, 7.0)
            assert peer.transition('activate')
        elif change.startswith('listener'):
            peer.unsubscribe()
            peer.spin_until(lambda: False, 7.0 if change.endswith('returns') else 12.0)
            if change.endswith('returns'):
                peer.subscribe('labels')
        elif change == 'depth pauses':
            play(11.0, with_depth=False)
            node.wait_for_log('no message in 5 s on /depth')
        else:
            peer.spin_until(lambda: False, 11.0)
            node.wait_for_log('no image in 5 s on /image')
        play(1.0)
        peer.received['diagnostics'].clear()  # while depth pauses, they speak of it
        play(6.0)
        assert 'sync_slop_s' not in node.log
        for message in peer.received['diagnostics']:
            assert not [status.message for status in message.status if 'sync_slop_s' in status.message]


def test_depth_with_other_stamps_is_told(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'depth:=true') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.wait_until_met()

        def told() -> bool:
            header, later = peer.now(), peer.now()
            later.stamp.sec += 7
            peer.camera_info.publish(CameraInfo(header=header, width=8, height=8))
            depth = encode_image(np.full((8, 8), 1500, np.uint16), 'mono16', later)
            depth.encoding = '16UC1'
            peer.depth.publish(depth)
            peer.send(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', header))
            peer.spin_until(lambda: False, 0.1)
            return '/image: no message within 0.02 s (sync_slop_s) of its images on /depth' in node.log

        assert peer.spin_until(told)
