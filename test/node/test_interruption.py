"""Signals that come while rclpy's C++ makes a message: at that moment, not at one that is hit now and then."""

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.task import Future, Task
from std_msgs.msg import Header

from diffcut_ros.interruption import SIGNALS, interruptible
from support.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    report = sys.unraisablehook
    yield
    sys.unraisablehook = report
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=SIGNALS)
def number(request):
    return request.param


@pytest.fixture
def receive(monkeypatch, number):
    """Function that makes a message of rclpy's, in the middle of which a signal comes."""
    data, make = serialize_message(Header()), Header.__init__

    def interrupted(self, **fields):
        signal.raise_signal(number)
        make(self, **fields)

    monkeypatch.setattr(Header, '__init__', interrupted)
    return lambda: deserialize_message(data, Header)


def test_what_rclpy_makes_of_a_signal(receive, number):
    """What the module is for; where this fails, rclpy has changed and the module may go."""
    signal.signal(number, signal.default_int_handler)
    with pytest.raises((TypeError, RuntimeError)):
        receive()


def test_it_is_an_interruption_again(receive):
    with pytest.raises(KeyboardInterrupt), interruptible():
        receive()


def test_also_when_somebody_swallows_it(receive):
    def swallow() -> None:
        with suppress(TypeError, RuntimeError):
            receive()
        after.append('it went on')

    after = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        swallow()
    assert after == ['it went on']


def test_also_when_it_comes_while_an_object_is_deleted(number, capsys):
    class Doomed:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def delete() -> None:
        Doomed()
        threading.Event().wait(PATIENCE_S)
        after.append('nothing ended it')

    after = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        delete()
    assert not after
    assert capsys.readouterr().err == ''


def test_an_object_that_it_leaves_half_made_says_nothing(monkeypatch, capsys, number):
    def interrupted(self, **options):
        signal.raise_signal(number)

    monkeypatch.setattr(Future, '__init__', interrupted)
    with pytest.raises(KeyboardInterrupt) as raised, interruptible():
        Task(lambda: None)
    del raised  # and with it the object
    gc.collect()
    assert capsys.readouterr().err == ''


def test_other_errors_in_the_end_of_an_object_are_reported(monkeypatch):
    class Doomed:
        def __del__(self) -> None:
            raise ValueError('mine')

    reported = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: reported.append(str(unraisable.exc_value)))
    with interruptible():
        Doomed()
    assert reported == ['mine']


def test_the_exit_code_is_the_programs_own(tmp_path, number):
    """In the middle of a text that is executed, as dataclasses do, from where `python -m` ends by the signal itself."""
    (tmp_path / 'program.py').write_text(
        'import signal, sys\n'
        'from diffcut_ros.interruption import interruptible\n'
        'try:\n'
        '    with interruptible():\n'
        f'        exec("signal.raise_signal({number:d})")\n'
        'except KeyboardInterrupt:\n'
        '    sys.exit(7)\n'
    )
    search = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
    done = subprocess.run([sys.executable, '-m', 'program'], env={**os.environ, 'PYTHONPATH': search})
    assert done.returncode == 7


def test_a_second_signal_does_not_break_into_the_end(number):
    def twice() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            ended.append('in the block')

    ended = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        twice()
    signal.raise_signal(number)
    ended.append('after it')
    assert ended == ['in the block', 'after it']


def test_what_could_not_be_written_is_told(number):
    def write() -> None:
        try:
            signal.raise_signal(number)
        finally:
            raise OSError('no space left')

    with pytest.raises(OSError, match='no space left'), interruptible():
        write()


@pytest.mark.parametrize('error', [ValueError, OSError, TypeError, SystemExit])
def test_errors_without_a_signal_stay_what_they_are(error):
    with pytest.raises(error, match='mine'), interruptible():
        raise error('mine')


def test_handlers_are_back_after_a_block_without_a_signal():
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_thread_has_no_signals():
    with ThreadPoolExecutor() as pool:
        assert pool.submit(used_in_a_thread).result() == 'done'


def used_in_a_thread() -> str:
    with interruptible():
        return 'done'
