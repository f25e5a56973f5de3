"""Bundles: written by the command, read offline, refused when damaged."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys

import pytest
import torch

from diffcut_ros.features import create_extractor, export
from diffcut_ros.features.diffusion.bundle import read_bundle
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
from support.scenes import photograph


@pytest.fixture(scope='module')
def bundle(checkpoints, tmp_path_factory):
    out = tmp_path_factory.mktemp('bundles') / 'sdxl'
    assert export.main([str(checkpoints['sdxl']), str(out), '--tiny-vae', str(checkpoints['tiny'])]) == 0
    return out


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / 'copy')


def extractor_of(folder, **options):
    return create_extractor(str(folder), device='cpu', input_size=128, **options)


@pytest.mark.parametrize('kind', ['sdxl', 'sd1'])
@pytest.mark.parametrize('vae', ['full', 'tiny'])
def test_a_bundle_gives_the_features_of_its_checkpoint(checkpoints, tmp_path, kind, vae):
    out = tmp_path / 'bundle'
    assert export.main([str(checkpoints[kind]), str(out), '--tiny-vae', str(checkpoints['tiny'])]) == 0
    image = photograph(120, 200)
    found = extractor_of(out, vae=vae)(image).features
    expected = extractor_of(checkpoints[kind], vae=vae, tiny_vae=str(checkpoints['tiny']))(image).features
    assert (found - expected).abs().max() < 1e-5


def test_what_is_in_it(bundle, checkpoints):
    index = json.loads((bundle / 'bundle.json').read_text())
    assert index['source']['model'] == str(checkpoints['sdxl'])
    assert index['layer'] == 'down_blocks.2.attentions.1.transformer_blocks.2.attn1'
    names = {'bundle.json', 'unet.safetensors', 'vae_full.safetensors', 'vae_tiny.safetensors', 'prompt.safetensors'}
    assert {path.name for path in bundle.iterdir()} == names == {'bundle.json', *index['files']}
    assert len({path.stat().st_mode for path in bundle.iterdir()}) == 1
    whole = sum(path.stat().st_size for path in checkpoints['sdxl'].rglob('*.safetensors'))
    assert sum(path.stat().st_size for path in bundle.iterdir()) < whole / 2


def test_loads_without_network_and_without_transformers(bundle):
    """In a process where importing transformers fails and any connection is an error."""
    program = f"""
import socket, sys
sys.modules['transformers'] = None
def refuse(*_): raise AssertionError('network')
socket.socket.connect = refuse
import numpy as np
from diffcut_ros.features import create_extractor
extractor = create_extractor({str(bundle)!r}, device='cpu', input_size=128)
print(tuple(extractor(np.zeros((50, 60, 3), np.uint8)).features.shape))
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=300)
    assert result.stdout == '(4, 4, 64)\n', result.stderr


def test_precision_of_the_stored_weights(checkpoints, bundle, tmp_path):
    out = tmp_path / 'half'
    assert export.main([str(checkpoints['sdxl']), str(out), '--tiny-vae', 'none', '--precision', 'float16']) == 0
    assert (out / 'unet.safetensors').stat().st_size < 0.6 * (bundle / 'unet.safetensors').stat().st_size
    found, expected = (extractor_of(folder)(photograph(120, 200)).features for folder in (out, bundle))
    assert (found - expected).norm() / expected.norm() < 2e-2
    with pytest.raises(ValueError, match=r'vae: expected full, the one in the bundle .*half, received tiny'):
        extractor_of(out, vae='tiny')


def test_a_bundle_holds_one_tiny_vae(bundle, checkpoints):
    extractor_of(bundle, vae='tiny', tiny_vae=str(checkpoints['tiny']))
    with pytest.raises(ValueError, match=r'tiny_vae: expected .*tiny, the one in .*, received a/b; .*vae a/b'):
        extractor_of(bundle, vae='tiny', tiny_vae='a/b')


def test_a_bundle_cannot_be_exported(bundle, tmp_path, capsys):
    assert export.main([str(bundle), str(tmp_path / 'out')]) == 2
    assert 'sdxl: expected a whole checkpoint, found a bundle' in capsys.readouterr().err


def test_a_bundle_holds_one_layer(bundle):
    layer = 'down_blocks.1.attentions.0.transformer_blocks.1.attn1'
    with pytest.raises(ValueError, match=rf'layer: expected down_blocks.2.*, received .*--layer {layer}'):
        extractor_of(bundle, layer=layer)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('damage', 'problem'),
    [
        (lambda path: path.unlink(), 'unet.safetensors: expected a file of [0-9]+ bytes, found none'),
        (cut_short, 'unet.safetensors: expected [0-9]+ bytes, found [0-9]+'),
        (flip_a_bit, 'unet.safetensors: expected SHA-256 [0-9a-f]+, found another: it is damaged'),
    ],
)
def test_damage_is_found_and_the_remedy_named(copy, damage, problem):
    damage(copy / 'unet.safetensors')
    with pytest.raises(ValueError, match=rf'{problem}.*; write it anew: diffcut_export .* NEW_FOLDER'):
        extractor_of(copy)


def no_files(index):
    index['files'] = {}


def another_scale(index):
    index['vaes']['full']['scaling_factor'] = 0.5


@pytest.mark.parametrize('change', [no_files, another_scale])
def test_a_changed_index_is_found(copy, change):
    index = json.loads((copy / 'bundle.json').read_text())
    change(index)
    (copy / 'bundle.json').write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r'bundle.json: expected the content that its SHA-256 tells.*; write it anew'):
        extractor_of(copy)


def test_weights_of_another_shape(bundle):
    """As from a `diffusers` that makes another network of the same configuration."""
    encoder = read_bundle(bundle)
    encoder.unet_config['block_out_channels'] = [16, 32, 32]
    problem = r'^UNet: down_blocks\S+: expected \[32\] by the configuration, found \[64\]; get both again$'
    with pytest.raises(ValueError, match=problem):
        DiffusionExtractor(encoder, DiffusionConfig(input_size=128), torch.device('cpu'))


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('{', 'bundle.json: expected JSON'),
        ('{}', 'bundle.json: expected format .*, found None'),
        ('[]', 'bundle.json: expected a JSON object, found list'),
        ('{"format": "diffcut_ros encoder bundle, version 1"}', 'expected the content that its SHA-256 tells'),
    ],
)
def test_not_an_index(copy, text, problem):
    (copy / 'bundle.json').write_text(text)
    with pytest.raises(ValueError, match=rf'{problem}.*; write it anew: diffcut_export MODEL NEW_FOLDER$'):
        extractor_of(copy)


def test_nothing_is_overwritten_and_nothing_left_behind(checkpoints, tmp_path, capsys):
    (tmp_path / 'precious').write_text('')
    assert export.main([str(checkpoints['sd1']), str(tmp_path)]) == 2
    assert 'expected a new or empty folder' in capsys.readouterr().err
    assert export.main([str(tmp_path), str(tmp_path / 'out')]) == 2
    assert 'expected bundle.json' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['out', 'precious']
    assert export.main([str(checkpoints['sd1']), str(tmp_path / 'precious/out')]) == 2
    assert 'expected a folder to write to: Not a directory' in capsys.readouterr().err


def test_no_room_for_it(checkpoints, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        assert export.main([str(checkpoints['sdxl']), str(tmp_path / 'out'), '--tiny-vae', 'none']) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 'unet.safetensors cannot be written: ' in capsys.readouterr().err
    assert not list((tmp_path / 'out').iterdir())


def test_an_interrupted_export_can_be_repeated(checkpoints, bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / 'out', ignore=shutil.ignore_patterns('bundle.json'))
    with pytest.raises(ValueError, match=r'expected bundle\.json'):
        extractor_of(tmp_path / 'out')
    arguments = [str(checkpoints['sdxl']), str(tmp_path / 'out'), '--tiny-vae', str(checkpoints['tiny'])]
    assert export.main(arguments) == 0
    assert (tmp_path / 'out/bundle.json').read_bytes() == (bundle / 'bundle.json').read_bytes()
    assert export.main(arguments) == 2  # a whole one is not written over


def test_alphas_come_from_the_checkpoint(bundle):
    from safetensors.torch import load_file

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - betas, 0).float()
    assert torch.allclose(load_file(bundle / 'prompt.safetensors')['alphas_cumprod'], expected, atol=1e-5)


@pytest.mark.parametrize(
    'change',
    [
        *(lambda index, name=name: index.pop(name) for name in ('source', 'layer', 'unet', 'vaes', 'files')),
        *(lambda index, name=name: index.update({name: 3}) for name in ('source', 'unet', 'vaes', 'files')),
        lambda index: index['source'].pop('model'),
        lambda index: index['files'].update({'unet.safetensors': {}}),
        lambda index: index['files'].update({'../other': index['files']['unet.safetensors']}),
        lambda index: index['files'].pop('prompt.safetensors'),
        lambda index: index['vaes'].update({'full': 3}),
    ],
)
def test_an_index_of_others(copy, change):
    """Its SHA-256 is right."""
    path = copy / 'bundle.json'
    index = json.loads(path.read_text())
    change(index)
    rest = {name: value for name, value in index.items() if name != 'sha256'}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(rest | {'sha256': digest}))
    with pytest.raises(ValueError, match=r'bundle.json: expected the parts of a bundle, found others .*; write it'):
        read_bundle(copy)
