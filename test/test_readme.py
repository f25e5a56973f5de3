"""The tables of README and docs against the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from diffcut_ros.analysis.tables import OBJECTS, RECORDINGS, SWEEP, TABLES
from diffcut_ros.core import SegmenterConfig, TrackerConfig
from diffcut_ros.core.parameters import parameters, range_text
from diffcut_ros.features import CONFIGS
from diffcut_ros.node import camera
from diffcut_ros.settings import DiagnosticsConfig, NodeConfig, PointsConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'benchmarks').glob('*.md')),
]


@pytest.mark.parametrize(
    ('prefix', 'config'),
    [
        ('', SegmenterConfig),
        ('', NodeConfig),
        ('tracking.', TrackerConfig),
        ('points.', PointsConfig),
        ('diagnostics.', DiagnosticsConfig),
        *((f'{kind}.', config) for kind, config in CONFIGS.items()),
    ],
)
def test_parameter_table(prefix, config):
    text = (ROOT / 'docs/parameters.md').read_text()
    for name, (field, info) in parameters(config).items():
        live = 'yes' if info.live else ''
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        row = f'| `{prefix}{name}` | {default} | {range_text(info)} | {live} | {info.description} |'
        assert row in text


def test_parameters_that_matter():
    section = README.partition('\n## Parameters that matter\n')[2].partition('\n## ')[0]
    told = dict(re.findall(r'^\| `(\w+)` \| (.*?) ?\|', section, re.MULTILINE))
    code = {**parameters(SegmenterConfig), **parameters(NodeConfig)}
    assert len(told) == 6
    assert told == {name: str(code[name][0].default) for name in told}


def test_topics():
    rows = [row.split(' | ') for row in (ROOT / 'docs/topics.md').read_text().splitlines() if row.startswith('| out')]
    told = {name: row[2] for row in rows for name in re.findall(r'`~/([\w/]+)`', row[1])}
    outputs = {**camera._OUTPUTS, **camera._OUTPUTS_3D, **camera._OUTPUTS_OF_MAP}
    assert set(told) == set(outputs) | set(camera._OUTPUTS_IF_INSTALLED)
    for name, (kind, _) in outputs.items():
        assert kind.__name__ in told[name], name
    short = re.findall(r'`~/([\w/]+)`', README.partition('\n## Topics\n')[2].partition('\n## ')[0])
    assert set(short) <= set(told)


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 170
    assert not [line for line in lines if len(line) > (160 if line.startswith('|') else 132)]


def test_tables_of_recordings():
    text = (ROOT / 'docs/tables.md').read_text()
    for table, columns in {**TABLES, 'objects': OBJECTS, 'sweep': SWEEP, 'recordings': RECORDINGS}.items():
        section = text.partition(f'\n## {table}\n')[2].partition('\n## ')[0]
        rows = [row for row in section.splitlines() if row.startswith('| `')]
        assert rows == [f'| `{c.name}` | `{c.type_name}` | {c.unit} | {c.meaning} |' for c in columns]


def test_where_do_i_change_names_files_that_exist():
    table = (ROOT / 'docs/code.md').read_text().partition('## Where do I change')[2].partition('\nImports point')[0]
    assert table
    base = ROOT / 'diffcut_ros'
    for path in re.findall(r'`([\w/]+(?:\.\w+|/))`', table):
        folders = (
            ROOT,
            base,
            base / 'core',
            base / 'features',
            base / 'features/diffusion',
            base / 'evaluation',
            base / 'media',
            base / 'node',
            base / 'analysis',
            base / 'benchmarks',
            base / 'stream',
            base / 'recordings',
        )
        assert any((folder / path).exists() for folder in folders), path


def test_the_library_example_runs():
    program = re.search(r'\*\*As a library\*\*.*?```python\n(.*?)```', README, re.DOTALL).group(1)
    check = 'assert len(result.segments) < len(finer.segments)'
    subprocess.run([sys.executable, '-c', f'{program}\n{check}'], check=True, timeout=300)


def test_the_settings_of_the_library_are_as_shown():
    (program,) = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/library.md').read_text(), re.DOTALL)
    check = 'assert len(segments) > 10 and min(segments.area_px) >= 200 and len(set(track_ids)) == len(track_ids) > 10'
    subprocess.run([sys.executable, '-c', f'{program}\n{check}'], check=True, timeout=300)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
        assert (page.parent / target).exists(), target


def test_what_consumers_are_given_exists():
    """Each snippet is YAML, and each of its topics of this node is one that the node has."""
    section = (ROOT / 'docs/consumers.md').read_text()
    snippets = re.findall(r'```yaml\n(.*?)```', section, re.DOTALL)
    assert len(snippets) >= 3
    outputs = set(re.findall(r'`~/([\w/]+)`', (ROOT / 'docs/topics.md').read_text()))
    for snippet in snippets:
        assert yaml.safe_load(snippet)
        topics = set(re.findall(r'/diffcut/([\w/]+)', snippet))
        assert topics
        assert topics <= outputs
