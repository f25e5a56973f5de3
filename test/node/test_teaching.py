"""What is taught, and its file, also while others write it."""

import itertools
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from diffcut_ros.classes_file import ClassesFile, read_classes, write_classes
from diffcut_ros.core import Classes, Segment
from diffcut_ros.core.classes import Source
from diffcut_ros.node.teaching import Teaching

GENERATOR = np.random.default_rng(0)
PROBE = GENERATOR.normal(size=(4, 8)).astype(np.float32)
PROBE /= np.linalg.norm(PROBE, axis=1, keepdims=True)
COUNT = itertools.count()


class Log:
    """Keeps what is told."""

    def __init__(self):
        self.lines = []

    def _tell(self, text):
        self.lines.append(text)

    info = warning = error = _tell


def segment(channels=8):
    feature = GENERATOR.normal(size=channels).astype(np.float32)
    return Segment(1, 1, 10, (0, 0, 5, 5), (2.0, 2.0), 0.9, feature / np.linalg.norm(feature), 0)


def source():
    return Source('', '/image', next(COUNT), (2, 2), (0, 0, 5, 5), (64, 48))


def teaching(path='', teach='', probe=PROBE):
    made = Teaching(Log())
    made.configure(str(path), teach, lambda: ('color', probe))
    return made


def set_file(made, path, teach=''):
    made.state = made.prepared(str(path), teach)


def names(classes):
    return [classes.name(key) for key in classes.class_id.tolist()]


def written(path):
    return names(read_classes(path).classes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'taught.yaml'


def test_it_goes_back_to_what_was_read(path):
    write_classes(path, ClassesFile(Classes().with_example('grass', segment().feature, 0.9, source()), 'color', PROBE))
    read = path.read_bytes()
    made = teaching(path)
    for name in ('road', 'grass', 'road', 'sky'):
        made.learn(name, segment(), source())
    assert written(path) == ['grass', 'road', 'grass', 'road', 'sky']
    for left in (['grass', 'road', 'grass', 'road'], ['grass', 'road', 'grass'], ['grass', 'road'], ['grass']):
        made.undo()
        assert written(path) == left
    assert path.read_bytes() == read
    assert [one.name for one in made.classes.classes.values()] == ['grass']
    with pytest.raises(ValueError, match='no example to take back'):
        made.undo()


def test_another_example_is_replaced_only_if_it_is_the_last_and_of_that_name(path):
    made = teaching(path, 'wheel')
    first, second, third, fourth = (source() for _ in range(4))
    made.learn('wheel', segment(), first)
    made.learn('wheel', segment(), second, first)
    assert made.classes.sources == (second,)
    made.learn('road', segment(), third, second)
    assert made.classes.sources == (second, third)
    made.learn('wheel', segment(), fourth, second)
    assert made.classes.sources == (second, third, fourth)
    assert written(path) == ['wheel', 'road', 'wheel']


def test_what_others_have_changed_stays(path):
    """Two nodes that teach into one file, and a person who edits it."""
    one, other = teaching(path, 'road'), teaching(path, 'sky')
    one.learn('road', segment(), source())
    content = read_classes(path)
    write_classes(path, replace(content, classes=replace(content.classes, checked=(('road', Source()),))))
    other.learn('sky', segment(), source())
    one.learn('grass', segment(), source())
    assert written(path) == ['road', 'sky', 'grass']
    assert sum('somebody else has changed it' in line for line in one._log.lines) == 1
    path.write_text(path.read_text().replace('name: road', 'name: street').replace('class: road', 'class: street'))
    other.learn('sky', segment(), source())
    assert written(path) == ['street', 'sky', 'grass', 'sky']
    # Each takes back its own alone.
    one.undo()
    assert written(path) == ['street', 'sky', 'sky']
    one.undo()
    assert written(path) == ['sky', 'sky']
    with pytest.raises(ValueError, match='no example to take back'):
        one.undo()
    other.undo()
    assert written(path) == ['sky']
    assert read_classes(path).classes.checked == (('street', Source()),)


def test_an_example_that_somebody_has_taken_out_is_not_put_back(path):
    made, other = teaching(path, 'road'), teaching(path, 'road')
    made.learn('road', segment(), source())
    content = read_classes(path)
    write_classes(path, replace(content, classes=content.classes.without_example(0)))
    with pytest.raises(ValueError, match='somebody else has taken it out'):
        made.undo()
    other.learn('sky', segment(), source())
    assert written(path) == ['sky']


@pytest.mark.parametrize('damage', ['text', 'backend', 'pipe', 'newer'])
def test_a_file_that_others_have_broken_is_left_as_it_is(path, damage):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    good = path.read_bytes()
    if damage == 'pipe':
        path.unlink()
        os.mkfifo(path)
    elif damage == 'backend':
        write_classes(path, ClassesFile(Classes(), 'other', -PROBE))
    else:
        path.write_bytes(b'no: classes' if damage == 'text' else good.replace(b'format: 1', b'format: 9'))
    before = None if damage == 'pipe' else path.read_bytes()
    lines = len(made._log.lines)
    made.learn('sky', segment(), source())
    (line,) = made._log.lines[lines:]
    assert 'somebody else has changed the file, which is left as it is' in line
    assert "kept in memory (1 example of 'sky')" in line
    assert names(made.classes) == ['road', 'sky']
    if before is not None:
        assert path.read_bytes() == before
    # Somewhere else, nothing is lost.
    new = path.with_name('new.yaml')
    set_file(made, new)
    assert written(new) == ['road', 'sky']


def test_two_processes_that_teach_at_the_same_time_lose_nothing(path):
    code = (
        'import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);'
        'from test_teaching import teaching, segment, source;'
        'made = teaching(Path(sys.argv[1]), "x"); print("ready", flush=True); sys.stdin.readline();'
        '[made.learn(sys.argv[3], segment(), source()) for _ in range(15)]'
    )
    commands = [[sys.executable, '-c', code, str(path), os.path.dirname(__file__), name] for name in ('one', 'two')]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, **pipes)) for command in commands]
        for process in processes:
            assert process.stdout.readline() == 'ready\n'
        for process in processes:
            process.stdin.close()
        assert [process.wait(60) for process in processes] == [0, 0]
    assert sorted(written(path)) == ['one'] * 15 + ['two'] * 15
    assert len(list(path.parent.glob('*.npy'))) == 1


def test_a_file_that_is_removed_is_written_anew(path):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    for one in path.parent.iterdir():
        one.unlink()
    made.learn('sky', segment(), source())
    assert written(path) == ['road', 'sky']
    assert any('somebody else has removed it' in line for line in made._log.lines)


def test_what_could_not_be_written_is_written_with_the_next_or_when_the_file_is_set_again(path):
    made = teaching(path, 'road')
    folder, away = path.parent, path.parent.with_name('away')
    for again in (lambda: made.learn('sky', segment(), source()), lambda: set_file(made, path), made.undo):
        before = written(path) if path.exists() else []
        folder.rename(away)
        made.learn('road', segment(), source())
        assert 'cannot be written' in made._log.lines[-1]
        with pytest.raises(ValueError, match='1 example in no file yet'):
            set_file(made, '')
        away.rename(folder)
        again()
        assert not made.state.unsaved
        assert written(path)[: len(before)] == before
        assert written(path) == names(made.classes)


def test_undo_that_cannot_be_written_is_told_and_holds(path):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    made.learn('sky', segment(), source())
    folder, away = path.parent, path.parent.with_name('away')
    folder.rename(away)
    with pytest.raises(OSError, match=r"'sky' is taken back in memory alone: .* cannot be written"):
        made.undo()
    away.rename(folder)
    assert names(made.classes) == ['road']
    made.learn('grass', segment(), source())
    assert written(path) == ['road', 'grass']


def test_a_file_is_begun_anew_only_while_something_is_taught(path):
    for made in (teaching(), teaching(teach='road')):
        with pytest.raises(ValueError, match='expected a file of classes, cannot read it: there is none'):
            set_file(made, path)
    made = teaching()
    set_file(made, path, 'road')
    assert not path.exists()
    with pytest.raises(ValueError, match='expected a folder that is there'):
        set_file(made, path.parent / 'none' / 'a.yaml', 'road')
    with pytest.raises(ValueError, match='expected a file of classes'):
        set_file(made, path.parent, 'road')  # a folder


@pytest.mark.parametrize('text', ['a\0b', 'x' * 300, '~nobody_of_this_name/x'])
def test_paths_that_cannot_be(text):
    with pytest.raises(ValueError, match=r'classes_file|there is none|that is there') as error:
        teaching(text, 'road')
    assert len(str(error.value)) < 800


def test_another_backend(path):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    with pytest.raises(ValueError, match='expected examples of the backend in use'):
        teaching(path, probe=-PROBE)
    alone = teaching(teach='road')
    alone.learn('road', segment(), source())
    alone.release()
    alone.configure('', 'road', lambda: ('color', PROBE))
    assert names(alone.classes) == ['road']
    alone.release()
    alone.configure('', 'road', lambda: ('other', -PROBE))
    assert names(alone.classes) == []
    assert '1 example in no file, lost' in alone._log.lines[-1]


def test_features_of_another_length_are_refused(path):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    with pytest.raises(ValueError, match='expected 8 channels'):
        made.learn('road', segment(9), source())
    assert written(path) == names(made.classes) == ['road']


def test_the_255th_class(path):
    made = teaching(path, 'road')
    made.learn('road', segment(), source())
    full = made.classes
    for k in range(253):
        full = full.with_class(f'class {k}')
    made.state = replace(made.state, classes=full)
    with pytest.raises(ValueError, match='expected at most 254'):
        made.prepared(None, 'one more')
    with pytest.raises(ValueError, match='expected at most 254'):
        made.learn('one more', segment(), source())
    made.learn('road', segment(), source())
    assert written(path) == ['road', 'road']
