"""Pictures of the similarity of one cell to the cells of its own image and of others (DiffCut, figure 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from diffcut_ros.evaluation.coherence import cell_classes, similarity_map
from diffcut_ros.evaluation.datasets import Pair, load
from diffcut_ros.evaluation.protocols import View
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.evaluation.tables.measure import stored_features
from diffcut_ros.evaluation.tables.request import ANY, Request
from diffcut_ros.evaluation.tables.rows import Cell, Row, file_name
from diffcut_ros.media.heat_map import draw_heat_map

_PICTURES, _TARGETS = 4, 3
# So many images, spread over the split, are looked through for those that show a class.
_CANDIDATES = 100
# An image shows a class where a circle fits into it whose radius is this share of the shorter side: with 32 cells along
# that side, the cell in its middle is wholly of the class.
_RADIUS = 1 / 16
_SIDE_PX, _GAP_PX = 320, 6


@dataclass(frozen=True)
class _Shown:
    """An image that shows a class: the middle and the radius of the largest circle within it, in pixels of labels."""

    pair: Pair
    row: int
    column: int
    radius: float


@torch.inference_mode()
def similarity(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Draw similarities to a cell of each of a few classes, and measure how well they tell that class.

    For the classes that most images show, the reference is the image with the largest circle of that class, and the
    cell the one in the circle's middle; the targets are spread over the other images that show it. A picture has the
    images above, with the class outlined, and their similarities below, on one scale of colours: so one sees whether
    the class is as similar in other images. The area under the ROC curve, of all cells of the picture, says the same.
    """
    settings = request.settings(row, dataset, {})
    of, protocol, _ = settings.parts()
    features_of = stored_features(request, settings)
    cells = []
    folder = request.folder(row, dataset)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, images in _most_shown(settings):
        reference = max(images, key=lambda image: image.radius)
        others = [image for image in images if image is not reference]
        chosen = [reference, *(others[i] for i in _spread(len(others), _TARGETS))]
        views = [protocol.view(load(of, image.pair), of) for image in chosen]
        features = [features_of(view.image_rgb) for view in views]
        (h, w), (height, width) = features[0].grid_hw, views[0].truths[0].shape
        cell = reference.row * h // height, reference.column * w // width
        maps = [similarity_map(features[0], cell, target) for target in features]
        name = of.classes[kind]
        file = f'{settings.dataset}_{file_name(name)}.png'
        Image.fromarray(_picture(views, maps, cell, kind)).save(folder / file)
        first, *others = (image.pair.name for image in chosen)
        note = f'{file}: row {cell[0]}, column {cell[1]} of {first}, to {", ".join(others)}'
        title, area = f'{row.title}, {name}', _area(views, maps, kind)
        cells.append(Cell(title, settings.dataset, row.published[dataset], area, len(chosen), note=note))
    return cells


def together(request: Request, rows: Sequence[Row]) -> None:
    """Leave one picture for each class: its images, and below them the similarities by each row that has some."""
    pictures: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        for path in sorted(request.folder(row, ANY).glob('*.png')):
            pictures.setdefault(path.name, {})[request.shown(row)] = np.array(Image.open(path))
    for name, by_row in pictures.items():
        above, *_ = by_row.values()
        strips = [above[:_SIDE_PX]]
        for title, picture in by_row.items():
            strips += [np.full_like(picture[:_GAP_PX], 255), picture[-_SIDE_PX:].copy()]
            if len(by_row) > 1:
                for ink, thickness in ((0, 6), (255, 2)):  # white with a dark rim
                    cv2.putText(
                        strips[-1], title, (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1, (ink,) * 3, thickness, cv2.LINE_AA
                    )
        Image.fromarray(np.vstack(strips)).save(request.out / name)


def _most_shown(settings: Settings) -> list[tuple[int, list[_Shown]]]:
    """Return the classes that most images show, and those images; no background."""
    of, protocol, _ = settings.parts()
    if not of.classes:
        raise ValueError(f'data set: expected one with classes, received {settings.dataset}')
    pairs = of.pairs(settings.root, settings.split)[: settings.limit]
    shown: dict[int, list[_Shown]] = {}
    for i in _spread(len(pairs), _CANDIDATES):
        (truth,) = protocol.view(load(of, pairs[i]), of).truths
        for kind in np.unique(truth[truth >= 0]):
            # A border of zeros, so that the circle is within the image.
            inside = np.pad((truth == kind).astype(np.uint8), 1)
            radii = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
            row, column = map(int, np.unravel_index(radii.argmax(), radii.shape))
            if radii[row, column] >= _RADIUS * min(truth.shape):
                shown.setdefault(int(kind), []).append(_Shown(pairs[i], row, column, float(radii[row, column])))
    if of.background:
        shown.pop(len(of.classes) - 1, None)
    several = sorted((item for item in shown.items() if len(item[1]) > 1), key=lambda item: (-len(item[1]), item[0]))
    if not several:
        raise ValueError(f'{settings.root}: expected a class that at least two images show, found none')
    return several[:_PICTURES]


def _spread(count: int, most: int) -> list[int]:
    """Return so many of the numbers below `count`, evenly spread, or all."""
    return np.linspace(0, count - 1, min(count, most)).astype(int).tolist()


def _picture(views: list[View], maps: list[np.ndarray], cell: tuple[int, int], kind: int) -> np.ndarray:
    """Return the images, with the class outlined, above their similarities, uint8 [H, W, 3]; the first has the cell."""
    limits = float(min(found.min() for found in maps)), float(max(found.max() for found in maps))
    columns = []
    for i, (view, found) in enumerate(zip(views, maps, strict=True)):
        height, width = view.image_rgb.shape[:2]
        small = cv2.resize(view.image_rgb, (width * _SIDE_PX // height, _SIDE_PX), interpolation=cv2.INTER_AREA)
        marked = None if i else cell
        drawn = draw_heat_map(small, found, marked, 0.8, limits)
        inside = cv2.resize(
            (view.truths[0] == kind).astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        outline, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        above = draw_heat_map(cv2.drawContours(small, outline, -1, (255, 255, 0), 2), found, marked, opacity=0)
        columns.append(np.vstack([above, np.full((_GAP_PX, *small.shape[1:]), 255, np.uint8), drawn]))
    gap = np.full((len(columns[0]), _GAP_PX, 3), 255, np.uint8)
    return np.hstack([part for column in columns for part in (column, gap)][:-1])


def _area(views: list[View], maps: list[np.ndarray], kind: int) -> float | None:
    """Return the area under the ROC curve of "of that class", over cells that have one; None where all are, or none."""
    classes = np.concatenate(
        [cell_classes(view.truths[0], found.shape).ravel() for view, found in zip(views, maps, strict=True)]
    )
    similarities = np.concatenate([found.ravel() for found in maps])
    same, known = classes == kind, classes >= 0
    return float(roc_auc_score(same[known], similarities[known])) if len(set(same[known])) == 2 else None
