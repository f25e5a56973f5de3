"""`diffcut_evaluate`: how well segments agree with the labels of a data set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from diffcut_ros.core.parameters import parameters, range_text
from diffcut_ros.evaluation.comparison import compare, show
from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.feature_cache import default_folder
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.progress import Bar
from diffcut_ros.evaluation.protocols import PROTOCOLS
from diffcut_ros.evaluation.run import evaluate
from diffcut_ros.evaluation.settings import REFINEMENTS, Settings, resolve
from diffcut_ros.evaluation.tables import TABLES, Request, run_table
from diffcut_ros.interruption import interruptible

# Exit statuses beside 0: something failed, wrong input (as of argparse), Ctrl-C.
_FAILED, _BAD_INPUT, _INTERRUPTED = 1, 2, 130
_BYTES_PER_GB = 10**9
# Compares methods, in place of a data set.
_METHODS = 'methods'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='diffcut_evaluate',
        description=__doc__,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'dataset',
        metavar='DATASET',
        help=f'one of {", ".join(DATASETS)}; or a table or curve of the paper: {", ".join(TABLES)}; or {_METHODS}: all '
        'methods over their settings, on the data sets in ROOT',
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
    what.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    what.add_argument(
        '--protocol',
        help='; '.join(f'{name}: {protocol.summary}' for name, protocol in PROTOCOLS.items())
        + '; default: paper where the data set has classes',
    )
    how = parser.add_argument_group('how')
    how.add_argument('--method', default='diffcut', help=f'one of {", ".join(METHODS)}; default: diffcut')
    how.add_argument(
        '--backend', help="feature extractor, as of the node; default: color, for a table the paper's models"
    )
    how.add_argument('--tau', metavar='TAU', help='short for --set tau=TAU')
    how.add_argument('--alpha', metavar='ALPHA', help='short for --set alpha=ALPHA')
    how.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='option of the method, see below, or of the backend: color.cells=40, diffusion.timestep=100; of attention '
        'maps, for diffseg: attention.timestep=100',
    )
    how.add_argument(
        '--refine', default='none', help=f'borders after the cut, as the paper evaluates them: {", ".join(REFINEMENTS)}'
    )
    how.add_argument('--device', default='auto', help='auto, cpu, cuda, ...')
    run = parser.add_argument_group('run')
    run.add_argument('--jobs', type=int, default=1, metavar='N', help='processes; each loads the backend')
    run.add_argument('--resume', action='store_true', help='go on with an evaluation that was interrupted')
    run.add_argument('--cache', type=Path, metavar='FOLDER', help=f'of features; default: {default_folder()}')
    run.add_argument('--cache-gb', type=float, default=20.0, metavar='GB', help='its size; 0: none; default: 20')
    run.add_argument(
        '--tune', type=int, default=200, metavar='N', help='training images that table10 chooses tau on; default: 200'
    )
    return parser


def _epilog() -> str:
    """Return the options of all methods, for people."""
    lines = ['options of the methods, for --set NAME=VALUE:']
    for method, entry in METHODS.items():
        for name, (field, info) in parameters(entry.config).items():
            range_of = range_text(info)
            lines.append(f'  {method}: {name}={field.default}' + (f' ({range_of})' if range_of else ''))
    return '\n'.join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = _parser().parse_args(arguments)
    try:
        with interruptible():
            return _run_table(args) if args.dataset in (*TABLES, _METHODS) else _run(_settings(args), args)
    except (ValueError, MemoryError) as error:
        print(f'diffcut_evaluate: {error}', file=sys.stderr)
        return _BAD_INPUT
    except (OSError, RuntimeError) as error:
        print(f'diffcut_evaluate: {error}; what is done is kept: go on with --resume', file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print('diffcut_evaluate: interrupted; what is done is kept: go on with --resume', file=sys.stderr)
        return _INTERRUPTED


def _settings(args: argparse.Namespace) -> Settings:
    options = _options(args) | {name: value for name in ('tau', 'alpha') if (value := getattr(args, name)) is not None}
    return resolve(
        args.dataset,
        args.root,
        args.split,
        args.limit,
        args.protocol,
        args.refine,
        args.method,
        options,
        args.backend or 'color',
        args.device,
    )


def _options(args: argparse.Namespace) -> dict[str, str]:
    """Return what --set gives."""
    options = {}
    for text in args.set:
        name, equals, value = text.partition('=')
        if not equals:
            raise ValueError(f'--set: expected NAME=VALUE, received {text!r}')
        options[name] = value
    return options


def _cache(args: argparse.Namespace) -> Cache:
    if args.jobs < 1:
        raise ValueError(f'--jobs: expected at least 1, received {args.jobs}')
    if not 0 <= args.cache_gb < float('inf'):
        raise ValueError(f'--cache-gb: expected 0 or more, received {args.cache_gb}')
    return Cache(args.cache or default_folder(), int(args.cache_gb * _BYTES_PER_GB))


def _run(settings: Settings, args: argparse.Namespace) -> int:
    with Bar(settings.dataset) as bar:
        summary = evaluate(settings, args.out, _cache(args), args.jobs, args.resume, bar.show)
    print(f'{settings.dataset}, {settings.method}: {bar.headline}, {summary["images"]} images; results in {args.out}')
    return 0


def _run_table(args: argparse.Namespace) -> int:
    parser = _parser()
    for name in ('split', 'protocol', 'method', 'tau', 'alpha', 'refine'):
        if getattr(args, name) != parser.get_default(name):
            raise ValueError(f'--{name}: expected none, since {args.dataset} says it for each row')
    out = args.out / args.dataset
    request = Request(
        args.root, out, _cache(args), args.limit, args.jobs, args.backend, _options(args), args.device, args.tune
    )
    if args.dataset == _METHODS:
        lines = compare(request)
        show(lines)
        measured = any(line.settings for line in lines)
    else:
        measured = run_table(TABLES[args.dataset], request)
    print(f'{args.dataset}: results in {out}')
    if not measured:
        print('diffcut_evaluate: nothing could be measured, the notes say why', file=sys.stderr)
    return 0 if measured else _BAD_INPUT


if __name__ == '__main__':
    sys.exit(main())
