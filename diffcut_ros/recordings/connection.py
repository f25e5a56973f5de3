"""What a file of a recording says about the messages of a topic."""

from typing import NamedTuple

from rosbags.typesys.msg import normalize_msgtype

# Encodings of messages that are read.
CDR, ROS1 = 'cdr', 'ros1'


class Connection(NamedTuple):
    """Messages of one topic, type and encoding in a file."""

    topic: str
    type_name: str
    count: int
    encoding: str = CDR


def connect(topic: str, type_name: str, count: int, encoding: str) -> Connection:
    """Return a connection by what a file says of it: types of ROS by their full names, encodings in lower case."""
    encoding = encoding.lower()
    # Converters keep the names of ROS 1, without the folder msg.
    is_ros = encoding in (CDR, ROS1) and '/' in type_name
    return Connection(topic, normalize_msgtype(type_name) if is_ros else type_name, count, encoding)
