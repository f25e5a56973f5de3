"""Text that others have written, such as names in recordings, as terminals, logs, tables and pages can take it."""

import re
import sys
from typing import TextIO

# Characters of a name, and of a line that holds several.
LONGEST_NAME, LONGEST_LINE = 200, 4000
_LINE_BREAK = re.compile(r'\s*[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]\s*')
# Some spreadsheets take the wide forms of East Asia, too.
_FORMULA = tuple('=+-@\t\r\uff1d\uff0b\uff0d\uff20')


def printable(text: object, longest: int = LONGEST_LINE) -> str:
    r"""Return a text in one line that shows all it holds, shortened in its middle.

    Line breaks are blanks. What else cannot be seen, or would move the cursor or colour the terminal, is escaped as in
    Python: \x1b, \u202e; bytes of a file name that are not UTF-8 are \xff.

    Args:
        text: anything; of what is no text, what `str` says.
        longest: characters at most.
    """
    shown = str(text)
    # First, so that a text of any length takes no time; escapes only make it longer.
    shown = ''.join(map(_visible, _LINE_BREAK.sub(' ', _shortened(shown, longest))))
    return _shortened(shown, longest)


def quoted(text: object) -> str:
    """Return a name in quotes as it can be printed, at most `LONGEST_NAME` characters of it."""
    return f"'{printable(text, LONGEST_NAME)}'"


def counted(count: int, thing: str) -> str:
    """Return a number of things in words, such as 1 image or 2 images."""
    return f'{count} {thing}{"s" * (count != 1)}'


def tell(text: object, file: TextIO | None = None) -> None:
    """Print a line, on stderr unless told otherwise, whatever it holds and whatever the terminal can show."""
    file = file or sys.stderr
    encoding = file.encoding or 'utf-8'
    print(printable(text).encode(encoding, 'backslashreplace').decode(encoding), file=file, flush=True)


def no_formula(text: str) -> str:
    """Return a text for a table that spreadsheets read: what they would run as a formula begins with a quote."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def file_name(text: str) -> str:
    """Return a name for a file or folder of outputs: a visible one, that stays in its folder.

    Args:
        text: the name of something else, such as a recording.
    """
    kept = ''.join(one if one.isprintable() and one not in '/\\' else '_' for one in text)
    return f'_{kept}' if not kept or kept.startswith('.') else kept


def _visible(one: str) -> str:
    if one.isprintable():
        return one
    if '\udc80' <= one <= '\udcff':  # how Python holds bytes of file names that are not UTF-8
        return f'\\x{ord(one) - 0xDC00:02x}'
    return one.encode('unicode_escape').decode()


def _shortened(text: str, longest: int) -> str:
    """Return the first and the last words: what is said about, and what was received."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    begin, end = text[:half], text[-half:]
    return f'{begin.rpartition(" ")[0] or begin} ... {end.partition(" ")[2] or end}'
