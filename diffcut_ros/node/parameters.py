"""ROS parameters from configuration dataclasses: each default, description and range stands in the dataclass alone."""

import dataclasses
from collections.abc import Collection
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from diffcut_ros.core.parameters import ParameterInfo, complaint, parameters, range_text
from diffcut_ros.settings import check_known, unknown_parameters

Config = TypeVar('Config')
# (prefix of the names, configuration dataclass) of everything that is declared
Specs = list[tuple[str, type]]


def declare(node: Node, specs: Specs, shared: Collection[str] = ()) -> list[str]:
    """Declare every parameter of configuration dataclasses as prefix + field name.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`, so that what a launch file
    or the command line gave is there to be taken and checked.

    Args:
        node: on which.
        specs: of everything to declare.
        shared: names that were given to nodes of any name: unknown ones among them are other nodes' parameters.

    Returns:
        Those of other nodes, which are gone from this one.

    Raises:
        ValueError: for an unknown parameter, a value of the wrong type or out of range.
    """
    unknown = unknown_parameters(node.get_parameters_by_prefix(''), specs)
    check_known([name for name in unknown if name not in shared], specs)
    for name in unknown:
        node.undeclare_parameter(name)
    for prefix, kind in specs:
        for name, (field, info) in parameters(kind).items():
            value = field.default
            if node.has_parameter(prefix + name):
                value = node.get_parameter(prefix + name).value
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


def check_changes(changes: list[Parameter], specs: Specs, configured: bool) -> str:
    """Say what is wrong with parameters that are to be set, or return an empty string.

    Without side effects, as rclpy asks of the callback that uses this.

    Args:
        changes: what is to be set.
        specs: of everything declared.
        configured: whether the node is: then only live parameters may change.
    """
    known = {prefix + name: spec for prefix, kind in specs for name, spec in parameters(kind).items()}
    for change in changes:
        if change.name in known:
            field, info = known[change.name]
            problem = complaint(field.type, info, change.value)
            if problem:
                return f'{change.name}: {problem}'
            if configured and not info.live:
                return (
                    f'{change.name} is read when the node is configured: bring it to unconfigured (lifecycle '
                    'deactivate, cleanup), set it, then configure and activate'
                )
    return ''


def unused_overrides(node: Node, topics: set[str]) -> list[str]:
    """Return the names of parameters that would change the quality of service of a topic that the node does not have.

    Those of topics that it had in an earlier configuration are none of them.

    Args:
        node: with its parameters.
        topics: full names of what it publishes and subscribes to.
    """
    given = node.get_parameters_by_prefix('qos_overrides')
    names = (f'qos_overrides.{name}' for name in given if name.split('.')[0] not in topics)
    # What rclpy declares for a topic is read-only; what comes from outside, undeclared before, is not.
    return sorted(name for name in names if not node.describe_parameter(name).read_only)


def _descriptor(kind: type, info: ParameterInfo) -> ParameterDescriptor:
    # The type is left to declare_parameter, which takes it from the value. None is read-only: what cannot change while
    # the node is configured can do so before.
    descriptor = ParameterDescriptor(description=info.description)
    descriptor.additional_constraints = range_text(info)
    if info.minimum is not None and info.maximum is not None:
        if kind is float:
            bounds = FloatingPointRange(from_value=float(info.minimum), to_value=float(info.maximum))
            descriptor.floating_point_range = [bounds]
        else:
            descriptor.integer_range = [IntegerRange(from_value=info.minimum, to_value=info.maximum, step=1)]
    return descriptor
