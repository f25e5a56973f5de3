"""Whatever happens to an MCAP file: all messages, or those that can be read and what was lost; nothing in silence."""

import random
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer
from ruamel.yaml import YAML

from diffcut_ros.recordings.bag import BagError, BagMessage, BagTopic, open_bag
from support.mcap_files import rewrite
from support.recordings import DEPTH, IMAGE, INFO, START_NS, STEP_NS, Recorder, image_message, moving_scene, record

NO_INDEX = {
    'index_types': IndexType.NONE,
    'repeat_channels': False,
    'repeat_schemas': False,
    'use_statistics': False,
    'use_summary_offsets': False,
}
LAYOUTS = {
    'indexed': {},
    'without index': NO_INDEX,
    'without statistics': {'use_statistics': False},
    'without channels': {'repeat_channels': False},
    'without chunks': {'use_chunking': False},
    'without checksums': {'enable_crcs': False},
}
COMPRESSIONS = {'none': CompressionType.NONE, 'lz4': CompressionType.LZ4, 'zstd': CompressionType.ZSTD}


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> Path:
    """A recording of 30 images with camera_info and depth, in one file."""
    return record(tmp_path_factory.mktemp('film') / 'film', 30) / 'film.mcap'


def by_time(topic: str, time_ns: int) -> int:
    return time_ns


def write(path: Path, film: Path, compression: str = 'none', layout: str = 'indexed', order=by_time) -> Path:
    """Write the film anew, in chunks of two to four images, by time or in another order of topic and time."""
    return rewrite(film, path, 30_000, order, compression=COMPRESSIONS[compression], **LAYOUTS[layout])


def read(path: Path) -> tuple[list[BagMessage], str]:
    """Return the messages that can be read, and what is told of the others."""
    try:
        with open_bag(path) as bag:
            return list(bag.messages(set(bag.topics))), bag.lost
    except BagError as error:
        return [], str(error)


def check(path: Path, expected: list[BagMessage]) -> tuple[int, str]:
    """Check that what is read was recorded, and that a loss is told; return how many are lost, and the words."""
    found, told = read(path)
    assert len(set(found)) == len(found)
    assert set(found) <= set(expected)
    assert told or len(found) == len(expected)
    return len(expected) - len(found), told


@pytest.mark.parametrize('compression', COMPRESSIONS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_whole_file(tmp_path, film, compression, layout):
    expected, _ = read(film)
    assert read(write(tmp_path / 'whole.mcap', film, compression, layout)) == (expected, '')


@pytest.mark.parametrize('compression', COMPRESSIONS)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_file_that_was_cut_off_anywhere(tmp_path, film, compression, layout):
    expected, _ = read(film)
    data = write(tmp_path / 'whole.mcap', film, compression, layout).read_bytes()
    lost = []
    for part in range(20):
        path = tmp_path / 'cut.mcap'
        path.write_bytes(data[: len(data) * part // 20])
        missing, told = check(path, expected)
        assert 'received an empty file' in told if part == 0 else 'cut.mcap has no end: lost are its last' in told
        lost.append(missing)
    assert lost == sorted(lost, reverse=True)
    assert lost[0] == len(expected)
    # A chunk, of two to four of 30 images, is lost without its end.
    assert lost[-1] <= 0.2 * len(expected)


@pytest.mark.parametrize('compression', COMPRESSIONS)
@pytest.mark.parametrize('layout', ['indexed', 'without index', 'without statistics'])
def test_a_byte_that_is_wrong_anywhere(tmp_path, film, compression, layout):
    """In files with checksums: each message that is read is one that was recorded."""
    expected, _ = read(film)
    path = write(tmp_path / 'flipped.mcap', film, compression, layout)
    data = path.read_bytes()
    chance = random.Random(compression + layout)
    losses = 0
    for _ in range(40):
        at = chance.randrange(8, len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :])
        missing, told = check(path, expected)
        losses += missing > 0
        if layout == 'indexed':
            assert missing <= 12, told  # one chunk
            assert not missing or f'in all {missing} of {len(expected)} messages of flipped.mcap' in told
    assert losses > 10


def test_a_byte_that_is_wrong_without_checksums(tmp_path, film):
    """What is read may be wrong, but as many messages as are not told of are there."""
    expected, _ = read(film)
    path = write(tmp_path / 'flipped.mcap', film, layout='without checksums')
    data = path.read_bytes()
    chance = random.Random(0)
    heads = [data.index(message.cdr) - 31 + chance.randrange(31) for message in expected]
    for at in [chance.randrange(8, len(data)) for _ in range(40)] + heads:
        path.write_bytes(data[:at] + bytes([data[at] ^ chance.randrange(1, 256)]) + data[at + 1 :])
        found, told = read(path)
        assert told or len(found) == len(expected)


def test_a_damaged_index(tmp_path, film):
    """All messages are read without it; a place in it that leads astray is told of."""
    expected, _ = read(film)
    path = write(tmp_path / 'film.mcap', film)
    data = path.read_bytes()
    for at, words in ((-9, 'its checksum differs'), (-37, 'its checksum differs'), (-28, 'it is not at byte')):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[len(data) + at + 1 :])
        missing, told = check(path, expected)
        assert not missing
        assert 'the index of film.mcap is damaged, and was done without: ' in told
        assert words in told
    write(path, film, layout='without checksums')
    with path.open('rb') as file:
        chunk = make_reader(file).get_summary().chunk_indexes[2]
    place = struct.pack('<QQ', chunk.chunk_start_offset, chunk.chunk_length)
    path.write_bytes(path.read_bytes().replace(place, place[:8] + struct.pack('<Q', 2**40)))
    missing, told = check(path, expected)
    assert 0 < missing <= 12
    assert f'at byte {chunk.chunk_start_offset}, ' in told
    assert 'its length differs' in told


def test_damage_without_an_index(tmp_path, film):
    expected, _ = read(film)
    path = write(tmp_path / 'film.mcap', film, layout='without index')
    data = path.read_bytes()
    first, second, third = [match.start() for match in re.finditer(rb'\x06.{6}\0\0', data, re.DOTALL)][:3]
    # A length beyond the end.
    path.write_bytes(data[: third + 8] + b'\1' + data[third + 9 :])
    missing, told = check(path, expected)
    assert 0.5 * len(expected) < missing < len(expected)
    assert told == f'film.mcap is damaged: its last {len(data) - third} of {len(data)} bytes'
    # The second chunk; then the first, in which the names of all topics are.
    for at, following in ((second, third), (first, second)):
        path.write_bytes(data[: following - 1] + b'!' + data[following:])
        missing, told = check(path, expected)
        size = f'a chunk of {following - at} bytes at byte {at}, an unknown number of messages: '
        assert f'film.mcap is damaged: {size}' in told
        assert at == second or re.search(r'\d\d messages of film.mcap, the names of whose topics are damaged', told)
    # The disk was full of zeros where the recording broke off.
    path.write_bytes(data[:third] + bytes(5000))
    _, told = check(path, expected)
    expected = (
        f'lost are its last 5000 of {third + 5000} bytes, which are no whole record, and whatever came after them'
    )
    assert told == f'film.mcap has no end: {expected}'


@pytest.mark.parametrize('compression', COMPRESSIONS)
def test_zeros_anywhere_without_an_index_and_checksums(tmp_path, film, compression):
    """As they are on a disk where the recorder's computer lost its power."""
    expected, _ = read(film)
    path = write(tmp_path / 'film.mcap', film, compression, 'without index')
    with path.open('rb') as source:
        chunks = [one for one in StreamReader(source, emit_chunks=True).records if isinstance(one, Chunk)]
    data = path.read_bytes()
    for chunk in chunks:
        data = data.replace(struct.pack('<I', chunk.uncompressed_crc), bytes(4))
    path.write_bytes(data)
    assert read(path) == (expected, '')
    starts = [data.index(chunk.data[:100]) - 45 for chunk in chunks]
    for at in [*range(8, len(data) - 200, len(data) // 20), *starts, *(start + 9 for start in starts)]:
        path.write_bytes(data[:at] + bytes(200) + data[at + 200 :])
        found, told = read(path)
        # What is within an image that is not compressed is part of that.
        assert told or len(found) == len(expected), at


def test_a_compression_that_is_not_known(tmp_path, film):
    path = write(tmp_path / 'film.mcap', film, 'zstd', 'without index')
    path.write_bytes(path.read_bytes().replace(b'zstd', b'abcd'))
    _, told = read(path)
    assert ": expected lz4, zstd or no compression, received 'abcd'; convert it to one; " in told


def test_only_what_is_read_is_lost(tmp_path, film):
    path = write(tmp_path / 'film.mcap', film)
    path.write_bytes(path.read_bytes().replace(moving_scene(12).tobytes(), bytes(48 * 64 * 3)))
    with open_bag(path) as bag:
        depth = list(bag.messages({DEPTH}))
        missing = 30 - len(depth)
        assert 0 < missing < 5
        assert f', {missing} messages: its checksum differs' in bag.lost
        assert f'; in all {missing} of 30 messages of film.mcap were not found' in bag.lost
    # Chunks of one topic each.
    write(path, film, order=lambda topic, time_ns: (topic, time_ns))
    path.write_bytes(path.read_bytes().replace(moving_scene(12).tobytes(), bytes(48 * 64 * 3)))
    with open_bag(path) as bag:
        assert len(list(bag.messages({INFO}))) == 30
        assert not bag.lost
        assert len(list(bag.messages({IMAGE}))) < 30
        assert bag.lost


@pytest.mark.parametrize('data', [b'', b'\x89MCAP0\r\n', b'no MCAP file', bytes(1000), b'\x89MCAP0\r\n' * 1000])
def test_what_is_no_mcap_file(tmp_path, data):
    path = tmp_path / 'none.mcap'
    path.write_bytes(data)
    words = 'expected MCAP, SQLite, or a bag of ROS 1, received|received an empty recording: .*none[.]mcap'
    with pytest.raises(BagError, match=words):
        open_bag(path).__enter__()


def test_messages_come_by_time(tmp_path, film):
    """Also from chunks that overlap in time; without an index, chunks are as they lie in the file."""
    expected, _ = read(film)
    chance = random.Random(0)

    def mixed(topic: str, time_ns: int) -> int:
        return time_ns + 7 * STEP_NS * (IMAGE, INFO, DEPTH).index(topic) + chance.randrange(2 * STEP_NS)

    found, told = read(write(tmp_path / 'mixed.mcap', film, order=mixed))
    assert [message.time_ns for message in found] == [message.time_ns for message in expected]
    assert (set(found), told) == (set(expected), '')
    found, told = read(write(tmp_path / 'mixed.mcap', film, layout='without index', order=mixed))
    assert (set(found), told) == (set(expected), '')


def test_many_damaged_places_are_counted(tmp_path, film):
    expected, _ = read(film)
    path = write(tmp_path / 'film.mcap', film)
    data = path.read_bytes()
    for index in range(0, 30, 2):
        data = data.replace(moving_scene(index).tobytes(), bytes(48 * 64 * 3))
    path.write_bytes(data)
    missing, told = check(path, expected)
    assert missing == len(expected)
    assert re.search(r'; \d more places; in all 90 of 90 messages of film.mcap were not found$', told)


@pytest.fixture(params=['mcap', 'storage', 'message', 'file'])
def split(tmp_path, film, request) -> tuple[list[Path], list[BagMessage]]:
    """The files of a recording that was split, and its messages: 15 images, 15 images, none yet."""
    files = []
    for name, images in (('split', range(15)), ('second', range(15, 30)), ('third', [])):
        with Recorder(tmp_path / name, request.param) as recorder:
            recorder.topic(IMAGE, 'sensor_msgs/msg/Image')
            for index in images:
                recorder.write_frame(index)
        (file,) = recorder.path.glob('*.mcap*')
        files.append(file.rename(tmp_path / 'split' / file.name))
    if request.param != 'file':  # other writers give a file without messages no times
        with files[2].open('wb') as file:
            writer = Writer(file)
            writer.start('ros2', 'test')
            writer.finish()
    metadata = tmp_path / 'split/metadata.yaml'
    about = YAML(typ='safe').load(metadata.read_text())
    about['rosbag2_bagfile_information']['relative_file_paths'] = [file.name for file in files]
    with metadata.open('w') as file:
        YAML().dump(about, file)
    return files, read(film)[0]


def test_a_recording_of_several_files(split):
    (path, *_), expected = split
    assert read(path.parent) == (expected, '')
    with open_bag(path.parent) as bag:
        assert (bag.start_ns, bag.end_ns) == (START_NS, START_NS + 29 * STEP_NS)
        assert bag.topics[DEPTH] == BagTopic('sensor_msgs/msg/Image', 30)


@pytest.mark.parametrize('damage', ['missing', 'empty', 'cut off', 'wrong'])
def test_one_of_several_files_is_damaged(split, damage):
    (path, other, _), expected = split
    data = path.read_bytes()
    if damage == 'missing':
        path.unlink()
    elif damage == 'wrong':
        path.write_bytes(bytes(byte ^ 255 for byte in data))
    else:
        path.write_bytes(data[: len(data) // 8] if damage == 'cut off' else b'')
    missing, told = check(path.parent, expected)
    assert missing == len(expected) // 2
    assert path.name in told
    assert other.name not in told


def test_a_compressed_file_is_read_up_to_its_damage(tmp_path):
    noise = np.random.default_rng(0).integers(0, 16, (60, 96, 128, 3), np.uint8)
    with Recorder(tmp_path / 'film', 'file') as recorder:
        for index, image in enumerate(noise):
            recorder.write(IMAGE, image_message(image, 'rgb8', START_NS + index * STEP_NS))
    expected, _ = read(tmp_path / 'film')
    path = tmp_path / 'film/film.mcap.zstd'
    data = path.read_bytes()
    at = round(0.8 * len(data))
    path.write_bytes(data[:at] + b'\xff' * (len(data) - at))
    missing, told = check(tmp_path / 'film', expected)
    # A chunk, of 28 images, is lost without its end.
    assert 0 < missing < 0.7 * len(expected)
    assert 'film.mcap.zstd is damaged, and was unpacked up to there: ' in told
    assert 'film.mcap.zstd has no end: ' in told


def test_metadata_that_is_none(tmp_path, film):
    folder = shutil.copytree(film.parent, tmp_path / 'film')
    expected, _ = read(film)
    for text in ('', '{', 'a: b', 'rosbag2_bagfile_information: [1]', 'rosbag2_bagfile_information: {version: 9}'):
        (folder / 'metadata.yaml').write_text(text)
        assert read(folder) == (expected, '')
