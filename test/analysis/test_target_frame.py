"""Places in another frame than the camera's, by the /tf of a recording."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability
from scipy.spatial.transform import Rotation, Slerp

from diffcut_ros.analysis import analyze
from diffcut_ros.analysis.run import analyze_to_folder
from diffcut_ros.analysis.settings import OutputOptions
from diffcut_ros.recordings.bag import BagError, open_bag
from diffcut_ros.recordings.message_types import STORE
from support.recordings import (
    DEPTH,
    FRAME_ID,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    info_message,
    record,
)

# base_link in map at the beginning and at the end of the recording, and the camera in base_link.
BEGIN = Rotation.from_euler('xyz', [0, 5, 30], degrees=True), np.array([1.0, -2.0, 0.5])
END = Rotation.from_euler('xyz', [0, -5, 80], degrees=True), np.array([3.0, 0.0, 0.5])
MOUNTED = Rotation.from_euler('xyz', [-90, 0, -90], degrees=True), np.array([0.1, 0.0, 1.2])
FRAMES = 6


def film(path, storage='mcap', static_at=FRAMES - 1, moves=True):
    """Record the film with a robot that moves evenly; /tf_static comes with the frame of that number."""
    with Recorder(path, storage) as recorder:
        for index in range(FRAMES):
            stamp_ns = START_NS + index * STEP_NS
            if index == static_at:
                recorder.write_transform(
                    FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], stamp_ns, parent='base_link', static=True
                )
            if moves:
                move(recorder, index - 0.5)
            recorder.write_frame(index)
        if moves:
            move(recorder, FRAMES - 0.5)
    return path


def pose(index: float) -> tuple[Rotation, np.ndarray]:
    """Where base_link is in map at a frame of the film."""
    share = (index + 0.5) / FRAMES
    turned = Slerp([0, 1], Rotation.concatenate([BEGIN[0], END[0]]))(share)
    return turned, (1 - share) * BEGIN[1] + share * END[1]


def move(recorder: Recorder, index: float, shift_m: float = 0.0, stamp_ns: int = START_NS, **more) -> None:
    rotation, translation_m = pose(index)
    at_ns = stamp_ns + round(index * STEP_NS)
    recorder.write_transform('base_link', rotation.as_quat(), translation_m + shift_m, at_ns, **more)


def seen_m(index: int, mask: np.ndarray) -> np.ndarray:
    """Return the points that some pixels of the film see, in the camera."""
    depth_m = np.where(depth_mm(index), depth_mm(index) / 1000, np.nan)
    rows, columns = np.nonzero(mask & ~np.isnan(depth_m))
    z = depth_m[rows, columns]
    return np.stack([(columns - 31.5) * z / 60, (rows - 23.5) * z / 60, z], 1)


def in_map(index: int, points_m: np.ndarray, shift_m: float = 0.0) -> np.ndarray:
    rotation, translation_m = pose(index)
    return rotation.apply(MOUNTED[0].apply(points_m) + MOUNTED[1]) + translation_m + shift_m


def assert_placed(results, shift_m: float = 0.0) -> None:
    for index, result in enumerate(results):
        assert sum(place is not None for place in result.geometries) > 1
        for label, place in enumerate(result.geometries, start=1):
            if place is None:
                continue
            points_m = in_map(index, seen_m(index, result.segmentation.labels == label), shift_m)
            assert place.position_m == pytest.approx(np.median(points_m, 0), abs=1e-3)
            low, high = np.percentile(points_m, 5, 0), np.percentile(points_m, 95, 0)
            expected = np.maximum(low - (high - low) / 18, points_m.min(0))
            assert place.box_min_m == pytest.approx(expected, abs=1e-3)
            assert place.turned_xyzw == (0, 0, 0, 1)


def quietly(bag, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        return list(analyze(bag, **options)), [str(one.message) for one in told]


@pytest.mark.parametrize(('name', 'storage'), [('film', 'mcap'), ('film', 'sqlite3'), ('film.bag', '')])
def test_places_are_where_the_camera_was_at_the_stamp(tmp_path, fast, name, storage):
    """What /tf_static says holds from the beginning, though it was recorded at the end."""
    results, told = quietly(film(tmp_path / name, storage), options=replace(fast, target_frame='map'))
    assert (len(results), told) == (FRAMES, [])
    assert_placed(results)


def test_outputs_name_the_frame(tmp_path, run):
    params, out = tmp_path / 'params.yaml', tmp_path / 'out'
    params.write_text('/**:\n  ros__parameters: {color: {cells: 10}, target_frame: map, depth: true}\n')
    run(film(tmp_path / 'film'), '-o', out, '--params', params, '--no-video')
    table = pyarrow.parquet.read_table(out / 'segments.parquet')
    assert table.schema.metadata[b'frame_id'] == b'map'
    assert b'frame_id' not in (pyarrow.parquet.read_schema(out / 'frames.parquet').metadata or {})
    assert json.loads((out / 'run.json').read_text())['settings']['node']['target_frame'] == 'map'
    with open_bag(out / 'segments.mcap') as bag:
        for one in bag.messages({'/diffcut/segments', '/diffcut/segments_3d'}):
            message = STORE.deserialize_cdr(one.cdr, one.type_name)
            in_space = one.topic.endswith('_3d')
            assert message.header.frame_id == ('map' if in_space else FRAME_ID)
            assert {found.header.frame_id for found in message.detections} == {message.header.frame_id}
            for found in message.detections if in_space else ():
                stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                rows = table.filter(pyarrow.compute.field('stamp_ns') == stamp_ns).to_pylist()
                (row,) = (row for row in rows if str(row['label']) == found.results[0].hypothesis.class_id)
                position = found.results[0].pose.pose.position
                expected = [row[f'position_{axis}_m'] for axis in 'xyz']
                assert [position.x, position.y, position.z] == pytest.approx(expected)


def test_several_recordings_name_the_frame(tmp_path, run, fast):
    out = tmp_path / 'out'
    bags = [film(tmp_path / name) for name in ('one', 'two')]
    run(*bags, '-o', out, '--params', fast.params, '--target-frame', 'map', '--no-video', '--no-report')
    assert pyarrow.parquet.read_schema(out / 'segments.parquet').metadata[b'frame_id'] == b'map'


def test_without_a_target_frame_nothing_changes(tmp_path, fast):
    """Though there is /tf."""
    with_tf, told = quietly(film(tmp_path / 'film'), options=fast)
    without, _ = quietly(record(tmp_path / 'plain', FRAMES), options=fast)
    assert [one.geometries for one in with_tf] == [one.geometries for one in without]
    assert told == []


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        (
            {'target_frame': 'mapp'},
            "no such frame in /tf; there are 'base_link', 'camera_optical', 'map'",
        ),
        ({'target_frame': '/map'}, "a slash before it, of at most 1000 characters, received '/map'"),
        ({'target_frame': 'map', 'depth': False}, "expected camera_info and depth, since places are wanted in 'map'"),
    ],
)
def test_a_frame_that_cannot_be_had_is_refused(tmp_path, fast, options, problem):
    with pytest.raises(ValueError, match=problem):
        list(analyze(film(tmp_path / 'film'), replace(fast, **options)))


def test_a_recording_without_tf_is_refused_and_nothing_is_left(tmp_path, run, fast):
    out = tmp_path / 'out'
    arguments = (record(tmp_path / 'film'), '-o', out, '--params', fast.params, '--target-frame', 'map')
    _, err = run(*arguments, status=2)
    (line,) = err.strip().splitlines()
    assert "target frame 'map': expected /tf, received none" in line
    assert not list(out.glob('*/*'))


def test_a_chain_with_a_gap_is_told_in_the_line_at_the_end(tmp_path, run, rows, fast):
    """The camera's place on the robot was told before the recording began."""
    out = tmp_path / 'out'
    bag = film(tmp_path / 'film', static_at=None)
    arguments = bag, '-o', out, '--params', fast.params, '--target-frame', 'map', '--csv', '--no-video', '--no-report'
    text, err = run(*arguments)
    line = (err + text).strip().splitlines()[-1]
    assert f"{FRAMES} x no places in 'map': there is no frame '{FRAME_ID}'; there are 'base_link', 'map'" in line
    found = rows(out / 'segments.csv')
    assert found
    assert {row['position_x_m'] for row in found} == {''}


def test_images_before_and_after_the_transforms_have_no_places(tmp_path, fast):
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        for index in range(FRAMES):
            if index in (2, 3):
                recorder.write_transform(FRAME_ID, [0, 0, 0, 1], [index, 0, 0], START_NS + index * STEP_NS)
            recorder.write_frame(index)
    results, told = quietly(path, options=replace(fast, target_frame='map'))
    placed = [any(place is not None for place in result.geometries) for result in results]
    assert placed == [False, False, True, True, False, False]
    assert len(told) == 4
    assert all("no places in 'map': 'camera_optical' in 'map' is known from" in text for text in told)


@pytest.mark.parametrize(
    ('transforms', 'problem'),
    [
        ([('a', 'camera_optical'), ('camera_optical', 'a'), ('map', 'other')], 'the frames form a loop'),
        (
            [('map', 'camera_optical', [math.nan, 0, 0, 1]), ('map', 'other')],
            "no frame 'camera_optical'; there are ",
        ),
        (
            [('a', 'camera_optical'), ('map', 'b')],
            "nothing connects 'camera_optical', which leads up to 'a'",
        ),
    ],
)
def test_what_is_no_chain_is_named(tmp_path, fast, transforms, problem):
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        for parent, child, *rotation in transforms:
            recorder.write_transform(child, *(rotation or [[0, 0, 0, 1]]), [0, 0, 0], START_NS, parent, static=True)
        recorder.write_frame(0)
    (result,), told = quietly(path, options=replace(fast, target_frame='map'))
    assert set(result.geometries) == {None}
    assert problem in told[0]
    assert ('expected finite numbers' in ' '.join(told)) == (len(transforms[0]) > 2)


def test_two_parents_are_told(tmp_path, fast):
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        for parent in ('elsewhere', 'map'):
            recorder.write_transform(FRAME_ID, [0, 0, 0, 1], [0, 0, 0], START_NS, parent, static=True)
        recorder.write_frame(0)
    (result,), told = quietly(path, options=replace(fast, target_frame='map'))
    assert any(result.geometries)
    assert "'camera_optical' has two parents, 'elsewhere' and 'map' (1 times)" in told[0]


@pytest.mark.parametrize('recorded', ['later', 'at its stamp'])
def test_transforms_of_before_do_not_hold_after_stamps_go_back(tmp_path, fast, recorded):
    """A simulation that starts anew, elsewhere; the clock of the recorder goes on, or starts anew with it."""
    path = tmp_path / 'film'
    later_ns = 100 * 10**9 if recorded == 'later' else 0
    with Recorder(path) as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, parent='base_link', static=True)
        for time_ns, shift_m in ((0, 0.0), (later_ns, 10.0)):
            for index in range(FRAMES):
                at_ns = START_NS + index * STEP_NS + time_ns
                move(recorder, index - 0.5, shift_m, time_ns=at_ns - STEP_NS // 2)
                with_time(recorder, index, at_ns)
            move(recorder, FRAMES - 0.5, shift_m, time_ns=START_NS + FRAMES * STEP_NS + time_ns)
    results, told = quietly(path, options=replace(fast, target_frame='map'))
    assert 'the stamps of /tf step back (times: 1)' in ' '.join(told)
    assert len(results) == 2 * FRAMES
    if recorded == 'later':
        assert_placed(results[:FRAMES])
        assert_placed(results[FRAMES:], 10.0)
    else:  # never a wrong place
        assert {place for result in results for place in result.geometries} == {None}
        assert 'which transforms hold is not known' in told[0]


@pytest.mark.parametrize('beside', ['image before /tf', 'image after /tf', 'in order'])
def test_where_a_recording_was_played_twice_each_image_goes_with_its_own_transforms(tmp_path, fast, beside):
    """Of both times the same stamps, the second time 10 m away; topics are recorded in no order."""
    last, events = 40, []
    again_ns = (last + 2) * STEP_NS
    for shift_m, later_ns in ((0.0, 0), (10.0, again_ns)):
        for index in range(last + 1):
            stamp_ns = START_NS + index * STEP_NS
            events.append((stamp_ns + later_ns, 'tf', stamp_ns, shift_m))
            if index % 5 == 0:
                time_ns = stamp_ns + later_ns + STEP_NS // 10
                if beside == 'image before /tf' and shift_m and not index:
                    time_ns = stamp_ns + later_ns - STEP_NS // 10
                if beside == 'image after /tf' and not shift_m and index == last:
                    time_ns = START_NS + again_ns + STEP_NS // 20
                events.append((time_ns, 'image', index, shift_m))
    path = tmp_path / 'twice'
    with Recorder(path) as recorder:
        for time_ns, kind, value, shift_m in sorted(events):
            if kind == 'image':
                with_time(recorder, value, time_ns)
            else:
                recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), [shift_m, 0, 0], value, time_ns=time_ns)
    results, _ = quietly(path, options=replace(fast, target_frame='map'))
    x_m = [np.median([place.position_m[0] for place in result.geometries if place is not None]) for result in results]
    half = len(x_m) // 2
    assert len(x_m) == 2 * (last // 5 + 1)
    assert np.abs(np.array(x_m[half:]) - x_m[:half] - 10).max() < 1


def with_time(recorder: Recorder, index: int, time_ns: int) -> None:
    """Write a frame of the film, recorded at a time."""
    write = recorder.write
    recorder.write = lambda topic, message: write(topic, message, time_ns)
    recorder.write_frame(index)
    del recorder.write


def test_a_recording_that_is_resumed_has_the_same_places(tmp_path, fast):
    from diffcut_ros.analysis.reading import Moments
    from diffcut_ros.analysis.run import open_recording, recorded_frames

    options = replace(fast, target_frame='map')
    with open_recording(film(tmp_path / 'film'), options) as (bag, topics, settings, _):
        frames = recorded_frames(bag, settings)
        whole = [one for one in Moments(bag, topics, options, settings, frames=frames) if one.scene]
        rest = Moments(bag, topics, options, settings, whole[2].position, whole[2].decoder, 3, frames)
        again = [one for one in rest if one.scene]
    for one, other in zip(whole[3:], again, strict=True):
        assert np.array_equal(one.scene.look_up().translation_m, other.scene.look_up().translation_m)


def test_what_a_cut_off_recording_lacks_may_be_in_the_rest(tmp_path, fast):
    path = next(record(tmp_path / 'film', 200).glob('*.mcap'))  # of several chunks
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(BagError, match=r'expected /tf, received none; not all could be read: .*no end'):
        list(analyze(path, replace(fast, target_frame='map')))


def test_other_topics_of_transforms_are_named(tmp_path, fast):
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        recorder.write_frame(0)
        message = STORE.types['tf2_msgs/msg/TFMessage']([])
        recorder._write('/robot1/tf', message, START_NS)
    with pytest.raises(BagError, match='expected /tf, received none; there are /robot1/tf, which are not read'):
        list(analyze(path, replace(fast, target_frame='map')))


WALLS = ((254, 0, 0), (0, 254, 0)), ((0, 0, 254), (254, 254, 0))


def transforms_of(path) -> list[tuple[str, int, bytes]]:
    """Return topic, time and content of the transforms in a recording."""
    with open_bag(path) as bag:
        return [(one.topic, one.time_ns, one.cdr) for one in bag.messages({'/tf', '/tf_static'})]


def test_the_copy_of_the_source_has_the_transforms(tmp_path, fast, run):
    """/tf_static was sent at the start and again, and not with the images that are analysed."""
    path, out = tmp_path / 'film', tmp_path / 'out'
    with Recorder(path) as recorder:
        for at_ns in (START_NS - 10**10, START_NS - 9 * 10**9):
            recorder.write_transform(
                FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS - 10**10, 'base_link', static=True, time_ns=at_ns
            )
        for tenth in range(-30, 60):
            at_ns = START_NS + tenth * STEP_NS // 10
            recorder.write_transform('base_link', [0, 0, 0, 1], [0.01 * tenth, 0, 0], at_ns)
            if tenth >= 0 and tenth % 10 == 0:
                recorder.write_frame(tenth // 10)
    start_s = 2 * STEP_NS / 1e9
    options = '--params', fast.params, '--target-frame', 'map', '--with-source', '--no-video', '--no-report'
    run(path, '-o', out, *options, '--start', start_s, '--duration', 2 * STEP_NS / 1e9, '--objects')
    copied, source = transforms_of(out / 'segments.mcap'), transforms_of(path)
    begin_ns, end_ns = START_NS + 2 * STEP_NS, START_NS + 4 * STEP_NS
    static = [one for one in copied if one[0] == '/tf_static']
    assert [cdr for _, _, cdr in static] == [source[0][2]]
    assert [one for one in copied if one[0] == '/tf'] == [
        one for one in source if one[0] == '/tf' and begin_ns - 10**9 <= one[1] < end_ns
    ]
    assert static[0][1] == min(time_ns for _, time_ns, _ in copied) < begin_ns
    # The map, once; who joins late gets both.
    with AnyReader([out / 'segments.mcap']) as reader:
        profiles = {one.topic: one.ext.offered_qos_profiles for one in reader.connections}
    latched = {
        topic
        for topic, some in profiles.items()
        if any(one.durability == QosDurability.TRANSIENT_LOCAL for one in some)
    }
    assert latched == {'/tf_static', '/diffcut/objects', '/diffcut/label_info'}
    with open_bag(out / 'segments.mcap') as bag:
        ((message, time_ns),) = [
            (STORE.deserialize_cdr(one.cdr, one.type_name), one.time_ns) for one in bag.messages({'/diffcut/objects'})
        ]
    stamp = message.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START_NS + 3 * STEP_NS
    assert time_ns == max(one[1] for one in copied)  # at the end of all
    assert message.header.frame_id == 'map'
    rows = pyarrow.parquet.read_table(out / 'objects.parquet').to_pylist()
    assert [int(one.id) for one in message.detections] == [row['object_id'] for row in rows] != []
    for one, row in zip(message.detections, rows, strict=True):
        size, at = one.bbox.size, one.bbox.center.position
        assert [size.x, size.y, size.z] == [row[f'box_{side}_m'] for side in ('length', 'width', 'height')]
        assert [at.x, at.y, at.z] == [row[f'box_{axis}_m'] for axis in 'xyz']
    # The copy gives the same places.
    run(out / 'segments.mcap', '-o', tmp_path / 'again', '--image-topic', IMAGE, *options)
    first, again = (pyarrow.parquet.read_table(one / 'segments.parquet') for one in (out, tmp_path / 'again'))
    assert first['position_z_m'].to_pylist() == again['position_z_m'].to_pylist()
    # Without a target frame, too; without transforms there are none.
    run(path, '-o', tmp_path / 'camera', *options[:2], *options[4:])
    assert [one for one in transforms_of(tmp_path / 'camera/segments.mcap') if one[0] == '/tf_static'] != []
    run(record(tmp_path / 'none', 2), '-o', tmp_path / 'none_out', *options[:2], *options[4:])
    assert transforms_of(tmp_path / 'none_out/segments.mcap') == []


def test_a_killed_copy_of_the_source_has_them_once(tmp_path, fast):
    """Parts end after 32 images."""
    path = tmp_path / 'film'
    with Recorder(path) as recorder:
        recorder.write_transform(FRAME_ID, MOUNTED[0].as_quat(), MOUNTED[1], START_NS, 'base_link', static=True)
        for index in range(40):
            recorder.write_transform('base_link', [0, 0, 0, 1], [0.02 * index, 0, 0], START_NS + index * STEP_NS)
            recorder.write_frame(index)
    output = OutputOptions(video=False, report=False, with_source=True)

    def interrupt(done) -> None:
        if done.frames > 35:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyze_to_folder(path, tmp_path / 'out', fast, output, on_progress=interrupt)
    assert list((tmp_path / 'out/.unfinished').glob('part-*'))
    analyze_to_folder(path, tmp_path / 'out', fast, output, resume=True)
    assert sorted(transforms_of(tmp_path / 'out/segments.mcap')) == sorted(transforms_of(path))


def turning(path, walls: tuple[int, ...], pauses_s: tuple[float, ...]):
    """Record a camera that turns to walls 2 m away, each with two squares, three images each time."""
    begin_ns = START_NS
    with Recorder(path) as recorder:
        for wall, pause_s in zip(walls, pauses_s, strict=True):
            begin_ns += round(pause_s * 1e9)
            turned = Rotation.from_euler('y', 120 * wall, degrees=True).as_quat()
            for k in range(3):
                stamp_ns = begin_ns + k * STEP_NS
                recorder.write_transform(FRAME_ID, turned, [1, 2, 3], stamp_ns)
                image = np.full((48, 64, 3), 127, np.uint8)
                image[8:24, 8:24], image[24:40, 36:56] = WALLS[wall]
                recorder.write(IMAGE, image_message(image, 'rgb8', stamp_ns))
                recorder.write(INFO, info_message(48, 64, stamp_ns))
                depth = np.full((48, 64), 2000, np.uint16)
                recorder.write(DEPTH, image_message(depth, '16UC1', stamp_ns))
    return path


def square_ids(results) -> list[tuple[int, int]]:
    """Return the track ids of both squares in each image."""
    return [tuple(result.segmentation.labels_by_track()[(16, 32), (16, 46)].tolist()) for result in results]


def test_what_the_camera_turns_back_to_has_its_ids(tmp_path, fast):
    bag = turning(tmp_path / 'film', (0, 1, 0), (0, 1, 60))
    results, told = quietly(bag, options=replace(fast, target_frame='map'))
    one, other = square_ids(results)[::3][:2]
    assert square_ids(results) == [one] * 3 + [other] * 3 + [one] * 3
    assert not set(one) & set(other)
    assert told == []
    without, _ = quietly(bag, options=fast)
    assert not set(square_ids(without)[6]) & set(square_ids(without)[0])


def test_remembered_places_that_are_full_are_told_in_the_line_at_the_end(tmp_path, run, fast):
    bag = turning(tmp_path / 'film', (0, 1, 0), (0, 1, 60))
    params = tmp_path / 'params.yaml'
    params.write_text('/**:\n  ros__parameters: {color: {cells: 10}, tracking: {voxel_m: 0.02, max_voxels: 1000}}\n')
    text, err = run(
        bag, '-o', tmp_path / 'out', '--params', params, '--target-frame', 'map', '--no-video', '--no-report'
    )
    assert 'tracking.max_voxels: 1000 are reached' in (err + text).strip().splitlines()[-1]
