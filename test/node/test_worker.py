import threading

import pytest

from diffcut_ros.node.worker import LatestFrameWorker, RateLimit


class Pipeline:
    """A slow pipeline that a test can hold: frame 'slow' waits for `release`."""

    def __init__(self):
        self.done, self.errors = [], []
        self.busy, self.release, self.idle = threading.Event(), threading.Event(), threading.Semaphore(0)

    def process(self, frame):
        if frame == 'slow':
            self.busy.set()
            assert self.release.wait(10)
        if frame == 'bad':
            raise RuntimeError('no good')
        self.done.append(frame)
        self.idle.release()

    def recut(self):
        self.process('recut')

    def fail(self, error):
        self.errors.append(error)
        self.idle.release()

    def wait(self, count):
        for _ in range(count):
            assert self.idle.acquire(timeout=10)


@pytest.fixture
def pipeline():
    made = Pipeline()
    made.worker = LatestFrameWorker(made.process, made.recut, made.fail, rate_hz=0.0)
    yield made
    made.release.set()
    made.worker.close()


def test_the_newest_frame_wins(pipeline):
    pipeline.worker.submit('slow', 0)
    assert pipeline.busy.wait(10)
    for i in range(5):
        pipeline.worker.submit(i, i + 1)
    pipeline.release.set()
    pipeline.wait(2)
    assert pipeline.done == ['slow', 4]
    assert dict(pipeline.worker.counts) == {'processed': 2, 'replaced': 4}


def test_a_failure_is_counted_and_the_next_frame_processed(pipeline):
    pipeline.worker.submit('bad', 0)
    pipeline.wait(1)
    pipeline.worker.submit('good', 1)
    pipeline.wait(1)
    assert [str(error) for error in pipeline.errors] == ['no good']
    assert pipeline.done == ['good']
    assert pipeline.worker.counts['failed'] == 1


def test_recut_comes_before_the_next_frame_and_requests_merge(pipeline):
    pipeline.worker.submit('slow', 0)
    assert pipeline.busy.wait(10)
    pipeline.worker.submit('next', 1)
    pipeline.worker.request_recut()
    pipeline.worker.request_recut()
    pipeline.release.set()
    pipeline.wait(3)
    assert pipeline.done == ['slow', 'recut', 'next']


def passed(rate_hz, stamps_ms):
    limit, kept = RateLimit(rate_hz), []
    for stamp in stamps_ms:
        if limit.ready(stamp * 10**6):
            limit.passed(stamp * 10**6)
            kept.append(stamp)
    return kept


def test_rate_is_kept_when_stamps_jitter():
    # 30 Hz with a millisecond of jitter at a limit of 10 Hz: every third, although some gaps are below 100 ms.
    stamps = [round(i * 100 / 3) + (-1, 0, 1)[i % 3 if i % 2 else 1] for i in range(31)]
    assert len(passed(10.0, stamps)) == pytest.approx(11, abs=1)


def test_rate_limits():
    assert passed(0.0, [0, 1, 2]) == [0, 1, 2]
    assert passed(5.0, range(0, 1000, 50)) == [0, 200, 400, 600, 800]
    # After a pause there is no burst.
    assert passed(5.0, [0, 5000, 5050, 5100, 5200]) == [0, 5000, 5200]


def test_time_may_jump_back():
    assert passed(1.0, [100_000, 100_500, 0, 500, 1000]) == [100_000, 0, 1000]
