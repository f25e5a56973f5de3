import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffcut_ros.evaluation.methods import METHODS, Sample, diffseg
from support.scenes import quadrants, same_partition

METHOD = METHODS['diffseg']


def attention_within(labels: np.ndarray, inside: float = 0.9) -> torch.Tensor:
    """Return maps [h, w, h, w] of cells that give a share `inside` of their attention to cells of their own label."""
    flat = torch.from_numpy(labels).flatten()
    same = (flat[:, None] == flat).float()
    maps = inside * same / same.sum(1, keepdim=True) + (1 - inside) / len(flat)
    return maps.reshape(*labels.shape, *labels.shape)


def random_attention(seed: int, *sides: int) -> list[torch.Tensor]:
    """Return maps of square grids, in which neighbours look at like places."""
    generator = torch.Generator().manual_seed(seed)
    maps = []
    for side in sides:
        coarse = torch.randn(1, 5, 4, 4, generator=generator)
        features = F.interpolate(coarse, (side, side), mode='bicubic')[0].flatten(1).T
        maps.append((features @ features.T).softmax(1).reshape(side, side, side, side))
    return maps


def quadrant_sample(*scales: int) -> tuple[Sample, np.ndarray]:
    image, labels = quadrants(64, 128)
    return Sample(image, attention=[attention_within(labels[::s, ::s]) for s in scales]), labels


@pytest.mark.parametrize('scales', [(8,), (4, 8), (16, 4, 8)])
def test_finds_four_quadrants(scales):
    sample, labels = quadrant_sample(*scales)
    found = METHOD.run(sample, METHOD.config(anchors=8))
    assert found.dtype == np.int64
    assert same_partition(found, labels)


@pytest.mark.parametrize('threshold', [0.1, 10.0])
def test_a_large_threshold_leaves_one_segment(threshold):
    sample, _ = quadrant_sample(8)
    found = METHOD.run(sample, METHOD.config(anchors=8, threshold=threshold))
    assert found.max() == (3 if threshold < 1 else 0)


def test_without_attention_the_error_says_so():
    for attention in (None, []):
        with pytest.raises(ValueError, match='attention: expected self-attention maps of the image, received none'):
            METHOD.run(Sample(quadrants()[0], attention=attention), METHOD.config())


def test_aggregation_by_hand():
    """A grid of 1 x 1 beside one of 1 x 2; their resolutions are 1 and sqrt(2)."""
    coarse, fine = torch.ones(1, 1, 1, 1), torch.tensor([[0.75, 0.25], [0.5, 0.5]]).reshape(1, 2, 1, 2)
    found = diffseg.aggregate([coarse, fine])
    share = 2**0.5 / (1 + 2**0.5)
    assert found[0, 0, 0].tolist() == pytest.approx([0.5 + 0.25 * share, 0.5 - 0.25 * share])
    assert found[0, 1, 0].tolist() == pytest.approx([0.5, 0.5])


def test_anchors_are_those_of_the_authors():
    """16 x 16 anchors on 64 x 64 cells, as the authors' program places them."""
    cells = diffseg.anchor_cells((64, 64), 16)
    assert cells.shape == (256, 2)
    assert cells[:16, 1].tolist() == list(range(1, 62, 4))
    assert cells[::16, 0].tolist() == list(range(1, 62, 4))


@pytest.mark.parametrize(
    ('length', 'expected'), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 4, 8]), (10, [0, 4, 8])]
)
def test_anchors_of_small_grids(length, expected):
    assert diffseg.anchor_cells((length, 1), 3)[:, 0].tolist() == expected


def test_distances_by_hand():
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    expected = (0.5 * np.log(2) + 0.5 * np.log(2 / 3) + 0.25 * np.log(1 / 2) + 0.75 * np.log(3 / 2)) / 2
    assert float(diffseg.distances(p, q)) == pytest.approx(expected, rel=1e-5)


def test_distances_where_one_is_zero():
    p, q = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    assert 10 < float(diffseg.distances(p, q)) < float('inf')
    assert float(diffseg.distances(p, p)) == 0


def test_a_proposal_may_be_in_two_means():
    proposals = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]])
    near = (diffseg.distances(proposals, proposals) < 0.03).int().tolist()
    assert near == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    merged = diffseg.merge_proposals(proposals, 0.03)
    assert merged[:, 0].tolist() == pytest.approx([0.55, 0.65])


def literal_diffseg(attention: list[np.ndarray], threshold: float, points: int, rounds: int) -> np.ndarray:
    """Return labels [8 S, 8 S] of square grids, S the finest, by the published program's steps, in float64.

    The program computes the first distances in float16, to fit a GPU's memory.
    """
    finest = max(maps.shape[0] for maps in attention)
    weights = np.array([maps.shape[0] for maps in attention]) / sum(maps.shape[0] for maps in attention)
    total = np.zeros((finest,) * 4)
    for maps, weight in zip(attention, weights, strict=True):
        side = maps.shape[0]
        ratio = finest // side
        upsampled = F.interpolate(
            torch.from_numpy(maps).double().reshape(-1, 1, side, side), scale_factor=ratio, mode='bilinear'
        )
        upsampled = upsampled.numpy().reshape(side, side, finest, finest)
        upsampled = upsampled / upsampled.sum((2, 3), keepdims=True)
        total += np.repeat(np.repeat(upsampled, ratio, 0), ratio, 1) * weight

    def distance(x, y):
        quotient = np.log(x) - np.log(y)
        return (x * quotient).sum((-2, -1)) / 2 - (y * quotient).sum((-2, -1)) / 2

    last = finest - 1
    spacing = last // (points - 1)
    start = (last - spacing * (points - 1)) // 2
    along = [start + spacing * i for i in range(points)]
    proposals = []
    everything = total.reshape(-1, finest, finest)
    for row in along:
        for column in along:
            chosen = distance(total[row, column], everything) < threshold
            proposals.append(everything[chosen].mean(0))
    for _ in range(rounds - 1):
        matched, merged = set(), []
        for i, anchor in enumerate(proposals):
            if i in matched:
                continue
            matched.add(i)
            chosen = [j for j, other in enumerate(proposals) if distance(anchor, other) < threshold]
            matched.update(chosen)
            merged.append(np.mean([proposals[j] for j in chosen], axis=0))
        proposals = merged
    upsampled = F.interpolate(torch.from_numpy(np.array(proposals))[None], scale_factor=8, mode='bilinear')[0]
    return upsampled.argmax(0).numpy()


@pytest.mark.parametrize('rounds', [1, 2, 3])
@pytest.mark.parametrize('threshold', [0.2, 0.5, 1.0])
@pytest.mark.parametrize('seed', range(3))
def test_a_literal_reading_gives_the_same_labels(seed, threshold, rounds):
    attention = random_attention(seed, 16, 8, 4, 2)
    expected = literal_diffseg([maps.numpy() for maps in attention], threshold, 6, rounds)
    sample = Sample(np.zeros((128, 128, 3), np.uint8), attention=attention)
    found = METHOD.run(sample, METHOD.config(threshold=threshold, rounds=rounds, anchors=6))
    _, expected = np.unique(expected, return_inverse=True)
    # Pixels on a border, where two maps are equal up to rounding, may go either way.
    assert (found == expected.reshape(128, 128)).mean() > 0.9995
