"""Topics of a recording, as messages of rclpy: what is made of them is the same as live."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from tf2_msgs.msg import TFMessage

from diffcut_ros.core.transform import Transform
from diffcut_ros.node.view.topics import Topic, Wanted, find_camera, find_outputs, find_sources, instead
from diffcut_ros.printable import counted, tell
from diffcut_ros.recordings.bag import Bag, open_bag
from diffcut_ros.recordings.message_types import COMPRESSED_VIDEO, FFMPEG_PACKET
from diffcut_ros.stream.transforms import TransformTree

# Of a recording no transform is forgotten.
_ALL_S = 1e9


@contextmanager
def open_messages(path: Path, wanted: Wanted) -> Iterator[Iterator[tuple[str, Any]]]:
    """Open a recording; yield role and message of all that is wanted, in the order in which it was recorded.

    What cannot be read is left out, and told on stderr.

    Raises:
        ValueError: for what is no recording that can be read, and for one with none of the node's outputs.
    """
    with open_bag(path) as bag:
        # Some recorders leave the slash out at the beginning of names.
        names = {f'/{name.strip("/")}': name for name in bag.topics}
        found = _find({full: bag.topics[name].type_name for full, name in names.items()}, path, wanted)
        yield _messages(bag, {names[topic.name]: (role, topic) for role, topic in found.items()})


def read_transforms(path: Path) -> Callable[[str, str, int], Transform] | None:
    """Return what looks up where frames of a recording lay to each other, see `TransformTree.lookup`.

    None: it has no /tf and no /tf_static. What is damaged in them is left out, and told on stderr.
    """
    tree, damaged = TransformTree(_ALL_S), 0
    with open_bag(path) as bag:
        topics = {name for name in ('/tf', '/tf_static') if name in bag.topics and bag.topics[name].count}
        for recorded in bag.messages(topics) if topics else ():
            try:
                tree.add(deserialize_message(recorded.cdr, TFMessage), static=recorded.topic == '/tf_static')
            except RuntimeError:
                damaged += 1
    if damaged:
        tell(f'left out: {counted(damaged, "message")} of transforms: damaged')
    return tree.lookup if topics else None


def _messages(bag: Bag, wanted: dict[str, tuple[str, Topic]]) -> Iterator[tuple[str, Any]]:
    tell('reading ' + ', '.join(sorted(wanted)))
    left_out: Counter[str] = Counter()
    for recorded in bag.messages(wanted):
        role, topic = wanted[recorded.topic]
        try:
            if recorded.type_name != topic.type_name:
                raise RuntimeError(f'expected {topic.type_name}, received {recorded.type_name}')
            message = deserialize_message(recorded.cdr, topic.kind)
        except RuntimeError as error:
            left_out[f'{recorded.topic}: {str(error).splitlines()[0]}'] += 1
            continue
        yield role, message
    for words in filter(None, [bag.note, bag.lost and f'not all could be read: {bag.lost}']):
        tell(words)
    for about, count in left_out.items():
        tell(f'left out: {counted(count, "message")} of {about}')


def _find(types: dict[str, str], path: Path, wanted: Wanted) -> dict[str, Topic]:
    outputs = find_outputs(types, wanted)
    received = ', '.join(sorted(types)) or 'no topics'
    if not outputs:
        # Who published there, is not recorded.
        there = instead(dict.fromkeys(find_sources(types), ()), wanted)
        next_step = there or 'choose the node that was recorded with --node, its camera with --camera'
        raise ValueError(
            f'{path}: expected {", ".join(wanted.outputs().values())} or some of them, received {received}; {next_step}'
        )
    try:
        camera = find_camera(types, wanted)
    except ValueError as error:
        tell(str(error))
        return outputs
    videos = [name for name, kind in types.items() if kind in (COMPRESSED_VIDEO, FFMPEG_PACKET)]
    if videos and 'image' not in camera:
        tell(f'not shown: {", ".join(videos)}: video; overlay.mp4 of diffcut_analyze has its images')
        return {**camera, **outputs}
    if wanted.image and 'image' not in camera:
        raise ValueError(f'{path}: expected the camera on {wanted.image}, received {received}. Choose another --image')
    return {**camera, **outputs}
