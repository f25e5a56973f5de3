"""Which topics are looked at: those of a node by its name, its camera's by their types. For bags and live alike."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from vision_msgs.msg import Detection2DArray, Detection3DArray

OUTPUTS = {
    'labels': Image,
    'segments': Detection2DArray,
    'overlay': Image,
    'segments_3d': Detection3DArray,
    'points': PointCloud2,
    'objects': Detection3DArray,
}
_CAMERA_TYPES = {'sensor_msgs/msg/Image': Image, 'sensor_msgs/msg/CompressedImage': CompressedImage}
_COMPRESSED = '/compressed'


class Topic(NamedTuple):
    """A topic and what its messages are."""

    name: str
    kind: type

    @property
    def type_name(self) -> str:
        """The name of the type, as recordings have it."""
        return _type_name(self.kind)


class Wanted(NamedTuple):
    """Whose topics are looked at.

    Attributes:
        node: full name.
        camera: its name within the node; empty for the only one.
        image: topic of the camera; empty: found by its type.
    """

    node: str
    camera: str
    image: str

    def outputs(self) -> dict[str, str]:
        """Return the full name of each output, by role."""
        return {role: f'{self.node}/{self._prefix}{role}' for role in OUTPUTS}

    @property
    def default_image(self) -> str:
        """The node's camera topic, unless it is remapped."""
        return f'{self.node.rpartition("/")[0]}/{self._prefix}image'

    @property
    def _prefix(self) -> str:
        return f'{self.camera}/' if self.camera else ''


def find_outputs(types: Mapping[str, str], wanted: Wanted) -> dict[str, Topic]:
    """Return the node's outputs that are there, by role.

    Args:
        types: of all topics by full name, such as 'sensor_msgs/msg/Image'.
        wanted: whose.
    """
    found = {
        role: Topic(name, OUTPUTS[role])
        for role, name in wanted.outputs().items()
        if types.get(name) == _type_name(OUTPUTS[role])
    }
    # As diffcut_analyze writes them into bags.
    packed = wanted.outputs()['labels'] + _COMPRESSED
    if 'labels' not in found and types.get(packed) == _type_name(CompressedImage):
        found['labels'] = Topic(packed, CompressedImage)
    return found


def find_sources(types: Mapping[str, str]) -> list[str]:
    """Return what outputs of nodes of this package are under, such as /diffcut or /diffcut/front, sorted.

    Args:
        types: of all topics by full name.
    """
    named = [name.removesuffix('/segments') for name in types if name.endswith('/segments')]
    return sorted(
        name for name in named if {'labels', 'segments'} <= set(find_outputs(types, Wanted(name, camera='', image='')))
    )


def instead(publishers: Mapping[str, Collection[str]], wanted: Wanted) -> str:
    """Say which cameras the wanted node has, or which other nodes there are; empty: none.

    Args:
        publishers: of each of `find_sources`, the full names of the nodes that publish there, as far as they are known.
        wanted: what is not there.
    """
    cameras: dict[str, list[str]] = {}
    for source, nodes in sorted(publishers.items()):
        fitting = [node for node in (*nodes, wanted.node) if f'{source}/'.startswith(f'{node}/')]
        node = fitting[0] if fitting else source
        cameras.setdefault(node, []).append(source.removeprefix(node).strip('/'))
    named = {node: list(filter(None, names)) for node, names in cameras.items()}
    if wanted.node in named:
        names = named[wanted.node]
        if not names:
            return f'{wanted.node} has one camera, without a name: leave --camera out'
        return f'{wanted.node} has camera{"s" * (len(names) > 1)} {", ".join(names)}: --camera {names[0]}'
    if not named:
        return ''
    (first, names), *_ = named.items()
    there = f'there is no {wanted.node}; of its kind there {"are" if len(named) > 1 else "is"} {", ".join(named)}'
    return f'{there}: --node {first}{f" --camera {names[0]}" if names else ""}'


def find_camera(types: Mapping[str, str], wanted: Wanted, complete: bool = True) -> dict[str, Topic]:
    """Return the camera's topics that are there: 'image' and, beside it, 'camera_info'.

    The image is the topic that is wanted, else the node's `image`, else the only one that could be it.

    Args:
        types: of all topics by full name.
        wanted: whose.
        complete: whether no others are to come; before that, the only one is not chosen.

    Raises:
        ValueError: when several topics could be the image; names them.
    """
    images = {name for name, kind in types.items() if kind in _CAMERA_TYPES}
    found = {}
    image = _find_image(images, wanted, complete)
    if image:
        found['image'] = Topic(image, _CAMERA_TYPES[types[image]])
    raw = (image or wanted.image or wanted.default_image).removesuffix(_COMPRESSED)
    for name in (raw, wanted.default_image):
        info = f'{name.rpartition("/")[0]}/camera_info'
        if types.get(info) == _type_name(CameraInfo):
            return {**found, 'camera_info': Topic(info, CameraInfo)}
    return found


def _find_image(images: set[str], wanted: Wanted, complete: bool) -> str | None:
    for name in [wanted.image] if wanted.image else [wanted.default_image]:
        for spelling in (name, name + _COMPRESSED):
            if spelling in images:
                return spelling
    if wanted.image or not complete:
        return None
    own = f'{wanted.node}/'
    others = {name for name in images if not name.startswith(own) and 'depth' not in name.lower()}
    others -= {name + _COMPRESSED for name in others}
    if wanted.camera:
        others = {name for name in others if f'/{wanted.camera}/' in name}
    if len(others) > 1:
        raise ValueError(f'camera topic: expected one, received {", ".join(sorted(others))}: choose one with --image')
    return others.pop() if others else None


def _type_name(kind: type) -> str:
    return f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
