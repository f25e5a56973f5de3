"""`diffcut_evaluate`: how well segments agree with the labels of a data set."""

import argparse
import sys
from collections.abc import Sequence

from diffcut_ros.arguments.evaluate import ALL, COMPARISON, TEACH, TEACH_TAU, parse
from diffcut_ros.evaluation.comparison import compare, show
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.feature_cache import default_folder
from diffcut_ros.evaluation.naming import METHODS
from diffcut_ros.evaluation.progress import Bar
from diffcut_ros.evaluation.results import IMAGES
from diffcut_ros.evaluation.run import evaluate
from diffcut_ros.evaluation.settings import Settings, resolve
from diffcut_ros.evaluation.tables import TABLES, Request, run_table
from diffcut_ros.evaluation.teach import Lesson, find_dataset, teach
from diffcut_ros.exit_status import Status
from diffcut_ros.interruption import interruptible
from diffcut_ros.printable import tell

_BYTES_PER_GB = 10**9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with interruptible():
            if args.dataset == TEACH:
                return _teach(args)
            return _run_table(args) if args.dataset in (*TABLES, COMPARISON) else _run(_settings(args), args)
    except (ValueError, MemoryError) as error:
        tell(f'diffcut_evaluate: {error}')
        return Status.BAD_INPUT
    except (OSError, RuntimeError) as error:
        tell(f'diffcut_evaluate: {error}{_kept(args)}')
        return Status.FAILED
    except KeyboardInterrupt:
        tell(f'diffcut_evaluate: interrupted{_kept(args)}')
        return Status.INTERRUPTED


def _kept(args: argparse.Namespace) -> str:
    """Say that it can be resumed, if there is something to go on from."""
    return '; what is done is kept: go on with --resume' if any(args.out.rglob(IMAGES)) else ''


def _settings(args: argparse.Namespace) -> Settings:
    options = _all_options(args)
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
    return dict(text.split('=', 1) for text in args.set)


def _all_options(args: argparse.Namespace) -> dict[str, str]:
    """Return them with those that have an option of their own."""
    return _options(args) | {name: value for name in ('tau', 'alpha') if (value := getattr(args, name)) is not None}


def _cache(args: argparse.Namespace) -> Cache:
    return Cache(args.cache or default_folder(), int(args.cache_gb * _BYTES_PER_GB))


def _run(settings: Settings, args: argparse.Namespace) -> int:
    with Bar(settings.dataset) as bar:
        summary = evaluate(settings, args.out, _cache(args), args.jobs, args.resume, bar.show)
    tell(
        f'{settings.dataset}, {settings.method}: {bar.headline}, {summary["images"]} images; results in {args.out}',
        sys.stdout,
    )
    return 0


def _teach(args: argparse.Namespace) -> int:
    dataset, others = find_dataset(args.root, args.split, args.named)
    if others:
        tell(f'data set: taken as {dataset}; also fits {", ".join(others)}: --dataset NAME', sys.stdout)
    settings = resolve(
        dataset,
        args.root,
        args.split,
        args.limit,
        protocol='plain',
        options={'tau': TEACH_TAU} | _all_options(args),
        backend=args.backend or 'color',
        device=args.device,
    )
    methods = tuple(METHODS) if args.method == ALL else (args.method,)
    lesson = Lesson(args.frames, args.clicks, methods, args.curve, args.choices, args.novelty)
    with Bar(dataset) as bar:
        summary = teach(settings, lesson, args.out, _cache(args), args.jobs, args.resume, bar.show)
    row = next(row for row in summary['rows'] if row['frames'] == args.frames)
    tell(
        f'{dataset}, {row["method"]}, {args.frames} frames x {args.clicks}: accuracy {row["accuracy"]:.3f}, mIoU '
        f'{row["mean_iou"]:.3f}, {row["unknown"]:.1%} unknown, {summary["images_scored"]} of {summary["images"]} '
        f'images scored; results in {args.out}',
        sys.stdout,
    )
    return 0


def _run_table(args: argparse.Namespace) -> int:
    out = args.out / args.dataset
    request = Request(
        args.root,
        out,
        _cache(args),
        args.limit,
        args.jobs,
        args.backend,
        _options(args),
        args.device,
        args.tune,
        args.split,
        args.rows,
        dict(text.split('=', 1) for text in args.model),
    )
    if args.dataset == COMPARISON:
        lines = compare(request)
        show(lines)
        measured, failed = any(line.settings for line in lines), []
    else:
        measured, failed = run_table(TABLES[args.dataset], request)
    tell(f'{args.dataset}: results in {out}', sys.stdout)
    if not measured:
        print('diffcut_evaluate: nothing could be measured, the notes say why', file=sys.stderr)
        return Status.BAD_INPUT
    if failed:
        print(
            f'diffcut_evaluate: {len(failed)} rows could not be measured, the notes say why: {", ".join(failed)}; '
            '--model ROW=FOLDER says where the model of a row is',
            file=sys.stderr,
        )
        return Status.INCOMPLETE
    return 0


if __name__ == '__main__':
    sys.exit(main())
