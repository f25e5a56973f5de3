import pytest
import torch

from diffcut_ros.features import create_extractor


def test_unknown_backend():
    with pytest.raises(
        ValueError, match=r"backend: expected color, or ssd-1b, .* a model id OWNER/NAME .*, received 'magic'"
    ):
        create_extractor('magic')


def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match=r"device: expected auto or one of cpu.*, received 'cuda:99'"):
        create_extractor('color', device='cuda:99')


def test_auto_takes_cuda_where_present():
    expected = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert create_extractor('color', device='auto').device.type == expected
