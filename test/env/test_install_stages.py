"""When a stage of the set-up counts as done, and which choices hold: what recovery after an interruption rests on."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """env/install.py, working on a folder of the test's."""
    monkeypatch.syspath_prepend(ROOT / 'env')
    module = importlib.import_module('install')
    monkeypatch.setattr(module, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(module, 'STATE', tmp_path / '.venv/setup')
    for name in ('ROS_DISTRO', 'TORCH_PIP_ARGS'):
        monkeypatch.delenv(name, raising=False)
    yield module
    for name in ('install', 'message_packages', 'preflight', 'progress'):
        sys.modules.pop(name, None)


def test_a_stage_is_done_only_with_the_inputs_it_was_finished_with(install):
    with install.stage('packages', 'key'):
        assert not install.is_done('packages', 'key')
    assert install.is_done('packages', 'key')
    assert not install.is_done('packages', 'another key')
    assert not install.is_done('messages', 'key')


def test_a_stage_that_starts_again_and_breaks_off_is_not_done(install):
    with install.stage('packages', 'key'):
        pass
    with pytest.raises(ZeroDivisionError), install.stage('packages', 'key'):
        raise ZeroDivisionError
    assert not install.is_done('packages', 'key')


def test_the_first_stage_undoes_the_later_ones_and_these_undo_only_themselves(install):
    for name in ('packages', 'messages', 'diffcut_ros'):
        with install.stage(name, 'key'):
            pass
    with install.stage('messages', 'key'):
        assert install.is_done('packages', 'key')
        assert install.is_done('diffcut_ros', 'key')
    with install.stage('packages', 'key'):
        assert not install.is_done('messages', 'key')
        assert not install.is_done('diffcut_ros', 'key')


def test_choices_now_beat_those_held_which_beat_the_defaults(install, monkeypatch):
    assert install.choose() == {'ros_distro': 'jazzy', 'torch_pip_args': ''}
    install.STATE.mkdir(parents=True)
    (install.STATE / 'choices.json').write_text(
        json.dumps({'ros_distro': 'kilted', 'torch_pip_args': '--find-links x'})
    )
    assert install.choose() == {'ros_distro': 'kilted', 'torch_pip_args': '--find-links x'}
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    assert install.choose() == {'ros_distro': 'jazzy', 'torch_pip_args': '--find-links x'}


def test_another_distribution_makes_everything_anew_and_another_field_only_the_messages(install, monkeypatch, tmp_path):
    jazzy = install.stage_keys({'ros_distro': 'jazzy', 'torch_pip_args': ''})
    kilted = install.stage_keys({'ros_distro': 'kilted', 'torch_pip_args': ''})
    assert all(jazzy[stage] != kilted[stage] for stage in ('packages', 'messages', 'diffcut_ros'))

    env = tmp_path / 'env'
    env.mkdir()
    for path in (ROOT / 'env').iterdir():
        if path.is_file():
            (env / path.name).write_bytes(path.read_bytes())
    with (env / 'vision_msgs.txt').open('a') as file:
        file.write('New: bool field\n')
    monkeypatch.setattr(install, 'ENV', env)
    changed = install.stage_keys({'ros_distro': 'jazzy', 'torch_pip_args': ''})
    assert {stage for stage in jazzy if changed[stage] != jazzy[stage]} == {'messages'}
