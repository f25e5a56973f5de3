"""How signals end this package's programs."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = signal.SIGINT, signal.SIGTERM
_AGAIN_S = 0.01


class _Interruption(KeyboardInterrupt):
    """Raised by the signal handler.

    Not KeyboardInterrupt itself: where that passes through `exec` of a text, as dataclasses use it, `python -m` ends as
    if nobody had caught it.
    """


def end_by_signals() -> None:
    """Have SIGINT and SIGTERM end the process as the system does: at once, without a word.

    For a program that is still being imported. By then it has begun nothing that needs an end, and Python's own handler
    would raise KeyboardInterrupt in the middle of an import, where some packages make other errors of it, and all of
    them a traceback. It holds until `interruptible` is entered.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the block, and be the only thing that it is seen to end with.

    Python raises a signal's exception wherever it is. In a message that rclpy's C++ is making, this comes out as
    TypeError or RuntimeError; in an object's end, Python reports it and goes on; an object that it leaves half made,
    such as rclpy's Task, fails at its end, which Python reports, too; and rclpy's own handlers end a wait with
    ExternalShutdownException, or with nothing.

    Later signals are ignored, after the block, too: Ctrl-C in a terminal reaches a node twice, from the terminal and
    from ros2 launch, and the second one must not break into the end that the first one began. Nor are half-made
    objects reported then. Without a signal, all is as before after the block. In other threads than the main one,
    which get no signals, it does nothing.

    Raises:
        KeyboardInterrupt: at the end of the block, when there was a signal.
        OSError: raised in the block, after a signal, too: what was being written is not complete.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    running, signalled, armed = True, False, True
    report = sys.unraisablehook

    def interrupt(*_: object) -> None:
        nonlocal signalled, armed
        signalled = True
        if armed:
            armed = False
            raise _Interruption

    def repeat(unraisable: 'sys.UnraisableHookArgs') -> None:
        nonlocal armed
        if unraisable.exc_type is not _Interruption:
            half_made = signalled and issubclass(unraisable.exc_type, AttributeError)
            if not half_made:
                report(unraisable)
        elif running:
            armed = True
            # To the thread that may be waiting: a signal to another one does not wake it.
            threading.Timer(_AGAIN_S, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()

    # SIGINT, too: a shell script that puts a program into the background has it ignored.
    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    sys.unraisablehook = repeat
    try:
        yield
    except OSError:
        raise
    except BaseException as error:
        if signalled:
            raise KeyboardInterrupt from error
        raise
    finally:
        running = armed = False
        if not signalled:
            sys.unraisablehook = report
            for number, handler in before.items():
                signal.signal(number, handler)
    if signalled:
        raise KeyboardInterrupt
