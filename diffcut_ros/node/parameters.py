"""ROS parameters from configuration dataclasses: each default, description and range stands in the dataclass alone."""

import dataclasses
from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from diffcut_ros.core.parameters import ParameterInfo, complaint, parameters, range_text

Config = TypeVar('Config')

# Parameters that rclpy declares or reads by itself.
_RCLPY_OWN = ('use_sim_time', 'start_type_description_service')


def declare_config(node: Node, config_type: type[Config], prefix: str = '') -> Config:
    """Declare every parameter of a configuration dataclass as `prefix` + field name, and return its values.

    The node must have been made with `automatically_declare_parameters_from_overrides=True`, so that what a launch file
    or the command line gave is there to be taken and checked.

    Raises:
        ValueError: for a value of the wrong type or out of range.
    """
    values = {}
    for name, (field, info) in parameters(config_type).items():
        value = field.default
        if node.has_parameter(prefix + name):
            value = node.get_parameter(prefix + name).value
            problem = complaint(field.type, info, value)
            if problem:
                raise ValueError(f'parameter {prefix}{name}: {problem}')
            value = field.type(value)  # `tau: 1` in a YAML file is an int
            node.undeclare_parameter(prefix + name)
        node.declare_parameter(prefix + name, value, _descriptor(field.type, info), ignore_override=True)
        values[name] = value
    return config_type(**values)


def changed_config(config: Config, changes: list[Parameter], prefix: str = '') -> Config:
    """Return a configuration with the parameters among `changes` that belong to it replaced."""
    known = parameters(type(config))
    values = {p.name.removeprefix(prefix): p.value for p in changes if p.name.startswith(prefix)}
    return dataclasses.replace(config, **{name: value for name, value in values.items() if name in known})


def check_changes(changes: list[Parameter], specs: list[tuple[str, type]]) -> str:
    """Say what is wrong with parameters that are to be set, or return an empty string.

    Without side effects, as rclpy asks of the callback that uses this.

    Args:
        changes: what is to be set.
        specs: (prefix, configuration dataclass) of everything declared.
    """
    known = {prefix + name: spec for prefix, kind in specs for name, spec in parameters(kind).items()}
    for change in changes:
        if change.name in known:
            field, info = known[change.name]
            problem = complaint(field.type, info, change.value)
            if problem:
                return f'{change.name}: {problem}'
    return ''


def check_unknown(node: Node, specs: list[tuple[str, type]]) -> None:
    """Refuse parameters that nothing declares, such as a misspelt key in a YAML file.

    Args:
        node: see `declare_config`.
        specs: (prefix, configuration dataclass) of everything that will be declared.

    Raises:
        ValueError: naming them and listing the known ones.
    """
    known = [prefix + name for prefix, kind in specs for name in parameters(kind)]
    given = node.get_parameters_by_prefix('')
    unknown = sorted(n for n in given if n not in (*known, *_RCLPY_OWN) and not n.startswith('qos_overrides.'))
    if unknown:
        raise ValueError(f'unknown parameter {", ".join(unknown)}; known are {", ".join(known)}')


def _descriptor(kind: type, info: ParameterInfo) -> ParameterDescriptor:
    # The type is left to declare_parameter, which takes it from the value.
    descriptor = ParameterDescriptor(description=info.description, read_only=not info.dynamic)
    descriptor.additional_constraints = range_text(info)
    if info.minimum is not None and info.maximum is not None:
        if kind is float:
            bounds = FloatingPointRange(from_value=float(info.minimum), to_value=float(info.maximum))
            descriptor.floating_point_range = [bounds]
        else:
            descriptor.integer_range = [IntegerRange(from_value=info.minimum, to_value=info.maximum, step=1)]
    return descriptor
