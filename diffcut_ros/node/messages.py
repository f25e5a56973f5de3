"""Messages of rclpy's classes; see `stream.messages`."""

import functools
from importlib import import_module

import numpy as np

from diffcut_ros.stream.messages import MessageBuilder


@functools.cache
def _type_of(name: str) -> type:
    package, _, kind = name.split('/')
    return getattr(import_module(f'{package}.msg'), kind)


# As bytes: rclpy copies them at once, and an array value by value.
MESSAGES = MessageBuilder(_type_of, np.ndarray.tobytes)
