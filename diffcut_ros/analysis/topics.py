"""Which topics of a recording are camera, camera_info and depth."""

from collections.abc import Mapping
from dataclasses import dataclass

from diffcut_ros.analysis.bag import BagError, BagTopic
from diffcut_ros.stream.messages import CAMERA_INFO, COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET, IMAGE

_COMPRESSED = '/compressed'
# Types of video, and what image_transport appends to the camera's name.
_VIDEO = {FFMPEG_PACKET: '/ffmpeg', COMPRESSED_VIDEO: '/foxglove'}
_OPTION = {'image': '--image-topic', 'camera_info': '--camera-info-topic', 'depth': '--depth-topic'}


@dataclass(frozen=True)
class Topics:
    """Names of the topics that are analysed; camera_info and depth are both there or both None."""

    image: str
    camera_info: str | None = None
    depth: str | None = None

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
) -> Topics:
    """Choose topics by type and name, where they are not given.

    Args:
        topics: those of the recording.
        image: name of the camera's topic, raw, compressed or video.
        camera_info: name.
        depth: name.
        with_depth: whether camera_info and depth are wanted.
        prefer_compressed: of a camera that was recorded both raw and compressed.

    Raises:
        BagError: for a name that is not there or is of another type, listing those that are, and when there is no
            camera or a choice.
    """
    topics = {name: topic for name, topic in topics.items() if topic.count}
    if image is None:
        image = _only('image', _cameras(topics, prefer_compressed), topics)
    else:
        _check('image', image, (IMAGE, COMPRESSED_IMAGE, *_VIDEO), topics)
    if not with_depth:
        return Topics(image)
    infos = [name for name, topic in topics.items() if topic.type_name == CAMERA_INFO]
    depths = [name for name, topic in topics.items() if topic.type_name == IMAGE and _is_depth(name) and name != image]
    if depth is None:
        if camera_info is None and not (depths and infos):
            return Topics(image)
        depth = _only('depth', _of_this_camera(depths, image), topics)
    _check('depth', depth, (IMAGE,), topics)
    if camera_info is None:
        camera_info = _only('camera_info', _beside(infos, image), topics)
    _check('camera_info', camera_info, (CAMERA_INFO,), topics)
    return Topics(image, camera_info, depth)


def _cameras(topics: Mapping[str, BagTopic], prefer_compressed: bool) -> list[str]:
    """Names of colour or mono cameras, each once: raw or compressed, or else as video."""
    raw = [name for name, topic in topics.items() if topic.type_name == IMAGE and not _is_depth(name)]
    compressed = [
        name
        for name, topic in topics.items()
        # Names of other transports, compressedDepth and theora, hold what is no picture by itself.
        if topic.type_name == COMPRESSED_IMAGE and not _is_depth(name) and not name.endswith('/theora')
    ]
    if prefer_compressed:
        found = compressed + [name for name in raw if name + _COMPRESSED not in compressed]
    else:
        found = raw + [name for name in compressed if name.removesuffix(_COMPRESSED) not in raw]
    cameras = {_camera(name) for name in found}
    for name, topic in topics.items():
        if topic.type_name in _VIDEO and not _is_depth(name) and _camera(name) not in cameras:
            found.append(name)
            cameras.add(_camera(name))
    return found


def _camera(image: str) -> str:
    """The name of a camera's raw images, from that of one of its topics."""
    for ending in (_COMPRESSED, *_VIDEO.values()):
        image = image.removesuffix(ending)
    return image


def _is_depth(name: str) -> bool:
    return 'depth' in name.lower() or 'disparity' in name.lower()


def _of_this_camera(names: list[str], image: str) -> list[str]:
    """Of several depth topics, those that belong to the camera by name, and of these the registered ones."""
    first = image.split('/')[1]
    same = [name for name in names if name.split('/')[1] == first] or names
    return [name for name in same if 'aligned' in name or 'registered' in name] or same


def _beside(names: list[str], image: str) -> list[str]:
    """Of several camera_info topics the one in the image's namespace, if there is one."""
    own = _camera(image).rpartition('/')[0] + '/camera_info'
    return [own] if own in names else names


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
