"""Settings of the diffusion backends; apart from the networks, whose libraries take seconds to import."""

from dataclasses import dataclass

from diffcut_ros.core.parameters import parameter, validate
from diffcut_ros.features.models import PRECISIONS, aspect_ratio, check_input_size, input_hw


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
        aspect_ratio(self.aspect)

    def input_hw(self, stride: int) -> tuple[int, int]:
        """Return height and width of the network's input: `aspect`, about input_size^2 pixels, multiples of `stride`.

        Raises:
            ValueError: when `input_size` is not a multiple of the stride.
        """
        check_input_size(self.input_size, stride, 'stride of the layer')
        return input_hw(self.input_size, aspect_ratio(self.aspect), stride)
