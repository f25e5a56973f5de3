"""The command line of `diffcut_reteach`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import TAU, Parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_reteach',
        description='Take the examples of a file of classes from their recordings again, with another backend or other '
        'settings: names, ids and colours stay.',
        epilog='Exit status: 0 all done; 1 failed; 2 wrong arguments or input; 3 done, but some examples could not be '
        'found; 130 interrupted.',
    )
    parser.add_argument('classes', type=Path, metavar='CLASSES', help='the file of classes')
    parser.add_argument(
        'recordings',
        nargs='*',
        type=Path,
        metavar='BAG',
        help='recordings to look in, for examples that were taught on a live camera, or whose recording has moved',
    )
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='NEW', help='the new file of classes')
    parser.add_argument('--backend', metavar='NAME', help='feature extractor; replaces that of the parameter file')
    parser.add_argument('--params', type=Path, metavar='FILE', help="the node's parameter file")
    parser.add_argument('--node-name', metavar='NAME', help='full name of the node in it; default: /diffcut')
    parser.add_argument('--tau', type=TAU, help='threshold of the splits; replaces that of the file')
    parser.add_argument('--overwrite', action='store_true', help='replace the new file where it exists')
    return parser.parse_args(arguments)
