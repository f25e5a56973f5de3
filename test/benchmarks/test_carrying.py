"""`diffcut_benchmark tracking --network-hz`: what is shown between the images that are computed."""

import re
import subprocess
import sys

import numpy as np
import pytest
from skimage import data

from diffcut_ros.benchmarks import carrying
from diffcut_ros.benchmarks.carrying import Shown
from diffcut_ros.core import Pipeline, Scene
from diffcut_ros.features import create_extractor

COMMAND = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'tracking']
STILL = np.ascontiguousarray(data.coffee()[:120, :160])


def test_likeness():
    halves, quarters = np.repeat([[1, 2]], 4, 0), np.array([[1, 2], [1, 2], [3, 2], [3, 2]])
    assert carrying.likeness([halves], [halves]) == (1, 1)
    # Half of the pixels have a segment of their own size, of the others each covers one half.
    assert carrying.likeness([halves], [quarters]) == (0.75, 0.75)


def test_steps_in_space():
    def shown(places):
        return Shown(np.ones((1, 1)), np.ones(1), {key: np.array(place) for key, place in places.items()}, 0.0, 0.0)

    moved = np.eye(4)
    moved[0, 3] = 1.0
    # The camera goes 1 m to the right: 1 stays where it is in the world, 2 comes along, 3 is seen once.
    frames = [shown({1: (1.0, 0, 2), 2: (0.0, 0, 2)}), shown({1: (0.0, 0, 2), 2: (0.0, 0, 2), 3: (5.0, 5, 5)})]
    assert sorted(carrying.steps_m(frames, [np.eye(4), moved])) == [0, 1]


@pytest.mark.parametrize(('latency_s', 'first', 'ages'), [(0.0, 1, [1, 2, 3]), (0.2, 2, [2, 3, 4]), (0.6, 6, [6, 7])])
def test_results_are_there_after_their_time(latency_s, first, ages):
    scenes = [Scene(STILL, i * 10**8) for i in range(16)]
    pipeline = Pipeline(create_extractor('color', cells=8))
    shown = list(carrying.carried(pipeline, scenes, network_hz=1 / 0.3, latency_s=latency_s))
    age = np.array([one.age_s for one in shown]) * 10
    assert np.isnan(age[:first]).all()
    assert age[first : first + len(ages)] == pytest.approx(ages)
    assert not shown[0].labels.any()
    assert (shown[first].ids > 0).all()


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300)


def test_the_virtual_camera():
    done = run('--network-hz', '5', '--latency', '0.1', '--limit', '8')
    assert done.returncode == 0, done.stderr
    assert 'network 5 Hz, its results there after 0.1 s (simulated)' in done.stdout
    rows = {
        name: re.findall(rf'│ {name} +│.*│ +(\d\.\d+) +│ +(\d\.\d+) +│', done.stdout)
        for name in ('carried', 'not moved')
    }
    assert [len(found) for found in rows.values()] == [4, 4]
    carried, still = (np.array(found, float).mean(0) for found in rows.values())
    assert (carried > still).all()
    assert carried[1] > 0.8


def test_too_few_frames():
    done = run('--network-hz', '5', '--latency', '1', '--limit', '8')
    assert (done.returncode, 'Traceback' in done.stderr) == (2, False)
    assert 'expected at least 2 frames after the first result, received 0' in done.stderr
    assert '--network-hz: expected' in run('--network-hz', '0').stderr
