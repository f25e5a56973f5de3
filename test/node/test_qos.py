"""Quality of service: what cameras and consumers can rely on, and what parameters change of it."""

from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]


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
        best_effort, reliable = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
        assert qos_of(peer.subscription_infos('/cam')) == (best_effort, DurabilityPolicy.VOLATILE)
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
        assert node.log.count('no such topic') == 2  # that of all tests is for /image
