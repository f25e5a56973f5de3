"""Recordings of cameras that send video: which images are taken, with which stamps and depth, and what is written."""

import filecmp
import json
import signal
import warnings

import av
import numpy as np
import pytest

from diffcut_ros.analysis import AnalysisOptions, analyze
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.topics import Topics, find_topics
from diffcut_ros.recordings.bag import BagTopic, open_bag
from diffcut_ros.recordings.message_types import STORE as OURS
from support.recordings import (
    COMPRESSED,
    DEPTH,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    info_message,
)
from support.video import (
    DEFINITIONS,
    HEIGHT,
    STORE,
    WIDTH,
    compressed_image,
    compressed_video,
    encode,
    ffmpeg_packet,
    joined,
    units,
    which,
)
from support.waiting import wait_for

VIDEO = '/camera/video'
MESSAGES = [compressed_image, compressed_video, ffmpeg_packet]
# Only ffmpeg_image_transport gives packets out of order the stamps of their pictures; others stamp what they send.
MIXED = [(compressed_image, 0), (compressed_video, 0), (ffmpeg_packet, 2)]
BEGINNING = 'before the first key frame with its parameters'
PARAMETERS = '/**:\n  ros__parameters: {damping: 0.3, color: {cells: 10}}\n'


@pytest.fixture
def fast(tmp_path):
    """Options whose analysis is quick."""
    path = tmp_path / 'fast.yaml'
    path.write_text(PARAMETERS)
    return AnalysisOptions(params=path)


def record(path, packets, make=compressed_image, name='h264', depth=False, at=None, **options):
    """Write packets as messages, recorded in order, or `at` these numbers, and depth by its stamps; return the path."""
    rows = []
    for number, (index, data) in enumerate(packets):
        stamp_ns = START_NS + index * STEP_NS
        rows.append((START_NS + STEP_NS * (number if at is None else at[number]), VIDEO, make(data, stamp_ns, name)))
        if depth:
            rows.append((stamp_ns, INFO, info_message(HEIGHT, WIDTH, stamp_ns)))
            rows.append((stamp_ns, DEPTH, image_message(depth_mm(index, HEIGHT, WIDTH), '16UC1', stamp_ns)))
    with Recorder(path, **options) as recorder:
        recorder.store = STORE
        for recorded_ns, topic, message in sorted(rows, key=lambda row: row[0]):
            recorder.write(topic, message, recorded_ns)
    return path


def taken(results) -> list[int]:
    """Return the numbers of the film's images that were taken, after checking that each shows what it should."""
    numbers = []
    for result in results:
        numbers.append((result.stamp_ns - START_NS) // STEP_NS)
        assert which(result.image_rgb) == numbers[-1]
    return numbers


def test_definitions_are_those_of_the_packages():
    for name in DEFINITIONS:
        assert OURS.hash_rihs01(name) == STORE.hash_rihs01(name)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3', 'ros1'])
@pytest.mark.parametrize('make', MESSAGES)
@pytest.mark.parametrize('codec', ['h264', 'hevc'])
def test_every_image_of_every_message(tmp_path, fast, make, codec, storage):
    if storage == 'ros1' and make is not compressed_image:
        pytest.skip('these packages are of ROS 2')
    path = tmp_path / ('film.bag' if storage == 'ros1' else 'film')
    if storage == 'ros1':
        with Recorder(path) as recorder:
            make_ros1 = recorder.store.types['sensor_msgs/msg/CompressedImage']
            for index, data in encode(8, codec):
                image = compressed_image(data, START_NS + index * STEP_NS, codec)
                image = make_ros1(
                    info_message(1, 1, START_NS + index * STEP_NS, recorder.store).header, codec, image.data
                )
                recorder.write(VIDEO, image)
    else:
        record(path, encode(8, codec), make, codec, storage=storage)
    assert taken(analyze(path, fast)) == list(range(8))


@pytest.mark.parametrize('b_frames', [0, 2])
def test_every_packet_is_decoded_whatever_is_taken(tmp_path, fast, b_frames):
    film = record(tmp_path / 'film', encode(20, gop=10, b_frames=b_frames))
    assert taken(analyze(film, fast, every=3)) == list(range(0, 20, 3))
    assert taken(analyze(film, fast, start_s=0.45)) == list(range(5, 20))
    assert taken(analyze(film, fast, start_s=0.45, duration_s=0.4)) == [5, 6, 7, 8]
    assert taken(analyze(film, fast, rate_hz=2.0)) == [0, 5, 10, 15]


@pytest.mark.parametrize(('make', 'b_frames'), MIXED)
def test_with_depth(tmp_path, fast, make, b_frames):
    film = record(tmp_path / 'film', encode(12, b_frames=b_frames), make, depth=True)
    results = list(analyze(film, fast))
    assert taken(results) == list(range(12))
    for index, result in enumerate(results):
        depths_m = [geometry.position_m[2] for geometry in result.geometries if geometry]
        # Positions are exact to 1/65535 of the range of all points.
        assert 0.9999 + index / 1000 <= min(depths_m) <= max(depths_m) <= 2.0001 + index / 1000
    assert taken(analyze(film, fast, depth=False)) == list(range(12))


def test_depth_that_was_recorded_after_all_images(tmp_path, fast):
    packets = encode(12)
    with Recorder(tmp_path / 'film') as recorder:
        recorder.store = STORE
        for index, data in packets:
            recorder.write(VIDEO, compressed_image(data, START_NS + index * STEP_NS))
        for index in range(12):
            late_ns = START_NS + (20 + index) * STEP_NS
            recorder.write(INFO, info_message(HEIGHT, WIDTH, START_NS + index * STEP_NS), late_ns)
            depth = image_message(depth_mm(index, HEIGHT, WIDTH), '16UC1', START_NS + index * STEP_NS)
            recorder.write(DEPTH, depth, late_ns + 1)
    assert taken(analyze(tmp_path / 'film', fast)) == list(range(12))


def test_a_recording_that_begins_between_key_frames(tmp_path, capsys, rows):
    film = record(tmp_path / 'film', encode(20, gop=10)[3:])
    (tmp_path / 'fast.yaml').write_text(PARAMETERS)
    options = '--csv', '--no-report', '--params', str(tmp_path / 'fast.yaml')
    assert main([str(film), '-o', str(tmp_path / 'out'), *options]) == 3
    assert '10 of 17 images segmented' in capsys.readouterr().out
    problems = rows(tmp_path / 'out/problems.csv')
    assert len(problems) == 7
    assert {row['problem'] for row in problems} == {
        f'{VIDEO}: image ignored: {problems[0]["problem"].split(": ", 2)[2]}'
    }
    assert BEGINNING in problems[0]['problem']
    assert rows(tmp_path / 'out/frames.csv')[0]['images_left_out'] == '7'
    # What is not wanted is not told.
    assert main([str(film), '-o', str(tmp_path / 'later'), *options, '--start', '0.7']) == 0
    assert main([str(film), '-o', str(tmp_path / 'some'), *options, '--every', '4']) == 3
    assert len(rows(tmp_path / 'some/problems.csv')) == 2


def test_packets_that_are_missing_or_damaged(tmp_path, fast):
    packets = encode(20)
    bad = (11, packets[11][1][:20])
    film = record(tmp_path / 'film', [*packets[:2], *packets[3:11], bad, *packets[12:]], at=range(19))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert taken(analyze(film, fast)) == [0, 1, *range(5, 11), *range(15, 20)]
    told = [str(warning.message) for warning in caught]
    assert sum('after packets that are missing' in text for text in told) == 2
    assert sum('damaged, or after a damaged one' in text for text in told) == 4


def test_messages_with_parameters_only_are_no_images(tmp_path, capsys):
    (_, first), *others = encode(8)
    apart = [joined([unit]) for unit in units(first)]
    film = record(tmp_path / 'film', [*((0, data) for data in apart), *others])
    (tmp_path / 'fast.yaml').write_text(PARAMETERS)
    options = '--csv', '--no-report', '--with-source', '--params', str(tmp_path / 'fast.yaml')
    assert main([str(film), '-o', str(tmp_path / 'out'), *options]) == 0
    assert '8 of 8 images segmented' in capsys.readouterr().out
    # The copy begins with them.
    assert taken(analyze(tmp_path / 'out/segments.mcap', image_topic=VIDEO)) == list(range(8))


@pytest.mark.parametrize(('make', 'b_frames'), MIXED)
def test_all_outputs(tmp_path, make, b_frames):
    film = record(tmp_path / 'film', encode(20, gop=10, b_frames=b_frames), make, depth=True)
    (tmp_path / 'fast.yaml').write_text(PARAMETERS)
    out = tmp_path / 'out'
    options = '--csv', '--with-source', '--params', str(tmp_path / 'fast.yaml'), '--start', '0.45'
    assert main([str(film), '-o', str(out), *options]) == 0
    with av.open(str(out / 'overlay.mp4')) as video:
        assert sum(1 for _ in video.decode(video=0)) == 15
    assert (out / 'report.html').stat().st_size > 10_000
    with open_bag(out / 'segments.mcap') as bag:
        assert bag.topics['/diffcut/segments'].count == 15
        assert bag.topics[VIDEO].type_name == make(b'', 0).__msgtype__
        packets = [message.cdr for message in bag.messages({VIDEO})]
    with open_bag(film) as bag:
        recorded = [message.cdr for message in bag.messages({VIDEO})]
    # From the key frame on that the first image depends on, in the order in which they were sent.
    assert packets == recorded
    again = analyze(out / 'segments.mcap', image_topic=VIDEO, depth=False, start_s=0.45)
    assert taken(again) == list(range(5, 20))


def test_a_copy_holds_no_more_than_its_images_depend_on(tmp_path):
    film = record(tmp_path / 'film', encode(20, gop=5))
    (tmp_path / 'fast.yaml').write_text(PARAMETERS)
    options = '--csv', '--no-report', '--no-video', '--with-source', '--params', str(tmp_path / 'fast.yaml')
    assert main([str(film), '-o', str(tmp_path / 'out'), *options, '--start', '1.25', '--duration', '0.4']) == 0
    assert taken(analyze(tmp_path / 'out/segments.mcap', image_topic=VIDEO)) == list(range(10, 17))


@pytest.mark.parametrize('b_frames', [0, 2])
def test_resumed_is_as_if_never_killed(tmp_path, start, b_frames):
    """Killed after a part that ends between key frames."""
    film = record(tmp_path / 'film', encode(70, gop=50, b_frames=b_frames), depth=True)
    (tmp_path / 'fast.yaml').write_text(PARAMETERS)
    options = '--csv', '--with-source', '--no-report', '--params', str(tmp_path / 'fast.yaml')
    assert main([str(film), '-o', str(tmp_path / 'whole'), *options]) == 0
    killed = tmp_path / 'killed'
    process = start(film, '-o', killed, *options)
    wait_for((killed / '.unfinished/part-000001').exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / 'segments.mcap').exists()
    assert main([str(film), '-o', str(killed), *options, '--resume']) == 0
    for name in ('segments.csv', 'problems.csv', 'overlay.mp4'):
        assert filecmp.cmp(killed / name, tmp_path / 'whole' / name, shallow=False)
    assert json.loads((killed / 'run.json').read_text())['frames'] == 70
    contents = []
    for folder in (killed, tmp_path / 'whole'):
        with open_bag(folder / 'segments.mcap') as bag:
            contents.append(list(bag.messages(set(bag.topics))))
    assert contents[0] == contents[1]


def test_another_size_on_the_way(tmp_path, fast):
    larger = [(index, data) for index, data in encode(10, height=144, width=192)][5:]
    results = list(analyze(record(tmp_path / 'film', encode(5) + larger), fast))
    assert [result.image_rgb.shape[:2] for result in results] == [(96, 128)] * 5 + [(144, 192)] * 5
    assert taken(results) == list(range(10))


def test_larger_than_allowed(tmp_path):
    film = record(tmp_path / 'film', encode(6))
    (tmp_path / 'small.yaml').write_text('/**:\n  ros__parameters: {max_image_megapixels: 0.01}\n')
    with pytest.warns(UserWarning, match=r'picture of 128 x 96: expected at most 0\.01 megapixels') as caught:
        assert not list(analyze(film, params=tmp_path / 'small.yaml'))
    assert len(caught) == 6


def test_stamps_of_zero(tmp_path, fast):
    with Recorder(tmp_path / 'film') as recorder:
        recorder.store = STORE
        for index, data in encode(8):
            recorder.write(VIDEO, compressed_video(data, 0), START_NS + index * STEP_NS)
    assert taken(analyze(tmp_path / 'film', fast)) == list(range(8))


# Topics.


def topics(**types):
    names = {
        'raw': 'sensor_msgs/msg/Image',
        'jpeg': 'sensor_msgs/msg/CompressedImage',
        'info': 'sensor_msgs/msg/CameraInfo',
        'foxglove': 'foxglove_msgs/msg/CompressedVideo',
        'ffmpeg': 'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    }
    return {name.replace('__', '/'): BagTopic(names[kind], 5) for name, kind in types.items()}


def test_video_is_a_camera_unless_its_images_are_there():
    ffmpeg, foxglove = {'__camera__image_raw__ffmpeg': 'ffmpeg'}, {'__camera__image_raw__foxglove': 'foxglove'}
    raw, jpeg = {'__camera__image_raw': 'raw'}, {'__camera__image_raw__compressed': 'jpeg'}
    assert find_topics(topics(**ffmpeg)).image == f'{IMAGE}/ffmpeg'
    assert find_topics(topics(**ffmpeg, **foxglove)).image == f'{IMAGE}/ffmpeg'
    assert find_topics(topics(**ffmpeg, **jpeg)).image == COMPRESSED
    assert find_topics(topics(**ffmpeg, **raw, **jpeg)).image == IMAGE
    assert find_topics(topics(**ffmpeg, **raw), image=f'{IMAGE}/ffmpeg').image == f'{IMAGE}/ffmpeg'
    assert find_topics(topics(__camera__video='foxglove')).image == VIDEO
    with pytest.raises(ValueError, match='several topics may be it, choose with --image-topic: /a/video, /b/video'):
        find_topics(topics(__a__video='foxglove', __b__video='ffmpeg'))
    depth = {'__camera__depth__image_raw': 'raw', '__camera__camera_info': 'info', '__other__camera_info': 'info'}
    assert find_topics(topics(**ffmpeg, **depth)) == Topics(f'{IMAGE}/ffmpeg', INFO, DEPTH)
    assert find_topics(topics(__camera__video='foxglove', **depth)) == Topics(VIDEO, INFO, DEPTH)


def test_jpeg_in_a_packet_is_a_picture(tmp_path, fast):
    """ffmpeg_image_transport sends it with the encoder mjpeg."""
    import cv2

    from support.video import scene

    with Recorder(tmp_path / 'film') as recorder:
        recorder.store = STORE
        for index in range(3):
            data = cv2.imencode('.jpg', np.ascontiguousarray(scene(index)[:, :, ::-1]))[1].tobytes()
            recorder.write(VIDEO, ffmpeg_packet(data, START_NS + index * STEP_NS, 'mjpeg'))
    assert taken(analyze(tmp_path / 'film', fast)) == [0, 1, 2]
