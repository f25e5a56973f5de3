"""More images than the node can take, for a while; and parameters that change all the time."""

import random
import time

import numpy as np
import pytest

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.process import memory_and_threads
from support.scenes import quadrants


def header_stamp_s(header) -> float:
    return header.stamp.sec + header.stamp.nanosec / 1e9


def test_a_slow_backend_gives_bounded_age_and_counts_what_it_drops(start_node, connect, slow_bundle):
    """30 Hz into a backend that takes several hundred milliseconds: a large input for small networks."""
    domain = free_domain()
    with start_node(domain, *slow_bundle(512)) as node, connect(domain, topics=('segments',)) as peer:
        node.wait_for_log('waiting for images', 60)
        image = quadrants(120, 160)[0]
        peer.publish(encode_image(image, 'rgb8', peer.now()))
        assert peer.spin_until(lambda: peer.received['segments'])
        ages, sent, seen = [], 0, 1
        end_s = time.monotonic() + 15
        while time.monotonic() < end_s:
            next_s = time.monotonic() + 1 / 30
            peer.publish(encode_image(image, 'rgb8', peer.now()))
            sent += 1
            peer.spin_until(lambda next_s=next_s: time.monotonic() >= next_s)
            for message in peer.received['segments'][seen:]:
                ages.append(header_stamp_s(peer.now()) - header_stamp_s(message.header))
                seen += 1
        _, _, values = peer.diagnostics()
        work_s = (
            sum(float(values[f'{stage} mean [ms]']) for stage in ('decode', 'features', 'segments', 'publish')) / 1000
        )
        late_s = (
            sum(float(values[f'{stage} p95 [ms]']) for stage in ('decode', 'features', 'segments', 'publish')) / 1000
        )
        assert work_s > 0.1
        assert len(ages) >= 5
        assert np.percentile(ages, 90) < 2 * late_s + 2 / 30
        first, last = ages[: len(ages) // 3], ages[-(len(ages) // 3) :]
        assert np.median(last) < 1.5 * np.median(first) + 0.05  # no queue builds up
        assert int(values['replaced']) > sent / 4
        dropped = int(values['skipped']) + int(values['replaced'])
        assert int(values['received']) - int(values['published']) - dropped <= 3


def test_two_thousand_images_leave_no_memory_behind(start_node, connect):
    domain = free_domain()
    random = np.random.default_rng(0)
    with start_node(domain, '-p', 'color.cells:=8', '-p', 'rate_hz:=0.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        resident = []
        for i in range(2200):
            image = random.integers(0, 255, (48, 64, 3), np.uint8)
            peer.received['labels'].clear()
            peer.publish(encode_image(image, 'rgb8', peer.header()))
            peer.spin_until(lambda: peer.received['labels'], 0.5)
            for messages in peer.received.values():
                del messages[:-1]
            if i in (199, 2199):
                resident.append(memory_and_threads(node.process.pid))
        (before_mb, *_), (after_mb, threads, files) = resident
        assert after_mb < before_mb + 20
        assert (threads, files) <= (resident[0][1] + 1, resident[0][2] + 2)


GOOD = {
    'tau': lambda r: r.uniform(0.0, 0.9),
    'alpha': lambda r: r.uniform(1.0, 20.0),
    'target_segments': lambda r: r.choice([0, 0, 2, 5, 20]),
    'min_segment_area': lambda r: r.choice([0, 10, 1000]),
    'refine': lambda r: r.choice(['none', 'pamr']),
    'rate_hz': lambda r: r.uniform(0.0, 50.0),
    'overlay_opacity': lambda r: r.random(),
    'lazy': lambda r: r.random() < 0.5,
    'timeout_s': lambda r: r.uniform(5.0, 50.0),
}
BAD = {
    'tau': [1.5, -0.1, float('nan'), 'high', True, 1],
    'alpha': [0.0, 1e9],
    'target_segments': [-1, 0.5, 100000],
    'refine': ['crf', ''],
    'rate_hz': [-1.0, float('inf')],
    'overlay_opacity': [2.0],
    'backend': ['ssd-1b', 'color', 3],
    'color.cells': [16],
    'no_such_parameter': [1],
}


def test_a_thousand_changes_of_parameters_while_images_flow(start_node, connect):
    domain = free_domain()
    draw = random.Random(0)
    image = quadrants(64, 128)[0]
    accepted = refused = 0
    with start_node(domain) as node, connect(domain) as peer:
        peer.segment(image)
        for i in range(1000):
            if i % 10 == 0:
                peer.publish(encode_image(image, 'rgb8', peer.header()))
            if draw.random() < 0.6:
                name = draw.choice(list(GOOD))
                result = peer.set(**{name: GOOD[name](draw)})
                assert result.successful, (name, result.reason)
                accepted += 1
            else:
                name = draw.choice(list(BAD))
                value = draw.choice(BAD[name])
                result = peer.set(**{name: value})
                assert not result.successful, (name, value)
                assert result.reason, (name, value)
                refused += 1
        assert accepted > 400
        assert refused > 300
        for name, value in {'target_segments': 0, 'refine': 'none', 'rate_hz': 0.0, 'lazy': True}.items():
            assert peer.set(**{name: value}).successful
        assert peer.set(alpha=10.0, tau=0.5, min_segment_area=0).successful
        _, outputs = peer.segment(image)
        assert len(outputs['segments'][0].detections) == 4
        assert node.process.poll() is None
        assert 'Traceback' not in node.log


@pytest.mark.parametrize(('name', 'value'), [('tau', 0.3), ('target_segments', 3), ('min_segment_area', 5000)])
def test_a_change_acts_on_the_last_image(start_node, connect, name, value):
    from skimage import data

    domain = free_domain()
    with start_node(domain) as _, connect(domain) as peer:
        header, outputs = peer.segment(data.coffee())
        assert peer.set(**{name: value}).successful
        before = len(outputs['segments'][0].detections)
        assert peer.spin_until(lambda: len(peer.outputs(header)['segments'][-1].detections) < before)
