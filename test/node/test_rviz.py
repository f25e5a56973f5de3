"""config/diffcut.rviz against the running node."""

from pathlib import Path

import yaml

from diffcut_ros.launch_arguments import RVIZ_TOPICS
from diffcut_ros.node.camera import _OUTPUTS, _OUTPUTS_3D, _OUTPUTS_OF_MAP
from support.domain import free_domain

CONFIG = yaml.safe_load((Path(__file__).parents[2] / 'config/diffcut.rviz').read_text())
# What RViz and vision_msgs_rviz_plugins subscribe with.
TYPES = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2',
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'vision_msgs_rviz_plugins/Detection3DArray': 'vision_msgs/msg/Detection3DArray',
}


def test_every_topic_and_type_is_there(start_node, connect):
    displays = CONFIG['Visualization Manager']['Displays']
    domain = free_domain()
    options = ('-p', 'depth:=true', '-p', 'target_frame:=map', '-p', 'lazy:=false')
    with start_node(domain, *options) as node, connect(domain, topics=()) as peer:
        node.wait_for_log('waiting for images')
        assert peer.spin_until(lambda: peer.subscription_infos('/image'))
        for display in displays:
            topic = f'/{display["Topic"]["Value"]}'

            def types(topic=topic):
                return {info.topic_type for info in peer.publisher_infos(topic) + peer.subscription_infos(topic)}

            assert peer.spin_until(types), topic
            assert types() == {TYPES[display['Class']]}
    shown = {display['Topic']['Value'] for display in displays}
    everything = {f'diffcut/{topic}' for topic in _OUTPUTS | _OUTPUTS_3D | _OUTPUTS_OF_MAP}
    assert shown - {'image'} <= everything


def test_the_launch_file_knows_what_is_shown():
    shown = {display['Topic']['Value'] for display in CONFIG['Visualization Manager']['Displays']} - {'image'}
    assert {f'diffcut/{name}' for name in RVIZ_TOPICS} == shown
