"""Analyses that are killed and resumed, that need the same memory for ten times the frames."""

import filecmp
import json
import pickle
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from diffcut_ros.analysis.main import main
from diffcut_ros.recordings.bag import open_bag
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message, moving_scene, record
from support.waiting import PATIENCE_S, wait_for

# Few cells, to be quick; with damping, segments depend on the frame before.
PARAMETERS = '/**:\n  ros__parameters: {damping: 0.3, color: {cells: 10}}\n'


def messages(path) -> list:
    with open_bag(path) as bag:
        return list(bag.messages(set(bag.topics)))


def without_latency(rows) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != 'latency_ms'} for row in rows]


def report_without_latency(path) -> str:
    """Return a report without what differs from run to run."""
    latency = r'<div class="latency">.*?</div>|\{[^{}]*"name": "Latency"[^{}]*\}'
    text, count = re.subn(latency, '', path.read_text(), flags=re.DOTALL)
    assert count == 2
    return text


@pytest.fixture(scope='module')
def film(run, tmp_path_factory):
    """A film of 75 frames, parameters, and an analysis in one go."""
    folder = tmp_path_factory.mktemp('film')
    record(folder / 'film', 75)
    (folder / 'parameters.yaml').write_text(PARAMETERS)
    run(*arguments(folder, 'whole'))
    return folder


def arguments(folder, out, *more) -> tuple:
    return folder / 'film', '-o', folder / out, '--csv', '--with-source', '--params', folder / 'parameters.yaml', *more


def resume(folder, out) -> None:
    """Go on with an analysis, in this process."""
    assert main([str(argument) for argument in arguments(folder, out, '--resume')]) == 0


# Killed within the first part, and in a later one.
@pytest.mark.parametrize('after', ['.unfinished/part-000000.writing', '.unfinished/part-000001'])
def test_killed_and_resumed_is_as_if_never_killed(film, start, rows, after):
    out = film / f'killed_{after[-8:].strip("./")}'
    process = start(*arguments(film, out.name))
    wait_for((out / after).exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / 'segments.mcap').exists()
    assert not (out / 'frames.csv').exists()
    resume(film, out.name)
    assert {path.name for path in out.iterdir()} == {path.name for path in (film / 'whole').iterdir()}
    for name in ('segments.csv', 'problems.csv', 'overlay.mp4'):
        assert filecmp.cmp(out / name, film / 'whole' / name, shallow=False)
    frames = [rows(folder / 'frames.csv') for folder in (out, film / 'whole')]
    assert without_latency(frames[0]) == without_latency(frames[1])
    assert len(frames[0]) == 75
    assert messages(out / 'segments.mcap') == messages(film / 'whole/segments.mcap')
    reports = [report_without_latency(folder / 'report.html') for folder in (out, film / 'whole')]
    assert reports[0] == reports[1]
    assert reports[0].count('class="tile"') == 12


def test_what_is_known_of_the_camera_is_resumed(start, rows, tmp_path):
    """Over which values a thermal image is shown depends on those before it."""
    film, parameters = tmp_path / 'film', tmp_path / 'parameters.yaml'
    with Recorder(film) as recorder:
        for index in range(75):
            values = (
                51000 + 5 * moving_scene(index)[:, :, 0].astype(np.uint16) + (1500 * (index > 20)) * (index % 5 > 0)
            )
            recorder.write(IMAGE, image_message(values.astype(np.uint16), 'mono16', START_NS + index * STEP_NS))
    parameters.write_text(PARAMETERS)
    outs = tmp_path / 'whole', tmp_path / 'killed'
    command = [[film, '-o', out, '--csv', '--no-video', '--no-report', '--params', parameters] for out in outs]
    assert main([str(argument) for argument in command[0]]) == 0
    process = start(*command[1])
    wait_for((outs[1] / '.unfinished/part-000000').exists, process)
    process.kill()
    process.communicate()
    assert not (outs[1] / 'run.json').exists()
    assert main([str(argument) for argument in [*command[1], '--resume']]) == 0
    assert filecmp.cmp(outs[0] / 'segments.csv', outs[1] / 'segments.csv', shallow=False)
    assert len(rows(outs[1] / 'frames.csv')) == 75
    warnings = [json.loads((out / 'run.json').read_text())['warning'] for out in outs]
    assert warnings[0] == warnings[1]
    assert 'mono16 image of values 51000 to 52270: shown over' in warnings[0]


class Intruder:
    """A pickle of it ends the program with status 99."""

    def __reduce__(self):
        return exec, ('import os; os._exit(99)',)


def test_a_folder_from_somebody_else_runs_nothing(film, start, capsys):
    process = start(*arguments(film, 'foreign'))
    wait_for((film / 'foreign/.unfinished/part-000000').exists, process)
    process.kill()
    process.communicate()
    part = film / 'foreign/.unfinished/part-000000'
    kept = [part / 'state.npz', *part.glob('shown-*')]
    assert len(kept) > 1
    assert not list(film.rglob('*.pickle'))
    for path in kept:
        path.write_bytes(pickle.dumps(Intruder()))
    resuming = [str(argument) for argument in arguments(film, 'foreign', '--resume')]
    assert main(resuming) == 2
    assert 'holds an unfinished analysis that cannot be read (expected packed values' in capsys.readouterr().err
    # Of an earlier version.
    manifest = film / 'foreign/.unfinished/manifest.json'
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'format': 1}))
    assert main(resuming) == 2
    assert 'received another format; take --overwrite' in capsys.readouterr().err


def test_interrupted_from_the_keyboard(film, start):
    process = start(*arguments(film, 'interrupted'))
    wait_for((film / 'interrupted/.unfinished/part-000000').exists, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == 'diffcut_analyze: interrupted; what is done is kept: go on with --resume'
    resume(film, 'interrupted')
    assert messages(film / 'interrupted/segments.mcap') == messages(film / 'whole/segments.mcap')


def test_two_at_a_time_in_one_folder(film, start, capsys):
    out = film / 'both'
    process = start(*arguments(film, 'both'))
    try:
        wait_for((out / '.unfinished/part-000000').exists, process)
        process.send_signal(signal.SIGSTOP)  # it shall not be done before the other one begins
        assert main([str(argument) for argument in arguments(film, 'both', '--resume')]) == 2
        assert f'received one that process {process.pid} does; wait for it' in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()
    # Killed, it holds the folder no longer.
    resume(film, 'both')
    assert messages(out / 'segments.mcap') == messages(film / 'whole/segments.mcap')


def test_failed_while_outputs_appear(film, capsys):
    """One output cannot be put in its place, when another one already is."""
    out = film / 'failed'
    (out / 'frames.csv').mkdir(parents=True)
    assert main([str(argument) for argument in arguments(film, out.name, '--resume')]) == 1
    assert 'frames.csv' in capsys.readouterr().err
    assert (out / 'segments.mcap').exists()
    (out / 'frames.csv').rmdir()
    resume(film, out.name)
    assert not (out / '.unfinished').exists()
    assert messages(out / 'segments.mcap') == messages(film / 'whole/segments.mcap')
    assert filecmp.cmp(out / 'segments.csv', film / 'whole/segments.csv', shallow=False)


@pytest.mark.parametrize('limit', [200_000, 1_000_000])
def test_no_room_for_outputs(film, limit):
    """Files cannot grow beyond a limit, as on a full disk: of parts, or of the bag at the end."""
    out = film / f'limit_{limit}'
    program = (
        f'import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); '
        'from diffcut_ros.analysis.main import main; sys.exit(main())'
    )
    command = [sys.executable, '-c', program, *map(str, arguments(film, out.name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    assert re.search(rf'^diffcut_analyze: {re.escape(str(out))}/\S+ cannot be written: File too large; ', line)
    assert line.endswith('what is done is kept: go on with --resume')
    assert [path.name for path in out.iterdir()] == ['.unfinished']
    resume(film, out.name)
    assert messages(out / 'segments.mcap') == messages(film / 'whole/segments.mcap')


def test_resuming_what_is_complete_changes_nothing(film):
    before = {path: path.stat().st_mtime_ns for path in (film / 'whole').iterdir()}
    resume(film, 'whole')
    assert {path: path.stat().st_mtime_ns for path in (film / 'whole').iterdir()} == before


def test_another_analysis_is_not_resumed(film, start, capsys):
    process = start(*arguments(film, 'other'))
    wait_for((film / 'other/.unfinished/part-000000').exists, process)
    process.kill()
    process.communicate()
    assert main([str(argument) for argument in arguments(film, 'other')]) == 2
    assert 'other: holds an analysis that was interrupted; take --resume or --overwrite' in capsys.readouterr().err
    assert main([str(argument) for argument in arguments(film, 'other', '--resume', '--tau', '0.6')]) == 2
    assert 'received another options.tau, settings.segmenter.tau; take --overwrite' in capsys.readouterr().err


def test_a_folder_with_files_is_refused(film, tmp_path, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'notes.txt').write_text('mine')
    command = [str(record(tmp_path / 'short', 2)), '-o', str(out), '--csv']
    assert main(command) == 2
    assert 'expected an empty folder, received one with files; take --resume or --overwrite' in capsys.readouterr().err
    assert main([*command, '--overwrite']) == 0
    assert main(command) == 2
    assert 'holds a complete analysis; take --resume or --overwrite' in capsys.readouterr().err
    assert main([*command, '--overwrite']) == 0
    assert (out / 'notes.txt').read_text() == 'mine'


def peak_mb(*arguments) -> float:
    """Run an analysis in a process of its own; return the most memory that it used, as it tells at its end."""
    program = (
        'from pathlib import Path; from diffcut_ros.analysis.main import main; '
        "assert main() == 0; print(Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, '-c', program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return int(re.search(r'^VmHWM:\s+(\d+)', done.stdout, re.MULTILINE)[1]) / 1000


def test_memory_does_not_grow_with_the_recording(tmp_path):
    """Ten times the frames, 49 MB more of images: noise, so that nothing is small by compression."""
    peaks = []
    for frames in (40, 400):
        recording, noise = tmp_path / f'film_{frames}', np.random.default_rng(0)
        with Recorder(recording, 'sqlite3') as recorder:
            for index in range(frames):
                image = noise.integers(0, 256, (160, 284, 3), np.uint8)
                recorder.write(IMAGE, image_message(image, 'rgb8', 10**18 + index * 10**8))
        (tmp_path / 'quick.yaml').write_text('/**:\n  ros__parameters: {color.cells: 3}\n')
        options = '--csv', '--with-source', '--raw-labels', '--params', tmp_path / 'quick.yaml'
        peaks.append(peak_mb(recording, '-o', tmp_path / f'out_{frames}', *options))
    assert peaks[1] - peaks[0] < 20, peaks


def test_a_complete_analysis_is_not_taken_for_another(tmp_path, capsys):
    film, other, out = record(tmp_path / 'film', 2), record(tmp_path / 'other', 3), tmp_path / 'out'
    plain = ['-o', str(out), '--no-video', '--no-report']
    assert main([str(film), *plain]) == 0
    assert main([str(film), *plain, '--resume']) == 0
    for bag, more, what in (
        (film, ['--tau', '0.7'], 'options.tau'),
        (film, ['--csv'], 'output.csv'),
        (other, [], 'recording'),
    ):
        assert main([str(bag), *plain, *more, '--resume']) == 2
        assert f'holds a complete analysis with another {what}' in capsys.readouterr().err
