"""Whose time it is: bags that loop, simulated time, stamps that tell nothing."""

import itertools
import time

import numpy as np
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.scenes import quadrants

IMAGE = quadrants(64, 128)[0]


def stamped(peer, stamp_s: float):
    header = peer.header()
    header.stamp.sec, header.stamp.nanosec = divmod(round(stamp_s * 1e9), 10**9)
    return encode_image(IMAGE, 'rgb8', header)


def test_a_short_bag_that_loops_keeps_its_rate(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'rate_hz:=5.0') as node, connect(domain, topics=('labels',)) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(IMAGE)
        peer.received['labels'].clear()
        for _ in range(4):  # two seconds each, twice as fast
            for i in range(60):
                peer.publish(stamped(peer, 50 + i / 30))
                peer.spin_until(lambda: False, 0.015)
        peer.diagnostics()
        stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in peer.received['labels']]
        rounds = np.split(stamps, np.flatnonzero(np.diff(stamps) < 0) + 1)
        counts = [len(one) for one in rounds]
        assert len(counts) == 4
        assert all(1 <= count <= 11 for count in counts), counts  # 10, unless the machine is busy


def test_images_without_a_stamp_are_limited_by_their_arrival(start_node, connect):
    domain = free_domain()
    with start_node(domain, '-p', 'rate_hz:=4.0') as node, connect(domain, topics=('labels',)) as peer:
        node.wait_for_log('waiting for images')
        start_s = time.monotonic()

        def received() -> bool:
            peer.publish(stamped(peer, 0))
            peer.spin_until(lambda: False, 0.03)
            return len(peer.received['labels']) >= 10

        assert peer.spin_until(received)
        assert len(peer.received['labels']) <= 4 * (time.monotonic() - start_s) + 2
        assert all(m.header.stamp.sec == 0 for m in peer.received['labels'])


def test_simulated_time(start_node, connect):
    domain = free_domain()
    options = ('-p', 'use_sim_time:=true', '-p', 'rate_hz:=0.0')
    with start_node(domain, *options) as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        clock = peer.publisher(Clock, '/clock', QoSProfile(depth=10))
        assert peer.spin_until(lambda: clock.get_subscription_count() > 0)
        ages = []
        for start_s in (5000, 100):  # and back, as a bag that starts again
            now = Clock()
            now.clock.sec = start_s + 3

            def set_clock(now=now) -> bool:
                clock.publish(now)
                return now.clock.sec in [m.header.stamp.sec for m in peer.received['diagnostics']]

            assert peer.spin_until(set_clock)
            for i in range(20):
                now.clock.nanosec = i * 10**7
                clock.publish(now)
                peer.publish(stamped(peer, start_s + i / 100))
                peer.spin_until(lambda: False, 0.02)
            told = peer.diagnostics(told=lambda _, values: 'age mean [ms]' in values)
            ages.append(float(told[2]['age mean [ms]']))
        assert all(2500 < age < 3500 for age in ages), ages
        # Diagnostics come by the machine's time, also while simulated time stands still.
        assert peer.diagnostics()


def test_simulated_time_that_stands_still_is_told(start_node, connect):
    """A camera in a simulation that is paused may go on with the stamp of that moment; the rate allows one of it."""
    domain = free_domain()
    options = ('-p', 'diagnostics.stale_after_s:=1.0', '-p', 'diagnostics.warn_age_s:=3600.0')
    with start_node(domain, *options) as node, connect(domain, topics=('labels',)) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(IMAGE)

        def repeat() -> None:
            peer.publish(stamped(peer, 5000))
            peer.spin_until(lambda: False, 0.05)

        stood = 'images come, but their stamps have stood still for '
        peer.diagnostics(level=b'\x01', told=lambda text, _: text.startswith(stood), meanwhile=repeat)
        for start_s in (5001, 100):  # time goes on, or back
            times = itertools.count(start_s)
            count = len(peer.received['labels'])

            def go_on(times=times) -> None:
                peer.publish(stamped(peer, next(times)))
                peer.spin_until(lambda: False, 0.05)

            def flows(text: str, _: dict, count=count) -> bool:
                return 'images/s' in text and len(peer.received['labels']) > count

            peer.diagnostics(told=flows, meanwhile=go_on)
        assert 'internal error' not in node.log
