import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import rclpy
from PIL import Image as Photograph
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray

from diffcut_ros.classes_file import read_classes
from diffcut_ros.media.video import VideoWriter
from diffcut_ros.media.virtual_camera import load_photograph, render_view, view_matrix
from diffcut_ros.node.demo.camera import VirtualCameraNode
from diffcut_ros.node.demo.main import DemoError, _before_commands, cut_twice
from diffcut_ros.node.demo.monitor import Interval, Monitor, Named, Shot, rate_hz
from diffcut_ros.node.demo.recorder import TITLE_PX, Recorder, titled
from diffcut_ros.node.demo.things import NAMED_PHOTOGRAPH, largest_segments, things_in_view
from diffcut_ros.node.images import decode_image, encode_image
from support.domain import free_domain
from support.waiting import PATIENCE_S, wait_for

COMMAND = [sys.executable, '-m', 'diffcut_ros.node.demo.main']


def titles(picture: np.ndarray, width: int = 640) -> list[bytes]:
    """Return the strips above the images of a picture."""
    return [picture[:TITLE_PX, x : x + width].tobytes() for x in range(0, picture.shape[1], width)]


def strip(text: str, width: int = 640) -> bytes:
    return titled(np.zeros((1, width, 3), np.uint8), text)[:TITLE_PX].tobytes()


def shot(stamp_ns: int, segments: int, tau: float | None) -> Shot:
    return Shot(stamp_ns, np.zeros((48, 300, 3), np.uint8), np.full((48, 300, 3), segments, np.uint8), segments, tau)


@pytest.mark.parametrize(
    'shots',
    [
        [shot(10**9, 5, 0.25), shot(2 * 10**9, 9, 0.5)],  # two images
        [shot(10**9, 9, 0.5), shot(10**9, 9, 0.5)],  # the second cut is at the same tau
        [shot(10**9, 5, None), shot(10**9, 9, 0.5)],  # the first one may be
    ],
)
def test_no_picture_of_a_change_that_was_not_seen(tmp_path, shots):
    with Recorder(tmp_path) as recorder:
        for one in shots:
            recorder.add(one)
    assert [path.name for path in tmp_path.iterdir()] == ['segments.mp4']
    with pytest.raises(DemoError, match=r'did not come again .* there is no tau_change\.png\. Run the demo again'):
        cut_twice(recorder)


def test_the_picture_of_one_image_cut_twice(tmp_path):
    with Recorder(tmp_path) as recorder:
        for one in (shot(10**9, 4, 0.25), shot(2 * 10**9, 5, 0.25), shot(2 * 10**9, 9, 0.5), shot(3 * 10**9, 8, 0.5)):
            recorder.add(one)
    picture = cv2.imread(str(tmp_path / 'tau_change.png'))
    expected = 'camera', '5 segments at tau 0.25', '9 segments at tau 0.5'
    assert titles(picture, 300) == [strip(text, 300) for text in expected]
    assert [picture[TITLE_PX:, x].mean() for x in (0, 300, 600)] == [0, 5, 9]
    assert cut_twice(recorder) == 'One image, cut twice: 5 segments at tau 0.25 and 9 segments at tau 0.5.'


def test_a_title_claims_no_tau_that_is_not_certain(tmp_path):
    with Recorder(tmp_path) as recorder:
        recorder.add(shot(10**9, 1, None))
        recorder.add(shot(10**9 + 5 * 10**9, 1, None))
    picture = cv2.imread(str(tmp_path / 'segments_05s.png'))
    assert titles(picture, 300)[1] == strip('1 segment, tau is changing', 300)


@pytest.fixture
def spin(monkeypatch):
    """Function that spins nodes on a domain of their own until a condition holds."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy.init(args=[], domain_id=free_domain())
    executor = SingleThreadedExecutor()

    def spin_until(condition, *nodes: Node) -> None:
        for node in nodes:
            executor.add_node(node)

        def happened() -> bool:
            executor.spin_once(timeout_sec=0.02)
            return condition()

        wait_for(happened)

    yield spin_until
    executor.shutdown()
    rclpy.shutdown()


class Robot(Node):
    """Publishes what a camera and the node would, image by image."""

    def __init__(self) -> None:
        super().__init__('diffcut')
        self.declare_parameter('tau', 0.25)
        self._image = self.create_publisher(Image, '/camera/image_raw', 50)
        self._segments = self.create_publisher(Detection2DArray, '~/segments', 50)
        self._overlay = self.create_publisher(Image, '~/overlay', 50)

    @property
    def met(self) -> bool:
        """Whether somebody listens to everything."""
        return all(p.get_subscription_count() for p in (self._image, self._segments, self._overlay))

    def header(self) -> Header:
        """Return a header with the time of now."""
        return Header(stamp=self.get_clock().now().to_msg())

    def take(self, header: Header) -> None:
        """Publish a camera image."""
        self._image.publish(encode_image(np.zeros((8, 8, 3), np.uint8), 'rgb8', header))

    def cut(self, header: Header, segments: int) -> None:
        """Publish the outputs of an image; the picture before the number, though nobody promises an order."""
        self._overlay.publish(encode_image(np.full((8, 8, 3), segments, np.uint8), 'rgb8', header))
        self._segments.publish(Detection2DArray(header=header, detections=[Detection2D()] * segments))


@pytest.fixture
def robot_and_monitor(spin):
    robot, monitor = Robot(), Monitor('/virtual_camera', '/diffcut', 0.25, depth=False)
    topics = '/camera/image_raw', '/diffcut/segments', '/diffcut/overlay'
    # Each end sees the other one.
    spin(
        lambda: (
            robot.met and all(map(monitor.count_publishers, topics)) and monitor.node_parameters.services_are_ready()
        ),
        robot,
        monitor,
    )
    return robot, monitor


def test_an_image_cut_again_is_at_the_new_tau_and_counts_once(spin, robot_and_monitor):
    robot, monitor = robot_and_monitor
    image = robot.header()
    robot.take(image)
    robot.cut(image, 3)
    spin(lambda: len(monitor.shots) == 1)
    late = robot.header()
    answer = monitor.set_tau(0.5)
    spin(answer.done)
    robot.cut(image, 7)
    spin(lambda: len(monitor.shots) == 2)
    robot.take(late)
    robot.cut(late, 8)
    spin(lambda: len(monitor.shots) == 3)
    told = [(one.segments, one.overlay_rgb[0, 0, 0], one.tau) for one in monitor.shots]
    assert told == [(3, 3, 0.25), (7, 7, 0.5), (8, 8, 0.5)]
    assert monitor.shots[0].stamp_ns == monitor.shots[1].stamp_ns
    seen = monitor.take_interval()
    assert (len(seen.output_stamps_ns), seen.segments, len(seen.latencies_s)) == (2, [3, 8], 2)


def test_between_call_and_proof_no_tau_is_known(spin, robot_and_monitor):
    robot, monitor = robot_and_monitor
    first, second = robot.header(), robot.header()
    robot.take(first)
    robot.cut(first, 3)
    robot.take(second)
    spin(lambda: len(monitor.shots) == 1 and monitor.newest_ns > monitor.shown_ns)
    answer = monitor.set_tau(0.5)
    spin(answer.done)
    # Perhaps both at the new tau: this image was taken before the answer, and its cut had not arrived before the call.
    robot.cut(second, 9)
    robot.cut(second, 9)
    spin(lambda: len(monitor.shots) == 3)
    third = robot.header()
    robot.take(third)
    robot.cut(third, 8)
    spin(lambda: len(monitor.shots) == 4)
    assert [s.tau for s in monitor.shots] == [0.25, None, None, 0.5]


def test_rates_are_those_of_stamps_not_of_arrival(spin, robot_and_monitor):
    robot, monitor = robot_and_monitor
    for i in range(31):  # two seconds' images at once, as after a busy moment; each third one cut
        header = Header()
        header.stamp.sec, header.stamp.nanosec = divmod(10**18 + i * 10**9 // 15, 10**9)
        robot.take(header)
        if i % 3 == 0:
            robot.cut(header, 2)
    spin(lambda: len(monitor.shots) == 11)
    seen = monitor.take_interval()
    assert (rate_hz(seen.image_stamps_ns), rate_hz(seen.output_stamps_ns)) == pytest.approx((15, 5))
    assert rate_hz(monitor.take_interval().output_stamps_ns) is None
    assert rate_hz(Interval().image_stamps_ns) is None


def test_a_paused_camera_publishes_nothing_and_goes_on(spin):
    camera, monitor = VirtualCameraNode(), Monitor('/virtual_camera', '/diffcut', 0.25, depth=False)
    monitor.create_subscription(Image, '/image_raw', lambda message: stamps.append(message.header.stamp), 50)
    stamps = []
    spin(lambda: len(stamps) > 2 and monitor.camera_parameters.services_are_ready(), camera, monitor)
    paused = monitor.pause_camera(True)
    spin(paused.done)
    assert paused.result().results[0].successful
    count, end_s = len(stamps), time.monotonic() + 0.5
    spin(lambda: time.monotonic() > end_s)
    assert len(stamps) == count
    monitor.pause_camera(False)
    spin(lambda: len(stamps) > count + 2)


def test_two_things_are_in_any_view_and_where_it_says():
    photograph = load_photograph(NAMED_PHOTOGRAPH)
    for time_s in np.arange(0, 200, 0.25):
        things = things_in_view(time_s, (480, 640))
        assert len(things) >= 2, time_s
        view = render_view(photograph, view_matrix(time_s, photograph.shape[:2], (480, 640)), (480, 640))
        if 'suit' in things:
            x, y = map(round, things['suit'])
            red, green, blue = view[y, x].tolist()
            assert red > 120
            assert red > green + 40 > blue + 40


def test_a_camera_shows_the_photographs_it_is_told_to(spin):
    camera, monitor = VirtualCameraNode(), Monitor('/virtual_camera', '/diffcut', 0.25, depth=False)
    images = []
    monitor.create_subscription(Image, '/image_raw', images.append, 50)
    spin(lambda: len(images) > 2 and monitor.camera_parameters.services_are_ready(), camera, monitor)
    photograph, start_ns = load_photograph('chelsea'), camera.get_parameter('start_ns').value
    chosen = monitor.show_only('chelsea')
    spin(chosen.done)
    count = len(images)
    spin(lambda: len(images) > count + 3)
    stamp_ns = images[-1].header.stamp.sec * 10**9 + images[-1].header.stamp.nanosec
    matrix = view_matrix((stamp_ns - start_ns) / 1e9, photograph.shape[:2], (480, 640))
    assert np.array_equal(decode_image(images[-1]), render_view(photograph, matrix, (480, 640)))


def test_the_picture_of_names(tmp_path):
    class_id = np.zeros((48, 300), np.uint8)
    class_id[:, 100:200], class_id[:, 200:] = 1, 2
    named = Named(class_id, {1: 'a', 2: 'b'}, np.array([[255, 0, 0], [0, 0, 255]], np.uint8))
    with Recorder(tmp_path) as recorder:
        for time_s, names in ((1, None), (2, named), (3, named)):
            recorder.add(replace(shot(time_s * 10**9, 3, 0.5), named=names))
    picture = cv2.imread(str(tmp_path / 'names.png'))[:, :, ::-1]
    assert titles(picture, 300) == [strip('camera', 300), strip('3 segments, named by 2 clicks', 300)]
    unknown, red, blue = (
        picture[TITLE_PX + 2 : TITLE_PX + 4, 300 + x : 300 + x + 10].reshape(-1, 3).mean(0) for x in (20, 120, 220)
    )
    assert unknown.max() < 5
    assert red[0] > 100 > 5 > red[2]
    assert blue[2] > 100 > 5 > blue[0]


def environment() -> dict[str, str]:
    return {**os.environ, 'ROS_DOMAIN_ID': str(free_domain()), 'COLUMNS': '100'}


def test_the_demo_shows_two_taus_and_leaves_pictures(tmp_path):
    command = [*COMMAND, '--seconds', '8', '--output', str(tmp_path / 'out')]
    start_s = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    took_s = time.monotonic() - start_s
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'First labels after [\d.]+ s', done.stdout)
    row = r'^ +\d+ s +([\d.]+|-)(?: Hz)? +([\d.]+|-)(?: Hz)? +\S+(?: ms)? +\S+ +([\d.]+)$'
    rows = re.findall(row, done.stdout, re.MULTILINE)
    assert {tau for *_, tau in rows} == {'0.25', '0.5'}
    # The camera takes 15 a second.
    assert all(rate == '-' or float(rate) < 20 for row in rows for rate in row[:2])
    told = re.search(r'One image, cut twice: (\d+) segments? at tau 0.25 and (\d+) segments at tau 0.5\.', done.stdout)
    assert 1 <= int(told[1]) < int(told[2])
    assert done.stdout.rstrip().endswith('diffcut_teach run1.mcap --classes names.yaml (a few clicks)')
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert {'segments.mp4', 'tau_change.png', 'node.log'} <= names
    assert any(re.fullmatch(r'segments_\d\ds\.png', name) for name in names)
    picture = cv2.imread(str(tmp_path / 'out' / 'tau_change.png'))
    assert picture.shape == (480 + TITLE_PX, 3 * 640, 3)
    assert titles(picture)[1:] == [strip(f'{told[1]} segments at tau 0.25'), strip(f'{told[2]} segments at tau 0.5')]
    letters = (picture[:TITLE_PX, 640:] > 128).any((1, 2)).sum()
    assert letters * 390 / picture.shape[1] > 6  # as wide as a phone, it can be read
    with av.open(str(tmp_path / 'out' / 'segments.mp4')) as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].codec_context.name == 'h264'
    # Two things were clicked on, and what looks like them has their names: all of the suit, in every image after.
    clicked = re.findall(r"clicked on pixel \(\d+, \d+\) and called it '(\w+)'", done.stdout)
    assert len(clicked) == 2
    taught = read_classes(tmp_path / 'out' / 'names.yaml').classes
    assert [one.name for one in taught.classes.values()] == clicked
    picture = cv2.imread(str(tmp_path / 'out' / 'names.png'))[TITLE_PX:]
    camera, named = picture[:, :640].astype(int), picture[:, 640:].astype(int)
    # Beyond the small places that were clicked on, which are one segment each.
    assert (np.abs(named - camera).sum(2) > 20).mean() > 0.2
    assert rows[-1][-1] == '0.5'
    # At the camera's speed, up to the last image that was segmented.
    assert 4 <= frames[-1].time <= took_s
    assert (frames[0].height, frames[0].width) == (480 + TITLE_PX, 2 * 640)


@pytest.mark.parametrize(
    ('installed', 'found', 'before'),
    [('.venv/bin', '', '.venv/bin/'), ('.venv/bin', '.venv/bin', ''), ('elsewhere', '', 'ros2 run diffcut_ros ')],
)
def test_the_commands_that_it_names_are_found(tmp_path, monkeypatch, installed, found, before):
    """Beside the interpreter, on the PATH, or in a ROS workspace, where only ros2 looks."""
    for folder in ('.venv/bin', 'elsewhere'):
        (tmp_path / folder).mkdir(parents=True)
    command = tmp_path / installed / 'diffcut_node'
    command.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / '.venv/bin/python'))
    monkeypatch.setenv('PATH', str(tmp_path / found) if found else '')
    assert _before_commands() == before


def test_with_depth_it_shows_segments_in_space(tmp_path):
    command = [*COMMAND, '--depth', '--seconds', '10', '--output', str(tmp_path / 'out')]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r'One image, cut twice: (\d+) segments at tau 0.25 and (\d+) segments at tau 0.5', done.stdout)
    assert int(told[2]) >= 1.2 * int(told[1])  # tau shows, though small parts are joined
    scenes = sorted((tmp_path / 'out').glob('segments_3d_*s.png'))
    assert scenes
    picture = cv2.imread(str(scenes[0]))
    assert picture.shape[0] >= 720
    # Boxes have bright colours, the photograph behind them has not.
    assert (np.ptp(picture.astype(int), axis=2) > 100).mean() > 0.005
    assert 'ERROR' not in (tmp_path / 'out' / 'node.log').read_text()


def own_demo(path, output, *more: str) -> subprocess.CompletedProcess:
    command = [*COMMAND, str(path), '--seconds', '6', '--output', str(output), *more]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)


def test_a_photograph_of_ones_own(tmp_path):
    """Large, on its side by EXIF, with a name that shells, YAML and rich take for something else."""
    exif = Photograph.Exif()
    exif[0x0112] = 6
    photograph = Photograph.fromarray(load_photograph('coffee')).resize((3000, 2000))
    path = tmp_path / 'my "photo" [1] #é.jpg'
    photograph.save(path, exif=exif)
    done = own_demo(path, tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('my "photo" [1] #é.jpg: 2000 x 3000 pixels, shown at 640 x 960\n')
    told = re.search(r'One image, cut twice: (\d+) segments? at tau 0.3 and (\d+) segments at tau 0.6\.', done.stdout)
    assert 1 <= int(told[1]) < int(told[2])
    picture = cv2.imread(str(tmp_path / 'out/tau_change.png'))
    assert picture.shape == (960 + TITLE_PX, 3 * 640, 3)
    expected = np.asarray(photograph.resize((960, 640)).transpose(Photograph.Transpose.ROTATE_270))[:, :, ::-1]
    assert np.abs(picture[TITLE_PX:, :640].astype(int) - expected).mean() < 3
    assert re.findall(r"called it '(\w+)'", done.stdout) == ['A', 'B']
    taught = read_classes(tmp_path / 'out' / 'names.yaml').classes
    assert [one.name for one in taught.classes.values()] == ['A', 'B']
    assert {'segments.mp4', 'names.png'} <= {file.name for file in (tmp_path / 'out').iterdir()}


def test_a_video_of_ones_own_is_played_in_a_loop(tmp_path):
    photograph, size_hw = load_photograph('coffee'), (240, 320)
    with VideoWriter(tmp_path / 'my.mp4', size_hw) as video:  # shorter than the demo
        for k in range(20):
            video.write(render_view(photograph, view_matrix(k / 10, photograph.shape[:2], size_hw), size_hw), k * 10**8)
    done = own_demo(tmp_path / 'my.mp4', tmp_path / 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('my.mp4: 320 x 240 pixels, ')
    assert 'WARN' not in (tmp_path / 'out/node.log').read_text()
    with av.open(str(tmp_path / 'out/segments.mp4')) as video:
        seen = [frame.to_ndarray(format='gray')[TITLE_PX:, :320] for frame in video.decode(video=0)]
    changes = [np.abs(b.astype(int) - a).mean() for a, b in itertools.pairwise(seen)]
    assert max(changes) > 3 * np.median(changes)  # from its end to its beginning


def test_what_is_no_image_is_told_before_anything_starts(tmp_path):
    (tmp_path / 'notes.txt').write_text('hello')
    done = own_demo(tmp_path / 'notes.txt', tmp_path / 'out')
    assert (done.returncode, done.stdout) == (2, '')
    assert re.fullmatch(r"diffcut_demo: \S+notes\.txt: expected a photograph .* begins with b'hello'.*\n", done.stderr)
    assert not (tmp_path / 'out').exists()
    done = own_demo(tmp_path / 'notes.txt', tmp_path / 'out', '--depth')
    assert done.returncode == 2
    assert '--depth: expected no images of your own, which have none, received' in done.stderr


def test_where_to_click_in_any_image():
    labels = np.zeros((40, 60), np.uint16)
    labels[:, :10], labels[:30, 20:50], labels[35, 20:40] = 300, 2, 1
    for name, label in (('A', 2), ('B', 300)):
        x, y = map(int, largest_segments(labels)[name])
        assert labels[y, x] == label
    assert largest_segments(np.ones((4, 4), np.uint8)).keys() == {'A'}
    assert largest_segments(np.zeros((4, 4), np.uint8)) == {}


def children(pid: int) -> list[int]:
    return [
        int(line)
        for line in subprocess.run(['ps', '-o', 'pid=', '--ppid', str(pid)], capture_output=True).stdout.split()
    ]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_its_processes_end_with_it(tmp_path, number):
    command, pipe = [*COMMAND, '--output', str(tmp_path)], subprocess.PIPE
    demo = subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True)
    try:
        while 'First labels' not in (line := demo.stdout.readline()):
            assert line, 'the demo ended early'
        started = children(demo.pid)
        assert len(started) == 2
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE_S)
        assert (demo.returncode, errors) == (130, 'diffcut_demo: interrupted\n')
        assert not any(os.path.exists(f'/proc/{pid}') for pid in started)
    finally:
        demo.kill()


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / 'file').touch()
    command = [*COMMAND, '--output', str(tmp_path / 'file' / 'out')]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith('diffcut_demo: ')
    assert done.stderr.count('\n') == 1
