import os
import re
import signal
import subprocess
import sys
import time

import av
import cv2
import numpy as np
import pytest

from support.domain import free_domain
from support.waiting import PATIENCE_S

COMMAND = [sys.executable, '-m', 'diffcut_ros.node.demo.main']


def environment() -> dict[str, str]:
    return {**os.environ, 'ROS_DOMAIN_ID': str(free_domain()), 'COLUMNS': '100'}


def test_the_demo_shows_two_taus_and_leaves_pictures(tmp_path):
    command = [*COMMAND, '--seconds', '8', '--output', str(tmp_path / 'out')]
    start_s = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    took_s = time.monotonic() - start_s
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'First labels after [\d.]+ s', done.stdout)
    rows = re.findall(r'^ +(\d+) s +([\d.]+) Hz +([\d.]+) Hz +\S+(?: ms)? +(\S+) +([\d.]+)$', done.stdout, re.MULTILINE)
    # One a second, where writing pictures does not take longer.
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)
    assert {tau for *_, tau in rows} == {'0.4', '0.8'}
    before, after = map(int, re.search(r'One image, cut twice: (\d+) .* (\d+) at tau 0.8', done.stdout).groups())
    assert 1 <= before < after
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert {'segments.mp4', 'tau_change.png', 'node.log'} <= names
    assert any(re.fullmatch(r'segments_\d\ds\.png', name) for name in names)
    assert cv2.imread(str(tmp_path / 'out' / 'tau_change.png')).shape == (480 + 32, 3 * 640, 3)
    with av.open(str(tmp_path / 'out' / 'segments.mp4')) as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].codec_context.name == 'h264'
    # At the camera's speed, up to the last image that was segmented.
    assert 4 <= frames[-1].time <= took_s
    assert (frames[0].height, frames[0].width) == (480 + 32, 2 * 640)


def test_with_depth_it_shows_segments_in_space(tmp_path):
    command = [*COMMAND, '--depth', '--seconds', '10', '--output', str(tmp_path / 'out')]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'One image, cut twice: \d+ segments at tau 0.5, \d+ at tau 0.7', done.stdout)
    scenes = sorted((tmp_path / 'out').glob('segments_3d_*s.png'))
    assert scenes
    picture = cv2.imread(str(scenes[0]))
    assert picture.shape[0] >= 720
    # Boxes have bright colours, the photograph behind them has not.
    assert (np.ptp(picture.astype(int), axis=2) > 150).mean() > 0.005
    assert 'ERROR' not in (tmp_path / 'out' / 'node.log').read_text()


def children(pid: int) -> list[int]:
    return [
        int(line)
        for line in subprocess.run(['ps', '-o', 'pid=', '--ppid', str(pid)], capture_output=True).stdout.split()
    ]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_its_processes_end_with_it(tmp_path, number):
    command, pipe = [*COMMAND, '--output', str(tmp_path)], subprocess.PIPE
    demo = subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True)
    try:
        while 'First labels' not in (line := demo.stdout.readline()):
            assert line, 'the demo ended early'
        started = children(demo.pid)
        assert len(started) == 2
        demo.send_signal(number)
        output, errors = demo.communicate(timeout=PATIENCE_S)
        assert (demo.returncode, output.splitlines()[-1], errors) == (1, 'interrupted', '')
        assert not any(os.path.exists(f'/proc/{pid}') for pid in started)
    finally:
        demo.kill()


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / 'file').touch()
    command = [*COMMAND, '--output', str(tmp_path / 'file' / 'out')]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert 'error:' in done.stdout
    assert 'Traceback' not in done.stderr
