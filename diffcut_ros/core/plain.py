"""Numbers, texts and arrays as bytes and back: for what is kept between runs, since a pickle from others runs code."""

import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np

_TEXT = 'text'
_MOST_BYTES = 2**28


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


def unpack(data: bytes, most_bytes: int = _MOST_BYTES) -> Any:
    """Return what `pack` was given, with lists for tuples. Runs no code from `data`, whoever wrote them.

    Args:
        data: from `pack`.
        most_bytes: what it may take unpacked.

    Raises:
        ValueError: for other or damaged data, or more of them.
    """

    def find(one: dict[str, Any]) -> Any:
        # Each is packed for one place, so that a short text cannot ask for the same megabytes a million times.
        if one.keys() == {'array'}:
            return arrays.pop(str(one['array']))
        return arrays.pop(str(one['bytes'])).tobytes() if one.keys() == {'bytes'} else one

    try:
        with ZipFile(BytesIO(data)) as file:  # which gives no more of a member than the size that is written there
            if (size := sum(one.file_size for one in file.infolist())) > most_bytes:
                raise ValueError(
                    f'{size / 1e6:.0f} MB unpacked, more than the {most_bytes / 1e6:.0f} MB that are possible'
                )
        with np.load(BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop(_TEXT).tobytes(), object_hook=find)
    except Exception as error:  # a boundary: damage shows as any exception of what unpacks, lack of memory, too
        raise ValueError(f'expected packed values, received {len(data)} bytes of others: {error}') from error


def expect(
    name: str, array: Any, kind: str, shape: tuple[int, ...], least: float = -np.inf, most: float = np.inf
) -> None:
    """Check an array that comes from `unpack`.

    Args:
        name: of it.
        array: to be checked.
        kind: of its dtype, as NumPy names it: i, u, f.
        shape: of it.
        least, most: of its values, which are to be finite.

    Raises:
        ValueError: for another one.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind != kind or array.shape != shape:
        received = f'{array.dtype} {list(array.shape)}' if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f'{name}: expected an array {kind} {list(shape)}, received {received}')
    if array.size and not (np.isfinite(array).all() and least <= array.min() and array.max() <= most):
        raise ValueError(f'{name}: expected values from {least:g} to {most:g}, received others')
