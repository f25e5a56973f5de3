"""From a backend's name to its extractor."""

from pathlib import Path

import torch

from diffcut_ros.features.diffusion.bundle import read_bundle
from diffcut_ros.features.diffusion.checkpoint import read_checkpoint
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
from diffcut_ros.features.files import INDEX, read_json
from diffcut_ros.features.hub import TINY_VAES, licence_of, locate, whole_checkpoint


def load_extractor(name: str, config: DiffusionConfig, device: torch.device) -> DiffusionExtractor:
    """Return the extractor of a bundle, a checkpoint's folder, a known name or a model id.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when the device has too little memory.
    """
    return DiffusionExtractor(load_encoder(name, config), config, device)


def load_encoder(name: str, config: DiffusionConfig) -> DiffusionEncoder:
    """Return an encoder; see `load_extractor`. Of the settings, those count that say what to load."""
    folder = Path(name).expanduser()
    if not (folder / INDEX).is_file():
        tiny = config.vae == 'tiny'
        return load_checkpoint(name, config.layer, config.tiny_vae if tiny else None, config.allow_download)
    encoder = read_bundle(folder)
    again = f'diffcut_export {encoder.source["model"]} NEW_FOLDER'
    if config.layer not in ('', encoder.layer):
        raise ValueError(
            f'layer: expected {encoder.layer}, the one in the bundle {folder}, received {config.layer}; write a bundle '
            f'for it: {again} --layer {config.layer}'
        )
    if config.vae not in encoder.vaes:
        raise ValueError(
            f'vae: expected {", ".join(encoder.vaes)}, the one in the bundle {folder}, received {config.vae}; write a '
            f'bundle with both: {again}'
        )
    tiny_vae = encoder.source.get('tiny_vae', '')
    if config.vae == 'tiny' and config.tiny_vae not in ('', tiny_vae):
        raise ValueError(
            f'tiny_vae: expected {tiny_vae}, the one in the bundle {folder}, received {config.tiny_vae}; write a '
            f'bundle with it: {again} --tiny-vae {config.tiny_vae}'
        )
    return encoder


def load_checkpoint(
    name: str, layer: str, tiny_vae: str | None, allow_download: bool, revision: str | None = None
) -> DiffusionEncoder:
    """Return the encoder of a whole checkpoint.

    Args:
        name: folder, known name or model id.
        layer: see `UNetEncoder`.
        tiny_vae: folder or model id of a tiny VAE; empty: the one for this type; None: without.
        allow_download: see `checkpoint_folder`.
        revision: see `checkpoint_folder`.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when this machine has too little memory.
    """
    folder, source = whole_checkpoint(name, allow_download, revision)
    tiny_folder = None
    if tiny_vae is not None:
        pipeline = read_json(folder / 'model_index.json').get('_class_name', '')
        tiny_vae = tiny_vae or TINY_VAES.get(pipeline, '')
        try:
            tiny_folder = locate(tiny_vae, allow_download, name) if tiny_vae else None
        except ValueError as error:
            raise ValueError(f'tiny_vae: {error}. Without one: vae: full, or diffcut_export --tiny-vae none') from error
    encoder = read_checkpoint(folder, layer, tiny_folder)
    if tiny_vae and tiny_folder:
        source |= {'tiny_vae': tiny_vae, 'tiny_vae_licence': licence_of(tiny_folder)}
    encoder.source.update(source)
    return encoder
