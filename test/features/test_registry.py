import subprocess
import sys

import numpy as np
import pytest
import torch

from diffcut_ros.features import create_extractor


def test_unknown_backend():
    with pytest.raises(
        ValueError, match=r"backend: expected color, or ssd-1b, .* a model id OWNER/NAME .*, received 'magic'"
    ):
        create_extractor('magic')


def test_a_diffusion_backend_without_its_packages():
    program = """
import sys
sys.modules['diffusers'] = None
from diffcut_ros.features import create_extractor
create_extractor('ssd-1b')
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert 'ValueError: backend ssd-1b: the diffusion backends need the packages diffusers, ' in result.stderr
    assert 'install them: pip install diffusers' in result.stderr


def test_every_backend_describes_itself():
    extractor = create_extractor('color', cells=10)
    assert extractor.grid_hw((100, 200)) == (10, 20)
    assert (extractor.channels, extractor.description) == (512, 'color, 10 cells along the shorter side')
    images = [np.zeros((40, 50, 3), np.uint8), np.zeros((50, 40, 3), np.uint8)]
    assert [found.grid_hw for found in extractor.batch(images)] == [(10, 12), (12, 10)]


def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match=r"device: expected auto or one of cpu.*, received 'cuda:99'"):
        create_extractor('color', device='cuda:99')


def test_auto_takes_cuda_where_present():
    expected = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert create_extractor('color', device='auto').device.type == expected
