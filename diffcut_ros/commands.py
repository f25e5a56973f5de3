"""The commands, as pyproject.toml lists them. Each imports its program when it is called, and says what that lacks."""

import sys
from importlib import import_module

from diffcut_ros.missing import MissingPackageError, needed


def node() -> int:
    """`diffcut_node`."""
    return _run('diffcut_node', 'node.diffcut_node')


def demo() -> int:
    """`diffcut_demo`."""
    return _run('diffcut_demo', 'node.demo.main', 'analyze')


def view() -> int:
    """`diffcut_view`."""
    return _run('diffcut_view', 'node.view.main', 'view')


def analyze() -> int:
    """`diffcut_analyze`."""
    return _run('diffcut_analyze', 'analysis.main', 'analyze')


def export() -> int:
    """`diffcut_export`."""
    return _run('diffcut_export', 'features.diffusion.export', 'diffusion')


def evaluate() -> int:
    """`diffcut_evaluate`."""
    return _run('diffcut_evaluate', 'evaluation.evaluate', 'evaluate')


def benchmark() -> int:
    """`diffcut_benchmark`."""
    return _run('diffcut_benchmark', 'benchmarks.main', 'evaluate')


def _run(command: str, module: str, extra: str = '') -> int:
    """Run `main` of a module; return its exit status, 2 when a package is not installed."""
    try:
        with needed(command, extra):
            return import_module(f'diffcut_ros.{module}').main()
    except MissingPackageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # during the imports; later, programs end by themselves
        print(f'{command}: interrupted', file=sys.stderr)
        return 130
