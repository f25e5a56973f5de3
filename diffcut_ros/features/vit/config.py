"""Settings of the vision transformers; apart from the networks, whose libraries take seconds to import."""

from dataclasses import dataclass

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.features.models import PRECISIONS, aspect_ratio, check_input_size, input_hw

# Side of the square that 0 stands for.
_PATCHES = 28
# Images beyond are squeezed: one patch high, they would be too long for any memory.
_LONGEST = 8.0
_CAMERA = 'camera'


@dataclass(frozen=True)
class VitConfig:
    """Settings of the vision transformers; raises ValueError for a value out of its range."""

    input_size: int = parameter(
        0,
        'Side of the square with as many pixels as what the network sees; a multiple of the patch, 14 for DINOv2, 16 '
        'for DINOv3; 0: 28 patches, so 392 or 448',
        unit='px',
        minimum=0,
        maximum=4096,
    )
    aspect: str = parameter(
        _CAMERA,
        "Width to height of the network's input, such as 4x3 or 1x1, into which images are squeezed; camera: that of "
        'the image (at most 8:1), to the nearest patch',
        ratio=True,
    )
    layer: str = parameter(
        'last',
        'Which features: last (after the last block and its norm), or of one block, counted from 1, such as 9.tokens, '
        '9.keys or 9.values; blocks after it are not loaded',
    )
    precision: str = parameter(
        'auto',
        'Numbers that the network computes with; auto: bfloat16 on a GPU (float16 where it has none) and on a CPU with '
        'instructions for it (AVX-512 BF16, AMX), else float32',
        choices=('auto', *PRECISIONS),
    )
    kernel: str = parameter(
        'joint',
        "What makes two cells alike: joint (the network's features, colour, texture and position, in one Gaussian "
        "kernel) or plain (the cosine of the network's features, as in the paper)",
        choices=('joint', 'plain'),
    )
    allow_download: bool = parameter(False, 'Download a checkpoint that is not on this machine')

    def __post_init__(self) -> None:
        validate(self)
        if self.aspect != _CAMERA:
            aspect_ratio(self.aspect)

    def check(self, patch: int) -> None:
        """Raise ValueError when `input_size` is no multiple of the patch, px."""
        check_input_size(self.input_size, patch, "network's patch")

    def input_hw(self, image_hw: tuple[int, int], patch: int) -> tuple[int, int]:
        """Return height and width of the network's input for an image: about input_size^2 pixels, multiples of `patch`.

        Args:
            image_hw: height and width of the image.
            patch: px per side.
        """
        if self.aspect == _CAMERA:
            ratio = min(_LONGEST, max(1 / _LONGEST, image_hw[1] / image_hw[0]))
        else:
            ratio = aspect_ratio(self.aspect)
        return input_hw(self.input_size or _PATCHES * patch, ratio, patch)
