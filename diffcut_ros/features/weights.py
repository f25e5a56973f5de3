"""Weights of networks: read from files, checked against what the network asks for, and no others made up."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from diffcut_ros.core.memory import within_memory
from diffcut_ros.features.files import weight_files

Read = TypeVar('Read')
Weights = dict[str, torch.Tensor]


def read_soundly(folder: Path, read: Callable[[], Read]) -> Read:
    """Return what a function reads from a checkpoint's folder with libraries that raise anything for damaged files.

    Raises:
        ValueError: when that fails.
        MemoryError: when this machine has too little memory.
    """
    advice = f'reading {folder} needs more; write a bundle of it on a larger machine: diffcut_export MODEL FOLDER'
    try:
        return within_memory(read, torch.device('cpu'), advice)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # whatever libraries say to files that are not what their names promise
        found = textwrap.shorten(f'{type(error).__name__}: {error}', 300)
        raise ValueError(
            f'{folder}: expected a sound checkpoint; reading it failed with {found}; download it again, or choose '
            'another'
        ) from error


def check_weights(where: str, weights: Weights, expected: Weights) -> None:
    """Check that weights have the names and shapes that the configuration asks for.

    Args:
        where: what they belong to; for the error.
        weights: that were found.
        expected: of the network, on any device.

    Raises:
        ValueError: naming the first one that is missing, of another shape or too many.
    """
    for name in sorted(weights.keys() | expected.keys()):
        wanted, found = (list(held[name].shape) if name in held else 'none' for held in (expected, weights))
        if wanted != found:
            raise ValueError(f'{where}: {name}: expected {wanted} by the configuration, found {found}; get both again')


def read_tensors(path: Path, names: Iterable[str] | None = None) -> Weights:
    """Return tensors of a safetensors file: all, or those of `names` that are in it.

    Raises:
        ValueError: when the file is missing, cut short or damaged.
    """
    try:
        with safe_open(path, 'pt') as file:
            wanted = file.keys() if names is None else set(names) & set(file.keys())
            return {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise ValueError(f'{path}: expected a safetensors file, found it damaged or incomplete ({error})') from error


def load_network(kind: type[Any], folder: Path, **options: object) -> tuple[nn.Module, set[str]]:
    """Return a network of `diffusers` or `transformers` with its weights, and the names of those that it made up.

    Args:
        kind: its class.
        folder: of configuration and weights.
        options: of the class's `from_pretrained`.

    Raises:
        ValueError: when the weights are missing, cut short or damaged; and whatever the library raises.
    """
    path, *_ = weight_files(folder)
    read_tensors(path, ())  # its errors are clearer
    variant = 'fp16' if '.fp16' in path.name else None
    network, info = kind.from_pretrained(
        folder, variant=variant, use_safetensors=True, output_loading_info=True, **options
    )
    return network, set(info['missing_keys'])


def check_missing(folder: Path, names: Iterable[str]) -> None:
    """Refuse weights that a library would make up, at random.

    Raises:
        ValueError: naming the first one.
    """
    if missing := sorted(names):
        raise ValueError(
            f'{folder}: {missing[0]} is missing, {len(missing)} tensors in all; download the weights again'
        )


@contextmanager
def quiet(*libraries: str) -> Iterator[None]:
    """Keep progress bars and hints of the loading libraries, which tell nothing about the features, off the log."""
    found = [import_module(f'{name}.utils.logging') for name in libraries if find_spec(name)]
    levels = [library.get_verbosity() for library in found]
    bars = [library.is_progress_bar_enabled() for library in found]
    for library in found:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(found, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()
