"""More images than the node can take, for a while; and parameters that change all the time."""

import random
import time

import numpy as np
from skimage import data

from diffcut_ros.node.images import encode_image
from support.domain import free_domain
from support.process import memory_and_threads
from support.scenes import quadrants


def test_a_slow_backend_works_on_the_newest_image_and_counts_what_it_drops(start_node, connect, slow_bundle):
    """30 Hz into a backend that takes several hundred milliseconds: a large input for small networks."""
    domain, image = free_domain(), quadrants(120, 160)[0]
    sent, sent_before = [], []  # stamps; how many images had been sent when each output came
    with start_node(domain, *slow_bundle(512)) as node, connect(domain, topics=('segments',)) as peer:
        node.wait_for_log('waiting for images')

        def publish() -> None:
            header, next_s = peer.header(), time.monotonic() + 1 / 30
            sent.append(header.stamp.sec)
            peer.publish(encode_image(image, 'rgb8', header))
            peer.spin_until(lambda: time.monotonic() >= next_s)
            sent_before.extend([len(sent)] * (len(peer.received['segments']) - len(sent_before)))

        _, _, values = peer.diagnostics(told=lambda _, values: int(values['published']) >= 15, meanwhile=publish)
        received, dropped = int(values['received']), int(values['skipped']) + int(values['replaced'])
        assert received - int(values['published']) - dropped <= 3  # none waits in a queue
        assert int(values['replaced']) > received / 4
        # Nor on the way: an output is of an image that was sent after the third output before it had come.
        shown = [sent.index(message.header.stamp.sec) for message in peer.received['segments']]
        assert len(shown) > 10
        assert np.median([number - before for number, before in zip(shown[3:], sent_before, strict=False)]) >= 0


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
    'refine': lambda r: r.choice(['none', 'watershed', 'pamr']),
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
    'backend': ['ssd-1b', 3],  # to set what is there already changes nothing
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
        for name, value in {'target_segments': 0, 'refine': 'watershed', 'rate_hz': 0.0, 'lazy': True}.items():
            assert peer.set(**{name: value}).successful
        assert peer.set(alpha=10.0, tau=0.5, min_segment_area=0).successful
        _, outputs = peer.segment(image)
        assert len(outputs['segments'][0].detections) == 4
        assert node.process.poll() is None
        assert 'Traceback' not in node.log


def test_a_change_that_comes_while_an_image_is_cut_acts_on_it(start_node, connect):
    """Many cells, which take long to cut: about a second of a core, and before that less than a tenth of it."""
    domain = free_domain()
    with start_node(domain, '-p', 'color.cells:=40', '-p', 'rate_hz:=0.0') as node, connect(domain) as peer:
        node.wait_for_log('waiting for images')
        peer.segment(data.coffee())
        for wait_s in (0.2, 0.4, 0.8):
            assert peer.set(tau=0.5).successful
            header, _ = peer.segment(data.chelsea())

            def segments(header=header) -> int:
                cuts = peer.outputs(header)['segments']
                return len(cuts[-1].detections) if cuts else 0

            assert segments() > 1
            header = peer.header()
            peer.publish(encode_image(data.coffee(), 'rgb8', header))
            peer.spin_until(lambda: False, wait_s)
            assert peer.set(tau=0.0).successful
            assert peer.spin_until(lambda header=header: segments(header) == 1)
