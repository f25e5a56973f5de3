"""Which values of more than 8 bits are shown, from image to image."""

import numpy as np
import pytest

from diffcut_ros.node.images import decode_image, encode_image
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.guesses import Guesses
from diffcut_ros.stream.inputs import Inputs
from support.images import image_message
from support.scenes import quadrants

GRAY = np.linspace(0, 255, 64 * 48).reshape(48, 64)
SHAPE = 96, 128


def shown(guesses: Guesses, values: np.ndarray, encoding: str = 'mono16') -> np.ndarray:
    return decode_image(image_message(values, encoding), guesses=guesses)[:, :, 0].astype(int)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_cameras_of_so_many_bits_are_shown_alike(bits):
    values = np.rint(GRAY * (2**bits - 1) / 255).astype(np.uint16)
    guesses = Guesses()
    assert np.abs(shown(guesses, values) - GRAY).max() <= 1
    told = f'mono16 image of values {values.ravel()[30]} to {values.ravel()[-31]}: shown over 0 to {2**bits - 1}'
    assert [note.partition(',')[0] for note in guesses.notes.values()] == ([told] if bits < 16 else [])


@pytest.mark.parametrize(
    ('values', 'encoding'),
    [
        ([51241, 51550, 51870, 52181], 'mono16'),
        ([51241, 51550, 51870, 52181], '16UC1'),
        ([-300, -100, 200, 500], '16SC1'),
        ([-30000, -10000, 20000, 50000], '32SC1'),
        ([18.5, 22, 28, 36.5], '32FC1'),
        ([291.5, 310, 330, 350], '64FC1'),
        ([-1, -0.5, 0.5, 1], '32FC1'),
    ],
)
def test_a_narrow_range_is_spread(values, encoding):
    dtype = {'1': 'u2', '3': 'i4', '6': 'f8'}[encoding.lstrip('mon')[0]]
    dtype = {'16SC1': 'i2', '32FC1': 'f4'}.get(encoding, dtype)
    guesses = Guesses()
    levels = np.unique(shown(guesses, np.repeat(values, 1000).reshape(40, 100).astype(dtype), encoding))
    assert len(levels) == 4
    assert levels[-1] - levels[0] > 150
    assert len(guesses.notes) == 1


def test_a_uniform_image_is_not_noise():
    noise = np.random.default_rng(0)
    counts = noise.integers(51490, 51511, SHAPE).astype(np.uint16)
    assert np.ptp(shown(Guesses(), counts)) <= 20
    assert np.ptp(shown(Guesses(), noise.normal(0.5, 0.003, SHAPE).astype(np.float32), '32FC1')) < 50
    assert np.ptp(shown(Guesses(), noise.normal(293, 0.05, SHAPE).astype(np.float32), '32FC1')) < 10
    assert np.ptp(shown(Guesses(), np.zeros(SHAPE, np.float32), '32FC1')) == 0


def test_a_few_pixels_do_not_count():
    values = np.rint(GRAY * 4095 / 255).astype(np.uint16)
    values[:2, :8], values[-2:, -8:] = 0, 65535
    assert np.abs(shown(Guesses(), values) - GRAY)[2:-2].max() <= 1


def test_no_value():
    values = (GRAY / 255).astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    guesses = Guesses()
    first = shown(guesses, values, '32FC1')
    assert list(first[0, :3]) == [0, 255, 0]
    assert np.abs(first - GRAY)[1:].max() <= 1
    before = dict(guesses.ranges)
    assert not shown(guesses, np.full(SHAPE, np.nan, np.float32), '32FC1').any()
    assert guesses.ranges == before
    assert not shown(Guesses(), np.full(SHAPE, np.nan, np.float32), '32FC1').any()


@pytest.mark.parametrize(('encoding', 'dtype'), [('32FC1', 'f4'), ('64FC3', 'f8')])
def test_any_floats(encoding, dtype):
    random = np.random.default_rng(0)
    for _ in range(100):
        bits = random.integers(0, 2**63, (9, 12 * int(encoding[-1])), np.int64)
        values = (bits.astype(np.int32) if dtype == 'f4' else bits * 2).view(dtype).reshape(9, 12, -1)
        values = values[:, :, 0] if encoding[-1] == '1' else values
        assert decode_image(image_message(values, encoding)).shape == (9, 12, 3)


def thermal(k: int, person: bool = False) -> np.ndarray:
    """A thermal image whose values drift and are noisy, with a warm person in it or not."""
    random = np.random.default_rng(k)
    x = np.linspace(0, 1, SHAPE[1])[None] * np.ones((SHAPE[0], 1))
    values = 51300 + 700 * x + 40 * np.sin(k / 9) + random.normal(0, 5, SHAPE)
    if person:
        values[20:60, 30:50] = 54000
    return values.astype(np.uint16)


def test_the_range_stands_still_while_it_fits():
    guesses, ranges = Guesses(), set()
    for k in range(200):
        shown(guesses, thermal(k))
        ranges.add(guesses.ranges['mono16'])
    assert len(ranges) == 1
    assert len(guesses.notes) == 1


def test_the_range_follows_smoothly_and_comes_to_rest():
    guesses, ranges = Guesses(), []
    for k in range(120):
        shown(guesses, thermal(k, person=40 <= k < 80))
        ranges.append(guesses.ranges['mono16'])
    lows, highs = np.transpose(ranges)
    widths = highs - lows
    assert (np.abs(np.diff(highs)) < 0.26 * 3500).all()  # a quarter of what there is to go, at most
    assert len(set(ranges[:40])) == len(set(ranges[60:80])) == len(set(ranges[100:])) == 1
    assert highs[79] > 54000
    assert widths[119] <= 4 * 720


def test_another_scene_is_shown_at_once():
    guesses = Guesses()
    shown(guesses, thermal(0))
    values = np.rint(GRAY * 4095 / 255).astype(np.uint16)
    assert np.abs(shown(guesses, values) - GRAY).max() <= 1


@pytest.mark.parametrize('jump', [-1000, -450, -300, 300, 450, 1000])
def test_where_all_values_move_the_range_follows_at_once(jump):
    """As after a thermal camera's flat-field correction."""
    guesses = Guesses()
    for k in range(3):
        shown(guesses, thermal(k))
    before = shown(guesses, thermal(3))
    moved = (thermal(3).astype(int) + jump).astype(np.uint16)
    after = shown(guesses, moved)
    low, high = guesses.ranges['mono16']
    assert low < moved.min()
    assert moved.max() < high
    assert np.abs(after - before).mean() < 40


def test_the_range_does_not_go_to_and_fro():
    """Values that fill now more, now less of what is shown than may be left empty."""
    guesses, ranges = Guesses(), []
    for k in range(60):
        top = 4095 if k == 0 else 1060 if k % 2 else 980
        shown(guesses, np.rint(GRAY * top / 255).astype(np.uint16))
        ranges.append(guesses.ranges['mono16'])
    assert len(set(ranges[1:])) <= 3
    assert len(set(ranges[10:])) == 1


def test_each_encoding_has_its_range():
    guesses = Guesses()
    one = [shown(guesses, thermal(k)) for k in range(3)]
    both = Guesses()
    for k in range(3):
        shown(both, (GRAY / 255).astype(np.float32), '32FC1')
        assert np.array_equal(shown(both, thermal(k)), one[k])


def test_a_decoder_goes_on_where_another_was_saved():
    messages = [Inputs(image_message(thermal(k, person=k > 3), 'mono16'), arrival_ns=k) for k in range(12)]
    messages += [Inputs(image_message((GRAY / 255).astype(np.float32), '32FC1'), arrival_ns=12)]
    whole = Decoder(10**6)
    states, images = [whole.save()], []
    for inputs in messages:
        images.append(whole.decode(inputs).image_rgb)
        states.append(whole.save())
    for begin, state in enumerate(states):
        other = Decoder(10**6)
        other.load(state)
        for inputs, expected in zip(messages[begin:], images[begin:], strict=True):
            assert np.array_equal(other.decode(inputs).image_rgb, expected)
        assert other.notes == whole.notes
    assert len(whole.notes) == 2


def test_the_node_tells_once_what_it_guessed(running):
    node, peer, _ = running
    logged = len(node.log)
    image = np.asarray([51241, 51550, 51870, 52181], np.uint16)[quadrants(64, 128)[1]]
    for _ in range(2):
        _, outputs = peer.exchange(encode_image(image, 'mono16', peer.header()))
        assert len(outputs['segments'][0].detections) == 4
    lines = [line for line in node.log[logged:].splitlines() if 'shown over' in line]
    assert len(lines) == 1
    assert '/image: mono16 image of values 51241 to 52181: shown over 51006 to 52416' in lines[0]
