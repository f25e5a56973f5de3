"""Parameters as dataclass fields that carry their own description, unit and range.

A configuration is a frozen dataclass whose fields are made with `parameter`. The same fields are validated here,
declared as ROS parameters by the node and printed in the README: each default and range stands in one place.
"""

import dataclasses
import math
import re
from typing import Any

_EXPONENT = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+')


@dataclasses.dataclass(frozen=True)
class ParameterInfo:
    """What is known of one parameter beside its name, type and default.

    `minimum` and `maximum` are inclusive. `live` parameters may change while a node runs; others are fixed once the
    backend is built. A `ratio` is text of two numbers, kept as 4x3: YAML reads 4:3 as a number, 243.
    """

    description: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    ratio: bool = False


def parameter(default: Any, description: str, **info: Any) -> Any:
    """Return a dataclass field with this default; `info` takes the other fields of `ParameterInfo`."""
    return dataclasses.field(default=default, metadata={'parameter': ParameterInfo(description, **info)})


def parameters(config_type: type) -> dict[str, tuple[dataclasses.Field[Any], ParameterInfo]]:
    """Return name -> (field, info) for each parameter of a configuration dataclass, in order."""
    fields = dataclasses.fields(config_type)
    return {field.name: (field, field.metadata['parameter']) for field in fields if 'parameter' in field.metadata}


def validate(config: Any) -> None:
    """Check every parameter of a configuration against its type, range and choices.

    Raises:
        ValueError: naming the parameter, what was expected and what was received.
    """
    for name, (field, info) in parameters(type(config)).items():
        problem = complaint(field.type, info, getattr(config, name))
        if problem:
            raise ValueError(f'{name}: {problem}')


def kept(kind: Any, info: ParameterInfo, value: Any) -> Any:
    """Return a value as it is kept: 4:3 as 4x3, and 1e-05 as a number, which YAML reads as text."""
    if info.ratio and isinstance(value, str):
        return value.replace(':', 'x')
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    return value


def complaint(kind: Any, info: ParameterInfo, value: Any) -> str:
    """Say what is wrong with a value for a parameter of type `kind`, or return an empty string."""
    # bool is a subclass of int in Python, but `tau: true` is a mistake.
    accepted = {float: (int, float), tuple: (list, tuple)}.get(kind, (kind,))
    fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if not fits:
        name = 'text such as 4x3' if info.ratio else 'a list of strings' if kind is tuple else kind.__name__
        # As YAML reads on, yes, 12:30, 0x1 or 007.
        hint = '; text that YAML reads as something else needs quotes in quotes: "\'...\'"' if kind is str else ''
        return f'expected {name}, received {value!r} ({type(value).__name__}){hint}'
    if kind is tuple and not all(isinstance(item, str) for item in value):
        return f'expected a list of strings, received {value!r}'
    if info.choices and value not in info.choices:
        return f'expected one of {", ".join(info.choices)}, received {value!r}'
    if kind is float and not math.isfinite(value):
        return f'expected a finite number, received {value!r}'
    too_small = info.minimum is not None and value < info.minimum
    too_large = info.maximum is not None and value > info.maximum
    if too_small or too_large:
        return f'expected {range_text(info)}, received {value!r}'
    return ''


def range_text(info: ParameterInfo) -> str:
    """Return a parameter's range as text, such as '0.0 to 1.0' or 'at least 1 px'."""
    if info.choices:
        return ', '.join(info.choices)
    unit = f' {info.unit}' if info.unit else ''
    if info.minimum is not None and info.maximum is not None:
        return f'{info.minimum} to {info.maximum}{unit}'
    if info.minimum is not None:
        return f'at least {info.minimum}{unit}'
    if info.maximum is not None:
        return f'at most {info.maximum}{unit}'
    return unit.strip()
