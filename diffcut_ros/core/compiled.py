"""Functions that Numba compiles for the processor they run on: what a CPU spends its time with.

They hold no Python objects, release the GIL and run in the thread that calls them. Numba keeps the machine code beside
the source, else in the user's cache folder, or in NUMBA_CACHE_DIR; whether it still fits, it tells by the one file that
a function stands in. So compiled functions call only those of their own file.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from pickle import UnpicklingError
from typing import Any, TypeVar

import numba
from numba.core.caching import NullCache

Function = TypeVar('Function', bound=Callable[..., Any])
Tell = Callable[[str], object]

# What a full folder or a damaged file in it raises, which Numba leaves to its callers.
_UNUSABLE = OSError, EOFError, ValueError, KeyError, ImportError, AttributeError, UnpicklingError

# What is told before something is compiled.
COMPILING = 'compiling for this processor, which takes up to a minute and is done once'

_log = logging.getLogger('diffcut_ros')
_lock = threading.Lock()
_waiting: list[tuple[Any, str]] = []


def inlined(function: Function) -> Function:
    """Compile a function that only compiled functions of the same file call."""
    result: Function = numba.njit(**_options())(function)
    return result


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile a function that Python calls, with arguments of exactly these types.

    Args:
        signature: as Numba reads it, such as 'float64(float32[:, ::1], int64)'.
    """

    def decorate(function: Function) -> Function:
        try:
            dispatcher = numba.njit(cache=True, **_options())(function)
        except RuntimeError:  # there is no folder to keep anything in
            dispatcher = numba.njit(**_options())(function)
        _waiting.append((dispatcher, signature))

        @wraps(function)
        def call(*args: Any) -> Any:
            if _waiting:
                prepare()
            return dispatcher(*args)

        return call  # type: ignore[return-value]

    return decorate


def _options() -> dict[str, Any]:
    # Sums may be reordered, as vector instructions need it, each time in the same way. NaN and infinities are heeded.
    return {'nogil': True, 'error_model': 'numpy', 'fastmath': {'reassoc', 'contract', 'nsz'}}


def prepare(tell: Tell = _log.warning, warn: Tell = _log.warning) -> None:
    """Compile all functions, or load what was kept of them. Otherwise the first call of one of them does it.

    Args:
        tell: called with a readable line before and after something is compiled, once for each machine.
        warn: called with a readable line when what was compiled cannot be kept.
    """
    with _lock:
        reason, began, count = '', time.monotonic(), 0
        while _waiting:
            dispatcher, signature = _waiting[0]
            reason = _compile(dispatcher, signature) or reason
            if not dispatcher.stats.cache_hits:
                if not count:
                    tell(COMPILING)
                count += 1
            dispatcher.disable_compile()
            del _waiting[0]
        if count:
            tell(f'compiled {count} function{"s" * (count != 1)} in {time.monotonic() - began:.0f} s')
        if reason:
            warn(
                f'what was compiled is not kept, so that the next start compiles again ({reason}). '
                'Next: set the environment variable NUMBA_CACHE_DIR to a folder that can be written'
            )


def _compile(dispatcher: Any, signature: str) -> str:
    """Compile or load a function; return why it could not be kept, or nothing."""
    if isinstance(dispatcher._cache, NullCache):
        dispatcher.compile(signature)
        return 'no folder to keep it in can be written'
    try:
        dispatcher.compile(signature)
        return ''
    except _UNUSABLE as error:
        reason = f'{type(error).__name__}: {error}'
    if dispatcher.overloads:  # compiled, but not written
        return reason
    try:
        dispatcher._cache.flush()  # a damaged file
        dispatcher.compile(signature)
        return ''
    except _UNUSABLE:
        dispatcher._cache = NullCache()
        dispatcher.compile(signature)
        return reason
