from pathlib import Path

import pytest
import rclpy
import yaml
from rcl_interfaces.msg import ParameterType
from rclpy.context import Context
from rclpy.parameter import parameter_dict_from_yaml_file

from diffcut_ros.core import SegmenterConfig, TrackerConfig
from diffcut_ros.core.parameters import parameters
from diffcut_ros.features import CONFIGS
from diffcut_ros.parameter_file import read_sections
from diffcut_ros.settings import DiagnosticsConfig, NodeConfig, PointsConfig
from support.domain import free_domain

SPECS = [
    ('', NodeConfig),
    ('', SegmenterConfig),
    ('tracking.', TrackerConfig),
    ('points.', PointsConfig),
    ('diagnostics.', DiagnosticsConfig),
    *((f'{kind}.', config) for kind, config in CONFIGS.items()),
]
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
}


@pytest.mark.parametrize(('prefix', 'config'), SPECS)
def test_every_setting_is_declared_with_description_and_range(running, prefix, config):
    _, peer, _ = running
    for name, (field, info) in parameters(config).items():
        (descriptor,) = peer.describe(prefix + name)
        assert descriptor.description == info.description
        assert descriptor.type == TYPES[field.type]
        assert not descriptor.read_only  # what is fixed while configured can be set before
        fixed = 'set at start, or while the node is unconfigured'
        assert (fixed in descriptor.additional_constraints) == (not info.live)
        for bounds in [*descriptor.floating_point_range, *descriptor.integer_range]:
            assert (bounds.from_value, bounds.to_value) == (info.minimum, info.maximum)
        if field.type in (int, float):
            assert len(descriptor.floating_point_range) + len(descriptor.integer_range) == 1


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'tau': 1.5}, ['tau', '1.5', '0.0', '1.0']),
        ({'tau': float('nan')}, ['tau', 'nan']),
        ({'min_segment_area': -1}, ['min_segment_area', '-1', '0']),
        ({'instances': 'space'}, ['expected depth: true with it, received false', 'instances: connected']),
        ({'rate_hz': 'fast'}, ['rate_hz', 'Wrong parameter type', "expected float, received 'fast' (str)"]),
        ({'tau': 1}, ['tau', 'Wrong parameter type', 'expected float, received 1 (int); write 1.0']),
        ({'tau': -1}, ['tau', 'Wrong parameter type', 'expected float 0.0 to 1.0, received -1 (int)']),
        ({'cameras': []}, ['cameras', 'expected a list of strings, received []']),
        ({'lazy': 'yes'}, ['lazy', 'Wrong parameter type', "expected bool, received 'yes'"]),
        ({'backend': True}, ['backend', 'expected str, received True (bool)', 'quotes in quotes']),  # from on or yes
        ({'cameras': 'front'}, ['cameras', "expected a list of strings, received 'front'"]),
        ({'refine': 'crf'}, ['refine: expected one of none, watershed, pamr, received']),
        ({'tau': None}, ['tau: cannot be deleted']),
        ({'teach': None}, ["""teach: cannot be deleted; for none, set it to '' (in a shell: "\'\'")"""]),
        ({'rateHz': 1.0}, ['unknown parameter rateHz; rate_hz may be meant', 'ros2 param list']),
        ({'qos_overrides./image.subscription.reliability': 'bogus'}, ['set at start alone, with -p NAME:=VALUE']),
        ({'qos_overrides./image.subscription.reliability': None}, ['cannot be deleted']),
        ({'qos_overrides./other.subscription.depth': 1}, ['set at start alone', 'only for topics of this node']),
        ({'backend': 'ssd-1b'}, ['backend is read when the node is configured', 'deactivate, cleanup', 'configure']),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(running, change, reason):
    result = running[1].set(**change)
    assert not result.successful
    for word in reason:
        assert word in result.reason


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-p', 'backend:=magic'], 'backend: expected color, or ssd-1b, ssd-vega, sd1.4, dinov2-small'),
        (['-p', 'tau:=2.0'], 'parameter tau: expected 0.0 to 1.0, received 2.0'),
        (['-p', 'tau:=high'], "parameter tau: expected float, received 'high' (str)"),
        (['-p', 'taw:=0.5'], 'unknown parameter taw; tau may be meant; known are backend, device, cameras'),
        (['-p', 'device:=tpu9'], "device: expected auto or one of cpu, received 'tpu9'"),
        (['-p', 'qos_overrides./image.subscription.reliability:=reliabel'], 'qos_overrides: Unexpected QoS override'),
        (['-p', 'color.cells:=0'], 'parameter color.cells: expected'),
        (['-p', 'cameras:=[]'], 'parameter cameras: expected a list of strings, received []'),
        (['-p', 'tau:=[]'], 'parameter tau: expected float, received [] (list)'),
        (['-p', 'xyz:=0.5', '-p', 'rateHz:=5.0'], 'unknown parameter rateHz, xyz; rate_hz may be meant; known are'),
        (['-p', 'plugins:=[]'], 'unknown parameter plugins; known are'),
        (['-p', 'use_sim_time:=[]'], 'parameter use_sim_time: expected bool, received []'),
        (['-p', 'use_sim_time:="true"'], "parameter use_sim_time: expected bool, received 'true'"),
        (['-p', 'cameras:=[a, 1a]'], 'cameras: expected names as topics have them, such as front, received'),
        (['-p', 'cameras:=[/front]'], 'cameras: expected names as topics have them, such as front, received'),
        (['-p', 'backend:=on'], 'parameter backend: expected str, received True (bool); text that YAML reads as'),
        (['-p', 'qos_overrides./image.subscription.depth:=five'], "expecting type 'INTEGER'"),
        (['-p', 'qos_overrides./image.subscription.depth:=[]'], 'an empty list is no value (/image; expected as'),
        (['-p', 'qos_overrides./image.subscription.depth:=-1'], '(/image; expected as history keep_last or'),
        (['-p', 'qos_overrides./image.subscription.depth:=3000000000'], '(/image; expected as history keep_last or'),
        (['-p', 'qos_overrides./image.subscription.history:=unknown'], '(/image; expected as history keep_last or'),
        (['-p', 'qos_overrides./diffcut/labels.publisher.durability:=true'], '(/diffcut/labels; expected as history'),
    ],
)
def test_bad_parameters_end_the_start_with_one_line(start_node, arguments, message):
    with start_node(free_domain(), *arguments) as node:
        assert node.wait() == 2
        assert 'Traceback' not in node.log
        (line,) = [line for line in node.log.splitlines() if 'FATAL' in line or 'ERROR' in line]
        assert message in line


def test_what_has_its_value_already_may_be_set_to_it(running):
    """A dump of an active node, loaded: also what is read-only, or fixed while it is configured."""
    _, peer, _ = running
    for name in peer.names():
        result = peer.set(**{name: peer.get(name)})
        assert result.successful, (name, result.reason)


def test_that_tau_is_not_used_is_told_once(start_node, connect):
    domain = free_domain()
    with start_node(domain) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        for target, told in ((3, 1), (3, 1), (0, 1), (4, 2), (5, 3)):
            assert peer.set(target_segments=target).successful
            for tau in (0.3, 0.4, 0.5):
                assert peer.set(tau=tau).successful
            assert node.log.count('tau is not used while target_segments is') == told


def test_an_empty_list_for_nodes_of_any_name_is_left_out(start_node, file):
    with start_node(free_domain(), *file('/**:\n  ros__parameters: {plugins: [], tau: 0.4}\n')) as node:
        node.wait_for_log('tau 0.4, waiting for images')
        assert '1 parameter for nodes of any name left out, unknown here' in node.log


def test_a_file_with_tuples_as_launch_writes_lists(start_node, file):
    sections = {'/diffcut': {'ros__parameters': {'cameras': ('front', 'rear')}}}
    sections['/**'] = {'ros__parameters': {'fps': 30, 'planner': {'plugins': ('a', 'b')}}}
    options = file(yaml.dump(sections, default_flow_style=False))
    assert read_sections(Path(options[1]))['/diffcut'] == {'cameras': ['front', 'rear']}
    with start_node(free_domain(), *options) as node:
        node.wait_for_log('waiting for images on /front/image, /rear/image')
        assert '2 parameters for nodes of any name left out' in node.log
        assert 'WARN' not in node.log


def test_a_whole_number_will_do_for_a_float(start_node):
    with start_node(free_domain(), '-p', 'tau:=1') as node:
        node.wait_for_log('tau 1.0')


@pytest.fixture
def file(tmp_path):
    """Function that writes a parameter file and returns the arguments that name it."""

    def write(text: str) -> tuple[str, str]:
        path = tmp_path / 'robot.yaml'
        path.write_text(text)
        return '--params-file', str(path)

    return write


ROBOT = """
/**:
  ros__parameters:
    use_sim_time: false
    robot_description: "<robot/>"
    fps: 30
    planner: {tolerance: 0.1, plugins: [a, b]}
    qos_overrides: {/scan: {subscription: {depth: 3}}}
    tau: 0.25
"""


def test_parameters_of_other_nodes_are_left_out(start_node, connect, file):
    domain = free_domain()
    with start_node(domain, *file(ROBOT)) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        assert peer.get('tau') == 0.25
        with pytest.raises(IndexError):  # the service knows no such parameter
            peer.get('fps')
        assert 'robot.yaml: 4 parameters for nodes of any name left out, unknown here\n' in node.log
        assert 'WARN' not in node.log


@pytest.mark.parametrize('section', ['/**', '/*', '/**/*'])
def test_those_that_resemble_one_of_ours_are_told(start_node, file, section):
    text = f'{section}:\n  ros__parameters: {{taus: 0.3, fps: 30, rateHz: 5.0}}\n'
    with start_node(free_domain(), *file(text)) as node:
        node.wait_for_log('tau 0.5, waiting for images')
        (line,) = [line for line in node.log.splitlines() if 'WARN' in line]
        assert line.endswith(
            '3 parameters for nodes of any name left out, unknown here; misspelt may be '
            'rateHz (for rate_hz?), taus (for tau?)'
        )


@pytest.mark.parametrize(
    ('text', 'more'),
    [
        ('diffcut:\n  ros__parameters: {taus: 0.3}', ()),
        ('/**/diffcut:\n  ros__parameters: {taus: 0.3}', ()),
        ('/**:\n  ros__parameters: {taus: 0.3}\ndiffcut:\n  ros__parameters: {taus: 0.3}', ()),
        ('/**:\n  ros__parameters: {taus: 0.3}', ('-p', 'taus:=0.4')),
        ('/**:\n  ros__parameters: {fps: 30}', ('-p', 'diffcut:taus:=0.4')),
    ],
)
def test_unknown_names_for_this_node_are_refused(start_node, file, text, more):
    with start_node(free_domain(), *file(text), *more) as node:
        assert node.wait() == 2
        assert 'unknown parameter taus; tau may be meant; known are ' in node.log


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('tau: high', "parameter tau: expected float, received 'high' (str)"),
        ('target_frame: /map', 'target_frame: expected a name without spaces around it and without a slash'),
        ('use_sim_time: "yes"', "parameter use_sim_time: expected bool, received 'yes'"),
        ('taus: 0.3', 'unknown parameter taus; tau may be meant; known are '),
        ('cameras: [front, 2]', "parameter cameras: expected a list of values of one type, received ['front', 2]"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_name(start_node, file, given, message):
    options = file(f'/diffcut:\n  ros__parameters: {{{given}}}')
    with start_node(free_domain(), *options) as node:
        assert node.wait() == 2
        assert f': {options[1]}: {message}' in node.log
        assert 'Traceback' not in node.log


def test_what_is_wrong_on_the_command_line_is_told_without_a_file(start_node, file):
    options = *file('/diffcut:\n  ros__parameters: {tau: 0.3}'), '-p', 'tau:=high'
    with start_node(free_domain(), *options) as node:
        assert node.wait() == 2
        assert ": parameter tau: expected float, received 'high'" in node.log
        assert 'robot.yaml' not in node.log


@pytest.mark.parametrize('name', ['diffcut_node', '/robot1/diffcut'])
def test_a_file_for_other_nodes_is_told(start_node, file, name):
    with start_node(free_domain(), *file(f'{name}:\n  ros__parameters: {{tau: 0.3}}')) as node:
        node.wait_for_log('tau 0.5, waiting for images')
        assert (
            f'robot.yaml: nothing in it is for this node, /diffcut: its sections are for /{name.lstrip("/")}; write '
            '/diffcut, or /** for all nodes, in their place'
        ) in node.log


def test_a_rate_that_is_next_to_none_is_refused(running):
    _, peer, _ = running
    for rate_hz in (1e-300, 5e-324, 0.0009):
        result = peer.set(rate_hz=rate_hz)
        assert not result.successful
        assert 'rate_hz: expected 0 or at least 0.001 Hz, received' in result.reason


def test_quality_of_service_is_described_and_read_only_however_it_was_set(start_node, connect, file):
    """Given or not, from a file or the command line; what is said of it by describe is what holds."""
    domain = free_domain()
    given = 'qos_overrides: {/image: {subscription: {reliability: best_effort}}}'
    with (
        start_node(
            domain,
            *file(f'diffcut:\n  ros__parameters: {{{given}}}\n'),
            *('-p', 'qos_overrides./diffcut/labels.publisher.depth:=3'),
        ) as node,
        connect(domain) as peer,
    ):
        node.wait_for_log('waiting for images')
        names = peer.names()
        overrides = [name for name in names if name.startswith('qos_overrides.')]
        outputs = {name.split('.')[1] for name in overrides if '.publisher.' in name}
        assert {'/diffcut/labels', '/diffcut/segments', '/diffcut/label_info'} < outputs
        assert len(overrides) == 4 * (len(outputs) + 2)  # image, and camera_info, which a mask needs
        for name, descriptor in zip(overrides, peer.describe(*overrides), strict=True):
            assert descriptor.read_only, name
            assert descriptor.description, name
            result = peer.set(**{name: 'bogus'})
            assert not result.successful
            assert result.reason == f'{name}: set at start alone, with -p NAME:=VALUE or in a parameter file'
            assert peer.set(**{name: peer.get(name)}).successful  # as when a dump is loaded
        assert peer.get('qos_overrides./image.subscription.reliability') == 'best_effort'
        assert peer.get('qos_overrides./diffcut/labels.publisher.depth') == 3
        peer.unsubscribe()
        assert peer.spin_until(lambda: not peer.camera_is_subscribed)
        peer.subscribe('labels')
        assert peer.spin_until(lambda: peer.camera_is_subscribed)
        assert 'FATAL' not in node.log


@pytest.mark.parametrize('value', ['on', 'yes', 'n', '1e3', '12:30', 'null', '~', '0x10', '007', '1_000', '.inf', ''])
def test_text_that_yaml_may_read_as_something_else_is_set_as_it_is_or_refused(start_node, connect, value):
    """As `ros2 param set` and `ros2 param load` send it."""
    domain = free_domain()
    with start_node(domain, '-p', 'autostart:=false'), connect(domain, topics=()) as peer:
        for name in ('backend', 'device', 'diffusion.layer', 'diffusion.tiny_vae'):
            result = peer.set_text(name, value)
            if result.successful:
                assert peer.get(name) == value
            else:
                assert 'expected str, received' in result.reason
                assert 'quotes in quotes' in result.reason
                assert peer.set_text(name, f"'{value}'").successful
                assert peer.get(name) == value


def test_a_dump_can_be_loaded(start_node, connect, file, tmp_path):
    """Of all parameters, with values that YAML 1.1 reads as something else, by the ways of ros2 param and at start."""
    domain = free_domain()
    options = ['-p', 'diffusion.aspect:=4:3', '-p', 'tau:=1.0e-05', '-p', 'cameras:=["on", "12:30"]']
    options += ['-p', 'autostart:=false']
    with start_node(domain, *options), connect(domain, topics=()) as peer:
        dumped = {name: peer.get(name) for name in peer.names()}
        assert dumped['diffusion.aspect'] == '4x3'
        assert dumped['tau'] == 1e-5
        dump = tmp_path / 'dump.yaml'
        dump.write_text(yaml.dump({'/diffcut': {'ros__parameters': dumped}}))
        assert len(dumped) > 40
        assert peer.set(**{'diffusion.aspect': '16:9', 'tau': 0.25}).successful
        assert peer.get('diffusion.aspect') == '16x9'
        for name, parameter in parameter_dict_from_yaml_file(str(dump), target_nodes=['/diffcut']).items():
            if peer.describe(name)[0].read_only:  # one of rclpy's
                continue
            result = peer.set_message(parameter)
            assert result.successful, (name, result.reason)
        assert {name: peer.get(name) for name in peer.names()} == dumped
    domain = free_domain()
    with start_node(domain, '--params-file', str(dump)), connect(domain, topics=()) as peer:
        assert {name: peer.get(name) for name in peer.names()} == dumped


def test_an_aspect_that_is_none_is_refused_with_the_spelling_that_yaml_leaves_alone(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'autostart:=false'), connect(domain, topics=()) as peer:
        for value in ('wide', '4x', '9x1', '1x0'):
            result = peer.set(**{'diffusion.aspect': value})
            assert not result.successful
            assert 'expected WIDTHxHEIGHT from 1x8 to 8x1, such as 4x3' in result.reason
        result = peer.set_text('diffusion.aspect', '4:3')  # 243
        assert not result.successful
        assert 'expected text such as 4x3, received 243 (int)' in result.reason
        assert peer.set_text('diffusion.aspect', '4x3').successful


def test_values_of_a_file_are_what_ros_makes_of_them(file):
    """As diffcut_analyze reads them, and as rcl does."""
    values = [
        '4:3',
        '12:30',
        '1:1.5',
        '1_000',
        '1e-3',
        '1E5',
        '1',
        '0',
        '-3',
        '+4',
        '0x1F',
        '007',
        '1.',
        '.5',
        '-.5',
        '1.5e3',
    ]
    values += [
        '.inf',
        '-.Inf',
        'on',
        'Off',
        'yes',
        'y',
        'N',
        'true',
        'True',
        '2026-01-01',
        'text',
        "'4'",
        '"on"',
        '4x3',
    ]
    given = {f'p{number}': value for number, value in enumerate(values)}
    lines = [f'    {name}: {value}' for name, value in given.items()]
    (_, path) = file('\n'.join(['/one:', '  ros__parameters:', *lines, '']))
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = rclpy.create_node(
        'one',
        context=context,
        cli_args=['--ros-args', '--params-file', path],
        use_global_arguments=False,
        automatically_declare_parameters_from_overrides=True,
    )
    try:
        expected = {value: node.get_parameter(name).value for name, value in given.items()}
    finally:
        node.destroy_node()
        context.shutdown()
    read = read_sections(Path(path))['/one']
    assert {value: repr(read[name]) for name, value in given.items()} == {k: repr(v) for k, v in expected.items()}
