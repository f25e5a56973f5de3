"""The exit statuses of all commands."""

from enum import IntEnum


class Status(IntEnum):
    """Exit statuses beside 0. What runs until Ctrl-C, as the node, ends by it with 0.

    While a command is still being imported, a signal itself ends it: 130 or 143, as the shell tells it.
    """

    FAILED = 1  # what was asked for could not be done, such as on a full disk
    BAD_INPUT = 2  # wrong arguments or input, or a package that is not installed; as of argparse
    INCOMPLETE = 3  # done, but part of the input could not be read
    INTERRUPTED = 130  # Ctrl-C or SIGTERM before the end
