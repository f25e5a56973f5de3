"""Reads what the encoder needs, and no more, from a checkpoint in the format of `diffusers`."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import nn

from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.unet import UNetEncoder
from diffcut_ros.features.diffusion.vae import ImageEncoder
from diffcut_ros.features.files import Json, check_complete, check_no_code, read_json, weight_files
from diffcut_ros.features.weights import (
    Weights,
    check_missing,
    check_weights,
    load_network,
    quiet,
    read_soundly,
    read_tensors,
)
from diffcut_ros.missing import needed

_UNUSED = ('unet', 'vae', 'scheduler', 'safety_checker', 'feature_extractor', 'image_encoder')
_PIPELINES = ('StableDiffusionPipeline', 'StableDiffusionXLPipeline')


def read_checkpoint(folder: Path, layer: str = '', tiny_vae: Path | None = None) -> DiffusionEncoder:
    """Return the encoder of a checkpoint; the prompt is encoded here, and its text encoders are dropped.

    Args:
        folder: with model_index.json, unet/, vae/, scheduler/, tokenizer/ and text_encoder/ (SDXL: two of these).
        layer: see `UNetEncoder`.
        tiny_vae: folder of an AutoencoderTiny.

    Raises:
        ValueError: for anything that is not a text-to-image checkpoint with a UNet, brings code of its own, or is
            incomplete or damaged.
        MemoryError: when this machine has too little memory.
    """
    for one in filter(None, (folder, tiny_vae)):
        check_no_code(one)
    index = read_json(folder / 'model_index.json')
    kind = index.get('_class_name')
    if kind not in _PIPELINES:
        found = f'{kind} with a transformer' if 'transformer' in index else str(kind)
        raise ValueError(
            f'{folder}: expected a checkpoint of {" or ".join(_PIPELINES)}, found {found}. DiffCut takes its features '
            "from a UNet's encoder; choose ssd-1b, ssd-vega, sd1.4 or another Stable Diffusion 1, 2 or XL checkpoint"
        )
    check_complete(folder)
    return read_soundly(folder, lambda: _read_parts(folder, index, layer, tiny_vae))


def _read_parts(folder: Path, index: Json, layer: str, tiny_vae: Path | None) -> DiffusionEncoder:
    unet_config = read_json(folder / 'unet/config.json')
    encoder = UNetEncoder(unet_config, layer)
    with quiet('diffusers', 'transformers'):
        vaes = {'full': _read_vae(folder / 'vae', AutoencoderKL)}
        if tiny_vae is not None:
            vaes['tiny'] = _read_vae(tiny_vae, AutoencoderTiny)
        prompt, pooled = _encode_empty_prompt(folder, index)
        schedule = DDIMScheduler.from_config(read_json(folder / 'scheduler/scheduler_config.json'))
    return DiffusionEncoder(
        source={'model': str(folder)},
        layer=encoder.layer,
        unet_config=unet_config,
        unet=_read_weights(folder / 'unet', encoder.state_dict()),
        vaes=vaes,
        prompt=prompt,
        pooled=pooled,
        alphas_cumprod=schedule.alphas_cumprod,
    )


def _read_weights(folder: Path, expected: Weights) -> Weights:
    weights: Weights = {}
    for path in weight_files(folder):
        weights |= read_tensors(path, expected)
    check_weights(str(folder), weights, expected)
    return weights


def read_unet(folder: Path) -> UNet2DConditionModel:
    """Return the whole UNet of a checkpoint, of which the encoder is a part.

    Args:
        folder: of the checkpoint.

    Raises:
        ValueError: when it is incomplete or damaged.
    """
    check_no_code(folder)
    folder = folder / 'unet'
    with quiet('diffusers', 'transformers'):
        unet, missing = _load(UNet2DConditionModel, folder)
    check_missing(folder, missing)
    return unet


def _read_vae(folder: Path, kind: type[Any]) -> tuple[Json, Weights]:
    """Return configuration and encoder weights; read by `diffusers`, which knows the names that weights once had."""
    config = read_json(folder / 'config.json', f'expected that of an {kind.__name__}')
    if config.get('_class_name') != kind.__name__:
        raise ValueError(f'{folder}: expected an {kind.__name__}, found {config.get("_class_name")}')
    expected = ImageEncoder(config).state_dict()
    vae, missing = _load(kind, folder)
    check_missing(folder, missing & set(expected))
    weights = vae.state_dict()
    return config, {name: weights[name] for name in expected}


def _load(kind: type[Any], folder: Path) -> tuple[nn.Module, set[str]]:
    # The same way with and without the package accelerate; transformers knows no such option.
    options = {'low_cpu_mem_usage': False} if issubclass(kind, diffusers.ModelMixin) else {}
    return load_network(kind, folder, **options)


def _encode_empty_prompt(folder: Path, index: Json) -> tuple[torch.Tensor, torch.Tensor | None]:
    bundle = 'use a bundle, which needs none, of a machine that has it: diffcut_export MODEL NEW_FOLDER'
    with needed(f'{folder}: the text encoder of a whole checkpoint', 'diffusion', bundle):
        import transformers
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    kinds = {'StableDiffusionPipeline': StableDiffusionPipeline, 'StableDiffusionXLPipeline': StableDiffusionXLPipeline}
    parts: dict[str, nn.Module | None] = {name: None for name in _UNUSED if name in index}
    for name in ('text_encoder', 'text_encoder_2'):
        if name in index:
            network, missing = _load(getattr(transformers, index[name][1]), folder / name)
            check_missing(folder / name, missing)
            parts[name] = network.to(torch.float32)
    pipeline = kinds[index['_class_name']].from_pretrained(folder, local_files_only=True, **parts)
    with torch.no_grad():
        prompt, _, *pooled = pipeline.encode_prompt(
            '', device='cpu', num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    return prompt, pooled[0] if pooled else None
