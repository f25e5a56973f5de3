import numpy as np
import pytest

from diffcut_ros.core import Classes, Segments
from diffcut_ros.core.classes import MAX_CLASSES, UNKNOWN, Source, _principal, check_class_name, class_color

CHANNELS = 24


def segments(feature: np.ndarray) -> Segments:
    count = len(feature)
    return Segments(
        label=np.arange(1, count + 1),
        segment=np.arange(1, count + 1),
        area_px=np.ones(count, np.int64),
        box_xyxy=np.tile([0, 0, 1, 1], (count, 1)),
        centroid_xy=np.zeros((count, 2)),
        score=np.ones(count),
        feature=feature.astype(np.float32),
        track_id=np.zeros(count, np.int64),
    )


def taught(examples, score: float = 0.9) -> Classes:
    """Classes of (name, feature, image) of each example."""
    classes = Classes()
    for name, feature, image in examples:
        classes = classes.with_example(name, feature, score, Source(stamp_ns=image))
    return classes


def directions(count: int, seed: int = 0) -> np.ndarray:
    """Orthogonal unit vectors [count, CHANNELS]."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((CHANNELS, count)))[0].T


def near(vector: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    return vector + spread * random.standard_normal(CHANNELS) / np.sqrt(CHANNELS)


def named(classes: Classes, feature: np.ndarray, **options) -> list[str]:
    return [classes.name(key) for key in classes.classify(segments(np.atleast_2d(feature)), **options)[0].tolist()]


def test_a_segment_has_the_name_of_the_example_that_it_resembles():
    axes, random = directions(4), np.random.default_rng(1)
    names = ('floor', 'wall', 'chair')
    examples = [
        (name, near(axis, 0.2, random), image) for image in range(4) for name, axis in zip(names, axes, strict=False)
    ]
    classes = taught(examples)
    assert named(classes, [near(axis, 0.2, random) for axis in axes]) == [*names, 'unknown']


def test_the_order_of_examples_does_not_matter():
    axes, random = directions(3), np.random.default_rng(2)
    examples = [(f'c{k}', near(axes[k], 0.5, random), image) for image in range(5) for k in range(3)]
    asked = segments(np.array([near(axes[random.integers(3)], 0.5, random) for _ in range(50)]))
    first = taught(examples)
    second = taught([examples[index] for index in random.permutation(len(examples))])
    (ids_1, sure_1), (ids_2, sure_2) = first.classify(asked), second.classify(asked)
    assert [first.name(key) for key in ids_1] == [second.name(key) for key in ids_2]
    # Images are in folds by the order they come in.
    assert np.abs(sure_1 - sure_2).max() < 0.1


def test_directions_in_which_examples_of_one_class_differ_count_less():
    """Light and shade, say, in which one floor differs more than floor and wall do."""
    floor, wall, shade = directions(3)
    wall = 0.96 * floor + 0.28 * wall
    examples = [
        (name, thing + light * shade, image)
        for image, light in enumerate((-0.5, 0.0, 0.5))
        for name, thing in (('floor', floor), ('wall', wall))
    ]
    examples = [one for k, one in enumerate(examples) if k not in (1, 4)]  # a wall in shade and a floor in light alone
    asked = np.array([floor + 0.5 * shade, wall - 0.5 * shade])
    unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    shown = np.array([feature / np.linalg.norm(feature) for _, feature, _ in examples])
    by_cosine = [examples[row][0] for row in (unit @ shown.T).argmax(1)]
    assert by_cosine != ['floor', 'wall']
    assert named(taught(examples), asked) == ['floor', 'wall']


def test_more_alike_is_more_sure():
    first, second = directions(2)
    random = np.random.default_rng(3)
    examples = [
        (name, near(axis, 0.6, random), image) for image in range(5) for name, axis in (('a', first), ('b', second))
    ]
    asked = np.array([first + share * second for share in (0.0, 0.3, 0.6, 0.9)])
    _, sure = taught(examples).classify(segments(asked))
    assert (np.diff(sure) < 0).all()
    assert 0.9 < sure[0] <= 1
    assert sure[-1] < 0.65


def test_less_sure_than_wanted_is_unknown():
    first, second = directions(2)
    classes = taught(
        [('a', first, 0), ('b', second, 0), ('a', first + 0.1 * second, 1), ('b', second + 0.1 * first, 1)]
    )
    between = first + 0.3 * second
    ids, sure = classes.classify(segments(between[None]))
    assert classes.name(int(ids[0])) == 'a'
    assert named(classes, between, min_confidence=float(sure[0]) - 0.001) == ['a']
    ids, sure = classes.classify(segments(between[None]), min_confidence=float(sure[0]) + 0.001)
    assert (ids[0], sure[0]) == (UNKNOWN, 0)


def test_a_few_examples_make_nothing_certain():
    """All examples are told apart without a doubt; what lies between two classes is doubtful nevertheless."""
    first, second = directions(2)
    random = np.random.default_rng(6)
    classes = taught([(n, near(axis, 0.2, random), k) for k in range(3) for n, axis in (('a', first), ('b', second))])
    _, (sure, between) = classes.classify_features(np.array([first, first + 0.8 * second], np.float32), unknown=False)
    assert between < 0.8 < sure


def test_each_segment_gets_a_name_where_unknown_is_no_answer():
    first, second, neither = directions(3)
    classes = taught([(name, axis, k) for k in range(2) for name, axis in (('a', first), ('b', second))])
    asked = (neither + 0.1 * second).astype(np.float32)[None]
    assert named(classes, asked) == ['unknown']
    ids, sure = classes.classify_features(asked, unknown=False)
    assert classes.name(int(ids[0])) == 'b'
    assert 0 < sure[0] < 1


def test_confidence_is_the_share_that_is_right():
    """Of things that overlap, as often as the answers say: within 0.1, of 4,000."""
    random = np.random.default_rng(4)
    axes = directions(3)
    examples = [(f'c{k}', near(axes[k], 1.2, random), image) for image in range(30) for k in range(3)]
    classes = taught(examples)
    truth = random.integers(3, size=4000)
    ids, sure = classes.classify(segments(np.array([near(axes[k], 1.2, random) for k in truth])))
    known = ids > 0
    right = ids == np.array([classes.id_of(f'c{k}') for k in range(3)])[truth]
    assert known.mean() > 0.9
    assert abs(right[known].mean() - sure[known].mean()) < 0.1


def test_what_is_far_from_all_classes_but_one_is_known():
    """Beyond the distance of examples to each other: what lies between two classes is not, nor what is like none."""
    first, second, neither = directions(3)
    random = np.random.default_rng(7)
    classes = taught([(n, near(axis, 0.1, random), k) for k in range(4) for n, axis in (('a', first), ('b', second))])
    # To examples of `a` squared distances are 0.6, 1.05, 1.3 and 1.5 here, to those of `b` 1.6 to 1.7; 0.93 is too far.
    cosines = np.array([0.6, 0.3, 0.15, 0.05])
    towards_neither = cosines[:, None] * first + np.sqrt(1 - cosines**2)[:, None] * neither
    assert named(classes, towards_neither) == ['a', 'a', 'unknown', 'unknown']
    between = (first + second) / np.sqrt(2) * 0.4 + np.sqrt(1 - 0.4**2) * neither
    assert named(classes, between) == ['unknown']
    assert named(taught([('a', first, k) for k in range(2)]), towards_neither) == ['unknown'] * 4  # no other class


@pytest.mark.parametrize('images', [1, 2, 5, 25])
def test_examples_are_judged_by_those_of_other_images(images):
    """In one image all floors look alike, from image to image they differ: what counts is the latter.

    From one image alone nobody can know how far floors differ: halfway to the wall is taken.
    """
    random = np.random.default_rng(5)
    floor, wall, neither = directions(3)
    examples = []
    for image in range(images):
        for name, axis in (('floor', floor), ('wall', wall)):
            light = near(axis, 0.7, random)
            examples += [(name, near(light, 0.01, random), image) for _ in range(3)]
    classes = taught(examples)
    new = np.array([near(floor, 0.7, random) for _ in range(200)])
    known = np.mean([name == 'floor' for name in named(classes, new)])
    assert known > 0.8
    assert named(classes, neither) == ['unknown']
    ids, sure = classes.held_out()
    assert len(ids) == len(sure) == len(classes)


def test_one_example_knows_what_is_like_it():
    axis, other = directions(2)
    classes = taught([('mug', axis, 0)], score=0.8)
    # Its own cells are at a cosine of 0.8 to it, on average.
    assert named(classes, [axis, 0.9 * axis + 0.3 * other, other, -axis]) == ['mug', 'mug', 'unknown', 'unknown']


def test_without_examples_all_is_unknown():
    asked = segments(directions(3))
    for classes in (Classes(), Classes().with_class('floor')):
        ids, sure = classes.classify(asked)
        assert (ids.tolist(), sure.tolist()) == ([0, 0, 0], [0, 0, 0])
    ids, sure = taught([('a', directions(1)[0], 0)]).classify(asked[[]])
    assert len(ids) == len(sure) == 0


def test_features_of_zeros_are_no_error():
    classes = taught([('a', np.zeros(CHANNELS), 0), ('b', directions(1)[0], 0), ('a', np.zeros(CHANNELS), 1)])
    assert np.isfinite(classes.classify(segments(np.zeros((2, CHANNELS))))[1]).all()


def test_an_id_stays_with_its_name():
    axis = directions(1)[0]
    classes = taught([('floor', axis, 0), ('wall', axis, 0), ('floor', axis, 1)])
    assert classes.id_of('wall') == 2
    fewer = classes.without_example(0).without_example(-1)
    assert [fewer.name(int(key)) for key in fewer.class_id] == ['wall']
    assert fewer.id_of('floor') == 1
    assert fewer.with_example('chair', axis, 1.0, Source()).id_of('chair') == 3
    with pytest.raises(IndexError, match='below 1, received 3'):
        fewer.without_example(3)


def test_there_are_at_most_254():
    classes = Classes()
    for number in range(1, MAX_CLASSES + 1):
        classes = classes.with_class(f'thing {number}')
    assert classes.with_class('thing 7') is classes
    with pytest.raises(ValueError, match="at most 254, received one more, 'one too many'"):
        classes.with_class('one too many')


@pytest.mark.parametrize('name', ['', ' floor', 'floor\n', 'a\nb', 'x' * 10_000, 'unknown', '\x1b[31m', None, 7])
def test_a_name_is_a_line(name):
    with pytest.raises(ValueError, match='class name: expected ') as error:
        check_class_name(name)
    assert len(str(error.value)) < 200
    assert str(error.value).isprintable()


@pytest.mark.parametrize('name', ['floor', 'Fußboden', '床', 'traffic light (red)', 'x' * 64])
def test_names_of_all_languages_are_taken(name):
    assert Classes().with_class(name).id_of(name) == 1


def test_features_of_another_backend_are_refused():
    classes = taught([('a', np.ones(CHANNELS), 0)])
    with pytest.raises(ValueError, match='expected 24 channels, as the examples have, received 8'):
        classes.classify(segments(np.ones((1, 8))))
    with pytest.raises(ValueError, match='another backend'):
        classes.with_example('b', np.ones(8), 1.0, Source())


def test_colors_differ():
    colors = [class_color(number) for number in range(1, 21)]
    assert len(set(colors)) == 20


def test_a_class_under_another_name():
    axes = directions(3)
    classes = taught([('floor', axes[0], 0), ('wall', axes[1], 0), ('flor', axes[0], 1)])
    assert classes.renamed('wall', 'house').classes[2].name == 'house'
    assert classes.renamed('wall', 'house').color(2) == classes.color(2)
    merged = classes.renamed('flor', 'floor')
    assert merged.class_id.tolist() == [1, 2, 1]
    assert sorted(merged.classes) == [1, 2]
    assert classes.renamed('wall', 'wall') is classes
    with pytest.raises(KeyError):
        classes.renamed('sky', 'wall')
    with pytest.raises(ValueError, match='class name'):
        classes.renamed('wall', ' ')


@pytest.mark.parametrize(('rows', 'channels'), [(5, 60), (60, 5), (1, 8), (40, 40)])
def test_principal_directions_are_those_of_a_singular_value_decomposition(rows, channels):
    values = np.random.default_rng(0).normal(size=(rows, channels))
    values -= values.mean(0)
    squared, directions = _principal(values)
    _, singular, expected = np.linalg.svd(values, full_matrices=False)
    rank = min(rows - 1, channels)
    assert np.allclose(squared[::-1], singular[:rank] ** 2)
    assert np.allclose(np.abs(directions[::-1] @ expected[:rank].T), np.eye(rank), atol=1e-6)


def test_an_example_is_compared_with_all_other_images():
    """Also where there are more images than the examples are divided into: with each one but its own."""
    thing, light, *others = directions(20)
    examples = [
        (f'c{image}', others[image - 1] if image < 18 else light, image) for image in range(1, 20) if image != 10
    ]
    examples += [('thing', thing, 0), ('thing', thing + 1e-4 * light, 0), ('thing', thing + 0.3 * light, 10)]
    classes = taught(sorted(examples, key=lambda one: one[2]))
    left_out = classes._classifier.left_out
    own = left_out[classes.class_id == classes.id_of('thing')].min(1)
    assert (own > 0.01).all()
