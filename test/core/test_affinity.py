import pytest
import torch

from diffcut_ros.core import FeatureMap, affinity_matrix
from diffcut_ros.core.affinity import graph_of


def test_hand_computed_values():
    # Cosines: 1 on the diagonal, 0.6 between 0 and 1, 0 between 0 and 2, 0.8 between 1 and 2; the lowest is 0.
    features = torch.tensor([[2.0, 0.0], [0.6, 0.8], [0.0, 5.0]])
    expected = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.8], [0.0, 0.8, 1.0]])
    torch.testing.assert_close(affinity_matrix(features, alpha=1.0), expected)
    torch.testing.assert_close(affinity_matrix(features, alpha=10.0), expected**10)


def test_min_max_reaches_zero_and_one_and_is_symmetric():
    features = torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    affinity = affinity_matrix(features, alpha=3.0)
    assert affinity.min() == 0
    assert affinity.max() == 1
    assert torch.equal(affinity, affinity.T)


@pytest.mark.parametrize('n', [2, 31, 32, 33, 127, 129, 300])
@pytest.mark.parametrize('alpha', [0.3, 1.0, 2.0, 2.5, 7.0, 10.0, 100.0, 3000.0])
def test_the_definition_in_float64(n, alpha):
    features = torch.rand(n, 5, generator=torch.Generator().manual_seed(n))
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    similarity = unit @ unit.T
    expected = ((similarity - similarity.min()) / (similarity.max() - similarity.min())) ** alpha
    affinity = affinity_matrix(features, alpha)
    torch.testing.assert_close(affinity, expected.float(), rtol=1e-5 * max(1, alpha), atol=1e-6 if alpha >= 1 else 1e-4)
    assert torch.equal(affinity, affinity.T)
    assert affinity.min() == 0
    assert affinity.max() == 1
    if alpha < 1000:  # the smallest numbers that there are take a CPU a hundred times as long as others
        assert not ((affinity > 0) & (affinity < 1.2e-38)).any()


@pytest.mark.parametrize('n', [1, 2, 31, 129, 300])
@pytest.mark.parametrize('alpha', [0.3, 1.0, 2.5, 10.0, 100.0])
@pytest.mark.parametrize('spread', [0.01, 2.0, 100.0])
def test_the_gaussian_kernel_in_float64(n, alpha, spread):
    """However far points lie from each other: widths of kernels that users can set are 1 to 500."""
    points = spread * torch.rand(n, 9, generator=torch.Generator().manual_seed(n)) + 3 * spread
    points[n // 2 :] = points[: n - n // 2] + 0.3 * torch.rand(9)  # each has a neighbour, in the widest spread, too
    distance = torch.cdist(points.double(), points.double(), compute_mode='donot_use_mm_for_euclid_dist')
    similarity = torch.exp(-(distance**2) / 2)
    low, high = similarity.min(), similarity.max()
    expected = ((similarity - low) / (high - low)) ** alpha if high > low + 1e-5 else torch.ones(n, n)
    affinity = affinity_matrix(points, alpha, gaussian=True)
    torch.testing.assert_close(affinity, expected.float(), rtol=2e-5 * max(1, alpha), atol=1e-6 if alpha >= 1 else 1e-3)
    assert torch.equal(affinity, affinity.T)
    assert torch.equal(affinity.diagonal(), torch.ones(n))


def test_a_graph_is_made_of_points_where_there_are_some():
    generator = torch.Generator().manual_seed(0)
    features, points = torch.randn(3, 4, 8, generator=generator), torch.randn(3, 4, 2, generator=generator)
    cosine, gaussian = (graph_of(FeatureMap(features, (30, 40), given), 2.0) for given in (None, points))
    assert torch.equal(cosine, affinity_matrix(features.view(12, 8), 2.0))
    assert torch.equal(gaussian, affinity_matrix(points.view(12, 2), 2.0, gaussian=True))
    with pytest.raises(ValueError, match=r'points: expected a tensor \[3, 4, D\], received \(4, 3, 2\)'):
        FeatureMap(features, (30, 40), points.transpose(0, 1))


@pytest.mark.parametrize('alpha', [0.5, 10.0])
@pytest.mark.parametrize('points', [False, True])
def test_the_lower_triangle_alone_is_the_same(alpha, points):
    features = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    whole, lower = (affinity_matrix(features, alpha, gaussian=points, lower=lower) for lower in (False, True))
    assert torch.equal(lower.tril(), whole.tril())


@pytest.mark.parametrize('count', [1, 5])
def test_equal_features_are_all_alike(count):
    affinity = affinity_matrix(torch.full((count, 3), 0.3))
    assert torch.equal(affinity, torch.ones(count, count))


@pytest.mark.parametrize(
    ('features', 'alpha', 'message'),
    [
        (torch.zeros(0, 3), 10.0, r'features: expected a tensor \[N, C\].*received shape \(0, 3\)'),
        (torch.zeros(2, 2, 2), 10.0, r'received shape \(2, 2, 2\)'),
        (torch.tensor([[1.0], [float('nan')]]), 10.0, 'expected finite values, received NaN'),
        (torch.ones(2, 2), 0.0, 'alpha: expected a number above 0, received 0.0'),
    ],
)
def test_bad_input(features, alpha, message):
    with pytest.raises(ValueError, match=message):
        affinity_matrix(features, alpha)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('place', [(0, 0), (33, 7), (69, 39)])
def test_one_value_that_is_not_finite_is_found(value, place):
    features = torch.rand(70, 40, generator=torch.Generator().manual_seed(0))
    features[place] = value
    with pytest.raises(ValueError, match='expected finite values, received NaN or infinity'):
        affinity_matrix(features)
