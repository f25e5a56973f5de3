"""Reads SQLite files of rosbag2, also what a recorder that runs, or that crashed, has not yet put into them."""

import fcntl
import shlex
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from diffcut_ros.recordings.connection import CDR, Connection, connect
from diffcut_ros.recordings.order import StepsBack
from diffcut_ros.recordings.sqlite_pages import CutOff, MessagePages, cut_off
from diffcut_ros.recordings.unpacking import LARGEST

# Where a program that has a database open locks the file that it shares with others: UNIX_SHM_DMS of SQLite.
_LOCK_AT = 128
# SQLite asks after so many of its instructions whether to go on. So often at most for a query, and for so many bytes of
# the file each: that is 10 for a byte, where a row has 20 bytes at least, and takes some 30.
_INSTRUCTIONS, _LEAST_ASKED, _BYTES_PER_ASKING = 10_000, 1000, 1000


class SqliteFile:
    """An open SQLite file.

    Attributes:
        connections: its topics.
        start_ns: when the first message was recorded.
        end_ns: when the last one was; 0 without messages.
        lost: what could not be read, as text.
        steps: how often the times of recording step back.
    """

    def __init__(self, path: Path) -> None:
        self._name, self.lost = path.name, _lost_logs(path)
        files = (one for one in (path, path.with_name(f'{path.name}-wal')) if one.exists())
        self._size = sum(file.stat().st_size for file in files)
        self._path, self._is_damaged = path, False
        # With a log, it may be a file that is being written.
        self._cut = None if Path(f'{path}-wal').exists() else cut_off(path)
        self._database, self._asking_left = _connect(path.resolve()), _LEAST_ASKED
        self._database.set_progress_handler(self._is_too_long, _INSTRUCTIONS)
        with self._explained():
            # What queries hold is bounded, and is not written to the disk where that is full.
            self._database.execute('PRAGMA temp_store = MEMORY')
            self._database.execute(f'PRAGMA hard_heap_limit = {LARGEST * 3 // 2}')
            if self._cut is not None:
                # With this, SQLite opens a file that is shorter than it says. Nothing is written.
                self._database.execute('PRAGMA writable_schema = ON')
            self._check_tables()
            self._read_topics()

    def _check_tables(self) -> None:
        """Raise ValueError where rows are not stored, but computed: then a small file holds any number of any size."""
        for table in ('topics', 'messages'):
            # As SQLite itself finds it: whatever the case of its name, or the name that the file's schema gives.
            kinds = [kind for (kind,) in self._database.execute(f'SELECT type FROM pragma_table_list({table!r})')]
            computed = self._database.execute(f'SELECT 1 FROM pragma_table_xinfo({table!r}) WHERE hidden').fetchone()
            if computed or {*kinds} - {'table'}:
                received = 'one with computed columns' if kinds == ['table'] else f'a {kinds[0]}'
                raise ValueError(f'expected a table {table} of rosbag2, received {received}')

    def _rows(self, sql: str, parameters: Sequence[int] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query; not more than fit into the file, and within a time that follows from its size."""
        left, self._asking_left = self._size, _LEAST_ASKED + self._size // _BYTES_PER_ASKING
        for row in self._database.execute(sql, parameters):
            left -= 1 + sum(len(value) for value in row if isinstance(value, str | bytes))
            if left < 0:  # pages lie in themselves, or rows over each other
                raise sqlite3.DatabaseError('more rows than bytes')
            yield row

    def _is_too_long(self) -> bool:
        self._asking_left -= 1
        return self._asking_left < 0

    def _read_topics(self) -> None:
        counts, steps, self.start_ns, self.end_ns = Counter[int | None](), StepsBack(), 2**63 - 1, 0
        # Of other types, a value may be long, and is not even read.
        columns = (f"CASE typeof({name}) WHEN 'integer' THEN {name} END" for name in ('topic_id', 'timestamp'))
        try:
            rows = self._rows(f'SELECT {", ".join(columns)} FROM messages ORDER BY rowid')
            for number, time_ns in rows if self._cut is None else self._rows_in_pages(self._cut):
                counts[None if time_ns is None else number] += 1
                if number is not None and time_ns is not None:
                    steps.add(number, time_ns)
                    self.start_ns, self.end_ns = min(self.start_ns, time_ns), max(self.end_ns, time_ns)
        except sqlite3.DatabaseError as error:
            if not counts or self._is_interrupted(error):
                raise  # nothing is whole
            self._is_damaged = True
            self.lost.append(f'{self._name} is damaged: an unknown number of messages after {counts.total()}')
        self.steps = steps.count
        topics = self._rows('SELECT id, name, type, serialization_format FROM topics ORDER BY rowid')
        self._connections = {
            number: connect(topic, type_name, counts[number], encoding or CDR)
            for number, topic, type_name, encoding in topics
        }
        self.connections = list(self._connections.values())
        if unknown := sum(count for number, count in counts.items() if number not in self._connections):
            self.lost.append(f'{unknown} messages of {self._name}, whose topics are not named')

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time in ns and data: by time, or as they were recorded where times step back.

        A damaged file is read as it lies, up to the damage: sorted, it would be read to its end before anything comes.
        """
        if self._cut is not None:
            yield from self._messages_in_pages(self._cut, connections)
            return
        numbers = [number for number, connection in self._connections.items() if connection in connections]
        marks = ','.join('?' * len(numbers))
        table, order = 'messages', 'timestamp, rowid'
        if self.steps or self._is_damaged:
            table, order = 'messages NOT INDEXED', 'rowid'
        sql = f'SELECT topic_id, timestamp, rowid FROM {table} WHERE topic_id IN ({marks}) ORDER BY {order}'
        with self._explained():
            left = self._size
            for number, time_ns, row in self._rows(sql, numbers):
                # Data by themselves: sorted with the others, they would all lie in memory.
                (data,) = self._database.execute('SELECT data FROM messages WHERE rowid = ?', (row,)).fetchone()
                left -= len(data) if isinstance(data, bytes) else 0
                if left < 0:
                    raise sqlite3.DatabaseError('messages in it lie over each other')
                yield self._connections[number], time_ns, data

    def _rows_in_pages(self, cut: CutOff) -> Iterator[tuple[int, int]]:
        """Yield topic and time of the messages of a file that was cut off, as they were recorded."""
        with closing(MessagePages(self._path, cut)) as rows:
            yield from zip(rows.topic_id, rows.time_ns, strict=True)
        self.lost.append(
            f'{self._name} is cut off: {cut.bytes} of {cut.whole_bytes} bytes are there, with {len(rows)} messages'
        )

    def _messages_in_pages(
        self, cut: CutOff, connections: Collection[Connection]
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield the messages of a file that was cut off, as `messages` does."""
        wanted = {number: one for number, one in self._connections.items() if one in connections}
        left, torn = cut.bytes, 0
        with closing(MessagePages(self._path, cut)) as rows:
            order = range(len(rows)) if self.steps else sorted(range(len(rows)), key=rows.time_ns.__getitem__)
            for row in order:
                if rows.topic_id[row] not in wanted:
                    continue
                try:
                    data = rows.data(row)
                except ValueError:
                    torn += 1
                    continue
                left -= len(data)
                if left < 0:
                    raise ValueError('messages in it lie over each other')
                yield wanted[rows.topic_id[row]], rows.time_ns[row], data
        if torn:
            self.lost.append(f'not whole among the messages of {self._name}: {torn}')

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def _is_interrupted(self, error: Exception) -> bool:
        """Whether a signal was handled in the middle of a query, whose exception SQLite's module throws away."""
        return str(error) == 'interrupted' and self._asking_left >= 0

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what helps, with errors of SQLite."""
        try:
            yield
        except MemoryError as error:
            raise ValueError(f'expected messages of at most {LARGEST} bytes, received more') from error
        except sqlite3.OperationalError as error:
            if self._is_interrupted(error):
                raise KeyboardInterrupt from error
            if self._asking_left < 0:
                raise ValueError('expected as many rows as fit into its size, received a search without end') from error
            raise ValueError(f'expected a database of rosbag2: {error}') from error
        except sqlite3.DatabaseError as error:
            name = f'./{self._name}' if self._name.startswith('-') else self._name
            command = f'sqlite3 {shlex.quote(name)} .recover | sqlite3 recovered.db3'
            raise ValueError(f'{error}; to save what is whole: {command}') from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database without writing into its folder."""
    log = Path(f'{path}-wal')
    if not (log.exists() and log.stat().st_size):
        how = 'immutable=1'
    elif _is_open(Path(f'{path}-shm')):
        how = 'mode=ro'  # beside the recorder, as SQLite does it
    else:
        how = 'mode=ro&vfs=unix-none'
    # Read in a thread, one at a time.
    database = sqlite3.connect(f'{path.as_uri()}?{how}', uri=True, check_same_thread=False)
    if how.endswith('none'):
        # Alone with it, SQLite needs no file to be shared, and leaves the log as it is.
        database.execute('PRAGMA locking_mode=EXCLUSIVE')
    return database


def _is_open(shared: Path) -> bool:
    """Whether a program has the database open whose shared file this is."""
    try:
        with shared.open('r+b') as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_AT)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not there, or in a folder that nobody writes into
    return False


def _lost_logs(path: Path) -> list[str]:
    """Logs beside a database that may be its own, by the name that it had."""
    logs = [log for log in path.parent.glob('*-wal') if log.stat().st_size]
    lost = [log.name for log in logs if not log.with_name(log.name.removesuffix('-wal')).exists()]
    return [f'{name} may hold the last messages of {path.name}: name it {path.name}-wal' for name in lost]
