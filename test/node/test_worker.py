import threading
import time

import pytest

from diffcut_ros.node.worker import LatestFrameWorker, OnRequest, Source
from diffcut_ros.stream.rate import RateLimit
from support.waiting import wait_for


class Pipeline:
    """A slow pipeline that a test can hold: preparing 'slow' waits for `release`, finishing 'late' for `finishing`.

    Frames that were prepared are in `prepared`, those that were finished in `done`.
    """

    def __init__(self, *names: str, overlap: bool = False):
        self.prepared, self.done = [], []
        self.busy, self.idle = threading.Event(), threading.Semaphore(0)
        self.release, self.finishing = threading.Event(), threading.Event()
        self.sources = {name: Source(rate_hz=0.0) for name in names}
        self.errors = []
        self.worker = LatestFrameWorker(self.sources, self.prepare, self.finish, self.errors.append, overlap)

    def prepare(self, frames):
        if 'slow' in frames.values():
            self.hold(self.release)
        self.prepared.append(frames)
        if 'unfit' in frames.values():
            raise ValueError('no features')
        yield frames

    def finish(self, frames):
        if 'late' in frames.values():
            self.hold(self.finishing)
        self.done.append(frames)
        self.idle.release()
        if 'bad' in frames.values():
            raise MemoryError('not enough')

    def hold(self, until):
        self.busy.set()
        assert until.wait(10)

    def wait(self, count):
        for _ in range(count):
            assert self.idle.acquire(timeout=10)


@pytest.fixture(params=[False, True], ids=['one thread', 'overlap'])
def pipeline(request):
    made = Pipeline('front', 'rear', overlap=request.param)
    yield made
    made.release.set()
    assert made.worker.close(10)


@pytest.fixture
def overlapping():
    made = Pipeline('front', 'rear', overlap=True)
    yield made
    made.release.set()
    made.finishing.set()
    assert made.worker.close(10)


def test_the_newest_frame_wins(pipeline):
    pipeline.worker.submit('front', 'slow', 0)
    assert pipeline.busy.wait(10)
    assert pipeline.worker.overdue(0)
    for i in range(5):
        pipeline.worker.submit('front', i, i + 1)
    pipeline.release.set()
    pipeline.wait(2)
    assert pipeline.done == [{'front': 'slow'}, {'front': 4}]
    assert dict(pipeline.sources['front'].counts) == {'taken': 2, 'replaced': 4}


def test_a_call_is_overdue_once_a_period(pipeline):
    """Whatever other periods it is asked for meanwhile."""
    assert not pipeline.worker.overdue(0)
    pipeline.worker.submit('front', 'slow', 0)
    assert pipeline.busy.wait(10)
    wait_for(lambda: pipeline.worker.overdue(0.1))
    for period_s in (3600, 60, 3600, 60):
        assert not pipeline.worker.overdue(period_s)
    wait_for(lambda: pipeline.worker.overdue(0.1))
    pipeline.worker.forgive(1e9)
    assert not pipeline.worker.overdue(60)
    pipeline.release.set()
    pipeline.wait(1)
    wait_for(lambda: not pipeline.worker.overdue(0))


def test_cameras_that_wait_are_served_together(pipeline):
    pipeline.worker.submit('front', 'slow', 0)
    assert pipeline.busy.wait(10)
    for i in range(5):
        pipeline.worker.submit('front', f'front {i}', i + 1)
    pipeline.worker.submit('rear', 'rear', 0)
    pipeline.release.set()
    pipeline.wait(2)
    assert pipeline.done[1] == {'front': 'front 4', 'rear': 'rear'}


def test_each_source_has_its_own_rate(pipeline):
    for source in pipeline.sources.values():
        source.limit.rate_hz = 1.0
    pipeline.worker.submit('front', 'a', 10**9)
    pipeline.wait(1)
    pipeline.worker.submit('front', 'b', 10**9 + 1)
    pipeline.worker.submit('rear', 'c', 10**9 + 1)
    pipeline.wait(1)
    assert pipeline.done == [{'front': 'a'}, {'rear': 'c'}]
    assert pipeline.sources['front'].counts['skipped'] == 1


@pytest.mark.parametrize('frame', ['slow', 'late'])
@pytest.mark.parametrize('overlap', [False, True])
def test_a_thread_that_is_busy_does_not_hold_up_the_end(frame, overlap):
    pipeline = Pipeline('front', overlap=overlap)
    pipeline.worker.submit('front', frame, 0)
    assert pipeline.busy.wait(10)
    assert not pipeline.worker.close(0.1)
    pipeline.worker.submit('front', 'too late', 1)
    pipeline.release.set()
    pipeline.finishing.set()
    assert pipeline.worker.close(10)
    assert pipeline.done == [{'front': frame}]


def test_the_next_frame_is_prepared_while_one_is_finished_and_no_more(overlapping):
    pipeline = overlapping
    pipeline.worker.submit('front', 'late', 0)
    assert pipeline.busy.wait(10)
    pipeline.worker.submit('front', 'next', 1)
    wait_for(lambda: len(pipeline.prepared) == 2)
    for i in range(5):
        pipeline.worker.submit('front', i, i + 2)
        time.sleep(0.05)  # time to take it, which it is not
    # Dropped before it is prepared, not after.
    assert dict(pipeline.sources['front'].counts) == {'taken': 2, 'replaced': 4}
    assert not pipeline.done
    pipeline.finishing.set()
    pipeline.wait(3)
    assert pipeline.done == pipeline.prepared == [{'front': 'late'}, {'front': 'next'}, {'front': 4}]


def test_one_thread_prepares_nothing_while_a_frame_is_finished():
    pipeline = Pipeline('front')
    pipeline.worker.submit('front', 'late', 0)
    assert pipeline.busy.wait(10)
    pipeline.worker.submit('front', 'next', 1)
    pipeline.worker.submit('front', 'newer', 2)
    assert pipeline.prepared == [{'front': 'late'}]
    pipeline.finishing.set()
    pipeline.wait(2)
    assert pipeline.worker.close(10)
    assert pipeline.done == [{'front': 'late'}, {'front': 'newer'}]


def test_what_was_prepared_is_finished_before_the_end():
    pipeline = Pipeline('front', overlap=True)
    pipeline.worker.submit('front', 'late', 0)
    assert pipeline.busy.wait(10)
    pipeline.worker.submit('front', 'next', 1)
    wait_for(lambda: len(pipeline.prepared) == 2)
    assert not pipeline.worker.close(0.1)
    pipeline.finishing.set()
    assert pipeline.worker.close(10)
    assert pipeline.done[-1] == {'front': 'next'}


def test_one_camera_is_finished_while_the_next_is_prepared():
    finished, prepared = threading.Event(), []

    def prepare(frames):
        for name in frames:
            if prepared:
                assert finished.wait(10)
            prepared.append(name)
            yield name

    sources = {name: Source(rate_hz=0.0) for name in ('front', 'rear')}
    for source in sources.values():
        source.offer('image', 0)
    worker = LatestFrameWorker(sources, prepare, lambda _: finished.set(), pytest.fail, overlap=True)
    wait_for(lambda: len(prepared) == 2)
    assert worker.close(10)


def test_waiting_for_the_frame_before_counts_for_no_frame(overlapping):
    worker = overlapping.worker
    worker.submit('front', 'late', 0)
    assert overlapping.busy.wait(10)
    worker.submit('front', 'slow', 1)
    wait_for(lambda: worker.overdue(0.2))
    assert not worker.overdue(60)
    worker.submit('rear', 'waits', 2)
    wait_for(lambda: worker.overdue(0.2))  # once a period, however many wait
    assert not worker.overdue(0.2)
    worker.forgive(-100)  # as if it went on for so long
    overlapping.finishing.set()
    wait_for(lambda: worker._under_way == 1)
    assert not worker.overdue(60)
    assert worker.overdue(0)
    overlapping.release.set()
    overlapping.wait(3)
    wait_for(lambda: not worker.overdue(0))


class Ends(BaseException):
    """What nobody catches."""


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.parametrize('ending', ['prepare', 'finish'])
def test_a_thread_that_ends_takes_the_other_along(ending):
    """What is started in their place has the sources for itself."""

    def end(_):
        raise Ends

    prepare, finish = {'prepare': (end, pytest.fail), 'finish': (lambda frames: [frames] * 3, end)}[ending]
    source = Source(rate_hz=0.0)
    worker = LatestFrameWorker({'front': source}, prepare, finish, pytest.fail, overlap=True)
    worker.submit('front', 'image', 0)
    names = {'diffcut-worker', 'diffcut-finisher'}
    wait_for(lambda: not names & {thread.name for thread in threading.enumerate()})
    assert not worker.alive
    worker.submit('front', 'image', 1)
    assert source.take() == 'image'


def test_what_fails_is_told_and_ends_no_thread(pipeline):
    for stamp, frame in enumerate(['bad', 'good', 'bad', 'good']):
        pipeline.worker.submit('front', frame, stamp)
        pipeline.wait(1)
    pipeline.worker.submit('front', 'unfit', 4)
    wait_for(lambda: len(pipeline.errors) == 3)
    assert str(pipeline.errors.pop()) == 'no features'
    assert [str(error) for error in pipeline.errors] == ['not enough'] * 2
    pipeline.sources['front'].take = lambda: 1 // 0
    pipeline.worker.submit('front', 'lost', 5)
    wait_for(lambda: len(pipeline.errors) > 2)
    assert isinstance(pipeline.errors[2], ZeroDivisionError)
    del pipeline.sources['front'].take
    pipeline.wait(1)
    assert pipeline.done[-1] == {'front': 'lost'}
    assert not pipeline.worker.overdue(10)


def test_a_request_that_fails_is_told_and_the_next_is_heard():
    errors, calls = [], []

    def function():
        calls.append(1)
        raise MemoryError('not enough')

    asked = OnRequest(function, errors.append)
    for count in (1, 2):
        asked.request()
        wait_for(lambda count=count: len(errors) == count)
    assert asked.close(10)
    assert len(calls) == 2


def test_requests_that_meet_become_one():
    calls, entered, leave = [], threading.Event(), threading.Event()

    def function():
        calls.append(1)
        entered.set()
        assert leave.wait(10)

    asked = OnRequest(function, pytest.fail)
    asked.request()
    assert entered.wait(10)
    entered.clear()
    for _ in range(5):
        asked.request()
    leave.set()
    assert entered.wait(10)
    assert asked.close(10)
    assert len(calls) == 2


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
    # By a little, too: a bag of half a second that is played again and again.
    assert passed(5.0, [0, 100, 200, 300, 400] * 3) == [0, 200, 400] * 3
    # Disorder is no jump.
    assert passed(5.0, [1000, 950, 1050, 1200]) == [1000, 1200]


def test_other_functions_come_first_in_their_order_and_are_not_too_many():
    calls, entered, leave, done = [], threading.Event(), threading.Event(), threading.Event()

    def function():
        calls.append('asked')
        done.set()

    def hold():
        entered.set()
        assert leave.wait(10)

    asked = OnRequest(function, pytest.fail)
    assert asked.first(hold)
    assert entered.wait(10)
    asked.request()
    room = [asked.first(lambda k=k: calls.append(k)) for k in range(25)]
    assert room == [True] * 20 + [False] * 5
    leave.set()
    assert done.wait(10)
    assert calls == [*range(20), 'asked']
    assert asked.first(lambda: calls.append('later'))
    wait_for(lambda: calls[-1] == 'later')
    assert asked.close(10)
