"""Recordings whose names and contents are made to harm: each is told in a line, and harms nothing."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest

from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.many import folder_names
from diffcut_ros.analysis.parts import AnalysisFolder
from diffcut_ros.analysis.tables import PROBLEMS, read_rows, write_table
from diffcut_ros.writing import WritingError
from support.recordings import (
    DEPTH,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    info_message,
    moving_scene,
    record,
)
from support.waiting import PATIENCE_S, wait_for

FRAMES = 3


@pytest.fixture
def analyse(tmp_path, capsys):
    """Function that analyses recordings quickly, into tmp_path/out; checks the status, returns stdout and stderr."""
    (tmp_path / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')

    def run(*bags, status: int = 0, more=('--no-report',)) -> str:
        options = ['-o', str(tmp_path / 'out'), '--csv', '--no-video', '--params', str(tmp_path / 'fast.yaml')]
        assert main([*map(str, bags), *options, *more]) == status, ''.join(capsys.readouterr())
        return ''.join(capsys.readouterr())

    return run


def film(path, change) -> None:
    """Write a film whose messages are changed before they are written: change(index, image, camera_info, depth)."""
    with Recorder(path) as recorder:
        for index in range(FRAMES):
            stamp_ns = START_NS + index * STEP_NS
            image = image_message(moving_scene(index), 'rgb8', stamp_ns)
            info = info_message(48, 64, stamp_ns)
            depth = image_message(depth_mm(index), '16UC1', stamp_ns)
            change(index, image, info, depth)
            for topic, message in ((IMAGE, image), (INFO, info), (DEPTH, depth)):
                recorder.write(topic, message, stamp_ns)


def rows(path) -> list[dict[str, str]]:
    csv.field_size_limit(131072)  # as others have it
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_an_encoding_of_a_megabyte(tmp_path, analyse):
    def change(index, image, info, depth):
        if index == 1:
            image.encoding = '\x1b]0;owned\x07' + 'x' * 10**6

    film(tmp_path / 'film', change)
    for more in ((), ('--resume',)):
        told = analyse(tmp_path / 'film', status=3, more=more)
        assert '2 of 3 images segmented' in told
        assert '\x1b' not in told
        assert len(told) < 6000
    (problem,) = rows(tmp_path / 'out/problems.csv')
    assert len(problem['problem']) < 1500
    page = (tmp_path / 'out/report.html').read_text()
    assert '\x1b' not in page
    assert len(json.loads((tmp_path / 'out/run.json').read_text())['causes']) < 1000


def test_frame_ids_of_a_megabyte_are_not_multiplied(tmp_path, analyse):
    def change(index, image, info, depth):
        image.header.frame_id = 'x' * 10**6 if index == 1 else '\x1b[2Jcamera'
        depth.header.frame_id = '\x1b[2J\n' + 'y' * 10**6

    film(tmp_path / 'film', change)
    told = analyse(tmp_path / 'film', status=3)
    assert 'frame_id: expected at most 1000 characters, received 1000000' in told
    assert '\x1b' not in told
    assert told.count('\n') == 2  # what is read, and what was done
    assert sum(path.stat().st_size for path in (tmp_path / 'out').iterdir()) < 10**6


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('k', (1e-40, 60, 31, 23), 'fx 1e-40'),
        ('k', (60, 1e39, 31, 23), 'fy 1e\\+39'),
        ('k', (60, 60, 1e300, 23), 'cx 1e\\+300'),
        ('k', (np.nan, 60, 31, 23), 'fx'),
        ('k', (60, np.inf, 31, 23), 'inf'),
        ('k', (-60, -60, 31, 23), 'fx'),
        ('size', (2**32 - 1, 2**32 - 1), 'expected focal lengths'),
        ('size', (480, 480), 'camera_info of 480 x 480 for an image of 64 x 48: expected the same aspect'),
        ('size', (48 * 10**7, 64 * 10**7), 'expected focal lengths'),
        ('roi', (0, 2**32 - 1, 48, 64), 'cx'),
        ('K', (60, 1e200, 31, 0, 60, 23, 0, 0, 1), 'matrix K of .*, received 1e\\+200, 0, 0, 0, 1'),
        ('K', (60, 0, 31, np.nan, 60, 23, 0, 0, 1), 'matrix K of .*, received 0, nan, 0, 0, 1'),
        ('K', (60, 0, 31, 0, 60, 23, 1e300, 1e300, 1e-300), 'matrix K of .*, received 0, 0, 1e\\+300'),
        ('P', (60, 0, 31, 0, 0, 60, 23, 0, 0, 0, 1e9, 0), 'matrix P of .*, received 0, 0, 0, 0, 1e\\+09'),
        ('binning', (2**32 - 1, 0), 'binning of at most 64 x 64 px, received 4294967295'),
    ],
)
def test_camera_info_that_no_camera_has(tmp_path, analyse, field, value, words):
    def change(index, image, info, depth):
        if field == 'k':
            info.k[[0, 4, 2, 5]] = value
            info.p[:] = 0
        elif field == 'K':
            info.k[:], info.p[:] = value, 0
        elif field == 'P':
            info.k[:], info.p[:] = 0, value
        elif field == 'binning':
            info.binning_x, info.binning_y = value
        elif field == 'size':
            info.height, info.width = value
        else:
            info.roi.y_offset, info.roi.x_offset, info.roi.height, info.roi.width = value

    film(tmp_path / 'film', change)
    told = analyse(tmp_path / 'film', more=('--no-report', '--raw-labels'))
    assert '3 of 3 images segmented' in told
    with pytest.raises(ValueError, match=f'3 x no positions in space: .*{words}'):
        raise ValueError(told)
    segments = rows(tmp_path / 'out/segments.csv')
    assert segments
    assert not any(row['position_z_m'] for row in segments)
    assert rows(tmp_path / 'out/problems.csv') == []


@pytest.mark.parametrize(
    ('model', 'd'), [('plumb_bob', (1e300,) * 5), ('x' * 10**6, (0.1,)), ('plumb_bob', (0.1,) * 10**5)]
)
def test_distortion_that_no_lens_has(tmp_path, analyse, model, d):
    def change(index, image, info, depth):
        info.distortion_model, info.d = model, np.array(d)

    film(tmp_path / 'film', change)
    told = analyse(tmp_path / 'film')
    assert 'positions by K of camera_info without its distortion: ' in told
    assert len(told) < 3000
    assert any(row['position_z_m'] for row in rows(tmp_path / 'out/segments.csv'))


def test_more_bad_images_in_a_row_than_failures_are_allowed(tmp_path, analyse):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(30):
            recorder.write_frame(index, depth=False)
            image = image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS + 1)
            if index < 25:
                image.header.frame_id = 'x' * 2000
            recorder.write(IMAGE, image)
    assert '35 of 60 images segmented' in analyse(tmp_path / 'film', status=3)


def test_recordings_stay_in_their_folders(tmp_path, analyse):
    record(tmp_path / 'one', FRAMES, depth=False)
    bags = []
    names = ['...mcap', '..mcap', 'index.html.mcap', 'frames.csv.mcap', '\x1b[2J.mcap', os.fsdecode(b'caf\xe9.mcap')]
    for name in names:
        bags.append(tmp_path / 'bags' / name)
        bags[-1].parent.mkdir(exist_ok=True)
        shutil.copy(next((tmp_path / 'one').glob('*.mcap')), bags[-1])
    before = {path.name for path in tmp_path.iterdir()}
    told = analyse(*bags, more=())
    assert {path.name for path in tmp_path.iterdir()} - before == {'out'}
    assert told.count('3 of 3 images segmented') == len(bags)
    assert '\x1b' not in told
    assert 'caf\\xe9.mcap' in told
    folders = {path.name for path in (tmp_path / 'out').iterdir() if path.is_dir()}
    assert folders == set(folder_names(bags))
    assert len(rows(tmp_path / 'out/recordings.csv')) == len(bags)
    assert (tmp_path / 'out/index.html').is_file()
    assert analyse(*bags, more=('--resume',)).count('3 of 3 images segmented') == len(bags)


@pytest.mark.parametrize('ending', ['.csv', '.parquet'])
def test_a_name_that_is_not_utf8(tmp_path, capsys, ending):
    record(tmp_path / 'one', FRAMES, depth=False)
    bag = tmp_path / os.fsdecode(b'b\xffg.mcap')
    shutil.copy(next((tmp_path / 'one').glob('*.mcap')), bag)
    out = tmp_path / os.fsdecode(b'o\xfft')
    arguments = [str(bag), '-o', str(out), *(['--csv'] if ending == '.csv' else [])]
    for more in ([], ['--resume']):
        assert main([*arguments, *more]) == 0, capsys.readouterr().err
        assert f'b\\xffg.mcap: {FRAMES} of {FRAMES} images segmented' in capsys.readouterr().out
    assert 'b\\xffg.mcap' in (out / 'report.html').read_text(encoding='utf-8')


def test_texts_in_tables_are_no_formulas(tmp_path):
    path = tmp_path / 'problems.csv'
    texts = ['=HYPERLINK("x")', '+1', '-1', '@x', 'plain']
    write_table(path, PROBLEMS, [(-1, text) for text in texts])
    read = list(read_rows(path, PROBLEMS, ('stamp_ns', 'problem')))
    assert read == [(-1, f"'{text}") for text in texts[:4]] + [(-1, 'plain')]


def test_a_field_longer_than_csv_takes_by_itself(tmp_path):
    path = tmp_path / 'problems.csv'
    path.write_text(f'stamp_ns,problem\n1,{"x" * 10**6}\n')
    assert [len(text) for (text,) in read_rows(path, PROBLEMS, ('problem',))] == [10**6]


def test_a_topic_with_escape_codes(tmp_path, analyse):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(FRAMES):
            image = image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS)
            recorder.write('/a\x1b[2J\nb', image)
            recorder.write('=cmd\x07', image)
    told = analyse(tmp_path / 'film', status=2)
    assert '/a\\x1b[2J b' in told
    assert told.isprintable() or told.rstrip('\n').isprintable()
    analyse(tmp_path / 'film', more=('--image-topic', '/a\x1b[2J\nb', '--with-source'))


@pytest.mark.parametrize('number', [None, signal.SIGINT])
def test_nothing_is_promised_of_a_folder_that_is_gone(tmp_path, start, number):
    """Deleted while the analysis writes into it, also when that is interrupted at once."""
    record(tmp_path / 'film', 400, depth=False)
    (tmp_path / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    process = start(tmp_path / 'film', '-o', tmp_path / 'out', '--params', tmp_path / 'fast.yaml')
    wait_for((tmp_path / 'out/.unfinished/part-000000').exists, process)
    if number is not None:
        process.send_signal(signal.SIGSTOP)
    while (tmp_path / 'out').exists():
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
    if number is not None:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (1, 130), out + err
    line = err.splitlines()[-1]
    assert 'what is done is kept' not in line
    assert number is not None or (str(tmp_path / 'out') in line and 'cannot be written' in line)
    assert 'Traceback' not in err


@pytest.mark.parametrize(
    'act', [AnalysisFolder.next_part, AnalysisFolder.discard, lambda folder: folder.finish({}, (), {})]
)
def test_every_step_says_that_it_cannot_write_into_a_folder_that_is_gone(tmp_path, act):
    folder = AnalysisFolder(tmp_path / 'out', (), '.parquet')
    assert folder.begin({}) is None
    shutil.rmtree(tmp_path / 'out')
    with pytest.raises(WritingError, match=r'out.* cannot be written: No such file'):
        act(folder)
