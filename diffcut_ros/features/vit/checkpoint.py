"""Reads what is needed of a vision transformer's checkpoint in the format of `transformers`."""

import math
from pathlib import Path
from typing import Any

import torch

from diffcut_ros.features.files import CONFIG, PREPROCESSORS, Json, check_no_code, read_json, weight_files
from diffcut_ros.features.vit.encoder import Scaling, VitEncoder
from diffcut_ros.features.vit.network import VitNetwork, class_of, pooling, trimmed
from diffcut_ros.features.weights import check_missing, load_network, quiet, read_soundly

# What is learned for training alone, and missing in some checkpoints.
_UNUSED = 'mask_token'


def read_checkpoint(folder: Path, layer: str = 'last') -> VitEncoder:
    """Return the encoder of a checkpoint; of a model for images and texts, that for images.

    Args:
        folder: with config.json, preprocessor_config.json and weights.
        layer: see `VitConfig.layer`.

    Raises:
        ValueError: for anything that is no vision transformer, brings code of its own, or is incomplete or damaged.
        MemoryError: when this machine has too little memory.
    """
    check_no_code(folder)
    path = folder / CONFIG
    kind = class_of(read_json(path), str(path))
    scaling = read_scaling(folder)
    weight_files(folder)
    network = read_soundly(folder, lambda: _read_network(folder, kind, layer))
    return VitEncoder({'model': str(folder)}, network, scaling, statistics=None)


def _read_network(folder: Path, kind: type[Any], layer: str) -> VitNetwork:
    with quiet('transformers'):
        config = trimmed(kind.config_class.from_pretrained(folder, local_files_only=True), layer)
        network, missing = load_network(kind, folder, config=config, local_files_only=True, **pooling(kind))
    check_missing(folder, (name for name in missing if not name.endswith(_UNUSED)))
    # Versions differ in whether they keep the precision of the file.
    return VitNetwork(network.to(torch.float32).requires_grad_(False).eval(), layer)


def read_scaling(folder: Path) -> Scaling:
    """Return how the pixels of images are scaled for a network.

    Raises:
        ValueError: when the checkpoint does not say so.
    """
    path = next((folder / name for name in PREPROCESSORS if (folder / name).exists()), folder / PREPROCESSORS[0])
    example = '{"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}'
    remedy = f'download the checkpoint again, or write there how its images are scaled, such as {example}'
    settings = read_json(path, remedy)
    settings = settings.get('image_processor', settings)
    try:
        scaling = _scaling(settings)
        if not all(math.isfinite(value) for value in (scaling.factor, *scaling.mean, *scaling.std)):
            raise ValueError('numbers that are not finite')
        if len(scaling.mean) != 3 or len(scaling.std) != 3 or not all((scaling.factor, *scaling.std)):
            raise ValueError('not three numbers each, or zeros')
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f'{path}: expected image_mean and image_std, found others ({error!r}); {remedy}') from error
    return scaling


def _scaling(settings: Json) -> Scaling:
    # As the processors of transformers: what is left out is done, and 1 / 255 is the usual factor.
    factor = float(settings.get('rescale_factor', 1 / 255)) if settings.get('do_rescale', True) else 1.0
    if not settings.get('do_normalize', True):
        return Scaling(factor, (0.0,) * 3, (1.0,) * 3)
    mean, std = (tuple(float(value) for value in settings[name]) for name in ('image_mean', 'image_std'))
    return Scaling(factor, mean, std)
