"""Bundles of vision transformers: written by the command, read offline, refused when damaged (random weights)."""

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import transformers

from diffcut_ros.features import create_extractor, export
from diffcut_ros.features.registry import kind_of
from diffcut_ros.features.vit.bundle import read_bundle, write_bundle
from diffcut_ros.features.vit.checkpoint import read_checkpoint
from diffcut_ros.features.vit.kernel import COMPONENTS, Statistics
from support.scenes import photograph
from support.vits import KINDS

IMAGE = photograph(60, 80)


@pytest.fixture(scope='module')
def bundle(vits, tmp_path_factory):
    out = tmp_path_factory.mktemp('bundles') / 'dinov2'
    assert export.main([str(vits['dinov2']), str(out)]) == 0
    return out


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / 'copy')


def extractor_of(folder, **options):
    return create_extractor(str(folder), device='cpu', **options)


@pytest.mark.parametrize('kind', KINDS)
def test_a_bundle_gives_the_features_of_its_checkpoint(vits, tmp_path, kind):
    for layer in ('last', '2.keys'):
        out = tmp_path / layer
        assert export.main([str(vits[kind]), str(out), '--layer', layer]) == 0
        assert kind_of(str(out)) == 'vit'
        for kernel in ('plain', 'joint'):
            found = extractor_of(out, kernel=kernel)(IMAGE).features
            expected = extractor_of(vits[kind], kernel=kernel, layer=layer)(IMAGE).features
            assert (found - expected).abs().max() < 1e-5 * max(1, expected.abs().max())


def test_what_is_in_it(bundle, vits):
    index = json.loads((bundle / 'bundle.json').read_text())
    assert (index['source']['model'], index['source']['licence']) == (str(vits['dinov2']), 'unknown')
    assert index['layer'] == 'last'
    names = {'bundle.json', 'config.json', 'model.safetensors', 'preprocessor_config.json', 'statistics.safetensors'}
    assert {path.name for path in bundle.iterdir()} == names == {'bundle.json', *index['files']}
    assert len({path.stat().st_mode for path in bundle.iterdir()}) == 1
    # Others can load it, too.
    transformers.Dinov2Model.from_pretrained(bundle)


def test_only_blocks_up_to_the_layer_are_in_it(vits, tmp_path):
    out = tmp_path / 'out'
    assert export.main([str(vits['clip']), str(out), '--layer', '1.tokens']) == 0
    assert json.loads((out / 'config.json').read_text())['num_hidden_layers'] == 1
    whole = (vits['clip'] / 'model.safetensors').stat().st_size
    assert (out / 'model.safetensors').stat().st_size < whole / 2


def test_loads_without_network_and_without_diffusers(bundle):
    """In a process where importing diffusers fails and any connection is an error."""
    program = f"""
import socket, sys
sys.modules['diffusers'] = None
def refuse(*_): raise AssertionError('network')
socket.socket.connect = refuse
import numpy as np
from diffcut_ros.features import create_extractor
extractor = create_extractor({str(bundle)!r}, device='cpu')
assert 'computed' not in extractor.description
print(tuple(extractor(np.zeros((50, 60, 3), np.uint8)).features.shape))
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert result.stdout == '(32, 38, 512)\n', result.stderr
    assert result.stderr == ''


def test_precision_of_the_stored_weights(vits, bundle, tmp_path):
    out = tmp_path / 'half'
    assert export.main([str(vits['dinov2']), str(out), '--precision', 'float16']) == 0
    assert (out / 'model.safetensors').stat().st_size < 0.7 * (bundle / 'model.safetensors').stat().st_size
    found, expected = (extractor_of(folder, kernel='plain')(IMAGE).features for folder in (out, bundle))
    assert 0 < (found - expected).norm() / expected.norm() < 2e-2


def test_a_bundle_holds_one_layer(bundle):
    with pytest.raises(
        ValueError, match=r'layer: expected last, the one in the bundle .*, received 2.keys; .* --layer 2'
    ):
        extractor_of(bundle, layer='2.keys')


def test_a_bundle_cannot_be_exported(bundle, tmp_path, capsys):
    assert export.main([str(bundle), str(tmp_path / 'out')]) == 2
    assert 'dinov2: expected a whole checkpoint, found a bundle' in capsys.readouterr().err


def test_a_bundle_without_statistics(vits, tmp_path):
    out = tmp_path / 'out'
    write_bundle(read_checkpoint(vits['dinov2']), out)
    assert extractor_of(out, kernel='plain')(IMAGE).features.shape[2] == 24
    with pytest.raises(
        ValueError, match=r'expected the statistics .*found a bundle without; write it anew: diffcut_ex'
    ):
        extractor_of(out)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize('file', ['model.safetensors', 'statistics.safetensors', 'config.json'])
@pytest.mark.parametrize(
    ('damage', 'problem'),
    [
        (lambda path: path.unlink(), 'expected a file of [0-9]+ bytes, found none'),
        (cut_short, 'expected [0-9]+ bytes, found [0-9]+'),
        (flip_a_bit, 'expected SHA-256 [0-9a-f]+, found another: it is damaged'),
    ],
)
def test_damage_is_found_and_the_way_out_is_said(copy, vits, file, damage, problem):
    damage(copy / file)
    with pytest.raises(ValueError, match=rf'{file}: {problem}; write it anew: diffcut_export .*dinov2 NEW_FOLDER$'):
        extractor_of(copy)


def no_statistics(index):
    del index['files']['statistics.safetensors']


@pytest.mark.parametrize('change', [no_statistics, lambda index: index.update(layer='1.keys')])
def test_a_changed_index_is_found(copy, change):
    index = json.loads((copy / 'bundle.json').read_text())
    change(index)
    (copy / 'bundle.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r'bundle.json: expected the content that its SHA-256 tells.*; write it anew'):
        extractor_of(copy)


def test_not_an_index(copy):
    (copy / 'bundle.json').write_text('{')
    with pytest.raises(
        ValueError, match=r'bundle.json: expected JSON.*; write it anew: diffcut_export MODEL NEW_FOLDER$'
    ):
        extractor_of(copy)


def test_no_room_for_it(vits, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        assert export.main([str(vits['dinov2']), str(tmp_path / 'out')]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = capsys.readouterr().err
    assert 'cannot be written: ' in message
    assert len(message.splitlines()) == 1
    assert not list((tmp_path / 'out').iterdir())


def test_options_of_another_kind_are_refused(vits, tmp_path, capsys):
    assert export.main([str(vits['dinov2']), str(tmp_path / 'out'), '--tiny-vae', 'a/b']) == 2
    assert '--tiny-vae: expected none, ' in capsys.readouterr().err
    assert export.main(['color', str(tmp_path / 'out')]) == 2
    assert 'such as dinov2-small, received color' in capsys.readouterr().err


def test_a_bundle_is_written_as_it_was_read(bundle, tmp_path):
    out = tmp_path / 'again'
    write_bundle(read_bundle(bundle), out)
    for name in ('model.safetensors', 'statistics.safetensors', 'preprocessor_config.json'):
        assert (out / name).read_bytes() == (bundle / name).read_bytes()
    assert torch.equal(extractor_of(out)(IMAGE).features, extractor_of(bundle)(IMAGE).features)


def test_statistics_of_another_network(bundle, tmp_path):
    encoder = read_bundle(bundle)
    statistics = Statistics(torch.zeros(7), torch.zeros(7, COMPONENTS))
    write_bundle(replace(encoder, statistics=statistics), tmp_path / 'other')
    channels = encoder.network.channels
    with pytest.raises(ValueError, match=rf'expected statistics of {channels} channels, .* found 7'):
        read_bundle(tmp_path / 'other')
