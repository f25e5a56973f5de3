"""`diffcut_benchmark`: one command per question about quality or speed."""

import argparse
import sys
from importlib import import_module

from diffcut_ros.arguments.benchmark import parse
from diffcut_ros.exit_status import Status
from diffcut_ros.interruption import interruptible

# The package that a benchmark measures, where it is not `core`.
_MEASURED = {'load': 'node', 'node': 'node', 'node_3d': 'node', 'replay': 'analysis', 'soak': 'node', 'teach': 'teach'}


def main() -> int:
    """Run the benchmark that the command line names; return 0 or one of `Status`."""
    args = parse(sys.argv[1:])
    status, problem = 0, ''
    try:
        _keep(args, 'it has not ended')  # a folder that cannot be written is told before hours of work
        status, problem = _run(args)
        _keep(args, problem)
    except OSError as error:
        status, problem = Status.FAILED, str(error)
    if problem:
        print(f'diffcut_benchmark: {problem}', file=sys.stderr)
    return status


def _keep(args: argparse.Namespace, problem: str) -> None:
    if args.json is not None:
        from diffcut_ros.benchmarks.figures import write_json

        write_json(args.json, sys.argv[1:], problem)


def _run(args: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status, and what went wrong."""
    try:
        with interruptible():
            # First what is measured: it sets how OpenMP's threads wait, which is read once, when PyTorch is loaded.
            # Only the one that is asked for: those of the node need ROS, and most take a second or more.
            import_module(f'diffcut_ros.{_MEASURED.get(args.command, "core")}')
            return import_module(f'diffcut_ros.benchmarks.{args.command}').run(args) or 0, ''
    except (ValueError, MemoryError) as error:
        return Status.BAD_INPUT, str(error)
    except OSError as error:
        return Status.FAILED, str(error)
    except KeyboardInterrupt:
        if 'diffcut_ros.benchmarks.figures' in sys.modules:  # or nothing was measured yet
            import_module('diffcut_ros.benchmarks.figures').tell_interrupted()
        return Status.INTERRUPTED, 'interrupted'


if __name__ == '__main__':
    sys.exit(main())
