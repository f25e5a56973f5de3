"""A folder that a robot carries instead of a checkpoint: one file that tells of all others, and their digests.

bundle.json      format, source and licence, what else the kind of backend keeps, size and SHA-256 of every other file,
                 SHA-256 of all that
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from diffcut_ros.core.memory import within_memory
from diffcut_ros.features.files import INDEX, Json, check_settings, read_json
from diffcut_ros.features.weights import Weights
from diffcut_ros.printable import LONGEST_NAME, printable

Read = TypeVar('Read')
# Kind of backend -> what its bundles say that they are.
FORMATS = {'diffusion': 'diffcut_ros encoder bundle, version 1', 'vit': 'diffcut_ros ViT bundle, version 1'}
# What an interrupted export may have left.
_FILES = {
    *(f'{name}.safetensors' for name in ('unet', 'vae_full', 'vae_tiny', 'prompt', 'model', 'statistics')),
    'config.json',
    'preprocessor_config.json',
    f'{INDEX}.part',
}


def write(folder: Path, kind: str, index: Json, fill: Callable[[], None]) -> None:
    """Write a bundle into a new folder: all of it, or nothing.

    Args:
        folder: new or empty.
        kind: key of `FORMATS`.
        index: what bundle.json holds beside format, files and digests.
        fill: writes the other files into the folder.

    Raises:
        ValueError: when the folder holds something.
        OSError: when there is no room for it.
    """
    check_target(folder)
    try:
        with _told(folder):
            fill()
        paths = [path for path in sorted(folder.iterdir()) if path.name != f'{INDEX}.part']
        files = {path.name: {'bytes': path.stat().st_size, 'sha256': _sha256(path)} for path in paths}
        index = {'format': FORMATS[kind], **index, 'files': files}
        index['sha256'] = _digest(index)
        part = folder / f'{INDEX}.part'
        part.write_text(json.dumps(index, indent=2) + '\n')
        for path in paths:  # safetensors writes for the owner alone
            shutil.copymode(part, path)
        part.rename(folder / INDEX)  # last: without it, the folder is no bundle
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        raise


def write_tensors(weights: Weights, path: Path) -> None:
    """Write tensors into a safetensors file; raise OSError when there is no room for it."""
    with _told(path):
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise OSError(f'{path} cannot be written: {error}') from error


def check_target(folder: Path) -> None:
    """Make the folder of a bundle, if it is not there.

    Raises:
        ValueError: when the folder holds anything but a bundle whose writing was interrupted, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ValueError(f'{folder}: expected a folder to write to: {error.strerror}; choose another') from error
    if names - _FILES:
        raise ValueError(f'{folder}: expected a new or empty folder, found something in its place; choose another')


def read(folder: Path, kind: str, check: Callable[[Json], Collection[str]], load: Callable[[Json, str], Read]) -> Read:
    """Return what a bundle holds, after a check of every file's digest.

    Args:
        folder: of the bundle.
        kind: key of `FORMATS`.
        check: returns the names of the files that an index asks for; raises KeyError, TypeError, AttributeError or
            ValueError for an index that does not hold what `load` reads of it.
        load: makes the result of the index; told what to do about errors, too.

    Raises:
        ValueError: when a file is missing, damaged or of another format, with the command that writes it anew.
        MemoryError: when this machine has too little memory.
    """
    again = 'write it anew: diffcut_export {} NEW_FOLDER'
    path = folder / INDEX
    index = read_json(path, again.format('MODEL'))
    if index.get('format') != FORMATS[kind]:
        raise ValueError(
            f'{path}: expected format {FORMATS[kind]!r}, found {index.get("format")!r}; {again.format("MODEL")}'
        )
    if index.get('sha256') != _digest(index):
        raise ValueError(
            f'{path}: expected the content that its SHA-256 tells, found another: it was changed or is damaged; '
            f'{again.format("MODEL")}'
        )
    check_settings(path, index)
    try:
        _check_index(index, check(index))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f'{path}: expected the parts of a bundle, found others ({error!r}); {again.format("MODEL")}'
        ) from error
    again = again.format(printable(index['source']['model'], LONGEST_NAME))
    _check_files(folder, index, again)
    return within_memory(lambda: load(index, again), torch.device('cpu'), f'reading {folder} needs more')


def kind_of_bundle(folder: Path) -> str:
    """Return the kind of backend that a bundle is for; of a damaged one any, whose reader says what is wrong."""
    with suppress(ValueError):
        found = read_json(folder / INDEX).get('format')
        return next((kind for kind, text in FORMATS.items() if text == found), 'diffusion')
    return 'diffusion'


def _check_index(index: Json, names: Collection[str]) -> None:
    """Raise ValueError, KeyError, TypeError or AttributeError unless an index holds what all bundles have."""
    for name in ('source', 'files'):
        if not isinstance(index[name], dict):
            raise ValueError(f'{name}: expected dict, found {type(index[name]).__name__}')
    if not isinstance(index['source']['model'], str):
        raise ValueError('source.model: expected a text')
    if index['files'].keys() != set(names) or not set(names) <= _FILES:
        raise ValueError(f'files: expected {", ".join(sorted(_FILES & set(names)))}, found {", ".join(index["files"])}')
    for name, file in index['files'].items():
        if not isinstance(file['bytes'], int) or not isinstance(file['sha256'], str):
            raise ValueError(f'{name}: expected bytes and sha256, found others')


def _check_files(folder: Path, index: Json, again: str) -> None:
    for name, expected in index['files'].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f'{path}: expected a file of {expected["bytes"]} bytes, found none; {again}')
        if path.stat().st_size != expected['bytes']:
            raise ValueError(f'{path}: expected {expected["bytes"]} bytes, found {path.stat().st_size}; {again}')
        if _sha256(path) != expected['sha256']:
            raise ValueError(f'{path}: expected SHA-256 {expected["sha256"]}, found another: it is damaged; {again}')


def _digest(index: Json) -> str:
    """Return the SHA-256 of an index without the entry that holds it."""
    rest = {name: value for name, value in index.items() if name != 'sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
