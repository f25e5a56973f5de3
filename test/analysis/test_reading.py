"""Which images of a recording are taken, of every format and encoding, and what becomes of damaged ones."""

import json
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.records import MessageIndex
from mcap.stream_reader import StreamReader

from diffcut_ros.analysis import AnalysisOptions, analyze
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.topics import Topics, find_topics
from diffcut_ros.recordings.bag import BagError, BagTopic, open_bag
from diffcut_ros.stream.rate import RateLimit
from support.recordings import (
    COMPRESSED,
    DEPTH,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    header,
    image_message,
    info_message,
    moving_scene,
    record,
)

REAL = Path(__file__).parents[3] / 'shared/data'
FAST = '/**:\n  ros__parameters: {color: {cells: 10}}\n'


def stamps(results) -> list[int]:
    """Return the numbers of the film's images that were taken."""
    return [(result.stamp_ns - START_NS) // STEP_NS for result in results]


@pytest.mark.parametrize(
    ('name', 'storage', 'compressed'),
    [('film', 'mcap', False), ('film', 'sqlite3', False), ('film', 'mcap', True), ('film.bag', '', False)],
)
def test_formats_give_the_same(tmp_path, fast, name, storage, compressed):
    film = record(tmp_path / name, 4, storage, compressed=compressed)
    reference = list(analyze(record(tmp_path / 'reference', 4), fast))
    results = list(analyze(film, fast))
    assert stamps(results) == [0, 1, 2, 3]
    for index, (result, expected) in enumerate(zip(results, reference, strict=True)):
        assert np.array_equal(result.image_rgb, moving_scene(index))
        assert np.array_equal(result.segmentation.labels, expected.segmentation.labels)
        ids = [segment.track_id for segment in result.segmentation.segments]
        assert ids == [segment.track_id for segment in expected.segmentation.segments]
        assert result.geometries == expected.geometries
        assert any(result.geometries)


def test_a_file_of_a_folder_is_a_recording(tmp_path, fast):
    for storage, ending in (('mcap', 'mcap'), ('sqlite3', 'db3')):
        film = record(tmp_path / storage, 2, storage)
        assert stamps(analyze(film / f'{storage}.{ending}', fast)) == [0, 1]


def test_any_encoding_of_the_node(tmp_path, fast):
    gray = moving_scene(3)[:, :, 0]
    images = {
        'mono8': gray,
        'bgr8': moving_scene(3)[:, :, ::-1],
        'bayer_rggb8': gray,
        'mono16': gray.astype('<u2') * 257,
    }
    with Recorder(tmp_path / 'film') as recorder:
        for index, (encoding, values) in enumerate(images.items()):
            recorder.write(IMAGE, image_message(values, encoding, START_NS + index * STEP_NS))
    mono8, bgr8, bayer, mono16 = (result.image_rgb for result in analyze(tmp_path / 'film', fast))
    assert np.array_equal(mono8, gray[:, :, None].repeat(3, 2))
    assert np.array_equal(bgr8, moving_scene(3))
    assert bayer.shape == (48, 64, 3)
    assert np.array_equal(mono16, mono8)


def test_start_duration_every(tmp_path, fast):
    film = record(tmp_path / 'film', 12, depth=False)
    assert stamps(analyze(film, fast, start_s=0.3)) == list(range(3, 12))
    assert stamps(analyze(film, fast, start_s=0.3, duration_s=0.5)) == [3, 4, 5, 6, 7]
    assert stamps(analyze(film, fast, every=5)) == [0, 5, 10]
    assert stamps(analyze(film, fast, start_s=0.2, every=5)) == [2, 7]


def test_the_first_image_beyond_the_end_is_not_counted(tmp_path, run):
    film = record(tmp_path / 'film', 12, depth=False)
    line, _ = run(film, '-o', tmp_path / 'out', '--duration', 0.5, '--no-report', '--no-video')
    assert '5 of 5 images segmented (0.0 to 0.5 s of 1.1 s), outputs' in line
    for options, words in (
        (('--start', 0.3, '--duration', 0.5), '5 of 5 images segmented (0.3 to 0.8 s of 1.1 s)'),
        (('--start', 0.8), '4 of 4 images segmented (0.8 to 1.1 s of 1.1 s)'),
        (('--every', 2), '6 of 12 images segmented (one of 2)'),
        (('--duration', 9, '--rate', 5), '6 of 12 images segmented (0.0 to 1.1 s of 1.1 s, at most 5 per second)'),
    ):
        line, _ = run(film, '-o', tmp_path / 'out', *options, '--no-report', '--no-video', '--overwrite')
        assert words in line


def test_rate_is_that_of_the_node(tmp_path, fast):
    film = record(tmp_path / 'film', 12, depth=False)
    limit, expected = RateLimit(4.0), []
    for index in range(12):
        if limit.ready(START_NS + index * STEP_NS):
            limit.passed(START_NS + index * STEP_NS)
            expected.append(index)
    assert 2 < len(expected) < 12
    assert stamps(analyze(film, fast, rate_hz=4.0)) == expected
    (tmp_path / 'rate.yaml').write_text('diffcut:\n  ros__parameters: {rate_hz: 4, color.cells: 10}\n')
    assert stamps(analyze(film, params=tmp_path / 'rate.yaml')) == expected
    assert stamps(analyze(film, params=tmp_path / 'rate.yaml', rate_hz=0.0)) == list(range(12))


def test_joined_by_stamp(tmp_path, fast):
    """Depth comes a frame late and 15 ms off; one is missing, and one image comes twice as late as the others."""
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(5):
            recorder.write_frame(index, depth=False)
            stamp_ns = START_NS + index * STEP_NS
            recorder.write(INFO, info_message(48, 64, stamp_ns))
            if index != 2:
                depth = np.full((48, 64), 1000 + index, np.uint16)
                recorder.write(DEPTH, image_message(depth, '16UC1', stamp_ns + 15_000_000), stamp_ns + STEP_NS + 1)
    with pytest.warns(UserWarning, match=r'1 of 5 images of .* within 0.02 s of their stamps: the nearest is 85 ms'):
        results = list(analyze(tmp_path / 'film', fast))
    assert stamps(results) == [0, 1, 3, 4]
    for result in results:
        depths_m = {round(geometry.position_m[2], 6) for geometry in result.geometries if geometry}
        assert depths_m == {1 + (result.stamp_ns - START_NS) // STEP_NS / 1000}
    assert stamps(analyze(tmp_path / 'film', fast, depth=False)) == [0, 1, 2, 3, 4]
    (tmp_path / 'exact.yaml').write_text('/**:\n  ros__parameters: {sync_slop_s: 0.0}\n')
    with pytest.raises(
        BagError, match=r'5 of 5 images .* the nearest is 15 ms later \(median\); take a larger sync_slop_s'
    ):
        list(analyze(tmp_path / 'film', params=tmp_path / 'exact.yaml'))
    with pytest.raises(BagError, match='no image of /camera/image_raw within the time and rate that are asked for'):
        list(analyze(tmp_path / 'film', fast, start_s=100.0))


def test_depth_in_another_frame_is_said_once(tmp_path, fast, capsys):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(3):
            stamp_ns = START_NS + index * STEP_NS
            recorder.write_frame(index, depth=False)
            recorder.write(INFO, info_message(48, 64, stamp_ns))
            depth = image_message(depth_mm(index), '16UC1', stamp_ns)
            depth.header = header(stamp_ns, frame_id='camera_depth')
            recorder.write(DEPTH, depth)
    words = "depth is in frame 'camera_depth', the image in 'camera_optical': positions are right only if"
    with pytest.warns(UserWarning, match=words) as caught:
        assert stamps(analyze(tmp_path / 'film', fast)) == [0, 1, 2]
    assert len(caught) == 1
    line = told(capsys, tmp_path / 'film', '-o', tmp_path / 'out', '--csv', '--no-video', status=0)
    assert f'3 of 3 images segmented, outputs in {tmp_path}/out; warning: {words}' in line
    assert words in json.loads((tmp_path / 'out/run.json').read_text())['warning']


def test_images_without_stamps_are_ordered_by_when_they_were_recorded(tmp_path, fast):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(3):
            message = image_message(moving_scene(index), 'rgb8', 0)
            recorder.write(IMAGE, message, START_NS + index * STEP_NS)
    assert stamps(analyze(tmp_path / 'film', fast)) == [0, 1, 2]


def test_depth_as_the_parameter_file_says(tmp_path):
    flat, deep = record(tmp_path / 'flat', 2, depth=False), record(tmp_path / 'deep', 2)
    for name in ('true', 'false'):
        (tmp_path / f'{name}.yaml').write_text(f'/**:\n  ros__parameters: {{depth: {name}, color.cells: 10}}\n')
    with pytest.raises(BagError, match='the parameter file says depth: true; received none'):
        list(analyze(flat, params=tmp_path / 'true.yaml'))
    for more, located in (({}, False), ({'depth_topic': DEPTH}, True)):
        (first, _) = analyze(deep, params=tmp_path / 'false.yaml', **more)
        assert any(first.geometries) == located
    assert len(list(analyze(flat, params=tmp_path / 'true.yaml', depth=False))) == 2


# Topics.


def topics(**types):
    names = {'Image': 'sensor_msgs/msg/Image', 'Compressed': 'sensor_msgs/msg/CompressedImage'}
    names['Info'] = 'sensor_msgs/msg/CameraInfo'
    return {name.replace('__', '/'): BagTopic(names[kind], 5) for name, kind in types.items()}


TWO = {'__a__image_raw': 'Image', '__a__camera_info': 'Info', '__a__depth__image_raw': 'Image', '__b__image': 'Image'}


def test_topics_are_found_by_type_and_name():
    one = {name: kind for name, kind in TWO.items() if 'b' not in name}
    assert find_topics(topics(**one)) == Topics('/a/image_raw', '/a/camera_info', '/a/depth/image_raw')
    assert find_topics(topics(**one), with_depth=False) == Topics('/a/image_raw')
    both = topics(**one, **{'__a__image_raw__compressed': 'Compressed'})
    assert find_topics(both).image == '/a/image_raw'
    assert find_topics(both, prefer_compressed=True).image == '/a/image_raw/compressed'
    aligned = topics(**one, __a__aligned_depth__image='Image', __b__camera_info='Info', __b__depth='Image')
    assert find_topics(aligned) == Topics('/a/image_raw', '/a/camera_info', '/a/aligned_depth/image')


def test_names_without_a_leading_slash():
    bare = topics(image_raw='Image', camera_info='Info', depth='Image')
    for given in ({}, {'image': '/image_raw', 'camera_info': '/camera_info', 'depth': '/depth'}):
        assert find_topics(bare, **given) == Topics('image_raw', 'camera_info', 'depth')
    two = topics(a__image='Image', a__camera_info='Info', a__depth='Image', b__image='Image', b__camera_info='Info')
    with pytest.raises(BagError, match='choose with --image-topic: a/image, b/image'):
        find_topics(two)
    assert find_topics(two, '/a/image') == Topics('a/image', 'a/camera_info', 'a/depth')
    mixed = topics(image_raw='Image', __image_raw='Image')
    for name in mixed:
        assert find_topics(mixed, name).image == name
    slashed = topics(__a__image='Image', __a__camera_info='Info')
    assert find_topics(slashed, 'a/image').image == '/a/image'


def test_camera_info_that_is_not_beside_its_image():
    names = {
        f'/device/{part}/{name}': kind
        for part in ('color', 'depth')
        for name, kind in (('image/data', 'Image'), ('info/camera_info', 'Info'))
    }
    found = find_topics(topics(**{name.replace('/', '__'): kind for name, kind in names.items()}))
    assert found == Topics('/device/color/image/data', '/device/color/info/camera_info', '/device/depth/image/data')
    with pytest.raises(BagError, match='camera_info: several topics may be it, choose with --camera-info-topic'):
        find_topics(topics(__a__image='Image', __a__depth='Image', __b__camera_info='Info', __c__camera_info='Info'))


def test_a_choice_is_listed():
    with pytest.raises(BagError, match='choose with --image-topic: /a/image_raw, /b/image'):
        find_topics(topics(**TWO))
    assert find_topics(topics(**TWO), '/a/image_raw').depth == '/a/depth/image_raw'
    two_depths = topics(__a__image='Image', __a__depth1='Image', __a__depth2='Image', __a__camera_info='Info')
    with pytest.raises(BagError, match='--depth-topic, or leave depth out with --no-depth: /a/depth1, /a/depth2'):
        find_topics(two_depths)
    with pytest.raises(BagError, match=r"no messages on '/c'; there are .*/b/image \(sensor_msgs/msg/Image, 5\)"):
        find_topics(topics(**TWO), '/c')
    with pytest.raises(BagError, match='received /a/camera_info of sensor_msgs/msg/CameraInfo'):
        find_topics(topics(**TWO), '/a/camera_info')
    with pytest.raises(BagError, match='depth: no topic seems to be it, choose with --depth-topic, or leave depth out'):
        find_topics(topics(__a__image='Image', __a__camera_info='Info'), camera_info='/a/camera_info')
    with pytest.raises(BagError, match=r'no topic seems to be it, .* /a/camera_info'):
        find_topics(topics(__a__camera_info='Info'))


# Damage.


def told(capsys, *arguments, status: int) -> str:
    """Run the command in this process; return the one line that it wrote, beside the one that says what is read."""
    assert main([str(argument) for argument in arguments]) == status
    out, err = capsys.readouterr()
    assert 'Traceback' not in out + err
    lines = [line for line in (out + err).strip().splitlines() if not line.startswith('reading ')]
    (line,) = lines
    return line


def test_what_is_no_recording(tmp_path, capsys):
    out = tmp_path / 'out'
    film = record(tmp_path / 'film', 2)
    (tmp_path / 'text.mcap').write_text('no recording at all, but long enough to be read as one')
    (tmp_path / 'broken.db3').write_bytes(b'SQLite format 3\0' + bytes(range(256)) * 20)
    (tmp_path / 'old.bag').write_bytes(b'#ROSBAG V2.0\nand no more')
    with Recorder(tmp_path / 'empty') as recorder:
        recorder.topic(IMAGE, 'sensor_msgs/msg/Image')
    with Recorder(tmp_path / 'blind') as recorder:
        recorder.write(INFO, info_message(48, 64, START_NS))
    (tmp_path / 'without').mkdir()
    for path, words in {
        'nothing.mcap': 'expected a recording, found nothing there',
        'text.mcap': 'cannot read it: ',
        'broken.db3': 'cannot read it: file is not a database; to save what is whole: sqlite3 broken.db3 .recover',
        'old.bag': 'received an empty recording: old.bag has no index (',
        'empty': 'received an empty recording',
        'blind': 'image: no topic seems to be it, choose with --image-topic: /camera/camera_info',
        'without': 'expected metadata.yaml or a recording (MCAP, SQLite, or a bag of ROS 1) in this folder, found none',
    }.items():
        line = told(capsys, tmp_path / path, '-o', out, '--csv', status=2)
        assert words in line, line
    line = told(capsys, film, '-o', out, '--csv', '--image-topic', '/camera/other', status=2)
    assert f"no messages on '/camera/other'; there are {INFO} (sensor_msgs/msg/CameraInfo, 2), {DEPTH}" in line
    assert not out.exists()


def test_a_recording_that_was_cut_off(tmp_path, capsys, rows):
    film = record(tmp_path / 'film', 250, depth=False)
    data = (film / 'film.mcap').read_bytes()
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(data[: round(len(data) * 0.7)])
    (tmp_path / 'fast.yaml').write_text(FAST)
    line = told(capsys, cut, '-o', tmp_path / 'out', '--csv', '--params', tmp_path / 'fast.yaml', status=3)
    frames = rows(tmp_path / 'out/frames.csv')
    # A chunk of 1 MB, which holds about 110 images, cannot be read without its end.
    assert 250 * 0.7 - 115 < len(frames) < 250 * 0.7
    assert stamps_of(frames) == list(range(len(frames)))
    assert 'not all could be read: cut.mcap has no end: lost are its last ' in line
    (film / 'film.mcap').write_bytes(cut.read_bytes())
    line = told(capsys, film, '-o', tmp_path / 'folder', '--csv', '--every', 100, status=3)
    assert f'of {len(frames)} images segmented' in line


@pytest.mark.parametrize('storage', ['mcap', 'storage'])
def test_a_damaged_chunk_is_left_out(tmp_path, capsys, rows, storage):
    """The second of several chunks, each of 1 MB of images."""
    with Recorder(tmp_path / 'film', storage) as recorder:
        for index in range(60):
            image = np.random.default_rng(index).integers(0, 256, (96, 128, 3), np.uint8)
            recorder.write(IMAGE, image_message(image, 'rgb8', START_NS + index * STEP_NS))
    film = tmp_path / 'film'
    path = film / 'film.mcap'
    data = bytearray(path.read_bytes())
    with path.open('rb') as file:
        chunk = make_reader(file).get_summary().chunk_indexes[1]
        at, length = chunk.chunk_start_offset, chunk.chunk_length
        file.seek(0)
        records = StreamReader(file, emit_chunks=True).records
        counts = [len(record.records) for record in records if isinstance(record, MessageIndex)]
    middle = at + length // 2
    data[middle : middle + length // 10] = bytes(255 - value for value in data[middle : middle + length // 10])
    path.write_bytes(data)
    (tmp_path / 'fast.yaml').write_text(FAST)
    arguments = '--csv', '--no-video', '--every', 5, '--params', tmp_path / 'fast.yaml'
    line = told(capsys, film, '-o', tmp_path / 'out', *arguments, status=3)
    assert f'film.mcap is damaged: a chunk of {length} bytes at byte {at}, {counts[1]} messages: ' in line
    expected = [*range(counts[0]), *range(counts[0] + counts[1], 60)]
    assert stamps_of(rows(tmp_path / 'out/frames.csv')) == expected[::5]


def test_a_damaged_index_is_done_without(tmp_path, capsys):
    film = record(tmp_path / 'film', 3)
    path = film / 'film.mcap'
    data = bytearray(path.read_bytes())
    summary = struct.unpack('<Q', data[-28:-20])[0]
    data[summary + 1 : summary + 60] = b'\xff' * 59
    path.write_bytes(data)
    line = told(capsys, path, '-o', tmp_path / 'out', '--csv', '--no-video', '--no-report', status=3)
    assert '3 of 3 images segmented' in line
    assert 'not all could be read: the index of film.mcap is damaged, and was done without: ' in line


def stamps_of(frames) -> list[int]:
    return [(int(row['stamp_ns']) - START_NS) // STEP_NS for row in frames]


def test_a_damaged_database(tmp_path, capsys):
    film = record(tmp_path / 'film', 60, 'sqlite3', depth=False)
    path = film / 'film.db3'
    data = bytearray(path.read_bytes())
    page = struct.unpack('>H', data[16:18])[0]
    at = data.index(moving_scene(30).tobytes()[:200], len(data) // 3) // page * page
    data[at : at + 4 * page] = bytes(4 * page)
    path.write_bytes(data)
    line = told(capsys, film, '-o', tmp_path / 'out', '--csv', status=3)
    assert 'database disk image is malformed' in line
    assert 'film.db3 is damaged: an unknown number of messages after ' in line
    assert ' images segmented' in line


def test_damaged_images_are_counted_and_listed(tmp_path, capsys, rows):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(6):
            recorder.write_frame(index, depth=False, compressed=True)
        bad = recorder.store.types['sensor_msgs/msg/CompressedImage']
        for index, data in ((6, b'\xff\xd8\xff and no picture'), (7, b'')):
            template = info_message(1, 1, START_NS + index * STEP_NS)
            recorder.write(COMPRESSED, bad(template.header, 'jpeg', np.frombuffer(data, np.uint8)))
        recorder.write_frame(8, depth=False, compressed=True)
    line = told(capsys, tmp_path / 'film', '-o', tmp_path / 'out', '--csv', status=3)
    assert '7 of 9 images segmented' in line
    assert '; 2 images or messages left out: 1 x ' in line
    assert f'1 x {COMPRESSED}: image ignored: ' in line
    assert line.endswith('; all in problems.csv')
    problems = rows(tmp_path / 'out/problems.csv')
    assert stamps_of(problems) == [6, 7]
    assert all(f'{COMPRESSED}: image ignored: ' in row['problem'] and 'expected' in row['problem'] for row in problems)
    assert rows(tmp_path / 'out/frames.csv')[-1]['images_left_out'] == '2'
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert stamps(analyze(tmp_path / 'film')) == [0, 1, 2, 3, 4, 5, 8]
    assert len([w for w in caught if 'image ignored' in str(w.message)]) == 2


def test_options_out_of_range():
    for options, words in (
        ({'every': 0}, 'every: expected at least 1'),
        ({'start_s': -1.0}, 'start: expected 0 s or more'),
        ({'duration_s': float('nan')}, 'duration: expected more than 0 s'),
        ({'depth': False, 'depth_topic': DEPTH}, 'expected one of --no-depth and --depth-topic'),
    ):
        with pytest.raises(ValueError, match=words):
            AnalysisOptions(**options)


def test_options_that_take_no_image(tmp_path, capsys):
    film = record(tmp_path / 'film', 2)
    for arguments, words in {
        ('--start', '5'): 'within the time and rate that are asked for, in a recording of 0.1 s',
        ('--backend', 'none'): 'backend: expected color',
    }.items():
        out = tmp_path / 'out'
        assert words in told(capsys, film, '-o', out, '--csv', '--no-depth', *arguments, status=2)


# Real recordings.


@pytest.mark.skipif(not REAL.exists(), reason='needs ../shared/data: real recordings of ROS 1')
def test_real_cameras_of_ros_1(fast):
    sizes = {'aruco.bag': (960, 1280), 'aruco_marker.bag': (720, 1280)}
    for path in sorted((REAL / 'ros1_bags').glob('*.bag')):
        with open_bag(path) as bag:
            image = find_topics(bag.topics).image
        (result,) = analyze(path, fast)
        assert image == '/raspicam_node/image/compressed'
        assert result.image_rgb.shape[:2] == sizes[path.name]
        assert len(result.segmentation.segments) > 1


@pytest.mark.skipif(not REAL.exists(), reason='needs ../shared/data: a real RGB-D recording')
@pytest.mark.parametrize('arguments', [(), ('--storage', 'sqlite3', '--raw')])
def test_a_real_walk(tmp_path, rows, arguments):
    film = tmp_path / 'walk'
    tool = [sys.executable, str(REAL.parent / 'tools/make_rgbd_bag.py'), str(REAL / 'rgbd_kitchen'), str(film)]
    subprocess.run([*tool, '--max-frames', '12', *arguments], check=True, capture_output=True, timeout=300)
    assert main([str(film), '-o', str(tmp_path / 'out'), '--csv', '--rate', '10']) == 0
    frames, segments = rows(tmp_path / 'out/frames.csv'), rows(tmp_path / 'out/segments.csv')
    # 30 Hz: every third.
    assert [row['images_left_out'] for row in frames] == ['0', '2', '2', '2']
    assert all(float(row['depth_share']) > 0.8 for row in frames)
    located = [float(row['position_z_m']) for row in segments if row['position_z_m']]
    assert len(located) > 0.9 * len(segments)
    assert 0.5 < min(located) < max(located) < 10
    ids = [{row['track_id'] for row in segments if row['stamp_ns'] == frame['stamp_ns']} for frame in frames]
    assert len(ids[0] & ids[-1]) > len(ids[0]) / 2


def test_disparity_is_no_depth():
    names = topics(__stereo__image='Image', __stereo__disparity__image='Image', __stereo__camera_info='Info')
    found = find_topics(names)
    assert (found.image, found.depth) == ('/stereo/image', None)
    assert 'disparity on /stereo/disparity/image is not used' in found.note


def test_the_fuller_of_two_transports_is_taken():
    images, depth = ('/a/image_raw', '/a/image_raw/compressed'), ('/a/depth', '/a/depth/compressedDepth')

    def found(raw: int, compressed: int, **options):
        counts = dict.fromkeys((images[0], depth[0]), raw) | dict.fromkeys((images[1], depth[1]), compressed)
        kinds = {name: 'CompressedImage' if 'compressed' in name else 'Image' for name in counts}
        counted = {name: BagTopic(f'sensor_msgs/msg/{kinds[name]}', count) for name, count in counts.items()}
        return find_topics(counted | topics(__a__camera_info='Info'), **options)

    assert found(5, 5) == Topics(images[0], '/a/camera_info', depth[0])
    fuller = found(1, 5)
    assert fuller.names() == (images[1], '/a/camera_info', depth[1])
    assert fuller.note == '; '.join(f'{b} is taken (5 messages), not {a} (1)' for a, b in (images, depth))
    assert found(5, 5, prefer_compressed=True).image == images[1]
    assert found(5, 1, prefer_compressed=True).image == images[0]


def test_depth_that_is_named_is_no_camera():
    names = topics(__a__color='Image', __a__range='Image', __a__camera_info='Info')
    with pytest.raises(BagError, match='several topics may be it'):
        find_topics(names)
    assert find_topics(names, depth='/a/range') == Topics('/a/color', '/a/camera_info', '/a/range')


def test_a_camera_that_is_called_depth(tmp_path, fast):
    """Its images say that they are none; and so does a picture of depth in colours."""
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(3):
            recorder.write('/depthai/image_raw', image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS))
    assert stamps(analyze(tmp_path / 'film', fast)) == [0, 1, 2]
    with Recorder(tmp_path / 'colors') as recorder:
        for index in range(3):
            recorder.write_frame(index, depth=False)
            recorder.write(INFO, info_message(48, 64, START_NS + index * STEP_NS))
            recorder.write(DEPTH, image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS))
    with pytest.warns(UserWarning, match=f'depth on {DEPTH} is not used: '):
        assert stamps(analyze(tmp_path / 'colors', fast)) == [0, 1, 2]
