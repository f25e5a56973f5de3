"""Small recordings that would take much memory or time: what is too large costs only itself, and is told."""

import bz2
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import zstandard
from mcap.writer import CompressionType, IndexType

from diffcut_ros.recordings.bag import BagError, open_bag
from diffcut_ros.recordings.unpacking import LARGEST, unpack
from support.bombs import in_mcap, in_ros1, mcap_chunk, ros1_chunk, zeros_of_zstd
from support.mcap_files import rewrite
from support.recordings import IMAGE, record

# What a bomb would take, and what reading may take: a chunk of `LARGEST` twice, and the packages.
BOMB, MOST = 2**31, 1.5e9
EMPTY_MESSAGE = b'\5' + (22).to_bytes(8, 'little') + bytes(22)
READ = """
import json, re, sys
from pathlib import Path
from diffcut_ros.recordings.bag import open_bag
with open_bag(Path(sys.argv[1])) as bag:
    count = sum(1 for _ in bag.messages(set(bag.topics)))
    # Of this program alone: what `resource` tells begins with the peak of the process that started it.
    peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text()).group(1)
    print(json.dumps([count, bag.lost, 1024 * int(peak)]))
"""


def read(path: Path) -> tuple[int, str]:
    """Return how many messages a recording has, and what is lost; in a process whose memory is checked."""
    ran = subprocess.run([sys.executable, '-c', READ, str(path)], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    count, lost, peak_bytes = json.loads(ran.stdout)
    assert peak_bytes < MOST
    return count, lost


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> Path:
    """8 images with camera_info and depth, in MCAP without an index."""
    folder = tmp_path_factory.mktemp('film')
    options = {'index_types': IndexType.NONE, 'use_statistics': False, 'use_summary_offsets': False}
    options |= {'repeat_channels': False, 'repeat_schemas': False, 'compression': CompressionType.ZSTD}
    return rewrite(record(folder / 'film', 8) / 'film.mcap', folder / 'again.mcap', 30_000, **options)


CHUNKS = {
    'as large as it says': (lambda: mcap_chunk(zeros_of_zstd(BOMB, True), BOMB), f'at most {LARGEST} bytes in it'),
    'a frame that says more': (lambda: mcap_chunk(zeros_of_zstd(BOMB, True), 1000), 'at most 1000 bytes in it'),
    'a stream that holds more': (lambda: mcap_chunk(zeros_of_zstd(BOMB, False), 1000), 'ZstdError'),
    'lz4': (lambda: mcap_chunk(lz4.frame.compress(bytes(2**28)), 1000, 'lz4'), 'at most 1000 bytes in it'),
    'much less than it says': (lambda: mcap_chunk(zeros_of_zstd(2**20, False), LARGEST), f'expected {LARGEST} bytes'),
    'messages without data': (
        lambda: mcap_chunk(zstandard.compress(EMPTY_MESSAGE * 500_001), 31 * 500_001),
        'at most 500000 records in it',
    ),
}


@pytest.mark.parametrize('case', CHUNKS)
def test_a_chunk_of_mcap(tmp_path, film, case):
    make, words = CHUNKS[case]
    path = tmp_path / 'bomb.mcap'
    path.write_bytes(in_mcap(film.read_bytes(), make()))
    count, lost = read(path)
    assert count == 24
    assert lost.count('bomb.mcap is damaged: a chunk of ') == 1
    assert words in lost


def test_a_chunk_in_the_index_of_mcap(tmp_path):
    path = rewrite(record(tmp_path / 'film', 8) / 'film.mcap', tmp_path / 'bomb.mcap', 30_000, enable_crcs=False)
    data = path.read_bytes()
    begin = int.from_bytes(data[-28:-20], 'little')
    path.write_bytes(data[:begin] + mcap_chunk(zeros_of_zstd(BOMB, True), BOMB) + data[begin:])
    assert read(path) == (24, '')


def test_an_index_that_names_a_chunk_again_and_again(tmp_path):
    path = rewrite(record(tmp_path / 'film', 8) / 'film.mcap', tmp_path / 'bomb.mcap', 30_000, enable_crcs=False)
    data = path.read_bytes()
    begin = int.from_bytes(data[-28:-20], 'little')
    while data[begin] != 8:  # the kind of records about chunks
        begin += 9 + int.from_bytes(data[begin + 1 : begin + 9], 'little')
    end = begin + 9 + int.from_bytes(data[begin + 1 : begin + 9], 'little')
    path.write_bytes(data[:end] + 50_000 * data[begin:end] + data[end:])
    assert read(path) == (24, 'the index of bomb.mcap is damaged, and was done without: it names chunks several times')


@pytest.mark.parametrize('compression', ['none', 'bz2', 'lz4'])
def test_a_chunk_of_ros1(tmp_path, compression):
    pack = {'none': bytes, 'bz2': bz2.compress, 'lz4': lz4.frame.compress}[compression]
    path = record(tmp_path / 'film.bag', 8)
    path.write_bytes(in_ros1(path.read_bytes(), ros1_chunk(pack(bytes(2**24)), 1000, compression)))
    count, lost = read(path)
    assert count == 24
    assert 'expected at most 1000 bytes in it, received more' in lost


def test_an_index_of_ros1_that_names_a_chunk_again_and_again(tmp_path):
    path = record(tmp_path / 'film.bag', 8)
    data, count = path.read_bytes(), 50_000
    begin = data.rindex(b'op=\6') - 8  # the record about the only chunk, the last of the file
    place = data.index(b'chunk_count=') + 12
    number = (1 + count).to_bytes(4, 'little')
    path.write_bytes(data[:place] + number + data[place + 4 :] + data[begin:] * count)
    found, lost = read(path)
    assert found == 24
    assert 'film.bag has no index (it names chunks several times), what is whole was read without' in lost


@pytest.mark.parametrize('told', [True, False])
def test_a_packed_message(tmp_path, told):
    path = record(tmp_path / 'film', 8, 'sqlite3') / 'film.db3'
    with sqlite3.connect(path) as database:
        database.execute('UPDATE messages SET data = ? WHERE id = 4', (zeros_of_zstd(BOMB, told),))
    database.close()
    count, lost = read(path)
    assert count == 23
    assert f'1 messages of {IMAGE}: expected at most {2**28} bytes in it' in lost


def test_a_packed_file(tmp_path, film, monkeypatch):
    monkeypatch.setattr('diffcut_ros.recordings.files._LARGE', 10**6)
    path = tmp_path / 'bomb.mcap.zstd'
    path.write_bytes(zstandard.compress(film.read_bytes()) + zeros_of_zstd(2**29, False))
    with open_bag(path) as bag:
        assert len(list(bag.messages(set(bag.topics)))) == 24
        assert 'becomes more than 1000 times larger, which no recording does, and was unpacked up to' in bag.lost


ROWS = {
    'without end': 'CREATE VIEW messages AS WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) '
    'SELECT id, 1 AS topic_id, id AS timestamp, zeroblob(1000) AS data FROM c',
    'without end, in another case': 'CREATE VIEW Messages AS WITH RECURSIVE c(id) AS '
    '(SELECT 1 UNION ALL SELECT id + 1 FROM c) SELECT id, 1 AS topic_id, 1 AS timestamp, 1 AS data FROM c WHERE id < 0',
    'of a module': 'CREATE VIRTUAL TABLE MESSAGES USING fts5(topic_id, timestamp, data)',
    'of any size': 'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
    'data BLOB AS (zeroblob(900000000)))',
}


@pytest.mark.parametrize('case', ROWS)
def test_rows_that_are_computed(tmp_path, case):
    path = record(tmp_path / 'film', 2, 'sqlite3') / 'film.db3'
    with sqlite3.connect(path) as database:
        database.execute('DROP TABLE messages')
        database.execute(ROWS[case])
    database.close()
    with pytest.raises(BagError, match='expected a table messages of rosbag2, received'), open_bag(path):
        pass


@pytest.fixture
def endless(tmp_path, monkeypatch) -> Path:
    """A database with a query that gives no row, and would not end."""
    monkeypatch.setattr('diffcut_ros.recordings.sqlite_reader.SqliteFile._check_tables', lambda _: None)
    path = record(tmp_path / 'film', 2, 'sqlite3') / 'film.db3'
    with sqlite3.connect(path) as database:
        database.execute('DROP TABLE messages')
        database.execute(ROWS['without end, in another case'])
    database.close()
    return path


def test_a_query_without_end(endless):
    with pytest.raises(BagError, match='received a search without end'), open_bag(endless):
        pass


def test_a_signal_ends_a_query(endless, monkeypatch):
    monkeypatch.setattr('diffcut_ros.recordings.sqlite_reader._LEAST_ASKED', 10**9)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), open_bag(endless):
        pass


def test_chunks_that_all_overlap_in_time(tmp_path, monkeypatch):
    """Those that wait for others to be sorted are bounded, too."""
    monkeypatch.setattr('diffcut_ros.recordings.order._MOST_WAITING', 10_000)
    path = record(tmp_path / 'film', 30) / 'film.mcap'
    again = rewrite(path, tmp_path / 'again.mcap', 30_000, lambda topic, time_ns: time_ns % 7)
    with open_bag(path) as bag:
        expected = sorted(bag.messages(set(bag.topics)))
    with open_bag(again) as bag:
        assert sorted(bag.messages(set(bag.topics))) == expected
        assert 'the times of recording step back' in bag.note


def test_a_message_that_is_packed_well_may_be_larger():
    data = np.random.default_rng(0).bytes(2**20) + bytes(LARGEST - 2**20)
    assert len(unpack('zstd', zstandard.compress(data))) == LARGEST


def test_honest_sizes():
    """The largest that there are: an image of 4000 x 3000 floats in four channels, all of one value."""
    data = bytes(4000 * 3000 * 16)
    assert unpack('zstd', zstandard.compress(data), len(data)) == data
    assert unpack('zstd', zstandard.compress(data)) == data
