"""Pictures of a video whose packets come as messages, one after the other.

A packet says mostly what has changed since the pictures before it. So decoding begins with a key frame, needs all
packets after it, and where one is missing or damaged, goes on with the next key frame.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcut_ros.missing import needed
from diffcut_ros.printable import quoted
from diffcut_ros.stream.nal_units import (
    H264,
    H265,
    START_CODES,
    Packet,
    behind_lengths,
    behind_start_codes,
    guess_h265,
    holds_parameters_of_h265,
)
from diffcut_ros.stream.stamps import stamp_ns

# What formats and encoders are called, and FFmpeg's decoder. The first match counts; 'libvpx' alone is VP8.
_CODECS = {
    re.compile(r'h\.?264|x264|avc'): 'h264',
    re.compile(r'h\.?265|x265|hevc'): 'hevc',
    re.compile(r'av1'): 'libdav1d',  # FFmpeg's own needs a graphics card
    re.compile(r'vp9'): 'vp9',
    re.compile(r'vp8|libvpx'): 'vp8',
}
_NAMES = {'h264': 'H.264', 'hevc': 'H.265', 'libdav1d': 'AV1', 'vp9': 'VP9', 'vp8': 'VP8'}
_READERS = {'h264': H264, 'hevc': H265}
# One thread: several would each hold a picture back. Not strict, a decoder takes packets of H.264 that do not say
# otherwise to be in the order in which they are shown, and drops pictures where they are not.
_OPTIONS = {'threads': '1', 'strict': 'strict'}
# Bytes that a decoded picture may take: 4:2:0 of 8 bits up to 53 megapixels. A decoder of H.264 holds up to 36 of
# them, as references and for their order. Of codecs whose headers are not read here it is some 10; in pixels.
_LARGEST_PICTURE = 80 * 10**6
_LARGEST_OF_OTHERS = _LARGEST_PICTURE * 2 // 3
# So many pictures at most are held back for this order: H.264 A.3.1, H.265 A.4.
_LONGEST_DELAY = 17
# So many bytes from the beginning, parameters are looked for that tell the codec.
_PARAMETERS_WITHIN = 1024

_BEGINNING = 'before the first key frame with its parameters, where the decoding of a video begins'
_GAP = 'after packets that are missing; decoding goes on with the next key frame'
_DAMAGE = 'damaged, or after a damaged one; decoding goes on with the next key frame'
_PART = 'expected whole pictures, received messages with parts of one'
_NO_PICTURE = 'the decoder gives no picture for it, for lack of images before it'


@dataclass(frozen=True)
class VideoImage:
    """An image of a video.

    Attributes:
        header: of its message.
        frame: av.VideoFrame; None: there is no picture.
        problem: why, as text.
    """

    header: Any
    frame: Any | None = None
    problem: str = ''

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return 0 if self.frame is None else sum(plane.buffer_size for plane in self.frame.planes)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of its picture."""
        return self.frame.height, self.frame.width

    def check(self, max_pixels: int) -> None:
        """Raise ValueError where there is no picture, or one of more than `max_pixels`."""
        problem = self.problem or _too_large(self.frame.width, self.frame.height, max_pixels)
        if problem:
            raise ValueError(problem)

    def rgb(self) -> np.ndarray:
        """Return it as uint8 [H, W, 3], with the colours that the video says it has; BT.601 where it does not."""
        return np.ascontiguousarray(self.frame.to_ndarray(format='rgb24'))


@dataclass
class _Sent:
    """A packet whose picture is still to come; `group`: the number of key frames up to it."""

    header: Any
    group: int


class VideoDecoder:
    """Decodes the packets of one topic, in the order in which they were sent.

    Attributes:
        restarts: whether a decoder that knows nothing of what was sent before could begin with the last message.

    Args:
        max_pixels: of a picture.
    """

    def __init__(self, max_pixels: int) -> None:
        self.restarts = False
        self._max_pixels, self._more = max_pixels, 0
        self._codec = ''
        self._instead: dict[str, str] = {}  # codec by format -> that of the data
        self._reader: H264 | H265 | None = None
        self._context: Any = None
        self._parameters, self._start_codes = b'', False
        self._number = self._group = 0
        self._broken: dict[int, tuple[int, str]] = {}  # of a group: from which packet on it is of no use, and why
        self._sent: dict[int, _Sent] = {}
        self._last_ns, self._stamps_of_pictures = 0, False

    @property
    def note(self) -> str:
        """What is left out beside whole messages, and where a format is wrong, as text; empty: nothing."""
        notes = [
            f'format says {_NAMES[said]}, the data are {_NAMES[found]}: decoded as that'
            for said, found in self._instead.items()
            if said != found
        ]
        if self._more:
            notes.append(f'{self._more} pictures left out which came behind the first one of their message')
        return '; '.join(notes)

    def push(self, message: Any) -> list[VideoImage | None]:
        """Decode a message for which `video_codec` finds one.

        Returns:
            What is known now: one of each message, sooner or later, in the order in which pictures are shown. None for
            a message that holds parameters only, and is no image.

        Raises:
            MissingPackageError: without PyAV.
        """
        self._number += 1
        self.restarts = False
        self._stamps_of_pictures |= stamp_ns(message) < self._last_ns
        self._last_ns = stamp_ns(message)
        codec = self._choose(message)
        found: list[VideoImage | None] = []
        try:
            if codec != self._codec:
                found += self.flush()
                self._open(codec)
            packet = self._read(bytes(message.data))
        except ValueError as error:
            self._break(_DAMAGE)
            return [*found, VideoImage(message.header, problem=f'{_NAMES[codec]}: {error}')]
        if not packet.pictures:
            return [*found, None]
        if packet.gap:
            self._break(_GAP)
        if not packet.whole:  # which makes the one before it look damaged
            self._broken[self._group] = self._broken.get(self._group, (self._number,))[0], _PART
        why = _DAMAGE
        too_large = self._too_large(packet)
        if too_large:
            self._broken[self._group] = 0, f'{_NAMES[codec]}: {too_large}'
        if self._group in self._broken:
            if too_large or not packet.begins:
                return [*found, self._without_picture(message.header, self._group)]
            why = self._broken[self._group][1]
            found += self.flush()
        self._group += packet.begins
        self._sent[self._number] = _Sent(message.header, self._group)
        self._more += len(packet.pictures) - 1
        for data in packet.pictures:
            found += self._pictures(data, _DAMAGE if self._reader else why)
        return found + self._overdue(_LONGEST_DELAY if self._context.reorder_depth else 0)

    def flush(self) -> list[VideoImage]:
        """Return what is still to come; what is sent afterwards is to begin with a key frame."""
        found = []
        if self._context is not None:
            found += self._pictures(None, _DAMAGE)
            self._context.flush_buffers()
        return found + self._overdue(0)

    def _choose(self, message: Any) -> str:
        """The codec of a message: its data know better than its format, where they hold parameters."""
        said, found = _codec_of_format(message.format), _codec_of_parameters(message.data)
        if not said:
            return found or self._codec or _codec_of_data(message.data)
        if found:
            self._instead[said] = found
        return self._instead.get(said, said)

    def _open(self, codec: str) -> None:
        with needed('video', 'analyze'):
            import av
        self._codec, self._reader = codec, _READERS[codec]() if codec in _READERS else None
        self._parameters, self._start_codes = b'', False
        self._context = av.CodecContext.create(codec, 'r')
        # Memory is bounded before; what is more than allowed is told of each image.
        self._context.options = _OPTIONS | {
            'max_pixels': str(2 * self._max_pixels if self._reader else min(2 * self._max_pixels, _LARGEST_OF_OTHERS))
        }
        self._group += 1
        self._break(_BEGINNING)

    def _read(self, data: bytes) -> Packet:
        if self._reader is None:
            # The decoders of other codecs refuse by themselves what does not begin with a key frame.
            begins = self._group in self._broken
            return Packet([data], parameters=False, begins=begins, whole=True, gap=False, size_wh=None)
        data = self._parameters + self._annex_b(data)
        packet = self._reader.read(data)
        self.restarts = packet.parameters and not self._parameters
        self._parameters = b'' if packet.pictures else data
        return packet

    def _too_large(self, packet: Packet) -> str:
        """Why pictures of a packet's stream are not decoded, as text; empty: they are."""
        width, height = packet.size_wh or (0, 0)
        if (width - 15) * (height - 15) > self._max_pixels:  # however it is cropped
            return _too_large(width, height, self._max_pixels)
        if packet.picture_bytes > _LARGEST_PICTURE:
            return (
                f'picture of {width} x {height}: expected at most {_LARGEST_PICTURE / 1e6:.0f} MB when it is decoded, '
                f'received {packet.picture_bytes / 1e6:.0f}; send fewer pixels, or 4:2:0 of 8 bits'
            )
        return ''

    def _annex_b(self, data: bytes) -> bytes:
        """Return the units of a packet behind start codes; as in MP4, they may lie behind their lengths."""
        units = [] if self._start_codes else behind_lengths(data)
        if units and not data.startswith(START_CODES[1]):  # the length of 256 to 511 begins like the shorter start code
            return behind_start_codes(units)
        if not data.startswith(START_CODES):
            about = f'{len(data)} bytes that begin with {data[:8].hex(" ")}' if data else 'no data'
            raise ValueError(f'expected a start code (00 00 01) or the length of a unit, received {about}')
        self._start_codes = True
        return data

    def _pictures(self, data: bytes | None, why: str) -> Iterator[VideoImage]:
        """Have data decoded, None: what is held back; yield images of the pictures that come out.

        Args:
            data: of a picture.
            why: what is said where that fails.
        """
        import av

        packet = None if data is None else av.Packet(data)
        if packet is not None:
            packet.pts = self._number
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            frames = []
            self._break(why)
            if data is not None and self._number in self._sent:
                sent = self._sent.pop(self._number)
                yield self._without_picture(sent.header, sent.group)
        for frame in frames:
            if frame.pts in self._sent:  # else one of several of a message
                yield self._image(frame)

    def _image(self, frame: Any) -> VideoImage:
        sent = self._sent[frame.pts]
        if not self._stamps_of_pictures:
            # Stamps rise from packet to packet, and pictures come in another order: the stamps are those of packets.
            first = min(self._sent.values(), key=stamp_ns)
            first.header, sent.header = sent.header, first.header
        del self._sent[frame.pts]
        if frame.is_corrupt:
            self._break(_DAMAGE, sent.group, frame.pts)
        since, _ = self._broken.get(sent.group, (frame.pts + 1, ''))
        return VideoImage(sent.header, frame) if frame.pts < since else self._without_picture(sent.header, sent.group)

    def _overdue(self, delay: int) -> list[VideoImage]:
        """The images of packets which have not given a picture after so many others."""
        numbers = [number for number in self._sent if number <= self._number - delay]
        late = [self._sent.pop(number) for number in numbers]
        if late and self._reader is None:
            self._break(_NO_PICTURE)
        return [self._without_picture(sent.header, sent.group) for sent in late]

    def _break(self, why: str, group: int | None = None, number: int | None = None) -> None:
        """Note that a group is of no use from a packet on; without numbers, from this one on."""
        group, number = self._group if group is None else group, self._number if number is None else number
        if group not in self._broken or number < self._broken[group][0]:
            self._broken[group] = number, why

    def _without_picture(self, header: Any, group: int) -> VideoImage:
        _, why = self._broken.get(group, (0, _NO_PICTURE))
        return VideoImage(header, None, why)


def video_codec(message: Any) -> str:
    """Return the name of the video codec of a compressed image; empty for one that is a picture by itself."""
    start = bytes(message.data[:4])
    if start.startswith((b'\xff\xd8\xff', b'\x89PNG')):  # drivers write all kinds of formats
        return ''
    return _NAMES.get(_codec_of_format(message.format) or _codec_of_data(message.data), '')


def check_no_video(message: Any) -> None:
    """Raise ValueError for a compressed image that is a packet of video, where single images are taken."""
    codec = video_codec(message)
    if codec:
        raise ValueError(
            f'format {quoted(message.format)}: expected a picture by itself, received {codec} video, whose images '
            'depend on those before them. Next: publish raw or JPEG images, or have it decoded by '
            "image_transport's republish with its plugin (ffmpeg, foxglove); diffcut_analyze reads recordings of video"
        )


def _codec_of_format(name: str) -> str:
    return next((codec for pattern, codec in _CODECS.items() if pattern.search(name.lower())), '')


def _codec_of_parameters(data: Any) -> str:
    of_h265 = holds_parameters_of_h265(bytes(data[:_PARAMETERS_WITHIN]))
    return '' if of_h265 is None else 'hevc' if of_h265 else 'h264'


def _codec_of_data(data: Any) -> str:
    start = bytes(data[:6])
    if not start.startswith(START_CODES):
        return ''
    return 'hevc' if guess_h265(start) else 'h264'


def _too_large(width: int, height: int, max_pixels: int) -> str:
    if width * height <= max_pixels:
        return ''
    return (
        f'picture of {width} x {height}: expected at most {max_pixels / 1e6:g} megapixels, received '
        f'{width * height / 1e6:g}'
    )
