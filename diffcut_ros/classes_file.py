"""Classes as a file: names, colours and where each example is from, to read and edit; the vectors beside it.

The vectors are in a file whose name ends in the digest of its content. It is written first, so that whoever reads at
any moment, or after a crash, finds the names and vectors of one moment.
"""

import fcntl
import hashlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # what rclpy depends on

from diffcut_ros.core.classes import Classes, NamedClass, Source, class_color
from diffcut_ros.features.probe import comparable
from diffcut_ros.plain_files import check_plain, read_plain
from diffcut_ros.printable import printable
from diffcut_ros.writing import WritingError, writing

FORMAT = 1
# More examples than anybody shows; what is longer is another file.
_MOST_BYTES = 2**26
_MOST_EXAMPLES = 100_000
_DIGITS = 16
# How often a file is read that others write at the same time.
_TRIES = 10
# How often a process asks for its turn, in a second.
_TURNS = 100
_HEADER = (
    '# Names taught by example to diffcut_ros. Names (also in the examples) and colours may be edited; the '
    'vectors are in the file beside.\n'
)


@dataclass(frozen=True)
class ClassesFile:
    """What a file of classes holds.

    Attributes:
        classes: names and examples.
        backend: description of the backend whose features the examples have, as text.
        probe: float32 [4, C], see `features.probe`.
        digest: of the file that it was read from, see `digest_of`.
    """

    classes: Classes
    backend: str
    probe: np.ndarray = field(repr=False)
    digest: str = ''


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a short text with them can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError('aliases (*) are not allowed')
        return super().compose_node(parent, index)


def digest_of(path: Path) -> str:
    """Return what tells whether a file has changed; empty where there is none.

    Raises:
        ValueError, OSError: when something else than a file is there, or it cannot be read.
    """
    try:
        return _digest(read_plain(path.resolve(), _MOST_BYTES))
    except FileNotFoundError:
        return ''


@contextmanager
def in_turn(path: Path | None) -> Iterator[None]:
    """Read and write a file inside, while other processes that do the same wait, a second at most; None: no file."""
    with ExitStack() as stack:
        if path is not None:
            with suppress(OSError):  # without a lock where there is none to be had, such as in a folder that is gone
                folder = os.open(path.resolve().parent, os.O_RDONLY)
                stack.callback(os.close, folder)
                for _ in range(_TURNS):
                    with suppress(BlockingIOError):
                        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    time.sleep(1 / _TURNS)
        yield


def write_classes(path: Path, content: ClassesFile) -> str:
    """Write classes to a file, and their vectors beside it; a file that is there is replaced as a whole.

    Returns:
        The file's digest, see `digest_of`.

    Raises:
        ValueError: when something else than a file is there.
        OSError: when they cannot be written; what was there is as before.
    """
    path = path.resolve()  # of a workspace that is installed by links
    check_plain([path])
    if path.exists() and not path.stat().st_mode & 0o222:  # in its folder it could be replaced all the same
        raise WritingError(f'{path} cannot be written: it is read-only')
    classes = content.classes
    rows = np.concatenate([content.probe, classes.feature.reshape(len(classes), content.probe.shape[1])])
    buffer = io.BytesIO()
    np.save(buffer, rows.astype('<f4'), allow_pickle=False)
    vectors = path.with_name(f'{path.stem}.{_digest(buffer.getvalue())}.npy')
    before = _vectors_of(path)
    document = {
        'format': FORMAT,
        'backend': content.backend,
        'vectors': vectors.name,
        'classes': [
            {'id': key, 'name': one.name, 'color': '#{:02x}{:02x}{:02x}'.format(*one.color)}
            for key, one in sorted(classes.classes.items())
        ],
    }
    examples = [
        _item(classes.name(key), source, float(score))
        for key, score, source in zip(classes.class_id.tolist(), classes.score, classes.sources, strict=True)
    ]
    text = _HEADER + _yaml(document) + _items('examples', examples)
    if classes.checked:
        text += _items('checked', [_item(name, source) for name, source in classes.checked])
    _replace(vectors, buffer.getvalue())
    data = text.encode()
    _replace(path, data)
    if before is not None and before != vectors and not _is_used(before, path):
        with suppress(OSError):
            before.unlink()
    return _digest(data)


def _items(name: str, items: list[str]) -> str:
    return f'{name}:\n{"".join(items)}' if items else f'{name}: []\n'


@lru_cache(_MOST_EXAMPLES)
def _item(name: str, source: Source, score: float | None = None) -> str:
    """Return an example as YAML: with each click, all are written."""
    scored = {} if score is None else {'score': score}
    return _yaml([{'class': name, **scored, **_plain(source)}])


def _yaml(document: Any) -> str:
    """Return a document as YAML; by libyaml, which is ten times as fast, where PyYAML has it."""
    options: dict[str, Any] = {'sort_keys': False, 'allow_unicode': True, 'default_flow_style': None, 'width': 1000}
    with suppress(UnicodeEncodeError, AttributeError):  # it takes no names of files that are no text
        text = yaml.dump(document, Dumper=yaml.CSafeDumper, **options)
        if r'\U' not in text:  # it escapes emojis, which people are to read
            return text
    return yaml.safe_dump(document, **options)


def read_classes(path: Path) -> ClassesFile:
    """Return what a file of classes holds.

    Raises:
        ValueError: for a file that is missing, damaged, of a newer format or none, or whose vectors are.
    """
    for _ in range(_TRIES - 1):
        with suppress(_ReplacedError):
            return _read_once(path)
    return _read_once(path)


class _ReplacedError(ValueError):
    """Somebody has written the file while it was read."""


def _read_once(path: Path) -> ClassesFile:
    try:
        data = read_plain(path.resolve(), _MOST_BYTES)
        vectors = _first_vectors(data, path.resolve())
        document = yaml.load(data.decode(), _Loader)  # _Loader is a safe one
    except (OSError, ValueError, yaml.YAMLError, RuntimeError) as error:  # the last: nested too deep, links in a circle
        reason = f'{type(error).__name__}: {error}' if isinstance(error, RecursionError) else error
        raise ValueError(printable(f'{path}: expected a file of classes, cannot read it: {reason}')) from error
    try:
        return replace(_content(document, path.resolve(), vectors), digest=_digest(data))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f'{error} is missing' if isinstance(error, KeyError) else error
        raise ValueError(printable(f'{path}: expected a file of classes, received something else: {what}')) from error
    except (OSError, ValueError) as error:
        kind = ValueError
        with suppress(ValueError, OSError):
            kind = ValueError if digest_of(path) == _digest(data) else _ReplacedError
        raise kind(printable(f'{path}: {error}')) from error


def check_backend(path: Path, content: ClassesFile, description: str, probe: np.ndarray) -> None:
    """Check that the examples of a file can be compared with features of a backend.

    Args:
        path: of the file, as text.
        content: of the file.
        description: of the backend.
        probe: of the backend, see `features.probe`.

    Raises:
        ValueError: when they cannot.
    """
    if not comparable(content.probe, probe):
        raise ValueError(
            f'{path}: expected examples of the backend in use ({description}), received those of another '
            f'({content.backend}), or of other settings; take that one, or teach the names again with this one '
            '(diffcut_reteach does, from recordings)'
        )


def _content(document: Any, path: Path, vectors: dict[Path, bytes]) -> ClassesFile:
    if not isinstance(document, dict):
        raise TypeError(f'expected names and values, received {type(document).__name__}')
    if document['format'] != FORMAT:
        newer = isinstance(document['format'], int) and document['format'] > FORMAT
        advice = '; it is of a newer diffcut_ros: update this one' if newer else ''
        raise ValueError(f'format: expected {FORMAT}, received {document["format"]!r:.40}{advice}')
    classes: dict[int, NamedClass] = {}
    for one in document['classes']:
        if type(one['id']) is not int or one['id'] in classes:
            raise ValueError(f'classes: expected ids that differ, whole numbers, received {one["id"]!r:.40}')
        color = _color(one['color']) if 'color' in one else class_color(max(1, one['id']))
        classes[one['id']] = NamedClass(one['name'], color)
    named = Classes(classes)  # names are checked
    ids = {one.name: key for key, one in named.classes.items()}
    examples = document['examples']
    if len(examples) > _MOST_EXAMPLES:
        raise ValueError(f'examples: expected at most {_MOST_EXAMPLES}, received {len(examples)}')
    for one in examples:
        if one['class'] not in ids:
            raise ValueError(
                f'examples: expected one of the classes, received {one["class"]!r:.80}; a new name is written in both, '
                'the classes and their examples'
            )
    at = path.with_name(_name(document['vectors']))
    probe, feature = np.split(_read_vectors(at, len(examples), vectors.get(at)), [4])
    return ClassesFile(
        Classes(
            classes,
            np.array([ids[one['class']] for one in examples], np.int64),
            feature,
            np.array([float(one['score']) for one in examples], np.float64),
            tuple(map(_source, examples)),
            tuple((str(one['class']), _source(one)) for one in document.get('checked') or ()),
        ),
        str(document['backend']),
        probe,
    )


def _first_vectors(data: bytes, path: Path) -> dict[Path, bytes]:
    """Return what is in the file of vectors that a file of classes names, before that is read as a whole.

    It takes 2 ms for each example, in which somebody may write both anew.
    """
    with suppress(ValueError, OSError, KeyError, TypeError, yaml.YAMLError):
        if (vectors := _named_vectors(data, path)) is not None:
            return {vectors: read_plain(vectors, _MOST_BYTES)}
    return {}


def _read_vectors(path: Path, examples: int, data: bytes | None) -> np.ndarray:
    """Return the rows of a file of vectors, float32 [4 + examples, C]; data: what is in it, where that is known."""
    try:
        data = read_plain(path, _MOST_BYTES) if data is None else data
    except FileNotFoundError as error:
        raise ValueError(f'vectors: expected the file {path.name} beside it, found none; copy both') from error
    if _digest(data) != path.stem.rpartition('.')[2]:
        raise ValueError(f'vectors: {path.name} is damaged: it is not what its name says')
    rows = np.load(io.BytesIO(data), allow_pickle=False)
    if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != 4 + examples or not np.isfinite(rows).all():
        raise ValueError(f'vectors: expected those of {examples} examples, received {rows.dtype} {rows.shape}')
    return rows


def _name(text: Any) -> str:
    if not isinstance(text, str) or not re.fullmatch(rf'[^/\\\0]*\.[0-9a-f]{{{_DIGITS}}}\.npy', text):
        raise ValueError(f'vectors: expected the name of a file beside it, NAME.DIGEST.npy, received {text!r:.80}')
    return text


def _vectors_of(path: Path) -> Path | None:
    """Return where the vectors of the file at a path are, if there is one."""
    with suppress(ValueError, OSError, KeyError, TypeError, yaml.YAMLError):
        return _named_vectors(read_plain(path, _MOST_BYTES), path)
    return None


def _named_vectors(data: bytes, path: Path) -> Path | None:
    """Return the file of vectors that a file of classes names in a line, None without such a line.

    Raises:
        ValueError, KeyError, TypeError, yaml.YAMLError: for a line of something else.
    """
    line = re.search(rb'^vectors:.*$', data, re.MULTILINE)
    return None if line is None else path.with_name(_name(yaml.load(line[0], _Loader)['vectors']))


def _is_used(vectors: Path, path: Path) -> bool:
    """Whether another file beside one names its vectors, such as a copy of it; true where one cannot be read."""
    others = [one for one in path.parent.glob('*.y*ml') if one != path]
    try:
        return any(vectors.name.encode() in read_plain(one.resolve(), _MOST_BYTES) for one in others)
    except (OSError, ValueError, RuntimeError):
        return True


def _color(text: Any) -> tuple[int, int, int]:
    if not isinstance(text, str) or not re.fullmatch('#[0-9a-fA-F]{6}', text):
        raise ValueError(f"color: expected '#rrggbb', received {text!r:.40}")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _plain(source: Source) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(source).items()}


def _source(one: Mapping[str, Any]) -> Source:
    numbers = {name: tuple(map(int, one[name])) for name in ('point_xy', 'box_xyxy', 'size_wh')}
    if [len(values) for values in numbers.values()] != [2, 4, 2]:
        raise ValueError(f'examples: expected point_xy, box_xyxy and size_wh of 2, 4 and 2 numbers, received {numbers}')
    return Source(str(one['recording']), str(one['topic']), int(one['stamp_ns']), **numbers)  # type: ignore[arg-type]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def _replace(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    new = path.with_name(f'.{path.name}.{os.getpid()}')
    with writing(path):
        try:
            with new.open('xb') as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, new)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
