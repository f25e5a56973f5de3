"""What is kept between runs: all of it comes back, and nothing of it runs."""

import io
import pickle

import numpy as np
import pytest

from diffcut_ros.core.plain import pack, unpack


def test_all_comes_back():
    arrays = [np.arange(6).astype(kind).reshape(2, 3) for kind in ('u1', '<u2', 'i8', 'f4', 'f8', '?')]
    value = {
        'a': [None, True, 1, -(2**63), 0.1, 'text \x1b \u00e4', b'\0\xff', {}],
        'b': {'c': arrays},
        'd': np.int64(7),
    }
    found = unpack(pack(value))
    assert found['a'] == value['a']
    assert found['d'] == 7
    for one, expected in zip(found['b']['c'], arrays, strict=True):
        assert one.dtype == expected.dtype
        assert np.array_equal(one, expected)
    assert unpack(pack((1, (2,)))) == [1, [2]]
    with pytest.raises(TypeError, match='expected a plain value or an array, received object'):
        pack([object()])


class Bomb:
    def __reduce__(self):
        return exec, ('raise SystemExit("ran")',)


def hostile():
    yield pickle.dumps(Bomb())
    for name in ('text', '0'):
        buffer = io.BytesIO()
        others = {'text': np.frombuffer(b'{"array": 0}', np.uint8)} if name == '0' else {}
        np.savez(buffer, allow_pickle=True, **{name: np.array([Bomb()], object)}, **others)
        yield buffer.getvalue()
    yield b''
    yield b'PK\x03\x04 no archive'
    whole = pack({'a': np.arange(1000)})
    yield whole[:-30]
    yield whole[: len(whole) // 2] + b'\0' * 40 + whole[len(whole) // 2 + 40 :]


@pytest.mark.parametrize('data', list(hostile()))
def test_others_are_refused_and_run_nothing(data):
    with pytest.raises(ValueError, match='expected packed values'):
        unpack(data)
