"""Checkpoints of vision transformers as they are found in the world, and what is none (random weights)."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from diffcut_ros.features import create_extractor
from diffcut_ros.features.registry import kind_of
from support.scenes import photograph


@pytest.fixture
def copy(vits, tmp_path):
    return shutil.copytree(vits['dinov2'], tmp_path / 'copy')


def features_of(folder, **options):
    return create_extractor(str(folder), device='cpu', kernel='plain', precision='float32', input_size=112, **options)(
        photograph(60, 80)
    ).features


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def test_names_of_older_and_newer_versions(vits, copy):
    """Weights are saved by old names; what a network holds in memory has those of its version."""
    network = transformers.Dinov2Model.from_pretrained(copy)
    assert set(load_file(copy / 'model.safetensors')) != set(network.state_dict())
    save_file(network.state_dict(), copy / 'model.safetensors', metadata={'format': 'pt'})
    assert torch.equal(features_of(copy), features_of(vits['dinov2']))


def test_shards(vits, copy):
    weights = load_file(copy / 'model.safetensors')
    (copy / 'model.safetensors').unlink()
    index = {'metadata': {}, 'weight_map': {}}
    for shard in range(2):
        name = f'model-{shard + 1:05}-of-00002.safetensors'
        part = {key: weights[key] for key in sorted(weights)[shard::2]}
        save_file(part, copy / name, metadata={'format': 'pt'})
        index['weight_map'] |= dict.fromkeys(part, name)
    (copy / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert torch.equal(features_of(copy), features_of(vits['dinov2']))


def test_weights_in_half_precision_are_computed_in_single(vits, copy):
    weights = load_file(copy / 'model.safetensors')
    half = {name: tensor.half() for name, tensor in weights.items()}
    save_file(half, copy / 'model.safetensors', metadata={'format': 'pt'})
    edit(copy / 'config.json', dtype='float16')
    expected = features_of(vits['dinov2'])
    assert 0 < (features_of(copy) - expected).norm() / expected.norm() < 1e-2


def test_images_are_scaled_as_the_checkpoint_says(vits, copy):
    path = copy / 'preprocessor_config.json'
    scaled = json.loads(path.read_text())
    expected = features_of(copy)
    # The same in the file of a processor for images and texts, as transformers 5 writes it.
    path.unlink()
    (copy / 'processor_config.json').write_text(json.dumps({'image_processor': scaled, 'processor_class': 'CLIP'}))
    assert torch.equal(features_of(copy), expected)
    # The same numbers, of pixels that stay 0..255.
    mean, std = ([255 * value for value in scaled[name]] for name in ('image_mean', 'image_std'))
    path.write_text(json.dumps({'do_rescale': False, 'image_mean': mean, 'image_std': std}))
    assert (features_of(copy) - expected).abs().max() < 1e-4
    # As for RADIO, which does it by itself.
    path.write_text(json.dumps({'do_normalize': False}))
    plain = features_of(copy)
    path.write_text(json.dumps({'image_mean': [0, 0, 0], 'image_std': [1, 1, 1]}))
    assert torch.equal(features_of(copy), plain)
    assert (plain - expected).abs().max() > 1e-3


def test_a_mask_for_training_may_be_missing(vits, copy):
    without(copy / 'model.safetensors', 'embeddings.mask_token')
    assert torch.equal(features_of(copy), features_of(vits['dinov2']))


def without(path, name):
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, metadata={'format': 'pt'})


def other_network(folder):
    shutil.rmtree(folder)
    transformers.ResNetModel(transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(
        folder
    )


def words_alone(folder):
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'model_type': 'clip_text_model'}))


def part_of_a_pipeline(folder):
    (folder / 'config.json').write_text(json.dumps({'_class_name': 'UNet2DConditionModel'}))


def no_preprocessor(folder):
    (folder / 'preprocessor_config.json').unlink()


def preprocessor_without_mean(folder):
    edit(folder / 'preprocessor_config.json', image_mean=None)


def gray(folder):
    edit(folder / 'preprocessor_config.json', image_mean=[0.5], image_std=[0.5])


def zeros(folder):
    edit(folder / 'preprocessor_config.json', image_std=[0, 1, 1])


def words_for_numbers(folder):
    edit(folder / 'preprocessor_config.json', image_std='large')


def truncated(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:500])


def truncated_at_its_end(folder):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])


def pickled_weights(folder):
    (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')


def a_tensor_missing(folder):
    without(folder / 'model.safetensors', 'layernorm.weight')


def wider_in_the_configuration(folder):
    edit(folder / 'config.json', mlp_ratio=4)


def an_impossible_network(folder):
    edit(folder / 'config.json', num_attention_heads=5)


def two_channels(folder):
    edit(folder / 'config.json', num_channels=4)


def oblong_patches(folder):
    edit(folder / 'config.json', patch_size=[14, 16])


def no_json(folder):
    (folder / 'config.json').write_text('{')


@pytest.mark.parametrize(
    ('damage', 'problem'),
    [
        (other_network, r'config\.json: expected a vision transformer of the types vit, .*, found resnet; choose '),
        (
            words_alone,
            r'expected a vision transformer .*, found clip_text_model; choose another, such as dinov2-small$',
        ),
        (part_of_a_pipeline, r'expected a vision transformer .*, found UNet2DConditionModel; choose'),
        (
            no_preprocessor,
            r'preprocessor_config\.json: expected a file, found none .*; download .*, or write there how',
        ),
        (preprocessor_without_mean, r"preprocessor_config\.json: expected image_mean .*'image_mean'.*; download"),
        (gray, r'preprocessor_config\.json: expected image_mean and image_std, found others .*three numbers'),
        (zeros, r'preprocessor_config\.json: expected image_mean and image_std, found others .*zeros'),
        (words_for_numbers, r'preprocessor_config\.json: expected image_mean and image_std, found others'),
        (truncated, r'expected a safetensors file, found it damaged or incomplete'),
        (truncated_at_its_end, r'expected a safetensors file, found it damaged or incomplete'),
        (pickled_weights, r'expected weights as \.safetensors, found config\.json, .*pytorch_model\.bin; download'),
        (a_tensor_missing, r'layernorm\.weight is missing, 1 tensors in all; download the weights again'),
        (wider_in_the_configuration, r'expected a sound checkpoint; reading it failed with .*; download it again'),
        (an_impossible_network, r'expected a sound checkpoint; reading it failed with .*; download it again'),
        (two_channels, r'expected a network of square patches and 3 channels, found patch_size 14, num_channels 4'),
        (oblong_patches, r'expected a network of square patches and 3 channels, found patch_size \[14, 16\]'),
        (no_json, r'config\.json: expected JSON, found something else'),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_clear_error(copy, damage, problem):
    damage(copy)
    with pytest.raises(ValueError, match=rf'{problem}') as caught:
        features_of(copy)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ('file', 'settings'),
    [
        ('config.json', {'auto_map': {'AutoModel': 'own.Model'}}),
        ('config.json', {'trust_remote_code': True}),
        ('config.json', {'attn_implementation': 'somebody/kernels'}),
        ('config.json', {'vision_config': {'auto_map': {'AutoModel': 'own.Model'}}}),
        ('preprocessor_config.json', {'auto_map': {'AutoImageProcessor': 'own.Processor'}}),
        ('model.safetensors.index.json', {'weight_map': {'a': 'pytorch_model.bin'}}),
        ('adapter_config.json', {'base_model_name_or_path': 'somebody/else'}),
    ],
)
def test_code_in_a_checkpoint_is_refused_by_name(copy, tmp_path, monkeypatch, file, settings):
    """Before the library is given it: it must not even look at it."""
    (copy / 'own.py').write_text(f'import pathlib\npathlib.Path({str(tmp_path / "ran")!r}).touch()\n')
    if not (copy / file).exists():
        (copy / file).write_text('{}')
    edit(copy / file, **settings)
    monkeypatch.setattr('transformers.PreTrainedModel.from_pretrained', None)
    with pytest.raises(ValueError, match=f'{file}: expected settings and weights alone, found ') as caught:
        features_of(copy)
    assert 'nothing of it was; choose another checkpoint' in str(caught.value)
    assert not (tmp_path / 'ran').exists()


def test_a_version_that_does_not_know_the_network(vits, monkeypatch):
    real = transformers.__dict__.get('DINOv3ViTModel')
    monkeypatch.setattr('diffcut_ros.features.vit.network._CLASSES', {'dinov3_vit': 'DINOv9Model'})
    assert real is not None or hasattr(transformers, 'DINOv3ViTModel')
    problem = r'expected a network that transformers [\d.]+ knows, found dinov3_vit\. Next: pip install --upgrade'
    with pytest.raises(ValueError, match=problem):
        features_of(vits['dinov3'])


def test_a_folder_says_which_kind_of_backend_it_is(vits, checkpoints, tmp_path):
    assert {kind_of(str(folder)) for folder in vits.values()} == {'vit'}
    assert kind_of(str(checkpoints['sd1'])) == 'diffusion'
    assert (kind_of('dinov2-small'), kind_of('ssd-1b'), kind_of('color')) == ('vit', 'diffusion', 'color')
    with pytest.raises(
        ValueError, match=r'expected bundle\.json .*, config\.json .* or model_index\.json .*, found no'
    ):
        kind_of(str(tmp_path))
