"""ROS parameters from configuration dataclasses: each default, description and range stands in the dataclass alone."""

import dataclasses
from collections.abc import Collection
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from diffcut_ros.core.parameters import ParameterInfo, complaint, kept, parameters, range_text
from diffcut_ros.parameter_file import like
from diffcut_ros.settings import check_known, unknown_parameters

Config = TypeVar('Config')
# (prefix of the names, configuration dataclass) of everything that is declared
Specs = list[tuple[str, type]]
# An empty list has no type: rclpy takes it for one of bytes, or for nothing.
_NO_LIST = 'expected a list of strings, received []'
_AT_START = 'set at start alone, with -p NAME:=VALUE or in a parameter file'


def declare(node: Node, specs: Specs, shared: Collection[str] = (), empty: Collection[str] = ()) -> list[str]:
    """Declare every parameter of configuration dataclasses as prefix + field name.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`, so that what a launch file
    or the command line gave is there to be taken and checked.

    Args:
        node: on which.
        specs: of everything to declare.
        shared: names that were given to nodes of any name: unknown ones among them are other nodes' parameters.
        empty: names that were given an empty list, which the node could not declare.

    Returns:
        Those of other nodes, which are gone from this one.

    Raises:
        ValueError: for an unknown parameter, a value of the wrong type or out of range.
    """
    unknown = unknown_parameters([*node.get_parameters_by_prefix(''), *empty], specs)
    check_known([name for name in unknown if name not in shared], specs)
    for name in set(unknown) - set(empty):
        node.undeclare_parameter(name)
    for prefix, kind in specs:
        for name, (field, info) in parameters(kind).items():
            value = field.default
            if prefix + name in empty:
                problem = complaint(field.type, info, []) or _NO_LIST
                raise ValueError(f'parameter {prefix}{name}: {problem}')
            if node.has_parameter(prefix + name):
                value = kept(field.type, info, node.get_parameter(prefix + name).value)
                problem = complaint(field.type, info, value)
                if problem:
                    raise ValueError(f'parameter {prefix}{name}: {problem}')
                node.undeclare_parameter(prefix + name)
            value = field.type(value)  # `tau: 1` in a YAML file is an int
            node.declare_parameter(prefix + name, value, _descriptor(field.type, info), ignore_override=True)
    return unknown


def read(node: Node, config_type: type[Config], prefix: str = '') -> Config:
    """Return a configuration with the values that its parameters have now.

    Raises:
        ValueError: for values that do not go together.
    """
    return config_type(**{name: node.get_parameter(prefix + name).value for name in parameters(config_type)})


def changed_config(config: Config, changes: list[Parameter], prefix: str = '') -> Config:
    """Return a configuration with the parameters among `changes` that belong to it replaced."""
    known = parameters(type(config))
    values = {p.name.removeprefix(prefix): p.value for p in changes if p.name.startswith(prefix)}
    return dataclasses.replace(config, **{name: value for name, value in values.items() if name in known})


def as_kept(changes: list[Parameter], specs: Specs) -> list[Parameter]:
    """Return parameters that are to be set with their values as they are kept, see `core.parameters.kept`."""
    known, found = _known(specs), []
    for change in changes:
        if change.name in known:
            field, info = known[change.name]
            value = kept(field.type, info, change.value)
            found.append(change if value is change.value else Parameter(change.name, value=value))
        else:
            found.append(change)
    return found


def check_changes(node: Node, changes: list[Parameter], specs: Specs, configured: bool) -> str:
    """Say what is wrong with parameters that are to be set, or return an empty string.

    Args:
        node: on which.
        changes: what is to be set.
        specs: of everything declared.
        configured: whether the node is: then only live parameters may change.
    """
    known = _known(specs)
    for change in changes:
        name = change.name
        if not node.has_parameter(name):
            return _unknown(name, known)
        if change.type_ == Parameter.Type.NOT_SET:
            may_be_empty = name in known and known[name][0].default == ''
            hint = """; for none, set it to '' (in a shell: "''")""" if may_be_empty else ''
            return f'{name}: cannot be deleted{hint}'
        before = node.get_parameter(name)
        if change.type_ == before.type_ and _listed(change.value) == _listed(before.value):
            continue  # as when a dump is loaded
        if node.describe_parameter(name).read_only:
            return f'{name}: {_AT_START}'
        if name not in known:
            continue  # rclpy's own
        field, info = known[name]
        problem = complaint(field.type, info, change.value)
        if change.type_ != Parameter.Type(node.describe_parameter(name).type):
            if change.type_ == Parameter.Type.INTEGER and field.type is float:
                cure = f'; write {float(change.value)}' if not problem else ''
                bounds = f' {range_text(info)}' if problem else ''
                problem = f'expected float{bounds}, received {change.value} (int){cure}'
            problem = f'Wrong parameter type: {problem or _NO_LIST}'
        if problem:
            return f'{name}: {problem}'
        if configured and not info.live:
            return (
                f'{name} is read when the node is configured: bring it to unconfigured (lifecycle '
                'deactivate, cleanup), set it, then configure and activate'
            )
    for prefix, kind in specs:
        if any(change.name in (prefix + name for name in parameters(kind)) for change in changes):
            try:  # values that do not go together
                changed_config(read(node, kind, prefix), changes, prefix)
            except ValueError as error:
                return str(error)
    return ''


def _known(specs: Specs) -> dict[str, tuple[dataclasses.Field, ParameterInfo]]:
    return {prefix + name: spec for prefix, kind in specs for name, spec in parameters(kind).items()}


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _unknown(name: str, known: Collection[str]) -> str:
    if name.startswith('qos_overrides.'):
        return f'{name}: {_AT_START}, and only for topics of this node'
    meant = like(name, known)
    return f'unknown parameter {name}{f"; {meant} may be meant" if meant else ""} (ros2 param list names all)'


def take_overrides(node: Node) -> set[str]:
    """Let rclpy declare the given parameters of quality of service: read-only, described, when their topics are made.

    Returns:
        The names of these parameters.
    """
    given = {f'qos_overrides.{name}' for name in node.get_parameters_by_prefix('qos_overrides')}
    for name in given:
        node.undeclare_parameter(name)
    return given


def unused_overrides(node: Node, given: Collection[str], topics: set[str]) -> dict[str, str]:
    """Say of each parameter that should have changed a quality of service, and has not, what there is in its place.

    Args:
        node: whose topics have all been made.
        given: what `take_overrides` has returned.
        topics: full names of what the node publishes and subscribes to.
    """
    found = {}
    for name in sorted(name for name in given if not node.has_parameter(name)):
        topic = name.split('.')[1]
        if topic in topics:
            there = node.get_parameters_by_prefix(f'qos_overrides.{topic}')
            found[name] = f'no such parameter; of {topic} there are {", ".join(sorted(there))}'
        else:
            found[name] = f'no such topic here; there are {", ".join(sorted(topics))}'
    return found


def _descriptor(kind: type, info: ParameterInfo) -> ParameterDescriptor:
    # The type is left to declare_parameter, which takes it from the value. None is read-only: what cannot change while
    # the node is configured can do so before.
    descriptor = ParameterDescriptor(description=info.description)
    fixed = '' if info.live else 'set at start, or while the node is unconfigured'
    descriptor.additional_constraints = '; '.join(filter(None, (range_text(info), fixed)))
    if info.minimum is not None and info.maximum is not None:
        if kind is float:
            bounds = FloatingPointRange(from_value=float(info.minimum), to_value=float(info.maximum))
            descriptor.floating_point_range = [bounds]
        else:
            descriptor.integer_range = [IntegerRange(from_value=info.minimum, to_value=info.maximum, step=1)]
    return descriptor
