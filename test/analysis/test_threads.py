"""An image is prepared while the one before is finished, whatever messages lie between them."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffcut_ros.analysis.frame_result import Analyzer
from diffcut_ros.analysis.run import analyze, analyze_to_folder
from diffcut_ros.analysis.settings import AnalysisOptions, OutputOptions, read_settings
from diffcut_ros.analysis.threads import WriteBehind
from diffcut_ros.core import Pipeline, Scene, SegmenterConfig
from support.recordings import record
from support.scenes import photograph

FRAMES = 4


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Hold back the end of each image until the next one is begun; list how many were begun by then."""
    changed, count, found = threading.Condition(), [0], []
    prepare, finish = Analyzer.prepare, Analyzer.finish

    def prepares(self: Analyzer, scene: Any) -> Any:
        with changed:
            count[0] += 1
            changed.notify()
        return prepare(self, scene)

    def finishes(self: Analyzer, *args: Any) -> Any:
        result, wanted = finish(self, *args), min(len(found) + 2, FRAMES)
        with changed:
            changed.wait_for(lambda: count[0] >= wanted, timeout=5)
            found.append(count[0])
        return result

    monkeypatch.setattr(Analyzer, 'prepare', prepares)
    monkeypatch.setattr(Analyzer, 'finish', finishes)
    return found


@pytest.mark.parametrize('every', [1, 30])
def test_the_next_image_is_prepared_meanwhile(tmp_path: Path, begun: list[int], every: int):
    """Of all images, and of each 30th: then 89 messages lie between them."""
    bag = record(tmp_path / 'bag', every * FRAMES)
    analyze_to_folder(bag, tmp_path / 'out', AnalysisOptions(every=every), OutputOptions())
    assert begun == [2, 3, 4, 4]


def test_images_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A recording whose fourth image ends the reading: the three before it are segmented."""
    bag = record(tmp_path / 'bag', FRAMES)
    whole = [one.segmentation.labels for one in analyze(bag)]
    prepare = Pipeline.prepare

    def fails_at_last(self: Pipeline, scene: Any, *args: Any) -> Any:
        if scene.stamp_ns == last_ns:
            raise RuntimeError('made up')
        return prepare(self, scene, *args)

    last_ns = [one.stamp_ns for one in analyze(bag)][-1]
    monkeypatch.setattr(Pipeline, 'prepare', fails_at_last)
    with pytest.warns(UserWarning, match='made up'):
        found = [one.segmentation.labels for one in analyze(bag)]
    assert len(found) == FRAMES - 1
    assert all(np.array_equal(one, other) for one, other in zip(found, whole, strict=False))


@pytest.mark.parametrize('tau', [0.3, 0.5, 0.8])
@pytest.mark.parametrize('target_segments', [0, 6])
def test_deeper_hierarchies_do_not_change_the_cut(tau: float, target_segments: int):
    segmenter = SegmenterConfig(tau=tau, target_segments=target_segments)
    settings = replace(read_settings(AnalysisOptions()), segmenter=segmenter)
    scenes = [Scene(photograph(96, 128, seed), 33_000_000 * (seed + 1)) for seed in range(3)]
    plain, deeper = Analyzer(settings), Analyzer(settings, hierarchy_tau=0.97)
    for scene in scenes:
        one, other = plain.process(scene).segmentation, deeper.process(scene).segmentation
        assert np.array_equal(one.labels, other.labels)
        assert one.tau == other.tau


def test_a_put_that_a_signal_broke_into_does_not_keep_the_end_waiting():
    """As Condition.notify leaves it between its two steps: the thread is woken, but still counts as one that waits."""
    taken = []
    behind = WriteBehind(taken.append).__enter__()
    condition = behind._queue.not_empty
    while not condition._waiters:
        time.sleep(0.001)
    with behind._queue.mutex:
        behind._queue.queue.append('item')
        condition._waiters[0].release()
    while not (taken and len(condition._waiters) == 2):
        time.sleep(0.001)
    ending = threading.Thread(target=behind.__exit__, args=(KeyboardInterrupt,), daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()
    assert taken == ['item']
