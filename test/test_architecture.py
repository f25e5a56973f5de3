"""The arrows of the design: core <- media, features <- stream <- node, analysis; evaluation and benchmarks beside.

recordings, which reads files for node and analysis, imports none of these; teach stands on analysis.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from diffcut_ros.missing import ROS

PACKAGE = Path(__file__).parents[1] / 'diffcut_ros'
MAY_IMPORT = {
    'arguments': set(),
    'core': set(),
    'media': {'core'},
    'features': {'core'},
    'stream': {'core'},
    'recordings': set(),
    'node': {
        *('core', 'media', 'features', 'stream', 'recordings'),
        *('classes_file', 'parameter_file', 'settings', 'shared_memory'),
    },
    'analysis': {'core', 'media', 'features', 'stream', 'recordings', 'classes_file', 'parameter_file', 'settings'},
    'teach': {'analysis', 'core', 'features', 'stream', 'node', 'classes_file'},
    'evaluation': {'core', 'media', 'features'},
    'benchmarks': {
        *('core', 'media', 'features', 'stream', 'recordings', 'node', 'analysis', 'teach', 'evaluation', 'settings'),
    },
}
SERVE_ALL = {'arguments', 'exit_status', 'interruption', 'missing', 'plain_files', 'printable', 'progress', 'writing'}
# Those that measure the node.
NODE_BENCHMARKS = {'flood.py', 'listener.py', 'load.py', 'node.py', 'node_3d.py', 'peer.py', 'soak.py'}


def imported(path: Path) -> set[str]:
    """Return the full names of all modules a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            names.add(node.module)
    return names


def modules():
    return sorted(path for path in PACKAGE.rglob('*.py') if path.parent != PACKAGE)


@pytest.mark.parametrize('path', modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows(path):
    folder = path.relative_to(PACKAGE).parts[0]
    inside = {name.split('.')[1] for name in imported(path) if name.startswith('diffcut_ros.')}
    assert inside - SERVE_ALL <= MAY_IMPORT[folder] | {folder}
    outside = {name.partition('.')[0] for name in imported(path)}
    if folder != 'node' and path.name not in NODE_BENCHMARKS:
        assert not outside & ROS
    if folder == 'core':
        assert outside - set(sys.stdlib_module_names) <= {'cv2', 'diffcut_ros', 'numba', 'numpy', 'scipy', 'torch'}


@pytest.mark.parametrize(
    'folder', ['core', 'features', 'media', 'stream', 'recordings', 'analysis', 'evaluation', 'benchmarks']
)
def test_imports_where_there_is_no_ros(folder):
    """Every module of the folder, in a fresh process in which importing anything of ROS fails."""
    names = [
        '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts)
        for path in modules()
        if path.relative_to(PACKAGE).parts[0] == folder and path.name not in NODE_BENCHMARKS
    ]
    program = f'import sys; sys.modules.update(dict.fromkeys({sorted(ROS)}))\nimport ' + ', '.join(names)
    subprocess.run([sys.executable, '-c', program], check=True, timeout=300)
