"""Which topics of a recording are camera, camera_info and depth."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from operator import and_, eq
from pathlib import PurePosixPath

from rosbags.serde import SerdeError

from diffcut_ros.recordings.bag import Bag, BagError, BagTopic
from diffcut_ros.recordings.message_types import COMPRESSED_VIDEO, FFMPEG_PACKET, STORE
from diffcut_ros.stream.depth import never_depth
from diffcut_ros.stream.messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE

_COMPRESSED, _COMPRESSED_DEPTH = '/compressed', '/compressedDepth'
# Of one depth image, the first that is there; a topic's transport is its suffix.
_TRANSPORTS = ('raw', 'compressedDepth', 'compressed')
# Parts of the names of types that hold images; clouds and metadata of a depth camera are no loss.
_IMAGE_LIKE = ('Image', 'Packet', 'Video')
# Types of video, and what image_transport appends to the camera's name.
_VIDEO = {FFMPEG_PACKET: '/ffmpeg', COMPRESSED_VIDEO: '/foxglove'}
_OPTION = {'image': '--image-topic', 'camera_info': '--camera-info-topic', 'depth': '--depth-topic'}


@dataclass(frozen=True)
class Topics:
    """Names of the topics that are analysed; camera_info and depth are both there or both None.

    `note` says why depth that is there is not used, and that a topic is taken in place of a preferred one with fewer
    messages, as text; empty: neither.
    """

    image: str
    camera_info: str | None = None
    depth: str | None = None
    note: str = ''

    def names(self) -> tuple[str, ...]:
        """Return those that there are: image, camera_info, depth."""
        return tuple(name for name in (self.image, self.camera_info, self.depth) if name is not None)


def find_topics(
    topics: Mapping[str, BagTopic],
    image: str | None = None,
    camera_info: str | None = None,
    depth: str | None = None,
    with_depth: bool = True,
    prefer_compressed: bool = False,
    depth_transport: str = 'raw',
    why_not: Callable[[str], str] = lambda _: '',
) -> Topics:
    """Choose topics by type and name, where they are not given.

    Args:
        topics: those of the recording.
        image: name of the camera's topic, raw, compressed or video.
        camera_info: name.
        depth: name.
        with_depth: whether camera_info and depth are wanted.
        prefer_compressed: of a camera that was recorded both raw and compressed.
        depth_transport: that is preferred where depth was recorded in several: raw, compressedDepth or compressed.
        why_not: says of a topic why its messages are no depth; empty: they may be. See `why_not_depth`.

    Raises:
        BagError: for a name that is not there or is of another type, listing those that are, and when there is no
            camera or a choice.
    """
    topics = {name: topic for name, topic in topics.items() if topic.count}
    notes = []
    image, camera_info, depth = (_as_recorded(name, topics) for name in (image, camera_info, depth))
    if with_depth and depth is not None:  # before another topic is missed, because this one was taken for depth
        _check('depth', depth, (IMAGE, COMPRESSED_IMAGE), topics)
        if reason := why_not(depth):
            raise BagError(f'{_OPTION["depth"]}: expected depth, received images of another kind on {depth}: {reason}')
    if image is None:
        others = {name: topic for name, topic in topics.items() if name != depth}
        cameras = _cameras(others, prefer_compressed) or [name for name in _named_depth(others) if why_not(name)]
        image = _only('image', cameras, topics)
        notes.append(_taken_for(image, _camera(image) + _COMPRESSED * prefer_compressed, topics))
    else:
        _check('image', image, (IMAGE, COMPRESSED_IMAGE, *_VIDEO), topics)
    if not with_depth:
        return Topics(image, note=_noted(notes))
    infos = [name for name, topic in topics.items() if topic.type_name == CAMERA_INFO]
    if depth is None:
        depths, note = _depths(topics, image, depth_transport, why_not)
        if camera_info is None and not infos and depths:
            note = f'depth on {", ".join(depths)} is not used: there is no camera_info'
        if camera_info is None and not (depths and infos):
            return Topics(image, note=_noted([*notes, note]))
        depth = _only('depth', depths, topics)
        suffix = '' if depth_transport == 'raw' else f'/{depth_transport}'
        notes.append(_taken_for(depth, _depth_image(depth) + suffix, topics))
    if camera_info is None:
        camera_info = _only('camera_info', _beside(infos, image), topics)
    _check('camera_info', camera_info, (CAMERA_INFO,), topics)
    return Topics(image, camera_info, depth, _noted(notes))


def _noted(notes: list[str]) -> str:
    return '; '.join(filter(None, notes))


def _taken_for(name: str, preferred: str, topics: Mapping[str, BagTopic]) -> str:
    """Say that another transport than the preferred one is taken, or return an empty string."""
    if name == preferred or preferred not in topics:
        return ''
    return f'{name} is taken ({topics[name].count} messages), not {preferred} ({topics[preferred].count})'


def _as_recorded(name: str | None, topics: Mapping[str, BagTopic]) -> str | None:
    """A name that is given, with or without its leading slash, as the recording has it."""
    if name is None or name in topics:
        return name
    return next((one for one in topics if one.strip('/') == name.strip('/')), name)


def _cameras(topics: Mapping[str, BagTopic], prefer_compressed: bool) -> list[str]:
    """Names of colour or mono cameras, each once: raw or compressed, or else as video."""
    raw = [name for name, topic in topics.items() if topic.type_name == IMAGE and not _is_depth(name)]
    compressed = [
        name
        for name, topic in topics.items()
        # Names of other transports, compressedDepth and theora, hold what is no picture by itself.
        if topic.type_name == COMPRESSED_IMAGE and not _is_depth(name) and not name.endswith('/theora')
    ]
    found = [name for name in raw if name + _COMPRESSED not in compressed]
    for name in compressed:
        other = name.removesuffix(_COMPRESSED)
        ranked = [name, other] if prefer_compressed else [other, name]
        found.append(_fullest([one for one in ranked if one == name or one in raw], topics))
    cameras = {_camera(name) for name in found}
    for name, topic in topics.items():
        if topic.type_name in _VIDEO and not _is_depth(name) and _camera(name) not in cameras:
            found.append(name)
            cameras.add(_camera(name))
    return found


def _fullest(names: list[str], topics: Mapping[str, BagTopic]) -> str:
    """The first of several topics of one image, unless others have more than twice its messages."""
    most = max(topics[name].count for name in names)
    return next(name for name in names if 2 * topics[name].count >= most)


def _named_depth(topics: Mapping[str, BagTopic]) -> list[str]:
    return [name for name, topic in topics.items() if topic.type_name in (IMAGE, COMPRESSED_IMAGE) and _is_depth(name)]


def _camera(image: str) -> str:
    """The name of a camera's raw images, from that of one of its topics."""
    for ending in (_COMPRESSED, *_VIDEO.values()):
        image = image.removesuffix(ending)
    return image


def _depth_image(name: str) -> str:
    """The name of raw depth, from that of one of its topics."""
    return name.removesuffix(_COMPRESSED_DEPTH).removesuffix(_COMPRESSED)


def _is_depth(name: str) -> bool:
    return 'depth' in name.lower() or _is_disparity(name)


def _is_disparity(name: str) -> bool:
    return 'disparity' in name.lower()


def _depths(
    topics: Mapping[str, BagTopic], image: str, preferred: str, why_not: Callable[[str], str]
) -> tuple[list[str], str]:
    """Return the topics that may be the camera's depth, and why others, that would be, are not used."""
    by_image: dict[str, list[tuple[int, str]]] = {}  # the topics of each depth image, after their rank
    for name in _named_depth(topics):
        if name != image and not _is_disparity(name):
            packed = 'compressedDepth' if name.endswith(_COMPRESSED_DEPTH) else 'compressed'
            transport = 'raw' if topics[name].type_name == IMAGE else packed
            rank = -1 if transport == preferred else _TRANSPORTS.index(transport)
            by_image.setdefault(_depth_image(name), []).append((rank, name))
    ranks = {}
    for found in by_image.values():
        of = {name: rank for rank, name in sorted(found)}
        best = _fullest([*of], topics)
        ranks[best] = of[best]
    names = _of_this_camera([*ranks], image) if ranks else []
    reasons = {name: why_not(name) for name in names}
    left = [name for name in names if not reasons.get(name)]
    first = min((ranks[name] for name in left), default=None)
    note = '; '.join(f'depth on {name} is not used: {reason}' for name, reason in reasons.items() if reason)
    others = [
        f'{name} ({topic.type_name})'
        for name, topic in topics.items()
        if _is_depth(name)
        and topic.type_name not in (IMAGE, COMPRESSED_IMAGE)
        and any(part in topic.type_name.rpartition('/')[2] for part in _IMAGE_LIKE)
    ]
    disparity = [name for name in _named_depth(topics) if _is_disparity(name) and name != image]
    if not names and disparity:
        note = f'disparity on {", ".join(disparity)} is not used: depth is expected, as stereo_image_proc makes it'
    elif not names and others:
        note = f'depth on {", ".join(others)} is not used: expected {IMAGE} or {COMPRESSED_IMAGE}'
    return [name for name in left if ranks[name] == first], '' if left else note


def why_not_depth(bag: Bag, topic: str) -> str:
    """Say why the messages of a topic are no depth, by its first one; empty: they may be."""
    with closing(bag.messages({topic})) as messages:
        for message in messages:
            try:
                return never_depth(STORE.deserialize_cdr(message.cdr, message.type_name))
            except SerdeError:
                break  # damaged: nothing is known of the others
    return ''


def _of_this_camera(names: list[str], image: str) -> list[str]:
    """Of several depth topics, those that belong to the camera by name, and of these the registered ones."""
    first = _first(image)
    same = [name for name in names if _first(name) == first] or names
    return [name for name in same if 'aligned' in name or 'registered' in name] or same


def _first(name: str) -> str:
    return name.strip('/').partition('/')[0]


def _beside(names: list[str], image: str) -> list[str]:
    """Of several camera_info topics the one beside the image, or else those that share most of its name."""
    own = PurePosixPath(_camera(image)).with_name('camera_info')
    if str(own) in names:
        return [str(own)]
    shared = [sum(accumulate(map(eq, PurePosixPath(name).parts, own.parts), and_)) for name in names]
    return [name for name, count in zip(names, shared, strict=True) if count == max(shared)]


def _only(what: str, names: list[str], topics: Mapping[str, BagTopic]) -> str:
    if len(names) == 1:
        return names[0]
    advice = ', or leave depth out with --no-depth' if what != 'image' else ''
    if names:
        raise BagError(f'{what}: several topics may be it, choose with {_OPTION[what]}{advice}: {", ".join(names)}')
    raise BagError(f'{what}: no topic seems to be it, choose with {_OPTION[what]}{advice}: {_listed(topics)}')


def _check(what: str, name: str, types: tuple[str, ...], topics: Mapping[str, BagTopic]) -> None:
    if name not in topics:
        raise BagError(f'{_OPTION[what]}: no messages on {name!r}; there are {_listed(topics)}')
    if topics[name].type_name not in types:
        raise BagError(
            f'{_OPTION[what]}: expected a topic of {" or ".join(types)}, received {name} of {topics[name].type_name}'
        )


def _listed(topics: Mapping[str, BagTopic]) -> str:
    return ', '.join(f'{name} ({topic.type_name}, {topic.count})' for name, topic in sorted(topics.items())) or 'none'
