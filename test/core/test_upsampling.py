import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.core import upsampling
from diffcut_ros.core.upsampling import best_upsampled, upsampled_at

DEVICES = [
    'cpu',
    pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device here')),
]
SIZES = [  # grid, image
    ((32, 43), (480, 640)),
    ((5, 7), (50, 63)),
    ((6, 8), (6, 8)),
    ((16, 16), (17, 33)),
    ((9, 11), (4, 3)),  # smaller than the grid
    ((30, 20), (1, 1)),
    ((1, 1), (20, 30)),
    ((1, 12), (40, 100)),
    ((12, 1), (7, 90)),
    ((2, 3), (301, 200)),
]


def random_scores(kind: str, count: int, h: int, w: int) -> torch.Tensor:
    """Return scores, float32 [count, h, w]: independent from cell to cell, or with wide slopes, or with many ties."""
    generator = torch.Generator().manual_seed(count)
    if kind == 'rough':
        return torch.randn(count, h, w, generator=generator)
    if kind == 'ties':
        return torch.randint(0, 3, (count, h, w), generator=generator).float()
    coarse = torch.randn(1, count, -(-h // 6) + 1, -(-w // 6) + 1, generator=generator)
    return F.interpolate(coarse, (h, w), mode='bicubic')[0].contiguous()


def assert_best(labels: torch.Tensor, scores: torch.Tensor, size_hw: tuple[int, int]) -> None:
    """Compare with the definition; another map is allowed where it is as large, up to rounding."""
    upsampled = F.interpolate(scores[None], size_hw, mode='bilinear')[0]
    value, expected = upsampled.max(0)
    assert labels.shape == size_hw
    assert labels.dtype == torch.int64
    found = upsampled.gather(0, labels[None])[0]
    assert (value - found).max() <= 1e-5 * scores.abs().max()
    # Where the second is further behind than rounding, nothing else is allowed.
    second = upsampled.topk(min(2, len(scores)), 0).values[-1]
    clear = value - second > 1e-5 * scores.abs().max()
    assert torch.equal(labels[clear], expected[clear])


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('grid', 'image'), SIZES)
@pytest.mark.parametrize('kind', ['rough', 'smooth', 'ties'])
@pytest.mark.parametrize('count', [1, 2, 7, 40])
def test_equals_upsampling_all_maps(device, grid, image, kind, count):
    scores = random_scores(kind, count, *grid).to(device)
    assert_best(best_upsampled(scores, image), scores, image)


# What GPUs do is tried on a CPU, too.
@pytest.mark.parametrize('best', [best_upsampled, upsampling._best_of_all])
def test_random_sizes(best):
    random = np.random.default_rng(0)
    for count in range(1, 60):
        grid, image = random.integers(1, 20, 2).tolist(), tuple(random.integers(1, 150, 2).tolist())
        scores = random_scores(('rough', 'smooth', 'ties')[count % 3], count, *grid)
        assert_best(best(scores, image), scores, image)


@pytest.mark.parametrize('device', DEVICES)
def test_of_equal_maps_the_first(device):
    scores = random_scores('rough', 5, 6, 8).to(device)
    labels = best_upsampled(scores.repeat_interleave(7, 0), (60, 90))
    assert torch.equal(labels, 7 * best_upsampled(scores, (60, 90)))


def test_a_map_that_is_the_largest_at_no_centre():
    # Two maps cross between the centres; a third lies above the crossing only.
    scores = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.6]]])
    assert best_upsampled(scores, (1, 20))[0].tolist() == [0] * 9 + [2] * 2 + [1] * 9


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('grid', 'image'), SIZES)
def test_values_at_pixels_are_those_of_upsampling_all(device, grid, image):
    scores = random_scores('rough', 7, *grid)
    expected = F.interpolate(scores[None], image, mode='bilinear')[0]
    y, x = (values.ravel() for values in torch.meshgrid(*map(torch.arange, image), indexing='ij'))
    maps = torch.stack([torch.arange(len(y)) % 7, torch.arange(len(y)) % 5])
    found = upsampled_at(scores.to(device), image, maps.to(device), y.to(device), x.to(device)).cpu()
    torch.testing.assert_close(found, expected[maps, y, x], rtol=0, atol=2e-5)
