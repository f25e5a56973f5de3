"""The command line of `diffcut_benchmark`: one command per question about quality or speed, each with own options."""

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path

from diffcut_ros.arguments.parser import (
    DAMPING,
    HZ,
    MIN_SEGMENT_AREA,
    TAU,
    Defaults,
    Parser,
    number,
    size,
    square,
    whole,
)

_BENCHMARKS = Path(__file__).parents[1] / 'benchmarks'
_REFINEMENTS = 'none', 'watershed', 'pamr'
_INSTANCES = 'segments', 'connected', 'space'
_FRAMES = (
    'folder with frame-N.color.jpg, .depth.png (mm), .pose.txt (camera to world) and camera-intrinsics.txt (3 x 3)'
)


def _load(parser: Parser) -> None:
    parser.add_argument('--seconds', type=number(1, 86400), default=60.0, help='length of the load')
    parser.add_argument('--hz', type=number(0.1, 1000), default=30.0, help='images per second')
    parser.add_argument('--cells', type=whole(2, 128), default=48, help='color.cells under load: more take longer')
    parser.add_argument('--frames', type=whole(1), default=2000, help='images over which memory is watched')
    parser.add_argument(
        '--changes', type=whole(1), default=20, metavar='R', help='repeats of each change of a parameter'
    )


def _depth(parser: Parser) -> None:
    parser.add_argument('root', type=Path, metavar='FRAMES', help=_FRAMES)
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--tau', type=TAU, help='NCut threshold; default: as of the parameter tau')
    parser.add_argument('--damping', type=DAMPING, help='see the parameter damping')
    parser.add_argument(
        '--min-segment-area', type=MIN_SEGMENT_AREA, default=100, help='segments with fewer pixels are left out'
    )
    parser.add_argument('--hz', type=HZ, default=30.0, help='frames per second of the recording')
    parser.add_argument('--limit', type=whole(1), metavar='N', help='only the first N frames')


def _borders(parser: Parser) -> None:
    parser.add_argument('dataset', choices=('bsds500', 'camvid'), help='the data set')
    parser.add_argument('root', type=Path, metavar='ROOT', help='its folder, laid out as it is distributed')
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--tau', type=TAU, help='NCut threshold; default: as of the parameter tau')
    parser.add_argument('--refine', nargs='+', choices=_REFINEMENTS, default=list(_REFINEMENTS), help='refinements')
    parser.add_argument('--limit', type=whole(1), metavar='N', help='only the first N images')


def _instances(parser: Parser) -> None:
    parser.add_argument('root', type=Path, metavar='FRAMES', help=_FRAMES)
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--tau', type=TAU, help='NCut threshold; default: as of the parameter tau')
    parser.add_argument('--damping', type=DAMPING, default=0.2, help='beside 0; see the parameter damping')
    parser.add_argument('--min-part-share', type=number(0, 1), metavar='S', help='see the parameter min_part_share')
    parser.add_argument('--depth-jump', type=number(0.001, 10), metavar='J', help='see the parameter depth_jump')
    parser.add_argument('--hz', type=HZ, default=30.0, help='frames per second of the recording')
    parser.add_argument('--limit', type=whole(1), metavar='N', help='only the first N frames')


def _ncut(parser: Parser) -> None:
    kinds = 'color', 'random'
    parser.add_argument(
        '--nodes', type=square(4), nargs='+', default=[1024, 2304, 4096], metavar='N', help='graph sizes'
    )
    parser.add_argument('--features', nargs='+', default=list(kinds), choices=kinds, help='kinds of graphs')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda: where the graphs lie')
    parser.add_argument('--tau', type=TAU, help='threshold of the comparison; default: as of the parameter tau')
    parser.add_argument('--largest-tau', type=TAU, default=0.9, help='tau of the whole hierarchy')
    parser.add_argument('--photographs', type=whole(1), default=6, metavar='K', help='only the first K')
    parser.add_argument('--repeats', type=whole(1), default=5, metavar='R', help='runs, of which the median counts')
    parser.add_argument(
        '--others-up-to', type=whole(0), default=1024, metavar='N', help='largest graph for other methods'
    )


def _node(parser: Parser) -> None:
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=size(16, 10_000),
        default=[(640, 480), (1280, 720), (1920, 1080)],
        metavar='WxH',
        help='sizes of the camera image',
    )
    parser.add_argument('--repeats', type=whole(1), default=100, metavar='R', help='images of each size')


def _node_3d(parser: Parser) -> None:
    parser.add_argument('--segments', type=whole(1, 65535), default=50, metavar='K', help='number of segments')
    parser.add_argument(
        '--repeats', type=whole(1), default=100, metavar='R', help='calls of each, after two that do not count'
    )


def _pipeline(parser: Parser) -> None:
    parser.add_argument('--backend', default='ssd-1b', help='see the parameter backend; color has no network')
    parser.add_argument(
        '--random-weights',
        action='store_true',
        help='a network by its name, such as ssd-1b, without a checkpoint: timings only',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda')
    parser.add_argument('--precision', help='see the parameters diffusion.precision and vit.precision')
    parser.add_argument('--layer', help='see the parameter vit.layer')
    parser.add_argument('--kernel', choices=('joint', 'plain'), help='see the parameter vit.kernel')
    parser.add_argument('--input-size', type=whole(16, 4096), help="side of the network's input")
    parser.add_argument('--aspect', help="width to height of the network's input, such as 4x3")
    parser.add_argument(
        '--vae',
        nargs='+',
        default=['full', 'tiny'],
        choices=('full', 'tiny'),
        help='image encoders of a diffusion network',
    )
    parser.add_argument('--tiny-vae', default='', help='see the parameter diffusion.tiny_vae')
    parser.add_argument('--tau', type=TAU, help='threshold of the hierarchy; default: as of the parameter tau')
    parser.add_argument(
        '--image-size', type=whole(1, 10_000), nargs=2, default=(640, 480), metavar=('W', 'H'), help='of the camera'
    )
    parser.add_argument(
        '--repeats', type=whole(1), default=20, metavar='R', help='runs of each, after two that do not count'
    )
    parser.add_argument('--no-paper', action='store_true', help="leave out the paper's procedure and others")


def _replay(parser: Parser) -> None:
    parser.add_argument('bag', nargs='?', type=Path, metavar='BAG', help='recording; none: photographs, 640x480')
    parser.add_argument('--frames', type=whole(1), default=200, metavar='N', help='images that are analysed')
    parser.add_argument('--rounds', type=whole(1), default=5, metavar='R', help='repeats of pipeline and analysis')
    parser.add_argument('--backend', metavar='NAME', help='feature extractor')
    parser.add_argument('--tau', type=TAU, help='threshold of the splits')


# What `benchmarks/soak.py` does to the node in turn.
SOAK_PHASES = {
    'sizes': 'images of 1x1 and of 4000x3000 in turn',
    'encodings': 'every encoding, padded or not; a fifth of the messages is damaged',
    'bursts': '50 images at once, then a second without',
    'publishers': 'publishers and their participants come, with any quality of service, and go',
    'subscribers': 'subscribers to all outputs come and go, on participants of their own, too',
    'alone': 'one image after the other, as fast as the node takes them',
    'slow': 'the same beside a subscriber to every output that sleeps 1 s at each message',
    'parameters': 'four clients set parameters, good and bad ones, while images come',
    'lifecycle': 'deactivate, cleanup, configure, activate, an image',
    'depth': 'depth and camera_info, some of them damaged, after a new configuration',
    'flood': 'five cameras of 1920x1080 at 30 Hz each, reliable and best effort, on one topic',
}


def _soak(parser: Parser) -> None:
    parser.add_argument('--minutes', type=number(0.1, 1e5), default=30.0, help='length of the whole')
    parser.add_argument('--seed', type=whole(0), default=0, help='of images, damages and parameters')
    listed = '; '.join(f'{name}: {what}' for name, what in SOAK_PHASES.items())
    parser.add_argument(
        '--phases', nargs='+', choices=SOAK_PHASES, default=list(SOAK_PHASES), metavar='PHASE', help=listed
    )


def _teach(parser: Parser) -> None:
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder of a data set with classes, such as CamVid')
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--tau', type=TAU, default=0.8, help='NCut threshold; larger: finer segments to ask about')
    parser.add_argument('--frames', type=whole(1), default=30, metavar='N', help='images that the page shows')
    parser.add_argument('--questions', type=whole(1), default=120, metavar='N', help='that are asked, at most')
    parser.add_argument('--goal', type=number(0, 1), default=0.8, help='accuracy to be reached')
    parser.add_argument('--choices', type=whole(1), default=5, metavar='K', help='random orders of each kind')
    parser.add_argument('--limit', type=whole(2), metavar='N', help='only the first N images')


def _frames(parser: Parser, least: int) -> None:
    """Declare how FRAMES are segmented, and which: so many at least."""
    parser.add_argument('--hz', type=HZ, default=30.0, help='rate at which FRAMES were taken')
    parser.add_argument('--backend', default='color', help='feature extractor, see the parameter backend')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda')
    parser.add_argument('--tau', type=TAU, help='NCut threshold; default: as of the parameter tau')
    parser.add_argument('--damping', type=DAMPING, help='see the parameter damping')
    parser.add_argument('--refine', choices=_REFINEMENTS, help='see the parameter refine')
    parser.add_argument('--instances', choices=_INSTANCES, help='see the parameter instances')
    parser.add_argument('--every', type=whole(1), default=1, metavar='N', help='only every N-th frame')
    parser.add_argument('--limit', type=whole(least), metavar='N', help='only the first N of these')


def _tracking(parser: Parser) -> None:
    parser.add_argument(
        'frames',
        type=Path,
        nargs='?',
        metavar='FRAMES',
        help=f'{_FRAMES}; without it, a virtual camera over photographs',
    )
    _frames(parser, least=2)
    parser.add_argument(
        '--network-hz', type=number(0.1, 1000), metavar='F', help='see the parameter; without it, trackers are compared'
    )
    parser.add_argument(
        '--latency', type=number(0, 10), default=0.5, metavar='S', help="of the network's results, with --network-hz"
    )
    parser.add_argument('--world', action='store_true', help='with track ids by places in the world, see above')
    parser.add_argument(
        '--pause', type=number(0, 1e6), default=60.0, metavar='S', help='with --world: before the way back, in s'
    )
    parser.add_argument('--noise', action='store_true', help='with --world: poses that are off by 1 cm and 1 degree')


def _objects(parser: Parser) -> None:
    parser.add_argument('root', type=Path, metavar='FRAMES', help=_FRAMES)
    parser.add_argument(
        '--things', type=Path, metavar='CSV', help='points that a person named: columns frame, x, y and thing'
    )
    _frames(parser, least=1)


# name -> what it measures, and the function that declares its options; `benchmarks/NAME.py` describes and runs it
COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    'borders': ('whether borders follow the image, by what people drew', _borders),
    'load': ('the node under a camera of 30 Hz, and under more images than it can take', _load),
    'depth': ('drift of positions in space over RGB-D frames with known poses', _depth),
    'instances': ('whether segments are things: in one piece, in one place', _instances),
    'ncut': ('time, memory and quality of the hierarchy, beside other ways to cut', _ncut),
    'node': ('what the node adds to the pipeline', _node),
    'node_3d': ('what segments in space cost', _node_3d),
    'objects': ('whether each thing is one object of the map', _objects),
    'pipeline': ('time and memory of each stage, from image to labels', _pipeline),
    'replay': ('what an analysis of a recording adds to the pipeline', _replay),
    'soak': ('whether the node lives and does not grow, over a long time', _soak),
    'teach': ('how many clicks names take, as diffcut_teach asks and in random order', _teach),
    'tracking': ('whether segments keep their track id', _tracking),
}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives, and `command`; ends the program where it is wrong."""
    parser = Parser(
        'diffcut_benchmark',
        description='One command per question about quality or speed.',
        epilog='\n'.join(f'{name:10}{what}' for name, (what, _) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', choices=list(COMMANDS), help='its own options: diffcut_benchmark COMMAND --help')
    name = parser.parse_args(arguments[:1]).command
    # The file, not the module: that would import what it measures.
    description = ast.get_docstring(ast.parse((_BENCHMARKS / f'{name}.py').read_text(encoding='utf-8')))
    command = Parser(f'diffcut_benchmark {name}', description=description, formatter_class=Defaults)
    COMMANDS[name][1](command)
    command.add_argument('--json', type=Path, metavar='FILE', help='write all that is printed to a file, too')
    args = command.parse_args(arguments[1:])
    args.command = name
    return args
