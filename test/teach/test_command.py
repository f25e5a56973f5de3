"""`diffcut_teach` without a browser: how it ends, whose frames it knows again, how names are used."""

import os
import shlex
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffcut_ros.classes_file import read_classes
from diffcut_ros.media.virtual_camera import load_photograph
from support.recordings import COMPRESSED, IMAGE, START_NS, STEP_NS, Recorder, compressed_message, image_message
from support.teaching import do, state, teaching
from support.waiting import PATIENCE_S, wait_for

TABLE = {'frame': 0, 'x': 9, 'y': 100, 'run': None, 'name': 'table'}


def view(index: int) -> np.ndarray:
    return np.roll(cv2.resize(load_photograph('coffee'), (160, 120)), 7 * index, axis=1)


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('films') / 'film'
    with Recorder(path) as recorder:
        for index in range(40):
            recorder.write(IMAGE, image_message(view(index), 'rgb8', START_NS + index * STEP_NS))
    return path


def ended(process, number=signal.SIGINT) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_a_file_that_somebody_has_removed_is_written_anew_at_the_end(film, tmp_path):
    with teaching(tmp_path, film, '--frames', 1) as (process, address):
        do(address, 'teach', **TABLE)
        path = tmp_path / 'film_classes.yaml'
        path.unlink()
        assert state(address)['problem'].startswith('the file has gone')
        status, out, _ = ended(process)
    assert (status, out) == (0, f'diffcut_teach: 1 example of 1 name, in {path}\n')
    assert len(read_classes(path).classes) == 1


def test_what_could_not_be_saved_is_told_at_the_end(film, tmp_path):
    with teaching(tmp_path, film, '--frames', 1) as (process, address):
        do(address, 'teach', **TABLE)
        path = tmp_path / 'film_classes.yaml'
        path.write_text('{{{')
        do(address, 'teach', **{**TABLE, 'name': 'desk'})
        status, _, err = ended(process)
    assert status == 1
    assert 'left as it is' in err
    assert err.endswith('what was taught since is lost\n')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_while_more_frames_are_made(tmp_path, number):
    large = tmp_path / 'large'  # each takes a while
    with Recorder(large) as recorder:
        for index in range(12):
            values = cv2.resize(view(index), (1920, 1080))
            recorder.write(IMAGE, image_message(values, 'rgb8', START_NS + index * STEP_NS))
    with teaching(tmp_path, large, '--frames', 1) as (process, address):
        do(address, 'more', count=10)
        wait_for(lambda: state(address)['frames'] > 1)
        assert state(address)['busy']
        status, out, err = ended(process, number)
    assert (status, err) == (0, '')
    assert out.startswith('diffcut_teach: 0 examples')


def test_more_frames_are_counted_from_the_first_image(film, tmp_path):
    with teaching(tmp_path, film, '--frames', 2) as (_, address):
        do(address, 'more', count=10)
        wait_for(lambda: not state(address)['busy'])
        assert state(address)['frames'] == 12


def test_a_recording_is_known_again_from_another_folder(film, tmp_path):
    names = tmp_path / 'names.yaml'
    inside = next(film.glob('*.mcap'))
    for folder, path in ((film.parent, film.name), (tmp_path, film), (tmp_path, os.path.relpath(inside, tmp_path))):
        with teaching(folder, path, '--classes', names, '--frames', 2) as (_, address):
            do(address, 'teach', **TABLE)
            (example,) = state(address)['examples']
            assert example['frame'] == 0


def test_a_recording_that_was_moved_is_known_again(film, tmp_path):
    moved = tmp_path / 'elsewhere' / film.name
    moved.parent.mkdir()
    moved.symlink_to(film)  # the same path for people, another one in the file
    names = tmp_path / 'names.yaml'
    with teaching(tmp_path, film, '--classes', names, '--frames', 2) as (_, address):
        do(address, 'teach', **TABLE)
    names.write_text(names.read_text().replace(str(film), '/gone/film'))
    assert '/gone/film' in names.read_text()
    with teaching(tmp_path, moved, '--classes', names, '--frames', 2) as (_, address):
        (example,) = state(address)['examples']
        assert example['frame'] == 0


def texts(address) -> list[list[str]]:
    return [shlex.split(line) for one in state(address)['commands'] for line in one['text'].splitlines()]


def test_the_command_listens_to_the_images_of_the_recording(film, tmp_path):
    with teaching(tmp_path, film, '--frames', 1, '--tau', 0.4) as (_, address):
        start, file, confidence = texts(address)
        path = f'{tmp_path}/film_classes.yaml'
        assert start[:4] == ['ros2', 'run', 'diffcut_ros', 'diffcut_node']
        assert f'image:={IMAGE}' in start
        assert {'tau:=0.4', f'classes_file:={path}', 'min_confidence:={min_confidence}'} < {*start}
        assert file == ['ros2', 'param', 'set', '/diffcut', 'classes_file', path]
        assert confidence == ['ros2', 'param', 'set', '/diffcut', 'min_confidence', '{min_confidence}']


def test_the_command_starts_the_node_whose_parameters_hold(tmp_path):
    film = tmp_path / 'film'
    with Recorder(film) as recorder:
        recorder.write(COMPRESSED, compressed_message(view(0), START_NS))
    parameters = tmp_path / 'p.yaml'
    parameters.write_text('/front/seg:\n  ros__parameters: {tau: 0.45, min_confidence: 0.6}\n')
    with teaching(tmp_path, film, '--params', parameters, '--node-name', '/front/seg') as (_, address):
        start, file, _ = texts(address)
        assert {'__ns:=/front', '__node:=seg', f'image:={IMAGE}', 'image_transport:=compressed'} < {*start}
        assert start[start.index('--params-file') + 1] == str(parameters)
        assert file[3] == '/front/seg' == state(address)['node']
        assert state(address)['min_confidence'] == 0.6


def test_addresses_of_this_machine_alone_cost_no_warning(film, tmp_path):
    with teaching(tmp_path, film, '--frames', 1, '--address', '127.0.0.2') as (process, address):
        assert address.startswith('http://127.0.0.2:')
        status, _, err = ended(process)
    assert (status, err) == (0, '')
