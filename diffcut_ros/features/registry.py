"""Which backends there are. A new one is a file beside this and a line in `BACKENDS`."""

import dataclasses
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch

from diffcut_ros.core.types import FeatureMap

# name -> module, extractor class, configuration dataclass. Modules are imported when asked for: some are heavy.
BACKENDS = {
    'color': ('diffcut_ros.features.color', 'ColorExtractor', 'ColorConfig'),
}


def config_type(name: str) -> type:
    """Return the configuration dataclass of a backend.

    Raises:
        ValueError: for an unknown backend, listing the known ones.
    """
    if name not in BACKENDS:
        raise ValueError(f'backend: expected one of {", ".join(BACKENDS)}, received {name!r}')
    module, _, config = BACKENDS[name]
    return getattr(import_module(module), config)


def create_extractor(name: str, device: str = 'auto', **options: object) -> Callable[[np.ndarray], FeatureMap]:
    """Build the feature extractor of a backend.

    Args:
        name: backend, one of `BACKENDS`.
        device: where the features and all that follows are computed: 'auto' (CUDA where present, else the CPU), 'cpu',
            'cuda', 'cuda:1', ...
        options: fields of the backend's configuration dataclass.

    Returns:
        A callable that maps an image, uint8 [H, W, 3] RGB, to its `FeatureMap`.

    Raises:
        ValueError: for an unknown backend or option (listing the known ones), a value out of range or an absent device.
    """
    config = config_type(name)
    known = [field.name for field in dataclasses.fields(config)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f'{name}: expected options among {", ".join(known)}, received {", ".join(unknown)}')
    module, extractor, _ = BACKENDS[name]
    return getattr(import_module(module), extractor)(config(**options), resolve_device(device))


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; 'auto' takes CUDA where present.

    Raises:
        ValueError: for a device that is not there.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        found = ['cpu', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))]
        raise ValueError(f'device: expected auto or one of {", ".join(found)}, received {name!r} ({error})') from error
    return device
