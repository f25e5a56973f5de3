"""From a backend's name to its extractor."""

from dataclasses import replace
from pathlib import Path

import torch

from diffcut_ros.features.files import INDEX
from diffcut_ros.features.hub import whole_checkpoint
from diffcut_ros.features.vit.bundle import read_bundle
from diffcut_ros.features.vit.checkpoint import read_checkpoint
from diffcut_ros.features.vit.config import VitConfig
from diffcut_ros.features.vit.encoder import VitEncoder
from diffcut_ros.features.vit.extractor import VitExtractor


def load_extractor(name: str, config: VitConfig, device: torch.device) -> VitExtractor:
    """Return the extractor of a bundle, a checkpoint's folder, a known name or a model id.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when the device has too little memory.
    """
    return VitExtractor(load_encoder(name, config), config, device)


def load_encoder(name: str, config: VitConfig) -> VitEncoder:
    """Return an encoder; see `load_extractor`. Of the settings, those count that say what to load."""
    folder = Path(name).expanduser()
    if not (folder / INDEX).is_file():
        return load_checkpoint(name, config.layer, config.allow_download)
    encoder = read_bundle(folder)
    again = f'diffcut_export {encoder.source["model"]} NEW_FOLDER'
    if config.layer not in ('last', encoder.network.layer):
        raise ValueError(
            f'layer: expected {encoder.network.layer}, the one in the bundle {folder}, received {config.layer}; write '
            f'a bundle for it: {again} --layer {config.layer}'
        )
    if config.kernel == 'joint' and encoder.statistics is None:
        raise ValueError(
            f'{folder}: expected the statistics of its features, for vit.kernel: joint, found a bundle without; write '
            f'it anew: {again}; or take vit.kernel: plain'
        )
    return encoder


def load_checkpoint(name: str, layer: str, allow_download: bool, revision: str | None = None) -> VitEncoder:
    """Return the encoder of a whole checkpoint; its statistics are not known yet.

    Args:
        name: folder, known name or model id.
        layer: see `VitConfig.layer`.
        allow_download: see `checkpoint_folder`.
        revision: see `checkpoint_folder`.

    Raises:
        ValueError: saying what was found, what was expected and what to do.
        MemoryError: when this machine has too little memory.
    """
    folder, source = whole_checkpoint(name, allow_download, revision)
    return replace(read_checkpoint(folder, layer), source=source)
