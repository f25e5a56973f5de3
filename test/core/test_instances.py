"""Instances: segments divided into what is connected in the image, and in space."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch

from diffcut_ros.core import FeatureMap, Frame, Pipeline, Scene, Segmenter, SegmenterConfig
from diffcut_ros.core.instances import connected_parts, part_features
from diffcut_ros.core.parts_in_space import parts_in_space
from diffcut_ros.core.runs import Runs
from support.scenes import same_partition

EVERY_PART = {'min_area': 0, 'most': 10**9}


def features(size_hw: tuple[int, int], grid_hw: tuple[int, int] = (6, 8), seed: int = 0) -> FeatureMap:
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=(*grid_hw, 5)).astype(np.float32))
    return FeatureMap(values, size_hw)


def blobs(size_hw: tuple[int, int], labels: int, scale: float, seed: int) -> np.ndarray:
    """Return a random label image whose regions are about `scale` pixels wide."""
    noise = np.random.default_rng(seed).normal(size=(labels, *size_hw))
    return np.argmax([scipy.ndimage.gaussian_filter(one, scale) for one in noise], 0)


def divided_by_scipy(labels: np.ndarray) -> np.ndarray:
    parts, count = np.zeros(labels.shape, int), 0
    for label in np.unique(labels):
        found, more = scipy.ndimage.label(labels == label)
        parts[found > 0] = found[found > 0] + count
        count += more
    return parts


SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (31, 17), (48, 64), (120, 160)]


@pytest.mark.parametrize('size_hw', SIZES)
@pytest.mark.parametrize('scale', [0.0, 1.0, 4.0])
@pytest.mark.parametrize('labels', [1, 2, 9, 300])
def test_parts_are_those_that_scipy_finds(size_hw, scale, labels):
    image = blobs(size_hw, labels, scale, seed=labels)
    parts, label = connected_parts(image, features(size_hw), **EVERY_PART)
    assert same_partition(parts, divided_by_scipy(image))
    assert np.array_equal(label[parts], image)
    # By label, then by first pixel.
    first = np.unique(parts, return_index=True)[1]
    assert np.array_equal(np.lexsort((first, label)), np.arange(len(label)))


@pytest.mark.parametrize('size_hw', SIZES)
@pytest.mark.parametrize('scale', [0.0, 1.0, 4.0])
@pytest.mark.parametrize('min_area', [1, 2, 30, 500, 10**6])
@pytest.mark.parametrize('most', [1, 3, 40, 10**9])
def test_no_part_is_too_small_in_pieces_or_too_much(size_hw, scale, min_area, most):
    image = blobs(size_hw, 6, scale, seed=7)
    parts, label = connected_parts(image, features(size_hw), min_area, most)
    area = np.bincount(parts.ravel())
    assert len(area) == len(label) <= most
    assert area.min() >= min_area or len(area) == 1
    assert same_partition(parts, divided_by_scipy(parts))
    # Neighbours have different labels: else they would be one.
    assert same_partition(parts, divided_by_scipy(label[parts]))
    # What was large enough, and among the largest, has kept its pixels.
    before = divided_by_scipy(image)
    sizes = np.bincount(before.ravel())
    kept = sizes >= max(min_area, np.sort(sizes)[::-1][min(most, len(sizes)) - 1] + (most < len(sizes)))
    here = kept[before]
    assert np.array_equal(label[parts][here], image[here])


def test_a_small_part_goes_to_the_neighbour_that_is_most_like_it():
    image = np.zeros((8, 16), int)
    image[:, 8:], image[2:6, 6:10] = 1, 2
    cells = torch.zeros(8, 16, 2)
    cells[..., 0], cells[:, 8:, 1], cells[2:6, 6:10] = 1.0, 1.0, torch.tensor([1.0, 0.9])
    parts, label = connected_parts(image, FeatureMap(cells, (8, 16)), min_area=17, most=10)
    assert label.tolist() == [0, 1]
    assert parts[2:6, 6:10].tolist() == [[1] * 4] * 4


def test_small_parts_between_small_parts_go_where_their_neighbours_go():
    """Rings of other labels, one pixel wide each, in the middle of two halves."""
    image = np.zeros((21, 40), int)
    image[:, 20:] = 1
    for ring in range(9):
        image[6 + ring // 2 : 15 - ring // 2, 3 + ring // 2 : 12 - ring // 2] = 2 + ring % 2
    parts, label = connected_parts(image, features((21, 40)), min_area=100, most=10)
    assert label.tolist() == [0, 1]
    assert np.array_equal(parts, np.arange(40) // 20 * np.ones((21, 1), int))


def test_what_a_small_part_joins_may_become_one():
    image = np.zeros((5, 30), int)
    image[:, 14:16] = 1
    parts, label = connected_parts(image, features((5, 30)), min_area=11, most=10)
    assert (parts.max(), label.tolist()) == (0, [0])


@pytest.mark.parametrize('grid_hw', [(1, 1), (6, 8), (48, 64), (7, 5)])
def test_features_of_parts_are_those_of_the_cells_in_them(grid_hw):
    size_hw = 48, 64
    image, map_ = blobs(size_hw, 5, 2.0, seed=1), features(size_hw, grid_hw)
    parts, _ = connected_parts(image, map_, **EVERY_PART)
    found = part_features(Runs.of(parts), Runs.of(parts).label, map_).numpy()
    unit = torch.nn.functional.normalize(map_.flat(), dim=1).numpy()
    rows, columns = ((2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(grid_hw, size_hw, strict=True))
    at_cells = parts[rows[:, None], columns].ravel()
    for part in range(parts.max() + 1):
        cells = at_cells == part
        if cells.any():
            np.testing.assert_allclose(found[part], unit[cells].mean(0), atol=1e-6)
        else:  # one of the cells that it has pixels in
            y, x = np.nonzero(parts == part)
            inside = np.unique(y * grid_hw[0] // size_hw[0] * grid_hw[1] + x * grid_hw[1] // size_hw[1])
            assert np.abs(unit[inside] - found[part]).sum(1).min() < 1e-6


def floor_and_box(size_hw: tuple[int, int], box_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return depth of a floor seen at a flat angle, with a board that stands upright on nothing, and where that is."""
    height, width = size_hw
    focal, y = 0.9 * width, np.arange(height)[:, None] - 0.2 * height
    depth_m = np.where(y > 0, focal * 0.6 / np.maximum(y, 1e-3), 6.0)  # 0.6 m above the floor
    depth_m = np.minimum(depth_m, 6.0) * np.ones((1, width))
    board = np.zeros(size_hw, bool)
    board[height // 8 : height // 2, width // 3 : 2 * width // 3] = True
    return np.where(board, box_m, depth_m).astype(np.float32), board


@pytest.mark.parametrize('size_hw', [(60, 80), (240, 320), (480, 640), (720, 1280)])
@pytest.mark.parametrize('jump', [0.02, 0.05, 0.2])
def test_what_only_touches_in_the_image_is_apart_in_space(size_hw, jump):
    depth_m, board = floor_and_box(size_hw, box_m=1.0)
    parts, label = parts_in_space(np.zeros(size_hw, int), depth_m, jump)
    assert set(label[parts].ravel()) == {0}
    inner = scipy.ndimage.binary_erosion(board, iterations=max(3, size_hw[0] // 40))
    outer = ~scipy.ndimage.binary_dilation(board, iterations=max(3, size_hw[0] // 40))
    assert len(np.unique(parts[inner])) == 1
    assert not np.isin(parts[outer], parts[inner]).any()


@pytest.mark.parametrize('noise', [0.0, 0.002])
def test_slanted_surfaces_are_in_one_piece(noise):
    depth_m, _ = floor_and_box((480, 640), box_m=1.0)
    floor = np.random.default_rng(0).normal(1, noise, (230, 640)) * depth_m[250:]
    parts, _ = parts_in_space(np.zeros(floor.shape, int), floor.astype(np.float32), 0.05)
    assert len(np.unique(parts)) == 1


@pytest.mark.parametrize('size_hw', [*SIZES, (3, 3), (200, 2), (479, 641)])
@pytest.mark.parametrize('jump', [0.001, 0.05, 10.0])
@pytest.mark.parametrize('scale', [0.0, 4.0])
def test_any_labels_and_any_depth_can_be_divided(size_hw, jump, scale):
    rng = np.random.default_rng(5)
    labels = blobs(size_hw, 4, scale, seed=5)
    depth_m = rng.choice(np.array([0.5, 1.0, 3.0, 0.0, -1.0, 1e-45, 1e9, np.inf, np.nan], np.float32), size_hw)
    for before in (None, blobs(size_hw, 3, 2.0, seed=6) - 1):
        parts, label = parts_in_space(labels, depth_m, jump, before, damping=0.5)
        assert parts.shape == size_hw
        assert set(label[parts].ravel()) <= set(labels.ravel())


def test_a_segmenter_has_no_depth_to_divide_by():
    with pytest.raises(ValueError, match='expected segments or connected without depth, received space'):
        Segmenter(colors, SegmenterConfig(instances='space'))
    segmenter = Segmenter(colors)
    with pytest.raises(ValueError, match='received space'):
        segmenter.config = SegmenterConfig(instances='space')


def test_what_has_no_depth_stays_with_its_label():
    depth_m, board = floor_and_box((240, 320), box_m=1.0)
    depth_m[100:140] = np.nan
    labels = board.astype(int)
    parts, label = parts_in_space(labels, depth_m, 0.05)
    assert np.array_equal(label[parts][100:140], labels[100:140])
    none, _ = parts_in_space(labels, np.full_like(depth_m, np.nan), 0.05)
    assert same_partition(none, labels)


def test_pixels_go_to_the_surface_that_they_are_on():
    """Also between samples, which are 8 pixels apart here: the border is where depth jumps, to the pixel."""
    depth_m = np.ones((960, 1280), np.float32)
    depth_m[:, 643:] = 2.0
    parts, _ = parts_in_space(np.zeros(depth_m.shape, int), depth_m, 0.05)
    assert same_partition(parts, np.arange(1280) // 643 * np.ones((960, 1), int))


def test_a_rim_goes_to_the_surface_that_it_is_on():
    """Depth and colour are offset: 6 pixels of the label on the left lie on the surface on the right."""
    labels, depth_m = np.zeros((480, 640), int), np.ones((480, 640), np.float32)
    labels[:, 300:], depth_m[:, 294:] = 1, 3.0
    parts, label = parts_in_space(labels, depth_m, 0.05)
    assert sorted(label[np.unique(parts)]) == [0, 1]
    assert np.array_equal(label[parts], np.arange(640) // 294 * np.ones((480, 1), int) > 0)


def test_damping_holds_together_and_apart_what_was_so_before():
    """A step of 6 % of the depth: beyond a jump of 5 %, within one of 10 %."""
    labels, depth_m = np.zeros((240, 320), int), np.ones((240, 320), np.float32)
    depth_m[:, 160:] = 1.06
    halves = np.arange(320) // 160 * np.ones((240, 1), int)

    def count(jump, before=None, damping=0.2):
        return len(np.unique(parts_in_space(labels, depth_m, jump, before, damping)[0]))

    assert count(0.05) == count(0.05, halves) == count(0.05, np.full_like(halves, -1)) == 2
    assert count(0.05, np.zeros_like(halves)) == 1
    assert count(0.05, np.zeros_like(halves), damping=0.0) == 2
    assert count(0.1) == count(0.1, np.zeros_like(halves)) == count(0.1, np.full_like(halves, -1)) == 1
    assert count(0.1, halves) == 2
    assert count(0.2, halves) == 1


def test_parts_do_not_flicker_where_depth_is_noisy():
    """Of a camera that stands still; the step is as high as the noise lets it be seen in every other image."""
    rng, image = np.random.default_rng(0), quartered(depth=False).image_rgb
    image = np.kron(image, np.ones((4, 4, 1), np.uint8))

    def changes(damping):
        pipeline, counts = Pipeline(lambda i: colors(i[::4, ::4].copy(), i.shape[:2]), SegmenterConfig()), []
        pipeline.config = replace(pipeline.config, instances='space', damping=damping)
        for i in range(12):
            step = 1.05 + rng.normal(0, 0.01)
            depth_m = np.where(np.arange(512) < 100, 1.0, step) * np.ones((384, 1))
            scene = Scene(image, i * 10**8, depth_m.astype(np.float32))
            counts.append(len(pipeline.process(scene).segmentation.segments))
        return np.count_nonzero(np.diff(counts))

    assert changes(0.0) >= 4
    assert changes(0.3) <= 1


def test_depth_of_another_size_is_that_of_the_same_view():
    depth_m, _ = floor_and_box((480, 640), box_m=1.0)
    labels = np.zeros((480, 640), int)
    full, half = parts_in_space(labels, depth_m, 0.05)[0], parts_in_space(labels, depth_m[::2, ::2], 0.05)[0]
    assert len(np.unique(half)) == len(np.unique(full)) == 2
    with pytest.raises(ValueError, match='expected the same aspect'):
        parts_in_space(labels, depth_m[:, :300], 0.05)


def quartered(depth: bool) -> Scene:
    """Two colours in four parts: opposite corners have the same."""
    image = np.full((96, 128, 3), 200, np.uint8)
    image[:48, :64], image[48:, 64:] = (200, 30, 30), (200, 30, 30)
    image[:48, 64:], image[48:, :64] = (30, 30, 200), (30, 30, 200)
    return Scene(image, depth_m=np.ones((96, 128), np.float32) if depth else None)


def colors(image_rgb: np.ndarray, size_hw: tuple[int, int] | None = None) -> FeatureMap:
    cells = image_rgb.reshape(12, 8, 16, 8, 3).mean((1, 3))
    return FeatureMap(torch.from_numpy(cells - 100.0).float(), size_hw or image_rgb.shape[:2])


@pytest.mark.parametrize(('instances', 'count'), [('segments', 2), ('connected', 4), ('space', 4)])
def test_the_setting_holds(instances, count):
    # Where four parts meet in a point, a border that moves by a pixel joins two of them.
    pipeline = Pipeline(colors, SegmenterConfig(instances=instances, refine='none'))
    for scene in quartered(depth=True), quartered(depth=False):
        segments = pipeline.process(scene).segmentation.segments
        assert len(segments) == count
        assert sorted(segments.segment) == sorted([1, 2] * (count // 2))
        # Cells of a segment's parts are of one kind here, and so are their features.
        np.testing.assert_allclose(segments.score, 1, atol=1e-5)
    other = pipeline.recut(replace(pipeline.config, instances='connected')).segmentation
    assert len(other.segments) == 4


def test_each_instance_is_part_of_its_segment():
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frame = Frame(image, colors(image))
    for tau in 0.3, 0.6, 0.9:
        found = frame.cut(SegmenterConfig(tau=tau, min_part_share=0.0))
        assert np.array_equal(found.segments.segment - 1, frame.segment)
        cells = frame.tree(SegmenterConfig().alpha, tau).cut(tau)
        assert np.array_equal(cells, frame.cells)


@pytest.mark.parametrize('target', [1, 2, 5, 20])
@pytest.mark.parametrize('instances', ['segments', 'connected', 'space'])
def test_a_target_number_is_that_of_instances(target, instances):
    rng = np.random.default_rng(3)
    image = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    depth_m = np.kron(rng.uniform(0.5, 5, (6, 8)), np.ones((16, 16))).astype(np.float32)
    frame = Frame(image, colors(image), depth_m=depth_m)
    found = frame.cut(SegmenterConfig(target_segments=target, instances=instances, min_part_share=0.0))
    assert 1 <= len(found.segments) <= target
