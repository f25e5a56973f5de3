"""The commands, as pyproject.toml lists them.

Each reads its command line first: what is wrong there, and --help, is told before its program is imported, which takes
seconds; so is what it begins with, where that takes long. Then it imports that, and says what it lacks.
"""

from diffcut_ros.interruption import end_by_signals

end_by_signals()  # before anything else is imported: a program sets handlers of its own once it runs


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


def reteach() -> int:
    """`diffcut_reteach`."""
    return _run('reteach', 'analysis.reteach', 'analyze')


def teach() -> int:
    """`diffcut_teach`."""
    return _run('teach', 'teach.main', 'teach')


def export() -> int:
    """`diffcut_export`."""
    return _run('export', 'features.export', 'diffusion')


def evaluate() -> int:
    """`diffcut_evaluate`."""
    return _run('evaluate', 'evaluation.evaluate', 'evaluate')


def benchmark() -> int:
    """`diffcut_benchmark`."""
    return _run('benchmark', 'benchmarks.main', 'evaluate')


def _run(name: str, module: str, extra: str = '') -> int:
    """Run `main` of a module; return its exit status, see `Status`."""
    import sys
    from importlib import import_module

    from diffcut_ros.exit_status import Status
    from diffcut_ros.missing import MissingPackageError, needed
    from diffcut_ros.printable import tell

    command = f'diffcut_{name}'
    arguments = import_module(f'diffcut_ros.arguments.{name}')
    args = arguments.parse(sys.argv[1:])
    if hasattr(arguments, 'beginning') and (text := arguments.beginning(args)):
        tell(text)
    try:
        with needed(command, extra):
            return import_module(f'diffcut_ros.{module}').main()
    except MissingPackageError as error:
        tell(error)
        return Status.BAD_INPUT
