"""The joint kernel, with random features in place of a network's."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.core import Segmenter
from diffcut_ros.features.color import ColorConfig, see
from diffcut_ros.features.vit import kernel
from diffcut_ros.features.vit.kernel import COMPONENTS, JointKernel, Statistics, compute_statistics
from support.scenes import quadrants

CPU = torch.device('cpu')


def random_network(channels: int, spread: float = 1.0):
    """Return a network without sense: patches of 16 px times a random matrix, whose rows grow shorter."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3 * 16 * 16, channels, generator=generator) * spread ** torch.arange(channels)

    def raw(image_rgb: np.ndarray) -> torch.Tensor:
        planes = torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255
        planes = F.interpolate(planes, (192, 256), mode='bilinear', antialias=True)
        return (F.unfold(planes, 16, stride=16)[0].T @ weights).reshape(12, 16, channels) + 3

    return raw


@functools.cache
def random_statistics(channels: int) -> Statistics:
    return compute_statistics(random_network(channels, 0.9))


def seen_by_network(raw) -> torch.Tensor:
    """Return the features [N, C] of the images that statistics are of."""
    images = [kernel.cv2.imread(str(path))[:, :, ::-1].copy() for path in sorted(kernel._IMAGES.glob('*.jpg'))]
    assert len(images) == 11
    return torch.cat([raw(image).flatten(0, 1) for image in images])


def test_statistics_half_whiten_the_principal_components_and_scale_distances_to_one():
    raw = random_network(48, 0.95)
    statistics = compute_statistics(raw)
    features = seen_by_network(raw)
    torch.testing.assert_close(statistics.mean, features.mean(0), rtol=1e-4, atol=1e-4)
    components = ((features - statistics.mean) @ statistics.basis).double()
    covariance = torch.cov(components.T)
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-3 * covariance[0, 0]
    # Half whitened: of components, variances are the square roots of those before.
    variances = torch.linalg.eigvalsh(torch.cov(features.double().T)).flip(0)[:COMPONENTS]
    ratio = covariance.diag() / variances.sqrt()
    torch.testing.assert_close(ratio / ratio[0], torch.ones_like(ratio), rtol=0.02, atol=0)
    pairs = torch.randperm(len(components), generator=torch.Generator().manual_seed(1))
    distance = (components - components[pairs]).square().sum(1).mean().sqrt()
    assert distance == pytest.approx(1, abs=0.03)


def test_statistics_repeat_whatever_the_sign_of_the_axes(monkeypatch):
    raw = random_network(40, 0.9)
    first = compute_statistics(raw)
    solve = torch.linalg.eigh

    def opposite(matrix: torch.Tensor):
        variances, axes = solve(matrix)
        return variances, -axes

    monkeypatch.setattr(torch.linalg, 'eigh', opposite)
    assert torch.equal(first.basis, compute_statistics(raw).basis)


@pytest.mark.parametrize('channels', [1, 8, 32])
def test_a_network_of_few_channels_has_as_many_components(channels):
    statistics = random_statistics(channels)
    assert statistics.basis.shape == (channels, COMPONENTS)
    assert statistics.basis.isfinite().all()
    assert (statistics.basis.abs().amax(0) > 0).sum() == channels


def test_statistics_go_through_the_tensors_of_a_bundle():
    statistics = random_statistics(40)
    tensors = statistics.tensors()
    assert tensors.keys() == {'statistics.mean', 'statistics.basis'}
    again = Statistics.of(tensors | {'other': torch.zeros(1)})
    assert torch.equal(again.mean, statistics.mean)
    assert torch.equal(again.basis, statistics.basis)


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'statistics.mean': None}, r'found no statistics\.mean; export the model anew: diffcut_export'),
        ({'statistics.mean': None, 'statistics.basis': None}, r'no statistics\.mean and no statistics\.basis'),
        ({'statistics.basis': torch.zeros(40, 31)}, r'found float32 \[40\] and float32 \[40, 31\]'),
        ({'statistics.mean': torch.zeros(39)}, r'found float32 \[39\] and float32 \[40, 32\]'),
        ({'statistics.mean': torch.zeros(40, 1)}, r'found float32 \[40, 1\]'),
        ({'statistics.mean': torch.zeros(40).half()}, r'found float16 \[40\]'),
        ({'statistics.mean': torch.full((40,), torch.nan)}, 'found NaN or infinity'),
    ],
)
def test_bad_statistics(change, found):
    tensors = random_statistics(40).tensors() | change
    with pytest.raises(ValueError, match=rf'expected statistics\.mean float32 \[C\] .*{found}'):
        Statistics.of({name: tensor for name, tensor in tensors.items() if tensor is not None})


@pytest.mark.parametrize(
    ('raw', 'message'),
    [
        (
            lambda image: torch.full((2, 2, 8), torch.inf),
            r'finite features of astronaut\.jpg, received NaN',
        ),
        (lambda image: torch.full((2, 2, 8), 3.0), 'received the same everywhere'),
        (lambda image: torch.zeros(2, 2, 8), 'received the same everywhere'),
    ],
)
def test_networks_without_statistics(raw, message):
    with pytest.raises(ValueError, match=message):
        compute_statistics(raw)


def test_images_that_were_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, '_IMAGES', tmp_path)
    with pytest.raises(ValueError, match='expected the images that come with diffcut_ros, found none; install it anew'):
        compute_statistics(random_network(8))


@pytest.mark.parametrize('image_hw', [(480, 640), (640, 480), (321, 481), (20, 30), (1, 9)])
def test_cosine_similarity_is_a_gaussian_of_what_is_seen_and_of_things(image_hw):
    image = np.random.default_rng(0).integers(0, 256, (*image_hw, 3), np.uint8)
    statistics = random_statistics(40)
    joint = JointKernel(statistics, CPU)
    raw = torch.randn(12, 16, 40, generator=torch.Generator().manual_seed(0)) * 5 + statistics.mean
    found = joint(image, raw)
    assert found.grid_hw == joint.grid_hw(image_hw)
    assert found.features.shape[2] == joint.channels
    assert found.image_size_hw == image_hw
    seen = see(image, ColorConfig())
    cells = torch.from_numpy(seen.cells()).flatten(0, 1)
    cells[:, :7] *= kernel._APPEARANCE_WEIGHT
    grid = F.interpolate(raw.permute(2, 0, 1)[None], found.grid_hw, mode='bilinear', antialias=True)[0]
    components = (grid.permute(1, 2, 0) - statistics.mean) @ statistics.basis * kernel._NETWORK_WEIGHT
    things = torch.from_numpy(seen.smooth(components.numpy(), kernel._DIFFUSION)).flatten(0, 1)
    distance = torch.cdist(x := torch.cat([cells, things], 1), x)
    error = found.unit @ found.unit.T - torch.exp(-(distance**2) / (2 * kernel._WIDTH**2))
    assert error.abs().max() < 0.3
    assert error.square().mean().sqrt() < 0.06


def test_things_of_one_colour_are_told_apart_by_the_network_alone():
    image, _ = quadrants(64, 128)
    image[:, :64] = image[0, 0]
    statistics = random_statistics(40)
    plain = statistics.mean.repeat(12, 16, 1)
    things = plain.clone()
    things[:6, :8] += 3 * torch.linalg.pinv(statistics.basis)[0]

    def labels(raw: torch.Tensor) -> np.ndarray:
        joint = JointKernel(statistics, CPU)
        return Segmenter(lambda image: joint(image, raw)).segment(image).labels

    assert len(np.unique(labels(plain))) == 3
    inside, outside = labels(things)[:24, :56], labels(things)[40:, :56]
    assert not np.intersect1d(inside, outside).size


def test_a_uniform_image_is_one_segment_whatever_the_network_says():
    statistics = random_statistics(40)
    joint = JointKernel(statistics, CPU)
    raw = torch.randn(12, 16, 40, generator=torch.Generator().manual_seed(0))
    features = joint(np.full((480, 640, 3), 90, np.uint8), raw).features
    assert (features == features[0, 0]).all()


def test_fingerprint_tells_statistics_apart():
    first, second = (JointKernel(random_statistics(channels), CPU) for channels in (8, 9))
    assert first.fingerprint() == JointKernel(random_statistics(8), CPU).fingerprint()
    assert first.fingerprint() != second.fingerprint()
