import pytest
from rcl_interfaces.msg import ParameterType

from diffcut_ros.core import SegmenterConfig, TrackerConfig
from diffcut_ros.core.parameters import parameters
from diffcut_ros.features import CONFIGS
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
        ({'rate_hz': 'fast'}, ['Wrong parameter type']),
        ({'backend': 'color'}, ['backend is read when the node is configured', 'deactivate, cleanup', 'configure']),
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
        (['-p', 'backend:=magic'], 'backend: expected color, or ssd-1b, ssd-vega, sd1.4, an existing folder'),
        (['-p', 'tau:=2.0'], 'parameter tau: expected 0.0 to 1.0, received 2.0'),
        (['-p', 'tau:=high'], "parameter tau: expected float, received 'high' (str)"),
        (['-p', 'taw:=0.5'], 'unknown parameter taw; known are backend, device, cameras'),
        (['-p', 'device:=tpu9'], "device: expected auto or one of cpu, received 'tpu9'"),
        (['-p', 'qos_overrides./image.subscription.reliability:=reliabel'], 'qos_overrides: Unexpected QoS override'),
        (['-p', 'color.cells:=0'], 'parameter color.cells: expected'),
    ],
)
def test_bad_parameters_end_the_start_with_one_line(start_node, arguments, message):
    with start_node(free_domain(), *arguments) as node:
        assert node.wait() == 2
        assert 'Traceback' not in node.log
        (line,) = [line for line in node.log.splitlines() if 'FATAL' in line]
        assert message in line


def test_a_whole_number_will_do_for_a_float(start_node):
    with start_node(free_domain(), '-p', 'tau:=1') as node:
        node.wait_for_log('tau 1.0')
