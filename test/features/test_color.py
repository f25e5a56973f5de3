import cv2
import numpy as np
import pytest
import torch

from diffcut_ros.core import Segmenter, affinity_matrix
from diffcut_ros.features import create_extractor
from diffcut_ros.features.cells import (
    _area_means,
    _contours,
    cell_appearance,
    contour_flow,
    diffuse,
    grid_size,
    work_image,
)
from diffcut_ros.features.probe import probe
from support.scenes import quadrants, same_partition


@pytest.mark.parametrize(
    ('image_hw', 'grid_hw'),
    [
        ((480, 640), (32, 43)),
        ((640, 480), (43, 32)),
        ((512, 512), (32, 32)),
        ((1080, 1920), (32, 57)),
        ((1000, 2000), (32, 64)),
        ((20, 30), (20, 30)),
        ((1, 9), (1, 9)),
        ((8, 128), (8, 128)),
    ],
)
def test_cells_are_square_and_the_image_keeps_its_aspect(image_hw, grid_hw):
    feature_map = create_extractor('color', device='cpu')(np.zeros((*image_hw, 3), np.uint8))
    assert feature_map.grid_hw == grid_hw == grid_size(image_hw, 32)
    assert feature_map.image_size_hw == image_hw


@pytest.mark.parametrize('cells', [2, 5, 32, 128])
@pytest.mark.parametrize('image_hw', [(500, 1001), (128, 2048), (3, 5000), (1, 76800)])
def test_a_long_image_has_no_more_cells_than_one_of_two_to_one(image_hw, cells):
    rows, columns = grid_size(image_hw, cells)
    assert rows * columns <= 2 * cells**2
    if rows > 1:  # square, as in images that are not long
        assert columns / rows == pytest.approx(image_hw[1] / image_hw[0], rel=0.5 / rows)
    assert grid_size(image_hw[::-1], cells) == (columns, rows)


@pytest.mark.parametrize('image_hw', [(128, 2048), (1, 76800), (76800, 1), (2, 40000)])
@pytest.mark.parametrize('cells', [2, 8])
def test_a_long_image_is_segmented(image_hw, cells):
    """Half dark, half bright: two segments, border in the middle."""
    image = np.full((*image_hw, 3), 40, np.uint8)
    image[tuple(slice(side // 2, None) if side == max(image_hw) else slice(None) for side in image_hw)] = 200
    extractor = create_extractor('color', device='cpu', cells=cells, position_weight=0.0)
    labels = Segmenter(extractor).segment(image).labels
    assert len(np.unique(labels)) == 2
    along = labels.max(int(np.argmin(image_hw)))
    assert abs(int(np.flatnonzero(np.diff(along))[0]) - len(along) // 2) <= len(along) / (2 * cells**2) + 1


def test_quadrants_come_out():
    image, expected = quadrants(64, 128)
    found = Segmenter(create_extractor('color', device='cpu')).segment(image)
    assert len(found.segments) == 4
    assert same_partition(found.labels, expected)


@pytest.mark.parametrize('sigma', [0, 6])
def test_a_uniform_image_is_one_segment_noise_or_not(sigma):
    noise = np.random.default_rng(0).normal(0, sigma, (480, 640, 3))
    image = np.clip(120 + noise, 0, 255).astype(np.uint8)
    assert len(Segmenter(create_extractor('color', device='cpu')).segment(image).segments) == 1


def test_a_gentle_gradient_is_not_cut_by_its_size():
    image = np.broadcast_to(np.linspace(100, 140, 640, dtype=np.uint8)[None, :, None], (480, 640, 3))
    assert len(Segmenter(create_extractor('color', device='cpu')).segment(np.ascontiguousarray(image)).segments) <= 2


def test_texture_tells_stripes_from_grey_of_the_same_mean():
    image = np.full((128, 128, 3), 127, np.uint8)
    image[:, 64::4] = image[:, 65::4] = 87
    image[:, 66::4] = image[:, 67::4] = 167
    found = Segmenter(create_extractor('color', device='cpu')).segment(image)
    assert len(np.unique(found.labels[:, :56])) == 1
    assert not np.isin(found.labels[:, 72:], found.labels[0, 0]).any()


def test_cosine_similarity_is_a_gaussian_of_the_colour_difference():
    config = {'texture_weight': 0.0, 'position_weight': 0.0, 'diffusion': 0.0, 'kernel_width': 30.0}
    grey = np.array([0, 30, 60, 90, 120, 255], np.uint8)
    image = np.repeat(grey, 32)[None, :, None].repeat(32, 0).repeat(3, 2)
    unit = torch.nn.functional.normalize(
        create_extractor('color', device='cpu', cells=4, **config)(image).flat(), dim=1
    )
    lightness = cell_appearance(work_image(image, (2, 12)), 0.0)[0, :, 0]
    expected = np.exp(-((lightness[:, None] - lightness) ** 2) / (2 * 30.0**2))
    assert np.abs((unit @ unit.T).numpy()[:12, :12] - expected).max() < 0.15
    assert affinity_matrix(unit).min() == 0


def test_same_image_same_features():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    first, second = (create_extractor('color', device='cpu')(image).features for _ in range(2))
    assert torch.equal(first, second)


def dense_diffusion(column: np.ndarray, link: np.ndarray) -> np.ndarray:
    laplacian = np.zeros((len(column), len(column)))
    for i, conductance in enumerate(link):
        laplacian[i : i + 2, i : i + 2] += conductance * np.array([[1, -1], [-1, 1]])
    return np.linalg.solve(np.eye(len(column)) + laplacian, column)


def test_diffusion_of_a_single_column_solves_the_equation():
    cells = np.random.default_rng(0).random((7, 1, 3)).astype(np.float32)
    conductance = np.exp(-((cells[1:, 0, :2] - cells[:-1, 0, :2]) ** 2).sum(1) / 0.5**2)
    expected = cells[:, 0].astype(float)
    for share in (24 / 63, 6 / 63, 1.5 / 63):
        expected = dense_diffusion(expected, 3.0 * share * conductance)
    assert np.allclose(diffuse(cells, 2, 0.5, 3.0)[:, 0], expected, atol=1e-5)


def test_diffusion_keeps_the_mean_and_stops_at_edges():
    cells = np.zeros((6, 8, 1), np.float32)
    cells[:, 4:] = 50
    cells += np.random.default_rng(0).random(cells.shape, np.float32)
    smooth = diffuse(cells, 1, 5.0, 1000.0)
    assert smooth.mean() == pytest.approx(cells.mean(), rel=1e-4)
    assert smooth[:, :4].std() < 0.1 * cells[:, :4].std()
    assert smooth[:, 4:].mean() - smooth[:, :4].mean() == pytest.approx(50, abs=1)
    assert np.array_equal(diffuse(cells, 1, 5.0, 0.0), cells)


def test_a_contour_is_where_a_line_of_pixels_is_and_colour_stops_there():
    image = np.full((240, 320, 3), 120, np.uint8)
    image[:, 160:] = 122
    image[:, 160:162] = 114  # two pixels wide: as means over cells, both sides differ by less than 1 CIELAB
    lab = work_image(image, (30, 40))
    down, right = contour_flow(lab, 0.5)
    assert down.shape == (29, 40, 1)
    assert right.shape == (39, 30, 1)
    assert right[19].max() < 0.01
    assert np.delete(right, 19, 0).min() > 0.99
    assert down.min() > 0.99
    cells = cell_appearance(lab, 0.0)
    difference = [
        diffuse(cells, 7, 4.0, 1000.0, flow)[:, [19, 20], 0] @ [-1, 1] for flow in ((down, right), (1.0, 1.0))
    ]
    assert difference[0].min() > 0.6
    assert difference[1].max() < 0.1


def test_position_flows_across_a_contour():
    cells = np.zeros((6, 8, 2), np.float32)
    cells[:, 4:] = 1
    right = np.ones((7, 6, 1), np.float32)
    right[3] = 0
    smooth = diffuse(cells, 1, 5.0, 1000.0, (1.0, right))
    assert np.allclose(smooth[:, :, 0], cells[:, :, 0], atol=1e-5)
    assert np.ptp(smooth[:, :, 1]) < 0.1


def test_texture_is_not_a_contour():
    noise = np.random.default_rng(0).integers(80, 176, (256, 344, 1), np.uint8).repeat(3, 2)
    assert all(flow.min() > 0.5 for flow in contour_flow(work_image(noise, (32, 43)), 0.5))


@pytest.mark.parametrize('image_hw', [(1, 9), (9, 1), (2, 2), (3, 40)])
def test_images_of_few_cells(image_hw):
    image = np.random.default_rng(0).integers(0, 256, (*image_hw, 3), np.uint8)
    features = create_extractor('color', device='cpu')(image).features
    assert features.shape[:2] == image_hw
    assert features.isfinite().all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cells': 1}, 'cells: expected 2 to 128, received 1'),
        ({'kernel_width': 0.0}, r'kernel_width: expected 1\.0 to 500\.0 CIELAB'),
        ({'colour': 1}, 'color: expected options among cells, kernel_width, .*, received colour'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_extractor('color', **options)


def test_fingerprint_tells_settings_apart():
    digest = create_extractor('color', device='cpu').fingerprint()
    assert digest == create_extractor('color', device='cpu').fingerprint()
    assert digest != create_extractor('color', device='cpu', cells=31).fingerprint()


@pytest.mark.parametrize(
    'size_hw', [(1, 1), (1, 3000), (3000, 1), (7, 900), (480, 640), (256, 344), (257, 1031), (1080, 1920)]
)
def test_area_means_are_those_of_opencv(size_hw):
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    image.setflags(write=False)  # as images of messages are
    for size in (
        (1, 1),
        (max(1, size_hw[0] // 3), max(1, size_hw[1] // 2 - 1)),
        (min(256, size_hw[0]), min(344, size_hw[1])),
    ):
        out = np.empty((*size, 3), np.float32)
        _area_means(image, out)
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).reshape(out.shape)
        assert abs(out - expected).max() <= 1  # halves are rounded either way
        assert (out == expected).mean() > 0.9 or image.size < 100


@pytest.mark.parametrize('side_hw', [(8, 8), (8, 80), (80, 8), (64, 104)])
def test_contours_are_steps_between_means_of_three_lines(side_hw):
    lab = np.random.default_rng(0).normal(50, 20, (*side_hw, 3)).astype(np.float32)
    height, width = (side // 8 for side in side_hw)
    step = np.zeros((height - 1, width), np.float32)
    for i, j in np.ndindex(step.shape):
        lines = []
        for x in range(8 * j, 8 * j + 8):
            column = lab[:, x]
            means = [
                (column[y + 2 : y + 5].mean(0), column[y - 1 : y + 2].mean(0)) for y in range(8 * i + 2, 8 * i + 10)
            ]
            lines.append(max(np.linalg.norm(below - above) for below, above in means))
        step[i, j] = np.sort(lines)[2]
    usual = cv2.blur(step, (5, 5)).reshape(step.shape) if step.size else step
    found = _contours(np.ascontiguousarray(lab.transpose(2, 0, 1)))
    np.testing.assert_allclose(found, np.maximum(step - 1.5 * usual, 0), atol=1e-3)


def test_features_are_those_of_files_of_classes_taught_before():
    """Of the picture whose features such files keep: 24 of 2048 numbers, times 10,000."""
    found = probe(create_extractor('color', device='cpu'))[:, ::100] * 1e4
    expected = [
        [-663, 773, -597, -278, -106, -191],
        [-605, 547, -495, -598, 51, -599],
        [584, -333, 185, 504, -655, -349],
        [189, -62, 103, 492, -742, -600],
    ]
    assert np.abs(found - expected).max() < 20
