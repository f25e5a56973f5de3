import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from diffcut_ros.evaluation.feature_cache import FeatureCache, default_folder
from diffcut_ros.features import create_extractor

# Bytes of a file: 8x8 cells of 512 float32 features and 9 of a point, and what an archive of two arrays adds.
FILE_BYTES = 8 * 8 * (512 + 9) * 4 + 514


@pytest.fixture(scope='module')
def extractor():
    return create_extractor('color', device='cpu', cells=8)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def stored(cache: FeatureCache, extractor, seed: int) -> bool:
    return cache.features(extractor, image(seed))[1]


def test_stored_features_are_those_that_were_computed(extractor, tmp_path):
    cache = FeatureCache(tmp_path, 10**9, extractor.fingerprint())
    first, was_stored = cache.features(extractor, image(0))
    assert not was_stored
    again, was_stored = cache.features(extractor, image(0))
    assert was_stored
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.points, again.points)
    assert again.image_size_hw == first.image_size_hw == (32, 32)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [FILE_BYTES]


def test_pixels_size_and_extractor_are_told_apart(extractor, tmp_path):
    cache = FeatureCache(tmp_path, 10**9, extractor.fingerprint())
    assert not stored(cache, extractor, 0)
    changed = image(0)
    changed[0, 0, 0] ^= 1
    assert not cache.features(extractor, changed)[1]
    assert not cache.features(extractor, image(0).reshape(16, 64, 3))[1]
    other = create_extractor('color', device='cpu', cells=9)
    assert not stored(FeatureCache(tmp_path, 10**9, other.fingerprint()), other, 0)
    assert stored(cache, extractor, 0)


def test_the_longest_unused_go_first(extractor, tmp_path):
    cache = FeatureCache(tmp_path, 3 * FILE_BYTES, extractor.fingerprint())
    for seed in range(3):
        assert not stored(cache, extractor, seed)
        os.utime(max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns), (seed, seed))
    assert stored(cache, extractor, 0)  # so that 1 is the one that was not used for the longest time
    assert not stored(cache, extractor, 3)
    assert len(list(tmp_path.iterdir())) == 3
    assert [stored(cache, extractor, seed) for seed in (0, 2, 3)] == [True] * 3
    assert not stored(cache, extractor, 1)


def test_no_cache(extractor, tmp_path):
    cache = FeatureCache(tmp_path / 'none', 0, extractor.fingerprint())
    assert not stored(cache, extractor, 0)
    assert not stored(cache, extractor, 0)
    assert not (tmp_path / 'none').exists()


def test_a_damaged_file_is_computed_again(extractor, tmp_path):
    cache = FeatureCache(tmp_path, 10**9, extractor.fingerprint())
    expected = cache.features(extractor, image(0))[0].features
    (path,) = tmp_path.iterdir()
    for damaged in (path.read_bytes()[:1000], b''):
        path.write_bytes(damaged)
        features, was_stored = cache.features(extractor, image(0))
        assert not was_stored
        assert torch.equal(features.features, expected)
        assert stored(cache, extractor, 0)


def test_what_killed_processes_left_behind_is_removed(extractor, tmp_path):
    cache = FeatureCache(tmp_path, 10**9, extractor.fingerprint())
    old, new = tmp_path / 'tmp1.writing', tmp_path / 'tmp2.writing'
    for path in (old, new):
        path.write_bytes(b'half')
    os.utime(old, (time.time() - 7200,) * 2)
    assert not stored(cache, extractor, 0)
    assert not old.exists()
    assert new.exists()  # another process may be writing it


def test_processes_share_a_folder(tmp_path):
    """Three processes store and read the same images in a cache that holds half of them, all at the same time."""
    program = f"""
import numpy as np
from pathlib import Path
from diffcut_ros.evaluation.feature_cache import FeatureCache
from diffcut_ros.features import create_extractor
extractor = create_extractor('color', device='cpu', cells=8)
cache = FeatureCache(Path({str(tmp_path)!r}), {5 * FILE_BYTES}, extractor.fingerprint())
for turn in range(8):
    for seed in range(10):
        image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        found = cache.features(extractor, image)[0].features
        assert (found == extractor(image).features).all()
"""
    processes = [subprocess.Popen([sys.executable, '-c', program], stderr=subprocess.PIPE) for _ in range(3)]
    try:
        for process in processes:
            assert process.wait(120) == 0, process.stderr.read().decode()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert not [path for path in tmp_path.iterdir() if path.suffix != '.npz']
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * FILE_BYTES


def test_default_folder(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert str(default_folder()) == '/somewhere/diffcut_ros/features'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert str(default_folder()).endswith('/.cache/diffcut_ros/features')


@pytest.mark.parametrize('kind', ['pipe', 'link', 'large', 'texts', 'deep'])
def test_a_file_of_others_is_computed_again(extractor, tmp_path, kind):
    cache = FeatureCache(tmp_path / 'cache', 10**9, extractor.fingerprint())
    assert not stored(cache, extractor, 0)
    (path,) = (tmp_path / 'cache').iterdir()
    content = path.read_bytes()
    path.unlink()
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'link':
        (tmp_path / 'other').write_bytes(content[:200])
        path.symlink_to(tmp_path / 'other')
    elif kind == 'large':
        with path.open('wb') as file:
            shape = 10**7, 10**7, 512
            np.lib.format.write_array_header_1_0(file, {'descr': '<f4', 'fortran_order': False, 'shape': shape})
    elif kind == 'texts':
        np.save(path, np.array(['a', 'b']))
    else:
        path.write_bytes(b'\x93NUMPY\x01\x00\xff\x1f' + b'[' * 0x1FFF)
    assert not stored(cache, extractor, 0)
    assert stored(cache, extractor, 0)
