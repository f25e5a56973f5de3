import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.core import FeatureMap, assign_concepts
from diffcut_ros.core.assignment import concept_features


def test_concepts_are_means_of_normalised_features():
    features = torch.tensor([[[3.0, 0.0], [0.0, 2.0]], [[0.0, 5.0], [0.0, 7.0]]])
    concepts = concept_features(FeatureMap(features, (8, 8)), np.array([0, 0, 1, 1]))
    torch.testing.assert_close(concepts, torch.tensor([[0.5, 0.5], [0.0, 1.0]]))


def test_boundary_lies_between_the_cells():
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    labels = assign_concepts(FeatureMap(features, (4, 10)), torch.eye(2))
    assert labels.tolist() == [[0] * 5 + [1] * 5] * 4


@pytest.mark.parametrize('count', [3, 40])
def test_equals_upsampling_the_features_themselves(count):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 7, 12, generator=generator)
    concepts = torch.randn(count, 12, generator=generator)
    unit = F.normalize(features, dim=2).permute(2, 0, 1)[None]
    upsampled = F.interpolate(unit, (50, 63), mode='bilinear')[0]
    expected = torch.einsum('kc,chw->khw', concepts, upsampled).argmax(0)
    found = assign_concepts(FeatureMap(features, (50, 63)), concepts)
    assert (found == expected).float().mean() > 0.999  # ties within rounding may fall either way


def test_a_favoured_segment_keeps_a_pixel_unless_another_one_is_more_similar_by_the_lead():
    # Four cells, a pixel each: their cosine similarities to the second segment are higher by 0, 0.08, 0.12 and 1.
    second = torch.tensor([0.5, 0.54, 0.56, 1.0])
    similarities = torch.stack([second - torch.tensor([0.0, 0.08, 0.12, 1.0]), second], 1)
    rest = (1 - similarities.square().sum(1, keepdim=True)).sqrt()
    feature_map = FeatureMap(torch.cat([similarities, rest], 1)[None], (1, 4))
    concepts, lead = torch.eye(3)[:2], torch.tensor([9.0, 0.1])
    assert assign_concepts(feature_map, concepts, torch.tensor([[0, 0, 0, 0]]), lead).tolist() == [[0, 0, 1, 1]]
    assert assign_concepts(feature_map, concepts, torch.tensor([[1, 1, -1, -1]]), lead).tolist() == [[1, 1, 1, 1]]
    assert assign_concepts(feature_map, concepts, torch.full((1, 4), -1), lead).tolist() == [[0, 1, 1, 1]]


def test_borders_are_held_to_the_pixel():
    # Between the centres of the two cells, at 4.5 and 14.5, the first segment's lead falls from 1 to -1, 0.2 a pixel.
    feature_map = FeatureMap(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), (3, 20))
    favoured = (torch.arange(20) >= 12).long().expand(3, 20)
    for lead, border in ((0.0, 10), (0.25, 11), (0.45, 12), (0.9, 12)):
        labels = assign_concepts(feature_map, torch.eye(2), favoured, torch.full((2,), lead))
        assert labels.tolist() == [[0] * border + [1] * (20 - border)] * 3


def test_bad_input():
    feature_map = FeatureMap(torch.ones(2, 2, 3), (4, 4))
    with pytest.raises(ValueError, match=r'concepts: expected a tensor \[K, 3\].*received \(2, 4\)'):
        assign_concepts(feature_map, torch.ones(2, 4))
