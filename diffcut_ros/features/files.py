"""The files of checkpoints in the formats of `diffusers` and `transformers`: which there are to be, which there are.

Apart from what loads them, as importing that takes seconds.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diffcut_ros.printable import LONGEST_NAME, printable

Json = dict[str, Any]
# What makes a folder a bundle, a checkpoint of diffusers, one of transformers.
INDEX, PIPELINE, CONFIG = 'bundle.json', 'model_index.json', 'config.json'
# Of checkpoints with an image encoder, by the versions of transformers: how images are scaled.
PREPROCESSORS = ('preprocessor_config.json', 'processor_config.json')
NETWORKS = ('unet', 'vae', 'text_encoder', 'text_encoder_2')
# Not those without moving average or for other programs, which lie beside them in some checkpoints.
_WEIGHTS = re.compile(r'(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors')

# Their keys are words.
_VOCABULARIES = ('vocab.json', 'tokenizer.json', 'added_tokens.json')
# Where the classes of a checkpoint may be from; the last one, of a safety checker, is a part of diffusers.
_LIBRARIES = (None, 'diffusers', 'transformers', 'stable_diffusion')
_TEXT_ENCODERS, _TOKENIZERS = ('CLIPTextModel', 'CLIPTextModelWithProjection'), ('CLIPTokenizer', 'CLIPTokenizerFast')
_CLASSES = {
    'text_encoder': _TEXT_ENCODERS,
    'text_encoder_2': _TEXT_ENCODERS,
    'tokenizer': _TOKENIZERS,
    'tokenizer_2': _TOKENIZERS,
}
# Settings by which diffusers and transformers run code that lies in a checkpoint or on the Hub.
_CODE = ('auto_map', 'custom_pipeline', 'custom_pipelines', 'custom_revision', 'trust_remote_code', 'use_kernels')


def check_complete(folder: Path) -> None:
    """Check that the files of a checkpoint are there, so far as they are read here.

    Libraries make up what is missing: weights at random, and a tokenizer of two tokens.

    Raises:
        ValueError: naming what is missing.
    """
    if not (folder / PIPELINE).exists():
        config = read_json(folder / CONFIG)
        weight_files(folder)
        if 'model_type' in config and not any((folder / name).exists() for name in PREPROCESSORS):
            read_json(folder / PREPROCESSORS[0])
        return
    index = read_json(folder / PIPELINE)
    for part in NETWORKS:
        if part in index or part in ('unet', 'vae', 'text_encoder'):
            read_json(folder / part / 'config.json')
            weight_files(folder / part)
    for part in ('tokenizer', 'tokenizer_2'):
        if part in index or part == 'tokenizer':
            names = {path.name for path in (folder / part).glob('*')}
            if not ('tokenizer.json' in names or {'vocab.json', 'merges.txt'} <= names):
                found = ', '.join(sorted(names)) or 'nothing'
                raise ValueError(
                    f'{folder / part}: expected tokenizer.json, or vocab.json and merges.txt, found {found}; download '
                    'the checkpoint again'
                )
            for name in names & {'tokenizer.json', 'vocab.json'} | {'tokenizer_config.json'}:
                read_json(folder / part / name)
    read_json(folder / 'scheduler/scheduler_config.json')


def check_no_code(folder: Path) -> None:
    """Refuse a checkpoint that would have code run which is not of the libraries themselves.

    Not left to `diffusers` and `transformers`: what they refuse changes with their versions. To be called before they
    are given the folder.

    Raises:
        ValueError: naming the file and what it asks for.
    """
    for path in sorted((*folder.glob('*.json'), *folder.glob('*/*.json'))):
        if path.name in _VOCABULARIES:
            continue
        try:
            settings = read_json(path)
        except ValueError:
            continue  # who needs it says so
        if path.name == 'adapter_config.json':
            raise _code(path, 'an adapter, which names other weights')
        check_settings(path, settings)
        for part, value in settings.items() if path.name == PIPELINE else ():
            if not isinstance(value, list) or part.startswith('_'):
                continue
            library, kind = (*value, None, None)[:2]
            if library not in _LIBRARIES or kind not in _CLASSES.get(part, (kind,)):
                raise _code(path, f'{part} {value}')


def check_settings(path: Path, settings: Any) -> None:
    """Refuse settings, of any depth, that name code, or weights in files of other kinds; see `check_no_code`."""
    if isinstance(settings, list):
        for value in settings:
            check_settings(path, value)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        named = value.values() if isinstance(value, dict) else [value]
        of_weights = key in ('weight_map', 'transformers_weights')
        if (
            (key in _CODE and value)
            or (key == '_class_name' and not (isinstance(value, str) and value.isidentifier()))
            # Kernels of the Hub are named OWNER/NAME.
            or (key.endswith('_implementation') and '/' in str(value))
            or (of_weights and not all(_WEIGHTS.fullmatch(str(one)) for one in named))
        ):
            raise _code(path, f'{key} {value}')
        check_settings(path, value)


def _code(path: Path, found: str) -> ValueError:
    return ValueError(
        f'{path}: expected settings and weights alone, found {printable(found, LONGEST_NAME)}: this would have code or '
        'files of others loaded; nothing of it was; choose another checkpoint'
    )


def read_json(path: Path, remedy: str = 'download the checkpoint again') -> Json:
    """Return the content of a JSON file.

    Args:
        path: of the file.
        remedy: what to do without it; for the error.

    Raises:
        ValueError: when it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text('utf-8'))
    except OSError as error:
        raise ValueError(f'{path}: expected a file, found none ({error.strerror}); {remedy}') from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: expected JSON, found something else ({error}); {remedy}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected a JSON object, found {type(content).__name__}; {remedy}')
    return content


def select_weights(names: Iterable[str], prefer_half: bool) -> list[str]:
    """Return the weights of one part of a checkpoint among file names: one set, although several may lie there.

    Args:
        names: with or without a folder.
        prefer_half: take float16 weights (variant fp16) where there are both; otherwise the full ones.
    """
    weights = [name for name in names if _WEIGHTS.fullmatch(name.rpartition('/')[2])]
    preferred = [name for name in weights if ('.fp16' in name) == prefer_half]
    return sorted(preferred or weights)


def weight_files(folder: Path) -> list[Path]:
    """Return the files with the weights of one part of a checkpoint, full ones if there, else float16.

    Raises:
        ValueError: when there are none.
    """
    names = sorted(path.name for path in folder.glob('*'))
    chosen = select_weights(names, prefer_half=False)
    if not chosen:
        found = ', '.join(names) or 'nothing'
        raise ValueError(f'{folder}: expected weights as .safetensors, found {found}; download the checkpoint again')
    shards = re.search(r'-of-(\d+)', chosen[0])
    if shards and len(chosen) != int(shards[1]):
        raise ValueError(
            f'{folder}: expected {int(shards[1])} parts of the weights, found {len(chosen)}; download the rest'
        )
    return [folder / name for name in chosen]
