"""The command line of `diffcut_export`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import Parser

# Those of `features/diffusion/config.py`, which cannot be imported here; a test compares them.
MODELS, PRECISIONS = ('ssd-1b', 'ssd-vega', 'sd1.4'), ('float32', 'bfloat16', 'float16')


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_export',
        description='Writes what a robot needs of a diffusion checkpoint into a folder, its encoder bundle. Downloads '
        'the checkpoint if it is not on this machine, keeps the UNet up to the self-attention layer, the image '
        'encoders and the embedding of the empty prompt, and leaves out all the rest.',
    )
    parser.add_argument('model', help=f'{", ".join(MODELS)}, a folder, or a model id OWNER/NAME')
    parser.add_argument('out', type=Path, help='folder to write, new or empty')
    parser.add_argument('--tiny-vae', default='', metavar='WHICH', help='folder or model id; none: leave it out')
    parser.add_argument('--precision', choices=('as-is', *PRECISIONS), default='as-is', help='of the stored weights')
    parser.add_argument('--layer', default='', help='module path of the self-attention; the last one of the encoder')
    parser.add_argument('--revision', help='branch, tag or commit of the model')
    return parser.parse_args(arguments)
