"""A vision transformer as a folder: what a robot carries. `transformers` can load it, too.

bundle.json                 source and licence, layer, digests; see `features.bundle`
config.json, model.safetensors    the network up to the layer
preprocessor_config.json          how images are scaled
statistics.safetensors            of the features, for the joint kernel
"""

import json
from pathlib import Path

from diffcut_ros.features import bundle
from diffcut_ros.features.files import Json
from diffcut_ros.features.vit.checkpoint import read_checkpoint
from diffcut_ros.features.vit.encoder import VitEncoder
from diffcut_ros.features.vit.kernel import Statistics
from diffcut_ros.features.weights import quiet, read_tensors

_NETWORK = ('config.json', 'model.safetensors', 'preprocessor_config.json')
_STATISTICS = 'statistics.safetensors'


def write_bundle(encoder: VitEncoder, folder: Path) -> None:
    """Write an encoder into a new folder: all of it, or nothing.

    Raises:
        ValueError: when the folder holds something.
        OSError: when there is no room for it.
    """

    def fill() -> None:
        with quiet('transformers'):
            # One file, whatever its size.
            encoder.network.network.save_pretrained(folder, max_shard_size='1TB', safe_serialization=True)
        scaling = encoder.scaling
        content = {'rescale_factor': scaling.factor, 'image_mean': scaling.mean, 'image_std': scaling.std}
        (folder / _NETWORK[2]).write_text(json.dumps(content, indent=2) + '\n')
        if encoder.statistics is not None:
            bundle.write_tensors(encoder.statistics.tensors(), folder / _STATISTICS)

    bundle.write(folder, 'vit', {'source': encoder.source, 'layer': encoder.network.layer}, fill)


def read_bundle(folder: Path) -> VitEncoder:
    """Return the encoder of a bundle, after a check of every file's digest.

    Raises:
        ValueError: when a file is missing, damaged or of another format, with the command that writes it anew.
        MemoryError: when this machine has too little memory.
    """
    return bundle.read(folder, 'vit', _names, lambda index, again: _read(folder, index))


def _names(index: Json) -> list[str]:
    """Return the files of an index; raise unless it holds what is read of it, see `bundle.read`."""
    if not isinstance(index['layer'], str):
        raise ValueError('layer: expected a text')
    return [*_NETWORK, *({_STATISTICS} & index['files'].keys())]


def _read(folder: Path, index: Json) -> VitEncoder:
    encoder = read_checkpoint(folder, index['layer'])
    path = folder / _STATISTICS
    statistics = Statistics.of(read_tensors(path)) if path.exists() else None
    if statistics is not None and len(statistics.mean) != encoder.network.channels:
        raise ValueError(
            f'{path.name}: expected statistics of {encoder.network.channels} channels, as the network has, found '
            f'{len(statistics.mean)}'
        )
    return VitEncoder(index['source'], encoder.network, encoder.scaling, statistics)
