"""The stamps of messages."""

from typing import Any


def stamp_ns(message: Any) -> int:
    """Return the header stamp of a message in nanoseconds."""
    stamp = message.header.stamp
    return stamp.sec * 10**9 + stamp.nanosec


def is_stamp(message: Any) -> bool:
    """Say whether a message has a header stamp that is set and can be one, by which others may be joined with it."""
    stamp = message.header.stamp
    return stamp.sec >= 0 and stamp.nanosec < 10**9 and stamp_ns(message) > 0
