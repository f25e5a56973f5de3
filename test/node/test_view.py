"""`diffcut_view` in its own process: live beside a real publisher, and of real bags; what it records is read back."""

import copy
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image

from diffcut_ros.analysis.main import main as analyze
from diffcut_ros.core.colors import number_colors
from diffcut_ros.media.rerun_scene import blueprint
from diffcut_ros.node.view.recorder import Recorder
from diffcut_ros.node.view.selection import Selection
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from support.domain import free_domain
from support.recorded_node import CAMERA, DEPTH_M, NAMES, ROLES, SIZE_HW, STAMPS_NS, messages, type_name, write_bag
from support.recordings import FRAME_ID, START_NS, STEP_NS, record
from support.recordings import Recorder as FilmRecorder
from support.scenes import quadrants
from support.video import STORE as VIDEO_STORE
from support.video import compressed_image, compressed_video, encode
from support.waiting import PATIENCE_S

pytest.importorskip('rerun', reason='rerun-sdk is optional')

COMMAND = [sys.executable, '-m', 'diffcut_ros.node.view.main']
STORAGES = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]


class Viewer:
    """A running diffcut_view and what it printed."""

    def __init__(self, process: subprocess.Popen, log_path) -> None:
        self.process, self._log_path = process, log_path

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            assert time.monotonic() < deadline, f'{text!r} not printed within {timeout_s} s:\n{self.log}'
            assert self.process.poll() is None, f'ended with {self.process.returncode}:\n{self.log}'
            time.sleep(0.05)

    def interrupt(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def view(tmp_path):
    """Function that runs diffcut_view with arguments; a context manager. All its processes end with it."""

    @contextmanager
    def start(*args, domain: int = 0):
        log_path = tmp_path / 'log.txt'
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
        with log_path.open('w') as log:
            process = subprocess.Popen(
                [*COMMAND, *map(str, args)], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        try:
            yield Viewer(process, log_path)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    return start


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE_S)


def read(path) -> dict[tuple[str, str], list]:
    """All that a recording holds: by entity and component, (time in ns or None, value) in the order of time."""
    from rerun.chunk import RrdReader

    found = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        if 'stamp' in batch.schema.names:
            stamps = np.asarray(batch['stamp']).astype('datetime64[ns]').astype(np.int64).tolist()
        else:
            stamps = [None] * batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if ':' in name and not chunk.entity_path.startswith('/__'):
                found.setdefault((chunk.entity_path, name), []).extend(zip(stamps, column.to_pylist(), strict=True))
    return {key: sorted(rows, key=lambda row: row[0] or 0) for key, rows in found.items()}


def rgb(packed: list[int]) -> np.ndarray:
    """Colours as rerun stores them, 0xRRGGBBAA."""
    values = np.array(packed, np.uint32)
    assert (values & 255 == 255).all()
    return np.stack([values >> 24, values >> 16 & 255, values >> 8 & 255], 1).astype(np.uint8)


def content(**options) -> list:
    return [pair for stamp in STAMPS_NS for pair in messages(stamp, **options)]


@pytest.fixture(scope='module', params=STORAGES, ids=lambda storage: storage.name.lower())
def recorded(request, tmp_path_factory):
    """A recording of a bag, read back."""
    tmp_path = tmp_path_factory.mktemp('recorded')
    bag = write_bag(tmp_path / 'bag', request.param, content())
    done = run('--bag', bag, '--save', tmp_path / 'bag.rrd')
    assert done.returncode == 0, done.stderr
    assert all(f'3 {role}' in done.stdout for role in ROLES), done.stdout
    return read(tmp_path / 'bag.rrd')


def test_a_bag_as_a_recording(recorded):
    stamped = {key: [stamp for stamp, _ in rows] for key, rows in recorded.items() if rows[0][0] is not None}
    assert set(map(tuple, stamped.values())) == {tuple(STAMPS_NS)}
    assert {entity for entity, _ in stamped} == {
        '/camera/pinhole',
        *(f'/camera/pinhole/{name}' for name in ('image', 'overlay', 'labels', 'segments')),
        '/camera/segments_3d',
        '/camera/points',
        '/count/segments',
        '/count/segments_3d',
    }


def test_images_in_a_recording(recorded):
    image, quadrant = quadrants(*SIZE_HW)
    for _, (blob,) in recorded['/camera/pinhole/image', 'EncodedImage:blob']:
        shown = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert shown.shape == image.shape
        assert np.abs(shown.astype(int) - image).mean() < 4
    for _, (values,) in recorded['/camera/pinhole/labels', 'SegmentationImage:buffer']:
        assert np.array_equal(np.array(values, np.uint8).reshape(SIZE_HW), quadrant + 1)
    for _, (matrix,) in recorded['/camera/pinhole', 'Pinhole:image_from_camera']:
        assert matrix == [CAMERA.fx, 0, 0, 0, CAMERA.fy, 0, CAMERA.cx, CAMERA.cy, 1]  # by columns


def test_names_and_colours_are_those_of_the_tracks(recorded):
    colors = number_colors(np.array(NAMES, int))
    for _, names in recorded['/camera/segments_3d', 'Boxes3D:labels']:
        assert names == NAMES
    for _, packed in recorded['/camera/segments_3d', 'Boxes3D:colors']:
        assert np.array_equal(rgb(packed), colors)
    contexts = [
        context
        for entity in ('labels', 'segments')
        for _, (context,) in recorded[f'/camera/pinhole/{entity}', 'AnnotationContext:context']
    ]
    assert len(contexts) == 6
    for context in contexts:
        infos = {entry['class_id']: entry['class_description']['info'] for entry in context}
        assert set(infos) == {0, 1, 2, 3, 4}
        assert [infos[label]['label'] for label in (1, 2, 3, 4)] == NAMES
        assert np.array_equal(rgb([infos[label]['color'] for label in (1, 2, 3, 4)]), colors)


def test_boxes_in_space_points_and_counts(recorded):
    assert not any(kind.startswith('Boxes2D') for _, kind in recorded)
    for _, centers in recorded['/camera/segments_3d', 'Boxes3D:centers']:
        assert np.allclose(np.array(centers)[:, 2], DEPTH_M)
        assert np.array_equal(np.sign(np.array(centers)[:, :2]), [[-1, -1], [1, -1], [-1, 1], [1, 1]])
    image, quadrant = quadrants(*SIZE_HW)
    tints = number_colors(np.array(NAMES, int))[quadrant]
    for _, points in recorded['/camera/points', 'Points3D:positions']:
        assert len(points) == (SIZE_HW[0] - 1) * SIZE_HW[1]  # without the row that has no depth
        assert np.allclose(points[0], [-31.5 / 60 * DEPTH_M, (1 - 23.5) / 61 * DEPTH_M, DEPTH_M])
    for _, packed in recorded['/camera/points', 'Points3D:colors']:
        expected = (image[1:].reshape(-1, 3).astype(int) + tints[1:].reshape(-1, 3)) / 2
        assert np.abs(rgb(packed) - expected).max() <= 0.5
    for name in ('segments', 'segments_3d'):
        assert [value for _, value in recorded[f'/count/{name}', 'Scalars:scalars']] == 3 * [[4.0]]


def test_outlines_in_a_recording(recorded):
    for _, strips in recorded['/camera/pinhole/segments', 'LineStrips2D:strips']:
        # From the middle of the first pixel to that of the last one, and back to the begin.
        assert [(np.min(strip, 0).tolist(), np.max(strip, 0).tolist()) for strip in strips] == [
            ([x + 0.5, y + 0.5], [x + 31.5, y + 23.5]) for y in (0, 24) for x in (0, 32)
        ]
        assert all(strip[0] == strip[-1] for strip in strips)
    assert [ids for _, ids in recorded['/camera/pinhole/segments', 'LineStrips2D:class_ids']] == 3 * [[1, 2, 3, 4]]


def test_boxes_on_demand(tmp_path):
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content(in_space=False))
    assert run('--bag', bag, '--boxes', '--save', tmp_path / 'a.rrd').returncode == 0
    found, entity = read(tmp_path / 'a.rrd'), '/camera/pinhole/boxes'
    assert [centers for _, centers in found[entity, 'Boxes2D:centers']] == 3 * [
        [[16, 12], [48, 12], [16, 36], [48, 36]]
    ]
    assert [halves for _, halves in found[entity, 'Boxes2D:half_sizes']] == 3 * [4 * [[16, 12]]]
    assert [names for _, names in found[entity, 'Boxes2D:labels']] == 3 * [NAMES]
    for _, packed in found[entity, 'Boxes2D:colors']:
        assert np.array_equal(rgb(packed), number_colors(np.array(NAMES, int)))


@pytest.mark.parametrize(('max_px', 'scale'), [(32, 0.5), (64, 1)])
def test_all_in_pixels_is_shown_smaller(tmp_path, max_px, scale):
    """Image, labels and what lies upon them alike; in space all stays as it is."""
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content())
    assert run('--bag', bag, '--boxes', '--max-size', max_px, '--save', tmp_path / 'a.rrd').returncode == 0
    found, flat = read(tmp_path / 'a.rrd'), '/camera/pinhole'
    image, quadrant = quadrants(*SIZE_HW)
    step = round(1 / scale)
    for name in ('image', 'overlay'):
        for _, (blob,) in found[f'{flat}/{name}', 'EncodedImage:blob']:
            shown = cv2.imdecode(np.array(blob, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert shown.shape == image[::step, ::step].shape
            assert (
                name == 'overlay' or np.abs(shown.astype(int) - image[::step, ::step]).mean() < 6
            )  # one pixel aside: 12 more
    for _, (values,) in found[f'{flat}/labels', 'SegmentationImage:buffer']:
        expected = quadrant[::step, ::step] + 1
        assert np.array_equal(np.array(values, np.uint8).reshape(expected.shape), expected)
    for _, (matrix,) in found[flat, 'Pinhole:image_from_camera']:
        full = [CAMERA.fx, 0, 0, 0, CAMERA.fy, 0, CAMERA.cx, CAMERA.cy]
        assert matrix == [*(scale * value for value in full), 1]
    for _, (resolution,) in found[flat, 'Pinhole:resolution']:
        assert resolution == [scale * SIZE_HW[1], scale * SIZE_HW[0]]
    for _, strips in found[f'{flat}/segments', 'LineStrips2D:strips']:
        assert np.max(strips[-1], 0).tolist() == [scale * SIZE_HW[1] - 0.5, scale * SIZE_HW[0] - 0.5]
    for _, centers in found[f'{flat}/boxes', 'Boxes2D:centers']:
        assert centers == (scale * np.array([[16, 12], [48, 12], [16, 36], [48, 36]])).tolist()
    for _, halves in found[f'{flat}/boxes', 'Boxes2D:half_sizes']:
        assert halves == 4 * [[scale * 16, scale * 12]]
    for _, points in found['/camera/points', 'Points3D:positions']:
        assert len(points) == (SIZE_HW[0] - 1) * SIZE_HW[1]


def test_the_map_of_objects_is_in_space_at_any_rate(tmp_path):
    """It is not of one image: it is shown beside images that are left out, too."""
    sent = []
    for i in range(4):
        of_image = list(messages(10**9 + i * 50_000_000))
        objects = copy.deepcopy(next(message for topic, message in of_image if topic == '/diffcut/segments_3d'))
        for detection, name in zip(objects.detections, NAMES, strict=True):
            detection.id = name
        sent += [*of_image, ('/diffcut/objects', objects)]
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, sent)
    assert '4 objects' in run('--bag', bag, '--rate', '5', '--save', tmp_path / 'a.rrd').stdout
    found = read(tmp_path / 'a.rrd')
    names = [value for _, value in found['/camera/objects', 'Boxes3D:labels']]
    assert names == 4 * [[f'object {name}' for name in NAMES]]
    assert len(found['/camera/segments_3d', 'Boxes3D:labels']) == 1
    first = found['/camera/segments_3d', 'Boxes3D:centers'][0][1]
    assert np.array_equal(found['/camera/objects', 'Boxes3D:centers'][0][1], first)


def test_all_of_an_image_is_shown_or_nothing(tmp_path):
    """A camera of 20 Hz, of which the node takes each second image, at 5 Hz: each second one of these."""
    sent = []
    for i in range(40):
        for topic, message in messages(10**9 + i * 50_000_000, in_space=False):
            if i % 2 == 0 or topic in ('/image', '/camera_info'):
                sent.append((topic, message))
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, sent)
    done = run('--bag', bag, '--rate', '5', '--save', tmp_path / 'a.rrd')
    assert 'at most 5 images per second, chosen by their stamps; all with --rate 0\n' in done.stderr
    found = read(tmp_path / 'a.rrd')
    kept = [10**9 + i * 50_000_000 for i in range(0, 40, 4)]
    for entity, kind in (
        ('overlay', 'EncodedImage:blob'),
        ('labels', 'SegmentationImage:buffer'),
        ('segments', 'LineStrips2D:strips'),
    ):
        assert [stamp for stamp, _ in found[f'/camera/pinhole/{entity}', kind]] == kept
    # The first camera image, before any output, is shown by itself.
    assert [stamp for stamp, _ in found['/camera/pinhole/image', 'EncodedImage:blob']] == kept


def test_a_camera_without_outputs_is_shown_by_itself_and_time_may_go_back():
    selection = Selection(5.0)

    def image(time_s: float) -> Image:
        message = Image()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(time_s * 1e9), 10**9)
        return message

    def shown(times_s: list[float], role: str = 'image') -> list[float]:
        taken = [one for time_s in times_s for one in selection.take(role, image(time_s))]
        return [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for r, m in taken if r == role]

    assert shown([100.0, 100.1, 100.2, 100.3, 100.4]) == [100.0, 100.2, 100.4]
    assert shown([100.4, 100.5, 100.6], 'labels') == [100.4, 100.6]
    assert shown([100.7, 100.8]) == []  # wait for what is made of them
    assert [role for role, _ in selection.take('segments', image(100.8))] == ['image', 'segments']
    assert shown([102.5, 102.6, 102.7]) == [102.5, 102.7]  # the node has ended
    assert shown([10.0, 10.1, 10.2], 'labels') == [10.0, 10.2]
    assert shown([10.2]) == [10.2]


def publish(peer, sent: list, viewer: Viewer, best_effort: tuple[str, ...] = ()) -> None:
    """Publish messages once the viewer listens to all of their topics."""
    publishers = {}
    for topic, message in sent:
        if topic not in publishers:
            lossy = ReliabilityPolicy.BEST_EFFORT if topic in best_effort else ReliabilityPolicy.RELIABLE
            publishers[topic] = peer.publisher(type(message), topic, QoSProfile(depth=10, reliability=lossy))
    for topic, publisher in publishers.items():
        viewer.wait_for(f'listening to {topic}')
        assert peer.spin_until(lambda p=publisher: p.get_subscription_count() > 0)
    for topic, message in sent:
        publishers[topic].publish(message)
        peer.spin_until(lambda: False, 0.05)


def wait_until_recorded(path, expected: dict) -> None:
    """Wait until a file that is still being written holds as many rows as expected."""
    missing, unreadable = expected, None
    deadline = time.monotonic() + PATIENCE_S
    while missing:
        assert time.monotonic() < deadline, f'not recorded: {list(missing)} ({unreadable})'
        time.sleep(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # it has no end yet
            try:
                found = read(path)
            except RuntimeError as error:
                unreadable = error  # the half of a message: the other half is being written
                continue
        missing = {key: rows for key, rows in expected.items() if len(found.get(key, [])) < len(rows)}


def labels_and_names(found: dict) -> tuple[list[int], list[tuple[int, int]]]:
    """The stamps of the label images that were recorded, and stamp and number of names of what labels are called."""
    entity = '/camera/pinhole/labels'
    images = [stamp for stamp, _ in found.get((entity, 'SegmentationImage:buffer'), [])]
    names = found.get((entity, 'AnnotationContext:context'), [])
    return images, [(stamp, len(context)) for stamp, (context,) in names]


def test_a_label_image_is_not_seen_before_its_segments(tmp_path):
    import rerun

    by_stamp = {
        stamp: {topic.rpartition('/')[2]: message for topic, message in messages(stamp, in_space=False)}
        for stamp in range(10**9, 11 * 10**9, 10**9)
    }
    stamps = list(by_stamp)
    recording = rerun.RecordingStream('test')
    # Not a file: after a flush, half of a message may be in it.
    stream = recording.binary_stream()
    recorder = Recorder(recording)

    def add(role: str, stamp: int) -> None:
        recorder.add(role, by_stamp[stamp][role])

    def recorded() -> tuple:
        """What is new since the last call."""
        data = stream.read()
        if data is None:
            return [], []
        (tmp_path / 'new.rrd').write_bytes(data)
        return labels_and_names(read(tmp_path / 'new.rrd'))

    for first, second in (('labels', 'segments'), ('segments', 'labels')):
        for stamp in (stamps.pop(0), stamps.pop(0)):
            add(first, stamp)
            assert recorded()[0] == []
            add(second, stamp)
            assert recorded()[0] == [stamp]
    # Cut anew, an image comes again.
    for role in ('labels', 'segments'):
        add(role, stamp)
    assert recorded()[0] == [stamp]
    # Some segments get lost: their labels do not wait forever, and wear nobody's colours.
    for waiting in stamps[:4]:
        add('labels', waiting)
    assert recorded() == ([stamps[0]], [(stamps[0], 1)])
    add('segments', stamps[2])
    assert recorded() == ([stamps[2]], [(stamps[2], 5)])
    recorder.close()
    assert recorded() == ([stamps[1], stamps[3]], [(stamps[1], 1), (stamps[3], 1)])


@pytest.mark.parametrize('image', ['/image', '/camera/color/image_raw'])
def test_live_is_what_a_bag_of_it_is(view, connect, tmp_path, image):
    sent = content(image=image)
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, sent)
    assert run('--bag', bag, '--save', tmp_path / 'bag.rrd').returncode == 0
    expected = read(tmp_path / 'bag.rrd')
    domain, live = free_domain(), tmp_path / 'live.rrd'
    choice = () if image == '/image' else ('--image', image)
    # The peer has a camera of its own, and subscribes to outputs: that alone makes their topics known.
    with view('--save', live, *choice, domain=domain) as viewer, connect(domain, camera='another') as peer:
        viewer.wait_for('waiting for /diffcut: none of its topics is there')
        publish(peer, sent, viewer, best_effort=(image,))
        wait_until_recorded(live.with_name('.live.rrd.writing'), expected)
        assert viewer.interrupt() == 0, viewer.log
        assert all(f'3 {role}' in viewer.log for role in ROLES), viewer.log
        assert 'Traceback' not in viewer.log
    assert read(live) == expected


def test_the_camera_that_is_asked_for(view, connect, tmp_path):
    both = [
        *content(camera='rear', image='/rear/image', node='/robot/seg'),
        *content(camera='front', image='/front/image', node='/robot/seg')[:14],  # two images
    ]
    bag = write_bag(tmp_path / 'bag', StoragePlugin.SQLITE3, both)
    for camera, count in (('front', 2), ('rear', 3)):
        done = run('--bag', bag, '--node', 'robot/seg', '--camera', camera, '--save', tmp_path / 'a.rrd')
        assert done.returncode == 0, done.stderr
        assert all(f'{count} {role}' in done.stdout for role in ROLES), done.stdout


def test_nodes_and_cameras_of_a_bag_are_told(tmp_path):
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content(camera='front', in_space=False, node='/robot/seg'))
    for choice, told in (
        (['--node', '/robot/seg'], '; /robot/seg has camera front: --camera front'),
        (['--node', '/robot/seg', '--camera', 'rear'], '; /robot/seg has camera front: --camera front'),
        ([], '; there is no /diffcut; of its kind there is /robot/seg/front: --node /robot/seg/front'),
    ):
        assert error_of('--bag', bag, *choice, '--save', tmp_path / 'a.rrd').endswith(told)


def test_nodes_and_cameras_that_run_are_told_and_their_images_found(view, start_node, connect, tmp_path):
    domain, save = free_domain(), ('--save', tmp_path / 'a.rrd')
    options = ['-r', '__ns:=/robot', '-p', 'cameras:=[front, rear]']
    for camera in ('front', 'rear'):
        options += ['-r', f'{camera}/image:=/{camera}_camera/image_raw']
    with start_node(domain, *options) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        with view(*save, domain=domain) as viewer:
            viewer.wait_for(
                'there is no /diffcut; of its kind there is /robot/diffcut: --node /robot/diffcut --camera front'
            )
        with view(*save, '--node', '/robot/diffcut', domain=domain) as viewer:
            viewer.wait_for('/robot/diffcut has cameras front, rear: --camera front')
            assert 'there is no /robot/diffcut' not in viewer.log
        with view(*save, '--node', '/robot/diffcut', '--camera', 'rear', domain=domain) as viewer:
            viewer.wait_for('waiting for the camera on /rear_camera/image_raw, which /robot/diffcut listens to')
            for camera in ('front', 'rear', 'other'):
                peer.publisher(Image, f'/{camera}_camera/image_raw')
            viewer.wait_for('listening to /rear_camera/image_raw')
            assert '/front_camera' not in viewer.log


def test_two_cameras_to_choose_from(tmp_path):
    one, other = '/left/image_raw', '/right/image_raw'
    more = [(other, message) for topic, message in content(image=one) if topic == one]
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content(image=one) + more)
    done = run('--bag', bag, '--save', tmp_path / 'a.rrd')
    assert done.returncode == 0
    assert f'expected one, received {one}, {other}: choose one with --image' in done.stderr
    assert '3 labels' in done.stdout
    assert ' image' not in done.stdout
    done = run('--bag', bag, '--image', one, '--save', tmp_path / 'a.rrd')
    assert '3 image' in done.stdout


def test_what_diffcut_analyze_writes(tmp_path):
    film = record(tmp_path / 'film', 3, depth=False)
    options = ['--with-source', '--no-report', '--no-video']
    assert analyze([str(film), '-o', str(tmp_path / 'out'), *options]) == 0
    bag = tmp_path / 'out' / 'segments.mcap'
    done = run('--bag', bag, '--save', tmp_path / 'a.rrd')
    assert all(f'3 {role}' in done.stdout for role in ('image', 'labels', 'segments')), done.stderr
    with open_bag(bag) as opened:
        kept = [decoded(m) for m in opened.messages({'/diffcut/labels/compressed'})]
    shown = [values for _, (values,) in read(tmp_path / 'a.rrd')['/camera/pinhole/labels', 'SegmentationImage:buffer']]
    assert [np.array(values, np.uint8).tobytes() for values in shown] == [labels.tobytes() for labels in kept]


@pytest.mark.parametrize('with_source', [True, False])
def test_the_camera_is_where_it_was_in_the_target_frame(tmp_path, with_source):
    """By the transforms that are copied; without them it is nowhere, and that is told."""
    turned = Rotation.from_euler('xyz', [-90, 0, -90], degrees=True)
    places = [[1.0 + 0.1 * index, 2.0, 3.0] for index in range(4)]
    with FilmRecorder(tmp_path / 'film') as film:
        film.write_transform(FRAME_ID, turned.as_quat(), [0, 0, 0.5], START_NS, 'base_link', static=True)
        for index, place in enumerate(places):
            if index < 3:
                film.write_transform('base_link', [0, 0, 0, 1], place, START_NS + index * STEP_NS)
            film.write_frame(index)
    options = ['--no-report', '--no-video', '--target-frame', 'map', '--objects']
    options += ['--with-source'] if with_source else []
    assert analyze([str(tmp_path / 'film'), '-o', str(tmp_path / 'out'), *options]) == 0
    done = run('--bag', tmp_path / 'out/segments.mcap', '--rate', 0, '--save', tmp_path / 'a.rrd')
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / 'a.rrd')
    assert len(found['/camera/objects', 'Boxes3D:centers']) == 1
    where = '/camera/pinhole', 'Transform3D:translation'
    nowhere = f"the camera is not drawn in space: boxes are in 'map', and where '{FRAME_ID}' is in it is not known"
    assert (nowhere in done.stderr) == (not with_source)
    assert (where in found) == with_source
    if not with_source:
        return
    stamps = [START_NS + index * STEP_NS for index in range(3)]
    assert [stamp for stamp, _ in found[where]] == stamps
    for (_, (at_m,)), (_, (matrix,)), place in zip(
        found[where], found['/camera/pinhole', 'Transform3D:mat3x3'], places, strict=False
    ):
        assert at_m == pytest.approx([place[0], place[1], 3.5])
        assert pytest.approx(turned.as_matrix(), abs=1e-6) == np.array(matrix).reshape(3, 3).T
    assert "the camera is drawn where it was before at 1 image: 'base_link' in 'map' is known from" in done.stderr
    # All boxes lie in front of it.
    for (_, centers), (_, (at_m,)) in zip(found['/camera/segments_3d', 'Boxes3D:centers'], found[where], strict=False):
        assert (turned.inv().apply(np.array(centers) - at_m)[:, 2] > 0.1).all()


@pytest.mark.parametrize('with_camera', [True, False])
def test_a_camera_that_is_nowhere_is_not_in_space(with_camera):
    def contents(view) -> list[str]:
        if getattr(view, 'name', None) == 'In space':
            return list(view.contents)
        return [one for part in view.contents if not isinstance(part, str) for one in contents(part)]

    shown = contents(blueprint({'image', 'space'}, True, with_camera).root_container)
    assert 'camera/objects' in shown
    assert ('camera/pinhole' in shown, 'camera/pinhole/image' in shown) == (with_camera, with_camera)


def test_video_is_not_shown_and_why(tmp_path):
    options = ['--with-source', '--no-report', '--no-video', '--tau', '0.3']
    for make in (compressed_image, compressed_video):
        film = tmp_path / make.__name__
        with FilmRecorder(film) as recorder:
            recorder.store = VIDEO_STORE
            for index, data in encode(3):
                recorder.write('/camera/video', make(data, index * 10**8 + 1))
        assert analyze([str(film), '-o', str(tmp_path / 'out'), '--overwrite', *options]) == 0
        done = run('--bag', tmp_path / 'out/segments.mcap', '--save', tmp_path / 'a.rrd')
        assert done.returncode == 0
        assert '3 labels' in done.stdout
        assert ' image' not in done.stdout
        if make is compressed_video:
            assert 'not shown: /camera/video: video; overlay.mp4 of diffcut_analyze has its images' in done.stderr
        else:
            assert done.stderr.count("left out: image: format 'h264': expected a picture by itself") == 1


def decoded(message) -> np.ndarray:
    return cv2.imdecode(STORE.deserialize_cdr(message.cdr, message.type_name).data, cv2.IMREAD_UNCHANGED)


def panels(roles: set[str]) -> list[str]:
    """Names of what is on the screen."""

    def names(view) -> list[str]:
        parts = [view.name] if getattr(view, 'name', None) else []
        return parts + [name for part in view.contents if not isinstance(part, str) for name in names(part)]

    return names(blueprint(roles).root_container)


@pytest.mark.parametrize(
    ('roles', 'expected'),
    [
        ({'image', 'overlay', 'labels', 'space'}, ['Image', 'Overlay', 'Labels', 'In space', 'Segments']),
        ({'image', 'labels'}, ['Image', 'Labels', 'Segments']),
        ({'space'}, ['In space', 'Segments']),
    ],
)
def test_what_is_not_there_has_no_panel(roles, expected):
    assert panels(roles) == expected


def test_without_depth_nothing_is_in_space(tmp_path):
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content(in_space=False))
    assert run('--bag', bag, '--save', tmp_path / 'a.rrd').returncode == 0
    entities = {entity for (entity, _), rows in read(tmp_path / 'a.rrd').items() if rows[0][0] is not None}
    assert entities
    assert not entities & {'/camera/points', '/camera/segments_3d', '/count/segments_3d'}


def test_a_damaged_message_is_left_out(tmp_path):
    damaged = content()
    for topic, message in damaged:
        if topic == '/diffcut/points':
            message.data = message.data[:100]
        if topic == '/diffcut/labels' and message.header.stamp.nanosec == 5:
            message.encoding = 'rgb8'
    done = run('--bag', write_bag(tmp_path / 'bag', StoragePlugin.MCAP, damaged), '--save', tmp_path / 'a.rrd')
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if line.startswith('left out')]
    assert len(told) == 2  # each once
    assert "left out: labels: encoding: expected mono8 or mono16, received 'rgb8'" in told
    assert '2 labels' in done.stdout
    assert 'points' not in done.stdout


def test_an_odd_recording(tmp_path):
    """Cut off, with topics without a slash, service events whose definition is none, and a message that is damaged."""
    path = tmp_path / 'odd.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file, use_chunking=False)
        writer.start('ros2', 'test')
        definition = b'int64 a\n---\nint64 sum'
        number = writer.register_schema('example_interfaces/srv/AddTwoInts_Event', 'ros2msg', definition)
        writer.add_message(writer.register_channel('add/_service_event', 'cdr', number), 1, b'\0\1\0\0', 1)
        channels = {}
        for k, (topic, message) in enumerate(content(in_space=False)):
            if topic not in channels:
                number = writer.register_schema(type_name(message), 'ros2msg', b'')
                channels[topic] = writer.register_channel(topic.strip('/'), 'cdr', number)
            cdr = serialize_message(message)
            damaged = k < 5 and topic == '/diffcut/labels'
            writer.add_message(channels[topic], k, cdr[:40] if damaged else cdr, k)
        writer.finish()
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(cdr) + 100])
    done = run('--bag', path, '--save', tmp_path / 'a.rrd')
    assert done.returncode == 0, done.stderr
    for counted in ('3 image', '2 labels', '3 segments', '2 overlay'):
        assert counted in done.stdout
    assert 'not all could be read: odd.mcap has no end: lost are its last ' in done.stderr
    assert 'left out: 1 message of diffcut/labels: failed to deserialize' in done.stderr
    assert 'Traceback' not in done.stderr


def free_ports() -> int:
    """Two ports in a row that are free now; the first one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(('127.0.0.1', 0))
            port = first.getsockname()[1]
            try:
                second.bind(('127.0.0.1', port + 1))
            except OSError:
                continue
            return port


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_to_this_machine(view, tmp_path, number):
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content())
    port = free_ports()
    with view('--bag', bag, '--port', port) as viewer:
        viewer.wait_for('Ctrl-C ends it')
        viewer.wait_for(
            'all with --rate 0; if the page stays white, or lags behind more and more (no graphics card): --rate 1'
        )
        address = re.search(r'^open (\S+)', viewer.log, re.MULTILINE).group(1)
        assert address == f'http://127.0.0.1:{port}/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A{port + 1}%2Fproxy'
        with urllib.request.urlopen(address, timeout=10) as page:
            assert page.status == 200
            assert b'Rerun Viewer' in page.read()
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/re_viewer_bg.wasm', timeout=30) as program:
            assert program.status == 200
            assert program.read(4) == b'\0asm'
        listening = Path('/proc/net/tcp').read_text() + Path('/proc/net/tcp6').read_text()
        for open_port in (port, port + 1):
            socket.create_connection(('127.0.0.1', open_port), 5).close()
            assert f' 0100007F:{open_port:04X} ' in listening
            assert f'00000000:{open_port:04X} ' not in listening  # all addresses
        assert viewer.interrupt(number) == 0, viewer.log
        assert 'Traceback' not in viewer.log
    for closed in (port, port + 1):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', closed), 5)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_of_a_bag(view, tmp_path, number):
    (topic, segments) = next(pair for pair in content() if pair[0] == '/diffcut/segments')
    segments.detections *= 50
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, [(topic, segments)] * 1000)
    with view('--bag', bag, '--save', tmp_path / 'bag.rrd') as viewer:
        viewer.wait_for('reading')
        assert viewer.interrupt(number) == 130, viewer.log
        assert 'Traceback' not in viewer.log
        assert 'Open it with' in viewer.log
        assert '1000 segments' not in viewer.log


def test_a_port_that_is_taken(tmp_path):
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content())
    port = free_ports()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', port + 1))
        taken.listen()
        assert f'received {port + 1}:' in error_of('--bag', bag, '--port', port, status=1)


def error_of(*args, status: int = 2) -> str:
    """The one line that a call that fails prints."""
    done = run(*args)
    assert done.returncode == status, done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith('diffcut_view: ')
    return lines[0]


def test_a_file_that_cannot_grow_is_not_left_behind(tmp_path):
    """As on a full disk; rerun itself would only log it."""
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content() * 20)
    limit = 'import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); '
    program = f'{limit}from diffcut_ros.node.view.main import main; sys.exit(main())'
    command = [sys.executable, '-c', program, '--bag', str(bag), '--save', str(tmp_path / 'a.rrd')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert f'{tmp_path / "a.rrd"} cannot be written' in done.stderr.splitlines()[-1]
    assert 'Open it with' not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['bag']


def test_errors_of_bags_and_files(tmp_path):
    assert 'expected a recording, found nothing there' in error_of(
        '--bag', tmp_path / 'none.mcap', '--save', tmp_path / 'a.rrd'
    )
    (tmp_path / 'notes.txt').write_text('no bag')
    assert 'expected MCAP, SQLite, or a bag of ROS 1, received a file that begins with' in error_of(
        '--bag', tmp_path / 'notes.txt', '--save', tmp_path / 'a.rrd'
    )
    bag = write_bag(tmp_path / 'bag', StoragePlugin.MCAP, content(node='/other'))
    error = error_of('--bag', bag, '--save', tmp_path / 'a.rrd')
    assert 'expected /diffcut/labels' in error
    assert '/other/labels' in error
    assert '--node' in error
    error = error_of('--bag', bag, '--node', '/other', '--image', '/elsewhere', '--save', tmp_path / 'a.rrd')
    assert 'expected the camera on /elsewhere, received /camera_info, /image' in error
    assert not (tmp_path / 'a.rrd').exists()
    assert '--save: expected' in error_of(
        '--bag', bag, '--node', '/other', '--save', tmp_path / 'no' / 'a.rrd', status=1
    )


@pytest.mark.parametrize(('module', 'package'), [('rerun', 'rerun-sdk'), ('rosbags', 'rosbags')])
def test_without_the_package(tmp_path, module, package):
    program = (
        f"import sys; sys.modules['{module}'] = None\n"
        'from diffcut_ros.node.view.main import main\n'
        f"sys.argv = ['diffcut_view', '--bag', '{tmp_path}']\n"
        'sys.exit(main())'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"expected the package {package}, found none. Next: pip install 'diffcut_ros[view]'" in done.stderr
