"""What a file of a recording says about the messages of a topic."""

from typing import NamedTuple

# Encodings of messages that are read.
CDR, ROS1 = 'cdr', 'ros1'


class Connection(NamedTuple):
    """Messages of one topic, type and encoding in a file."""

    topic: str
    type_name: str
    count: int
    encoding: str = CDR
