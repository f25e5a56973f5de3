"""ROS domains for tests that run at the same time."""

import os
import socket
from contextlib import closing


def free_domain() -> int:
    """Return a ROS domain without participants: the first one's UDP port (7410 + 250 * domain) is still free."""
    for domain in range(1 + os.getpid() % 50, 102):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise RuntimeError('no free ROS domain between 1 and 101')
