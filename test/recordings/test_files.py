"""Recordings as people keep and send them: renamed, packed, in part, of a recorder that still runs or that crashed."""

import gzip
import io
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from rosbags.rosbag1 import Writer as Ros1Writer

from diffcut_ros.recordings.bag import Bag, BagError, BagMessage, open_bag
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message, record


def read(path: Path) -> tuple[list[BagMessage], Bag]:
    """Return all messages, and the recording."""
    with open_bag(path) as bag:
        return list(bag.messages(set(bag.topics))), bag


def error_of(path: Path) -> str:
    """Return why it cannot be opened."""
    with pytest.raises(BagError) as caught:
        open_bag(path).__enter__()
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=['mcap', 'sqlite3', 'ros1'])
def film(tmp_path, request) -> Path:
    """A file with 8 images, with camera_info and depth."""
    if request.param == 'ros1':
        return record(tmp_path / 'film.bag', 8)
    (file,) = (path for path in record(tmp_path / 'film', 8, request.param).iterdir() if path.name != 'metadata.yaml')
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Names.


@pytest.mark.parametrize('name', ['film', 'film.mcap', 'film.db3', 'film.bag', 'a?b#c%20.txt', 'film.bag.active'])
def test_a_file_under_any_name(tmp_path, film, name):
    (tmp_path / 'other').mkdir()
    renamed = Path(shutil.copy(film, tmp_path / 'other' / name))
    expected, _ = read(film)
    found, bag = read(renamed)
    assert found == expected
    assert len(found) == 24
    assert (bag.lost, bag.note) == ('', '')
    assert (bag.start_ns, bag.topics[IMAGE].count) == (START_NS, 8)


def test_a_file_that_is_alone_in_its_folder(tmp_path, film):
    expected, _ = read(film)
    folder = tmp_path / 'other'
    folder.mkdir()
    (folder / 'notes.txt').write_text('of the day')
    shutil.copy(film, folder)
    found, bag = read(folder)
    assert (found, bag.lost, bag.note) == (expected, '', '')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_metadata_that_does_not_fit(tmp_path, storage):
    folder = record(tmp_path / 'film', 4, storage)
    (file,) = folder.glob('film.*')
    expected, _ = read(file)
    metadata = folder / 'metadata.yaml'
    text = metadata.read_text()
    for old, new in (
        (f'storage_identifier: {storage}', "storage_identifier: ''"),
        (f'storage_identifier: {storage}', 'storage_identifier: other'),
        (file.name, f'old_name/{file.name}'),
        (file.name, f'C:\\bags\\{file.name}'),
        ('message_count: 4', 'message_count: 0'),
        (IMAGE, '/another'),
    ):
        assert old in text
        metadata.write_text(text.replace(old, new))
        found, bag = read(folder)
        assert (found, bag.lost, bag.note) == (expected, '', ''), new
    metadata.write_text(text)
    assert read(metadata)[0] == expected
    file.rename(folder / 'renamed.db3')
    found, bag = read(folder)
    assert (found, bag.lost) == (expected, '')
    assert bag.note == f'metadata.yaml names other files, taken is renamed.db3 for {file.name}'
    packed = (folder / 'renamed.db3').rename(folder / f'{file.name}.zst')
    packed.write_bytes(zstandard.compress(packed.read_bytes()))
    found, bag = read(folder)
    assert (found, bag.lost, bag.note) == (expected, '', '')


def split(folder: Path, names: list[str]) -> list[BagMessage]:
    """Write recordings of two images each, one after the other, into a folder; return their messages."""
    expected = []
    folder.mkdir()
    for i, name in enumerate(names):
        with Recorder(folder.with_name(f'part_{i}')) as recorder:
            recorder.write_frame(2 * i)
            recorder.write_frame(2 * i + 1)
        file = (recorder.path / f'part_{i}.mcap').rename(folder / name)
        expected += read(file)[0]
    return expected


def test_several_files_without_metadata(tmp_path):
    names = [f'run_{i}.mcap' for i in range(11)]
    expected = split(tmp_path / 'run', names)
    found, bag = read(tmp_path / 'run')
    assert (found, bag.lost) == (expected, '')
    assert bag.note == 'no metadata.yaml: 11 files are read as one recording, by the numbers in their names'
    (tmp_path / 'run/run_3.mcap').unlink()
    found, bag = read(tmp_path / 'run')
    assert found == expected[: 3 * 6] + expected[4 * 6 :]
    assert bag.lost == 'run_3.mcap is missing'


def test_several_files_of_ros_1(tmp_path):
    """Their names say when each begins; the last one is of a recorder that crashed."""
    names = [f'run_2024-01-01-{10 + i}-00-00_{i}.bag' for i in range(11)]
    (tmp_path / 'run').mkdir()
    expected = []
    for i, name in enumerate([*names[:-1], f'{names[-1]}.active']):
        file = record(tmp_path / f'part_{i}.bag', 1 + i)
        expected += read(file)[0]
        file.rename(tmp_path / 'run' / name)
    found, bag = read(tmp_path / 'run')
    assert (found, bag.lost) == (expected, '')
    assert bag.note == 'no metadata.yaml: 11 files are read as one recording, by the numbers in their names'
    (tmp_path / 'run' / names[1]).unlink()
    assert read(tmp_path / 'run')[1].lost == 'run_*_1.bag is missing'
    # Another recording.
    shutil.copy(tmp_path / 'run' / names[0], tmp_path / 'run/run_2024-02-01-10-00-00_0.bag')
    assert 'found several; give one of them: ' in error_of(tmp_path / 'run')


@pytest.mark.parametrize('names', [['a.mcap', 'b.mcap'], ['run_20240101.mcap', 'run_20240102.mcap'], ['a', 'a_1']])
def test_several_recordings_in_a_folder(tmp_path, names):
    split(tmp_path / 'all', names)
    assert f'found several; give one of them: {", ".join(names)}' in error_of(tmp_path / 'all')


def test_a_file_is_missing_of_those_that_metadata_names(tmp_path):
    folder = record(tmp_path / 'film', 2)
    metadata = folder / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('- film.mcap', '- film.mcap\n  - film_1.mcap'))
    found, bag = read(folder)
    assert (len(found), bag.lost) == (6, 'film_1.mcap is missing')
    # What is of another kind is no part of it.
    shutil.copy(record(tmp_path / 'other', 2, 'sqlite3') / 'other.db3', folder)
    assert read(folder)[1].lost == 'film_1.mcap is missing'
    (folder / 'film.mcap').unlink()
    (folder / 'other.db3').unlink()
    assert 'cannot read it: film.mcap is missing; film_1.mcap is missing' in error_of(folder)


def tar(data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as file:
        file.addfile(tarfile.TarInfo('film.mcap'), io.BytesIO(data))
    return stream.getvalue()


def test_a_folder_of_photographs(tmp_path):
    (tmp_path / 'notes.txt').write_text('hello')
    (tmp_path / 'one.jpg').write_bytes(b'\xff\xd8\xff\xe0JFIF')
    words = (
        f'found none; there is one.jpg, a photograph or a video; for a look: diffcut_demo {tmp_path.name}; for tables'
    )
    assert words in error_of(tmp_path)


def test_a_folder_with_what_is_packed(tmp_path):
    folder = record(tmp_path / 'film', 2)
    file = folder / 'film.mcap'
    (folder / 'film.mcap.gz').write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    advice = 'found none; there is film.mcap.gz; unpack it: gunzip film.mcap.gz'
    assert f'expected film.mcap in this folder, {advice}' in error_of(folder)
    (folder / 'metadata.yaml').unlink()
    assert advice in error_of(folder)


def test_what_is_no_recording(tmp_path):
    for data, words in (
        (b'', 'received an empty file'),
        (b'hello', "received a file that begins with b'hello'"),
        (gzip.compress(b'hello'), '; unpack it: gunzip file'),
        (b'PK\3\4', '; unpack it: unzip file'),
        (tar(b'hello'), '; unpack it: tar -xf file'),
        (
            b'\0\0\0\x20ftypisom',
            '; this is a photograph or a video; for a look: diffcut_demo file; for tables and a report, ',
        ),
        (
            b'\xff\xd8\xff\xe0JFIF',
            'make a recording of it first, as "A recording of your own images" in docs/recordings.md',
        ),
        (zstandard.compress(tar(b'hello')), '; unpack it: tar -xf file'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n', '; it is a pointer of Git LFS; fetch'),
        (b'#ROSBAG V1.2\n' + bytes(100), '; convert it with ROS 1: rosbag fix file new.bag'),
        (b'#ROSRECORD V1.1\n' + bytes(100), '; convert it with ROS 1: rosbag fix file new.bag'),
        (zstandard.compress(b'hello'), "received a file that begins with b'hello'"),
        (b'\x28\xb5\x2f\xfd and no more', 'received a file that begins with '),
    ):
        (tmp_path / 'file').write_bytes(data)
        assert words in error_of(tmp_path / 'file')
    assert 'found none' in error_of(tmp_path)
    record(tmp_path / 'film', 1)
    assert 'found none; give one of the folders in it: film' in error_of(tmp_path)


def test_a_database_that_is_none(tmp_path):
    with sqlite3.connect(tmp_path / 'other.db3') as database:
        database.execute('CREATE TABLE points(x)')
    database.close()
    assert 'cannot read it: expected a database of rosbag2: no such table: ' in error_of(tmp_path / 'other.db3')
    whole = record(tmp_path / 'film', 20, 'sqlite3') / 'film.db3'
    data = bytearray(whole.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b'\xa5' * 8192
    for name, quoted in (
        ('film.db3', 'film.db3'),
        ("a 'cut'.db3", "'a '\"'\"'cut'\"'\"'.db3'"),
        ('-x.db3', './-x.db3'),
    ):
        damaged = tmp_path / name
        damaged.write_bytes(data)
        found, bag = read(damaged)
        assert 20 < len(found) < 60
        assert f'malformed; to save what is whole: sqlite3 {quoted} .recover | sqlite3 recovered.db3' in bag.lost
        assert f'{name} is damaged: an unknown number of messages after ' in bag.lost


@pytest.mark.parametrize('share', [0.1, 0.35, 0.5, 0.77, 0.99, 0.9999])
@pytest.mark.parametrize('transforms', [0, 50])
def test_a_database_that_is_cut_off(tmp_path, share, transforms):
    """All messages in what is left are read; SQLite itself finds none where the way to them is cut off."""
    with Recorder(tmp_path / 'film', 'sqlite3') as recorder:
        for i in range(100):
            for k in range(transforms):
                stamp_ns = START_NS + i * STEP_NS - transforms + k
                recorder.write_transform('base', (0, 0, 0, 1), (k, 0, 0), stamp_ns)
            recorder.write_frame(i)
    whole, cut = tmp_path / 'film/film.db3', tmp_path / 'cut.db3'
    expected, _ = read(whole)
    data = whole.read_bytes()
    size = int(len(data) * share)
    cut.write_bytes(data[:size])
    found, bag = read(cut)
    # Of the pages, a few hold the schema, and some percent the index.
    assert len(expected) * (share - 0.05) - 3 < len(found) < len(expected)
    assert found == expected[: len(found)]
    assert f'cut.db3 is cut off: {size} of {len(data)} bytes are there, with ' in bag.lost
    assert bag.topics[IMAGE].count <= 100 * share + 1
    assert cut.read_bytes() == data[:size]


def test_a_message_that_goes_on_in_what_is_cut_off(tmp_path):
    """SQLite would take the rest of its last page for zeros."""
    whole, cut = record(tmp_path / 'film', 20, 'sqlite3') / 'film.db3', tmp_path / 'cut.db3'
    expected, _ = read(whole)
    cut.write_bytes(whole.read_bytes()[:-1])
    found, bag = read(cut)
    assert found == expected[:-1]
    assert bag.lost.endswith('with 60 messages; not whole among the messages of cut.db3: 1')


# Compression.


def test_a_packed_file(tmp_path, film, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'scratch'))
    (tmp_path / 'scratch').mkdir()
    expected, _ = read(film)
    for name in ('packed', film.name):
        packed = tmp_path / f'{name}.zstd'
        data = film.read_bytes()
        # In two frames, as programs with several threads write it.
        packed.write_bytes(zstandard.compress(data[:5000]) + zstandard.compress(data[5000:]))
        with open_bag(packed) as bag:
            assert list(bag.messages(bag.topics)) == expected
            assert bag.lost == ''
            assert list((tmp_path / 'scratch').iterdir())
        assert not list((tmp_path / 'scratch').iterdir())
    assert packed.exists()


def test_too_little_room_to_unpack(tmp_path, monkeypatch):
    packed = tmp_path / 'film.mcap.zstd'
    data = (record(tmp_path / 'film', 2) / 'film.mcap').read_bytes()
    stream = zstandard.ZstdCompressor().compressobj()
    monkeypatch.setattr('diffcut_ros.recordings.files._SHARE', 0)
    for content in (zstandard.compress(data), stream.compress(data) + stream.flush()):
        packed.write_bytes(content)
        assert 'takes more than the 0.0 GB that may be used of ' in error_of(packed)
        assert 'set TMPDIR to a folder with more room, or unpack it yourself: zstd -d film.mcap.zstd' in error_of(
            packed
        )


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_packed_messages(tmp_path, storage):
    """Whatever says so: messages of ROS 2 never begin as those of zstd."""
    expected, _ = read(record(tmp_path / 'plain', 4, storage))
    if storage == 'mcap':
        file = record(tmp_path / 'film', 4, 'message') / 'film.mcap'
        assert read(file)[0] == expected
        return
    file = record(tmp_path / 'film', 4, storage) / 'film.db3'
    stream = zstandard.ZstdCompressor().compressobj()
    with sqlite3.connect(file) as database:
        for number, data in list(database.execute('SELECT id, data FROM messages')):
            packed = zstandard.compress(data)
            if number == 1:  # of a writer that did not know the size
                packed = stream.compress(data) + stream.flush()
            if number == 2:
                packed = packed[:-20]
            database.execute('UPDATE messages SET data = ? WHERE id = ?', (packed, number))
    database.close()
    found, bag = read(file)
    assert found == expected[:1] + expected[2:]
    assert bag.lost.startswith('1 messages of /camera/camera_info: ZstdError: ')


# SQLite with a log.

RECORDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute('PRAGMA journal_mode=wal')
database.execute('PRAGMA wal_autocheckpoint=0')
rows = database.execute('SELECT topic_id, timestamp, data FROM messages ORDER BY id').fetchall()
for k in range(1, 4):
    database.executemany(
        'INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
        [(topic, time_ns + k * 10**9, data) for topic, time_ns, data in rows],
    )
    database.commit()
    print('written', flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def recorder(tmp_path):
    """A process that adds to a database of 6 messages as many for each line that it gets, and the database."""
    file = record(tmp_path / 'film', 2, 'sqlite3') / 'film.db3'
    command = [sys.executable, '-c', RECORDER, str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    yield process, file
    process.kill()
    process.communicate()


@pytest.mark.parametrize('shared', [True, False])
def test_a_recorder_crashed(recorder, shared):
    process, file = recorder
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not shared:  # not all that belongs to it was copied
        Path(f'{file}-shm').unlink()
    before = contents(file.parent)
    assert Path(f'{file}-wal').stat().st_size
    for path in (file, file.parent):
        found, bag = read(path)
        assert [message.time_ns - START_NS for message in found[::3]] == [0, STEP_NS, 10**9, 10**9 + STEP_NS]
        assert (bag.lost, bag.topics[IMAGE].count, bag.end_ns) == ('', 4, START_NS + 10**9 + STEP_NS)
    assert contents(file.parent) == before


def test_a_recorder_is_running(recorder):
    process, file = recorder
    before = sorted(contents(file.parent))
    assert len(read(file)[0]) == 12
    process.stdin.write('\n')
    process.stdin.flush()
    assert process.stdout.readline()
    assert len(read(file.parent)[0]) == 18
    assert sorted(contents(file.parent)) == before


def test_a_log_of_another_name(recorder):
    process, file = recorder
    process.send_signal(signal.SIGKILL)
    process.wait()
    Path(f'{file}-shm').unlink()
    renamed = file.rename(file.with_name('renamed.db3'))
    found, bag = read(renamed)
    assert len(found) == 6
    assert bag.lost == 'film.db3-wal may hold the last messages of renamed.db3: name it renamed.db3-wal'
    Path(f'{file}-wal').rename(f'{renamed}-wal')
    assert len(read(renamed)[0]) == 12


# ROS 1 without an index.


def write_ros1(path: Path, compression: str = 'none') -> bytes:
    """Write 20 images into a bag with several chunks; return its bytes."""
    recorder = Recorder(path)
    recorder._writer.chunk_threshold = 30_000
    if compression != 'none':
        recorder._writer.set_compression(Ros1Writer.CompressionFormat[compression.upper()])
    with recorder:
        for index in range(20):
            noise = np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)
            recorder.write(IMAGE, image_message(noise, 'rgb8', START_NS + index * STEP_NS, recorder.store))
    return path.read_bytes()


def chunks(data: bytes) -> list[int]:
    """Return where the contents of a bag's chunks begin."""
    found, at = [], len(b'#ROSBAG V2.0\n')
    while at < len(data):
        begin = at + 8 + int.from_bytes(data[at : at + 4], 'little')
        if b'op=\5' in data[at:begin]:
            found.append(begin)
        at = begin + int.from_bytes(data[begin - 4 : begin], 'little')
    return found


def without_index(data: bytes) -> bytes:
    """Return a bag as a recorder leaves it that crashed."""
    at = data.index(b'index_pos=') + 10
    end = int.from_bytes(data[at : at + 8], 'little')
    return data[:at] + bytes(8) + data[at + 8 : end]


@pytest.mark.parametrize('compression', ['none', 'bz2', 'lz4'])
def test_ros1_without_an_index(tmp_path, compression):
    data = write_ros1(tmp_path / 'film.bag', compression)
    expected, _ = read(tmp_path / 'film.bag')
    crashed = tmp_path / 'film.bag.active'
    crashed.write_bytes(without_index(data))
    found, bag = read(crashed)
    assert found == expected
    assert bag.lost.startswith('film.bag.active has no index (')
    assert bag.lost.endswith('; to write one: rosbag reindex film.bag.active')
    assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + 19 * STEP_NS)


@pytest.mark.parametrize('compression', ['none', 'bz2', 'lz4'])
def test_ros1_that_was_cut_off_anywhere(tmp_path, compression):
    data = write_ros1(tmp_path / 'film.bag', compression)
    expected, _ = read(tmp_path / 'film.bag')
    cut, counts = tmp_path / 'cut.bag', []
    for part in range(1, 20):
        cut.write_bytes(data[: len(data) * part // 20])
        try:
            found, bag = read(cut)
        except BagError as error:
            found, told = [], str(error)
        else:
            told = bag.lost
        assert found == expected[: len(found)]
        assert 'cut.bag has no index' in told
        counts.append(len(found))
    assert counts == sorted(counts)
    # A chunk, of 4 images, is lost without its end; where it is not compressed, what is whole in it is read.
    assert all(count >= part - (2 if compression == 'none' else 5) for part, count in enumerate(counts, 1))


def test_ros1_with_a_damaged_chunk(tmp_path):
    path = tmp_path / 'film.bag'
    data = bytearray(write_ros1(path, 'bz2'))
    expected, _ = read(path)
    at = chunks(data)[1]
    data[at + 1000 : at + 1100] = bytes(100)
    path.write_bytes(without_index(data))
    found, bag = read(path)
    assert 14 <= len(found) < 20
    assert set(found) < set(expected)
    assert 'film.bag is damaged: the chunk of ' in bag.lost


@pytest.mark.parametrize('compression', ['none', 'bz2', 'lz4'])
@pytest.mark.parametrize('place', [-40, 2])
def test_ros1_with_an_index_and_a_damaged_chunk(tmp_path, compression, place):
    """Damage in the chunk, or in its header, costs that chunk."""
    path = tmp_path / 'film.bag'
    data = bytearray(write_ros1(path, compression))
    expected, _ = read(path)
    at = chunks(data)[1] + place
    data[at : at + 30] = b'\xff' * 30
    path.write_bytes(data)
    found, bag = read(path)
    assert 14 <= len(found) < 20
    assert set(found) < set(expected)
    assert 'film.bag is damaged: ' in bag.lost
    if place > 0:
        assert f'; in all {20 - len(found)} of 20 messages of film.bag were not found' in bag.lost


def test_ros1_with_an_index_and_a_damaged_message(tmp_path):
    path = tmp_path / 'film.bag'
    data = bytearray(write_ros1(path))
    expected, _ = read(path)
    at = data.index(expected[5].cdr[200:300]) - 240
    data[at : at + 45] = bytes(45)
    path.write_bytes(data)
    found, bag = read(path)
    assert found == expected[:5] + expected[6:]
    assert 'film.bag is damaged: the chunk of ' in bag.lost
    assert bag.lost.endswith('; in all 1 of 20 messages of film.bag were not found')


def test_ros1_whose_last_chunk_was_being_written(tmp_path):
    """A recorder says how large a chunk is when it is full."""
    path = tmp_path / 'film.bag'
    data = bytearray(without_index(write_ros1(path)))
    expected, _ = read(path)
    at = chunks(data)[-1]
    data[at - 4 : at] = bytes(4)
    path.write_bytes(data)
    assert read(path)[0] == expected


@pytest.mark.parametrize(
    'text',
    [
        b'[' * 100_000,
        b'rosbag2_bagfile_information: {x: 2020-13-45, relative_file_paths: [film.mcap]}',
        b'rosbag2_bagfile_information: {x: ' + b'9' * 6000 + b', relative_file_paths: [film.mcap]}',
        b'rosbag2_bagfile_information: {relative_file_paths: [..]}',
        b'rosbag2_bagfile_information: {relative_file_paths: 3}',
        b'\xff\xfe',
        b'x' * 2**25,
    ],
)
def test_metadata_that_cannot_be_read(tmp_path, text):
    folder = record(tmp_path / 'film', 2)
    expected, _ = read(folder)
    (folder / 'metadata.yaml').write_bytes(text)
    found, bag = read(folder)
    assert found == expected
    assert bag.note.startswith('metadata.yaml cannot be read and is ignored: ')
    assert len(bag.note) < 400


@pytest.mark.parametrize('times', [3, 5000])
def test_a_file_that_metadata_names_repeatedly_is_read_once(tmp_path, times):
    folder = record(tmp_path / 'film', 2)
    expected, _ = read(folder)
    names = ', '.join(['film.mcap'] * times)
    (folder / 'metadata.yaml').write_text(f'rosbag2_bagfile_information: {{relative_file_paths: [{names}]}}')
    found, bag = read(folder)
    assert found == expected
    assert bag.note == 'metadata.yaml names files more than once, each is read once'
