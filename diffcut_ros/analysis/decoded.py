"""The messages of a recording with what they hold: deserialized, and of a video the pictures."""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from rosbags.serde import SerdeError

from diffcut_ros.analysis.topics import Topics
from diffcut_ros.recordings.bag import Bag, BagMessage
from diffcut_ros.recordings.message_types import COMPRESSED_VIDEO, FFMPEG_PACKET, deserialize
from diffcut_ros.stream.images import is_compressed
from diffcut_ros.stream.messages import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from diffcut_ros.stream.video_packets import VideoDecoder, video_codec

IMAGES = IMAGE, COMPRESSED_IMAGE, COMPRESSED_VIDEO, FFMPEG_PACKET


class Held(NamedTuple):
    """A message and what it holds.

    Attributes:
        message: as recorded.
        content: the deserialized message, a `VideoImage`, or the error that there is instead; None: a packet of video
            that is no image, but holds parameters of those to come.
        restarts: whether it is a packet of video with which decoding can begin.
    """

    message: BagMessage
    content: Any
    restarts: bool = False


def read_messages(bag: Bag, topics: Topics, video: VideoDecoder, others: Collection[str] = ()) -> Iterator[Held]:
    """Yield the messages of some topics as they were recorded; images of a video in the order in which they are shown.

    All of a video is decoded, since each image depends on those before it, but not yet converted to RGB. Of `others`,
    the content is the message as it was recorded.

    Raises:
        MissingPackageError: for video without PyAV.
    """
    waiting: deque[Held] = deque()
    images: deque[Any] = deque()

    def ready() -> Iterator[Held]:
        while waiting and (waiting[0].content is not images or images):
            one = waiting.popleft()
            yield one if one.content is not images else one._replace(content=images.popleft())

    for message in bag.messages({*topics.names(), *others}):
        restarts = False
        if message.topic in others:
            waiting.append(Held(message, message))
            yield from ready()
            continue
        expected = (CAMERA_INFO,) if message.topic == topics.camera_info else IMAGES
        try:
            if message.type_name not in expected:  # some of a topic are of another type than most
                raise SerdeError(f'expected {" or ".join(expected)}, received {message.type_name}')
            content = deserialize(message.cdr, message.type_name)
        except SerdeError as error:
            content = error
        else:
            if message.topic == topics.image and is_compressed(content) and video_codec(content):
                images.extend(video.push(content))
                content, restarts = images, video.restarts  # the next of them takes its place
        waiting.append(Held(message, content, restarts))
        yield from ready()
    images.extend(video.flush())
    yield from ready()
