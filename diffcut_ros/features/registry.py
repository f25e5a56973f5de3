"""Which backends there are. A new one is a file beside this and a line in `CONFIGS` and `create_extractor`."""

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from diffcut_ros.core.types import FeatureMap
from diffcut_ros.features.color import ColorConfig, ColorExtractor
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.files import CONFIG, INDEX, PIPELINE
from diffcut_ros.features.models import MODELS, NAMES, check_model, packages
from diffcut_ros.features.vit.config import VitConfig

# Backends that have a name; folders and model ids are backends, too.
BACKENDS = ('color', *MODELS)
# Kind of backend -> its configuration dataclass.
CONFIGS = {'color': ColorConfig, 'diffusion': DiffusionConfig, 'vit': VitConfig}


class Extractor(Protocol):
    """What every backend gives: a function from images to features that describes itself.

    Attributes:
        channels: of the features.
        device: where the features are.
        description: of model and settings, as text.
    """

    channels: int
    device: torch.device
    description: str

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB."""

    def batch(self, images_rgb: list[np.ndarray]) -> list[FeatureMap]:
        """Return the features of several images of any sizes, in one pass where the backend can."""

    def prepare(self, batch: int) -> None:
        """Do now what would otherwise take time in the first batch of that many images."""

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the features of an image of that height and width."""

    def fingerprint(self) -> str:
        """Return a digest of all that shapes the features beside the image: settings, weights, code."""


def kind_of(name: str, allow_download: bool = False) -> str:
    """Return the kind of a backend, a key of `CONFIGS`.

    Args:
        name: see `create_extractor`.
        allow_download: whether the Hub may be asked what a model id stands for that is not on this machine.

    Raises:
        ValueError: for a name that stands for nothing, or for no kind that is known.
    """
    if name == 'color':
        return name
    for kind, models in NAMES.items():
        if name in models:
            return kind
    try:
        check_model(name)
    except ValueError as error:
        raise ValueError(f'backend: expected color, or {str(error).removeprefix("expected ")}') from error
    folder = Path(name).expanduser()
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
    else:
        with packages('hub'):
            from diffcut_ros.features.hub import file_names
        names = file_names(name, allow_download)
    if INDEX in names:
        with packages('hub'):
            from diffcut_ros.features.bundle import kind_of_bundle
        return kind_of_bundle(folder)
    if PIPELINE in names:
        return 'diffusion'
    if CONFIG in names:
        return 'vit'
    raise ValueError(
        f'{name}: expected {INDEX} (a bundle, written by: diffcut_export MODEL NEW_FOLDER), {CONFIG} (a vision '
        f'transformer in the format of transformers) or {PIPELINE} (a Stable Diffusion checkpoint in the format of '
        f'diffusers), found {", ".join(sorted(names)[:8]) or "nothing"}'
    )


def create_extractor(name: str, device: str | torch.device = 'auto', **options: object) -> Extractor:
    """Build the feature extractor of a backend.

    Args:
        name: 'color'; one of `models.MODELS`, such as 'dinov2-small' or 'ssd-1b'; the folder of a bundle (written by
            diffcut_export) or of a checkpoint in the format of diffusers or transformers; or a model id OWNER/NAME of
            the Hugging Face Hub.
        device: where the features and all that follows are computed: 'auto' (CUDA where present, else the CPU), 'cpu',
            'cuda', 'cuda:1', ...
        options: fields of the configuration dataclass of this kind of backend, see `CONFIGS`.

    Returns:
        A callable that maps an image, uint8 [H, W, 3] RGB, to its `FeatureMap`.

    Raises:
        ValueError: for an unknown backend or option (listing the known ones), a value out of range, an absent device,
            or a checkpoint that is missing, damaged or of another kind.
        MemoryError: when the device has too little memory.
    """
    kind = kind_of(name, options.get('allow_download') is True)
    known = [field.name for field in dataclasses.fields(CONFIGS[kind])]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f'{name}: expected options among {", ".join(known)}, received {", ".join(unknown)}')
    config, where = CONFIGS[kind](**options), resolve_device(device)
    if kind == 'color':
        return ColorExtractor(config, where)
    with packages(kind):
        from diffcut_ros.features.hub import locate
    locate(name, config.allow_download, name)  # whether there is anything to load is told before the seconds
    with packages(kind):
        module = import_module(f'diffcut_ros.features.{kind}.load')
    return module.load_extractor(name, config, where)


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the device of that name, or that device; 'auto' takes CUDA where present.

    Raises:
        ValueError: for a device that is not there.
    """
    name = str(name)
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    found = ['cpu', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))]
    reason = '' if torch.backends.cuda.is_built() else '; this PyTorch is built without CUDA'
    try:
        if name in (*found, 'cuda'):  # PyTorch knows many more kinds, for which nothing is made here
            device = torch.device(name)
            torch.empty(0, device=device)
            return device
    except (RuntimeError, AssertionError) as error:
        reason = f' ({str(error).splitlines()[0]})'
    raise ValueError(f'device: expected auto or one of {", ".join(found)}, received {name!r}{reason}')
