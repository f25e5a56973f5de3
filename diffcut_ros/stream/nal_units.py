"""What packets of H.264 and H.265 say of themselves, without decoding them.

Syntax: ITU-T H.264 and H.265, sections 7.3. Data are units behind start codes (Annex B).
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

START_CODES = b'\0\0\1', b'\0\0\0\1'
_START = re.compile(START_CODES[0])
# Bytes of a slice that hold the fields that are read here, with room.
_SLICE_HEAD = 48
# Bytes of parameters that are read; they have some dozen, or 2,000 with lists of all kinds.
_PARAMETERS = 4096
# Bytes of supplemental information, and messages in it, among which a recovery point is looked for.
_INFORMATION, _MOST_MESSAGES = 4096, 32
# Units, and pictures, of a packet: a picture has one unit for each of its slices, some hundred at most.
_MOST_UNITS, _MOST_PICTURES = 10_000, 300
# Pixels that a packet has decoded: of its pictures, one as cameras send it, and of all slices, each of which may go
# through the rest of its picture. Nothing but a few bytes is needed for that, and a decoder does 300 million a second.
_MOST_PIXELS, _MOST_PIXELS_OF_SLICES = 4 * 10**8, 4 * 10**9
# Values per two pixels, by how chroma is sampled: none, 4:2:0, 4:2:2, 4:4:4.
_VALUES = 2, 3, 4, 6
# Of a number of 32 bits in its code.
_MOST_ZEROS = 32
_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_RECOVERY_POINT = 6


@dataclass(frozen=True)
class Packet:
    """What a packet holds.

    Attributes:
        pictures: the data of each picture; empty: it holds parameters only.
        parameters: whether it holds those of a sequence of pictures.
        begins: whether decoding can begin with it: a key frame or recovery point, whose parameters are known.
        whole: whether its first picture begins in it.
        gap: whether pictures that it depends on are missing before it, as far as its numbers tell.
        size_wh: of the largest pictures of the stream in pixels, before cropping; None: not known.
        picture_bytes: what one of these takes when it is decoded; 0: not known.
    """

    pictures: list[bytes]
    parameters: bool
    begins: bool
    whole: bool
    gap: bool
    size_wh: tuple[int, int] | None
    picture_bytes: int = 0


@dataclass(frozen=True)
class _Sequence:
    """What of a sequence parameter set counts here."""

    size_wh: tuple[int, int]
    picture_bytes: int
    frame_num_bits: int = 0  # 0: gaps in frame_num are allowed, or it has none
    planes: bool = False
    progressive: bool = True


class _Bits:
    """Reads the bits of a unit, most significant first."""

    def __init__(self, unit: bytes) -> None:
        # A 3 behind two zeros keeps data from looking like a start code.
        plain = unit.replace(b'\0\0\3', b'\0\0')
        self._value, self._left = int.from_bytes(plain, 'big'), 8 * len(plain)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError('expected more bytes in its header: it is damaged or cut off')
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """An unsigned Exp-Golomb number, ue(v)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError('expected numbers of at most 32 bits in its header: it is damaged')
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)


class H264:
    """Reads the packets of one stream of H.264, in their order."""

    def __init__(self) -> None:
        self._sequences: dict[int, _Sequence] = {}
        self._of_parameters: dict[int, int] = {}  # picture parameter set -> sequence parameter set
        self._reference = 0

    def read(self, data: bytes) -> Packet:
        """Return what a packet holds; raises ValueError for one that is damaged."""
        begins = parameters = gap = False
        whole, sequence = True, None
        starts, seen, boundary = [], False, None
        slices = pictures = 0
        for at, unit in _units(data):
            kind = unit[0] & 31
            if kind in (6, 7, 8, 9):
                boundary = at if seen and boundary is None else boundary
                parameters |= kind == 7
                begins |= kind == 6 and _recovers(unit)
                self._parameters(kind, unit)
            elif kind in (1, 2, 5):
                first, bits = unit[1] >> 7, _Bits(unit[1:_SLICE_HEAD])
                begins |= kind == 5
                whole &= bool(first or seen)
                slices, pictures = slices + 1, pictures + first
                if first:
                    sequence = self._sequence(bits) or sequence
                    starts += [boundary or at] if seen and (sequence is None or sequence.progressive) else []
                    gap |= sequence is not None and self._gap(unit, bits, sequence)
                seen, boundary = True, None
        begins = (begins or parameters) and sequence is not None
        # Any of them may be used from the next picture on.
        largest = _largest(self._sequences.values(), slices, pictures)
        return Packet(_pieces(data, starts, seen), parameters, begins, whole, gap, *largest)

    def _parameters(self, kind: int, unit: bytes) -> None:
        if kind == 7:
            number, sequence = _h264_sequence(_Bits(unit[1:_PARAMETERS]))
            self._sequences[number] = sequence
        elif kind == 8:
            bits = _Bits(unit[1:_PARAMETERS])
            self._of_parameters[bits.number()] = bits.number()

    def _sequence(self, bits: _Bits) -> _Sequence | None:
        """The sequence that a slice belongs to; reads its header up to there."""
        bits.number(), bits.number()  # first_mb_in_slice, slice_type
        return self._sequences.get(self._of_parameters.get(bits.number(), -1))

    def _gap(self, unit: bytes, bits: _Bits, sequence: _Sequence) -> bool:
        """Whether frame_num skips pictures that others depend on (7.4.3)."""
        if not sequence.frame_num_bits:
            return False
        bits.take(2 * sequence.planes)
        number = bits.take(sequence.frame_num_bits)
        if unit[0] & 31 == 5:
            self._reference = 0
        gap = (number - self._reference) % (1 << sequence.frame_num_bits) > 1
        if unit[0] >> 5 & 3 or gap:
            self._reference = number
        return gap


class H265:
    """Reads the packets of one stream of H.265, in their order. Gaps are left to the decoder, which finds them."""

    def __init__(self) -> None:
        self._sequences: dict[int, _Sequence] = {}

    def read(self, data: bytes) -> Packet:
        """Return what a packet holds; raises ValueError for one that is damaged."""
        begins = parameters = False
        whole = True
        starts, seen, boundary = [], False, None
        slices = pictures = 0
        for at, unit in _units(data):
            if unit[0] & 1 or unit[1] >> 3:  # of another layer, such as the second eye's
                continue
            kind = unit[0] >> 1 & 63
            if kind in (32, 33, 34, 35, 39):
                boundary = at if seen and boundary is None else boundary
                if kind == 33:
                    number, sequence = _h265_sequence(_Bits(unit[2:_PARAMETERS]))
                    self._sequences[number], parameters = sequence, True
            elif kind < 32:
                first = unit[2] >> 7
                begins |= 16 <= kind <= 23
                whole &= bool(first or seen)
                slices, pictures = slices + 1, pictures + first
                starts += [boundary or at] if first and seen else []
                seen, boundary = True, None
        begins = (begins or parameters) and bool(self._sequences)
        largest = _largest(self._sequences.values(), slices, pictures)
        return Packet(_pieces(data, starts, seen), parameters, begins, whole, False, *largest)


def behind_lengths(data: bytes) -> list[bytes]:
    """Return the units of a packet in which each lies behind its length of 4 bytes; empty: it is none."""
    units, at = [], 0
    while at + 4 < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], 'big')
        units.append(data[at + 4 : end])
        at = end
        if len(units) > _MOST_UNITS:
            return []
    return units if at == len(data) else []


def behind_start_codes(units: list[bytes]) -> bytes:
    """Return a packet of units."""
    return b''.join(START_CODES[1] + unit for unit in units)


def guess_h265(start: bytes) -> bool:
    """Say whether data that begin with a start code are more likely H.265 than H.264, which hold parameters first."""
    unit = start[3:] if start.startswith(START_CODES[0]) else start[4:]
    return len(unit) > 1 and unit[0] >> 1 in (32, 33, 34, 35) and unit[1] == 1


def holds_parameters_of_h265(data: bytes) -> bool | None:
    """Say whose parameters of a sequence data behind start codes hold first: True: H.265's; None: none.

    What is one of them in one codec is of no use, or of another layer, in the other.
    """
    for _, unit in _units(data) if data.startswith(START_CODES) else ():
        if unit[0] >> 1 in (32, 33) and unit[1] == 1:
            return True
        if unit[0] & 0x9F == 7 and unit[0] & 0x60:
            return False
    return None


def _units(data: bytes) -> list[tuple[int, bytes]]:
    """Each unit with where its start code begins; those too short to be one are left out."""
    starts = [match.start() for match in itertools.islice(_START.finditer(data), _MOST_UNITS + 1)]
    if len(starts) > _MOST_UNITS:
        raise ValueError(f'expected at most {_MOST_UNITS} units, received more: it is damaged')
    ends = [*starts[1:], len(data)]
    return [(at, data[at + 3 : end]) for at, end in zip(starts, ends, strict=True) if end - at > 5]


def _pieces(data: bytes, starts: list[int], any_picture: bool) -> list[bytes]:
    if len(starts) >= _MOST_PICTURES:
        raise ValueError(f'expected at most {_MOST_PICTURES} pictures in a message, received more')
    bounds = [0, *starts, len(data)]
    return [data[at:end] for at, end in itertools.pairwise(bounds)] if any_picture else []


def _largest(sequences: Iterable[_Sequence], slices: int, pictures: int) -> tuple[tuple[int, int] | None, int]:
    """Size and bytes of the largest picture; raises ValueError where a packet has too many pixels decoded."""
    largest = max(sequences, key=attrgetter('picture_bytes'), default=None)
    if largest is None:
        return None, 0
    width, height = largest.size_wh
    for count, most, name in ((pictures, _MOST_PIXELS, 'pictures'), (slices, _MOST_PIXELS_OF_SLICES, 'slices')):
        if count > 1 and count * width * height > most:
            raise ValueError(
                f'expected at most {max(1, most // (width * height))} {name} of {width} x {height} in a message, '
                f'received {count}'
            )
    return largest.size_wh, largest.picture_bytes


def _picture_bytes(size_wh: tuple[int, int], chroma: int, more_bits: int) -> int:
    if chroma >= len(_VALUES):
        raise ValueError(f'expected 4:0:0 to 4:4:4 in its header, received another sampling of chroma, {chroma}')
    return size_wh[0] * size_wh[1] * _VALUES[chroma] // 2 * (1 + (more_bits > 0))


def _recovers(unit: bytes) -> bool:
    """Whether supplemental information of H.264 holds a recovery point (D.1)."""
    plain, at = unit[:_INFORMATION].replace(b'\0\0\3', b'\0\0'), 1
    for _ in range(_MOST_MESSAGES):
        if at + 2 >= len(plain):
            break
        values = []
        for _ in range(2):
            value = 0
            while at < len(plain) and plain[at] == 255:
                value, at = value + 255, at + 1
            if at == len(plain):
                return False
            values.append(value + plain[at])
            at += 1
        if values[0] == _RECOVERY_POINT:
            return True
        at += values[1]
    return False


def _h264_sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """Number and content of a sequence parameter set (7.3.2.1.1)."""
    profile = bits.take(8)
    bits.take(16)
    number, planes = bits.number(), False
    chroma, more_bits = 1, 0
    if profile in _HIGH_PROFILES:
        chroma = bits.number()
        planes = chroma == 3 and bool(bits.take(1))
        more_bits = bits.number() + bits.number()  # than 8, of luma and chroma
        bits.take(1)  # transform bypass
        if bits.take(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_num_bits = bits.number() + 4
    order = bits.number()
    if order == 0:
        bits.number()
    elif order == 1:
        bits.take(1), bits.signed(), bits.signed()
        for _ in range(bits.number()):
            bits.signed()
    bits.number()  # reference frames
    gaps_allowed = bits.take(1)
    width, height = bits.number() + 1, bits.number() + 1
    progressive = bool(bits.take(1))
    size_wh = 16 * width, 16 * height * (2 - progressive)
    picture_bytes = _picture_bytes(size_wh, chroma, more_bits)
    return number, _Sequence(size_wh, picture_bytes, 0 if gaps_allowed else frame_num_bits, planes, progressive)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _h265_sequence(bits: _Bits) -> tuple[int, _Sequence]:
    """Number and content of a sequence parameter set (7.3.2.2.1)."""
    bits.take(4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)  # nesting, general profile, general level
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    number, chroma = bits.number(), bits.number()
    if chroma == 3:
        bits.take(1)
    size_wh = bits.number(), bits.number()
    if bits.take(1):  # what is cropped
        for _ in range(4):
            bits.number()
    more_bits = bits.number() + bits.number()
    return number, _Sequence(size_wh, _picture_bytes(size_wh, chroma, more_bits))
