"""Transforms between frames: ours, and tf2 itself where it is installed, by the same tests."""

import math
import threading
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

from diffcut_ros.stream.transforms import KEPT_S, Arrivals, TransformError, TransformTree, transform_of

S = 10**9
POINTS_M = np.random.default_rng(0).normal(size=(5, 3))


class Tf2:
    """tf2 behind the interface of `TransformTree`."""

    def __init__(self):
        tf2 = pytest.importorskip('tf2_py', reason='tf2_py is not in the registry')
        from rclpy.duration import Duration

        from diffcut_ros.node.transforms import Tf2Buffer

        self._core, self._error = tf2.BufferCore(Duration(seconds=KEPT_S)), tf2.TransformException
        buffer = Tf2Buffer(self._core)
        self.take, self.restart = buffer.take, buffer.restart

    def add(self, message, static):
        self.take(message.transforms, static)

    def lookup(self, target, source, stamp_ns):
        import rclpy.time

        try:
            found = self._core.lookup_transform_core(target, source, rclpy.time.Time(nanoseconds=stamp_ns))
            return transform_of(found.transform)
        except (self._error, ValueError) as error:
            raise TransformError(error) from error


@pytest.fixture(params=[TransformTree, Tf2], ids=['own', 'tf2'])
def tree(request):
    return request.param()


def link(parent, child, stamp_ns=0, xyz=(0.0, 0.0, 0.0), rotation=None, quaternion=None):
    """Return a transform, of points of the child into the parent."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, Time(sec=stamp_ns // S, nanosec=stamp_ns % S)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, xyz)
    q.x, q.y, q.z, q.w = map(float, (rotation or Rotation.identity()).as_quat() if quaternion is None else quaternion)
    return message


def add(tree, *links, static=False):
    tree.add(TFMessage(transforms=links), static)


def random_link(random, parent, child, stamp_ns=0):
    return link(parent, child, stamp_ns, random.normal(size=3), Rotation.random(random_state=random.integers(2**31)))


def apply(message, points_m):
    """Return points of the child in the parent."""
    t, q = message.transform.translation, message.transform.rotation
    return Rotation.from_quat([q.x, q.y, q.z, q.w]).apply(points_m) + np.array([t.x, t.y, t.z])


def test_up_and_down_the_tree(tree):
    """map > odom > base > camera, and base > arm."""
    random = np.random.default_rng(1)
    names = [('map', 'odom'), ('odom', 'base'), ('base', 'camera'), ('base', 'arm')]
    links = {child: random_link(random, parent, child, 5 * S) for parent, child in names}
    add(tree, links['odom'], links['base'])
    add(tree, links['camera'], links['arm'], static=True)
    in_base = apply(links['camera'], POINTS_M)
    in_map = apply(links['odom'], apply(links['base'], in_base))
    assert np.allclose(tree.lookup('map', 'camera', 5 * S)(POINTS_M), in_map)
    assert np.allclose(tree.lookup('camera', 'map', 5 * S)(in_map), POINTS_M)
    # Static ones hold at any time; what is above both does not count.
    found = tree.lookup('arm', 'camera', 77 * S)(POINTS_M)
    assert np.allclose(apply(links['arm'], found), in_base)
    assert np.allclose(tree.lookup('map', 'map', 5 * S)(POINTS_M), POINTS_M)


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.999, 1.0])
def test_between_two_stamps(tree, share):
    random = np.random.default_rng(2)
    links = [random_link(random, 'map', 'camera', stamp_ns) for stamp_ns in (3 * S, 4 * S)]
    add(tree, links[1])
    add(tree, links[0])  # in any order
    ends = [transform_of(one.transform) for one in links]
    turned = Slerp([0, 1], Rotation.concatenate([one.rotation for one in ends]))(share)
    expected = turned.apply(POINTS_M) + (1 - share) * ends[0].translation_m + share * ends[1].translation_m
    assert np.allclose(tree.lookup('map', 'camera', 3 * S + round(share * S))(POINTS_M), expected, atol=1e-6)


def test_opposite_quaternions_are_one_rotation(tree):
    quaternion = Rotation.from_euler('z', 0.3).as_quat()
    add(tree, link('map', 'camera', S, quaternion=quaternion), link('map', 'camera', 2 * S, quaternion=-quaternion))
    assert np.allclose(tree.lookup('map', 'camera', 3 * S // 2).rotation.as_euler('xyz'), (0, 0, 0.3))


@pytest.mark.parametrize('stamp_ns', [3 * S - 1, 4 * S + 1])
def test_nothing_is_known_beyond_the_stamps(tree, stamp_ns):
    add(tree, link('map', 'camera', 3 * S), link('map', 'camera', 4 * S))
    with pytest.raises(TransformError):
        tree.lookup('map', 'camera', stamp_ns)


def test_one_stamp_holds_for_itself_alone(tree):
    add(tree, link('map', 'camera', 3 * S, (1, 2, 3)))
    assert np.allclose(tree.lookup('map', 'camera', 3 * S).translation_m, (1, 2, 3))
    with pytest.raises(TransformError):
        tree.lookup('map', 'camera', 3 * S + 1)


def test_stamp_0_is_the_last_time_of_which_all_is_known(tree):
    add(tree, *(link('map', 'base', k * S, (k, 0, 0)) for k in (1, 2, 3)))
    add(tree, *(link('base', 'camera', k * S, (0, k, 0)) for k in (1, 2)))
    assert np.allclose(tree.lookup('map', 'camera', 0).translation_m, (2, 2, 0))


def test_of_two_with_one_stamp_the_last_counts(tree):
    add(tree, link('map', 'camera', S, (1, 0, 0)))
    add(tree, link('map', 'camera', S, (2, 0, 0)))
    assert np.allclose(tree.lookup('map', 'camera', S).translation_m, (2, 0, 0))


def test_what_is_too_old_is_forgotten(tree):
    last = 100
    for k in range(last + 1):
        add(tree, link('map', 'camera', (k + 1) * S, (k, 0, 0)))
    assert tree.lookup('map', 'camera', (last - 5) * S).translation_m[0] == last - 6
    with pytest.raises(TransformError):
        tree.lookup('map', 'camera', (last // 2) * S)
    add(tree, link('map', 'camera', 2 * S, (-1, 0, 0)))
    with pytest.raises(TransformError):
        tree.lookup('map', 'camera', 2 * S)
    if isinstance(tree, TransformTree):
        assert tree.trouble == {"'camera' came over 10 s late, and was not taken": 1}


def test_static_ones_are_replaced_and_outlive_a_restart(tree):
    add(tree, link('base', 'camera', 0, (1, 0, 0)), static=True)
    add(tree, link('base', 'camera', 0, (2, 0, 0)), static=True)
    add(tree, link('map', 'base', S))
    tree.restart([link('odom', 'base', S, (3, 0, 0))])
    assert np.allclose(tree.lookup('base', 'camera', S).translation_m, (2, 0, 0))
    assert np.allclose(tree.lookup('odom', 'camera', S).translation_m, (5, 0, 0))
    with pytest.raises(TransformError):
        tree.lookup('map', 'base', S)


@pytest.mark.parametrize(
    'bad',
    [
        link('map', 'camera', S, (math.nan, 0, 0)),
        link('map', 'camera', S, (math.inf, 0, 0)),
        link('map', 'camera', S, quaternion=(0, 0, 0, math.nan)),
        link('map', 'camera', S, quaternion=(0, 0, 0, 0)),
        link('', 'camera', S),
        link('map', '', S),
        link('camera', 'camera', S),
    ],
)
def test_what_is_no_transform_is_not_taken(tree, bad):
    add(tree, bad)
    with pytest.raises(TransformError):
        tree.lookup('map', 'camera', S)
    if isinstance(tree, TransformTree):
        assert tree.trouble.total() == 1


def test_quaternions_of_another_length_are_rotations(tree):
    quaternion = 1.1 * Rotation.from_euler('z', 0.3).as_quat()
    add(tree, link('map', 'camera', S, quaternion=quaternion))
    assert np.allclose(tree.lookup('map', 'camera', S).rotation.as_euler('xyz'), (0, 0, 0.3))
    if isinstance(tree, TransformTree):
        assert tree.trouble == {"'camera' in 'map': the quaternion is not of length 1": 1}


def test_a_loop_is_an_error(tree):
    add(tree, link('a', 'b', S), link('b', 'c', S), link('c', 'a', S), link('map', 'camera', S))
    with pytest.raises(TransformError):
        tree.lookup('a', 'camera', S)


# When time goes back.


class Heard:
    """Transforms that arrive one after the other, map > odom > base > camera (static), and what was said of time.

    `x_m` of a time is that of its recording plus the stamp: where the camera is tells which transforms it is by.
    """

    def __init__(self, tree):
        self.tree, self.told = tree, []
        self.arrivals = Arrivals(tree, self.told.append)
        self.arrivals.add(TFMessage(transforms=[link('base', 'camera')]), static=True)

    def say(self, child, at_s, x_m):
        parent = {'odom': 'map', 'base': 'odom'}[child]
        x_m = x_m + at_s if child == 'base' else 0.0
        self.arrivals.add(TFMessage(transforms=[link(parent, child, round(at_s * S), (x_m, 0, 0))]), static=False)

    def play(self, begin_s, end_s, x_m):
        for at_s in np.arange(begin_s, end_s + 0.01, 0.1):
            self.say('odom', at_s, x_m)
            self.say('base', at_s, x_m)

    def x_m(self, at_s):
        """Return where the camera is, None where that is not known."""
        try:
            return round(self.tree.lookup('map', 'camera', round(at_s * S)).translation_m[0] - at_s, 6)
        except TransformError:
            return None

    def found(self, begin_s, end_s):
        return {self.x_m(at_s) for at_s in np.arange(begin_s, end_s, 0.05)}


@pytest.fixture
def heard(tree):
    return Heard(tree)


@pytest.mark.parametrize('back_s', [13, 24])
def test_stamps_that_go_back_by_more_than_is_kept_begin_anew(heard, back_s):
    heard.play(100, 113, 0)
    heard.play(113 - back_s, 126 - back_s, 10)
    assert heard.found(117 - back_s, 126 - back_s) == {10}
    assert heard.x_m(113.5) is None
    (told,) = heard.told
    assert told == (
        f"the stamps of 'odom' went back by {back_s:.1f} s: the transforms of before are forgotten; those of "
        '/tf_static stay'
    )


def test_each_moment_of_a_replay_is_by_its_own_transforms(heard):
    heard.play(100, 113, 0)
    for k in range(131):
        heard.play(100 + k / 10, 100 + k / 10, 10)
        assert heard.found(max(100, 100 + k / 10 - 2), 100 + k / 10 + 0.01) <= {10, None}
        assert heard.x_m(100 + k / 10) == 10


def test_stamps_that_go_back_by_less_begin_anew_once_they_go_on_from_there(heard):
    heard.play(100, 109, 0)
    heard.play(102, 102.4, 10)
    assert not heard.told
    heard.play(102.5, 104, 10)
    assert heard.told[0].startswith("the stamps of 'odom' went back by 7.0 s")
    assert heard.found(102, 104) == {10}
    assert heard.found(100, 101.9) | heard.found(104.1, 109) == {None}


def test_what_comes_before_it_is_known_that_time_went_back_is_kept(heard):
    heard.play(100, 109, 0)
    known_s = time.monotonic()
    heard.play(102, 102.3, 10)
    heard.arrivals.went_back('the stamp of an image went back', known_s)
    assert heard.found(102, 102.3) == {10}
    assert heard.found(100, 101.9) | heard.found(102.4, 109) == {None}
    heard.play(102.4, 109, 10)
    assert heard.found(102, 109) == {10}
    assert len(heard.told) == 1


def test_what_had_been_under_way_does_not_mix_with_the_new(heard):
    heard.play(100, 109, 0)
    heard.arrivals.went_back('the stamp of an image went back', time.monotonic())
    heard.say('base', 109.1, 0)
    heard.say('odom', 109.1, 0)
    heard.say('base', 102.0, 10)
    assert heard.found(102, 109) == {None}
    heard.play(102.1, 103, 10)
    assert heard.found(102.1, 103) == {10}
    assert heard.found(103.1, 110) == {None}
    assert len(heard.told) == 1


def test_several_who_say_the_same_are_one(heard):
    heard.play(100, 109, 0)
    known_s = time.monotonic()
    heard.arrivals.went_back('the stamp of an image on /front/image went back by 7.0 s', known_s)
    heard.play(102, 103, 10)
    heard.arrivals.went_back('the stamp of an image on /rear/image went back by 7.0 s', known_s)
    assert heard.found(102, 103) == {10}
    (told,) = heard.told
    assert '/front/image' in told


def test_where_nothing_was_known_nothing_is_said(heard):
    heard.arrivals.went_back('simulated time went back by 3.0 s', time.monotonic())
    heard.play(100, 101, 0)
    assert (heard.told, heard.x_m(100.5)) == ([], 0)


@pytest.mark.parametrize('late_s', [0.05, 0.3, 3.0])
def test_disorder_and_a_second_publisher_that_lags_forget_nothing(heard, late_s):
    for k in range(100):
        heard.play(100 + k / 10, 100 + k / 10, 0)
        heard.play(100 + k / 10 - late_s, 100 + k / 10 - late_s, 0)
    assert not heard.told
    assert heard.found(105, 109.8) == {0}


def test_a_second_publisher_of_another_time_is_told_and_not_followed(heard):
    for k in range(100):
        heard.play(100 + k / 10, 100 + k / 10, 0)
        heard.say('base', 50 + k / 10, 7)
    assert heard.found(101, 109.9) == {0}
    assert len(heard.told) == 2
    assert heard.told[1].startswith("the stamps of 'base' jump to and fro by 50.")
    if isinstance(heard.tree, TransformTree):
        assert list(heard.tree.refused_s) == ["'base' came over 10 s late, and was not taken"]
    # Who knows is followed still.
    heard.arrivals.went_back('simulated time went back by 70.0 s', time.monotonic() + 2)
    heard.play(30, 31, 10)
    assert heard.found(30, 31) == {10}


# Ours alone.


def test_two_parents_are_told():
    tree = TransformTree()
    for k in range(3):
        add(tree, link('map', 'camera', k * S), link('odom', 'camera', k * S + 1))
    assert tree.trouble == {
        "'camera' has two parents, 'map' and 'odom'": 3,
        "'camera' has two parents, 'odom' and 'map'": 2,
    }


@pytest.mark.parametrize(
    ('target', 'source', 'stamp_ns', 'said'),
    [
        ('mars', 'camera', S, "there is no frame 'mars'; there are 'base', 'camera', 'map', 'odom'"),
        ('mars', 'moon', S, "there is no frame 'mars' and no 'moon'; there are"),
        (
            'map',
            'camera',
            S,
            "nothing connects 'camera', which leads up to 'base', with 'map', which leads up to 'map'",
        ),
        ('base', 'camera', 3 * S, "'camera' in 'base' is known from 1.000 to 2.000 s, not at 3.000 s"),
        ('map', 'odom', 2 * S, "'odom' in 'map' is known at 1.000 s alone, not at 2.000 s"),
    ],
)
def test_the_gap_is_named(target, source, stamp_ns, said):
    tree = TransformTree()
    add(tree, link('map', 'odom', S), link('base', 'camera', S), link('base', 'camera', 2 * S))
    with pytest.raises(TransformError) as error:
        tree.lookup(target, source, stamp_ns)
    assert said in str(error.value)


def test_without_any_transform_that_is_told():
    with pytest.raises(TransformError, match="no frame 'map' and no 'camera'; there are no transforms"):
        TransformTree().lookup('map', 'camera', S)


def test_a_loop_is_named():
    tree = TransformTree()
    add(tree, link('a', 'b', S), link('b', 'a', S))
    with pytest.raises(TransformError, match="the frames form a loop: 'a' is above itself"):
        tree.lookup('map', 'a', S)


def test_what_comes_while_it_is_asked_for_is_waited_for():
    tree = TransformTree()
    later = threading.Timer(0.2, lambda: add(tree, link('map', 'camera', S, (1, 0, 0))))
    later.start()
    assert tree.lookup('map', 'camera', S, 60).translation_m[0] == 1
    later.join()


def test_memory_is_bounded():
    tree = TransformTree()
    for k in range(5000):
        add(tree, link('map', 'camera', k * S // 100))
    assert len(tree._of['camera'].links) <= 2 * (100 * KEPT_S + 1)


def test_slashes_of_ros_1_are_left_out():
    tree = TransformTree()
    add(tree, link('/map', '/camera', S, (1, 0, 0)))
    assert tree.frames == ['camera', 'map']
    assert tree.lookup('/map', 'camera', S).translation_m[0] == 1


def test_gaps_that_are_interpolated_over():
    """Of map > odom > base > camera, odom rests from 2 to 9 s, base is not known from 3 to 7 s."""
    tree = TransformTree(100.0)
    for at_s, x_m in ((0, 0.0), (2, 1.0), (9, 1.0)):
        add(tree, link('map', 'odom', at_s * S, (x_m, 0, 0)))
    for at_s in (1, 2, 3, 7, 8):
        add(tree, link('odom', 'base', at_s * S, (0.1 * at_s, 0, 0)))
    add(tree, link('base', 'camera', 0), static=True)
    for target, source, at_s, expected_s in (
        ('map', 'camera', 5, 4),
        ('camera', '/map', 5, 4),
        ('odom', 'base', 2.5, 1),
        ('odom', 'base', 3, 0),
        ('map', 'base', 1, 2),
        ('map', 'odom', 5, 0),
        ('base', 'camera', 5, 0),
        ('base', 'base', 5, 0),
        ('map', 'base', 99, 0),
        ('none', 'base', 5, 0),
    ):
        assert tree.gap_s(target, source, round(at_s * S)) == expected_s, (target, source, at_s)


def test_what_moves_with_what():
    """map > odom > base > camera and lidar, and base > arm > hand, which moves."""
    tree = TransformTree()
    turned = Rotation.from_euler('z', 0.1).as_quat()
    for k in range(5):
        add(
            tree,
            link('map', 'odom', k * S, quaternion=turned * (-1) ** k),
            link('odom', 'base', k * S, (0.1 * k, 0, 0)),
        )
        add(tree, link('base', 'arm', k * S, quaternion=Rotation.from_euler('z', 0.1 * k).as_quat()))
    add(tree, link('base', 'camera', 0), link('base', 'lidar', 0), link('arm', 'hand', 0), static=True)
    for target, source, expected in (
        ('base', 'camera', True),
        ('/camera', 'camera', True),
        ('lidar', 'camera', True),
        ('hand', 'arm', True),
        ('odom', 'camera', False),
        ('map', 'camera', False),
        ('base', 'hand', False),
        ('hand', 'camera', False),
        ('map', 'odom', False),  # both are at rest, whichever sign the quaternion has
        ('elsewhere', 'camera', False),
    ):
        assert tree.moves_with(target, source) == expected, (target, source)
    add(tree, link('map', 'odom', 9 * S, (0, 0.2, 0)))
    assert tree.moves_with('odom', 'odom')
    assert not tree.moves_with('map', 'camera')
