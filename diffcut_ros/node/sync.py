"""Joins messages of several topics by their stamps, with `message_filters` or, without it, `message_sync`."""

from typing import Any

from diffcut_ros.node import message_sync
from diffcut_ros.stream import sync

try:
    import message_filters as filters
except ModuleNotFoundError as error:
    if error.name != 'message_filters':  # it is there, and broken: say so
        raise
    filters = message_sync

SimpleFilter = filters.SimpleFilter
# Subscriber(node, message type, topic, qos_profile=..., ...): all distributions have these three by position only.
Subscriber = filters.Subscriber


def synchronize(*arguments: Any, **options: Any) -> sync.Synchronizer:
    """Join messages as `stream.sync.synchronize` does, which takes the same arguments."""
    return sync.synchronize(*arguments, filters=filters, **options)
