"""Quality of service: what cameras and consumers can rely on, and what parameters change of it."""

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from diffcut_ros.node.advice import on_losses
from diffcut_ros.node.images import encode_image
from diffcut_ros.node.subscription import Subscription
from support.domain import free_domain
from support.scenes import quadrants
from support.waiting import PATIENCE_S, wait_for

IMAGE = quadrants(64, 128)[0]
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def qos_of(infos):
    (info,) = infos
    return info.qos_profile.reliability, info.qos_profile.durability


def offered(peer, topic):
    """Return reliability and durability of the publisher of a topic, once it is known."""
    assert peer.spin_until(lambda: peer.publisher_infos(topic)), topic
    return qos_of(peer.publisher_infos(topic))


def test_defaults(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-r', 'image:=/cam') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images on /cam')
        assert peer.spin_until(lambda: peer.subscription_infos('/cam'))
        reliable = ReliabilityPolicy.RELIABLE
        assert qos_of(peer.subscription_infos('/cam')) == (reliable, DurabilityPolicy.VOLATILE)
        for topic in ('labels', 'segments', 'overlay'):
            assert offered(peer, f'/diffcut/{topic}') == (reliable, DurabilityPolicy.VOLATILE)
        assert offered(peer, '/diffcut/label_info') == (reliable, DurabilityPolicy.TRANSIENT_LOCAL)


def test_outputs_can_be_overridden(start_node, connect):
    domain = free_domain()
    options = []
    for topic, policy, value in [
        ('labels', 'reliability', 'best_effort'),
        ('labels', 'history', 'keep_last'),
        ('labels', 'depth', '1'),
        ('segments', 'durability', 'transient_local'),
    ]:
        options += ['-p', f'qos_overrides./diffcut/{topic}.publisher.{policy}:={value}']
    with start_node(domain, *options) as node, connect(domain, topics=('segments',)) as peer:
        node.wait_for_log('waiting for images')
        assert offered(peer, '/diffcut/labels')[0] == ReliabilityPolicy.BEST_EFFORT
        assert offered(peer, '/diffcut/segments')[1] == DurabilityPolicy.TRANSIENT_LOCAL
        # Each override is that topic's alone.
        assert offered(peer, '/diffcut/labels')[1] == DurabilityPolicy.VOLATILE
        for topic in ('segments', 'overlay'):
            assert offered(peer, f'/diffcut/{topic}')[0] == ReliabilityPolicy.RELIABLE
        peer.segment(IMAGE)


def test_a_bad_override_of_an_output_ends_the_start(start_node):
    option = 'qos_overrides./diffcut/labels.publisher.durability:=transient'
    with start_node(free_domain(), '-p', option) as node:
        assert node.wait() == 2
        assert 'qos_overrides: Unexpected QoS override' in node.log
        assert 'Traceback' not in node.log


def test_an_override_of_a_topic_that_is_not_there_is_told(start_node):
    options = ['-p', 'qos_overrides./camera/image.subscription.depth:=2']
    with start_node(free_domain(), *options, '-r', 'image:=/camera/image_raw') as node:
        node.wait_for_log('waiting for images')
        assert 'qos_overrides./camera/image.subscription.depth: no such topic here; there are /camera/image_raw, ' in (
            node.log
        )
        assert node.log.count('no such topic') == 1


def asks_for(peer, topic, reliability):
    """Wait until the only subscription of a topic asks for a reliability."""
    return peer.spin_until(
        lambda: [info.qos_profile.reliability for info in peer.subscription_infos(topic)] == [reliability]
    )


def test_the_best_that_all_publishers_offer_is_followed(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'lazy:=false') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        assert asks_for(peer, '/image', ReliabilityPolicy.RELIABLE)
        peer.segment(IMAGE)
        for times in (1, 2):
            second = peer.publisher(Image, '/image', BEST_EFFORT)
            assert asks_for(peer, '/image', ReliabilityPolicy.BEST_EFFORT)
            node.wait_for_log('/image: best effort from now on, the best that all its publishers offer (')
            assert peer.diagnostics()[2]['delivery'] == '/image: best effort'

            def heard(header, publisher=second):
                publisher.publish(encode_image(IMAGE, 'rgb8', header))
                return peer.spin_until(lambda: all(peer.outputs(header).values()), 1.0)

            assert any(heard(peer.header()) for _ in range(10))
            peer.segment(IMAGE)  # the reliable one
            peer.remove(second)
            assert asks_for(peer, '/image', ReliabilityPolicy.RELIABLE)
            peer.diagnostics(told=lambda _, values: values['delivery'] == '/image: reliable')
            peer.segment(IMAGE)
            for change in ('best effort', 'reliable'):
                assert node.log.count(f'/image: {change} from now on, ') == times, node.log


def test_a_best_effort_camera_that_starts_after_the_node_is_heard(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'lazy:=false') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        assert asks_for(peer, '/image', ReliabilityPolicy.RELIABLE)
        peer.replace_camera(BEST_EFFORT)
        peer.segment(IMAGE)
        assert 'incompatible' not in node.log


@pytest.mark.parametrize(('override', 'expected'), [('best_effort', 'BEST_EFFORT'), ('reliable', 'RELIABLE')])
def test_an_override_decides(start_node, connect, override, expected):
    domain = free_domain()
    option = f'qos_overrides./image.subscription.reliability:={override}'
    with start_node(domain, '-p', option, '-p', 'lazy:=false') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        assert asks_for(peer, '/image', ReliabilityPolicy[expected])
        peer.publisher(Image, '/image', BEST_EFFORT)
        misfit = '/image: qos_overrides./image.subscription.reliability asks for more than /peer offers'
        told = peer.spin_until(lambda: misfit in node.log, PATIENCE_S if override == 'reliable' else 2.0)
        assert told == (override == 'reliable')
        assert qos_of(peer.subscription_infos('/image'))[0] == ReliabilityPolicy[expected]


def test_a_latched_camera_info_is_received_later(start_node, connect):
    domain = free_domain()
    with connect(domain) as peer:
        peer.remove(peer.camera_info)
        peer.camera_info = peer.publisher(CameraInfo, '/camera_info', LATCHED)
        header = peer.header()
        k = [100.0, 0.0, 64.0, 0.0, 100.0, 32.0, 0.0, 0.0, 1.0]
        peer.camera_info.publish(CameraInfo(header=header, width=128, height=64, k=k))
        with start_node(domain, '-p', 'depth:=true') as node:
            node.wait_for_log('waiting for images')
            peer.wait_until_met()
            delivery = peer.diagnostics()[2]['delivery']
            assert delivery == '/image: reliable; /camera_info: reliable, latched; /depth: reliable'
            depth = encode_image(np.full((64, 128), 1500, np.uint16), 'mono16', header)
            depth.encoding = '16UC1'
            peer.depth.publish(depth)
            peer.publish(encode_image(IMAGE, 'rgb8', header))
            assert peer.spin_until(lambda: all(peer.outputs(header).values()))


def test_images_of_a_reliable_camera_arrive(start_node, connect):
    domain = free_domain()
    large = encode_image(np.ascontiguousarray(np.tile(IMAGE, (11, 10, 1))), 'rgb8', None)
    with start_node(domain) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        for _ in range(40):
            large.header = peer.header()
            peer.publish(large)
            peer.spin_until(lambda: False, 0.2)
        # A node that gets no processor for longer than its queue lasts loses some; best effort loses every other one.
        peer.diagnostics(told=lambda _, values: int(values['received']) >= 32)
        assert int(peer.diagnostics()[2]['lost']) <= 8


@pytest.mark.parametrize('override', [None, 'best_effort'])
@pytest.mark.parametrize('offer', ['best_effort', 'reliable'])
def test_reliable_delivery_is_proposed_where_all_publishers_offer_it(override, offer):
    """Also at a moment at which none is known."""
    context, arguments = Context(), []
    if override:
        arguments = ['--ros-args', '-p', f'qos_overrides./image.subscription.reliability:={override}']
    rclpy.init(args=arguments, context=context, domain_id=free_domain())
    try:
        node = rclpy.create_node('listens', context=context)
        subscription = Subscription(node, Image, '/image', 'image', lambda *_: None)
        reliability = ReliabilityPolicy.RELIABLE if offer == 'reliable' else ReliabilityPolicy.BEST_EFFORT
        publisher = node.create_publisher(Image, '/image', QoSProfile(depth=1, reliability=reliability))
        wait_for(subscription.publishers)
        subscription.follow()
        while_known = on_losses(subscription)
        node.destroy_publisher(publisher)
        wait_for(lambda: not subscription.publishers())
        afterwards = on_losses(subscription)
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    proposal = 'try -p qos_overrides./image.subscription.reliability:=reliable'
    if override is None and offer == 'reliable':
        assert 'too slow' in while_known
        assert 'too slow' in afterwards
    elif offer == 'reliable':
        assert while_known.endswith(proposal)
        assert afterwards.endswith(f'{proposal} if what publishes on it offers that (else nothing would come)')
    else:
        assert while_known == 'let /listens offer reliable delivery, or compressed images'
        assert proposal not in afterwards or 'if what publishes on it offers that' in afterwards
        assert (proposal in afterwards) == (override is not None)
