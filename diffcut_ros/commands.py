"""The commands, as pyproject.toml lists them.

Each reads its command line first: what is wrong there, and --help, is told before its program is imported, which takes
seconds. Then it imports that, and says what it lacks.
"""

import sys
from importlib import import_module

from diffcut_ros.exit_status import Status
from diffcut_ros.missing import MissingPackageError, needed
from diffcut_ros.printable import tell


def node() -> int:
    """`diffcut_node`."""
    return _run('node', 'node.diffcut_node')


def demo() -> int:
    """`diffcut_demo`."""
    return _run('demo', 'node.demo.main', 'analyze')


def view() -> int:
    """`diffcut_view`."""
    return _run('view', 'node.view.main', 'view')


def analyze() -> int:
    """`diffcut_analyze`."""
    return _run('analyze', 'analysis.main', 'analyze')


def export() -> int:
    """`diffcut_export`."""
    return _run('export', 'features.diffusion.export', 'diffusion')


def evaluate() -> int:
    """`diffcut_evaluate`."""
    return _run('evaluate', 'evaluation.evaluate', 'evaluate')


def benchmark() -> int:
    """`diffcut_benchmark`."""
    return _run('benchmark', 'benchmarks.main', 'evaluate')


def _run(name: str, module: str, extra: str = '') -> int:
    """Run `main` of a module; return its exit status, see `Status`."""
    command = f'diffcut_{name}'
    try:
        import_module(f'diffcut_ros.arguments.{name}').parse(sys.argv[1:])
        with needed(command, extra):
            return import_module(f'diffcut_ros.{module}').main()
    except MissingPackageError as error:
        tell(error)
        return Status.BAD_INPUT
    except KeyboardInterrupt:  # during the imports; later, programs end by themselves
        print(f'{command}: interrupted', file=sys.stderr)
        return Status.INTERRUPTED
