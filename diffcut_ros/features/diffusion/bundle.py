"""An encoder as a folder: what a robot carries. Loads without network and without `transformers`.

bundle.json      source and licence, layer, configurations, digests; see `features.bundle`
unet.safetensors, vae_full.safetensors, vae_tiny.safetensors    weights
prompt.safetensors                                              embedding of the empty prompt, noise schedule
"""

from pathlib import Path

from diffcut_ros.features import bundle
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.files import Json
from diffcut_ros.features.weights import Weights, read_tensors


def write_bundle(encoder: DiffusionEncoder, folder: Path) -> None:
    """Write an encoder into a new folder: all of it, or nothing.

    Raises:
        ValueError: when the folder holds something.
        OSError: when there is no room for it.
    """
    prompt = {'prompt': encoder.prompt, 'alphas_cumprod': encoder.alphas_cumprod}
    if encoder.pooled is not None:
        prompt['pooled'] = encoder.pooled
    contents = {'unet': encoder.unet, 'prompt': prompt}
    contents |= {f'vae_{name}': weights for name, (_, weights) in encoder.vaes.items()}

    def fill() -> None:
        for name, weights in contents.items():
            bundle.write_tensors(weights, folder / f'{name}.safetensors')

    index = {
        'source': encoder.source,
        'layer': encoder.layer,
        'unet': _public(encoder.unet_config),
        'vaes': {name: _public(config) for name, (config, _) in encoder.vaes.items()},
    }
    bundle.write(folder, 'diffusion', index, fill)


def read_bundle(folder: Path) -> DiffusionEncoder:
    """Return the encoder of a bundle, after a check of every file's digest.

    Raises:
        ValueError: when a file is missing, damaged or of another format, with the command that writes it anew.
        MemoryError: when this machine has too little memory.
    """
    return bundle.read(folder, 'diffusion', _names, lambda index, again: _read(folder, index, again))


def _names(index: Json) -> list[str]:
    """Return the files of an index; raise unless it holds what is read of it, see `bundle.read`."""
    for name in ('unet', 'vaes'):
        if not isinstance(index[name], dict):
            raise ValueError(f'{name}: expected dict, found {type(index[name]).__name__}')
    if not isinstance(index['layer'], str):
        raise ValueError('layer: expected a text')
    for name, config in index['vaes'].items():
        if not isinstance(config, dict):
            raise ValueError(f'vae {name}: expected dict, found {type(config).__name__}')
    return [f'{name}.safetensors' for name in ('unet', 'prompt', *(f'vae_{name}' for name in index['vaes']))]


def _read(folder: Path, index: Json, again: str) -> DiffusionEncoder:
    def weights(name: str) -> Weights:
        return read_tensors(folder / f'{name}.safetensors')

    prompt = weights('prompt')
    if missing := {'prompt', 'alphas_cumprod'} - prompt.keys():
        raise ValueError(f'{folder / "prompt.safetensors"}: expected {", ".join(sorted(missing))}, found none; {again}')
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
