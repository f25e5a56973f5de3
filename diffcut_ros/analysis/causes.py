"""Why images and messages are left out, counted: texts that differ in numbers only are one cause."""

import re
from dataclasses import dataclass, field

from diffcut_ros.printable import printable

# Kinds that are told apart; what comes beyond is counted together.
_KINDS = 100
# Those of a line, and how long each may be there.
_TOLD, _LONGEST = 3, 300
# Bytes in hexadecimal; a number, a size such as 640x480, an address such as 0x7f00; not the digits of a name such as
# rgb8.
_NUMBER = re.compile(
    r'(?<!\w)(?:(?:[0-9a-f]{2} ){2,}[0-9a-f]{2}\b|[-+]?(?:0x[0-9a-f]+|\d+(?:[.,x]\d+)*(?:e[-+]?\d+)?))', re.IGNORECASE
)


@dataclass
class Cause:
    """Messages or images that are left out for one cause.

    Attributes:
        text: of the first of them.
        count: how many there are.
        stamp_ns: of the first of them.
        varies: whether other numbers stand in the texts of others.
    """

    text: str
    count: int = 0
    stamp_ns: int = 0
    varies: bool = False


@dataclass
class Causes:
    """Counts causes.

    Attributes:
        others: how many were left out for causes beyond those that are told apart.

    Args:
        kinds: how many causes are told apart.
    """

    kinds: int = _KINDS
    others: int = 0
    _found: dict[str, Cause] = field(default_factory=dict)

    def add(self, text: str, stamp_ns: int) -> None:
        """Count one that is left out; `text` says why."""
        kind = _NUMBER.sub('#', text)
        if kind not in self._found:
            if len(self._found) == self.kinds:
                self.others += 1
                return
            self._found[kind] = Cause(text, 0, stamp_ns)
        cause = self._found[kind]
        cause.count += 1
        cause.varies = cause.varies or text != cause.text

    @property
    def found(self) -> dict[str, Cause]:
        """The causes that are told apart, by their kind."""
        return self._found

    def in_order(self) -> list[Cause]:
        """Return the causes, in the order in which they came."""
        return list(self._found.values())

    def told(self) -> str:
        """Return the most frequent causes with their counts, as text; empty where there is none."""
        causes = sorted(self._found.values(), key=lambda cause: -cause.count)
        parts = [
            f'{cause.count} x {printable(cause.text, _LONGEST)}{" (numbers differ)" if cause.varies else ""}'
            for cause in causes[:_TOLD]
        ]
        more = sum(cause.count for cause in causes[_TOLD:]) + self.others
        return '; '.join(parts + [f'{more} for other causes'] * bool(more))
