"""Evaluates the images of a data set, several at a time, into a folder of results."""

import importlib.metadata
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import cv2
import torch

from diffcut_ros.evaluation.datasets import Pair
from diffcut_ros.evaluation.evaluator import Cache, Evaluator, ImageResult
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.results import ResultsFolder
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.evaluation.totals import Totals

# Packages whose versions may change results.
_PACKAGES = (
    'diffcut_ros', 'torch', 'numpy', 'scipy', 'opencv-python-headless', 'opencv-python', 'pillow', 'scikit-image',
    'scikit-learn', 'diffusers',
)  # fmt: skip


def evaluate(
    settings: Settings,
    out: Path,
    cache: Cache,
    jobs: int = 1,
    resume: bool = False,
    on_image: Callable[[int, int, Totals], None] = lambda done, images, totals: None,
) -> dict[str, Any]:
    """Evaluate a data set and leave settings.json, images.jsonl, images.csv and results.json in a folder.

    Args:
        settings: what is evaluated and how.
        out: the folder; see `ResultsFolder`.
        cache: of features.
        jobs: processes that evaluate images at the same time, each with an extractor of its own.
        resume: go on with an evaluation that was interrupted.
        on_image: called with the number of images done, of all images, and their totals: at the beginning, with those
            of the evaluation that is resumed, and after each image.

    Returns:
        The figures of the data set, as in results.json.

    Raises:
        ValueError: for settings, a data set, an image or a folder that cannot be used; says what was expected.
        MemoryError: when the device has too little memory.
        OSError: when results or features cannot be written; the evaluation can be resumed.
    """
    dataset, _, _ = settings.parts()
    pairs = dataset.pairs(settings.root, settings.split)[: settings.limit]
    about = {
        'settings': settings.describe() | {'images': len(pairs)},
        'versions': {name: version for name in _PACKAGES if (version := _version(name))},
    }
    totals = Totals(dataset.classes)
    with ResultsFolder(out, about, resume) as folder:
        for result in folder.done.values():
            totals.add(result)
        on_image(len(folder.done), len(pairs), totals)
        left = [pair for pair in pairs if pair.name not in folder.done]
        for result in _results(settings, cache, left, jobs):
            folder.add(result)
            totals.add(result)
            on_image(len(folder.done), len(pairs), totals)
        summary = totals.summary() | {'machine': machine(torch.device(settings.device))}
        folder.finish(summary, [pair.name for pair in pairs])
    return summary


def _results(settings: Settings, cache: Cache, pairs: list[Pair], jobs: int) -> Iterator[ImageResult]:
    """Yield results as they are done; with several jobs in any order."""
    if not pairs:
        return
    if jobs == 1:
        yield from map(Evaluator(settings, cache), pairs)
        return
    # Not forked: a copy of a process that has initialised CUDA cannot use it.
    pool = ProcessPoolExecutor(
        min(jobs, len(pairs)), multiprocessing.get_context('spawn'), _begin, (settings, cache, jobs)
    )
    try:
        for future in as_completed(_submit(pool, pairs)):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, pairs: list[Pair]) -> list[Future]:
    """Hand images to a pool, whose processes start here, and are not reached by Ctrl-C: it is for this one alone."""
    resource_tracker.ensure_running()  # which unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [pool.submit(_evaluate, pair) for pair in pairs]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_settings: tuple[Settings, Cache] | None = None
_evaluator: Evaluator | None = None


def _begin(settings: Settings, cache: Cache, jobs: int) -> None:
    """Prepare a process of the pool."""
    global _settings
    _settings = settings, cache
    # Images are spread over the cores; more threads within an image would only get in their way.
    threads = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _evaluate(pair: Pair) -> ImageResult:
    """Evaluate an image in a process of the pool."""
    global _evaluator
    if _evaluator is None:  # not in `_begin`, whose errors the pool does not pass on
        _evaluator = Evaluator(*_settings)
    return _evaluator(pair)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ''
