"""Numbers, texts and arrays as bytes and back: for what is kept between runs, since a pickle from others runs code."""

import json
import zlib
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np

_TEXT = 'text'


def pack(value: Any) -> bytes:
    """Return a value as bytes, for `unpack`.

    Args:
        value: None, bool, int, float, str, bytes or an array, or lists, tuples and dictionaries (by str) of these.

    Raises:
        TypeError: for anything else.
    """
    arrays: list[np.ndarray] = []

    def place(one: Any) -> Any:
        if isinstance(one, np.generic):
            return one.item()
        if not isinstance(one, np.ndarray | bytes):
            raise TypeError(f'expected a plain value or an array, received {type(one).__name__}')
        arrays.append(np.frombuffer(one, np.uint8) if isinstance(one, bytes) else one)
        return {'bytes' if isinstance(one, bytes) else 'array': len(arrays) - 1}

    text = json.dumps(value, default=place).encode()
    buffer = BytesIO()
    numbered = {str(number): array for number, array in enumerate(arrays)}
    np.savez_compressed(buffer, allow_pickle=False, **{_TEXT: np.frombuffer(text, np.uint8)}, **numbered)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """Return what `pack` was given, with lists for tuples. Runs no code from `data`, whoever wrote them.

    Raises:
        ValueError: for other or damaged data.
    """

    def find(one: dict[str, Any]) -> Any:
        if one.keys() == {'array'}:
            return file[str(one['array'])]
        return file[str(one['bytes'])].tobytes() if one.keys() == {'bytes'} else one

    try:
        with np.load(BytesIO(data), allow_pickle=False) as file:
            return json.loads(file[_TEXT].tobytes(), object_hook=find)
    except (ValueError, TypeError, KeyError, EOFError, OSError, AttributeError, BadZipFile, zlib.error) as error:
        raise ValueError(f'expected packed values, received {len(data)} bytes of others: {error}') from error
