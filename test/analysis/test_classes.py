"""Segments of recordings are named by example: tables, messages, video, and files of classes that cannot be used."""

import json
import os
import shutil
import signal
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from diffcut_ros.analysis import AnalysisOptions, analyze
from diffcut_ros.analysis.main import main
from diffcut_ros.classes_file import read_classes, write_classes
from diffcut_ros.core import Classes, Segmenter, SegmenterConfig
from diffcut_ros.core.classes import Source
from diffcut_ros.features import create_extractor
from diffcut_ros.media.overlay import class_colors, draw_overlay, track_colors
from diffcut_ros.recordings.bag import open_bag
from diffcut_ros.recordings.message_types import STORE
from support.recordings import START_NS, STEP_NS, moving_scene, record
from support.taught import teach
from support.waiting import PATIENCE_S, wait_for

FRAMES, CELLS = 5, 10
POINTS = {'ground': (32, 24), 'red': (10, 13), 'green': (52, 35), 'rim': (50, 27)}
BLUE = (0, 0, 254)  # in the last images, and not taught
PARAMETERS = f'/**:\n  ros__parameters: {{damping: 0.3, color: {{cells: {CELLS}}}}}\n'


def analyse(*arguments, status: int = 0) -> None:
    """Run the command in this process."""
    assert main([str(argument) for argument in arguments]) == status


def taught(path: Path, **options) -> Path:
    """Write a file of classes of the film's things; return its path.

    One of the examples is a mistake, so that confidences have many values.
    """
    classes = teach(path, [moving_scene(index) for index in range(3)], POINTS, **options)
    mistaken = int(np.flatnonzero(classes.class_id == classes.id_of('red'))[0])
    # Not quite the same: of two that are, either may be the nearest.
    feature = 0.95 * classes.feature[mistaken] + 0.05 * classes.feature[classes.class_id == classes.id_of('rim')][0]
    wrong = classes.with_example('rim', feature, 1.0, Source(stamp_ns=9))
    write_classes(path, _with(read_classes(path), wrong))
    return path


def expected() -> list[tuple]:
    """Return the images of the film, each with what the library makes of it."""
    segmenter = Segmenter(create_extractor('color', 'cpu'), SegmenterConfig())
    images = [moving_scene(index) for index in range(FRAMES)]
    return [(image, segmenter.segment(image, START_NS + k * STEP_NS)) for k, image in enumerate(images)]


def read_bag(path) -> dict[str, list]:
    """Return the messages of each topic."""
    with open_bag(path) as bag:
        found = {topic: [] for topic in bag.topics}
        for message in bag.messages(set(bag.topics)):
            found[message.topic].append(STORE.deserialize_cdr(message.cdr, message.type_name))
    return found


@pytest.fixture(scope='module')
def named(tmp_path_factory):
    """A film, classes, and an analysis with them."""
    folder = tmp_path_factory.mktemp('named')
    taught(folder / 'things.yaml')
    analyse(record(folder / 'film', FRAMES), '-o', folder / 'out', '--csv', '--classes', folder / 'things.yaml')
    return folder


def test_table(named, rows):
    table, classes = iter(rows(named / 'out/segments.csv')), read_classes(named / 'things.yaml').classes
    by_color = {(254, 0, 0): 'red', (0, 254, 0): 'green', (127, 127, 127): 'ground'}
    right = blue = known = 0
    for image, segmentation in expected():
        class_id, confidence = classes.classify(segmentation.segments)
        for segment, key, sure in zip(segmentation.segments, class_id, confidence, strict=True):
            row = next(table)
            assert int(row['label']) == segment.label
            assert row['class'] == classes.name(key)
            assert float(row['confidence']) == pytest.approx(sure, abs=1e-9)
            assert (float(row['confidence']) == 0) == (row['class'] == 'unknown')
            colors, counts = np.unique(image[segmentation.labels == segment.label], axis=0, return_counts=True)
            color = tuple(colors[counts.argmax()].tolist())
            if segment.area_px > 100:
                known += color in by_color
                right += by_color.get(color) == row['class']
            blue += color == BLUE and row['class'] == 'unknown'
    assert next(table, None) is None
    # Names are those of cells, colours those of pixels, of which borders have moved some.
    assert known >= 3 * FRAMES
    assert right >= known - 1
    assert blue >= 2


@pytest.mark.parametrize('raw', [False, True], ids=['png', 'raw'])
def test_messages(named, tmp_path, raw):
    out, end = named / 'out', '/compressed'
    if raw:
        out, end = tmp_path / 'out', ''
        arguments = '--csv', '--no-video', '--no-report', '--raw-labels', '--classes', named / 'things.yaml'
        analyse(named / 'film', '-o', out, *arguments)
    found, classes = read_bag(out / 'segments.mcap'), read_classes(named / 'things.yaml').classes
    for index, (_, segmentation) in enumerate(expected()):
        info = found['/diffcut/class_info'][index]
        pairs = [(one.class_id, one.class_name) for one in info.class_map]
        assert pairs == [(0, 'unknown'), (1, 'ground'), (2, 'red'), (3, 'green'), (4, 'rim')]
        assert info.threshold == 0.0
        class_id, confidence = classes.classify(segmentation.segments)
        values = {'classes': class_id, 'confidence': np.round(255 * confidence)}
        for name, of_segments in values.items():
            message = found[f'/diffcut/{name}{end}'][index]
            assert message.header == info.header
            if raw:
                assert (message.encoding, message.step, message.width, message.height) == ('mono8', 64, 64, 48)
                image = message.data.reshape(48, 64)
            else:
                assert message.format == 'mono8; png compressed '
                image = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED)
            assert np.array_equal(image, np.append(0, of_segments)[segmentation.labels])
    assert len(found['/diffcut/class_info']) == FRAMES


def test_who_joins_late_gets_the_names(named):
    with open_bag(named / 'out/segments.mcap') as bag:
        assert {'class_info', 'label_info'} <= {name.rpartition('/')[2] for name in bag.topics}
    text = (named / 'out/segments.mcap').read_bytes()
    at = text.index(b'/diffcut/class_info')
    assert b'durability: transient_local' in text[at : at + 600]


@pytest.mark.parametrize('by', [None, 'track', 'class'])
def test_colors_of_the_video(named, tmp_path, by):
    out = named / 'out'
    if by is not None:
        out = tmp_path / 'out'
        arguments = '--csv', '--no-report', '--classes', named / 'things.yaml', '--color-by', by
        analyse(named / 'film', '-o', out, *arguments)
    classes = read_classes(named / 'things.yaml').classes
    with av.open(str(out / 'overlay.mp4')) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    for frame, (image, segmentation) in zip(frames, expected(), strict=True):
        segments = segmentation.segments
        of_classes = class_colors(classes, classes.classify(segments)[0])
        off = []
        for colors in (track_colors(segments), of_classes):
            overlay = draw_overlay(image, segmentation.labels, colors)
            inside = cv2.erode(cv2.inRange(cv2.Laplacian(overlay, cv2.CV_32F).max(2), 0, 0), np.ones((5, 5)))
            off.append(np.abs(frame.astype(int) - overlay)[inside > 0].mean())
        assert (off[0] < 4) == (by == 'track')
        assert (off[1] < 4) == (by != 'track')


def test_colors_by_class_need_classes(named, tmp_path, capsys):
    for films in ([named / 'film'], [named / 'film', record(tmp_path / 'other', 1)]):
        analyse(*films, '-o', tmp_path / 'out', '--csv', '--color-by', 'class', status=2)
        assert capsys.readouterr().err == 'diffcut_analyze: --color-by class: expected --classes, too\n'
    assert not (tmp_path / 'out').exists()


def test_a_parameter_file_names_classes(named, tmp_path, rows):
    (tmp_path / 'node.yaml').write_text(
        f'/**:\n  ros__parameters: {{classes_file: {named}/things.yaml, min_confidence: 0.7}}\n'
    )
    quick = '--csv', '--no-video', '--no-report', '--params', tmp_path / 'node.yaml'
    analyse(named / 'film', '-o', tmp_path / 'out', *quick)
    before, sure = rows(named / 'out/segments.csv'), rows(tmp_path / 'out/segments.csv')
    names = [row['class'] if float(row['confidence']) >= 0.7 else 'unknown' for row in before]
    assert [row['class'] for row in sure] == names
    assert names != [row['class'] for row in before]
    assert read_bag(tmp_path / 'out/segments.mcap')['/diffcut/class_info'][0].threshold == np.float32(0.7)
    # The option replaces it.
    one = Classes().with_class('nothing')
    write_classes(tmp_path / 'other.yaml', _with(read_classes(named / 'things.yaml'), one))
    analyse(named / 'film', '-o', tmp_path / 'other', *quick, '--classes', tmp_path / 'other.yaml')
    assert {row['class'] for row in rows(tmp_path / 'other/segments.csv')} == {'unknown'}


def _with(content, classes):
    return type(content)(classes, content.backend, content.probe)


def test_classes_without_examples_are_told(named, tmp_path, capsys):
    write_classes(tmp_path / 'none.yaml', _with(read_classes(named / 'things.yaml'), Classes().with_class('red')))
    quick = '--csv', '--no-video', '--classes', tmp_path / 'none.yaml'
    analyse(named / 'film', '-o', tmp_path / 'out', *quick)
    assert f'{tmp_path}/none.yaml has no examples: all segments are unknown' in capsys.readouterr().out


def test_without_classes_there_are_none(named, tmp_path, rows):
    analyse(named / 'film', '-o', tmp_path / 'out', '--csv', '--no-video')
    table = rows(tmp_path / 'out/segments.csv')
    assert {(row['class'], row['confidence']) for row in table} == {('', '')}
    assert not [topic for topic in read_bag(tmp_path / 'out/segments.mcap') if 'class' in topic or 'conf' in topic]
    assert json.loads((tmp_path / 'out/run.json').read_text())['classes'] is None


def test_in_python(named):
    frames = list(analyze(named / 'film', classes=str(named / 'things.yaml')))
    assert {'ground', 'red', 'green'} <= set(frames[0].named.names)
    assert ((frames[0].named.confidence >= 0) & (frames[0].named.confidence <= 1)).all()
    assert next(analyze(named / 'film', AnalysisOptions())).named is None


# Files that cannot be used.


def _edit(old: str, new: str):
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def _vectors(path: Path) -> Path:
    (vectors,) = path.parent.glob(f'{path.stem}.*.npy')
    return vectors


def _replaced(make):
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def _many(path: Path) -> None:
    more = ''.join(f"- {{id: {key}, name: thing {key}, color: '#000000'}}\n" for key in range(5, 305))
    _edit('examples:\n', f'{more}examples:\n')(path)


BAD = {
    'missing': (Path.unlink, 'No such file'),
    'no text': (lambda path: path.write_bytes(b'\xff\xfe\0'), 'cannot read it'),
    'cut off': (lambda path: path.write_text(path.read_text().partition('classes:')[0]), 'is missing'),
    'something else': (lambda path: path.write_text('[1, 2]'), 'received something else'),
    'newer': (_edit('format: 1', 'format: 2'), 'it is of a newer diffcut_ros: update this one'),
    'no vectors': (lambda path: _vectors(path).unlink(), 'expected the file things.'),
    'damaged vectors': (lambda path: _vectors(path).write_bytes(b'nothing'), 'is damaged'),
    'too many': (_many, 'expected at most 254'),
    'one name twice': (_edit('name: red', 'name: green'), "received 'green' twice"),
    'folder': (_replaced(Path.mkdir), 'Is a directory'),
    'pipe': (_replaced(os.mkfifo), 'received a pipe'),
    'links in a circle': (_replaced(lambda path: path.symlink_to(path)), 'things.yaml'),
}


@pytest.mark.parametrize('bad', BAD)
def test_files_that_cannot_be_used(named, tmp_path, capsys, bad):
    spoil, said = BAD[bad]
    path = taught(tmp_path / 'things.yaml')
    spoil(path)
    other = record(tmp_path / 'other', 1)
    for films in ([named / 'film'], [named / 'film', other]):
        analyse(*films, '-o', tmp_path / 'out', '--csv', '--classes', path, status=2)
        out, err = capsys.readouterr()
        assert (out, err.count('\n')) == ('', 1)
        assert err.startswith(f'diffcut_analyze: {path}: ')
        assert said in err
        assert not (tmp_path / 'out').exists()


def test_another_backend(named, tmp_path, capsys):
    """Told before anything is done, with both; what an earlier analysis left stays."""
    (tmp_path / 'other.yaml').write_text(f'/**:\n  ros__parameters: {{color: {{cells: {CELLS}}}}}\n')
    arguments = '--csv', '--params', tmp_path / 'other.yaml', '--classes', named / 'things.yaml'
    analyse(named / 'film', '-o', tmp_path / 'out', *arguments, status=2)
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    for text in (f'{named}/things.yaml: ', '10 cells along', '32 cells along', 'teach the names again'):
        assert text in error
    assert not (tmp_path / 'out').exists()
    shutil.copytree(named / 'out', tmp_path / 'out')
    before = {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()}
    analyse(named / 'film', '-o', tmp_path / 'out', *arguments, '--overwrite', status=2)
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == before


# To go on.


def test_a_complete_analysis_is_that_of_its_classes(named, tmp_path, capsys):
    shutil.copytree(named / 'out', tmp_path / 'out')
    copied = tmp_path / 'copied.yaml'
    write_classes(copied, read_classes(named / 'things.yaml'))
    resume = named / 'film', '-o', tmp_path / 'out', '--csv', '--resume'
    analyse(*resume, '--classes', copied)  # of the same content
    content = read_classes(copied).classes
    for changed in (content.without_example(0), content.with_class('more')):
        write_classes(copied, _with(read_classes(copied), changed))
        capsys.readouterr()
        analyse(*resume, '--classes', copied, status=2)
        assert 'holds a complete analysis with another classes.' in capsys.readouterr().err
    capsys.readouterr()
    analyse(*resume, status=2)
    assert 'holds a complete analysis with another classes; ' in capsys.readouterr().err
    analyse(*resume, '--classes', named / 'things.yaml', '--sweep', 'tau=0.3:0.5:0.1')
    assert (tmp_path / 'out/sweep.csv').exists()


def test_one_that_was_killed_goes_on_with_its_classes(start, run, tmp_path, rows):
    film, classes = record(tmp_path / 'film', 70, depth=False), taught(tmp_path / 'things.yaml', cells=CELLS)
    (tmp_path / 'node.yaml').write_text(PARAMETERS)
    options = '--csv', '--no-video', '--params', tmp_path / 'node.yaml', '--classes', classes
    run(film, '-o', tmp_path / 'whole', *options)
    with start(film, '-o', tmp_path / 'out', *options) as process:
        wait_for((tmp_path / 'out/.unfinished/part-000000').exists, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
    kept = classes.read_text()
    _edit('name: red', 'name: rot')(classes)
    _edit('class: red', 'class: rot')(classes)
    _, error = run(film, '-o', tmp_path / 'out', *options, '--resume', status=2)
    assert 'expected the same analysis as before to resume it, received another classes.' in error
    classes.write_text(kept)
    run(film, '-o', tmp_path / 'out', *options, '--resume')
    assert rows(tmp_path / 'out/segments.csv') == rows(tmp_path / 'whole/segments.csv')


@pytest.mark.parametrize('engine', ['processes', 'ray'])
def test_several_recordings(named, run, tmp_path, rows, monkeypatch, engine):
    """Whatever folder those who work are in; names are in the table of all."""
    record(tmp_path / 'film', FRAMES)
    record(tmp_path / 'other', 1)
    (tmp_path / 'things.yaml').symlink_to(named / 'things.yaml')
    monkeypatch.chdir(tmp_path)
    options = '--csv', '--no-video', '--no-report', '--classes', 'things.yaml', '--jobs', 2, '--engine', engine
    run('film', 'other', '-o', 'out', *options)
    found = [row for row in rows(tmp_path / 'out/segments.csv') if row['recording'] == 'film']
    assert found == [{'recording': 'film'} | row for row in rows(named / 'out/segments.csv')]
