"""Topics of a ROS 2 bag, as messages of rclpy: what is made of them is the same as live."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from diffcut_ros.node.view.topics import Topic, Wanted, find_camera, find_outputs
from diffcut_ros.stream.messages import COMPRESSED_VIDEO, FFMPEG_PACKET


def open_bag(path: Path, wanted: Wanted) -> Iterator[tuple[str, Any]]:
    """Open a bag; return role and message of all that is wanted, in the order in which it was recorded.

    Raises:
        FileNotFoundError: when there is no such bag.
        ValueError: for what is no ROS 2 bag, and for a bag with none of the node's outputs.
    """
    if not path.exists():
        raise FileNotFoundError(f'--bag: expected a folder or file of a ROS 2 bag, received {path}, which is not there')
    try:
        # Messages are deserialized by rclpy; the reader needs no types of its own.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.EMPTY))
        reader.open()
    except AnyReaderError as error:
        raise ValueError(f'--bag: expected a ROS 2 bag (MCAP or SQLite), received {path}: {error}') from error
    try:
        if not reader.is2:
            raise ValueError(f'--bag: expected a bag of ROS 2, received {path} of ROS 1: rosbags-convert converts it')
        types = {name: info.msgtype for name, info in reader.topics.items() if info.msgtype}
        topics = _find(types, path, wanted)
    except ValueError:
        reader.close()
        raise
    return _messages(reader, {topic.name: (role, topic.kind) for role, topic in topics.items()})


def _messages(reader: AnyReader, kinds: dict[str, tuple[str, type]]) -> Iterator[tuple[str, Any]]:
    with closing(reader):
        print('reading ' + ', '.join(sorted(kinds)), file=sys.stderr, flush=True)
        for connection, _, data in reader.messages([c for c in reader.connections if c.topic in kinds]):
            role, kind = kinds[connection.topic]
            yield role, deserialize_message(data, kind)


def _find(types: dict[str, str], path: Path, wanted: Wanted) -> dict[str, Topic]:
    outputs = find_outputs(types, wanted)
    received = ', '.join(sorted(types)) or 'no topics'
    if not outputs:
        raise ValueError(
            f'{path}: expected {", ".join(wanted.outputs().values())} or some of them, received {received}. Choose the '
            'node that was recorded with --node and its camera with --camera'
        )
    try:
        camera = find_camera(types, wanted)
    except ValueError as error:
        print(error, file=sys.stderr)
        return outputs
    videos = [name for name, kind in types.items() if kind in (COMPRESSED_VIDEO, FFMPEG_PACKET)]
    if videos and 'image' not in camera:
        print(f'not shown: {", ".join(videos)}: video; overlay.mp4 of diffcut_analyze has its images', file=sys.stderr)
        return {**camera, **outputs}
    if wanted.image and 'image' not in camera:
        raise ValueError(f'{path}: expected the camera on {wanted.image}, received {received}. Choose another --image')
    return {**camera, **outputs}
