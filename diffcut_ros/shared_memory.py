"""The memory that Fast DDS sends through on one machine, see docs/large_images.md."""

import math
import os

SHARED_MEMORY = '/dev/shm'
# Of Fast DDS 2 and 3.
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


def fast_dds_is_set() -> bool:
    """Say whether somebody has chosen how Fast DDS sends."""
    return any(os.environ.get(name) for name in (*PROFILES, 'FASTDDS_BUILTIN_TRANSPORTS'))


def shared_memory_left() -> float:
    """Return how many bytes are free; infinity where that is not known."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:  # no such folder
        return math.inf
    return found.f_bavail * found.f_frsize
