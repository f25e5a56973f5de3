"""`diffcut_benchmark`: one command per question about quality or speed."""

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
    try:
        with interruptible():
            # First what is measured: it sets how OpenMP's threads wait, which is read once, when PyTorch is loaded.
            # Only the one that is asked for: those of the node need ROS, and most take a second or more.
            import_module(f'diffcut_ros.{_MEASURED.get(args.command, "core")}')
            return import_module(f'diffcut_ros.benchmarks.{args.command}').run(args) or 0
    except (ValueError, MemoryError) as error:
        print(f'diffcut_benchmark: {error}', file=sys.stderr)
        return Status.BAD_INPUT
    except OSError as error:
        print(f'diffcut_benchmark: {error}', file=sys.stderr)
        return Status.FAILED
    except KeyboardInterrupt:
        print('diffcut_benchmark: interrupted', file=sys.stderr)
        return Status.INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
