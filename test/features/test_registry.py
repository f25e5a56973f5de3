import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import resolve_device


def test_unknown_backend():
    with pytest.raises(
        ValueError, match=r"backend: expected color, or ssd-1b, .* a model id OWNER/NAME .*, received 'magic'"
    ):
        create_extractor('magic')


MISSING = """
import sys
sys.modules['diffusers'] = None
"""
# As after an upgrade of a package that another one is too old for.
BROKEN = """
import importlib.util, sys
sys.modules['transformers'] = importlib.util.module_from_spec(importlib.util.find_spec('transformers'))  # not executed
"""


@pytest.mark.parametrize(
    ('before', 'problem'),
    [
        (MISSING, r"expected the package diffusers, found none. Next: pip install 'diffcut_ros\[diffusion\]'"),
        (
            BROKEN,
            r"importing .* failed \(cannot import name 'PreTrainedModel' .*\)\. .*: pip install --upgrade diffusers",
        ),
    ],
)
def test_a_diffusion_backend_without_its_packages(checkpoints, before, problem):
    program = (
        f'{before}\nfrom diffcut_ros.features import create_extractor\ncreate_extractor({str(checkpoints["sd1"])!r})'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert re.search(r'^\S*Error: diffusion backends: ' + problem, result.stderr, re.MULTILINE)


def test_a_vision_transformer_without_its_packages(vits):
    program = f"""
import sys
sys.modules['transformers'] = None
from diffcut_ros.features import create_extractor
create_extractor({str(vits['dinov2'])!r})
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    problem = (
        r"^\S*Error: vit backends: expected the package transformers, found none. Next: pip install 'diffcut_ros\["
    )
    assert re.search(problem, result.stderr, re.MULTILINE)


def test_every_backend_describes_itself():
    extractor = create_extractor('color', cells=10)
    assert extractor.grid_hw((100, 200)) == (10, 20)
    assert (extractor.channels, extractor.description) == (512, 'color, 10 cells along the shorter side')
    images = [np.zeros((40, 50, 3), np.uint8), np.zeros((50, 40, 3), np.uint8)]
    assert [found.grid_hw for found in extractor.batch(images)] == [(10, 12), (12, 10)]


@pytest.mark.parametrize('name', ['', 'gpu', 'mps', 'meta', 'cpu:7', 'cuda:99'])
def test_a_device_of_another_kind_is_one_line(name):
    with pytest.raises(ValueError, match=rf"^device: expected auto or one of cpu.*, received '{name}'.{{0,100}}$"):
        resolve_device(name)


def test_a_device_may_be_given_as_such():
    assert resolve_device(torch.device('cpu')) == torch.device('cpu')


@pytest.mark.parametrize(
    ('image', 'received'),
    [
        (np.zeros((4, 5), np.uint8), r'uint8 \(4, 5\)'),
        (np.zeros((4, 5, 4), np.uint8), r'uint8 \(4, 5, 4\)'),
        (np.zeros((4, 5, 3), np.float32), r'float32 \(4, 5, 3\)'),
        (np.zeros((0, 5, 3), np.uint8), r'uint8 \(0, 5, 3\)'),
        (torch.zeros(4, 5, 3, dtype=torch.uint8), 'Tensor'),
    ],
)
@pytest.mark.parametrize('backend', ['color', 'sd1', 'dinov2'])
def test_what_is_no_image_is_refused(checkpoints, vits, backend, image, received):
    extractor = create_extractor(str((checkpoints | vits).get(backend, backend)), device='cpu')
    with pytest.raises(ValueError, match=rf'image_rgb: expected a uint8 array \[H, W, 3\] .*, received {received}'):
        extractor(image)


def test_auto_takes_cuda_where_present():
    expected = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert create_extractor('color', device='auto').device.type == expected
