import os
import resource
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml

from diffcut_ros.classes_file import ClassesFile, check_backend, read_classes, write_classes
from diffcut_ros.core import Classes
from diffcut_ros.core.classes import Source
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import probe

PROBE = np.eye(4, 8, dtype=np.float32)


def content(*names: str) -> ClassesFile:
    classes = Classes()
    for number, name in enumerate(names):
        feature = np.full(8, number + 1, np.float32)
        classes = classes.with_example(
            name, feature, 0.75, Source('a bag', '/image', 5, (1, 2), (0, 0, 4, 4), (64, 48))
        )
    return ClassesFile(classes, 'color', PROBE)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'kitchen.yaml'
    write_classes(path, content('floor', 'mug', 'floor'))
    return path


def changed(path, **values) -> None:
    """Change what a file says."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def test_what_is_written_is_read(file):
    before, after = content('floor', 'mug', 'floor'), read_classes(file)
    assert after.classes.classes == before.classes.classes
    for name in ('class_id', 'feature', 'score'):
        assert np.array_equal(getattr(after.classes, name), getattr(before.classes, name))
    assert after.classes.sources == before.classes.sources
    assert np.array_equal(after.probe, PROBE)
    assert after.backend == 'color'


def test_answers_of_a_check_stay(file):
    before = read_classes(file)
    checked = (('floor', Source('a bag', '/image', 6)), ('', Source('a bag', '/image', 7)))
    write_classes(file, replace(before, classes=replace(before.classes, checked=checked)))
    assert read_classes(file).classes.checked == checked
    changed(file, checked=[{'class': 'floor'}])
    with pytest.raises(ValueError, match='point_xy'):
        read_classes(file)


def test_no_example_is_a_file_too(tmp_path):
    write_classes(tmp_path / 'new.yaml', ClassesFile(Classes().with_class('mug'), 'color', PROBE))
    assert read_classes(tmp_path / 'new.yaml').classes.id_of('mug') == 1


def test_names_and_colors_may_be_edited(file):
    text = file.read_text()
    file.write_text(text.replace('mug', 'große Tasse').replace('#e69f00', '#102030'))
    classes = read_classes(file).classes
    assert classes.name(2) == 'große Tasse'
    assert classes.classes[1].color == (16, 32, 48)


def test_writing_again_leaves_one_file_of_vectors(file):
    write_classes(file, content('floor'))
    assert len(list(file.parent.iterdir())) == 2
    assert len(read_classes(file).classes) == 1


def test_a_copy_keeps_its_vectors(file):
    """Made beside it, before somebody goes on teaching."""
    copy = file.with_name('kitchen_before.yaml')
    copy.write_bytes(file.read_bytes())
    write_classes(file, content('floor'))
    assert len(read_classes(copy).classes) == 3
    write_classes(copy, content('mug', 'mug'))
    assert len(list(file.parent.glob('*.npy'))) == 2


def test_who_reads_while_others_write_finds_all(file):
    """A process that writes one file after the other, and one that reads: names and vectors are of one moment."""
    code = (
        'import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);'
        'from test_classes_file import content; from diffcut_ros.classes_file import write_classes\n'
        'while True:\n    for count in range(1, 30):\n'
        '        write_classes(Path(sys.argv[1]), content(*(["floor"] * count)))'
    )
    writer = subprocess.Popen([sys.executable, '-c', code, str(file), os.path.dirname(__file__)])
    try:
        found = set()
        while len(found) < 20:
            assert writer.poll() is None
            classes = read_classes(file).classes
            assert classes.feature[:, 0].tolist() == list(range(1, len(classes) + 1))
            found.add(len(classes))
    finally:
        writer.kill()
        writer.wait()


def test_a_file_without_its_vectors_is_told(file):
    next(file.parent.glob('*.npy')).unlink()
    with pytest.raises(ValueError, match='beside it, found none; copy both'):
        read_classes(file)


WRONG = {
    'newer': ({'format': 2}, 'format: expected 1, received 2; it is of a newer diffcut_ros: update'),
    'none': ({'format': 'x'}, "format: expected 1, received 'x'"),
    'many': ({'classes': [{'id': k, 'name': f'c{k}'} for k in range(1, 301)]}, 'at most 254, received 300'),
    'twice': ({'classes': [{'id': k, 'name': 'mug'} for k in (1, 2)]}, "different names, received 'mug' twice"),
    'ids': ({'classes': [{'id': 1, 'name': 'a'}, {'id': 1, 'name': 'b'}]}, 'ids that differ'),
    'id 0': ({'classes': [{'id': 0, 'name': 'a'}]}, 'ids 1 to 254, received 0'),
    'id 255': ({'classes': [{'id': 255, 'name': 'a'}]}, 'ids 1 to 254, received 255'),
    'lines': ({'classes': [{'id': 1, 'name': 'a\nb'}]}, 'class name: expected'),
    'long': ({'classes': [{'id': 1, 'name': 'x' * 10_000}]}, 'received 10000 characters'),
    'number': ({'classes': [{'id': 1, 'name': 7}]}, 'class name: expected'),
    'color': ({'classes': [{'id': 1, 'name': 'a', 'color': 'red'}]}, "expected '#rrggbb', received 'red'"),
    'stranger': ({'examples': [{'class': 'cat'}]}, "one of the classes, received 'cat'; a new name is written in both"),
    'elsewhere': ({'vectors': '../../etc/passwd'}, 'the name of a file beside it'),
    'fewer': ({'examples': []}, 'expected those of 0 examples, received float32'),
    'kind': ({'classes': 7}, 'expected a file of classes, received something else'),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_is_wrong_is_one_line(file, name):
    values, text = WRONG[name]
    changed(file, **values)
    with pytest.raises(ValueError, match=r'kitchen\.yaml: ') as error:
        read_classes(file)
    assert text in str(error.value)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    'text',
    [
        '',
        'not yaml: [',
        '[1, 2]',
        '\x00',
        'a: &a [x, x]\nb: [*a, *a]',
        '[' * 100_000,
        'format: !!python/object:os.system {}',
    ],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / 'other.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=r'other.yaml: (expected a file of classes|format)') as error:
        read_classes(path)
    assert '\n' not in str(error.value)


def test_damaged_vectors_are_found(file):
    vectors = next(file.parent.glob('*.npy'))
    data = bytearray(vectors.read_bytes())
    data[-3] ^= 1
    vectors.write_bytes(data)
    with pytest.raises(ValueError, match='is damaged'):
        read_classes(file)


def test_links_are_followed(file, tmp_path):
    """As in workspaces that are installed by links."""
    link = tmp_path / 'installed' / 'kitchen.yaml'
    link.parent.mkdir()
    link.symlink_to(file)
    assert len(read_classes(link).classes) == 3
    write_classes(link, content('mug'))
    assert link.is_symlink()
    assert len(read_classes(file).classes) == 1


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe.yaml')
    for name in ('pipe.yaml', '.', 'absent.yaml'):
        with pytest.raises(ValueError, match='expected'):
            read_classes(tmp_path / name)


def test_a_full_disk_leaves_what_was_there(file):
    """In a process of its own, which may write no file of more than 1,000 bytes."""
    code = (
        'import resource, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);'
        'from test_classes_file import content; from diffcut_ros.classes_file import write_classes;'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); import signal;'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN);'
        'write_classes(Path(sys.argv[1]), content(*(["floor"] * 40)))'
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    done = subprocess.run(
        [sys.executable, '-c', code, str(file), os.path.dirname(__file__)], capture_output=True, text=True
    )
    assert 'WritingError' in done.stderr, done.stderr
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before
    assert len(read_classes(file).classes) == 3


def test_a_read_only_file_is_left_as_it_is(file):
    file.chmod(0o400)
    before = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    with pytest.raises(OSError, match=r'kitchen\.yaml cannot be written: it is read-only'):
        write_classes(file, content('floor'))
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == before


def test_writing_again_keeps_the_permissions(file):
    file.chmod(0o660)
    write_classes(file, content('floor'))
    assert file.stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(
    ('options', 'fits'),
    [
        ({}, True),
        ({'cells': 40}, True),
        ({'cells': 8}, False),
        ({'kernel_width': 50.0}, False),
        ({'position_weight': 0.0}, False),
    ],
)
def test_the_backend_must_make_the_same_features(file, options, fits):
    shown = ClassesFile(Classes(), 'color of before', probe(create_extractor('color')))
    extractor = create_extractor('color', **options)
    if fits:
        check_backend(file, shown, extractor.description, probe(extractor))
        return
    with pytest.raises(
        ValueError,
        match=r'kitchen.yaml: expected examples of the backend in use \(color, .*of before\), or of other settings',
    ):
        check_backend(file, shown, extractor.description, probe(extractor))


@pytest.mark.parametrize('name', ['große Tasse', '杯子', '\U0001f95b milk', 'a: "b"', '# no', "'", 'ยก'])
def test_names_of_all_languages_can_be_read_in_the_file(tmp_path, name):
    write_classes(tmp_path / 'names.yaml', content(name))
    assert name.replace("'", "''") in (tmp_path / 'names.yaml').read_text()
    assert read_classes(tmp_path / 'names.yaml').classes.name(1) == name


def test_a_recording_whose_name_is_no_text(tmp_path):
    recording = os.fsdecode(b'bag\xff')
    classes = Classes().with_example('mug', np.ones(8, np.float32), 0.5, Source(recording))
    write_classes(tmp_path / 'names.yaml', ClassesFile(classes, 'color', PROBE))
    assert read_classes(tmp_path / 'names.yaml').classes.sources[0].recording == recording
