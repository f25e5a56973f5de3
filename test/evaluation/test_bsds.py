import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from diffcut_ros.evaluation import bsds
from support.scenes import quadrants

DATA = Path(__file__).parents[3] / 'shared' / 'data' / 'bsds500_val'


def write_data_set(root: Path, count: int) -> None:
    """Write quadrant images with one exact and one coarser 'human' segmentation each, as BSDS500 stores them."""
    (root / 'images').mkdir(parents=True)
    (root / 'groundTruth').mkdir()
    image, labels = quadrants(64, 128)
    people = np.empty((1, 2), object)
    for k, drawn in enumerate([labels, labels // 2]):
        people[0, k] = {'Segmentation': drawn.astype(np.uint16) + 1}
    for i in range(count):
        # PNG data under the name of a JPEG: exact colours.
        data = cv2.imencode('.png', image[:, :, ::-1])[1]
        (root / 'images' / f'{i}.jpg').write_bytes(data.tobytes())
        scipy.io.savemat(root / 'groundTruth' / f'{i}.mat', {'groundTruth': people})


def test_scores_of_a_known_scene(tmp_path):
    write_data_set(tmp_path, 1)
    (pair,) = bsds.DATASET.pairs(tmp_path, 'val')
    scores = bsds.score_diffcut(pair, 'color', 10.0, 'none')
    # Four quadrants cover the one person's perfectly (1) and the other's halves by half.
    four = scores[scores[:, bsds.SEGMENTS] == 4]
    assert four[0, bsds.COVERING] == pytest.approx((1 + 0.5) / 2, abs=0.01)


def test_ods_and_ois():
    # Two images, two settings; columns are covering, Rand index, segments.
    scores = np.array([[[0.2, 0.5, 3], [0.6, 0.7, 9]], [[0.8, 0.9, 4], [0.5, 0.3, 8]]])
    row = bsds.summary(['coarse', 'fine'], scores)
    # Means per setting: covering 0.5 and 0.55, Rand index 0.7 and 0.5.
    assert row == ['0.550', '0.700', '0.700', '0.800', '8', 'fine']


def test_the_command_prints_a_table(tmp_path):
    write_data_set(tmp_path, 2)
    command = [sys.executable, '-m', 'diffcut_ros.evaluation.benchmark', 'bsds', str(tmp_path)]
    done = subprocess.run([*command, '--methods', 'diffcut'], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 'BSDS500: 2 images, backend color, alpha 10.0' in done.stdout
    assert re.search(r'diffcut\b.*0\.7[45]', done.stdout)


def test_a_wrong_folder_is_one_line(tmp_path):
    command = [sys.executable, '-m', 'diffcut_ros.evaluation.benchmark', 'bsds', str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.strip().endswith('expected images in it as images/val/*.jpg, found none')
    assert 'Traceback' not in done.stderr


@pytest.mark.skipif(not DATA.exists(), reason='BSDS500 is not beside the checkout (../shared/data/bsds500_val)')
def test_real_images_score_far_above_a_single_segment():
    scores = np.stack([bsds.score_diffcut(pair, 'color', 10.0, 'none') for pair in bsds.DATASET.pairs(DATA, 'val')[:8]])
    covering = scores[:, :, bsds.COVERING].mean(0)
    assert covering.max() > covering[0] + 0.1
