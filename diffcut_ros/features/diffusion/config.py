"""Settings of the diffusion backends; apart from the networks, whose libraries take seconds to import."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.missing import needed

# Names of the checkpoints that the paper uses -> model id on the Hugging Face Hub.
MODELS = {'ssd-1b': 'segmind/SSD-1B', 'ssd-vega': 'segmind/Segmind-Vega', 'sd1.4': 'CompVis/stable-diffusion-v1-4'}

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


@contextmanager
def packages() -> Iterator[None]:
    """Import the packages of the diffusion backends, or what needs them, inside; it takes seconds.

    Raises:
        ValueError: saying what to install when one of them is missing, or cannot be imported.
    """
    try:
        with needed('diffusion backends', 'diffusion'):
            for name in ('diffusers', 'safetensors', 'huggingface_hub'):
                if find_spec(name) is None:  # before any is imported
                    raise ModuleNotFoundError(name=name)
            yield
    except (ImportError, RuntimeError) as error:  # RuntimeError: diffusers, of what it imports
        reason = str(error).strip().rpartition('\n')[2]
        raise ValueError(
            f'diffusion backends: importing their packages failed ({reason}). Next: install versions that fit each '
            'other: pip install --upgrade diffusers transformers safetensors huggingface-hub'
        ) from None


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of the diffusion backends; raises ValueError for a value out of its range."""

    input_size: int = parameter(
        1024,
        "Side of the square that the network sees, or of the square with as many pixels; a multiple of the layer's "
        'stride, 32 for SSD-1B, SSD-Vega and SD 1.4',
        unit='px',
        minimum=16,
        maximum=4096,
    )
    aspect: str = parameter(
        '1x1',
        "Width to height of the network's input, such as 4x3 or 1280x720; 1x1 squeezes the image into a square, as "
        'in the paper',
        ratio=True,
    )
    timestep: int = parameter(
        50, 'Diffusion step whose noise is added to the image', unit='of the schedule', minimum=0, maximum=999
    )
    precision: str = parameter(
        'auto',
        'Numbers that the network computes with; auto: bfloat16 on a GPU (float16 where it has none), else float32',
        choices=('auto', *PRECISIONS),
    )
    vae: str = parameter(
        'full', "Image encoder: the checkpoint's own, or a tiny one that costs a tenth", choices=('full', 'tiny')
    )
    tiny_vae: str = parameter(
        '',
        'Folder or model id of the tiny image encoder; empty: the one published for this type of checkpoint',
    )
    layer: str = parameter(
        '',
        'Self-attention whose output is taken, such as down_blocks.1.attentions.1.transformer_blocks.1.attn1; empty: '
        'the last one of the encoder',
    )
    allow_download: bool = parameter(False, 'Download a checkpoint that is not on this machine')

    def __post_init__(self) -> None:
        validate(self)
        self.aspect_ratio()

    def aspect_ratio(self) -> float:
        """Return width / height of the network's input.

        Raises:
            ValueError: for an aspect that is not of the form WIDTHxHEIGHT (or WIDTH:HEIGHT), or beyond 1x8 and 8x1.
        """
        try:
            width, height = (float(side) for side in self.aspect.replace(':', 'x').split('x'))
            ratio = width / height
        except (ValueError, ZeroDivisionError):
            ratio = math.nan
        if not 1 / 8 <= ratio <= 8:
            raise ValueError(f'aspect: expected WIDTHxHEIGHT from 1x8 to 8x1, such as 4x3, received {self.aspect!r}')
        return ratio

    def input_hw(self, stride: int) -> tuple[int, int]:
        """Return height and width of the network's input: `aspect`, about input_size^2 pixels, multiples of `stride`.

        Raises:
            ValueError: when `input_size` is not a multiple of the stride.
        """
        if self.input_size % stride:
            below = max(1, self.input_size // stride) * stride
            raise ValueError(
                f'input_size: expected a multiple of {stride}, the stride of the layer, received {self.input_size}; '
                f'next to it are {below} and {below + stride}'
            )
        root = math.sqrt(self.aspect_ratio())
        height, width = (
            max(1, round(side / stride)) * stride for side in (self.input_size / root, self.input_size * root)
        )
        return height, width
