"""Each test runs on the stand-in and, where it is installed, on message_filters."""

import gc
import random
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from diffcut_ros.node import message_sync, sync
from diffcut_ros.node.subscription import Subscription
from diffcut_ros.stream.stamps import stamp_ns
from support.domain import free_domain
from support.waiting import PATIENCE_S

IMAGE, INFO, DEPTH = range(3)
KINDS = [Image, CameraInfo, Image]


def stamped(kind, stamp_ms):
    header = Header()
    header.stamp.sec, header.stamp.nanosec = stamp_ms // 1000, stamp_ms % 1000 * 10**6
    return kind(header=header)


class Bench:
    """Inputs without a middleware; `sets` holds what was delivered, as stamps in milliseconds."""

    def __init__(self, topics=3, **settings):
        self.sets = []
        self.inputs = [sync.filters.SimpleFilter() for _ in range(topics)]
        self.unstamped = [0] * topics
        self.result = sync.synchronize(self.inputs, self.deliver, self.leave_out, **settings)

    def leave_out(self, topic):
        self.unstamped[topic] += 1

    def deliver(self, *messages):
        assert [type(m) for m in messages] == KINDS[: len(messages)]
        self.sets.append(tuple(stamp_ns(m) // 10**6 for m in messages))

    def send(self, topic, *stamps_ms):
        for stamp_ms in stamps_ms:
            self.inputs[topic].signalMessage(stamped(KINDS[topic], stamp_ms))

    def send_all(self, *stamps_ms):
        for stamp_ms in stamps_ms:
            for topic in range(len(self.inputs)):
                self.send(topic, stamp_ms)


@pytest.fixture(autouse=True, params=['stand-in', 'message_filters'])
def filters(request, monkeypatch):
    reason = 'message_filters is not installed: the Python registry lacks it'
    chosen = message_sync if request.param == 'stand-in' else pytest.importorskip('message_filters', reason=reason)
    monkeypatch.setattr(sync, 'filters', chosen)
    return chosen


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
@pytest.mark.parametrize('order', [(IMAGE, INFO, DEPTH), (DEPTH, INFO, IMAGE), (INFO, DEPTH, IMAGE)])
def test_equal_stamps_are_delivered_with_the_last_of_them(slop_s, order):
    bench = Bench(slop_s=slop_s)
    for stamp in range(1000, 1400, 33):
        for topic in order:
            assert (stamp,) * 3 not in bench.sets
            bench.send(topic, stamp)
        assert bench.sets[-1] == (stamp,) * 3
    assert len(bench.sets) == 13


def test_exact_takes_no_neighbour():
    bench = Bench(topics=2)
    bench.send(IMAGE, 1000, 1033)
    bench.send(INFO, 1001, 1032, 1033)
    assert bench.sets == [(1033, 1033)]


def test_slop_is_the_limit_of_the_whole_set():
    bench = Bench(slop_s=0.02)
    bench.send(INFO, 985)
    bench.send(DEPTH, 1015)
    bench.send(IMAGE, 1000)  # 15 ms from each, but they are 30 ms apart
    assert bench.sets == []
    bench.send(INFO, 1010)
    assert bench.sets == [(1000, 1010, 1015)]


def test_the_nearest_partner_wins_and_is_used_once():
    bench = Bench(topics=2, slop_s=0.05)
    bench.send(INFO, 1000, 1012, 1030)
    bench.send(IMAGE, 1010)
    assert bench.sets == [(1010, 1012)]
    bench.send(IMAGE, 1014)
    assert bench.sets == [(1010, 1012), (1014, 1000)]


def test_jitter_and_disorder_between_topics():
    """Messages of 30 Hz with 3 ms of jitter and up to 80 ms on the way: every set is the right one."""
    dice = random.Random(1)
    period, count = 33, 200
    arrivals = []
    for topic in range(3):
        arrived = 0.0
        for i in range(count):
            stamp = 1000 + i * period + dice.randint(-3, 3)
            arrived = max(arrived, stamp + dice.uniform(0, 80))  # a topic keeps its order
            arrivals.append((arrived, len(arrivals), topic, stamp))
    bench = Bench(slop_s=0.01)
    for *_, topic, stamp in sorted(arrivals):
        bench.send(topic, stamp)
    assert len(bench.sets) == count
    assert all(len({round((stamp - 1000) / period) for stamp in s}) == 1 for s in bench.sets)


@pytest.mark.parametrize('slop_s', [0.0, 0.016])
def test_30_hz_and_15_hz(slop_s):
    bench = Bench(slop_s=slop_s)
    images = list(range(1000, 3000, 33))
    for i, stamp in enumerate(images):
        if i % 2 == 0:
            bench.send(DEPTH, stamp + bool(slop_s) * 8)
        bench.send(INFO, stamp)
        bench.send(IMAGE, stamp)
    assert [image for image, _, _ in bench.sets] == images[::2]
    assert all(image == info for image, info, _ in bench.sets)


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_missing_partners_cost_their_own_set_only(slop_s):
    bench = Bench(slop_s=slop_s)
    dice = random.Random(2)
    stamps = list(range(1000, 9000, 33))
    lost = {(topic, stamp) for topic in range(3) for stamp in dice.sample(stamps, 20)}
    for stamp in stamps:
        for topic in range(3):
            if (topic, stamp) not in lost:
                bench.send(topic, stamp)
    whole = [stamp for stamp in stamps if not {(topic, stamp) for topic in range(3)} & lost]
    assert bench.sets == [(stamp,) * 3 for stamp in whole]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_an_image_older_than_the_last_one_is_left_out(slop_s):
    bench = Bench(topics=2, slop_s=slop_s)
    bench.send(IMAGE, 1000, 1033)
    bench.send(INFO, 1033, 1000)
    assert bench.sets == [(1033, 1033)]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_a_full_queue_drops_the_oldest(slop_s):
    bench = Bench(topics=2, slop_s=slop_s, queue_size=3)
    bench.send(IMAGE, *range(1000, 1500, 100))
    bench.send(INFO, *range(1000, 1500, 100))
    assert bench.sets == [(stamp, stamp) for stamp in (1200, 1300, 1400)]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_a_message_older_than_a_full_queue_is_dropped_itself(slop_s):
    bench = Bench(topics=2, slop_s=slop_s, queue_size=2)
    bench.send(INFO, 1000)
    bench.send(IMAGE, 1033, 1066, 1000)
    assert bench.sets == []
    bench.send(INFO, 1066)
    assert bench.sets == [(1066, 1066)]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_memory_is_bounded_while_a_topic_is_silent(slop_s):
    def alive():
        gc.collect()
        return sum(type(thing) in KINDS for thing in gc.get_objects())  # isinstance would wake lazy objects of others

    before = alive()
    bench = Bench(slop_s=slop_s, queue_size=4)
    for stamp in range(1000, 20000, 33):
        bench.send(IMAGE, stamp)
        bench.send(INFO, stamp)
    assert alive() - before == 2 * 4
    bench.send(DEPTH, stamp)
    assert bench.sets == [(stamp,) * 3]
    assert alive() - before <= 2 * 3  # newer message_filters drop what is older than the set, too


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
@pytest.mark.parametrize('back_to', [1000, 5, 59_500])
def test_a_jump_back_in_time(slop_s, back_to):
    """Queues full of messages without partners, as at the end of a bag; then the bag starts anew."""
    bench = Bench(slop_s=slop_s, queue_size=3)
    bench.send_all(59_000, 60_000)
    bench.send(IMAGE, *range(60_033, 60_400, 33))
    bench.send(INFO, *range(60_033, 60_400, 33))
    bench.sets.clear()
    again = [back_to, back_to + 33, back_to + 66]
    bench.send_all(*again)
    assert bench.sets == [(stamp,) * 3 for stamp in again]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_a_jump_back_with_late_messages_of_the_time_before(slop_s):
    bench = Bench(slop_s=slop_s, queue_size=2)
    bench.send_all(60_000)
    bench.send(IMAGE, 1000)
    bench.send(DEPTH, 60_033, 60_066)
    bench.send(INFO, 1000)
    bench.send(DEPTH, 1000)  # this one gives the jump away for its topic, and costs the set
    bench.send_all(1033, 1066)
    assert bench.sets == [(60_000,) * 3, (1033,) * 3, (1066,) * 3]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_a_single_stamp_from_the_future(slop_s):
    bench = Bench(topics=2, slop_s=slop_s, queue_size=1)
    bench.send_all(1000)
    bench.send(INFO, 10**9)
    bench.send_all(1033, 1066)
    assert (1066, 1066) in bench.sets


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_disorder_within_a_topic_is_no_jump(slop_s):
    bench = Bench(topics=2, slop_s=slop_s)
    bench.send(IMAGE, 1000, 1033, 1066)
    bench.send(INFO, 1033, 1000, 1066)
    assert bench.sets == [(1033, 1033), (1066, 1066)]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_messages_without_a_stamp_are_counted_and_match_nothing(slop_s):
    bench = Bench(slop_s=slop_s)
    bench.send_all(0, 1000, 0)
    bench.send(INFO, 0, 0)
    bench.inputs[DEPTH].signalMessage(stamped(Image, -5000))
    bench.send_all(1033)
    assert bench.sets == [(1000,) * 3, (1033,) * 3]
    assert bench.unstamped == [2, 4, 3]


def test_a_single_topic_needs_no_stamp():
    bench = Bench(topics=1)
    bench.send(IMAGE, 2000, 0, 1000, 0)
    assert bench.sets == [(2000,), (0,), (1000,), (0,)]


@pytest.mark.parametrize('slop_s', [0.0, 0.01])
def test_goes_on_after_the_callback_raised(slop_s):
    inputs, calls = [sync.filters.SimpleFilter() for _ in range(2)], []

    def fail_first(*messages):
        calls.append(messages)
        if len(calls) == 1:
            raise RuntimeError('no good')

    sync.synchronize(inputs, fail_first, lambda _: None, slop_s)
    inputs[IMAGE].signalMessage(stamped(Image, 1000))
    with pytest.raises(RuntimeError, match='no good'):
        inputs[INFO].signalMessage(stamped(CameraInfo, 1000))
    for one, kind in zip(inputs, KINDS, strict=False):
        one.signalMessage(stamped(kind, 1033))
    assert len(calls) == 2


@pytest.mark.parametrize('settings', [{'slop_s': -0.1}, {'queue_size': 0}, {'topics': 0}])
def test_bad_arguments(settings):
    with pytest.raises(ValueError, match='expected subscriptions, slop_s >= 0 and queue_size >= 1'):
        Bench(**settings)


@pytest.mark.parametrize('filters', ['message_filters'], indirect=True)
@pytest.mark.parametrize('slop_ms', [0, 5, 20, 60])
def test_the_stand_in_finds_the_sets_of_message_filters(filters, slop_ms, monkeypatch):
    """Random streams with jitter, losses, disorder and jumps."""
    for seed in range(20):
        found = []
        for chosen in (message_sync, filters):
            monkeypatch.setattr(sync, 'filters', chosen)
            dice = random.Random(seed)
            bench = Bench(slop_s=slop_ms / 1000, queue_size=dice.randint(1, 6))
            for i in range(300):
                for topic in dice.sample(range(3), dice.randint(1, 3)):
                    late = dice.choice([0, 0, 0, 33, 66, 3000])
                    bench.send(topic, 10_000 + 33 * i - late + dice.randint(-1, 1) * bool(slop_ms))
            found.append(bench.sets)
        assert found[0] == found[1]
        assert found[0]


def test_over_the_middleware(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    camera, node = Node('camera', context=context), Node('consumer', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(camera)
    executor.add_node(node)
    try:
        topics = ['image', 'camera_info', 'depth']
        publishers = [camera.create_publisher(kind, topic, 10) for kind, topic in zip(KINDS, topics, strict=True)]
        subscribers = [
            Subscription(node, kind, topic, topic, lambda *_: None) for kind, topic in zip(KINDS, topics, strict=True)
        ]
        assert [subscriber.topic for subscriber in subscribers] == ['/image', '/camera_info', '/depth']
        received, images = [], []
        subscribers[IMAGE].registerCallback(images.append)  # what the node needs to say that images arrive
        sync.synchronize(subscribers, lambda *messages: received.append(messages), lambda _: None, slop_s=0.01)

        def spin_until(condition):
            deadline_s = time.monotonic() + PATIENCE_S
            while not condition():
                assert time.monotonic() < deadline_s, f'{len(received)} sets, {len(images)} images'
                executor.spin_once(timeout_sec=0.02)

        spin_until(lambda: all(p.get_subscription_count() for p in publishers))
        for i in range(20):
            for topic in (DEPTH, INFO, IMAGE):
                publishers[topic].publish(stamped(KINDS[topic], 1000 + 33 * i + topic))
            spin_until(lambda expected=i + 1: len(received) == expected)
        for i, messages in enumerate(received):
            assert messages == tuple(stamped(kind, 1000 + 33 * i + topic) for topic, kind in enumerate(KINDS))
        assert len(images) == 20
    finally:
        executor.shutdown()
        camera.destroy_node()
        node.destroy_node()
        rclpy.shutdown(context=context)
