"""Checkpoints as they are found in the world: variants, old names, shards; and what is none."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from diffcut_ros.features import create_extractor
from diffcut_ros.features.diffusion.checkpoint import read_unet
from support.scenes import photograph


@pytest.fixture
def copy(checkpoints, tmp_path):
    return shutil.copytree(checkpoints['sd1'], tmp_path / 'copy')


def features_of(folder, **options):
    return create_extractor(str(folder), device='cpu', input_size=128, **options)(photograph(120, 200)).features


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_fp16_variant(checkpoints, copy):
    for path in copy.rglob('*.safetensors'):
        save_file(
            {name: tensor.half() for name, tensor in load_file(path).items()}, path.with_suffix('.fp16.safetensors')
        )
        path.unlink()
    expected = features_of(checkpoints['sd1'])
    assert 0 < (features_of(copy) - expected).norm() / expected.norm() < 1e-2


def test_shards(checkpoints, copy):
    path = copy / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    path.unlink()
    for shard in range(2):
        part = {name: weights[name] for name in sorted(weights)[shard::2]}
        save_file(part, copy / f'unet/diffusion_pytorch_model-{shard + 1:05}-of-00002.safetensors')
    assert (features_of(copy) - features_of(checkpoints['sd1'])).abs().max() < 1e-5


def test_names_that_weights_of_a_vae_once_had(checkpoints, copy):
    """Stable Diffusion 1.4 was saved when the attention of a VAE was called query, key, value, proj_attn."""
    path = copy / 'vae/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    for new, old in {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}.items():
        weights = {name.replace(f'.{new}.', f'.{old}.'): tensor for name, tensor in weights.items()}
    assert any('.query.' in name for name in weights)
    save_file(weights, path)
    assert (features_of(copy) - features_of(checkpoints['sd1'])).abs().max() < 1e-5


def test_the_noise_schedule_is_the_checkpoints_own(checkpoints, copy):
    edit(copy / 'scheduler/scheduler_config.json', beta_schedule='linear')
    assert (features_of(copy, timestep=500) - features_of(checkpoints['sd1'], timestep=500)).abs().max() > 1e-3


def not_a_checkpoint(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / 'photo.jpg').touch()


def a_transformer(folder):
    edit(folder / 'model_index.json', _class_name='StableDiffusion3Pipeline', transformer=['diffusers', 'SD3'])


def no_attention(folder):
    edit(folder / 'unet/config.json', down_block_types=['DownBlock2D'] * 4)


def only_cross_attention(folder):
    edit(folder / 'unet/config.json', only_cross_attention=True)


def other_blocks(folder):
    edit(folder / 'unet/config.json', down_block_types=['AttnDownBlock2D'] * 4)


def inpainting(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    weights['conv_in.weight'] = weights['conv_in.weight'][:, :1].repeat(1, 9, 1, 1)
    save_file(weights, path)
    edit(folder / 'unet/config.json', in_channels=9)


def truncated(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes()[:50_000])


def truncated_vae(folder):
    path = folder / 'vae/diffusion_pytorch_model.safetensors'
    path.write_bytes(path.read_bytes()[:500])


def pickled_weights(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    path.rename(path.with_suffix('.bin'))


def a_tensor_missing(folder):
    path = folder / 'unet/diffusion_pytorch_model.safetensors'
    weights = load_file(path)
    del weights['conv_in.bias']
    save_file(weights, path)


def without(path, name):
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, metadata={'format': 'pt'})


def a_tensor_of_the_vae_missing(folder):
    without(folder / 'vae/diffusion_pytorch_model.safetensors', 'encoder.conv_in.bias')


def a_tensor_of_the_text_encoder_missing(folder):
    path = folder / 'text_encoder/model.safetensors'
    without(path, next(name for name in load_file(path) if 'token_embedding' in name))


def no_vocabulary(folder):
    (folder / 'tokenizer/tokenizer.json').unlink()
    (folder / 'tokenizer/vocab.json').unlink()


def a_list_for_an_index(folder):
    (folder / 'model_index.json').write_text('[]')


def an_unknown_schedule(folder):
    edit(folder / 'scheduler/scheduler_config.json', beta_schedule='guess')


def truncated_text_encoder(folder):
    path = folder / 'text_encoder/model.safetensors'
    path.write_bytes(path.read_bytes()[:500])


def wider_in_the_configuration(folder):
    edit(folder / 'unet/config.json', cross_attention_dim=24)


def truncated_tokenizer(folder):
    path = folder / 'tokenizer/tokenizer.json'
    path.write_text(path.read_text()[:40])


def no_tokenizer_settings(folder):
    (folder / 'tokenizer/tokenizer_config.json').unlink()


def an_impossible_unet(folder):
    edit(folder / 'unet/config.json', norm_num_groups=7)


def more_channels_of_the_vae(folder):
    edit(folder / 'vae/config.json', latent_channels=16)


def no_text_encoder(folder):
    shutil.rmtree(folder / 'text_encoder')


@pytest.mark.parametrize(
    ('damage', 'problem'),
    [
        (not_a_checkpoint, r'expected bundle\.json .* or model_index\.json .*, found photo\.jpg'),
        (
            a_transformer,
            r'expected a checkpoint of StableDiffusionPipeline .*, found .*3Pipeline with a transformer.*choose',
        ),
        (
            no_attention,
            r'expected self-attention \(attn1\) in the down blocks, found none: .*choose another checkpoint',
        ),
        (only_cross_attention, r'found none: .*only_cross_attention True'),
        (other_blocks, 'expected down blocks among DownBlock2D, CrossAttnDownBlock2D, found AttnDownBlock2D'),
        (inpainting, 'expected 4 input channels, those of the VAE, found 9; checkpoints for inpainting'),
        (truncated, 'unet.*expected a safetensors file, found it damaged or incomplete'),
        (truncated_vae, 'vae.*expected a safetensors file, found it damaged or incomplete'),
        (pickled_weights, r'unet: expected weights as \.safetensors, found config\.json, diffusion_pytorch_model\.bin'),
        (a_tensor_missing, r'unet: conv_in\.bias: expected \[16\] by the configuration, found none'),
        (
            wider_in_the_configuration,
            r'to_k\.weight: expected \[16, 24\] by the configuration, found \[16, 16\]',
        ),
        (no_text_encoder, r'text_encoder/config\.json: expected a file, found none .*; download the checkpoint again'),
        (a_tensor_of_the_vae_missing, r'vae: encoder\.conv_in\.bias is missing'),
        (a_tensor_of_the_text_encoder_missing, r'text_encoder: .*token_embedding\.weight is missing'),
        (no_vocabulary, r'tokenizer: expected tokenizer\.json, or vocab\.json and merges\.txt, found merges\.txt'),
        (a_list_for_an_index, r'model_index\.json: expected a JSON object, found list'),
        (an_unknown_schedule, r'expected a sound checkpoint; reading it failed with NotImplementedError: guess'),
        (truncated_tokenizer, r'tokenizer/tokenizer\.json: expected JSON, .*; download the checkpoint again'),
        (no_tokenizer_settings, r'tokenizer/tokenizer_config\.json: expected a file, found none'),
        (an_impossible_unet, r'UNet: expected a configuration that makes a network, found another \(.* by num_groups'),
        (more_channels_of_the_vae, r'expected a sound checkpoint; reading it failed .* size mismatch'),
        (truncated_text_encoder, 'text_encoder.*expected a safetensors file, found it damaged or incomplete'),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_clear_error(copy, damage, problem):
    damage(copy)
    with pytest.raises(ValueError, match=rf'{problem}.*$') as caught:
        features_of(copy)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ('tiny_vae', 'problem'),
    [
        ('nowhere', "tiny_vae: expected .*, received 'nowhere'.* Without one: vae: full, or diffcut_export --tiny-vae"),
        ('', 'config.json: expected a file, found none .*; expected that of an AutoencoderTiny'),
        ('vae', 'vae: expected an AutoencoderTiny, found AutoencoderKL'),
    ],
)
def test_what_is_no_tiny_vae(checkpoints, tiny_vae, problem):
    if tiny_vae != 'nowhere':
        tiny_vae = checkpoints['sd1'] / tiny_vae
    with pytest.raises(ValueError, match=problem):
        features_of(checkpoints['sd1'], vae='tiny', tiny_vae=str(tiny_vae))


CODE = """
import pathlib
pathlib.Path({!r}).touch()
class Model: pass
"""


@pytest.mark.parametrize(
    ('file', 'settings'),
    [
        ('model_index.json', {'_class_name': ['own', 'Model']}),
        ('model_index.json', {'custom_pipeline': 'own'}),
        ('model_index.json', {'unet': ['own', 'Model']}),
        ('model_index.json', {'text_encoder': ['transformers', 'pipeline']}),
        ('model_index.json', {'tokenizer': ['transformers', 'AutoTokenizer']}),
        ('model_index.json', {'text_encoder': []}),
        ('unet/config.json', {'auto_map': {'AutoModel': 'own.Model'}}),
        ('unet/config.json', {'_class_name': ['own', 'Model']}),
        ('vae/config.json', {'down': [{'auto_map': {'AutoModel': 'own.Model'}}]}),
        ('text_encoder/config.json', {'auto_map': {'AutoModel': 'own--Model'}, 'trust_remote_code': True}),
        ('text_encoder/config.json', {'attn_implementation': 'somebody/kernels'}),
        ('text_encoder/config.json', {'transformers_weights': '../weights.bin'}),
        ('tokenizer/tokenizer_config.json', {'auto_map': {'AutoTokenizer': ['own.Model', None]}}),
        ('scheduler/scheduler_config.json', {'custom_pipeline': 'own'}),
        ('text_encoder/adapter_config.json', {'base_model_name_or_path': 'somebody/else'}),
        ('unet/diffusion_pytorch_model.safetensors.index.json', {'weight_map': {'a': 'diffusion_pytorch_model.bin'}}),
    ],
)
def test_code_in_a_checkpoint_is_refused_by_name(copy, tmp_path, monkeypatch, file, settings):
    """Before the libraries are given it: they must not even look at it."""
    for folder in (copy, *filter(Path.is_dir, copy.iterdir())):
        (folder / 'own.py').write_text(CODE.format(str(tmp_path / 'ran')))
    if not (copy / file).exists():
        (copy / file).write_text('{}')
    edit(copy / file, **settings)
    monkeypatch.setattr('diffusers.ModelMixin.from_pretrained', None)
    with pytest.raises(ValueError, match=f'{file}: expected settings and weights alone, found ') as caught:
        features_of(copy)
    assert 'nothing of it was; choose another checkpoint' in str(caught.value)
    assert not (tmp_path / 'ran').exists()


def test_code_beside_a_tiny_vae_or_the_whole_unet_is_refused(checkpoints, copy):
    edit(copy / 'vae/config.json', auto_map={'AutoModel': 'own.Model'})
    tiny = {'vae': 'tiny', 'tiny_vae': str(copy / 'vae')}
    for load in (lambda: features_of(checkpoints['sd1'], **tiny), lambda: read_unet(copy)):
        with pytest.raises(ValueError, match='expected settings and weights alone, found auto_map'):
            load()
