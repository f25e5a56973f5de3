"""What launch files make of their arguments; with launch itself: test/node/test_launch.py."""

import pytest

from diffcut_ros.launch_arguments import (
    existing,
    log_level,
    needs_package,
    parameters_for,
    positive,
    topics_by_camera,
    truth,
)

NONE = {'image': '', 'depth': '', 'camera_info': ''}


@pytest.mark.parametrize(('value', 'texts'), [(True, 'true True YES on 1'), (False, 'false False No OFF 0')])
def test_truth(value, texts):
    assert {truth('loop', text) for text in texts.split()} == {value}


@pytest.mark.parametrize('text', ['', 'ture', '2', 'none'])
def test_no_truth(text):
    with pytest.raises(ValueError, match=f"loop: expected true or false, received '{text}'"):
        truth('loop', text)


@pytest.mark.parametrize('text', ['', '0', '-1', 'nan', 'inf', '1,5'])
def test_no_rate(text):
    assert positive('rate', '0.5') == 0.5
    with pytest.raises(ValueError, match=f"rate: expected a number above 0, received '{text}'"):
        positive('rate', text)


def test_levels_of_the_log():
    for text in ('debug', 'WARN', 'diffcut:=fatal'):
        assert log_level(text) == text
    for text in ('verbose', 'diffcut:=', '10', 'warning'):
        with pytest.raises(ValueError, match=f"log_level: expected one of debug, info, .*; received '{text}'"):
            log_level(text)


def test_a_path_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'run1').mkdir()
    assert existing('bag', '~/run1') == str(tmp_path / 'run1')
    for text in ('~/run2', ''):
        with pytest.raises(ValueError, match=f"received '{text}', which is not there"):
            existing('bag', text)


def test_a_package_that_is_missing():
    with pytest.raises(
        ValueError, match=r'no_such: .* apt install ros-\$ROS_DISTRO-no-such-package, or no_such:=false'
    ):
        needs_package('no_such', 'no_such_package', 'no_such:=false')


@pytest.mark.parametrize(
    ('given', 'of_file', 'expected'),
    [
        ({'image': '/x'}, None, {'image': {'': '/x'}}),
        ({'image': '/x', 'depth': '/y'}, [''], {'image': {'': '/x'}, 'depth': {'': '/y'}}),
        (
            {'image': 'a=/x, b=/y', 'camera_info': 'b=/z'},
            None,
            {'image': {'a': '/x', 'b': '/y'}, 'camera_info': {'b': '/z'}},
        ),
        ({'image': 'a=/x'}, ['b', 'c'], {'image': {'a': '/x'}}),
        ({'depth': 'b=/x,a=/y'}, ['a', 'b'], {'depth': {'a': '/y', 'b': '/x'}}),
        ({}, ['a', 'b'], {}),
        ({'image': 'robot/front=~/x,rear=y/_z2'}, None, {'image': {'robot/front': '~/x', 'rear': 'y/_z2'}}),
    ],
)
def test_topics(given, of_file, expected):
    assert topics_by_camera(NONE | given, of_file) == {name: {} for name in NONE} | expected


@pytest.mark.parametrize(
    ('given', 'of_file', 'problem'),
    [
        (
            {'image': '/x'},
            ['a', 'b'],
            'image: expected NAME=TOPIC for each of the cameras of the parameter file, a, b; rec',
        ),
        (
            {'camera_info': '/x'},
            ['a'],
            'camera_info: expected NAME=TOPIC for each of the cameras of the parameter file, a',
        ),
        (
            {'depth': 'a=/x'},
            ['a', 'b'],
            'depth: expected NAME=TOPIC for each of the cameras of the parameter file, a, b',
        ),
        (
            {'image': 'a=/x,b=/y', 'depth': 'a=/z'},
            None,
            "the cameras of image, a, b; received 'a=/z'. A camera without depth needs a node of its own",
        ),
        ({'depth': 'a=/x'}, None, "depth: expected one TOPIC; received 'a=/x'"),
        ({'image': 'a=/x,a=/y'}, None, 'with different names'),
        ({}, 'front', "cameras, in the parameter file: expected a list of strings, received 'front'"),
        ({'image': '/x'}, [1, 2], r'cameras, in the parameter file: expected a list of strings, received \[1, 2\]'),
        ({}, [], r'cameras, in the parameter file: expected a list of strings, received \[\]'),
        ({'image': '/a b'}, None, "image: expected a topic of letters, digits, _ and /, .*; received '/a b'"),
        ({'image': '/1a/b'}, None, "image: expected a topic of letters, .* beginning with a digit; received '/1a/b'"),
        ({'image': '/a/'}, None, "image: expected a topic of letters, .*; received '/a/'"),
        ({'image': '1a=/x'}, None, "image: expected a name of a camera of letters, .*; received '1a'"),
        ({'image': '/a=/x'}, None, "image: expected a name of a camera of letters, .*; received '/a'"),
        ({'image': 'a=/x', 'depth': 'a=/y//z'}, None, "depth: expected a topic of letters, .*; received '/y//z'"),
        ({'image': 'a=/x=y'}, None, 'image: expected TOPIC, or NAME=TOPIC'),
        ({'image': '=/x'}, None, 'image: expected TOPIC, or NAME=TOPIC'),
        ({'image': 'a=/x,'}, None, 'image: expected TOPIC, or NAME=TOPIC'),
    ],
)
def test_topics_that_fit_no_camera(given, of_file, problem):
    with pytest.raises(ValueError, match=problem):
        topics_by_camera(NONE | given, of_file)


def test_what_a_file_says_for_a_node(tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text(
        '/**: {ros__parameters: {depth: true, cameras: [a]}}\n'
        '/robot1/diffcut: {ros__parameters: {cameras: [b]}}\n'
        '/robot2/diffcut: {ros__parameters: {cameras: [c]}}\n'
    )
    assert parameters_for('/robot1/diffcut', path) == {'depth': True, 'cameras': ['b']}
    assert parameters_for('/diffcut', path) == {'depth': True, 'cameras': ['a']}
