"""Evaluates the images of a data set, several at a time, into a folder of results."""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from diffcut_ros.evaluation.datasets import Pair
from diffcut_ros.evaluation.evaluator import Cache, Evaluator, ImageResult
from diffcut_ros.evaluation.measure import machine
from diffcut_ros.evaluation.results import ResultsFolder
from diffcut_ros.evaluation.settings import Settings
from diffcut_ros.evaluation.totals import Totals
from diffcut_ros.features.fingerprint import package_versions

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
    return evaluate_all([(settings, out)], cache, jobs, resume, on_image)[0]


def evaluate_all(
    variants: Sequence[tuple[Settings, Path]],
    cache: Cache,
    jobs: int = 1,
    resume: bool = False,
    on_image: Callable[[int, int, Totals], None] = lambda done, images, totals: None,
) -> list[dict[str, Any]]:
    """Evaluate several options of one method at once, each into a folder of its own; otherwise as `evaluate`.

    What they have in common is computed once per image; see `Evaluator.all`. The totals that `on_image` is called with
    are those of the first.

    Args:
        variants: settings that differ in the method's options alone, and their folders.
        cache, jobs, resume, on_image: see `evaluate`.
    """
    first = variants[0][0]
    dataset, _, _ = first.parts()
    pairs = dataset.pairs(first.root, first.split)[: first.limit]
    totals = [Totals(dataset.classes) for _ in variants]
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(ResultsFolder(out, about(settings, len(pairs)), resume)) for settings, out in variants
        ]
        for folder, total in zip(folders, totals, strict=True):
            for result in folder.done.values():
                total.add(result)
        left = [pair for pair in pairs if any(pair.name not in folder.done for folder in folders)]
        on_image(len(pairs) - len(left), len(pairs), totals[0])
        make = functools.partial(_evaluator_of, first, cache, [settings.options for settings, _ in variants])
        for done, results in enumerate(each(make, left, jobs), len(pairs) - len(left) + 1):
            for folder, total, result in zip(folders, totals, results, strict=True):
                if result.image not in folder.done:
                    folder.add(result)
                    total.add(result)
            on_image(done, len(pairs), totals[0])
        on = {'machine': machine(torch.device(first.device))}
        summaries = [total.summary() | on for total in totals]
        for folder, summary in zip(folders, summaries, strict=True):
            folder.finish(summary, [pair.name for pair in pairs])
    return summaries


def about(settings: Settings, images: int) -> dict[str, Any]:
    """Return all that the results of images depend on, as for `ResultsFolder`."""
    return {
        'settings': settings.describe() | {'images': images},
        'versions': package_versions(_PACKAGES),
    }


Result = TypeVar('Result')


def _evaluator_of(settings: Settings, cache: Cache, options: list[Any]) -> Callable[[Pair], list[ImageResult]]:
    evaluator = Evaluator(settings, cache)
    return lambda pair: evaluator.all(pair, options)


def each(make: Callable[[], Callable[[Pair], Result]], pairs: list[Pair], jobs: int) -> Iterator[Result]:
    """Yield what is made of images as it is done; with several jobs in any order.

    Args:
        make: called once in each process; returns the function from an image to what is made of it.
        pairs: the images.
        jobs: processes.
    """
    if not pairs:
        return
    if jobs == 1:
        yield from map(make(), pairs)
        return
    # Not forked: a copy of a process that has initialised CUDA cannot use it.
    pool = ProcessPoolExecutor(min(jobs, len(pairs)), multiprocessing.get_context('spawn'), _begin, (make, jobs))
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


_make: Callable[[], Callable[[Pair], Any]] | None = None
_evaluate_image: Callable[[Pair], Any] | None = None


def _begin(make: Callable[[], Callable[[Pair], Any]], jobs: int) -> None:
    """Prepare a process of the pool."""
    global _make
    _make = make
    # Images are spread over the cores; more threads within an image would only get in their way.
    threads = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _evaluate(pair: Pair) -> Any:
    """Evaluate an image in a process of the pool."""
    global _evaluate_image
    if _evaluate_image is None:  # not in `_begin`, whose errors the pool does not pass on
        _evaluate_image = _make()
    return _evaluate_image(pair)
