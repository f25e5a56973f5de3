"""Messages of rclpy's classes; see `stream.messages`."""

import functools
from importlib import import_module

import numpy as np
from rclpy.type_support import check_for_type_support

from diffcut_ros.stream.messages import MessageBuilder


@functools.cache
def _type_of(name: str) -> type:
    package, _, kind = name.split('/')
    return getattr(import_module(f'{package}.msg'), kind)


def installed(name: str) -> tuple[type | None, str]:
    """Return a type of a package that need not be there; without the type None, and why that is.

    Args:
        name: such as 'foxglove_msgs/msg/ImageAnnotations'.
    """
    package = name.partition('/')[0]
    try:
        kind = _type_of(name)
        check_for_type_support(kind)
    except Exception as error:  # whatever is wrong with it, the node does without
        if isinstance(error, ModuleNotFoundError) and error.name in (package, f'{package}.msg'):
            return None, f'the package {package} is not installed'
        return None, f'the package {package} is broken: {type(error).__name__}: {error}'
    return kind, ''


# As bytes: rclpy copies them at once, and an array value by value.
MESSAGES = MessageBuilder(_type_of, np.ndarray.tobytes)
