"""The command line of `diffcut_export`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import Parser

# Those of `features/models.py`, which cannot be imported here; a test compares them.
MODELS = (
    'ssd-1b',
    'ssd-vega',
    'sd1.4',
    'dinov2-small',
    'dinov2-base',
    'dinov2-with-registers-small',
    'dinov2-with-registers-base',
    'dinov3-vits16',
)
PRECISIONS = ('float32', 'bfloat16', 'float16')


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_export',
        description='Writes what a robot needs of a checkpoint into a folder, its bundle. Downloads the checkpoint if '
        'it is not on this machine. Keeps of a diffusion network the UNet up to the self-attention layer, the image '
        'encoders and the embedding of the empty prompt; of a vision transformer the network up to the layer, with '
        'statistics of its features.',
    )
    parser.add_argument('model', help=f'{", ".join(MODELS)}, a folder, or a model id OWNER/NAME')
    parser.add_argument('out', type=Path, help='folder to write, new or empty')
    parser.add_argument(
        '--tiny-vae', default='', metavar='WHICH', help='of a diffusion network: folder or model id; none: leave it out'
    )
    parser.add_argument('--precision', choices=('as-is', *PRECISIONS), default='as-is', help='of the stored weights')
    parser.add_argument('--layer', default='', help='see the parameters diffusion.layer and vit.layer')
    parser.add_argument('--revision', help='branch, tag or commit of the model')
    return parser.parse_args(arguments)
