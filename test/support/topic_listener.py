"""A process that subscribes to a topic of any type and prints each message, a line of JSON."""

import json
import sys
from importlib import import_module
from typing import Any

import rclpy
from rclpy.node import Node


def plain(value: Any) -> Any:
    """Return a message as dicts, lists and numbers."""
    if hasattr(value, 'get_fields_and_field_types'):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def main() -> None:
    """Arguments: package, type and topic."""
    package, kind, topic = sys.argv[1:]
    rclpy.init()
    node = Node('listener')
    node.create_subscription(
        getattr(import_module(f'{package}.msg'), kind),
        topic,
        lambda message: print(json.dumps(plain(message)), flush=True),
        10,
    )
    rclpy.spin(node)


if __name__ == '__main__':
    main()
