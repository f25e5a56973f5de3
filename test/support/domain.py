"""ROS domains for tests that run at the same time."""

import os
import socket
from contextlib import closing

_WORKERS = 'PYTEST_XDIST_WORKER_COUNT'


def free_domain() -> int:
    """Return a ROS domain without participants: the first one's UDP port (7410 + 250 * domain) is still free.

    Workers of one test run choose from domains of their own.
    """
    worker, workers = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:]), int(os.environ.get(_WORKERS, '1'))
    own = range(1 + worker, 102, workers)
    start = os.getpid() % len(own)  # another test run on this machine starts elsewhere
    for domain in [*own[start:], *own[:start]]:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError(f'no free ROS domain among {list(own)}')
