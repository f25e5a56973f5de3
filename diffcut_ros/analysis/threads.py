"""Work beside the pipeline: reading ahead of it, and writing behind it. Short queues bound the memory."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

Item = TypeVar('Item')

# Messages or results that wait: enough to even out, few enough to be held.
_LENGTH = 8
# How often a thread that waits looks whether it is to end.
_POLL_S = 0.1
_END = object()


class ReadAhead(Generic[Item]):
    """Iterates over items that a thread takes from a source ahead of time; a context manager that ends the thread.

    What the source raises is raised here, after the items before it.
    """

    def __init__(self, source: Iterable[Item]) -> None:
        self._source = source
        self._queue: queue.Queue[Any] = queue.Queue(_LENGTH)
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name='read-ahead', daemon=True)

    def __enter__(self) -> 'ReadAhead[Item]':
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while (item := self._queue.get()) is not _END:
            yield item
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
        except BaseException as error:  # handed over to the thread that iterates
            self._error = error
        self._put(_END)

    def _put(self, item: Any) -> bool:
        """Put an item into the queue; say whether there was room before the end."""
        while not self._closing.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items; a thread gets the next one while the caller is at work on one.

    What `items` raises is raised here, after the items before it.
    """
    with ThreadPoolExecutor(1, 'one-ahead') as pool:
        following = pool.submit(next, items, _END)
        while (item := following.result()) is not _END:
            following = pool.submit(next, items, _END)
            yield item


class WriteBehind(Generic[Item]):
    """Has a thread call a function with each item; a context manager that waits for the last one.

    What the function raises is raised by the next `put` or at the end. When the context is left by an exception, items
    that wait are dropped.
    """

    def __init__(self, function: Callable[[Item], None]) -> None:
        self._function = function
        self._queue: queue.Queue[Any] = queue.Queue(_LENGTH)
        self._error: BaseException | None = None
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name='write-behind', daemon=True)

    def __enter__(self) -> 'WriteBehind[Item]':
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Hand over an item; waits while too many do."""
        self._raise()
        self._queue.put(item)

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._dropping = kind is not None
        self._queue.put(_END)
        self._thread.join()
        if kind is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _next(self) -> Any:
        while True:
            # Not for ever: a signal's exception in the middle of a `put` can leave the queue such that it wakes nobody.
            with suppress(queue.Empty):
                return self._queue.get(timeout=_POLL_S)

    def _run(self) -> None:
        while (item := self._next()) is not _END:
            if self._error is None and not self._dropping:
                try:
                    self._function(item)
                except BaseException as error:  # handed over to the thread that puts
                    self._error = error
