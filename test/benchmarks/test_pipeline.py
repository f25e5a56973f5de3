import argparse
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.benchmarks import limits, pipeline, vit_parts
from diffcut_ros.benchmarks.figures import Figures, tell_interrupted
from diffcut_ros.benchmarks.plain_ncut import plain_affinity, plain_assignment
from diffcut_ros.core import FeatureMap, affinity_matrix, recursive_ncut
from diffcut_ros.features import create_extractor

MASK_STAGES = ('affinity', 'hierarchy', 'assignment')


def benchmark(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'pipeline', *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def table_rows(lines: list[str], columns: int) -> dict[str, list[str]]:
    """Return the cells of a table by their row's name."""
    return {cells[0].strip(): cells[1:] for line in lines if len(cells := line.split('│')[1:-1]) == columns}


def test_the_command_prints_its_tables(checkpoints):
    """With small networks and random weights: the figures mean nothing."""
    small = ('--input-size', '128', '--repeats', '1', '--device', 'cpu', '--image-size', '160', '120')
    result = benchmark('--backend', str(checkpoints['sdxl']), '--tiny-vae', str(checkpoints['tiny']), *small)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert 'PyTorch' in lines[0]
    rows = table_rows(lines, 4)
    assert list(rows) == ['upload', 'VAE', 'UNet', *MASK_STAGES, 'borders', 'segments', pipeline.WHOLE, 'times faster']
    assert all(cell.strip() for cell in rows['whole'])
    assert rows['times faster'][2].strip() == '1.0'
    assert sum(line.startswith('floor of the ') for line in lines) == 4
    assert any(line.startswith('tiny instead of full VAE: cosine similarity of the features ') for line in lines)


def test_the_color_backend_without_a_network(tmp_path):
    small = '--repeats', '1', '--device', 'cpu', '--image-size', '160', '120'
    result = benchmark('--backend', 'color', *small, '--json', str(tmp_path / 'figures.json'))
    assert result.returncode == 0, result.stderr
    times, _, rest = result.stdout.partition('limits of one core')
    rows = table_rows(times.splitlines(), 5)
    assert list(rows) == ['features', *MASK_STAGES, 'borders', 'segments', pipeline.WHOLE, 'times faster']
    for stage in ('borders', 'segments'):  # the paper's has none, and others have no stages
        assert [cell.strip() == '' for cell in rows[stage]] == [False, True, True, True]
    assert all(cell.strip() for cell in rows[pipeline.WHOLE])
    found = json.loads((tmp_path / 'figures.json').read_text())
    assert found['problem'] == ''
    assert found['lines'][0] == result.stdout.splitlines()[0]
    table, limits = found['tables']
    assert [row[0] for row in limits['rows']] == list(table_rows(rest.splitlines(), 5)) == list(rows)[:-2]
    # 12 x 16 tiles of 16 cells each...
    assert table['columns'][0] == 'stage'
    assert [row[0] for row in table['rows']] == list(rows)


def test_interrupted_it_tells_what_was_measured(tmp_path):
    small = '--repeats', '1000', '--device', 'cpu', '--image-size', '160', '120', '--json', str(tmp_path / 'out.json')
    command = [sys.executable, '-m', 'diffcut_ros.benchmarks.main', 'pipeline', '--backend', 'color', *small]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as running:
        assert 'PyTorch' in running.stdout.readline()
        assert re.match(r'color +\d+/1001 +0:', running.stderr.readline())  # the time left, after 3 s
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors.endswith('diffcut_benchmark: interrupted\n')
    lines = output.splitlines()
    assert 'Interrupted: what was measured until then.' in lines
    columns = max(len(line.split('│')[1:-1]) for line in lines)
    rows = table_rows(lines, columns)
    assert list(rows)[:7] == ['features', *MASK_STAGES, 'borders', 'segments', pipeline.WHOLE]
    assert all(' ms, ' in cells[0] for cells in list(rows.values())[:7])
    found = json.loads((tmp_path / 'out.json').read_text())
    assert found['problem'] == 'interrupted'
    assert [row[0] for row in found['tables'][0]['rows']] == list(rows)


def test_interrupted_before_anything_is_measured_it_prints_no_table(capsys):
    console = Figures()
    console.begin(
        lambda: pipeline._table({'color': pipeline._Measured({})}, argparse.Namespace(image_size=(4, 4), tau=1))
    )
    tell_interrupted()
    console.finish()
    assert capsys.readouterr().out == ''


def test_stages_and_whole_are_measured_in_the_same_rounds():
    """A machine that becomes slower in between changes both alike."""
    slow = iter([0] * 5 + [0.05] * 1000)

    def stages(image):
        time.sleep(next(slow))
        yield 'features'

    def whole(image):
        time.sleep(next(slow))
        yield pipeline.WHOLE

    columns = {}
    pipeline._measure(columns, 'x', lambda: (None, [stages, whole]), [None], 9, torch.device('cpu'))
    seconds = columns['x'].seconds
    assert [len(runs) for runs in seconds.values()] == [9, 9]
    assert np.subtract(seconds['features'], seconds[pipeline.WHOLE]) == pytest.approx(np.zeros(9), abs=0.055)
    assert np.median(seconds['features']) > 0.04 < np.median(seconds[pipeline.WHOLE])


def test_a_busy_machine_is_told():
    """Four processes, all of which want the one processor that they may use."""
    program = (
        'import os, subprocess, sys, time\n'
        'from diffcut_ros.evaluation.measure import Waiting\n'
        'os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n'
        'others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]\n'
        'time.sleep(0.5)\n'
        'waiting, end = Waiting(), time.process_time() + 0.5\n'
        'while time.process_time() < end: pass\n'
        'print(waiting.share(), waiting.told())\n'
        '[other.kill() for other in others]\n'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    share, _, told = done.stdout.partition(' ')
    assert float(share) > 0.4, done.stderr
    assert told.startswith(
        f'The machine was busy: for {float(share):.0%} of the time, what could have run waited for a'
    )


def test_a_vision_transformer(vits):
    """With a small network and random weights: the figures mean nothing."""
    small = '--repeats', '1', '--device', 'cpu', '--image-size', '160', '120', '--input-size', '112'
    result = benchmark('--backend', str(vits['dinov2']), *small)
    assert result.returncode == 0, result.stderr
    rows = table_rows(result.stdout.splitlines(), 3)
    stages = ['upload', 'ViT', 'kernel', 'features', *MASK_STAGES, 'borders', 'segments']
    assert list(rows) == [*stages, pipeline.WHOLE, 'times faster']
    assert all(cell.strip() for cell in rows[pipeline.WHOLE])
    assert sum(line.startswith('floor of the ViT: ') for line in result.stdout.splitlines()) == 1
    parts = table_rows(result.stdout.splitlines(), 5)
    assert list(parts) == ['patches', 'linear maps', 'attention', 'norms, activations and others']


def test_each_function_is_timed_for_its_part():
    x, weight, window = torch.ones(1, 1, 4, 4), torch.ones(3, 4), torch.ones(1, 1, 2, 2)
    calls = {
        'patches': lambda: F.conv2d(x, window),
        'linear maps': lambda: F.linear(x, weight),
        'attention': lambda: F.scaled_dot_product_attention(x, x, x),
        'norms, activations and others': lambda: F.layer_norm(x, (4,)),
    }
    for part, call in calls.items():
        begin_s = time.perf_counter()
        with vit_parts._Timer() as timer:
            call()
        took_s = time.perf_counter() - begin_s
        assert [name for name, seconds in timer.seconds.items() if seconds] == [part]
        assert timer.seconds[part] < took_s


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_operations_of_a_vision_transformer(vits, precision):
    """Of the small network, counted by hand; also of attention that is not made of matrix products as it runs."""
    extractor = create_extractor(str(vits['dinov2']), device='cpu', precision=precision, kernel='plain', input_size=112)
    counted = extractor.operations(extractor.upload([np.zeros((60, 60, 3), np.uint8)]))
    patches, channels, blocks = 64, 24, 3
    tokens = patches + 1
    assert counted == {
        'convolution': 2 * patches * channels * 3 * 14 * 14,
        'addmm': blocks * 2 * tokens * channels * (4 + 2 * 2) * channels,
        'bmm': blocks * 2 * 2 * tokens * tokens * channels,
    }


@pytest.mark.parametrize(
    ('name', 'millions'),
    # The published figures: 22 and 86 million; DINOv3's smallest 21.
    [('dinov2-small', 22), ('dinov2-base', 86), ('dinov2-with-registers-small', 22), ('dinov3-vits16', 21)],
)
def test_random_vision_transformers_have_the_size_of_the_real_ones(name, millions):
    from diffcut_ros.benchmarks.random_vit import random_vit

    with torch.device('meta'):
        network = random_vit(name, 'last').network
    assert abs(sum(p.numel() for p in network.parameters()) / 1e6 - millions) < 0.8


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path):
    result = benchmark('--backend', 'color', '--json', str(tmp_path / 'none' / 'figures.json'))
    assert result.returncode == 1
    assert result.stdout == ''
    assert 'figures.json cannot be written' in result.stderr


def test_what_ended_early_is_in_the_file(tmp_path):
    file = tmp_path / 'figures.json'
    assert benchmark('--backend', 'color', '--random-weights', '--json', str(file)).returncode == 2
    assert 'expected a backend with a network' in json.loads(file.read_text())['problem']


def test_random_weights_of_the_color_backend():
    result = benchmark('--backend', 'color', '--random-weights', '--device', 'cpu')
    assert result.returncode == 2
    assert '--random-weights: expected a backend with a network such as ssd-1b, received color' in result.stderr


def test_random_weights_of_unknown_networks():
    from diffcut_ros.benchmarks.random_weights import random_encoder

    with pytest.raises(ValueError, match=r'--random-weights: expected one of ssd-1b, sd1.4, received .ssd-vega.'):
        random_encoder('ssd-vega')


@pytest.mark.parametrize(('name', 'unet', 'vae'), [('ssd-1b', 383.3, 34.2), ('sd1.4', None, 34.2)])
def test_networks_of_known_checkpoints_have_the_right_size(name, unet, vae, monkeypatch):
    from diffcut_ros.benchmarks import random_weights

    monkeypatch.setattr(random_weights, 'draw_weights', lambda network: network)  # sizes need no memory
    encoder = random_weights.random_encoder(name)
    millions = sum(weight.numel() for weight in encoder.unet.values()) / 1e6
    assert unet is None or millions == pytest.approx(unet, abs=0.1)
    assert sum(weight.numel() for weight in encoder.vaes['full'][1].values()) / 1e6 == pytest.approx(vae, abs=0.1)
    layer = {
        'ssd-1b': 'down_blocks.2.attentions.1.transformer_blocks.3.attn1',
        'sd1.4': 'down_blocks.2.attentions.1.transformer_blocks.0.attn1',
    }
    assert encoder.layer == layer[name]


def test_the_work_of_a_small_graph_counted_by_hand():
    feature_map = FeatureMap(torch.ones(2, 3, 4), (10, 12), torch.zeros(2, 3, 2))
    halves = torch.eye(6)
    halves[:3, :3] = halves[3:, 3:] = 1
    tree = recursive_ncut(halves, 0.5)
    assert sorted(tree.stop - tree.start) == [3, 3, 6]
    work = limits.work(feature_map, tree, 2, alpha=8.0)
    # Half of the squares of 6, 3 and 3 nodes, read 8 times, 4 operations and 4 bytes for each number, and one copy.
    assert work['hierarchy'] == limits.Work(8 * 4 * 27, 8 * 4 * 27 + 4 * 18)
    # 21 pairs: 3 operations in each of 2 dimensions, an exponential, min-max, 3 squares and as many products.
    assert work['affinity'] == limits.Work(21 * (6 + 3 + 6), 4 * 36)
    assert work['assignment'] == limits.Work(2 * 2 * 6 * 4 + 2 * 120, 4 * 6 * 4 + 2 * 120)
    # At 1000 operations and 100 bytes per second.
    assert limits.Work(500, 10).seconds(1000, 100) == 0.5
    assert limits.Work(50, 10).seconds(1000, 100) == 0.1


def test_operations_are_those_that_were_counted_by_hand(monkeypatch):
    """The layer of SSD-1B costs 1.28 TFLOP at 1024 x 1024, its VAE 4.88."""
    from diffcut_ros.benchmarks import random_weights

    monkeypatch.setattr(random_weights, 'draw_weights', lambda network: network)
    counts = pipeline.operations(random_weights.random_encoder('ssd-1b'), 'full', (1024, 1024))
    assert counts['UNet'] / 1e12 == pytest.approx(1.28, abs=0.01)
    assert counts['VAE'] / 1e12 == pytest.approx(4.88, abs=0.01)


def test_the_plain_procedure_gives_what_core_gives():
    features = torch.randn(6, 8, 20, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(plain_affinity(features.flatten(0, 1)), affinity_matrix(features.flatten(0, 1)), atol=1e-5)
    cells = torch.arange(48).reshape(6, 8) // 8 // 3
    from diffcut_ros.core import FeatureMap, assign_concepts
    from diffcut_ros.core.assignment import concept_features

    feature_map = FeatureMap(features, (128, 128))
    expected = assign_concepts(feature_map, concept_features(feature_map, cells.flatten().numpy()))
    found = plain_assignment(features.flatten(0, 1), (6, 8), cells.flatten().numpy())
    assert (torch.from_numpy(found) == expected).float().mean() > 0.999
