"""The files of a checkpoint in the format of `diffusers`: which there are to be, and whether they are there.

Apart from what loads them, as importing that takes seconds.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
NETWORKS = ('unet', 'vae', 'text_encoder', 'text_encoder_2')
# Not those without moving average or for other programs, which lie beside them in some checkpoints.
_WEIGHTS = re.compile(r'(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors')


def check_complete(folder: Path) -> None:
    """Check that the files of a checkpoint are there, so far as they are read here.

    Libraries make up what is missing: weights at random, and a tokenizer of two tokens.

    Raises:
        ValueError: naming what is missing.
    """
    index = read_json(folder / 'model_index.json')
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
    except ValueError as error:
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
