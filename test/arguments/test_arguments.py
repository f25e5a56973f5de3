"""Command lines: numbers that no option can take, and what is not imported before they are parsed."""

import ast
import subprocess
import sys
import tomllib
from argparse import ArgumentTypeError
from importlib import import_module
from pathlib import Path

import pytest

from diffcut_ros.arguments import evaluate, export
from diffcut_ros.arguments.benchmark import COMMANDS
from diffcut_ros.arguments.parser import DAMPING, MIN_SEGMENT_AREA, TAU, without_ros_arguments
from diffcut_ros.core import SegmenterConfig
from diffcut_ros.core.parameters import parameters
from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.naming import METHODS as NAMINGS
from diffcut_ros.evaluation.protocols import PROTOCOLS
from diffcut_ros.evaluation.tables import TABLES
from diffcut_ros.features.models import MODELS, PRECISIONS
from diffcut_ros.settings import NodeConfig

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['scripts']
HEAVY = {'ament_index_python', 'av', 'cv2', 'diffusers', 'jinja2', 'numpy', 'rclpy', 'rerun', 'rosbags', 'torch'}
# Command -> what it needs, and its options with a number -> numbers that they take.
ANALYZE, EVALUATE = ('analyze', 'bag', '-o', 'out'), ('evaluate', 'camvid', 'root', '-o', 'out')
TEACH = ('evaluate', 'teach', 'root', '-o', 'out')
OPTIONS = {
    ANALYZE: {
        '--start': '0',
        '--duration': '0.5',
        '--rate': '0',
        '--every': '1',
        '--tau': '1',
        '--target-segments': '0',
        '--depth-scale': '0.2',
        '--hierarchy-tau': '0',
        '--jobs': '1',
        '--retries': '0',
    },
    EVALUATE: {
        '--limit': '1',
        '--tau': '0.5',
        '--alpha': '10',
        '--jobs': '1',
        '--cache-gb': '0',
        '--tune': '1',
    },
    TEACH: {'--frames': '1', '--clicks': '1', '--choices': '2'},
    ('teach', 'bag'): {'--tau': '0.5', '--frames': '1', '--port': '65535'},
    ('demo',): {'--seconds': '0.1'},
    ('view',): {'--port': '65534'},
    ('benchmark', 'load'): {'--seconds': '1', '--hz': '30', '--cells': '2', '--frames': '1', '--changes': '1'},
    ('benchmark', 'depth', 'root'): {
        '--tau': '0',
        '--damping': '0',
        '--min-segment-area': '0',
        '--hz': '0.5',
        '--limit': '1',
    },
    ('benchmark', 'borders', 'bsds500', 'root'): {'--tau': '0.5', '--limit': '1'},
    ('benchmark', 'instances', 'root'): {
        '--tau': '0.5',
        '--damping': '0.5',
        '--min-part-share': '0',
        '--depth-jump': '0.001',
        '--hz': '0.5',
        '--limit': '1',
    },
    ('benchmark', 'objects', 'root'): {
        '--tau': '0.5',
        '--damping': '0.5',
        '--hz': '0.5',
        '--every': '1',
        '--limit': '1',
    },
    ('benchmark', 'ncut'): {
        '--nodes': '4',
        '--tau': '0.5',
        '--largest-tau': '1',
        '--photographs': '1',
        '--repeats': '1',
        '--others-up-to': '0',
    },
    ('benchmark', 'node'): {'--sizes': '16x16', '--repeats': '1'},
    ('benchmark', 'node_3d'): {'--segments': '1', '--repeats': '1'},
    ('benchmark', 'soak'): {'--minutes': '0.1', '--seed': '0'},
    ('benchmark', 'pipeline'): {'--input-size': '16', '--tau': '0.5', '--repeats': '1'},
    ('benchmark', 'replay'): {'--frames': '1', '--rounds': '1', '--tau': '0.5'},
    ('benchmark', 'teach', 'root'): {
        '--tau': '0.5',
        '--frames': '1',
        '--questions': '1',
        '--goal': '0',
        '--choices': '1',
        '--limit': '2',
    },
    ('benchmark', 'tracking'): {'--hz': '0.5', '--tau': '0.5', '--damping': '0.5', '--every': '1', '--limit': '2'},
}
# Numbers that must be above 0.
POSITIVE = {
    *(
        '--duration',
        '--depth-scale',
        '--every',
        '--jobs',
        '--limit',
        '--tune',
        '--seconds',
        '--port',
        '--hz',
        '--cells',
        '--frames',
        '--clicks',
        '--choices',
        '--questions',
    ),
    *('--changes', '--nodes', '--photographs', '--repeats', '--sizes', '--segments', '--input-size', '--rounds'),
}
CASES = [(command, option) for command, options in OPTIONS.items() for option in options]


def parse(*arguments: str):
    command, *more = arguments
    return import_module(f'diffcut_ros.arguments.{command}').parse(more)


@pytest.mark.parametrize(('command', 'option'), CASES, ids=lambda x: x if isinstance(x, str) else ' '.join(x[:2]))
def test_what_is_no_number_for_an_option(command, option, capsys):
    good = OPTIONS[command][option]
    parsed = getattr(parse(*command, option, good), option[2:].replace('-', '_'))
    assert parsed not in (None, [])
    below = ['0', '-0.0'] if option in POSITIVE else []
    if option not in ('--tau', '--alpha') or command != EVALUATE:  # there, the range is the method's
        below += ['-1', '-0.001', '1e-400'] if option in POSITIVE else ['-1', '-0.001']
    for text in (*below, 'nan', 'inf', '-inf', '1e400', '', 'much', '0x10', '1,5'):
        with pytest.raises(SystemExit) as ended:
            parse(*command, f'{option}={text}')
        assert ended.value.code == 2, text
        line = capsys.readouterr().err
        assert line.count('\n') == 1
        assert f'{option}: expected a' in line.replace('expected WIDTHxHEIGHT', 'expected a size'), line
        assert f'received {text!r}' in line


def test_all_options_with_numbers_have_a_range():
    """Python's own int and float take -1, inf and nan."""
    types = set()
    for path in (ROOT / 'diffcut_ros').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'add_argument':
                types |= {keyword.value.id for keyword in node.keywords if isinstance(keyword.value, ast.Name)}
    assert not types & {'int', 'float'}
    assert {'Path', 'TAU'} <= types
    assert {name for _, name, *_ in (command for command in OPTIONS if command[0] == 'benchmark')} == set(COMMANDS)


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize(('argument', 'code'), [('--help', 0), ('--version', 0), ('--no-such-option', 2)])
def test_a_command_line_is_read_before_its_program_is_imported(script, argument, code):
    module, _, function = SCRIPTS[script].partition(':')
    program = (
        'import sys\n'
        f'from {module} import {function}\n'
        f'sys.argv = [{script!r}, {argument!r}]\n'
        'try:\n'
        f'    {function}()\n'
        'except SystemExit as ended:\n'
        '    print(ended.code, *sys.modules)\n'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=100)
    status, *imported = done.stdout.splitlines()[-1].split()
    assert int(status) == code, done.stderr
    assert not HEAVY & set(imported)
    if code:
        # A benchmark is asked for first.
        assert done.stderr.startswith(f'{script}: ')
        assert done.stderr.count('\n') == 1
    if argument == '--version':
        assert done.stdout.startswith(f'{script} ')


@pytest.mark.parametrize('name', COMMANDS)
def test_benchmarks_say_what_they_measure(name, capsys):
    with pytest.raises(SystemExit) as ended:
        parse('benchmark', name, '--help')
    assert ended.value.code == 0
    assert f'`diffcut_benchmark {name}`: ' in capsys.readouterr().out


def test_names_are_those_of_what_is_imported_later():
    assert tuple(DATASETS) == evaluate.DATASETS
    assert tuple(METHODS) == evaluate.METHODS
    assert tuple(PROTOCOLS) == evaluate.PROTOCOLS
    assert tuple(TABLES) == evaluate.TABLES
    assert tuple(NAMINGS) == evaluate.NAMINGS
    assert (tuple(MODELS), tuple(PRECISIONS)) == (export.MODELS, export.PRECISIONS)


def test_ranges_are_those_of_the_parameters():
    fields = parameters(SegmenterConfig) | parameters(NodeConfig)

    def of_analyze(option: str):
        return lambda text: getattr(parse(*ANALYZE, f'--{option}', text), option.replace('-', '_'))

    options = {'tau': TAU, 'damping': DAMPING, 'min_segment_area': MIN_SEGMENT_AREA, 'rate_hz': of_analyze('rate')}
    options |= {'target_segments': of_analyze('target-segments'), 'depth_scale': of_analyze('depth-scale')}
    for name, read in options.items():
        _, info = fields[name]
        assert (read(str(info.minimum)), read(str(info.maximum))) == (info.minimum, info.maximum)
        for beyond in (info.minimum - 1, info.maximum + 1):
            with pytest.raises((SystemExit, ArgumentTypeError)):
                read(str(beyond))


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (
            ['evaluate', 'methods', 'root', '-o', 'out', '--tau', '0.5'],
            '--tau: expected none, since methods tries a grid',
        ),
        (
            ['evaluate', 'table1', 'root', '-o', 'out', '--split', 'test'],
            '--split: expected none, since table1 says it',
        ),
        (['evaluate', 'camvid', 'root', '-o', 'out', '--set', 'tau'], "--set: expected NAME=VALUE, received 'tau'"),
        (['evaluate', 'camvid', 'root', '-o', 'out', '--frames', '3'], '--frames: expected none, since camvid is not'),
        (['evaluate', 'camvid', 'root', '-o', 'out', '--dataset', 'voc'], '--dataset: expected none, since camvid is'),
        (['evaluate', 'table1', 'root', '-o', 'out', '--novelty'], '--novelty: expected none, since table1 is not'),
        (['evaluate', 'camvid', 'root', '-o', 'out', '--method', 'svm'], '--method: expected one of diffcut, '),
        ([*TEACH, '--method', 'kmeans'], '--method: expected one of classes, '),
        ([*TEACH, '--protocol', 'paper'], '--protocol: expected none, since teach scores by plain'),
        ([*TEACH, '--dataset', 'kitti'], '--dataset: expected one of voc, '),
        (['evaluate', 'kitti', 'root', '-o', 'out'], 'DATASET: expected one of voc, '),
        ([*ANALYZE, '--resume', '--overwrite'], 'expected one of --resume and --overwrite, received both'),
        ([*ANALYZE, '--no-depth', '--depth-topic', '/depth'], 'expected one of --no-depth and --depth-topic'),
        ([*ANALYZE, '--sweep', 'tau=0.2:2:0.1'], '--sweep: expected tau=FIRST:LAST:STEP'),
        ([*ANALYZE, '--sweep', 'tau=0.1:1:0.' + 400 * '0' + '1'], '--sweep: expected'),
    ],
)
def test_options_that_do_not_fit_each_other(arguments, text, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(*arguments)
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_the_comparison_takes_a_split():
    assert parse('evaluate', 'methods', 'root', '-o', 'out', '--split', 'test').split == 'test'


def test_arguments_of_ros():
    arguments = ['--port', '1', '--ros-args', '-r', 'a:=b', '--', '--node', 'x', '--ros-args', '-p', 'tau:=1']
    assert without_ros_arguments(arguments) == ['--port', '1', '--node', 'x']
    assert parse('view', *arguments).node == 'x'
    parse('node', '--ros-args', '--log-level', 'warn')
