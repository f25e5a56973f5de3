"""An encoder as a folder: what a robot carries. Loads without network and without `transformers`.

bundle.json      source and licence, layer, configurations, size and SHA-256 of every other file, SHA-256 of all that
unet.safetensors, vae_full.safetensors, vae_tiny.safetensors    weights
prompt.safetensors                                              embedding of the empty prompt, noise schedule
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from diffcut_ros.core.memory import within_memory
from diffcut_ros.features.diffusion.checkpoint import read_tensors
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder, Weights
from diffcut_ros.features.diffusion.files import Json, check_settings, read_json

INDEX = 'bundle.json'
_FORMAT = 'diffcut_ros encoder bundle, version 1'
# What an interrupted export may have left.
_FILES = {f'{name}.safetensors' for name in ('unet', 'vae_full', 'vae_tiny', 'prompt')} | {f'{INDEX}.part'}


def write_bundle(encoder: DiffusionEncoder, folder: Path) -> None:
    """Write an encoder into a new folder: all of it, or nothing.

    Raises:
        ValueError: when the folder holds something.
        OSError: when there is no room for it.
    """
    check_target(folder)
    prompt = {'prompt': encoder.prompt, 'alphas_cumprod': encoder.alphas_cumprod}
    if encoder.pooled is not None:
        prompt['pooled'] = encoder.pooled
    contents = {'unet': encoder.unet, 'prompt': prompt}
    contents |= {f'vae_{name}': weights for name, (_, weights) in encoder.vaes.items()}
    files = {}
    try:
        for name, weights in contents.items():
            path = folder / f'{name}.safetensors'
            try:
                save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
            except SafetensorError as error:
                raise OSError(f'{path} cannot be written: {error}') from error
            files[path.name] = {'bytes': path.stat().st_size, 'sha256': _sha256(path)}
        index = {
            'format': _FORMAT,
            'source': encoder.source,
            'layer': encoder.layer,
            'unet': _public(encoder.unet_config),
            'vaes': {name: _public(config) for name, (config, _) in encoder.vaes.items()},
            'files': files,
        }
        index['sha256'] = _digest(index)
        part = folder / f'{INDEX}.part'
        part.write_text(json.dumps(index, indent=2) + '\n')
        for name in files:  # safetensors writes for the owner alone
            shutil.copymode(part, folder / name)
        part.rename(folder / INDEX)  # last: without it, the folder is no bundle
    except BaseException:
        for path in folder.iterdir():
            path.unlink()
        raise


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


def read_bundle(folder: Path) -> DiffusionEncoder:
    """Return the encoder of a bundle, after a check of every file's digest.

    Raises:
        ValueError: when a file is missing, damaged or of another format, with the command that writes it anew.
        MemoryError: when this machine has too little memory.
    """
    again = 'write it anew: diffcut_export {} NEW_FOLDER'
    path = folder / INDEX
    index = read_json(path, again.format('MODEL'))
    if index.get('format') != _FORMAT:
        raise ValueError(f'{path}: expected format {_FORMAT!r}, found {index.get("format")!r}; {again.format("MODEL")}')
    if index.get('sha256') != _digest(index):
        raise ValueError(
            f'{path}: expected the content that its SHA-256 tells, found another: it was changed or is damaged; '
            f'{again.format("MODEL")}'
        )
    check_settings(path, index)
    again = again.format(index['source']['model'])
    return within_memory(lambda: _read(folder, index, again), torch.device('cpu'), f'reading {folder} needs more')


def _read(folder: Path, index: Json, again: str) -> DiffusionEncoder:
    for name, expected in index['files'].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f'{path}: expected a file of {expected["bytes"]} bytes, found none; {again}')
        if path.stat().st_size != expected['bytes']:
            raise ValueError(f'{path}: expected {expected["bytes"]} bytes, found {path.stat().st_size}; {again}')
        if _sha256(path) != expected['sha256']:
            raise ValueError(f'{path}: expected SHA-256 {expected["sha256"]}, found another: it is damaged; {again}')

    def weights(name: str) -> Weights:
        return read_tensors(folder / f'{name}.safetensors')

    prompt = weights('prompt')
    return DiffusionEncoder(
        source=index['source'],
        layer=index['layer'],
        unet_config=index['unet'],
        unet=weights('unet'),
        vaes={name: (config, weights(f'vae_{name}')) for name, config in index['vaes'].items()},
        prompt=prompt['prompt'],
        pooled=prompt.get('pooled'),
        alphas_cumprod=prompt['alphas_cumprod'],
    )


def _public(config: Json) -> Json:
    """Return a configuration without what tells where it was on the machine it was made on."""
    return {name: value for name, value in config.items() if name == '_class_name' or not name.startswith('_')}


def _digest(index: Json) -> str:
    """Return the SHA-256 of an index without the entry that holds it."""
    rest = {name: value for name, value in index.items() if name != 'sha256'}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
