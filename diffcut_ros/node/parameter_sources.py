"""Where a node's parameters come from: files and options of the command line, which rclpy merges without a trace."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from diffcut_ros.parameter_file import is_for, is_shared, read_sections


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files that `--params-file` names in a command line."""
    return [Path(value) for value in _values(arguments, '--params-file')]


def shared_only(arguments: Sequence[str], node: str) -> set[str]:
    """Return the names of parameters that only sections for nodes of any name, such as /**, give a node.

    Raises:
        ValueError: for a file that cannot be read.
    """
    own = {value.partition(':=')[0].rpartition(':')[2] for value in _values(arguments, '-p', '--param')}
    shared: set[str] = set()
    for path in parameter_files(arguments):
        for section, given in read_sections(path).items():
            if is_for(section, node):
                (shared if is_shared(section) else own).update(given)
    return shared - own


def useless_files(arguments: Sequence[str], node: str) -> list[str]:
    """Say of each file without a section for a node which there are, and which would be for it.

    Raises:
        ValueError: for a file that cannot be read.
    """
    sections = {path: list(read_sections(path)) for path in parameter_files(arguments)}
    return [
        f'{path}: nothing in it is for this node, {node}: its sections are for {", ".join(names)}; write {node}, or '
        '/** for all nodes, in their place'
        for path, names in sections.items()
        if not any(is_for(name, node) for name in names)
    ]


def file_of(arguments: Sequence[str], node: str, error: str) -> str:
    """Return 'FILE: ' with the file that gives a node the parameter that an error begins with; empty: none does.

    That is the last one, since later files win, and none where the command line gives the parameter itself.
    """
    named = {*re.findall(r'[\w./]+', re.split('[:;]', error, maxsplit=1)[0])}
    if named & {value.partition(':=')[0].rpartition(':')[2] for value in _values(arguments, '-p', '--param')}:
        return ''
    for path in parameter_files(arguments)[::-1]:
        with suppress(ValueError):  # ROS could read it, or there would be no node
            sections = read_sections(path).items()
            if any(named & set(given) for section, given in sections if is_for(section, node)):
                return f'{path}: '
    return ''


def refused_files(arguments: Sequence[str]) -> list[str]:
    """Say which parameter files ROS refuses, and why: it tells a line of a file at most, and one of its own code."""
    found = []
    for path in parameter_files(arguments):
        try:
            sections = read_sections(path)
        except ValueError as error:
            found.append(str(error))
            continue
        found += [
            f'{path}: parameter {name}: expected a value, received none'
            for given in sections.values()
            for name, value in given.items()
            if value is None
        ]
    return found


def mixed_lists(arguments: Sequence[str]) -> list[str]:
    """Say which parameters of the files are lists of several types, at which ROS ends without naming one."""
    found = []
    for path in parameter_files(arguments):
        with suppress(ValueError):
            for given in read_sections(path).values():
                found += [
                    f'{path}: parameter {name}: expected a list of values of one type, received {value!r}'
                    for name, value in given.items()
                    if isinstance(value, list) and len({type(one) for one in value}) > 1
                ]
    return found


def _values(arguments: Sequence[str], *flags: str) -> list[str]:
    """Return what follows flags among the ROS arguments, which go from --ros-args to -- or to the end."""
    found, within = [], False
    for one, following in zip(arguments, [*arguments[1:], ''], strict=True):
        within = one == '--ros-args' or (within and one != '--')
        if within and one in flags:
            found.append(following)
    return found
