"""What all command lines have in common: errors of one line, numbers with their range, the version."""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from diffcut_ros.exit_status import Status


class Parser(argparse.ArgumentParser):
    """A parser with `--version` whose errors are one line: what was expected and received."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog=prog, **more)
        self.add_argument('--version', action=_Version, nargs=0, help='print the version and end')

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit."""
        self.exit(Status.BAD_INPUT, f'{self.prog}: {message.removeprefix("argument ")}; see {self.prog} --help\n')


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than to parse."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(parser.prog, version('diffcut_ros'))
        parser.exit()


class Defaults(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, '') else super()._get_help_string(action)


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that takes whole numbers from `low` on, up to `high` where there is such a limit."""
    expected = f'a whole number of at least {low}' if high is None else f'a whole number from {low} to {high}'

    def read(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    return _told(read, expected)


def number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    """Return the type of an option that takes finite numbers from `low` to `high`; `above`: not `low` itself."""
    expected = f'a number above {low:g}, at most {high:g}' if above else f'a number from {low:g} to {high:g}'

    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high or (above and value == low):  # NaN, too
            raise ValueError
        return value

    return _told(read, expected)


def size(low: int, high: int) -> Callable[[str], tuple[int, int]]:
    """Return the type of an option that takes WIDTHxHEIGHT, both from `low` to `high`."""

    def read(text: str) -> tuple[int, int]:
        width, height = (int(side) for side in text.split('x'))
        if not (low <= width <= high and low <= height <= high):
            raise ValueError
        return width, height

    return _told(read, f'WIDTHxHEIGHT, both from {low} to {high}, such as 640x480')


def square(low: int) -> Callable[[str], int]:
    """Return the type of an option that takes squares of whole numbers from `low` on."""

    def read(text: str) -> int:
        value = int(text)
        if value < low or math.isqrt(value) ** 2 != value:
            raise ValueError
        return value

    return _told(read, f'a square of at least {low}, as 1024 = 32 x 32 cells')


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Return the type of an option that takes one of some names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return _told(read, f'one of {", ".join(names)}')


def _told(read: Callable[[str], Any], expected: str) -> Callable[[str], Any]:
    """Return a function that reads a text and says what was expected where it raises ValueError."""

    def typed(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f'expected {expected}, received {text!r}') from None

    return typed


# Ranges of parameters, which `core/frame.py` has, too: it cannot be imported here.
TAU, DAMPING, MIN_SEGMENT_AREA = number(0, 1), number(0, 0.5), whole(0, 100_000_000)
# Images per second of a recording or a camera.
HZ = number(0.001, 1000)
# The longest time that nanoseconds as 64 bits can hold, and less.
LONGEST_S = 1e9


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the values of some options, without those that were not given: defaults stand elsewhere."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def without_ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Return arguments without those of ROS, which stand between --ros-args and --, or the end."""
    kept, of_ros = [], False
    for argument in arguments:
        if argument == '--ros-args':
            of_ros = True
        elif not of_ros:
            kept.append(argument)
        elif argument == '--':
            of_ros = False
    return kept
