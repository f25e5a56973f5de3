"""The launch files under the real `launch` and `launch_ros`, with the real node."""

import ast
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from rcl_interfaces.srv import GetParameters

from diffcut_ros.shared_memory import PROFILES
from support.domain import free_domain
from support.scenes import quadrants
from support.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
IMAGE = quadrants(64, 128)[0]

# The folder launch/ at the root is not the ROS package launch: ask for something inside it.
try:
    from launch_ros.actions import Node as LaunchNode
except ModuleNotFoundError:
    LaunchNode = None
with_launch = pytest.mark.skipif(
    LaunchNode is None, reason='launch and launch_ros are absent: ROS distributions have them'
)

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
file, *arguments = sys.argv[1:]
pairs = [argument.split(':=', 1) for argument in arguments]
service = LaunchService(noninteractive=True)
source = PythonLaunchDescriptionSource(file)
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source, launch_arguments=pairs)]))
sys.exit(service.run())
"""


def declarations(path: Path) -> dict[str, ast.Call]:
    """Return the calls that declare arguments, by the argument's name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {c.args[0].value: c for c in calls if getattr(c.func, 'id', '') == 'DeclareLaunchArgument'}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda p: p.name)
def test_the_documentation_names_every_argument(path):
    arguments = declarations(path)
    assert arguments
    page = (ROOT / 'docs/launch.md').read_text()
    assert path.name in page
    for argument in arguments:
        assert f'| `{argument}` |' in page


@pytest.mark.parametrize('name', ['diffcut.launch.py', 'multi_camera.launch.py'])
def test_what_is_started_without_arguments_runs_on_any_machine(name):
    calls = declarations(ROOT / 'launch' / name)
    (default,) = [k.value.value for k in calls['params_file'].keywords if k.arg == 'default_value']
    given = yaml.safe_load((ROOT / 'config' / default).read_text())['/**']['ros__parameters']
    assert given['backend'] == 'color'
    assert 'device' not in given


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    """An install prefix as `colcon build` makes it, with programs of other packages that only write their arguments."""
    prefix = tmp_path_factory.mktemp('prefix')
    for package in ('diffcut_ros', 'ros2bag', 'rviz2'):
        (prefix / f'lib/{package}').mkdir(parents=True)
        (prefix / f'share/{package}').mkdir(parents=True)
        marker = prefix / f'share/ament_index/resource_index/packages/{package}'
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    for folder in ('launch', 'config'):
        shutil.copytree(ROOT / folder, prefix / f'share/diffcut_ros/{folder}')
    (prefix / 'bin').mkdir()
    programs = {
        'lib/diffcut_ros/diffcut_node': f'exec {sys.executable} -m diffcut_ros.node.diffcut_node "$@"',
        'lib/rviz2/rviz2': f'echo "$@" > {prefix}/rviz2.txt; exec sleep 60',
        # Fails as `ros2 bag play` does where a recording cannot be played.
        'bin/ros2': f'echo "$@" > {prefix}/ros2.txt; env > {prefix}/environment.txt; test -s "$3"',
    }
    for name, line in programs.items():
        (prefix / name).write_text(f'#!/bin/sh\n{line}\n')
        (prefix / name).chmod(stat.S_IRWXU)
    return prefix


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / 'run1.mcap'
    path.write_text('not empty')
    return path


@pytest.fixture
def start_launch(prefix, tmp_path):
    """Function that runs a launch file in a process of its own; a context manager that yields process and log path."""

    @contextmanager
    def start(domain: int, name: str, *arguments: str):
        for written in prefix.glob('*.txt'):
            written.unlink()
        environment = os.environ | {
            'ROS_DOMAIN_ID': str(domain),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'ROS_LOG_DIR': str(tmp_path),
            'PATH': f'{prefix / "bin"}:{os.environ["PATH"]}',
            'AMENT_PREFIX_PATH': f'{prefix}:{os.environ.get("AMENT_PREFIX_PATH", sys.prefix)}',
        }
        command = [sys.executable, '-c', RUN, str(prefix / 'share/diffcut_ros/launch' / name), *arguments]
        log_path = tmp_path / 'launch.txt'
        with log_path.open('w') as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        try:
            yield process, log_path
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    return start


@with_launch
def test_the_node_segments_and_ends_cleanly(start_launch, connect):
    domain = free_domain()
    with (
        start_launch(domain, 'diffcut.launch.py', 'image:=/image') as (process, log),
        connect(domain) as peer,
    ):
        _, outputs = peer.segment(IMAGE)
        assert len(outputs['segments'][0].detections) == 4
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert 'process has finished cleanly' in log.read_text()
        assert 'Traceback' not in log.read_text()


@with_launch
def test_every_argument_reaches_the_node(start_launch, connect, tmp_path):
    domain = free_domain()
    file = tmp_path / 'own.yaml'
    file.write_text('/**:\n  ros__parameters:\n    tau: 0.25\n    lazy: false\n    backend: ssd-1b\n')
    arguments = ['image:=/cam/color/image_raw', 'depth:=/cam/depth', f'params_file:={file}', 'backend:=color']
    arguments += ['namespace:=robot1', 'use_sim_time:=yes', 'image_transport:=compressed', 'log_level:=debug']
    arguments += ['depth_transport:=compressedDepth', 'target_frame:=map']
    with start_launch(domain, 'diffcut.launch.py', *arguments) as (_, log), connect(domain) as peer:
        wait_for(lambda: 'waiting for images on /cam/color/image_raw/compressed' in log.read_text())
        assert 'DEBUG' in log.read_text()
        topics = ('/cam/color/image_raw/compressed', '/cam/color/camera_info', '/cam/depth/compressedDepth')
        assert peer.spin_until(lambda: all(peer.subscribers(topic) == ['/robot1/diffcut'] for topic in topics))
        client = peer.client(GetParameters, '/robot1/diffcut/get_parameters')
        names = ['tau', 'use_sim_time', 'depth', 'backend', 'target_frame']
        values = peer.call(client, GetParameters.Request(names=names)).values
        assert (values[0].double_value, values[1].bool_value, values[2].bool_value) == (0.25, True, True)
        assert values[3].string_value == 'color'


@with_launch
@pytest.mark.parametrize('name', ['gpu.yaml', './gpu.yaml'])
def test_a_parameter_file_by_name_is_the_packages(start_launch, tmp_path, monkeypatch, name):
    """One of the same name where the launch is started needs a folder before it."""
    monkeypatch.chdir(tmp_path)
    Path('gpu.yaml').write_text('/**:\n  ros__parameters:\n    backend: color\n')
    with start_launch(free_domain(), 'diffcut.launch.py', 'image:=/image', f'params_file:={name}') as (_, log):
        said = 'waiting for images on /image' if '/' in name else 'is not on this machine, and downloads'
        wait_for(lambda: said in log.read_text())


@with_launch
def test_several_cameras(start_launch, connect):
    domain = free_domain()
    arguments = ['image:=a=/one/image,b=/two/image', 'depth:=a=/one/depth,b=/two/depth']
    with start_launch(domain, 'multi_camera.launch.py', *arguments) as (_, log), connect(domain, topics=()) as peer:
        wait_for(
            lambda: 'waiting for images on /one/image, /one/camera_info, /one/depth, /two/image' in log.read_text()
        )
        peer.subscribe_to('/diffcut/a/labels')
        peer.subscribe_to('/diffcut/b/labels')
        topics = [f'/{place}/{name}' for place in ('one', 'two') for name in ('image', 'depth', 'camera_info')]
        assert peer.spin_until(lambda: all(peer.subscribers(topic) == ['/diffcut'] for topic in topics))


@with_launch
@pytest.mark.parametrize(
    ('file', 'argument', 'problem'),
    [
        (
            'diffcut',
            ['image:=a=/x,b'],
            'image: expected TOPIC, or NAME=TOPIC,NAME=TOPIC with different names; received',
        ),
        (
            'diffcut',
            ['image:=a=/x', 'depth:=b=/y'],
            'depth: expected NAME=TOPIC for each of the cameras of image, a; re',
        ),
        ('diffcut', ['image:=/x', 'camera_info:=b=/y'], "camera_info: expected one TOPIC; received 'b=/y'"),
        (
            'multi_camera',
            ['image:=/x'],
            'image: expected NAME=TOPIC for each of the cameras of the parameter file, front,',
        ),
        (
            'replay',
            ['image:=/x', 'bag:={}', 'params_file:=multi_camera.yaml'],
            'image: expected NAME=TOPIC for each of',
        ),
        (
            'diffcut',
            ['params_file:=gpu.yml'],
            'params_file: expected a file, or one of cpu.yaml, demo.yaml, diffcut.yaml,',
        ),
        ('multi_camera', ['params_file:=/no/gpu.yaml'], "received '/no/gpu.yaml', which is not there"),
        ('diffcut', ['use_sim_time:=simulated'], "use_sim_time: expected true or false, received 'simulated'"),
        ('diffcut', ['rviz:=maybe'], "rviz: expected true or false, received 'maybe'"),
        ('replay', ['bag:={}', 'loop:=2'], "loop: expected true or false, received '2'"),
        ('replay', ['bag:={}', 'rate:=fast'], "rate: expected a number above 0, received 'fast'"),
        (
            'replay',
            ['bag:=/no/run1.mcap'],
            "bag: expected a file or folder, received '/no/run1.mcap', which is not there",
        ),
        ('replay', ['bag:='], "bag: expected a file or folder, received ''"),
    ],
)
def test_what_cannot_be_honoured_is_refused(start_launch, recording, file, argument, problem):
    arguments = [text.format(recording) for text in argument]
    with start_launch(free_domain(), f'{file}.launch.py', *arguments) as (process, log):
        assert process.wait(PATIENCE_S) != 0
        assert problem in log.read_text()
        assert 'process started' not in log.read_text()


@with_launch
@pytest.mark.parametrize(
    ('file', 'package', 'argument', 'problem'),
    [
        (
            'diffcut',
            'rviz2',
            'rviz:=true',
            'rviz: expected the ROS package rviz2, found none. Next: sudo apt install ros-',
        ),
        ('replay', 'rviz2', 'bag:={}', 'ros-$ROS_DISTRO-rviz2, or rviz:=false'),
        (
            'replay',
            'ros2bag',
            'bag:={}',
            'bag: expected the ROS package ros2bag, found none. Next: sudo apt install ros-',
        ),
    ],
)
def test_a_package_that_is_missing_is_told_and_nothing_is_started(
    start_launch, prefix, recording, file, package, argument, problem
):
    marker = prefix / f'share/ament_index/resource_index/packages/{package}'
    marker.unlink()
    try:
        with start_launch(free_domain(), f'{file}.launch.py', argument.format(recording)) as (process, log):
            assert process.wait(PATIENCE_S) == 1
            with pytest.raises(ProcessLookupError):  # nobody is left of its session
                os.killpg(process.pid, 0)
            assert problem in log.read_text()
            assert 'process started' not in log.read_text()
    finally:
        marker.touch()


@with_launch
def test_what_is_not_used_without_depth_is_told(start_launch):
    arguments = ['image:=/image', 'depth_transport:=compressed']
    with start_launch(free_domain(), 'diffcut.launch.py', *arguments) as (_, log):
        wait_for(lambda: 'depth_transport: not used without depth; add depth:=TOPIC' in log.read_text())


@with_launch
@pytest.mark.parametrize(('argument', 'topic'), [([], '/cam/color/camera_info'), (['camera_info:=/info'], '/info')])
def test_a_mask_has_its_camera_without_depth(start_launch, connect, argument, topic):
    domain = free_domain()
    with (
        start_launch(domain, 'diffcut.launch.py', 'image:=/cam/color/image_raw', *argument) as (_, log),
        connect(domain, topics=('mask/camera_info',)) as peer,
    ):
        assert peer.spin_until(lambda: peer.subscribers(topic) == ['/diffcut'])
        assert 'not used' not in log.read_text()


@with_launch
def test_all_arguments_are_shown():
    """What `ros2 launch FILE --show-args` prints."""
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    def shown(name: str) -> dict[str, str]:
        description = PythonLaunchDescriptionSource(str(ROOT / 'launch' / name)).get_launch_description(LaunchContext())
        return {
            argument.name: ''.join(part.describe() for part in argument.default_value or ())
            for argument in description.get_launch_arguments()
        }

    node = shown('diffcut.launch.py')
    assert set(node) == set(declarations(ROOT / 'launch/diffcut.launch.py'))
    assert shown('multi_camera.launch.py') == node | {'params_file': "'multi_camera.yaml'"}
    own = {'bag': '', 'rate': "'1.0'", 'loop': "'false'", 'rviz': "'true'", 'use_sim_time': "'true'"}
    assert shown('replay.launch.py') == node | own


@with_launch
@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        ('/cam/image', ['-r image:=/cam/image']),
        ('a=/one,b=/two', ['-r image:=/one', '-r diffcut/overlay:=diffcut/a/overlay']),
    ],
)
def test_rviz_shows_the_camera_and_the_node_in_their_namespace(start_launch, prefix, image, expected):
    arguments = [f'image:={image}', 'namespace:=robot1', 'rviz:=True', 'use_sim_time:=1']
    with start_launch(free_domain(), 'diffcut.launch.py', *arguments):
        wait_for((prefix / 'rviz2.txt').is_file)
        wait_for((prefix / 'rviz2.txt').read_text)
        written = (prefix / 'rviz2.txt').read_text()
        for text in [f'-d {prefix}/share/diffcut_ros/config/diffcut.rviz', '-r __ns:=/robot1', *expected]:
            assert text in written


@with_launch
def test_rviz_shows_the_first_camera_of_the_parameter_file(start_launch, prefix):
    with start_launch(free_domain(), 'multi_camera.launch.py', 'rviz:=on'):
        wait_for((prefix / 'rviz2.txt').is_file)
        wait_for((prefix / 'rviz2.txt').read_text)
        written = (prefix / 'rviz2.txt').read_text()
        assert '-r image:=front/image' in written
        assert '-r diffcut/overlay:=diffcut/front/overlay' in written


@with_launch
def test_a_bag_is_played_once_the_node_is_ready(start_launch, prefix, recording):
    """What plays is `ros2 bag`; here its arguments are written down."""
    arguments = [f'bag:={recording}', 'image:=/cam/image', 'rviz:=No', 'rate:=0.5', 'loop:=True']
    with start_launch(free_domain(), 'replay.launch.py', *arguments) as (process, log):
        assert process.wait(PATIENCE_S) == 0  # with the end of the bag
        assert (prefix / 'ros2.txt').read_text() == f'bag play {recording} --clock 100 --rate 0.5 --loop\n'
        lines = log.read_text().splitlines()
        ready = next(i for i, line in enumerate(lines) if 'waiting for images on /cam/image' in line)
        played = next(i for i, line in enumerate(lines) if 'bag_play' in line and 'process started' in line)
        assert ready < played


@with_launch
@pytest.mark.parametrize('chosen', [None, 'FASTDDS_BUILTIN_TRANSPORTS'])
def test_large_images_of_a_bag_are_sent_through_more_memory(start_launch, prefix, recording, monkeypatch, chosen):
    for name in (*PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS'):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(chosen, 'UDPv4')
    arguments = [f'bag:={recording}', 'image:=/cam/image', 'rviz:=No']
    with start_launch(free_domain(), 'replay.launch.py', *arguments) as (process, _):
        assert process.wait(PATIENCE_S) == 0
    lines = (prefix / 'environment.txt').read_text().splitlines()
    set_by_us = [f'{name}={prefix}/share/diffcut_ros/config/fastdds_large_images.xml' in lines for name in PROFILES]
    assert all(set_by_us) if chosen is None else not any(set_by_us)


@with_launch
def test_little_shared_memory_for_a_bag_is_told(start_launch, prefix, recording, monkeypatch, tmp_path):
    for name in (*PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS'):
        monkeypatch.delenv(name, raising=False)
    copy = prefix / 'share/diffcut_ros/launch/little.launch.py'
    text = (ROOT / 'launch/replay.launch.py').read_text()
    assert 'ENOUGH_SHARED_MEMORY = 256e6' in text
    copy.write_text(text.replace('ENOUGH_SHARED_MEMORY = 256e6', 'ENOUGH_SHARED_MEMORY = 1e18'))
    with start_launch(free_domain(), copy.name, f'bag:={recording}', 'image:=/image', 'rviz:=No') as (process, log):
        assert process.wait(PATIENCE_S) == 0
    assert re.search(r'/dev/shm has \d+ MB left: large images may get lost', log.read_text())
    assert 'fastdds_large_images.xml' not in (prefix / 'environment.txt').read_text()


@with_launch
def test_a_bag_that_cannot_be_played_ends_all(start_launch, recording):
    recording.write_text('')
    arguments = [f'bag:={recording}', 'image:=/cam/image', 'rviz:=true']
    with start_launch(free_domain(), 'replay.launch.py', *arguments) as (process, log):
        assert process.wait(PATIENCE_S) == 1
        assert 'ros2 bag play failed with exit code 1' in log.read_text()
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


@with_launch
@pytest.mark.skipif(
    not (shutil.which('ros2') and find_spec('ros2launch') and find_spec('ros2lifecycle')), reason='ros2 is absent'
)
def test_the_systemd_unit_starts_checks_and_stops_it(prefix, tmp_path):
    """Its commands and its signal, as systemd would use them; without its setup files."""
    unit = (ROOT / 'docs/systemd.md').read_text()
    start, check = (
        re.search(rf"^{key}=/bin/bash -c '(.*)'$", unit, re.MULTILINE)[1] for key in ('ExecStart', 'ExecStartPost')
    )
    start, check = (re.sub(r'source \S+ && ', '', text) for text in (start, check))
    number = signal.Signals[re.search(r'^KillSignal=(\w+)$', unit, re.MULTILINE)[1]]
    assert 'KillMode=mixed' in unit  # that is, to the first process alone
    environment = os.environ | {
        'ROS_DOMAIN_ID': str(free_domain()),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_LOG_DIR': str(tmp_path),
        'AMENT_PREFIX_PATH': f'{prefix}:{os.environ.get("AMENT_PREFIX_PATH", sys.prefix)}',
    }
    with (tmp_path / 'log.txt').open('w') as log:
        process = subprocess.Popen(
            ['bash', '-c', start], stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        subprocess.run(['bash', '-c', check], env=environment, check=True, timeout=PATIENCE_S)
        assert 'waiting for images on /camera/color/image_raw' in (tmp_path / 'log.txt').read_text()
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
