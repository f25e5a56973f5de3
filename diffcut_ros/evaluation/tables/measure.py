"""The ways that figures of the paper are measured, each from a request, a row and a data set to cells."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from diffcut_ros.core import FeatureMap
from diffcut_ros.evaluation.coherence import cell_classes, same_class_roc
from diffcut_ros.evaluation.datasets import load
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.feature_cache import FeatureCache
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.evaluation.tables.request import Request
from diffcut_ros.evaluation.tables.rows import Cell, Row
from diffcut_ros.features import create_extractor

# Rates need no more images than this.
_TIMED_IMAGES = 50
# Cells that same-class ROC is of: bounds the memory, 250 MB at 1280 channels.
_ROC_CELLS = 50_000
_CURVE_POINTS = 200


def mean_iou(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Measure mean IoU by an ordinary evaluation."""
    settings = request.settings(row, dataset, {})
    return [_cell(row, dataset, _one(request, row, dataset, settings))]


def over_tau(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Measure mean IoU at each tau of the row, from one hierarchy per image."""
    summaries = _at_each_tau(request, row, dataset)
    return [_cell(row, dataset, summary, tau) for tau, summary in sorted(summaries.items())]


def over_timestep(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Measure mean IoU with features of each timestep of the row."""
    cells = []
    for step in row.values:
        settings = request.settings(row, dataset, {'diffusion.timestep': str(step)})
        cells.append(_cell(row, dataset, _one(request, row, dataset, settings, f'timestep_{step}'), step))
    return cells


def tuned(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Choose the tau of the row with the largest mean IoU on training images, if it has any, and measure at it."""
    if not row.values:
        return mean_iou(request, row, dataset)
    summaries = _at_each_tau(request, row, dataset, training=True)
    tau = max(summaries, key=lambda tau: summaries[tau]['mean_iou'] or 0)
    settings = request.settings(row, dataset, {'tau': str(tau)})
    cell = _cell(row, dataset, _one(request, row, dataset, settings, 'val'))
    trained = next(iter(summaries.values()))['images']
    note = f'tau {tau} from the first {trained} training images{row.note and "; " + row.note}'
    return [dataclasses.replace(cell, x=tau, note=note)]


def rate(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Measure images per second, features included: of the medians of both, without stored features."""
    if request.jobs != 1:
        raise ValueError(f'--jobs: expected 1, since several at a time slow each other down, received {request.jobs}')
    settings = request.settings(row, dataset, {})
    settings = dataclasses.replace(settings, limit=request.limit or _TIMED_IMAGES)
    summary = _one(request, row, settings.dataset, settings, cache=Cache(request.cache.folder, 0))
    seconds = (summary['features_s']['median'] or 0) + summary['method_s']['median']
    note = '; '.join(part for part in (f'on {summary["machine"]}', row.note) if part)
    return [Cell(row.title, settings.dataset, row.published[dataset], 1 / seconds, summary['images'], note=note)]


@torch.inference_mode()
def same_class(request: Request, row: Row, dataset: str) -> list[Cell]:
    """Measure how well cosine similarity tells cells of one class, over all images; without the background."""
    settings = request.settings(row, dataset, {})
    of, protocol, _ = settings.parts()
    pairs = of.pairs(settings.root, settings.split)[: settings.limit]
    features_of = stored_features(request, settings)
    rng = np.random.default_rng(0)
    features, classes = [], []
    for pair in pairs:
        view = protocol.view(load(of, pair), of)
        found = features_of(view.image_rgb)
        labels = cell_classes(view.truths[0], found.grid_hw).ravel()
        if of.background:
            labels = np.where(labels == len(of.classes) - 1, -1, labels)
        kept = np.flatnonzero(labels >= 0)
        kept = rng.permutation(kept)[: max(1, _ROC_CELLS // len(pairs))]
        features.append(found.flat().cpu()[kept])
        classes.append(labels[kept])
    roc = same_class_roc(torch.cat(features), np.concatenate(classes))
    shown = np.unique(np.linspace(0, len(roc.false_positive_rate) - 1, _CURVE_POINTS).astype(int))
    curve = tuple((float(roc.false_positive_rate[i]), float(roc.true_positive_rate[i])) for i in shown)
    note = '; '.join(part for part in (f'{roc.pairs} pairs of cells', row.note) if part)
    return [Cell(row.title, dataset, row.published[dataset], roc.area, len(pairs), note=note, curve=curve)]


def stored_features(request: Request, settings: Settings) -> Callable[[np.ndarray], FeatureMap]:
    """Return the backend's features as a function of an image, uint8 [H, W, 3]; computed where they are not stored."""
    extractor = create_extractor(settings.backend, device=settings.device, **vars(settings.backend_options))
    cache = FeatureCache(request.cache.folder, request.cache.limit_bytes, extractor.fingerprint())
    return lambda image_rgb: cache.features(extractor, image_rgb)[0]


def _one(
    request: Request, row: Row, dataset: str, settings: Settings, part: str = '', cache: Cache | None = None
) -> dict:
    folder = request.folder(row, dataset) / part
    return request.evaluate(f'{row.title}, {dataset}', [(settings, folder)], cache)[0]


def _at_each_tau(request: Request, row: Row, dataset: str, training: bool = False) -> dict[float, dict]:
    """Return tau -> the figures at it; the largest tau comes first, so that its hierarchy serves the others."""
    taus = sorted(row.values, reverse=True)
    prefix = 'train_tau' if training else 'tau'
    variants = [
        (
            request.settings(row, dataset, {'tau': str(tau)}, training),
            request.folder(row, dataset) / f'{prefix}_{tau}',
        )
        for tau in taus
    ]
    title = f'{row.title}, {dataset}{", training images" if training else ""}'
    return dict(zip(taus, request.evaluate(title, variants), strict=True))


def _cell(row: Row, dataset: str, summary: dict, x: float | None = None) -> Cell:
    measured = None if summary['mean_iou'] is None else 100 * summary['mean_iou']
    return Cell(row.title, dataset, row.published[dataset], measured, summary['images'], x, row.note)
