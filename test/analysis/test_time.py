"""Recordings whose stamps are not those of one clock, or whose camera_info and depth come when they like."""

import json

import numpy as np
import pytest

from diffcut_ros.analysis import analyze
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.reading import Moments
from diffcut_ros.analysis.settings import read_settings
from diffcut_ros.analysis.topics import find_topics
from diffcut_ros.recordings.bag import open_bag
from support.recordings import (
    DEPTH,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    info_message,
    moving_scene,
)

HOUR_NS = 3600 * 10**9
COUNT = 10

# Stamps of image k, by what is odd about them.
STAMPS = {
    'from zero': lambda k: k * STEP_NS,
    'another clock first': lambda k: START_NS if k == 0 else START_NS - HOUR_NS + k * STEP_NS,
    'another clock later': lambda k: START_NS + k * STEP_NS + (k >= 5) * HOUR_NS,
    'an hour back': lambda k: START_NS + k * STEP_NS - (k >= 5) * HOUR_NS,
    'starts anew': lambda k: 10**9 + k % 5 * STEP_NS,
    'starts anew at zero': lambda k: k % 5 * STEP_NS,
    'begins later and starts anew at zero': lambda k: (k + 50) * STEP_NS if k < 5 else (k - 5) * STEP_NS,
    'paused at zero': lambda k: max(0, k - 3) * STEP_NS,
}
JUMPS = {name: 'zero' not in name or 'anew' in name for name in STAMPS}


def record_with(path, stamp_of, depth=True, late_ns=0, info_at=range(COUNT), info_stamp_of=None, count=COUNT):
    """Write a film; depth is recorded `late_ns` after its image, camera_info beside the images `info_at` only."""
    rows = []
    for k in range(count):
        recorded_ns, stamp_ns = START_NS + k * STEP_NS, stamp_of(k)
        rows.append((recorded_ns, IMAGE, image_message(moving_scene(k), 'rgb8', stamp_ns)))
        if depth and k in info_at:
            info = info_message(48, 64, (info_stamp_of or stamp_of)(k))
            rows.append((recorded_ns + 1, INFO, info))
        if depth:
            rows.append((recorded_ns + 2 + late_ns, DEPTH, image_message(depth_mm(k), '16UC1', stamp_ns)))
    with Recorder(path) as recorder:
        for recorded_ns, topic, message in sorted(rows, key=lambda row: row[0]):
            recorder.write(topic, message, recorded_ns)
    return path


@pytest.mark.parametrize('late_ns', [None, 0, 250_000_000, 10**12])
@pytest.mark.parametrize('name', STAMPS)
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_all_images_in_the_order_of_recording(tmp_path, fast, name, late_ns):
    film = record_with(tmp_path / 'film', STAMPS[name], late_ns is not None, late_ns or 0)
    results = list(analyze(film, fast))
    for k, result in enumerate(results):
        assert np.array_equal(result.image_rgb, moving_scene(k))
        assert result.stamp_ns == STAMPS[name](k)
        assert any(result.geometries) == (late_ns is not None)
    assert len(results) == COUNT


@pytest.mark.parametrize('name', STAMPS)
def test_a_jump_is_said_once_and_ends_tracks(tmp_path, fast, capsys, rows, name):
    film = record_with(tmp_path / 'film', STAMPS[name], depth=False)
    assert main([str(a) for a in (film, '-o', tmp_path / 'out', '--csv', '--no-report', '--params', fast.params)]) == 0
    out, err = capsys.readouterr()
    assert (out + err).count('the stamps of /camera/image_raw jump') == JUMPS[name]
    assert ('tracks end there' in json.loads((tmp_path / 'out/run.json').read_text())['warning']) == JUMPS[name]
    segments = rows(tmp_path / 'out/segments.csv')
    tracks = [{row['track_id'] for row in segments if row['stamp_ns'] == str(STAMPS[name](k))} for k in (0, 9)]
    if JUMPS[name] and len({STAMPS[name](k) for k in range(COUNT)}) == COUNT:
        assert not tracks[0] & tracks[1]
    # What is written goes on in time, so that it can be played.
    with open_bag(tmp_path / 'out/segments.mcap') as bag:
        times = [message.time_ns for message in bag.messages({'/diffcut/segments'})]
    steps = np.diff(times)
    assert len(times) == COUNT
    assert ((steps >= 0) & (steps <= 2 * STEP_NS)).all()
    assert (steps > 0).all() == (name != 'paused at zero')


def test_a_stamp_below_zero_is_none(tmp_path, fast):
    film = record_with(tmp_path / 'film', lambda k: START_NS + k * STEP_NS if k > 4 else -HOUR_NS, depth=False)
    results = list(analyze(film, fast))
    assert [result.stamp_ns for result in results] == [START_NS + k * STEP_NS for k in range(COUNT)]
    arguments = '--csv', '--no-report', '--with-source', '--params', fast.params
    assert main([str(a) for a in (film, '-o', tmp_path / 'out', *arguments)]) == 0


def test_start_and_duration_where_stamps_jump(tmp_path, fast):
    film = record_with(tmp_path / 'film', STAMPS['an hour back'])
    with pytest.warns(UserWarning, match='jump by -3600 s at image 6'):
        results = list(analyze(film, fast, start_s=0.3, duration_s=0.5))
    assert [result.stamp_ns for result in results] == [STAMPS['an hour back'](k) for k in range(3, 8)]


@pytest.mark.parametrize('late_ns', [0, 250_000_000, 10**12])
@pytest.mark.parametrize('name', ['from zero', 'starts anew', 'an hour back'])
def test_reading_goes_on_from_anywhere(tmp_path, fast, name, late_ns):
    film = record_with(tmp_path / 'film', STAMPS[name], late_ns=late_ns)
    settings = read_settings(fast)

    def moments(after):
        with open_bag(film) as bag:
            return list(Moments(bag, find_topics(bag.topics), fast, settings, after))

    def told(found):
        return [(m.position, m.stamp_ns, m.log_ns, m.image_number, m.scene is None, m.problem) for m in found]

    whole = told(moments(0))
    assert sum(not without for *_, without, _ in whole) == COUNT
    assert [position for position, *_ in whole] == list(range(1, len(whole) + 1))
    for after in range(len(whole) + 1):
        assert told(moments(after)) == whole[after:]


@pytest.mark.parametrize('late_ns', [0, 250_000_000])
@pytest.mark.parametrize('info_at', [(0,), (3,), (9,), (0, 5)])
@pytest.mark.parametrize('info_stamp_of', [None, lambda k: 0, lambda k: 10**9])
def test_the_last_camera_info_holds(tmp_path, fast, info_at, info_stamp_of, late_ns):
    stamp_of = lambda k: START_NS + k * STEP_NS  # noqa: E731
    film = record_with(tmp_path / 'film', stamp_of, True, late_ns, info_at, info_stamp_of)
    results = list(analyze(film, fast))
    assert len(results) == COUNT
    assert all(any(result.geometries) for result in results)


@pytest.mark.parametrize('late_ns', [0, 250_000_000, 10**12])
@pytest.mark.parametrize(('count', 'focal_at'), [(10, {0: 60, 1: 60, 5: 120}), (30, {15: 60, 27: 120})])
def test_a_change_of_camera_info_is_noticed(tmp_path, fast, count, focal_at, late_ns):
    """A lens that zooms: camera_info is recorded after the image of its stamp. Images before the first one take it."""
    rows = []
    for k in range(count):
        stamp_ns = START_NS + k * STEP_NS
        rows.append((stamp_ns, IMAGE, image_message(moving_scene(k), 'rgb8', stamp_ns)))
        if k in focal_at:
            info = info_message(48, 64, stamp_ns)
            info.k[[0, 4]] = info.p[[0, 5]] = focal_at[k]
            rows.append((stamp_ns + 1, INFO, info))
        depth = image_message(np.full((48, 64), 2000, np.uint16), '16UC1', stamp_ns)
        rows.append((stamp_ns + 2 + late_ns, DEPTH, depth))
    with Recorder(tmp_path / 'film') as recorder:
        for recorded_ns, topic, message in sorted(rows, key=lambda row: row[0]):
            recorder.write(topic, message, recorded_ns)
    with pytest.warns(UserWarning, match=f'{INFO} changes once; positions follow it'):
        results = list(analyze(tmp_path / 'film', fast))
    widths = [max(g.box_max_m[0] - g.box_min_m[0] for g in result.geometries if g) for result in results]
    assert len(widths) == count
    for k, width in enumerate(widths):
        assert width == pytest.approx(widths[0] / (1 + (k >= max(focal_at))), rel=0.15), k


def test_depth_apart_is_counted_with_its_offset(tmp_path, fast, capsys):
    film = record_with(tmp_path / 'film', lambda k: START_NS + k * STEP_NS, depth=False)
    with Recorder(tmp_path / 'apart') as recorder:
        for k in range(COUNT):
            stamp_ns = START_NS + k * STEP_NS
            recorder.write(IMAGE, image_message(moving_scene(k), 'rgb8', stamp_ns), stamp_ns)
            recorder.write(INFO, info_message(48, 64, stamp_ns), stamp_ns)
            offset_ns = 0 if k < 3 else 42_000_000
            recorder.write(DEPTH, image_message(depth_mm(k), '16UC1', stamp_ns + offset_ns), stamp_ns + 1)
    arguments = '--csv', '--no-video', '--no-report', '--params', fast.params
    assert main([str(a) for a in (tmp_path / 'apart', '-o', tmp_path / 'out', *arguments)]) == 3
    out, err = capsys.readouterr()
    assert '3 of 10 images segmented' in out + err
    assert '7 of 10 images of /camera/image_raw have no depth' in out + err
    assert 'the nearest is 42 ms later (median), and each depth belongs to one image' in out + err
    assert film.exists()


def test_camera_info_before_the_start_is_copied_with_the_source(tmp_path, fast):
    film = record_with(tmp_path / 'film', lambda k: START_NS + k * STEP_NS, info_at=(0,), info_stamp_of=lambda k: 0)
    arguments = '--csv', '--no-video', '--no-report', '--with-source', '--start', '0.5', '--params', fast.params
    assert main([str(a) for a in (film, '-o', tmp_path / 'out', *arguments)]) == 0
    with open_bag(tmp_path / 'out/segments.mcap') as bag:
        times = {topic: [m.time_ns for m in bag.messages({topic})] for topic in (INFO, IMAGE)}
    assert times == {INFO: [START_NS + 5 * STEP_NS], IMAGE: [START_NS + k * STEP_NS for k in range(5, 10)]}
