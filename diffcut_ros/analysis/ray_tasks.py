"""Runs analyses as tasks of Ray, on this machine or a cluster."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diffcut_ros.exit_status import Status
from diffcut_ros.missing import needed

Analyze = Callable[[Sequence[str]], tuple[int, str]]

_LOCAL = 'local'
# Of the folders of a local Ray, and how long one may be there until it is held.
_PREFIX, _BEGINNING_S = 'diffcut_ray_', 60.0
# Tasks return a line of text: the least that Ray takes.
_OBJECT_STORE_BYTES = 80_000_000
_PATIENCE_S = 10.0
# How often a waiting thread looks whether it is to end.
_LOOK_S = 0.5
_QUIET: dict[str, Any] = {'log_to_driver': False, 'logging_level': 'ERROR'}
# Read when Ray is imported. The first makes its servers listen on the loopback interface instead of on all (despite its
# name on Linux, too). The token keeps other users of this machine out.
_ALONE = {'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0', 'RAY_AUTH_MODE': 'token'}


class RayTasks:
    """Runs each analysis as a task of Ray; a context manager that connects to it and leaves it, or ends a local one.

    A local Ray serves this process alone: it listens on the loopback interface, asks for a token made for it, and has
    its files in a folder that only this user enters. A cluster is taken as it is. A process can use one of the two.

    Args:
        address: of a cluster, as for `ray.init`; None: that of RAY_ADDRESS, else a Ray of its own on this machine.
        at_a_time: how many run at a time, which share the cores; None: as many as there is room for.
        device: of the pipeline: a task takes a GPU for 'cuda', and for 'auto' where Ray knows of any.
        analyze: what a task runs: takes the command line for one recording, returns exit status and text.

    Raises:
        ValueError: without the package ray or a cluster at the address, and where a GPU is asked for but there is none.
    """

    def __init__(self, address: str | None, at_a_time: int | None, device: str, analyze: Analyze) -> None:
        self._address = address or os.environ.get('RAY_ADDRESS') or _LOCAL
        self._at_a_time, self._device, self._analyze = at_a_time, device, analyze
        self._ends = ExitStack()
        self._running, self._stopped = 0, threading.Event()
        self._changed = threading.Condition()
        os.environ['RAY_USAGE_STATS_ENABLED'] = '0'  # nobody is told about this
        if self._address == _LOCAL:
            os.environ.update(_ALONE, RAY_AUTH_TOKEN=secrets.token_hex(32))
        with needed('--engine ray', 'ray', 'leave the option out'):
            import ray  # noqa: F401

    def __enter__(self) -> 'RayTasks':
        import ray

        with ExitStack() as ends:
            on_sigterm = signal.getsignal(signal.SIGTERM)
            self._start(ends) if self._address == _LOCAL else self._connect(ends)
            # Ray sets handlers of its own, of which one aborts the process.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, on_sigterm)
            self._task = ray.remote(max_retries=0, **self._resources())(_with_own_cores)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run `diffcut_analyze` with arguments for one recording; return its exit status and what it says."""
        import ray

        with self._changed:
            self._running += 1
        try:
            if self._stopped.is_set():
                return Status.FAILED, 'not begun'
            task = self._task.remote(self._analyze, list(arguments))
            # Not one long wait: that does not end when Ray is left meanwhile.
            while not ray.wait([task], timeout=_LOOK_S)[0]:
                if self._stopped.is_set():
                    ray.cancel(task, force=True)
                    return Status.FAILED, 'ended'
            return ray.get(task)
        except ray.exceptions.RayError as error:
            return Status.FAILED, f'{type(error).__name__}: {str(error).strip().splitlines()[0]}'
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def stop(self) -> None:
        """End all that run, and leave Ray."""
        self._stopped.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, _PATIENCE_S)
        self._ends.close()

    def _start(self, ends: ExitStack) -> None:
        """Start a Ray for this process alone."""
        import ray

        # Ray lets everybody into the folder it is given, so it gets one within. Of sockets, the whole path is short.
        folders = Path(os.environ.get('RAY_TMPDIR', '/tmp'))
        _remove_left_behind(folders)
        private = TemporaryDirectory(prefix=_PREFIX, dir=folders, ignore_cleanup_errors=True)
        folder = ends.enter_context(private)
        ends.callback(os.close, _held(folder))
        ends.callback(ray.shutdown)
        try:
            started = ray.init(
                _LOCAL,
                num_cpus=len(os.sched_getaffinity(0)),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=os.path.join(folder, 'r'),
                **_QUIET,
            )
        except Exception as error:  # of no narrower class, when it takes Ray over 30 s
            reason = str(error).strip().partition('\n')[0].rstrip('.')
            raise OSError(
                f'--engine ray: Ray did not start on this machine: {reason}. Next: try again, when less runs here if '
                'it was too slow; or leave the option out'
            ) from error
        host = started.address_info['node_ip_address']
        if not ip_address(host).is_loopback:
            raise ValueError(
                f'--engine ray: expected Ray to listen on the loopback interface only, found {host}: this process had '
                'imported Ray before. Next: run diffcut_analyze in a process of its own'
            )

    def _connect(self, ends: ExitStack) -> None:
        """Connect to a cluster."""
        import ray

        try:
            _check_reachable(self._address)
            ray.init(self._address, **_QUIET)
        except OSError as error:
            raise ValueError(f'--ray-address: expected a cluster at {self._address}, found none: {error}') from error
        ends.callback(ray.shutdown)

    def _resources(self) -> dict[str, int]:
        """Return what a task takes."""
        import ray

        nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
        cores = [int(node['CPU']) for node in nodes if 'CPU' in node]
        gpus = any(node.get('GPU') for node in nodes)
        if self._device.startswith('cuda') and not gpus:
            raise ValueError(f'device: {self._device}: expected GPUs in the cluster {self._address}, found none')
        share = 1 if self._at_a_time is None else max(1, min([*cores, sum(cores) // self._at_a_time]))
        return {'num_cpus': share, 'num_gpus': int(gpus and self._device != 'cpu')}


def _remove_left_behind(folders: Path) -> None:
    """Remove this user's folders of processes that were killed: nobody holds them."""
    for folder in folders.glob(f'{_PREFIX}*'):
        with suppress(OSError):
            about = folder.lstat()
            if about.st_uid == os.getuid() and time.time() - about.st_mtime > _BEGINNING_S:
                held = _held(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def _held(folder: Path | str) -> int:
    """Lock a folder for as long as this process lives; return what is to be closed.

    Raises:
        OSError: when another process holds it, or it is none.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _check_reachable(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray tries for minutes."""
    host, colon, port = address.rpartition(':')
    if colon and port.isdecimal() and '/' not in host:
        socket.create_connection((host, int(port)), _PATIENCE_S).close()


def _with_own_cores(analyze: Analyze, arguments: list[str]) -> tuple[int, str]:
    """Analyse one recording, in a process of Ray, with as many threads as the task has cores."""
    import ray
    import torch

    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get('CPU', 1))))
    return analyze(arguments)
