"""What a report says of all frames: points of timelines, tracks, latencies, problems, and which frames are shown."""

import math

import pytest

from diffcut_ros.analysis.report.gallery import Slots
from diffcut_ros.analysis.report.summary import summarize
from diffcut_ros.analysis.tables import TABLES, write_table
from diffcut_ros.core.plain import pack, unpack

STEP_NS = 10**8


def write_tables(folder, ending, frames, segments=(), problems=()):
    """Write tables of images of 10 x 10 pixels.

    Args:
        frames: latency_ms and depth_share of each.
        segments: frame, track_id, area_px and z of each, and class and confidence where it has one.
        problems: as in the table.
    """
    counts = [sum(segment[0] == index for segment in segments) for index in range(len(frames))]
    rows = {
        'frames': [
            (index * STEP_NS, latency_ms, counts[index], 0.5, 0, 10, 10, depth_share)
            for index, (latency_ms, depth_share) in enumerate(frames)
        ],
        'segments': [
            (
                index * STEP_NS,
                track_id,
                1,
                1,
                area_px,
                0,
                0,
                9,
                9,
                4.5,
                4.5,
                1.0,
                *(what or (None, None)),
                *[z] * 10,
                None,
            )
            for index, track_id, area_px, z, *what in segments
        ],
        'hierarchies': [],
        'problems': list(problems),
    }
    for name, columns in TABLES.items():
        write_table(folder / f'{name}{ending}', columns, rows[name])


@pytest.fixture(params=['.csv', '.parquet'])
def ending(request):
    if request.param == '.parquet':
        pytest.importorskip('pyarrow', reason='pyarrow is not installed: Parquet cannot be written')
    return request.param


def test_each_frame_is_a_point_while_there_are_few(tmp_path, ending):
    write_tables(tmp_path, ending, [(1.0, 0.5), (2.0, None), (3.0, 1.0)], [(0, 1, 50, None), (0, 2, 50, None)])
    summary = summarize(tmp_path, ending, 3, 3.0)
    assert summary.bins == [(0, 0), (STEP_NS, STEP_NS), (2 * STEP_NS, 2 * STEP_NS)]
    assert summary.segments.mean == [2, 0, 0]
    assert summary.latency_ms.low == summary.latency_ms.mean == summary.latency_ms.high == [1.0, 2.0, 3.0]
    assert summary.depth_share.mean == [0.5, None, 1.0]
    assert summary.depth_share.total / summary.depth_share.count == 0.75


def test_points_of_many_frames(tmp_path, ending):
    write_tables(tmp_path, ending, [(float(index), None) for index in range(2500)])
    summary = summarize(tmp_path, ending, 2500, 3.0)
    latency = summary.latency_ms
    assert len(summary.bins) == len(latency.low) == len(latency.mean) == len(latency.high) == 1000
    # Frames 0 to 2, then 3 and 4, and so on.
    assert (latency.low[:2], latency.mean[:2], latency.high[:2]) == ([0.0, 3.0], [1.0, 3.5], [2.0, 4.0])
    assert summary.bins[0] == (0, 2 * STEP_NS)
    assert summary.bins[-1][1] == 2499 * STEP_NS
    assert summary.latency_quantile(0.5) == pytest.approx(1250, rel=0.01)
    assert summary.latency_quantile(0.95) == pytest.approx(2375, rel=0.01)
    assert summary.depth_share.count == 0


def test_tracks(tmp_path, ending):
    segments = [(0, 7, 10, 1.0), (1, 7, 20, None), (1, 8, 5, None), (4, 7, 30, 3.0), (4, 0, 1, None)]
    write_tables(tmp_path, ending, [(1.0, None)] * 5, segments)
    longest, other = summarize(tmp_path, ending, 5, 3.0).tracks
    assert (longest.id, longest.first_ns, longest.last_ns, longest.frames) == (7, 0, 4 * STEP_NS, 3)
    assert longest.area_share == pytest.approx(0.6)
    assert (longest.position_m, longest.positions) == ((4.0, 4.0, 4.0), 2)
    assert longest.bins == 0b10011
    assert (other.id, other.frames) == (8, 1)


def test_classes(tmp_path, ending):
    segments = [(0, 1, 50, None, 'road', 0.9), (0, 2, 50, None, 'car', 0.5), (1, 1, 30, None, 'car', 0.7)]
    segments += [(1, 2, 20, None, 'unknown', 0.0), (2, 1, 100, None, 'road', 0.8), (2, 0, 10, None, 'car', 0.6)]
    write_tables(tmp_path, ending, [(1.0, None)] * 3, segments)
    summary = summarize(tmp_path, ending, 3, 3.0)
    found = {name: (one.segments, one.area_share, one.confidence) for name, one in summary.classes.items()}
    expected = {'road': (2, 1.5, 1.7), 'car': (3, 0.9, 1.8), 'unknown': (1, 0.2, 0.0)}
    assert found == {name: pytest.approx(values) for name, values in expected.items()}
    # The second one's classes are equally frequent: the first of them.
    assert [(track.id, track.class_name) for track in summary.tracks] == [(1, 'road'), (2, 'car')]


def test_an_id_that_is_given_again_is_another_track(tmp_path, ending):
    segments = [(index, 1, 10, None) for index in (0, 1, 2, 9)]
    write_tables(tmp_path, ending, [(1.0, None)] * 10, segments)
    again = summarize(tmp_path, ending, 10, 0.5)
    assert ([track.frames for track in again.tracks], again.track_count) == ([3, 1], 1)
    for max_age_s in (0.7, math.inf):
        assert [track.frames for track in summarize(tmp_path, ending, 10, max_age_s).tracks] == [4]


def test_the_longest_lived_of_many_tracks(tmp_path, ending):
    """A new segment in each of 2100 frames, each seen in as many frames as the last digit of its id says."""
    segments = [(index + later, 1 + index, 1, None) for index in range(2080) for later in range((1 + index) % 10)]
    segments += [(index, 5000, 1, None) for index in range(100, 2000)]
    write_tables(tmp_path, ending, [(1.0, None)] * 2100, sorted(segments))
    summary = summarize(tmp_path, ending, 2100, 0.3)
    assert summary.track_count == 2080 - 208 + 1
    assert len(summary.tracks) == 40
    assert summary.tracks[0].id == 5000
    # Of equal ones the first.
    assert [track.id for track in summary.tracks[1:]] == [9 + 10 * index for index in range(39)]


def test_problems_of_one_text_are_one_row(tmp_path, ending):
    problems = [(1, 'dark, "very"'), (2, 'torn'), (3, 'dark, "very"')] + [
        (9, f'sort {chr(97 + index // 10)}{index % 10}') for index in range(40)
    ]
    write_tables(tmp_path, ending, [], (), problems)
    summary = summarize(tmp_path, ending, 0, 3.0)
    assert [(problem.stamp_ns, problem.text, problem.count) for problem in summary.problems[:3]] == [
        *((1, 'dark, "very"', 2), (2, 'torn', 1), (9, 'sort a0', 1))
    ]
    assert (len(summary.problems), summary.other_problems) == (30, 12)
    assert (summary.bins, summary.tracks) == ([], [])


def shown(times_ns, slots, end_ns, duration_s=None):
    return [time_ns for time_ns in times_ns if slots.take(time_ns, end_ns, duration_s)]


def test_frames_are_shown_evenly_over_time():
    # One each second, then ten.
    times_ns = [10**9 * second for second in range(5, 65)] + [10**8 * tenth for tenth in range(650, 1250)]
    assert shown(times_ns, Slots(), times_ns[-1]) == pytest.approx([10**9 * s for s in range(5, 125, 10)], abs=10**9)
    assert shown(times_ns, Slots(), times_ns[-1], 12.0) == [10**9 * second for second in range(5, 17)]
    assert shown([7], Slots(), 7) == [7]
    assert shown([1, 2, 3], Slots(), 3) == [1, 2, 3]


def test_frames_shown_after_a_pause_are_those_without():
    times_ns = list(range(0, 10**10, 10**7))
    slots = Slots()
    first = shown(times_ns[:400], slots, times_ns[-1])
    slots = Slots(**unpack(pack(vars(slots))))
    assert first + shown(times_ns[400:], slots, times_ns[-1]) == shown(times_ns, Slots(), times_ns[-1])
