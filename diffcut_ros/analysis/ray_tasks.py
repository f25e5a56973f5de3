"""Runs analyses as tasks of Ray, on this machine or a cluster."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from diffcut_ros.exit_status import Status
from diffcut_ros.missing import needed

Analyze = Callable[[Sequence[str]], tuple[int, str]]

_LOCAL = 'local'
# Tasks return a line of text: the least that Ray takes.
_OBJECT_STORE_BYTES = 80_000_000
_PATIENCE_S = 10.0


class RayTasks:
    """Runs each analysis as a task of Ray; a context manager that connects to it and leaves it, or ends a local one.

    Args:
        address: of a cluster, as for `ray.init`; None: that of RAY_ADDRESS, else a Ray of its own on this machine.
        at_a_time: how many run at a time, which share the cores; None: as many as there is room for.
        device: of the pipeline: a task takes a GPU for 'cuda', and for 'auto' where Ray knows of any.
        analyze: what a task runs: takes the command line for one recording, returns exit status and text.

    Raises:
        ValueError: without the package ray or a cluster at the address, and where a GPU is asked for but there is none.
    """

    def __init__(self, address: str | None, at_a_time: int | None, device: str, analyze: Analyze) -> None:
        with needed('--engine ray', 'ray', 'leave the option out'):
            import ray  # noqa: F401
        self._address = address or os.environ.get('RAY_ADDRESS') or _LOCAL
        self._at_a_time, self._device, self._analyze = at_a_time, device, analyze

    def __enter__(self) -> 'RayTasks':
        # Nobody is told about this, and no page is served.
        os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
        import ray

        local: dict[str, Any] = {}
        if self._address == _LOCAL:
            cores = len(os.sched_getaffinity(0))
            local = {'num_cpus': cores, 'object_store_memory': _OBJECT_STORE_BYTES, 'include_dashboard': False}
        try:
            _check_reachable(self._address)
            ray.init(self._address, log_to_driver=False, logging_level='ERROR', **local)
        except OSError as error:
            raise ValueError(f'--ray-address: expected a cluster at {self._address}, found none: {error}') from error
        try:
            self._task = ray.remote(max_retries=0, **self._resources())(_with_own_cores)
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run `diffcut_analyze` with arguments for one recording; return its exit status and what it says."""
        import ray

        try:
            return ray.get(self._task.remote(self._analyze, list(arguments)))
        except ray.exceptions.RayError as error:
            return Status.FAILED, f'{type(error).__name__}: {str(error).strip().splitlines()[0]}'

    def stop(self) -> None:
        """End all that run, and leave Ray."""
        import ray

        ray.shutdown()

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
