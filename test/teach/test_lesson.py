"""What the page teaches, without the page: names on frames of a real recording, in a file."""

import numpy as np
import pytest

from diffcut_ros.analysis.settings import AnalysisOptions
from diffcut_ros.core import Pipeline
from diffcut_ros.core.clicks import clicked
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe
from diffcut_ros.teach.lesson import NOT_COMPARED, Lesson
from diffcut_ros.teach.recording import RecordedFrames
from diffcut_ros.teach.spread import Recording, farthest
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message, moving_scene

FRAMES = 6
# Of `moving_scene`, enlarged: points on things.
RED, WALL = (4 * 9, 4 * 10), (4 * 40, 4 * 2)


def film_image(index: int) -> np.ndarray:
    return np.kron(moving_scene(index), np.ones((4, 4, 1), np.uint8))


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp('film') / 'film'
    with Recorder(path) as recorder:
        for index in range(12):
            recorder.write(IMAGE, image_message(film_image(index), 'rgb8', START_NS + index * STEP_NS))
    return path


@pytest.fixture(scope='module')
def extractor():
    return create_extractor('color')


@pytest.fixture(scope='module')
def frames(film, extractor):
    recording = Recording(film, AnalysisOptions(depth=False))
    settings = recording.look_through()
    return tuple(RecordedFrames(recording, settings, extractor, str(film)).take(FRAMES))


@pytest.fixture
def lesson(tmp_path, extractor, frames):
    return again(tmp_path, extractor, frames)


def again(tmp_path, extractor, frames):
    """A lesson on the file, as after a start of the program."""
    return Lesson(tmp_path / 'names.yaml', extractor.description, probe(extractor), frames)


def named(lesson, frame: int, x: int, y: int) -> str:
    label = int(lesson.frames[frame].labels[y, x])
    return lesson.classes.name(lesson.state()['answers'][frame]['class'][label - 1])


def red(lesson, frame: int) -> tuple[int, int]:
    """Where the red thing is."""
    index = (lesson.frames[frame].stamp_ns - START_NS) // STEP_NS
    return RED[0] + 4 * index, RED[1]


def names(lesson) -> list[str]:
    return [one['name'] for one in lesson.state()['classes']]


def test_the_farthest_point_is_the_next():
    points = np.array([[0.0], [1], [11], [5], [5]])
    assert farthest(points, 3) == [3, 2, 0]
    assert farthest(points, 9) == [3, 2, 0, 1, 4]
    assert farthest(points, 1, [0, 2]) == [3]
    assert farthest(points[:1], 30) == [0]
    assert farthest(points, 2, range(5)) == []


def test_frames_are_in_the_order_of_the_recording(frames):
    stamps = [one.stamp_ns for one in frames]
    assert stamps == sorted(set(stamps))
    assert len(stamps) == FRAMES


def test_more_frames_are_others(film, extractor):
    recording = Recording(film, AnalysisOptions(depth=False))
    source = RecordedFrames(recording, recording.look_through(), extractor, 'film')
    wanted = START_NS + 7 * STEP_NS
    first = [one.stamp_ns for one in source.take(4, [wanted])]
    assert len(first) == 4
    assert wanted in first
    more = [one.stamp_ns for one in source.take(100)]
    assert len({*first, *more}) == len(first) + len(more) == 12
    assert source.left == 0


def test_what_is_named_is_named_in_other_frames(lesson):
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    lesson.teach(0, *WALL, None, 'wall')
    assert [named(lesson, frame, *red(lesson, frame)) for frame in range(FRAMES)] == ['red thing'] * FRAMES
    assert [named(lesson, frame, *WALL) for frame in range(FRAMES)] == ['wall'] * FRAMES


def test_a_click_means_what_it_means_to_the_node(lesson, extractor):
    frame = lesson.frames[0]
    result = Pipeline(extractor).process(scene_of(frame))
    region = frame.region(*red(lesson, 0))
    one = clicked(result, *red(lesson, 0)).segment
    assert region.source.box_xyxy == one.box_xyxy
    assert np.allclose(region.feature, one.feature, atol=1e-5)


def scene_of(frame):
    from diffcut_ros.core import Scene

    return Scene(film_image((frame.stamp_ns - START_NS) // STEP_NS))


def test_up_to_the_whole_image(lesson):
    frame, (x, y) = lesson.frames[0], red(lesson, 0)
    everything = (0, len(frame.cut.taus) + 1)
    region = frame.region(x, y, everything)
    assert region.source.box_xyxy == (0, 0, *frame.size_wh)
    part = int(frame.cut.parts[y, x])
    smallest = frame.region(x, y, (part, part + 1))
    assert frame.mask(x, y, (part, part + 1)).sum() < frame.mask(x, y, everything).sum()
    assert smallest.score > region.score


@pytest.mark.parametrize(
    ('x', 'y', 'run'), [(-1, 0, None), (10_000, 0, None), (0, 0, (5, 2)), (0, 0, (0, 10_000)), (0, 0, (10_000, 10_001))]
)
def test_a_click_beside_is_refused(lesson, x, y, run):
    with pytest.raises(ValueError, match='expected'):
        lesson.teach(0, x, y, run, 'wall')
    assert not lesson.path.exists()


def test_another_name_at_the_same_place_replaces(lesson):
    lesson.teach(0, *WALL, None, 'wal')
    lesson.teach(0, *WALL, None, 'wall')
    assert [(one['name'], one['examples']) for one in lesson.state()['classes']] == [('wall', 1)]
    assert lesson.state()['note'] == "'wal' had no other example and is gone (Undo)"
    lesson.undo()
    assert (names(lesson), lesson.state()['note']) == (['wal'], '')


def test_of_names_with_other_examples_nothing_is_told(lesson):
    for frame in (0, 1):
        lesson.teach(frame, *WALL, None, 'wal')
    lesson.teach(0, *WALL, None, 'wall')
    assert (names(lesson), lesson.state()['note']) == (['wal', 'wall'], '')
    (other,) = [one['key'] for one in lesson.state()['examples'] if one['frame'] == 1]
    lesson.remove(other)
    assert lesson.state()['note'] == "'wal' had no other example and is gone (Undo)"
    lesson.rename('wall', 'a wall')  # who says so, knows it
    lesson.forget('a wall')
    assert lesson.state()['note'] == ''


def test_undo_and_redo(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(0, *red(lesson, 0), None, 'thing')
    lesson.rename('thing', 'red thing')
    lesson.undo()
    assert names(lesson) == ['wall', 'thing']
    lesson.undo()
    lesson.undo()
    assert names(lesson) == []
    with pytest.raises(ValueError, match='nothing to take back'):
        lesson.undo()
    for _ in range(3):
        lesson.redo()
    assert names(lesson) == ['wall', 'red thing']
    with pytest.raises(ValueError, match='nothing to make again'):
        lesson.redo()


def test_all_is_in_the_file(lesson, tmp_path, extractor, frames):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(1, *red(lesson, 1), None, 'red thing')
    after = again(tmp_path, extractor, frames)
    assert names(after) == ['wall', 'red thing']
    assert [one['frame'] for one in after.state()['examples']] == [0, 1]
    lesson.undo()
    assert names(again(tmp_path, extractor, frames)) == ['wall']


def test_names_are_merged(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(0, *red(lesson, 0), None, 'thing')
    lesson.rename('thing', 'wall')
    assert [(one['name'], one['examples']) for one in lesson.state()['classes']] == [('wall', 2)]


def test_a_name_is_forgotten_with_its_examples(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(1, *WALL, None, 'wall')
    lesson.teach(0, *red(lesson, 0), None, 'thing')
    lesson.forget('wall')
    assert [(one['name'], one['examples']) for one in lesson.state()['classes']] == [('thing', 1)]
    key = lesson.state()['examples'][0]['key']
    lesson.remove(key)
    assert lesson.state()['classes'] == []
    with pytest.raises(ValueError, match='this example is not there any more'):
        lesson.remove(key)
    for wrong in (lambda: lesson.rename('wall', 'x'), lambda: lesson.forget('wall')):
        with pytest.raises(ValueError, match='expected one'):
            wrong()


def test_the_example_that_is_meant_is_removed_whatever_others_have_done(lesson):
    for name, place in (('wall', WALL), ('thing', red(lesson, 0))):
        lesson.teach(0, *place, None, name)
    first, second = (one['key'] for one in lesson.state()['examples'])
    lesson.remove(first)
    with pytest.raises(ValueError, match='not there any more'):
        lesson.remove(first)
    lesson.remove(second)
    assert lesson.state()['examples'] == []


def test_what_others_have_written_stays(lesson, tmp_path, extractor, frames):
    lesson.teach(0, *WALL, None, 'wall')
    other = again(tmp_path, extractor, frames)
    other.teach(1, *red(lesson, 1), None, 'red thing')
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    assert [one['examples'] for one in lesson.state()['classes']] == [1, 2]
    assert 'somebody else' in lesson.note
    other.follow()
    assert [one['examples'] for one in other.state()['classes']] == [1, 2]
    with pytest.raises(ValueError, match='nothing to take back'):
        other.undo()


def test_a_full_disk_costs_nothing(lesson, tmp_path, extractor, frames, monkeypatch):
    lesson.teach(0, *WALL, None, 'wall')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    assert 'No space left' in lesson.state()['problem']
    assert named(lesson, 1, *red(lesson, 1)) == 'red thing'
    assert names(again(tmp_path, extractor, frames)) == ['wall']
    monkeypatch.undo()
    lesson.save()
    assert lesson.state()['problem'] == ''
    assert names(again(tmp_path, extractor, frames)) == ['wall', 'red thing']


def test_a_full_disk_and_others(lesson, tmp_path, extractor, frames, monkeypatch):
    """What could not be written is added to what somebody else has written meanwhile."""
    lesson.teach(0, *WALL, None, 'wall')
    monkeypatch.setattr('os.fsync', lambda *_: (_ for _ in ()).throw(OSError(28, 'full')))
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    monkeypatch.undo()
    again(tmp_path, extractor, frames).teach(2, *WALL, None, 'wall')
    lesson.save()
    assert [(one['name'], one['examples']) for one in again(tmp_path, extractor, frames).state()['classes']] == [
        ('wall', 2),
        ('red thing', 1),
    ]


def test_a_file_that_was_damaged_meanwhile_is_left_as_it_is(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.path.write_text('no: classes')
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    assert 'left as it is' in lesson.state()['problem']
    assert lesson.path.read_text() == 'no: classes'
    assert names(lesson) == ['wall', 'red thing']


def test_what_others_do_to_the_file_is_told_at_once(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    text, version = lesson.path.read_text(), lesson.version
    told = []
    for change in (
        lesson.path.unlink,
        lambda: lesson.path.write_text(text),
        lambda: lesson.path.write_text('{{{ no yaml'),
        lambda: lesson.path.write_text(text),
    ):
        change()
        lesson.follow()
        assert lesson.version > version
        version = lesson.version
        told.append(lesson.problem)
        lesson.follow()
        assert lesson.version == version, 'nothing has changed'
    assert told[0].startswith('the file has gone')
    assert 'left as it is' in told[2]
    assert told[1] == told[3] == ''
    assert names(lesson) == ['wall']


def test_a_file_that_has_gone_is_written_anew(lesson, tmp_path, extractor, frames):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.path.unlink()
    lesson.follow()
    lesson.save()
    assert lesson.problem == ''
    assert names(again(tmp_path, extractor, frames)) == ['wall']
    lesson.path.unlink()
    lesson.teach(0, *red(lesson, 0), None, 'thing')
    assert lesson.problem == ''
    assert names(again(tmp_path, extractor, frames)) == ['wall', 'thing']


def test_examples_in_one_frame_tell_nothing_of_others(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(0, *red(lesson, 0), None, 'thing')
    lesson.teach(1, *red(lesson, 1), None, 'thing')
    assert [one['held_out'] for one in lesson.state()['examples']] == [NOT_COMPARED, 2, 2]


def test_steps_keep_nothing_but_examples(lesson):
    for k in range(3):
        lesson.teach(k, *WALL, None, 'wall')
        lesson.state()
    assert all('_classifier' not in one.__dict__ for one in lesson._past)


def test_a_file_of_another_backend_is_refused(lesson, tmp_path, frames):
    lesson.teach(0, *WALL, None, 'wall')
    other = create_extractor('color', kernel_width=60.0)
    with pytest.raises(ValueError, match='of another'):
        again(tmp_path, other, frames)


def test_the_proposal_is_what_no_example_explains(lesson):
    """The wall, which is largest, first; then something else, in whichever frame."""
    frame, label = lesson.proposal()
    assert lesson.frames[frame].labels[WALL[::-1]] == label
    lesson.teach(frame, *lesson.frames[frame].places[label - 1].tolist(), None, 'wall')
    other = lesson.proposal()
    assert other[1] != lesson.frames[other[0]].labels[WALL[::-1]]
    passed, asked = [], set()
    while (place := lesson.proposal(passed)) is not None:
        assert place not in asked
        asked.add(place)
        passed.append(place)
    assert len(asked) == sum(len(one.segments) for one in lesson.frames) - 1


def test_the_check_counts_right_answers(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    lesson.teach(0, *red(lesson, 0), None, 'red thing')
    random = np.random.default_rng(0)
    for _ in range(5):
        frame, label = lesson.question(random)
        assert frame != 0, 'frames without examples come first'
        x, y = lesson.frames[frame].places[label - 1].tolist()
        lesson.answer(frame, label, named(lesson, frame, x, y).replace('unknown', ''))
    given = lesson.state()['check']['answers']
    assert len(given) == 5
    assert all(one['true'] == one['class'] for one in given)
    frame, label = given[0]['frame'], given[0]['label']
    lesson.answer(frame, label, 'red thing' if given[0]['true'] != 2 else 'wall')
    assert sum(one['true'] == one['class'] for one in lesson.state()['check']['answers']) == 4
    with pytest.raises(ValueError, match='class name'):
        lesson.answer(frame, label, 'unknown')
    with pytest.raises(ValueError, match='label'):
        lesson.answer(frame, 10_000, 'wall')
    given = lesson.state()['check']['answers']
    lesson.rename('wall', 'backdrop')
    again = Lesson(lesson.path, lesson.backend, lesson.probe, lesson.frames)
    assert again.state()['check']['answers'] == given, 'they are in the file'
    lesson.forget_answers()
    assert lesson.state()['check']['answers'] == []
    lesson.undo()
    assert lesson.state()['check']['answers'] == given


def test_a_new_name_may_be_the_answer(lesson):
    lesson.teach(0, *WALL, None, 'wall')
    frame, label = lesson.question(np.random.default_rng(0))
    lesson.answer(frame, label, 'cat')
    (given,) = lesson.state()['check']['answers']
    assert (given['true'], names(lesson)) == (2, ['wall', 'cat'])
    assert given['class'] != 2


def test_what_was_skipped_is_not_asked_again(lesson):
    random, passed = np.random.default_rng(0), []
    while (place := lesson.question(random, passed)) is not None:
        assert place not in passed
        passed.append(place)
    assert len(passed) == sum(len(one.segments) for one in lesson.frames)


def test_the_check_ends_when_all_was_asked(lesson):
    random = np.random.default_rng(0)
    while (place := lesson.question(random)) is not None:
        lesson.answer(*place, '')
    assert len(lesson.state()['check']['answers']) == sum(len(one.segments) for one in lesson.frames)


def test_what_has_no_name_is_not_asked_about_in_the_next_frame(lesson):
    """The wall is the largest thing of each frame; somebody has no name for it."""
    frame, label = lesson.proposal()
    assert lesson.frames[frame].labels[WALL[::-1]] == label
    other, label = lesson.proposal([(frame, label)])
    assert lesson.frames[other].labels[WALL[::-1]] != label
