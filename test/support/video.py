"""Films of packets of video, as encoders and ROS packages send them."""

from collections.abc import Iterable
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from support.recordings import START_NS, STEP_NS, header, moving_scene

# As the packages define them.
DEFINITIONS = {
    'foxglove_msgs/msg/CompressedVideo': (
        'builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n'
    ),
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket': (
        'std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\nuint8 flags\n'
        'bool is_bigendian\nuint8[] data\n'
    ),
}
STORE = get_typestore(Stores.ROS2_JAZZY)
for _name, _text in DEFINITIONS.items():
    STORE.register(get_types_from_msg(_text, _name))
HEIGHT, WIDTH = 96, 128
_ENCODERS = {'h264': 'libx264', 'hevc': 'libx265', 'vp8': 'libvpx', 'vp9': 'libvpx-vp9'}


@cache
def scene(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return image `index` of the film."""
    return moving_scene(index, height, width)


def encode(count: int, codec: str = 'h264', gop: int = 5, b_frames: int = 0, more: str = '', pixels='yuv420p', **sizes):
    """Return the film's packets in the order of coding, each with the number of its image: [(index, bytes)].

    Args:
        count: images.
        codec: FFmpeg's name.
        gop: images from one key frame to the next.
        b_frames: in a row, at most.
        more: options of the encoder, as it takes them.
        pixels: how they are encoded.
        sizes: height and width.
    """
    name = _ENCODERS[codec]
    if name not in av.codecs_available:
        pytest.skip(f'needs FFmpeg with {name}')
    context = av.CodecContext.create(name, 'w')
    pictures = [scene(index, **sizes) for index in range(count)]
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt, context.framerate, context.time_base = pixels, 10, Fraction(1, 10)
    options = {'g': str(gop), 'bf': str(b_frames)}
    if name.startswith('libx'):
        common = f'keyint={gop}:min-keyint={gop}:scenecut=0:bframes={b_frames}:b-adapt=0:repeat-headers=1:crf=12{more}'
        own = {'libx264': 'x264-params', 'libx265': 'x265-params'}[name]
        quiet = '' if name == 'libx264' else ':log-level=none:pools=1:frame-threads=1'
        options |= {own: common + quiet, 'preset': 'veryfast', 'threads': '1'}
        if not b_frames:
            options['tune'] = 'zerolatency'
    else:
        options |= {'crf': '10', 'b': '2M', 'lag-in-frames': '0', 'deadline': 'realtime'}
    context.options = options
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, 'rgb24')
        frame.pts, frame.time_base = index, context.time_base
        packets += context.encode(frame)
    return [(packet.pts, bytes(packet)) for packet in [*packets, *context.encode(None)]]


def compressed_image(data: bytes, stamp_ns: int, name: str = 'h264'):
    """Return a packet as sensor_msgs/CompressedImage."""
    make = STORE.types['sensor_msgs/msg/CompressedImage']
    return make(header(stamp_ns), name, np.frombuffer(data, np.uint8))


def compressed_video(data: bytes, stamp_ns: int, name: str = 'h264'):
    """Return a packet as foxglove_msgs/CompressedVideo."""
    about = header(stamp_ns)
    make = STORE.types['foxglove_msgs/msg/CompressedVideo']
    return make(about.stamp, about.frame_id, np.frombuffer(data, np.uint8), name)


def ffmpeg_packet(data: bytes, stamp_ns: int, name: str = 'libx264'):
    """Return a packet as ffmpeg_image_transport_msgs/FFMPEGPacket."""
    make = STORE.types['ffmpeg_image_transport_msgs/msg/FFMPEGPacket']
    pts = (stamp_ns - START_NS) // STEP_NS
    return make(header(stamp_ns), WIDTH, HEIGHT, name, pts, 0, False, np.frombuffer(data, np.uint8))


def which(image_rgb: np.ndarray, count: int = 40) -> int:
    """Return the number of the film's image that is most like this one."""
    height, width = image_rgb.shape[:2]
    scenes = (scene(index, height, width).astype(int) for index in range(count))
    return int(np.argmin([np.abs(one - image_rgb).mean() for one in scenes]))


def units(data: bytes) -> list[bytes]:
    """Return what is between the start codes of a packet."""
    return [unit.rstrip(b'\0') for unit in data.split(b'\0\0\1')[1:]]


def joined(parts: Iterable[bytes]) -> bytes:
    """Return units behind start codes."""
    return b''.join(b'\0\0\0\1' + part for part in parts)
