"""ROS parameter files: their sections, which of them are for a node, and names that resemble others."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # what rclpy depends on

_INTEGER, _FLOAT = 'tag:yaml.org,2002:int', 'tag:yaml.org,2002:float'


class _Loader(yaml.SafeLoader):
    """Does as ROS: 1e-3 is a number, y is true, 4:3, 1_000 and dates are text; a section may be there twice.

    Tuples are lists: launch_ros writes lists so.
    """

    bool_values = yaml.SafeLoader.bool_values | {'y': True, 'n': False}  # of the base, as there

    yaml_implicit_resolvers = {  # noqa: RUF012  # of the base, as there
        first: [(tag, form) for tag, form in forms if tag not in (_INTEGER, _FLOAT, 'tag:yaml.org,2002:timestamp')]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    loader.flatten_mapping(node)
    for key, value in node.value:
        found = _merged(found, {loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)})
    return found


def _merged(before: Any, after: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    return before | {key: _merged(before.get(key), value) for key, value in after.items()}


_Loader.add_constructor('tag:yaml.org,2002:map', _mapping)
_Loader.add_constructor('tag:yaml.org,2002:python/tuple', partial(_Loader.construct_sequence, deep=True))
_Loader.add_implicit_resolver('tag:yaml.org,2002:bool', re.compile('[yYnN]$'), list('yYnN'))
_Loader.add_implicit_resolver(_INTEGER, re.compile(r'[-+]?(0x[0-9a-fA-F]+|0[0-7]*|[1-9]\d*)$'), list('-+0123456789'))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r'[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$|[-+]?(\d+\.\d*|\.\d+)$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$'),
    list('-+.0123456789'),
)


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of a parameter file, in order: the nodes that each is for, and its parameters by full names.

    Names of nodes are full ones, such as /robot1/diffcut, in which * stands for one part and ** for any number of them.

    Raises:
        ValueError: for a file that is missing, no YAML, or without sections.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)  # _Loader is a safe one
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'{path}: expected a parameter file, cannot read it: {_reason(error)}') from error
    sections = dict(_sections(content, ''))
    if not sections:
        raise ValueError(f'{path}: expected NODE: ros__parameters: ..., received none of these')
    return sections


def _reason(error: OSError | UnicodeDecodeError | yaml.YAMLError) -> str:
    """Return why a file cannot be read, in one line, with line and column where it is no YAML."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        within = f' ({error.context})' if error.context else ''
        return f'line {mark.line + 1}, column {mark.column + 1}: {error.problem}{within}'
    return ' '.join(str(error).split())


def _sections(content: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in content.items() if isinstance(content, dict) else ():
        if key == 'ros__parameters':
            yield name or '/', dict(_flat(value, '')) if isinstance(value, dict) else {}
        else:
            yield from _sections(value, f'{name}/{str(key).strip("/")}')


def _flat(section: dict[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def is_for(section: str, node: str) -> bool:
    """Say whether a section is for a node, both by their full names."""
    wildcards = {'*': '/[^/]+', '**': '(/[^/]+)*'}
    expression = ''.join(wildcards.get(part, f'/{re.escape(part)}') for part in section.strip('/').split('/'))
    return re.fullmatch(expression, node) is not None


def is_shared(section: str) -> bool:
    """Say whether a section is for nodes of any name, such as /** or /robot1/*."""
    return section.rpartition('/')[2] in ('*', '**')


def left_out(names: Collection[str], known: Collection[str]) -> str:
    """Say that names of shared sections are unknown, and which of them resemble a known one; empty without names."""
    if not names:
        return ''
    meant = {name: like(name, known) for name in sorted(names)}
    resembling = ', '.join(f'{name} (for {other}?)' for name, other in meant.items() if other)
    count = f'{len(names)} parameter{"s" * (len(names) > 1)} for nodes of any name'
    return f'{count} left out, unknown here{f"; misspelt may be {resembling}" if resembling else ""}'


def like(name: str, known: Iterable[str]) -> str:
    """Return the known name that an unknown one may have been meant for, or an empty string.

    That is one that differs in a letter or two, or that has a prefix.
    """
    by_name = {one.rpartition('.')[2].lower(): one for one in known} | {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by_name, n=1, cutoff=0.65)
    return by_name[found[0]] if found else ''
