"""The node's parameter files, read without ROS."""

from pathlib import Path

import pytest

from diffcut_ros.analysis.settings import AnalysisOptions, left_out_parameters, read_parameter_file, read_settings

CONFIG = Path(__file__).parents[2] / 'config'


def written(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def settings(tmp_path):
    """Function that returns the settings of a parameter file of this text."""
    return lambda text, **more: read_settings(AnalysisOptions(written(tmp_path / 'p.yaml', text), **more))


def test_files_of_the_package():
    for path in sorted(CONFIG.glob('*.yaml')):
        values = read_parameter_file(path)
        assert values
        if path.name != 'multi_camera.yaml':
            assert read_settings(AnalysisOptions(path)).node.rate_hz == values.get('rate_hz', 0.0)
    with pytest.raises(ValueError, match='expected one camera, received front, rear'):
        read_settings(AnalysisOptions(CONFIG / 'multi_camera.yaml'))


def test_sections_for_the_node(settings):
    for name in ('/**', '/*', 'diffcut', '/diffcut', '/**/diffcut'):
        assert settings(f'{name}:\n  ros__parameters: {{tau: 0.25}}').segmenter.tau == 0.25
    both = '/**:\n  ros__parameters: {tau: 0.25, alpha: 9.0}\ndiffcut:\n  ros__parameters: {tau: 0.75}\n'
    assert (settings(both).segmenter.tau, settings(both).segmenter.alpha) == (0.75, 9.0)
    # As rclpy does: the last one in the file wins, not the one with the nearest name.
    last = 'diffcut:\n  ros__parameters: {tau: 0.75}\n/**:\n  ros__parameters: {tau: 0.25}'
    assert settings(last).segmenter.tau == 0.25
    assert settings('/**:\n  diffcut:\n    ros__parameters: {tau: 0.25}').segmenter.tau == 0.25
    for name in ('other', '/ns/diffcut', '/*/diffcut'):
        with pytest.raises(ValueError, match='expected a section for /diffcut or'):
            settings(f'{name}:\n  ros__parameters: {{tau: 0.25}}')


def test_sections_of_another_node(settings):
    text = '/robot1/diffcut:\n  ros__parameters: {tau: 0.25}\n/robot2/diffcut:\n  ros__parameters: {tau: 0.75}'
    assert settings(text, node='/robot1/diffcut').segmenter.tau == 0.25
    assert settings('/*/diffcut:\n  ros__parameters: {tau: 0.3}', node='/robot1/diffcut').segmenter.tau == 0.3
    with pytest.raises(ValueError, match='received /robot1/diffcut, /robot2/diffcut; --node-name takes'):
        settings(text)
    with pytest.raises(ValueError, match=r"node name: expected a full one, such as .*, received 'diffcut'"):
        settings(text, node='diffcut')


def test_parameters_of_other_nodes(tmp_path):
    text = '/**:\n  ros__parameters: {taus: 0.2, fps: 30, tau: 0.25, planner: {tolerance: 0.1}}'
    options = AnalysisOptions(written(tmp_path / 'robot.yaml', text))
    assert read_settings(options).segmenter.tau == 0.25
    assert left_out_parameters(options).endswith(
        'robot.yaml: 3 parameters for nodes of any name left out, unknown here; misspelt may be taus (for tau?)'
    )
    assert not left_out_parameters(AnalysisOptions(CONFIG / 'diffcut.yaml'))
    assert not left_out_parameters(AnalysisOptions())


def test_as_ros_reads_it(settings):
    """Sections that are there twice count together, as in files that were put together; 1e-1 is a number."""
    text = '/**:\n  ros__parameters: {tau: 1e-1, alpha: 9.0}\n/**:\n  ros__parameters: {alpha: 8, depth: off}'
    found = settings(text)
    assert (found.segmenter.tau, found.segmenter.alpha, found.with_depth) == (0.1, 8.0, False)


def test_every_kind_of_parameter(settings):
    text = (
        '/**:\n  ros__parameters: {tau: 1, color: {cells: 8}, tracking.max_age_s: 2, depth: false, use_sim_time: true}'
    )
    found = settings(text)
    assert (found.segmenter.tau, found.tracker.max_age_s) == (1.0, 2.0)
    assert type(found.segmenter.tau) is float
    assert found.extractor['cells'] == 8
    assert not found.with_depth


def test_the_command_replaces_the_file(settings):
    text = '/**:\n  ros__parameters: {tau: 0.2, target_segments: 3, rate_hz: 5.0, backend: ssd-1b}'
    found = settings(text, tau=0.3, target_segments=0, rate_hz=0.0, backend='color')
    assert (found.segmenter.tau, found.segmenter.target_segments) == (0.3, 0)
    assert (found.node.rate_hz, found.node.backend) == (0.0, 'color')
    assert settings(text).node.backend == 'ssd-1b'
    assert 'input_size' in settings(text).extractor


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            'diffcut:\n  ros__parameters: {taw: 0.2}',
            r'unknown parameter taw; tau may be meant; known are backend, .*, tau, .*color\.cells',
        ),
        ('diffcut:\n  ros__parameters: {color: {cell: 3}}', r'unknown parameter color\.cell;'),
        ('/**:\n  ros__parameters: {tau: high}', "parameter tau: expected float, received 'high'"),
        ('/**:\n  ros__parameters: {tau: 1.5}', 'parameter tau: expected 0.0 to 1.0, received 1.5'),
        ('/**:\n  ros__parameters: {color: {cells: 1}}', r'parameter color\.cells: expected 2 to 128'),
        ('tau: 0.2', 'expected NODE: ros__parameters'),
        ('- tau', 'expected NODE: ros__parameters'),
        ('', 'expected NODE: ros__parameters'),
        ('/**: {', 'expected a parameter file, cannot read it'),
    ],
)
def test_bad_files(settings, text, words):
    with pytest.raises(ValueError, match=words):
        settings(text)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r'none\.yaml: expected a parameter file, cannot read it'):
        read_parameter_file(tmp_path / 'none.yaml')
