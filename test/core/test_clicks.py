"""What a click means: the segment there, and level by level what it is part of."""

import functools
import itertools

import numpy as np
import pytest
import scipy.ndimage
from skimage import data

from diffcut_ros.core import PinholeCamera, Pipeline, Scene, SegmenterConfig
from diffcut_ros.core.clicks import clicked
from diffcut_ros.core.parts_in_space import parts_in_space
from diffcut_ros.features import create_extractor
from support.scenes import quadrants

IMAGE = np.ascontiguousarray(data.coffee()[::2, ::2])
HEIGHT, WIDTH = IMAGE.shape[:2]
CAMERA = PinholeCamera(250.0, 250.0, WIDTH / 2, HEIGHT / 2, (HEIGHT, WIDTH))
POINTS = ((150, 75), (0, 0), (WIDTH - 1, HEIGHT - 1), (40, 160), (220, 30))
# The right half is a metre behind the left one.
DEPTH = np.where(np.arange(WIDTH) > WIDTH // 2, 3, 2).astype(np.float32) + np.zeros((HEIGHT, 1), np.float32)
extractor = create_extractor('color')


@functools.cache
def result_of(**settings):
    """The last of two images of a camera that moves."""
    pipeline = Pipeline(extractor, SegmenterConfig(**settings))
    pipeline.process(Scene(np.roll(IMAGE, 3, 1), 1, DEPTH, CAMERA))
    return pipeline.process(Scene(IMAGE, 2, DEPTH, CAMERA))


def levels(result, x, y):
    found = [clicked(result, x, y)]
    while (larger := clicked(result, x, y, len(found))).level == len(found):
        found.append(larger)
    return found


SETTINGS = list(
    itertools.product(
        ('segments', 'connected', 'space'), (0.0, 0.2, 0.5, 0.9), ('none', 'watershed', 'pamr'), (0.0, 0.2)
    )
)


@pytest.mark.parametrize(('instances', 'tau', 'refine', 'damping'), SETTINGS)
def test_each_level_is_the_union_of_the_segments_under_a_node(instances, tau, refine, damping):
    result = result_of(instances=instances, tau=tau, refine=refine, damping=damping)
    cut, tree = result.cut, result.cut.tree
    pixels = cut.segment[cut.parts]
    for x, y in POINTS:
        found = levels(result, x, y)
        label = result.segmentation.labels[y, x]
        assert np.array_equal(found[0].mask, result.segmentation.labels == label)
        assert found[0].segment.box_xyxy == result.segmentation.segments[int(label) - 1].box_xyxy
        under = [
            np.isin(pixels, cut.cells[tree.order[first:last]])
            for first, last in zip(tree.start, tree.stop, strict=True)
        ]
        for one, larger in itertools.pairwise(found):
            assert larger.mask[y, x]
            assert not (one.mask & ~larger.mask).any()
            assert larger.segment.area_px == np.count_nonzero(larger.mask) > one.segment.area_px
            if instances == 'segments':
                assert any(np.array_equal(larger.mask, node) for node in under)
            elif instances == 'connected':
                assert any(
                    node[y, x] and np.array_equal(larger.mask, (at := scipy.ndimage.label(node)[0]) == at[y, x])
                    for node in under
                )
            else:
                assert scipy.ndimage.label(larger.mask)[1] == 1
        # At the top it is all there is, in space all of the surface.
        top = found[-1]
        if instances != 'space':
            assert top.mask.all()
        assert clicked(result, x, y, 1000).level == top.level == len(found) - 1
        assert np.array_equal(clicked(result, x, y, 1000).mask, top.mask)


@pytest.mark.parametrize(('instances', 'tau', 'refine', 'damping'), SETTINGS)
def test_a_level_is_described_like_a_segment(instances, tau, refine, damping):
    result = result_of(instances=instances, tau=tau, refine=refine, damping=damping)
    for x, y in POINTS:
        for found in levels(result, x, y):
            segment, mask = found.segment, found.mask
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert segment.box_xyxy == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert np.isclose(segment.score, min(1, np.linalg.norm(segment.feature)), atol=1e-5)
            assert segment.label == result.segmentation.labels[y, x]
            assert found.place is None or 1.9 < found.place.position_m[2] < 3.1
    if tau:  # the whole image is described as by a cut that divides nothing
        whole = result_of(instances='segments', tau=0.0).segmentation.segments[0]
        top = clicked(result, *POINTS[0], 1000)
        if instances != 'space':
            assert np.allclose(top.segment.feature, whole.feature, atol=1e-5)
            assert top.segment.box_xyxy == whole.box_xyxy


def test_in_space_nothing_beyond_a_jump_is_part_of_it():
    surface, _ = parts_in_space(np.zeros(DEPTH.shape, np.uint8), DEPTH, 0.05)
    for tau in (0.2, 0.5, 0.9):
        result = result_of(instances='space', tau=tau)
        for x, y in POINTS:
            for found in levels(result, x, y)[1:]:
                assert (surface == surface[y, x])[found.mask].mean() > 0.98
        x, y = POINTS[0]
        assert levels(result, x, y)[-1].mask[surface == surface[y, x]].mean() > 0.98


def test_the_answer_is_of_the_cut_that_was_shown():
    """Whatever is cut after it."""
    pipeline = Pipeline(extractor, SegmenterConfig(tau=0.5))
    shown = pipeline.process(Scene(IMAGE, 1))
    before = [clicked(shown, *POINTS[0], level) for level in range(4)]
    pipeline.recut(SegmenterConfig(tau=0.9, alpha=5.0))
    pipeline.process(Scene(np.zeros_like(IMAGE), 2))
    for level, one in enumerate(before):
        again = clicked(shown, *POINTS[0], level)
        assert np.array_equal(again.mask, one.mask)
        assert np.array_equal(again.segment.feature, one.segment.feature)


def test_quadrants_are_joined_as_the_hierarchy_joins_them():
    image, quadrant = quadrants(192, 256)
    result = Pipeline(extractor, SegmenterConfig()).process(Scene(image))
    found = levels(result, 40, 40)
    inner = np.zeros(quadrant.shape, bool)
    for rows, columns in itertools.product((slice(0, 80), slice(112, 192)), (slice(0, 110), slice(146, 256))):
        inner[rows, columns] = True
    shown = [set(np.unique(quadrant[one.mask & inner]).tolist()) for one in found]
    assert all(first <= second for first, second in itertools.pairwise(shown))
    # Four that are as different: which of them are one above the first is arbitrary.
    assert shown[0] == {0} < shown[-2] < shown[-1] == {0, 1, 2, 3}


def test_points_without_a_segment():
    result = Pipeline(extractor, SegmenterConfig(min_segment_area=10**6)).process(Scene(IMAGE))
    with pytest.raises(ValueError, match='there is no segment'):
        clicked(result, 5, 5)
    for x, y in ((-1, 0), (0, -1), (WIDTH, 0), (0, HEIGHT)):
        with pytest.raises(ValueError, match='expected a point in the image'):
            clicked(result, x, y)
