"""What the launch files make of their arguments, which are text.

All raise ValueError for one that cannot be honoured: launch then ends with its text, before anything is started.
"""

import re
from pathlib import Path

from ament_index_python import PackageNotFoundError, get_package_prefix

from diffcut_ros.parameter_file import is_for, read_sections

# What config/diffcut.rviz shows of the node.
RVIZ_TOPICS = ('overlay', 'labels', 'points', 'markers', 'segments_3d', 'object_markers')
_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
# As ROS takes names of topics, without its substitutions.
_NAME = re.compile(r'(~?/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')
_TRUTHS = {'true': True, 'yes': True, 'on': True, '1': True, 'false': False, 'no': False, 'off': False, '0': False}


def truth(name: str, text: str) -> bool:
    """Return the truth value of an argument, as YAML and launch's own conditions write it."""
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise ValueError(f'{name}: expected true or false, received {text!r}') from None


def positive(name: str, text: str) -> float:
    """Return a number above 0."""
    try:
        if 0 < (value := float(text)) < float('inf'):
            return value
    except ValueError:
        pass
    raise ValueError(f'{name}: expected a number above 0, received {text!r}')


def existing(name: str, text: str) -> str:
    """Return the path of a file or folder that is there."""
    if text and (path := Path(text).expanduser()).exists():
        return str(path)
    raise ValueError(f'{name}: expected a file or folder, received {text!r}, which is not there')


def needs_package(name: str, package: str, instead: str = '') -> None:
    """Make sure that a ROS package is installed that an argument needs; `instead`: what does without it."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        apt = f'sudo apt install ros-$ROS_DISTRO-{package.replace("_", "-")}'
        raise ValueError(
            f'{name}: expected the ROS package {package}, found none. Next: {apt}{instead and f", or {instead}"}'
        ) from None


def parameters_for(node: str, path: Path) -> dict[str, object]:
    """Return what a parameter file says for a node, by its full name."""
    found: dict[str, object] = {}
    for section, given in read_sections(path).items():
        found |= given if is_for(section, node) else {}
    return found


def topics_by_camera(texts: dict[str, str], of_file: object) -> dict[str, dict[str, str]]:
    """Return argument -> camera -> topic; a topic alone is that of the one camera without a name.

    Args:
        texts: the arguments image, depth and camera_info, each TOPIC, NAME=TOPIC,NAME=TOPIC or empty.
        of_file: the parameter `cameras` of the parameter file; those of `image` replace it.
    """
    if of_file is not None and not (
        isinstance(of_file, list) and of_file and all(isinstance(camera, str) for camera in of_file)
    ):
        raise ValueError(f'cameras, in the parameter file: expected a list of strings, received {of_file!r}')
    topics = {name: _by_camera(name, text) for name, text in texts.items()}
    in_file = [camera for camera in of_file or [] if camera]
    named = [camera for camera in topics['image'] if camera] or in_file
    cameras, whose = named or [''], 'of the parameter file' if named == in_file else 'of image'
    for name, by_camera in topics.items():
        # A camera may do without: its camera_info is beside its image.
        if by_camera and not (
            set(by_camera) <= set(cameras) if name == 'camera_info' else set(by_camera) == set(cameras)
        ):
            expected = f'NAME=TOPIC for each of the cameras {whose}, {", ".join(named)}' if named else 'one TOPIC'
            alone = '. A camera without depth needs a node of its own' if name == 'depth' and len(cameras) > 1 else ''
            raise ValueError(f'{name}: expected {expected}; received {texts[name]!r}{alone}')
    return topics


def log_level(text: str) -> str:
    """Return a level of the log as ROS takes it: one of five, or that of one logger, LOGGER:=LEVEL."""
    if text.rpartition(':=')[2].lower() in _LEVELS:
        return text
    raise ValueError(f'log_level: expected one of {", ".join(_LEVELS)}; received {text!r}')


def _by_camera(name: str, text: str) -> dict[str, str]:
    found = _pairs(name, text)
    for camera, topic in found.items():
        # Made a topic of its own, the name of a camera may not begin with a slash.
        for what, one, whole in (('a topic', topic, topic), ('a name of a camera', camera, camera and f'/{camera}')):
            if whole and not _NAME.fullmatch(whole):
                raise ValueError(
                    f'{name}: expected {what} of letters, digits, _ and /, no part beginning with a digit; '
                    f'received {one!r}'
                )
    return found


def _pairs(name: str, text: str) -> dict[str, str]:
    if '=' not in text:
        return {'': text} if text else {}
    pairs = [[part.strip() for part in pair.split('=')] for pair in text.split(',')]
    if not all(len(pair) == 2 and all(pair) for pair in pairs) or len({camera for camera, *_ in pairs}) < len(pairs):
        raise ValueError(f'{name}: expected TOPIC, or NAME=TOPIC,NAME=TOPIC with different names; received {text!r}')
    return dict(pairs)
