"""Backends that are networks: their names, the packages that they need, and settings that all of them have."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from diffcut_ros.missing import needed

# Kind -> name -> model id on the Hugging Face Hub. Of diffusion networks, the checkpoints that the paper uses.
NAMES = {
    'diffusion': {
        'ssd-1b': 'segmind/SSD-1B',
        'ssd-vega': 'segmind/Segmind-Vega',
        'sd1.4': 'CompVis/stable-diffusion-v1-4',
    },
    'vit': {
        'dinov2-small': 'facebook/dinov2-small',
        'dinov2-base': 'facebook/dinov2-base',
        'dinov2-with-registers-small': 'facebook/dinov2-with-registers-small',
        'dinov2-with-registers-base': 'facebook/dinov2-with-registers-base',
        'dinov3-vits16': 'facebook/dinov3-vits16-pretrain-lvd1689m',
    },
}
MODELS = {name: model_id for names in NAMES.values() for name, model_id in names.items()}
# Kind -> what is imported for it; for either one, before it is known which.
_PACKAGES = {
    'hub': ('safetensors', 'huggingface_hub'),
    'diffusion': ('diffusers', 'safetensors', 'huggingface_hub'),
    'vit': ('transformers', 'safetensors', 'huggingface_hub'),
}

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def check_model(name: str) -> None:
    """Check that a name stands for a known model, a folder or a model id; whether there is such a model, it cannot say.

    Raises:
        ValueError: when it stands for nothing.
    """
    if name not in MODELS and not Path(name).expanduser().is_dir() and not re.fullmatch(r'[\w-][\w.-]*/[\w.-]+', name):
        raise ValueError(
            f'expected {", ".join(MODELS)}, an existing folder (a bundle of diffcut_export, or a checkpoint) or a '
            f'model id OWNER/NAME of the Hugging Face Hub, received {name!r}'
        )


def downloads_allowed(values: Mapping[str, object]) -> bool:
    """Whether a kind of backend may download, by parameters with their full names, also as text: before it is known."""
    return any(name.endswith('.allow_download') and str(value).lower() == 'true' for name, value in values.items())


@contextmanager
def packages(kind: str = 'diffusion') -> Iterator[None]:
    """Import the packages of a kind of backend, or what needs them, inside; it takes seconds.

    Raises:
        ValueError: saying what to install when one of them is missing, or cannot be imported.
    """
    try:
        with needed(f'{kind} backends', 'diffusion'):
            for name in _PACKAGES[kind]:
                if find_spec(name) is None:  # before any is imported
                    raise ModuleNotFoundError(name=name)
            yield
    except (ImportError, RuntimeError) as error:  # RuntimeError: diffusers and transformers, of what they import
        reason = str(error).strip().rpartition('\n')[2]
        raise ValueError(
            f'{kind} backends: importing their packages failed ({reason}). Next: install versions that fit each '
            'other: pip install --upgrade diffusers transformers safetensors huggingface-hub'
        ) from None


def aspect_ratio(aspect: str) -> float:
    """Return width / height of a network's input.

    Raises:
        ValueError: for an aspect that is not of the form WIDTHxHEIGHT (or WIDTH:HEIGHT), or beyond 1x8 and 8x1.
    """
    try:
        width, height = (float(side) for side in aspect.replace(':', 'x').split('x'))
        ratio = width / height
    except (ValueError, ZeroDivisionError):
        ratio = math.nan
    if not 1 / 8 <= ratio <= 8:
        raise ValueError(f'aspect: expected WIDTHxHEIGHT from 1x8 to 8x1, such as 4x3, received {aspect!r}')
    return ratio


def check_input_size(input_size: int, stride: int, of: str) -> None:
    """Check that the side of a network's input is a multiple of the pixels per cell.

    Args:
        input_size: px.
        stride: px per cell and side.
        of: what has that stride; for the error.

    Raises:
        ValueError: naming the sizes next to it.
    """
    if input_size % stride:
        below = max(1, input_size // stride) * stride
        raise ValueError(
            f'input_size: expected a multiple of {stride}, the {of}, received {input_size}; next to it are {below} '
            f'and {below + stride}'
        )


def input_hw(input_size: int, ratio: float, stride: int) -> tuple[int, int]:
    """Return height and width of a network's input: about input_size^2 pixels, multiples of the stride.

    Args:
        input_size: px.
        ratio: width / height.
        stride: px per cell and side.
    """
    root = math.sqrt(ratio)
    height, width = (max(1, round(side / stride)) * stride for side in (input_size / root, input_size * root))
    return height, width


def resolve_precision(
    precision: str, device: torch.device, on_cpu: Callable[[], torch.dtype] = lambda: torch.float32
) -> torch.dtype:
    """Return the numbers to compute with; 'auto' takes bfloat16 on a GPU (float16 where it has none), else `on_cpu`."""
    if precision != 'auto':
        return PRECISIONS[precision]
    if device.type != 'cuda':
        return on_cpu()
    return torch.bfloat16 if computes_bfloat16(device) else torch.float16


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device computes bfloat16 at full speed."""
    # In hardware from compute capability 8.0 (Ampere) on; older GPUs only emulate it.
    return device.type != 'cuda' or torch.cuda.get_device_capability(device) >= (8, 0)


def fast_on_cpu() -> torch.dtype:
    """Return bfloat16 where this processor has instructions for it (AVX-512 BF16, AMX), else float32."""
    # Versions of PyTorch that do not tell are taken to run on one without.
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, 'get_capabilities') else {}
    return torch.bfloat16 if known.get('avx512_bf16') or known.get('amx_bf16') else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """Return how a precision is named, such as bfloat16."""
    return str(precision).removeprefix('torch.')
