"""Waiting for what another process does."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

# A test that passes never waits so long, however slow the machine is.
PATIENCE_S = 300.0

Found = TypeVar('Found')


def wait_for(
    condition: Callable[[], Found], process: subprocess.Popen | None = None, said: Callable[[], str] = str
) -> Found:
    """Return what a condition gives once it gives something; fail when its time is up, or a process ends without it.

    Args:
        condition: called again and again.
        process: whose doing it is; it ought to live until then.
        said: what the process has printed, for the message of the failure.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        ended = process is not None and process.poll() is not None
        if found := condition():
            return found
        assert not ended, f'ended with {process.returncode}:\n{said()}'
        assert time.monotonic() < deadline_s, f'not within {PATIENCE_S:g} s:\n{said()}'
        time.sleep(0.005)
