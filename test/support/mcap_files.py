"""MCAP files written anew, in other chunks and orders."""

from collections.abc import Callable
from pathlib import Path

from mcap.reader import make_reader
from mcap.writer import Writer


def rewrite(
    source: Path, target: Path, chunk_bytes: int, order: Callable[[str, int], int] | None = None, **options
) -> Path:
    """Write the messages of a file into another one; return that.

    Args:
        source: the file, of ROS 2.
        target: the new one.
        chunk_bytes: size of its chunks, about.
        order: by which messages are sorted, of topic and time in ns; None: as they lie in the file.
        options: of the writer.
    """
    with source.open('rb') as file:
        messages = list(make_reader(file).iter_messages(log_time_order=False))
    if order:
        messages.sort(key=lambda message: order(message[1].topic, message[2].log_time))
    with target.open('wb') as file:
        writer = Writer(file, chunk_bytes, **options)
        writer.start('ros2', 'test')
        channels: dict[str, int] = {}
        for schema, channel, message in messages:
            if channel.topic not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, 'cdr', number)
            writer.add_message(channels[channel.topic], message.log_time, message.data, message.log_time)
        writer.finish()
    return target
