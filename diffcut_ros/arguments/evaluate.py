"""The command line of `diffcut_evaluate`."""

import argparse
import math
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from diffcut_ros.arguments.parser import Parser, number, one_of, whole

# What `evaluation` has under these names, which cannot be imported here; a test compares them.
DATASETS = (
    'voc', 'voc_without_background', 'context', 'coco_object', 'coco_stuff', 'cityscapes', 'ade20k',
    'ade20k_as_published', 'camvid', 'bsds500',
)  # fmt: skip
TABLES = (
    'table1', 'table2', 'table3', 'table5', 'table6', 'table7', 'table8', 'table9', 'table10', 'fig3', 'fig4', 'fig5',
    'fig7', 'fig8', 'speed',
)  # fmt: skip
METHODS = ('diffcut', 'autosc', 'maskcut', 'diffseg', 'kmeans', 'felzenszwalb', 'slic_ncut')
PROTOCOLS = ('paper', 'plain')
REFINEMENTS = ('none', 'pamr')
# Compares methods, in place of a data set.
COMPARISON = 'methods'
# Names by example, likewise; how segments are named there.
TEACH = 'teach'
NAMINGS = ('classes', 'classes-without-unknown', 'nearest', 'three-nearest', 'svm', 'ridge')
ALL = 'all'
# Names ask for a finer cut than segments do, or small things are parts of large ones.
TEACH_TAU = '0.85'


class _MethodOptions(argparse.Action):
    """Imports the methods only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(import_module('diffcut_ros.evaluation.settings').method_options())
        parser.exit()


def _parser() -> Parser:
    parser = Parser('diffcut_evaluate', description='How well segments agree with the labels of a data set.')
    parser.add_argument(
        'dataset',
        metavar='DATASET',
        type=one_of((*DATASETS, *TABLES, COMPARISON, TEACH)),
        help=f'one of {", ".join(DATASETS)}; or a table or curve of the paper: {", ".join(TABLES)}; or {COMPARISON}: '
        f'all methods over their settings, on the data sets in ROOT; or {TEACH}: how right names are that follow from '
        'a few shown segments',
    )
    parser.add_argument(
        'root',
        type=Path,
        metavar='ROOT',
        help='its folder, laid out as it is distributed; for a table, a folder with such folders, named as above',
    )
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='RESULTS', help='folder of the results')
    what = parser.add_argument_group('what')
    what.add_argument('--split', help='part of the data set; default: its validation images')
    what.add_argument('--limit', type=whole(1), metavar='N', help='only the first N images')
    what.add_argument(
        '--protocol',
        type=one_of(PROTOCOLS),
        help="paper: as the code of DiffCut's authors scores; plain: whole images at their own size; default: paper "
        'where the data set has classes',
    )
    how = parser.add_argument_group('how')
    how.add_argument(
        '--method',
        type=one_of((*METHODS, *NAMINGS, ALL)),
        help=f'one of {", ".join(METHODS)}; default: diffcut; for {TEACH} one of {", ".join(NAMINGS)} or {ALL}; '
        'default: classes',
    )
    how.add_argument(
        '--backend', help="feature extractor, as of the node; default: color, for a table the paper's models"
    )
    how.add_argument(
        '--rows',
        type=lambda text: tuple(text.split(',')),
        default=(),
        metavar='ROW,...',
        help='only these rows of a table, named as their folders of results, such as dinov2,clip',
    )
    how.add_argument(
        '--model',
        action='append',
        type=_assignment,
        default=[],
        metavar='ROW=BACKEND',
        help="backend for one row of a table, in place of the paper's model, such as dinov2=FOLDER",
    )
    how.add_argument(
        '--tau', type=_number_as_text, metavar='TAU', help=f'short for --set tau=TAU; for {TEACH} default: {TEACH_TAU}'
    )
    how.add_argument('--alpha', type=_number_as_text, metavar='ALPHA', help='short for --set alpha=ALPHA')
    how.add_argument(
        '--set',
        action='append',
        type=_assignment,
        default=[],
        metavar='NAME=VALUE',
        help='option of the method, see --method-options, or of the backend: color.cells=40, diffusion.timestep=100; '
        'of attention maps, for diffseg: attention.timestep=100',
    )
    how.add_argument('--method-options', action=_MethodOptions, nargs=0, help='list the options of the methods and end')
    how.add_argument(
        '--refine',
        type=one_of(REFINEMENTS),
        default='none',
        help=f'borders after the cut, as the paper evaluates them: {", ".join(REFINEMENTS)}',
    )
    how.add_argument('--device', default='auto', help='auto, cpu, cuda, ...')
    run = parser.add_argument_group('run')
    run.add_argument('--jobs', type=whole(1), default=1, metavar='N', help='processes; each loads the backend')
    run.add_argument('--resume', action='store_true', help='go on with an evaluation that was interrupted')
    run.add_argument(
        '--cache',
        type=Path,
        metavar='FOLDER',
        help=f'of features; default: {os.environ.get("XDG_CACHE_HOME") or "~/.cache"}/diffcut_ros/features',
    )
    run.add_argument(
        '--cache-gb', type=number(0, 1e6), default=20.0, metavar='GB', help='its size; 0: none; default: 20'
    )
    run.add_argument(
        '--tune',
        type=whole(1),
        default=200,
        metavar='N',
        help='training images that table10 chooses tau on; default: 200',
    )
    teach = parser.add_argument_group(TEACH)
    teach.add_argument(
        '--dataset',
        dest='named',
        type=one_of(DATASETS),
        metavar='NAME',
        help='what ROOT holds; default: the first one with classes that fits',
    )
    teach.add_argument('--frames', type=whole(1), default=6, metavar='N', help='images that are shown; default: 6')
    teach.add_argument(
        '--clicks',
        type=whole(1),
        default=2,
        metavar='M',
        help='segments shown of each class in each of them, the largest; default: 2',
    )
    teach.add_argument('--curve', action='store_true', help='also with 1, 2, 3, 6, 12 and 24 images shown')
    teach.add_argument(
        '--choices',
        type=whole(1),
        default=1,
        metavar='N',
        help='means over so many choices of the images shown: the first evenly spread, the others random; default: 1',
    )
    teach.add_argument(
        '--novelty', action='store_true', help='also what becomes of each class when all but that one are shown'
    )
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options that a command line gives; ends the program where it is wrong."""
    parser = _parser()
    args = parser.parse_args(arguments)
    _check_fixed(parser, args)
    _choose_method(parser, args)
    return args


# What a table, or the comparison of methods, does with options of a single evaluation.
_FIXED_BY_TABLE = dict.fromkeys(('split', 'protocol', 'method', 'tau', 'alpha', 'refine'), 'says it for each row')
_FIXED_BY_COMPARISON = {
    'protocol': 'scores by plain',
    'method': 'compares all of them',
    'tau': 'tries a grid of values',
    'alpha': 'leaves it as it is by default',
    'refine': 'compares methods without it',
}


_FIXED_BY_TEACH = {'protocol': 'scores by plain', 'refine': 'takes --set refine=...'}
_FIXED = dict.fromkeys(TABLES, _FIXED_BY_TABLE) | {COMPARISON: _FIXED_BY_COMPARISON, TEACH: _FIXED_BY_TEACH}
_OF_TABLES = dict.fromkeys(('rows', 'model'), 'is no table')
_OF_TEACH = dict.fromkeys(('named', 'frames', 'clicks', 'curve', 'choices', 'novelty'), f'is not {TEACH}')


def _check_fixed(parser: Parser, args: argparse.Namespace) -> None:
    fixed = _FIXED.get(args.dataset, {})
    fixed = fixed | ({} if args.dataset == TEACH else _OF_TEACH) | ({} if args.dataset in TABLES else _OF_TABLES)
    for name, reason in fixed.items():
        if (value := getattr(args, name)) != parser.get_default(name):
            option = 'dataset' if name == 'named' else name
            parser.error(f'--{option}: expected none, since {args.dataset} {reason}, received {value!r}')


def _choose_method(parser: Parser, args: argparse.Namespace) -> None:
    """Fill in the default, which is another one for teaching."""
    known = (*NAMINGS, ALL) if args.dataset == TEACH else METHODS
    args.method = args.method or known[0]
    if args.method not in known:
        parser.error(f'--method: expected one of {", ".join(known)}, received {args.method!r}')


def _number_as_text(text: str) -> str:
    """Check that a text is a finite number; its range is that of the method's option."""
    try:
        fits = math.isfinite(float(text))
    except ValueError:
        fits = False
    if not fits:
        raise argparse.ArgumentTypeError(f'expected a number, received {text!r}')
    return text


def _assignment(text: str) -> str:
    if '=' not in text:
        raise argparse.ArgumentTypeError(f'expected NAME=VALUE, received {text!r}')
    return text
