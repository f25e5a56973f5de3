"""Which files a recording consists of, and what they are: by what is in them, since people rename files."""

import re
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import zstandard
from ruamel.yaml import YAML

from diffcut_ros.printable import LONGEST_NAME, printable

ZSTD = b'\x28\xb5\x2f\xfd'
_METADATA = 'metadata.yaml'
_KINDS = {b'\x89MCAP0\r\n': 'mcap', b'SQLite format 3\0': 'sqlite', b'#ROSBAG V2.0\n': 'ros1'}
# What recordings are packed with to be sent, and what unpacks them.
_UNPACK = {b'\x1f\x8b': 'gunzip', b'BZh': 'bunzip2', b'\xfd7zXZ': 'unxz', b'\x04"M\x18': 'unlz4', b'PK\3\4': 'unzip'}
# What else is found in place of recordings, and what helps.
_ADVICE = {
    b'version https://git-lfs': 'it is a pointer of Git LFS; fetch its file: git lfs pull',
    b'#ROS': 'it is of before version 2.0 of bags; convert it with ROS 1: rosbag fix {name} new.bag',
}
_IMAGES = re.compile(
    rb'\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|BM....\0{4}|\x1a\x45\xdf\xa3|RIFF....(WEBP|AVI )|....ftyp', re.DOTALL
)
_LOOK = (
    '{what}; for a look: diffcut_demo {name}; for tables and a report, make a recording of it first, as "A recording '
    'of your own images" in docs/recordings.md does'
)
_TAR, _TAR_AT = b'ustar', 257
# As recorders name the files of a recording that they split; those of ROS 1 say when each begins.
_SPLIT = re.compile(r'(.*_)(\d+)((?:\.[a-z][a-z0-9]*)+)')
_DATE = re.compile(r'\d{4}(-\d\d){5}')
# Bytes by which a file is known.
_FIRST = 512
# Of the room that is left where files are unpacked.
_SHARE = 0.9
# Bytes of metadata.yaml: more than those of a thousand files and topics take.
_MOST_METADATA = 2**24
# More than so many bytes, and than so many times a file's own, are not unpacked: recordings become up to 10 times
# smaller, zeros 20,000 times.
_LARGE, _SMALLER = 2**30, 1000


def find_files(path: Path) -> tuple[list[Path], str]:
    """Return the files of a recording, in their order, and what was guessed about them; some may not be there.

    Args:
        path: one of them, or their folder, which may lack metadata.yaml.

    Raises:
        ValueError: for a folder without recordings, or with several; says what to give instead.
    """
    if path.name == _METADATA:
        path = path.parent
    if not path.is_dir():
        return [path], ''
    listed, damage = _listed(path)
    found = sorted((file for file in path.iterdir() if file.is_file() and _kind_or_none(file)), key=_by_numbers)
    if listed:
        if not found and (advice := _advices(path)):
            raise ValueError(f'expected {", ".join(listed)} in this folder, found none{advice}')
        missing = [name for name in listed if not (path / name).exists()]
        kinds = {_kind_or_none(path / name) for name in listed} - {None}
        others = [file.name for file in found if file.name not in listed and (not kinds or kind_of(file) in kinds)]
        if not missing or len(missing) != len(others):
            return [path / name for name in listed], damage
        renamed = dict(zip(missing, others, strict=True))
        # Packed or unpacked since, it is the same for sure.
        words = ', '.join(f'{new} for {old}' for old, new in renamed.items() if not _is_packed(old, new))
        note = f'{_METADATA} names other files, taken is {words}' if words else ''
        return [path / renamed.get(name, name) for name in listed], '; '.join(filter(None, [damage, note]))
    if not found:
        raise ValueError(_no_recording(path))
    files, note = (found, '') if len(found) == 1 else _split(found)
    return files, '; '.join(filter(None, [damage, note]))


def kind_of(path: Path) -> str:
    """Return what a file is, or what is in it where it is compressed with zstd: 'mcap', 'sqlite' or 'ros1'.

    Raises:
        ValueError: for anything else; says how to unpack what is packed.
    """
    start = _first_bytes(path)
    for magic, kind in _KINDS.items():
        if start.startswith(magic):
            return kind
    what = f'a file that begins with {start[:8]!r}' if start else 'an empty file'
    raise ValueError(f'expected MCAP, SQLite, or a bag of ROS 1, received {what}{_advice(start, path.name)}')


def unpacked(path: Path, stack: ExitStack) -> tuple[Path, str]:
    """Return a file, unpacked into a temporary folder where it is compressed with zstd, and what of it is damaged.

    Args:
        path: of the file.
        stack: with its end the folder is removed.

    Raises:
        ValueError: when there is too little room; says how much there is, and what to do.
    """
    with path.open('rb') as source:
        head = source.read(18)  # with the size of what is in it, where the writer knew that
        if not head.startswith(ZSTD):
            return path, ''
        folder = Path(stack.enter_context(TemporaryDirectory(prefix='diffcut_')))
        most, size, damage = round(_SHARE * shutil.disk_usage(folder).free), 0, ''
        likely = max(_LARGE, _SMALLER * path.stat().st_size)
        target = folder / path.name
        source.seek(0)
        with target.open('wb') as file:
            try:
                size = zstandard.frame_content_size(head)
                reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
                while max(size, file.tell()) <= most and (data := reader.read(1 << 17)):
                    file.write(data)
                    if file.tell() > likely:
                        damage = (
                            f'{path.name} becomes more than {_SMALLER} times larger, which no recording does, and was '
                            f'unpacked up to {likely / 1e9:.1f} GB'
                        )
                        break
            except zstandard.ZstdError as error:
                damage = f'{path.name} is damaged, and was unpacked up to there: {error}'
            if max(size, file.tell()) > most:
                raise ValueError(
                    f'unpacked, it takes more than the {most / 1e9:.1f} GB that may be used of {folder.parent}; set '
                    f'TMPDIR to a folder with more room, or unpack it yourself: zstd -d {path.name}'
                )
    return target, damage


def _first_bytes(path: Path) -> bytes:
    with path.open('rb') as file:
        start = file.read(_FIRST)
        if start.startswith(ZSTD):
            file.seek(0)
            with suppress(zstandard.ZstdError):
                start = zstandard.ZstdDecompressor().stream_reader(file).read(_FIRST)
    return start


def _advice(start: bytes, name: str) -> str:
    """Say how to make a recording of a file that begins so; empty: unknown."""
    if start[_TAR_AT:].startswith(_TAR):
        return f'; unpack it: tar -xf {name}'
    if _IMAGES.match(start):
        return f'; {_LOOK.format(what="this is a photograph or a video", name=name)}'
    advice = {magic: f'unpack it: {tool} {{name}}' for magic, tool in _UNPACK.items()} | _ADVICE
    return next((f'; {words.format(name=name)}' for magic, words in advice.items() if start.startswith(magic)), '')


def _advices(folder: Path) -> str:
    """The first advice about a file in a folder; empty: none."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    starts = [(file.name, _first_bytes(file)) for file in files]
    if images := [name for name, start in starts if _IMAGES.match(start)]:
        return f'; {_LOOK.format(what=f"there is {images[0]}, a photograph or a video", name=folder.name or folder)}'
    found = ((name, _advice(start, name)) for name, start in starts)
    return next((f'; there is {name}{advice}' for name, advice in found if advice), '')


def _kind_or_none(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        return kind_of(path)
    return None


def _listed(folder: Path) -> tuple[list[str], str]:
    """Names of the files, each once, as metadata.yaml says, and what is wrong with it.

    None where it is not there or is none.
    """
    path = folder / _METADATA
    if not path.is_file():
        return [], ''
    try:
        if (size := path.stat().st_size) > _MOST_METADATA:
            raise ValueError(f'expected at most {_MOST_METADATA / 1e6:.0f} MB, received {size / 1e6:.0f} MB')
        about = YAML(typ='safe').load(path.read_text())['rosbag2_bagfile_information']
        # Older recorders, of any system, wrote the folder, too.
        names = [re.split(r'[/\\]', name)[-1] for name in about['relative_file_paths']]
        if folders := {'', '.', '..'} & set(names):
            raise ValueError(f'expected names of files, received {folders.pop()!r}')
    except Exception as error:  # a boundary: damage shows as any exception of what reads it
        reason = printable(f'{type(error).__name__}: {error}', LONGEST_NAME)
        return [], f'{_METADATA} cannot be read and is ignored: {reason}'
    once = list(dict.fromkeys(names))
    repeated = f'{_METADATA} names files more than once, each is read once' if len(once) < len(names) else ''
    return once, repeated


def _is_packed(one: str, other: str) -> bool:
    return one == Path(other).stem or Path(one).stem == other


def _split(found: list[Path]) -> tuple[list[Path], str]:
    """Files of a folder without metadata.yaml that are named as those of one recording, with any that are missing."""
    parts = [_SPLIT.fullmatch(file.name) for file in found]
    if all(parts) and len({(_DATE.sub('*', part[1]), part[3].removesuffix('.active')) for part in parts}) == 1:
        numbers = {int(part[2]): file for part, file in zip(parts, found, strict=True)}
        in_turn = [numbers[number].name for number in sorted(numbers)] == [file.name for file in found]
        if 0 in numbers and in_turn and max(numbers) < 2 * len(numbers):
            prefix, ending = _DATE.sub('*', parts[0][1]), parts[0][3]
            files = [numbers.get(i, found[0].with_name(f'{prefix}{i}{ending}')) for i in range(max(numbers) + 1)]
            return files, f'no {_METADATA}: {len(found)} files are read as one recording, by the numbers in their names'
    names = ', '.join(file.name for file in found)
    raise ValueError(f'expected {_METADATA} in this folder, or one recording, found several; give one of them: {names}')


def _no_recording(folder: Path) -> str:
    inside = ', '.join(sorted(file.parent.name for file in folder.glob(f'*/{_METADATA}')))
    advice = f'; give one of the folders in it: {inside}' if inside else _advices(folder)
    return f'expected {_METADATA} or a recording (MCAP, SQLite, or a bag of ROS 1) in this folder, found none{advice}'


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sort 2 before 10."""
    return [(int(part or 0), '') if i % 2 else (0, part) for i, part in enumerate(re.split(r'(\d+)', path.name))]
