"""MCAP of other writers: messages of ROS 1, of other encodings beside those of ROS, definitions that are none."""

import sqlite3
from pathlib import Path

import pytest
from mcap.writer import Writer
from rosbags.rosbag1 import Reader

from diffcut_ros.analysis.main import main
from diffcut_ros.recordings.bag import BagError, BagMessage, BagTopic, open_bag
from support.recordings import DEPTH, IMAGE, INFO, START_NS, STEP_NS, Recorder, depth_mm, image_message, record

NAMES = {IMAGE: 'sensor_msgs/Image', INFO: 'sensor_msgs/CameraInfo', DEPTH: 'sensor_msgs/Image'}


class Mcap:
    """Writes an MCAP file, a context manager: each channel as it is asked for."""

    def __init__(self, path: Path, profile: str = 'ros2') -> None:
        self._file = path.open('wb')
        self._writer = Writer(self._file)
        self._writer.start(profile, 'test')
        self._channels: dict[tuple, int] = {}

    def __enter__(self) -> 'Mcap':
        return self

    def __exit__(self, *_) -> None:
        self._writer.finish()
        self._file.close()

    def write(self, channel: tuple[str, str, str, bytes, str], time_ns: int, data: bytes) -> None:
        """Write a message; a channel is its topic, schema, the encoding and text of that, and that of its messages."""
        if channel not in self._channels:
            topic, name, encoding, text, message_encoding = channel
            number = self._writer.register_schema(name, encoding, text) if name else 0
            self._channels[channel] = self._writer.register_channel(topic, message_encoding, number)
        self._writer.add_message(self._channels[channel], time_ns, data, time_ns)


def read(path: Path) -> list[BagMessage]:
    with open_bag(path) as bag:
        found = list(bag.messages(bag.topics))
        assert bag.lost == ''
    return found


@pytest.fixture
def film(tmp_path) -> list[BagMessage]:
    """Messages of a recording of 4 images."""
    return read(record(tmp_path / 'film', 4))


@pytest.mark.parametrize('profile', ['ros2', '', 'px4'])
@pytest.mark.parametrize('text', [b'', b'\xff\xfe', b'int64 a\n---\nint64 sum', b'no such type here'])
@pytest.mark.parametrize('encoding', ['ros2msg', 'ros2idl', 'other'])
def test_definitions_and_profiles_are_not_needed(tmp_path, film, profile, text, encoding):
    with Mcap(tmp_path / 'odd.mcap', profile) as mcap:
        for one in film:
            mcap.write((one.topic, one.type_name, encoding, text, 'cdr'), one.time_ns, one.cdr)
    assert read(tmp_path / 'odd.mcap') == film


def test_messages_whose_encoding_is_not_said(tmp_path, film):
    with Mcap(tmp_path / 'odd.mcap') as mcap:
        for one in film:
            mcap.write((one.topic, one.type_name, 'ros2msg', b'', ''), one.time_ns, one.cdr)
    assert read(tmp_path / 'odd.mcap') == film


@pytest.mark.parametrize('message_encoding', ['ros1', ''])
def test_converted_from_ros_1(tmp_path, film, message_encoding):
    """As converters do it: the bytes and names of ROS 1."""
    bag = record(tmp_path / 'film.bag', 4)
    with Reader(bag) as reader, Mcap(tmp_path / 'film.mcap', 'ros1') as mcap:
        for connection, time_ns, data in reader.messages():
            channel = connection.topic, NAMES[connection.topic], 'ros1msg', b'', message_encoding
            mcap.write(channel, time_ns, data)
    assert read(tmp_path / 'film.mcap') == film == read(bag)


@pytest.mark.parametrize(('encoding', 'kind'), [('', ''), ('CDR', ''), ('cdr', '/msg'), ('Cdr', '/msg')])
def test_other_words_in_sqlite(tmp_path, film, encoding, kind):
    path = record(tmp_path / 'odd', 4, 'sqlite3') / 'odd.db3'
    with sqlite3.connect(path) as database:
        database.execute("UPDATE topics SET serialization_format = ?, type = replace(type, ?, '')", (encoding, kind))
    database.close()
    assert read(path) == film


JSON = '/state', 'State', 'jsonschema', b'{"type": "object"}', 'json'
PROTOBUF = '/front', 'foxglove.CompressedImage', 'protobuf', b'\x0a', 'protobuf'
NAMELESS = '/raw', '', '', b'', 'cbor'


def test_other_messages_are_skipped(tmp_path, film, capsys):
    """Those that look like images are told of, once."""
    path = tmp_path / 'mixed.mcap'
    with Mcap(path) as mcap:
        for one in film:
            mcap.write((one.topic, one.type_name, 'ros2msg', b'', 'cdr'), one.time_ns, one.cdr)
            for other in (JSON, PROTOBUF, NAMELESS, (IMAGE, *PROTOBUF[1:])):
                mcap.write(other, one.time_ns, b'{}')
    assert read(path) == film
    with open_bag(path) as bag:
        assert bag.count == len(film)
        assert bag.topics[IMAGE] == BagTopic('sensor_msgs/msg/Image', 4)
        assert bag.topics['/state'] == BagTopic('State in json', 12)
        assert bag.note == (
            'skipped, being no messages of ROS: /front (foxglove.CompressedImage in protobuf, 12 messages), '
            f'{IMAGE} (foxglove.CompressedImage in protobuf, 12 messages)'
        )
    assert main([str(path), '-o', str(tmp_path / 'out'), '--csv', '--no-report', '--no-video']) == 0
    assert 'skipped, being no messages of ROS: /front (foxglove.' in capsys.readouterr().out
    arguments = [str(path), '-o', str(tmp_path / 'other'), '--image-topic', '/front']
    assert main(arguments) == 2
    assert 'received /front of foxglove.CompressedImage in protobuf' in capsys.readouterr().err


def test_nothing_but_other_messages(tmp_path):
    with Mcap(tmp_path / 'other.mcap', '') as mcap:
        for k in range(3):
            mcap.write(PROTOBUF, START_NS + k * STEP_NS, b'')
    words = (
        r'expected messages of ROS, received only /front \(foxglove.CompressedImage in protobuf, 3 messages\); '
        'record or convert them as messages of ROS with the names of their types$'
    )
    with pytest.raises(BagError, match=words):
        open_bag(tmp_path / 'other.mcap').__enter__()


def test_messages_of_no_type(tmp_path, film):
    path = tmp_path / 'odd.mcap'
    with Mcap(path) as mcap:
        for one in film:
            mcap.write((one.topic, '', '', b'', 'cdr'), one.time_ns, one.cdr)
    with pytest.raises(
        BagError, match=rf'received only {IMAGE} \(no type in cdr, 4 messages\), .*; record or convert '
    ):
        open_bag(path).__enter__()


@pytest.mark.parametrize('kind', ['std_msgs/msg/String', 'my_msgs/msg/Unknown'])
def test_topics_of_several_types(tmp_path, film, capsys, kind):
    """A topic has the type of most of its messages; the others are left out."""
    text = b'\0\1\0\0\3\0\0\0hi\0'
    with Mcap(tmp_path / 'odd.mcap') as mcap:
        mcap.write((IMAGE, kind, 'ros2msg', b'', 'cdr'), START_NS - 1, text)
        for one in film:
            mcap.write((one.topic, one.type_name, 'ros2msg', b'', 'cdr'), one.time_ns, one.cdr)
    with open_bag(tmp_path / 'odd.mcap') as bag:
        assert bag.topics[IMAGE] == BagTopic('sensor_msgs/msg/Image', 5)
        assert list(bag.messages({DEPTH})) == [one for one in film if one.topic == DEPTH]
    out = str(tmp_path / 'out')
    assert main([str(tmp_path / 'odd.mcap'), '-o', out, '--csv', '--no-report', '--no-video', '--with-source']) == 3
    assert '4 of 5 images segmented' in capsys.readouterr().out
    problems = (tmp_path / 'out/problems.csv').read_text()
    assert f'{IMAGE}: message ignored: expected sensor_msgs/msg/Image or ' in problems
    assert f', received {kind}' in problems


def test_a_recording_without_slashes(tmp_path, capsys):
    """Of some recorders that are not those of ROS: names are found, and meant, with and without a slash."""
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(3):
            stamp_ns = START_NS + index * STEP_NS
            for name in ('front/image', 'rear/image'):
                recorder.write(name, image_message(depth_mm(index).astype('u1'), 'mono8', stamp_ns))
    film, out = tmp_path / 'film', tmp_path / 'out'
    assert main([str(film), '-o', str(out)]) == 2
    assert 'choose with --image-topic: front/image, rear/image' in capsys.readouterr().err
    for name in ('rear/image', '/rear/image'):
        arguments = [str(film), '-o', str(out), '--image-topic', name, '--overwrite', '--no-report', '--no-video']
        assert main([*arguments, '--with-source']) == 0
        assert '3 of 3 images segmented' in capsys.readouterr().out
        with open_bag(out / 'segments.mcap') as bag:
            assert bag.topics['rear/image'].count == 3
