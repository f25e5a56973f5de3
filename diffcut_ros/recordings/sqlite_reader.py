"""Reads SQLite files of rosbag2, also what a recorder that runs, or that crashed, has not yet put into them."""

import fcntl
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from diffcut_ros.recordings.connection import CDR, Connection, connect
from diffcut_ros.recordings.order import StepsBack

# Where a program that has a database open locks the file that it shares with others: UNIX_SHM_DMS of SQLite.
_LOCK_AT = 128


class SqliteFile:
    """An open SQLite file.

    Attributes:
        connections: its topics.
        start_ns: when the first message was recorded.
        end_ns: when the last one was; 0 without messages.
        lost: what could not be read, for people.
        steps: how often the times of recording step back.
    """

    def __init__(self, path: Path) -> None:
        self._name, self.lost = path.name, _lost_logs(path)
        files = (one for one in (path, path.with_name(f'{path.name}-wal')) if one.exists())
        self._size = sum(file.stat().st_size for file in files)
        self._database = _connect(path.resolve())
        with self._explained():
            self._check_tables()
            self._read_topics()

    def _check_tables(self) -> None:
        """Raise ValueError where rows are not stored, but computed: then a small file holds any number of any size."""
        for table in ('topics', 'messages'):
            for kind, sql in self._database.execute('SELECT type, sql FROM sqlite_master WHERE name = ?', (table,)):
                computed = f'SELECT 1 FROM pragma_table_xinfo({table!r}) WHERE hidden'
                if (
                    kind != 'table'
                    or 'VIRTUAL' in sql.upper().split()[:2]
                    or self._database.execute(computed).fetchone()
                ):
                    raise ValueError(f'expected a table {table} of rosbag2, received {sql.splitlines()[0][:60]!r}')

    def _read_topics(self) -> None:
        counts, steps, self.start_ns, self.end_ns = Counter[int](), StepsBack(), 2**63 - 1, 0
        rows = 0
        try:
            for number, time_ns in self._database.execute('SELECT topic_id, timestamp FROM messages ORDER BY id'):
                counts[number] += 1
                rows += 1
                if rows > self._size:  # pages that lie in themselves give rows without end
                    raise sqlite3.DatabaseError('more rows than bytes')
                steps.add(number, time_ns)
                self.start_ns, self.end_ns = min(self.start_ns, time_ns), max(self.end_ns, time_ns)
        except sqlite3.DatabaseError:
            if not counts:
                raise  # nothing is whole
            self.lost.append(f'{self._name} is damaged: an unknown number of messages after {counts.total()}')
        self.steps = steps.count
        topics = self._database.execute('SELECT id, name, type, serialization_format FROM topics ORDER BY id')
        self._connections = {
            number: connect(topic, type_name, counts[number], encoding or CDR)
            for number, topic, type_name, encoding in topics
        }
        self.connections = list(self._connections.values())
        if unknown := sum(count for number, count in counts.items() if number not in self._connections):
            self.lost.append(f'{unknown} messages of {self._name}, whose topics are not named')

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield connection, time in ns and data: by time, or as they were recorded where times step back."""
        numbers = [number for number, connection in self._connections.items() if connection in connections]
        marks = ','.join('?' * len(numbers))
        order = 'id' if self.steps else 'timestamp, id'
        rows = self._database.execute(
            f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) ORDER BY {order}', numbers
        )
        with self._explained():
            left = self._size
            for number, time_ns, data in rows:
                left -= len(data) if isinstance(data, bytes) else 0
                if left < 0:
                    raise sqlite3.DatabaseError('messages in it lie over each other')
                yield self._connections[number], time_ns, data

    def close(self) -> None:
        """Close it."""
        self._database.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what helps, with errors of SQLite."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ValueError(f'expected a database of rosbag2: {error}') from error
        except sqlite3.DatabaseError as error:
            command = f'sqlite3 {self._name} .recover | sqlite3 recovered.db3'
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
