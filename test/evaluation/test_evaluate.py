"""`diffcut_evaluate` on data sets in the layouts of the real ones, in this process and in ones that are killed."""

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.evaluate import main
from support.datasets import QUADRANTS, paths, write_dataset, write_noisy
from support.waiting import PATIENCE_S, wait_for

SHARED = Path(__file__).parents[3] / 'shared' / 'data'
IMAGES = 16


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features of a test are its own, and no line of progress comes on a slow machine."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('diffcut_ros.progress.LINE_S', 10_000)


def run(*arguments) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as ended:  # a wrong command line
        return ended.code


def results(out: Path) -> dict:
    return json.loads((out / 'results.json').read_text())


def rows(out: Path) -> list[dict[str, str]]:
    with (out / 'images.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def start(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, '-m', 'diffcut_ros.evaluation.evaluate', *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def lines(path: Path) -> int:
    return path.read_bytes().count(b'\n') if path.exists() else 0


@pytest.mark.parametrize('name', list(DATASETS))
def test_every_data_set(name, tmp_path, capsys):
    """Four flat colours, each a class: whatever is labelled is found, and nothing else."""
    root = write_dataset(name, tmp_path / 'data')
    assert run(name, root, '-o', tmp_path / 'out') == 0
    out, errors = capsys.readouterr()
    assert errors == ''  # no terminal, no bar
    summary = results(tmp_path / 'out')
    assert summary['images'] == 2
    assert [row['image'] for row in rows(tmp_path / 'out')] == [
        p.name for p in DATASETS[name].pairs(root, DATASETS[name].splits[0])
    ]
    if name == 'bsds500':
        # Two people, of whom the second one drew halves: (1 + 1/2) / 2.
        assert summary['covering'] == pytest.approx(0.75, abs=0.03)
        assert f'covering {summary["covering"]:.3f}, 2 images' in out
        assert summary['boundary']['recall'] > 0.7
        return
    assert f'mIoU {summary["mean_iou"]:.3f}, 2 images' in out
    labelled = {label for label in QUADRANTS[name][1] if label is not None}
    found = {label for label, figures in summary['classes'].items() if (figures['iou'] or 0) > 0.9}
    assert found == labelled
    assert summary['settings']['protocol'] == 'paper'


def test_plain_protocol_and_methods(tmp_path):
    root = write_dataset('camvid', tmp_path / 'data', count=1)
    for method, more in (('felzenszwalb', ()), ('diffcut', ('--refine', 'pamr')), ('kmeans', ('--set', 'restarts=2'))):
        assert run('camvid', root, '--protocol', 'plain', '--method', method, '-o', tmp_path / method, *more) == 0
    for method in ('felzenszwalb', 'diffcut'):
        assert results(tmp_path / method)['mean_iou'] > 0.9
        assert results(tmp_path / method)['covering'] > 0.9
    assert results(tmp_path / 'kmeans')['settings']['options']['restarts'] == 2
    assert results(tmp_path / 'felzenszwalb')['settings']['backend'] is None
    assert results(tmp_path / 'felzenszwalb')['features_s']['median'] == 0
    # Three of four quadrants are labelled, so k-means is asked for three segments.
    assert [row['segments'] for row in rows(tmp_path / 'kmeans')] == ['3']


def test_resolved_settings_and_versions(tmp_path):
    root = write_dataset('voc', tmp_path / 'data', count=1)
    assert run('voc', root, '-o', tmp_path / 'out', '--alpha', '8', '--set', 'color.cells=20', '--device', 'cpu') == 0
    about = results(tmp_path / 'out')
    settings = about['settings']
    assert settings['options']['alpha'] == 8.0
    assert settings['options']['tau'] == 0.5
    assert settings['backend_options']['cells'] == 20
    assert (settings['backend'], settings['device'], settings['images']) == ('color', 'cpu', 1)
    assert about['versions']['numpy'] == np.__version__
    assert 'PyTorch' in about['machine']


def test_features_are_reused_between_runs(tmp_path):
    root = write_dataset('camvid', tmp_path / 'data', count=3)
    assert run('camvid', root, '-o', tmp_path / 'a') == 0
    assert results(tmp_path / 'a')['features_stored'] == 2  # the fixture's images are the same
    assert run('camvid', root, '-o', tmp_path / 'b', '--tau', '0.3') == 0
    assert results(tmp_path / 'b')['features_stored'] == 3
    assert run('camvid', root, '-o', tmp_path / 'c', '--set', 'color.cells=20') == 0
    assert run('camvid', root, '-o', tmp_path / 'd', '--protocol', 'plain') == 0
    assert [int(rows(tmp_path / out)[0]['features_stored'] == 'True') for out in 'cd'] == [0, 0]
    assert run('camvid', root, '-o', tmp_path / 'e', '--cache-gb', '0') == 0
    assert results(tmp_path / 'e')['features_stored'] == 0
    assert results(tmp_path / 'e')['mean_iou'] == results(tmp_path / 'a')['mean_iou']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A data set, and its results in one go: enough images that a signal comes before the last one."""
    root = write_noisy(tmp_path_factory.mktemp('data'), IMAGES)
    out = tmp_path_factory.mktemp('whole') / 'out'
    assert run('camvid', root, '-o', out, '--cache-gb', 0) == 0
    return root, out


def same_but_for_times(one: Path, other: Path) -> bool:
    def without_times(out):
        return [{k: v for k, v in row.items() if not k.endswith('_s') and k != 'features_stored'} for row in rows(out)]

    figures = ('mean_iou', 'pixel_accuracy', 'classes', 'images', 'segments_per_image')
    return without_times(one) == without_times(other) and all(
        results(one)[name] == results(other)[name] for name in figures
    )


@pytest.mark.parametrize(('number', 'jobs'), [(signal.SIGINT, 1), (signal.SIGKILL, 2), (signal.SIGINT, 2)])
def test_interrupted_and_resumed_is_as_in_one_go(data, tmp_path, capsys, number, jobs):
    root, whole = data
    out = tmp_path / 'out'
    process = start('camvid', root, '-o', out, '--jobs', jobs, '--cache-gb', 0, start_new_session=True)
    try:
        wait_for(lambda: lines(out / 'images.jsonl') >= 3, process)
        # As from the keyboard, to all processes; a kill is for the first one alone, and the others end with it.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        if number == signal.SIGINT:
            assert errors == 'diffcut_evaluate: interrupted; what is done is kept: go on with --resume\n'
        wait_for(lambda: not group_lives(process.pid))  # no process of the pool is left
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert not (out / 'results.json').exists()
    done = lines(out / 'images.jsonl')
    assert 3 <= done < IMAGES
    before = (out / 'images.jsonl').read_bytes()
    assert run('camvid', root, '-o', out, '--cache-gb', 0) == 2  # not without being asked to
    assert 'unfinished: --resume goes on with them' in capsys.readouterr().err
    assert run('camvid', root, '-o', out, '--cache-gb', 0, '--resume') == 0
    assert (out / 'images.jsonl').read_bytes().startswith(before[: before.rindex(b'\n') + 1])
    assert same_but_for_times(out, whole)


def test_interrupted_while_processes_start(data, tmp_path):
    root, _ = data
    out = tmp_path / 'out'
    process = start('camvid', root, '-o', out, '--jobs', 2, start_new_session=True)
    try:
        # The first one, that which cleans up, and two of the pool.
        wait_for(lambda: group_size(process.pid) >= 4, process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        if group_lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, errors) == (
        130,
        'diffcut_evaluate: interrupted; what is done is kept: go on with --resume\n',
    )


def group_size(pid: int) -> int:
    count = 0
    for path in Path('/proc').glob('[0-9]*/stat'):
        try:
            group = path.read_text().rpartition(')')[2].split()[2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        count += group == str(pid)
    return count


def group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_give_the_same_results(data, tmp_path):
    root, whole = data
    out = tmp_path / 'out'
    process = start('camvid', root, '-o', out, '--jobs', 2)
    try:
        text, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, ''), errors
    assert 'camvid, diffcut: mIoU' in text
    assert same_but_for_times(out, whole)


def test_other_settings_are_refused_and_a_complete_one_stays(data, tmp_path, capsys):
    root, _ = data
    out = tmp_path / 'out'
    assert run('camvid', root, '-o', out, '--limit', 2) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run('camvid', root, '-o', out, '--limit', 2, '--tau', 0.7, '--resume') == 2
    assert 'settings.options.tau 0.5 there, 0.7 here' in capsys.readouterr().err
    assert run('camvid', root, '-o', out, '--limit', 3, '--resume') == 2
    assert run('camvid', root, '-o', out, '--limit', 2) == 2
    assert run('camvid', root, '-o', out, '--limit', 2, '--resume') == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_bad_image_is_one_line_and_what_is_done_is_kept(tmp_path, capsys, jobs):
    root = write_noisy(tmp_path / 'data', 4)
    _, labels = paths('camvid', root, 'n_002')
    good = labels.read_bytes()
    Image.fromarray(np.full((60, 80), 99, np.uint8)).save(labels)
    out = tmp_path / 'out'
    assert run('camvid', root, '-o', out, '--jobs', jobs) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f'diffcut_evaluate: {labels}: expected the values of CamVid, 0 to 11 (12 of them)')
    assert errors.count('\n') == 1
    assert lines(out / 'images.jsonl') >= (2 if jobs == 1 else 0)
    labels.write_bytes(good)
    assert run('camvid', root, '-o', out, '--resume') == 0
    assert results(out)['images'] == 4


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['camvid', '--tau', '2'], 'tau: expected 0.0 to 1.0, received 2.0'),
        (['camvid', '--set', 'color.cells=nan'], "color.cells: expected int 2 to 128, received 'nan'"),
        (['camvid', '--set', 'alpha=inf'], 'alpha: expected a finite number, received inf'),
        (['camvid', '--backend', 'ssd-1b', '--device', 'cpu'], 'is not on this machine, and downloads are not allowed'),
        (['voc'], 'expected the list ImageSets/Segmentation/val.txt in it'),
    ],
)
def test_wrong_input_is_one_line(data, tmp_path, capsys, monkeypatch, arguments, expected):
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'hub'))
    root, _ = data
    name, *more = arguments
    assert run(name, root, '-o', tmp_path / 'out', *more) == 2
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count('\n') == 1


def test_a_bar_on_a_terminal(data, tmp_path):
    root, _ = data
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, '-m', 'diffcut_ros.evaluation.evaluate', 'camvid', root, '-o', tmp_path / 'out'],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {'TERM': 'xterm', 'COLUMNS': '120'},
        )
        os.close(theirs)
        try:
            shown = read_all(ours)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.communicate()
    finally:
        os.close(ours)
    assert f'{IMAGES}/{IMAGES}' in shown
    assert 'images/s' in shown
    assert f'mIoU {results(tmp_path / "out")["mean_iou"]:.3f}' in shown


def read_all(descriptor: int) -> str:
    """Return all that is written to a terminal until its other side is closed."""
    data = b''
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:
            part = b''
        if not part:
            return data.decode()
        data += part


def test_a_checkpoint_as_backend(checkpoints, tmp_path):
    root = write_dataset('voc', tmp_path / 'data', count=1)
    more = ('--backend', checkpoints['sdxl'], '--set', 'diffusion.input_size=128', '--device', 'cpu')
    for out, stored in (('a', 0), ('b', 1)):
        assert run('voc', root, '-o', tmp_path / out, *more) == 0
        assert results(tmp_path / out)['features_stored'] == stored
    assert results(tmp_path / 'a')['classes'] == results(tmp_path / 'b')['classes']


def test_attention_maps_of_a_checkpoint(checkpoints, tmp_path):
    root = write_dataset('coco_stuff', tmp_path / 'data', count=1)
    more = (
        '--method',
        'diffseg',
        '--backend',
        checkpoints['sd1'],
        '--set',
        'attention.input_size=128',
        '--device',
        'cpu',
    )
    begin_s = time.monotonic()
    assert run('coco_stuff', root, '-o', tmp_path / 'out', *more) == 0
    took_s = time.monotonic() - begin_s
    assert results(tmp_path / 'out')['settings']['backend_options']['input_size'] == 128
    (row,) = rows(tmp_path / 'out')
    assert 0 < float(row['features_s']) < float(row['features_s']) + float(row['method_s']) < took_s


@pytest.mark.parametrize(
    ('name', 'folder', 'figure', 'least'),
    [('camvid', 'camvid_val', 'mean_iou', 0.15), ('bsds500', 'bsds500_val', 'covering', 0.4)],
)
def test_real_images(name, folder, figure, least, tmp_path):
    root = SHARED / folder
    if not root.exists():
        pytest.skip(f'{name} is not beside the checkout (../shared/data/{folder})')
    assert run(name, root, '-o', tmp_path / 'out', '--limit', 4) == 0
    assert results(tmp_path / 'out')[figure] > least
