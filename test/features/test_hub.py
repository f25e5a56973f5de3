"""Downloads, from a server on this machine."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from diffcut_ros.features import create_extractor, export
from diffcut_ros.features.hub import choose_files
from support.hub import COMMIT, serve
from support.scenes import photograph
from support.waiting import wait_for

TAKEN = [
    'README.md',
    'model_index.json',
    'scheduler/scheduler_config.json',
    'text_encoder/config.json',
    'text_encoder/model.fp16.safetensors',
    'tokenizer/merges.txt',
    'tokenizer/tokenizer.json',
    'tokenizer/vocab.json',
    'unet/config.json',
    'unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors',
    'unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors',
    'vae/config.json',
    'vae/diffusion_pytorch_model.safetensors',
]
LEFT = [
    'SSD-1B.safetensors',
    'picture.png',
    'safety_checker/model.safetensors',
    'text_encoder/model.safetensors',
    'text_encoder/pytorch_model.bin',
    'text_encoder/openvino_model.bin',
    'unet/diffusion_pytorch_model.safetensors',
    'unet/diffusion_pytorch_model.non_ema.safetensors',
    'unet/diffusion_pytorch_model.bin',
    'vae/diffusion_pytorch_model.bin',
    'vae_1_0/diffusion_pytorch_model.safetensors',
]


def test_only_the_files_needed():
    assert sorted(choose_files(TAKEN + LEFT)) == TAKEN


WEIGHTS = 'unet/diffusion_pytorch_model.safetensors'


@pytest.fixture
def hub(checkpoints, vits, tmp_path, monkeypatch):
    """A hub, and a cache of one's own, as HF_ENDPOINT and HF_HOME would set them in a new process."""
    models = {
        'small/sdxl': checkpoints['sdxl'],
        'small/tiny': checkpoints['tiny'],
        'small/clip': vits['clip'],
        'facebook/dinov3-vits16-pretrain-lvd1689m': vits['dinov3'],
    }
    with serve(models) as hub:
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
        visit(monkeypatch, hub.url)
        yield hub


def visit(monkeypatch, url):
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url + '/{repo_id}/resolve/{revision}/{filename}')


def run_export(out) -> int:
    return export.main(['small/sdxl', str(out), '--tiny-vae', 'small/tiny'])


def test_export_downloads_once(hub, tmp_path, monkeypatch, capfd):
    assert run_export(tmp_path / 'one') == 0
    printed = capfd.readouterr()
    assert 'small/sdxl: 18 of 18 files, 10 MB in all' in printed.out
    assert '100%' in printed.err
    assert COMMIT in (tmp_path / 'one/bundle.json').read_text()
    # Each file once; two repositories have a file of the same name.
    assert {hub.sent.count(file) for file in hub.sent} == {1}
    hub.sent.clear()
    assert run_export(tmp_path / 'two') == 0
    assert not hub.sent
    # What is there needs no network at all.
    visit(monkeypatch, 'http://127.0.0.1:9')
    assert create_extractor('small/sdxl', input_size=128).description.startswith('small/sdxl, full VAE')


def test_an_interrupted_download_goes_on_where_it_ended(hub, checkpoints, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 100_000)  # the file is small, too
    hub.fails_at = 500_000
    assert run_export(tmp_path / 'out') == 2
    assert 'diffcut_export: model small/sdxl cannot be fetched: ' in capfd.readouterr().err
    assert not list((tmp_path / 'out').iterdir())
    hub.fails_at = None
    hub.sent.clear()
    assert run_export(tmp_path / 'out') == 0
    whole = (checkpoints['sdxl'] / WEIGHTS).stat().st_size
    assert [sent for sent in hub.sent if sent[0] == WEIGHTS] == [(WEIGHTS, 500_000, whole - 500_000)]


def test_a_download_without_its_last_files_is_not_complete(hub, checkpoints, tmp_path):
    hub.refuses = {'tokenizer/vocab.json', 'tokenizer/merges.txt', 'tokenizer/tokenizer.json'}
    assert run_export(tmp_path / 'out') == 2
    hub.refuses = set()
    assert run_export(tmp_path / 'out') == 0
    assert export.main([str(checkpoints['sdxl']), str(tmp_path / 'whole'), '--tiny-vae', 'none']) == 0
    prompts = [load_file(tmp_path / name / 'prompt.safetensors')['prompt'] for name in ('out', 'whole')]
    assert torch.equal(*prompts)
    assert not list((tmp_path / 'cache').rglob('*.part'))


@pytest.mark.parametrize('content', [bytes(500_000), bytes(20_000_000)])
def test_what_an_interruption_left_damaged_is_discarded(hub, checkpoints, tmp_path, capsys, content):
    weights = checkpoints['sdxl'] / WEIGHTS
    blobs = tmp_path / 'cache/models--small--sdxl/blobs'
    blobs.mkdir(parents=True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (blobs / f'{digest}.part').write_bytes(content)
    assert run_export(tmp_path / 'out') == 2
    assert 'unet/diffusion_pytorch_model.safetensors arrived damaged and was discarded' in capsys.readouterr().err
    assert run_export(tmp_path / 'out') == 0
    assert (blobs / digest).read_bytes() == weights.read_bytes()


def test_no_download_without_permission(hub):
    with pytest.raises(ValueError, match=r'model small/sdxl is not on this machine.*diffcut_export small/sdxl FOLDER'):
        create_extractor('small/sdxl', input_size=128)
    assert not hub.sent
    create_extractor('small/sdxl', input_size=128, allow_download=True)
    with pytest.raises(ValueError, match=r'model small/tiny is not on .*diffcut_export small/sdxl FOLDER'):
        create_extractor('small/sdxl', input_size=128, vae='tiny', tiny_vae='small/tiny')
    assert hub.sent


def test_a_vision_transformer_is_known_by_its_files(hub, vits, tmp_path, monkeypatch):
    options = {'kernel': 'plain', 'device': 'cpu'}
    problem = r'model small/clip is not on this machine.*diffcut_export small/clip FOLDER.* or vit\.allow_download\)'
    with pytest.raises(ValueError, match=problem):
        create_extractor('small/clip', **options)
    assert not hub.sent
    found = create_extractor('small/clip', allow_download=True, **options)(photograph(60, 80)).features
    assert {name for name, _, _ in hub.sent} == {'config.json', 'preprocessor_config.json', 'model.safetensors'}
    assert torch.equal(found, create_extractor(str(vits['clip']), **options)(photograph(60, 80)).features)
    # What is there needs no network at all.
    visit(monkeypatch, 'http://127.0.0.1:9')
    assert create_extractor('small/clip', **options).description.startswith('small/clip, last, ')
    assert export.main(['small/clip', str(tmp_path / 'out')]) == 0
    assert COMMIT in (tmp_path / 'out/bundle.json').read_text()


def test_a_licence_that_has_to_be_accepted(hub, tmp_path, capsys):
    model = 'facebook/dinov3-vits16-pretrain-lvd1689m'
    hub.gated = {model}
    assert export.main(['dinov3-vits16', str(tmp_path / 'out')]) == 2
    assert re.fullmatch(
        rf'diffcut_export: model {model} cannot be fetched: .*\. Its licence has to be accepted: on {hub.url}/{model}, '
        r'then log in with `hf auth login` and run the same command again; or give a folder that you have it in\n',
        capsys.readouterr().err,
    )
    hub.gated = set()
    assert export.main(['dinov3-vits16', str(tmp_path / 'out')]) == 0
    assert create_extractor(str(tmp_path / 'out')).description.startswith(f'{model}, last, ')


def test_a_repository_of_neither_kind(hub, tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/photo.jpg').touch()
    hub.models['small/other'] = tmp_path / 'other'
    problem = r'small/other: expected bundle.json .*, config.json .* or model_index.json .*, found photo.jpg$'
    with pytest.raises(ValueError, match=problem):
        create_extractor('small/other', allow_download=True)


def test_a_model_that_does_not_exist(hub, tmp_path, capsys):
    assert export.main(['small/typo', str(tmp_path / 'out')]) == 2
    assert re.fullmatch(
        r'diffcut_export: model small/typo cannot be fetched: .*Repository Not Found.* check name and network.*\n',
        capsys.readouterr().err,
    )


def test_ctrl_c_is_told_in_one_line(hub, tmp_path):
    hub.fails_at, hub.stalls = 500_000, threading.Event()
    process = subprocess.Popen(
        [sys.executable, '-m', export.__name__, 'small/sdxl', str(tmp_path / 'out'), '--tiny-vae', 'none'],
        env=os.environ | {'HF_ENDPOINT': hub.url, 'HF_HOME': str(tmp_path / 'home')},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: hub.sent, process)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=120)[1]
    hub.stalls.set()
    assert process.returncode == 130
    assert printed.splitlines()[-1] == (
        'diffcut_export: interrupted; what was fetched is kept, and the same command goes on from there'
    )
    assert 'Traceback' not in printed
