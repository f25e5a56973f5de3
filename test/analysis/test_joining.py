"""Which depth an image of a recording is joined with, whatever the order in which both were recorded."""

import numpy as np
import pytest

from diffcut_ros.analysis.joining import Joiner, Stamped

MS = 10**6
START = 1_700_000_000_000 * MS


def join(images, depths, slop_ms=20.0, **options):
    """Join (stamp, when recorded), both in ms; return the depth's stamp for each image, in the order of the images."""
    joiner = Joiner(round(slop_ms * MS), **options)
    rows = [(time, 0, stamp) for stamp, time in images] + [(time, 1, stamp) for stamp, time in depths]
    found = []

    def take(ended=False):
        for image, depth in joiner.joined(ended):
            found.append((image.content, depth and depth.content))

    for _, kind, stamp in sorted(rows, key=lambda row: row[:2]):
        one = Stamped(START + round(stamp * MS), 100, stamp)
        (joiner.add_depth if kind else joiner.add_image)(one)
        take()
    take(ended=True)
    assert [image for image, _ in found] == [stamp for stamp, _ in sorted(images, key=lambda row: row[1])]
    return [depth for _, depth in found], joiner


def film(count=30, step=100, offset=0, late=0):
    """Stamps of a topic in ms, and when they were recorded."""
    return [(k * step + offset, k * step + late) for k in range(count)]


@pytest.mark.parametrize('late', [-100_000, -700, -1, 0, 1, 700, 100_000])
@pytest.mark.parametrize(('offset', 'slop_ms'), [(0, 0), (0, 20), (15, 20), (-15, 20), (33, 50), (45, 60)])
def test_equal_rates_in_any_order_of_recording(late, offset, slop_ms):
    found, joiner = join(film(), film(offset=offset, late=late + 0.5), slop_ms)
    assert found == [k * 100 + offset for k in range(30)]
    assert joiner.alone == []


@pytest.mark.parametrize('late', [-100_000, 0, 700])
def test_missing_depth_costs_its_image_only(late):
    depths = [row for k, row in enumerate(film(late=late)) if k not in (0, 7, 8, 9, 29)]
    found, joiner = join(film(), depths)
    assert [k for k in range(30) if found[k] is None] == [0, 7, 8, 9, 29]
    assert joiner.offset_ns() in (-100 * MS, 100 * MS)


@pytest.mark.parametrize('late', [-5000, 0, 700])
def test_half_and_twice_the_rate(late):
    found, _ = join(film(), film(15, 200, late=late))
    assert found == [k * 100 if k % 2 == 0 else None for k in range(30)]
    found, _ = join(film(15, 200), film(late=late))
    assert found == [k * 200 for k in range(15)]


def test_the_nearest_depth_is_taken_once():
    """Depth 30 ms after its image, and 70 ms before the next one, all within the slop; one of them is missing."""
    depths = [row for k, row in enumerate(film(offset=30)) if k != 10]
    found, _ = join(film(), depths, 80)
    assert found == [k * 100 + 30 if k != 10 else None for k in range(30)]


@pytest.mark.parametrize('late', [0.5, 250.5])
@pytest.mark.parametrize('back', [1000, 3_600_000])
def test_stamps_that_start_anew(late, back):
    """Two rounds of the same second, or an hour back; a depth is missing in each, near the jump."""
    images = film(10) + [(k * 100 + 1000 - back, k * 100 + 1000) for k in range(10)]
    depths = [(stamp, time + late) for k, (stamp, time) in enumerate(images) if k not in (9, 13)]
    found, _ = join(images, depths)
    assert found == [stamp if k not in (9, 13) else None for k, (stamp, _) in enumerate(images)]


def test_the_first_stamp_is_of_another_clock():
    images = [(10**7, 0), *film(10, late=100)]
    found, _ = join(images, [(stamp, time + 1) for stamp, time in images])
    assert found == [stamp for stamp, _ in images]


def test_depth_from_before_a_restart_is_not_taken_after_it():
    """Depth goes on for a second longer than the images, and begins later again."""
    images = [*film(10), *[(k * 100, 2000 + k * 100) for k in range(30)]]
    old, new = [(k * 100, k * 100 + 1) for k in range(20)], [(k * 100 + 1, 2001 + k * 100) for k in range(5, 30)]
    found, _ = join(images, old + new)
    assert found == [k * 100 for k in range(10)] + [None] * 5 + [k * 100 + 1 for k in range(5, 30)]


def test_stamps_of_images_alone_go_back():
    """The first image has another clock's stamp; depth has none of that."""
    found, _ = join([(10**7, 0), *film(10, late=100)], film(10, late=101))
    assert found == [None, *range(0, 1000, 100)]


def test_disorder_is_no_jump():
    order = np.random.default_rng(0).permutation
    images = film(40, 20)
    depths = [(stamp, images[k - k % 4 + int(order(4)[k % 4])][1] + k * 1e-3) for k, (stamp, _) in enumerate(images)]
    found, _ = join(images, depths, 5)
    assert found == [stamp for stamp, _ in images]


def test_another_clock_is_measured():
    found, joiner = join(film(), film(offset=-12_345_000))
    assert found == [None] * 30
    assert joiner.offset_ns() == -(12_345_000 + 14.5 * 100 - 2900) * MS
    assert join(film(), [])[1].offset_ns() is None


def test_what_waits_is_bounded():
    """Each message has 100 bytes."""
    found, joiner = join(film(), film(late=1000), largest=2000)
    assert found == [k * 100 for k in range(30)]
    found, joiner = join(film(), film(late=1000), largest=500)
    assert joiner.given_up > 10
    assert len(joiner.alone) + sum(depth is not None for depth in found) == 30


def test_any_mixture():
    """Random drops, jitter below the slop, and delays: each image gets its own depth, or none if that is missing."""
    random = np.random.default_rng(1)
    for _ in range(200):
        count, step = int(random.integers(1, 40)), int(random.integers(30, 200))
        images = film(count, step)
        late = float(random.choice([-10_000, -step * 1.5, 0, step / 2, step * 3.3, 10_000]))
        kept = random.random(count) > 0.3
        jitter = random.uniform(-5, 5, count)
        depths = [(k * step + jitter[k], k * step + late) for k in range(count) if kept[k]]
        found, _ = join(images, depths, 10)
        assert found == [k * step + jitter[k] if kept[k] else None for k in range(count)]
