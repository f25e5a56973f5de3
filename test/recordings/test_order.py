"""The order of messages where the clock of the recorder was set back, or a simulation started anew."""

from pathlib import Path

import pytest
from mcap.writer import IndexType

from diffcut_ros.recordings.bag import BagMessage, open_bag
from support.mcap_files import rewrite
from support.recordings import DEPTH, IMAGE, INFO, START_NS, STEP_NS, Recorder, depth_mm, image_message, info_message

NOTE = 'the times of recording step back (times: {}): messages are taken as they lie in the file'


def film(path: Path, storage: str, times_ns: list[int]) -> Path:
    """Record image, camera_info and depth at these times; return the recording."""
    with Recorder(path.with_suffix('.bag') if storage == 'ros1' else path, storage) as recorder:
        if storage == 'ros1':
            recorder._writer.chunk_threshold = 20_000
        for index, time_ns in enumerate(times_ns):
            stamp_ns = START_NS + index
            depth = image_message(depth_mm(index), '16UC1', stamp_ns, recorder.store)
            recorder.write(IMAGE, depth, time_ns)
            recorder.write(INFO, info_message(48, 64, stamp_ns, recorder.store), time_ns + 1)
            recorder.write(DEPTH, depth, time_ns + 2)
    return recorder.path


def in_chunks(folder: Path, size: int, order=None, **options) -> Path:
    """Write an MCAP file anew, in chunks of about this size, by an order of topic and time if one is given."""
    (path,) = folder.glob('*.mcap')
    return rewrite(path, folder.parent / 'again.mcap', size, order, **options)


def read(path: Path, topics: tuple[str, ...] = (IMAGE, INFO, DEPTH)) -> tuple[list[BagMessage], str]:
    with open_bag(path) as bag:
        found = list(bag.messages(topics))
        assert bag.lost == ''
        return found, bag.note


@pytest.fixture(params=['mcap', 'small chunks', 'no chunks', 'no index', 'sqlite3', 'ros1'])
def recorded(request, tmp_path):
    """A function that records at times, and returns the path."""

    def write(times_ns: list[int]) -> Path:
        path = film(tmp_path / 'film', request.param if request.param in ('sqlite3', 'ros1') else 'mcap', times_ns)
        if request.param == 'small chunks':
            return in_chunks(path, 15_000)
        if request.param == 'no chunks':
            return in_chunks(path, 0, use_chunking=False)
        if request.param == 'no index':
            return in_chunks(path, 15_000, index_types=IndexType.NONE, use_statistics=False)
        return path

    return write


@pytest.mark.parametrize('begins_ns', [[10**9, 10**9], [5 * 10**9, 0, 0], [10**9, 10**9 + STEP_NS // 3]])
def test_a_simulation_that_starts_anew(recorded, begins_ns):
    times_ns = [begin_ns + k * STEP_NS for begin_ns in begins_ns for k in range(1, 9)]
    path = recorded(times_ns)
    found, note = read(path)
    assert [message.time_ns for message in found] == [time_ns + k for time_ns in times_ns for k in range(3)]
    assert note == NOTE.format(len(begins_ns) - 1)
    found, note = read(path, (DEPTH,))
    assert [message.time_ns for message in found] == [time_ns + 2 for time_ns in times_ns]
    assert note == NOTE.format(len(begins_ns) - 1)


def test_a_clock_that_was_set_back(recorded):
    times_ns = [START_NS + k * STEP_NS - (k >= 10) * 5 * STEP_NS for k in range(20)]
    found, note = read(recorded(times_ns))
    assert [message.time_ns for message in found if message.topic == IMAGE] == times_ns
    assert note == NOTE.format(1)


def test_disorder(recorded):
    """Where a topic steps back by less than a tenth of a second, messages are sorted by time, if there is an index."""
    times_ns = [START_NS + k * STEP_NS - (k % 2) * round(1.9 * STEP_NS) for k in range(20)]
    path = recorded(times_ns)
    found, note = read(path)
    assert note == ''
    assert sorted(message.time_ns for message in found if message.topic == IMAGE) == sorted(times_ns)
    if path.name != 'again.mcap':
        assert [message.time_ns for message in found if message.topic == IMAGE] == sorted(times_ns)


def test_topics_one_after_the_other(tmp_path):
    """As some converters write them: by time, where there is an index."""
    path = film(tmp_path / 'film', 'mcap', [START_NS + k * STEP_NS for k in range(12)])
    expected, _ = read(path)
    for sign in (1, -1):

        def by_topic(topic: str, time_ns: int, sign: int = sign) -> tuple[int, int]:
            return sign * (IMAGE, INFO, DEPTH).index(topic), time_ns

        assert read(in_chunks(path, 15_000, by_topic)) == (expected, '')
