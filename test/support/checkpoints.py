"""Small checkpoints with random weights: real `diffusers` and `transformers` classes, saved as on the Hub.

Their features mean nothing; they show that loading, trimming and computing are right.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


def save_sdxl(folder: Path, encoder: int = 3, decoder: int = 4) -> Path:
    """Save a checkpoint laid out like SSD-1B: three levels, two transformers' depths, no middle block.

    SSD-1B has 4 blocks in the encoder's last transformers and 10 in the decoder's last one at that grid.
    """
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 64),
        norm_num_groups=8,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'),
        layers_per_block=2,
        transformer_layers_per_block=[1, [2, 2], [encoder, encoder]],
        reverse_transformer_layers_per_block=[[encoder, encoder, decoder], [2, 1, 1], 1],
        mid_block_type=None,
        attention_head_dim=[2, 4, 8],
        cross_attention_dim=48,
        use_linear_projection=True,
        addition_embed_type='text_time',
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(scaling_factor=0.13025),
        text_encoder=_text_encoder(CLIPTextModel, hidden=16),
        text_encoder_2=_text_encoder(CLIPTextModelWithProjection, hidden=32),
        tokenizer=_tokenizer(folder / 'tokenizer'),
        tokenizer_2=_tokenizer(folder / 'tokenizer_2'),
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear'),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def save_sd1(folder: Path) -> Path:
    """Save a checkpoint laid out like Stable Diffusion 1.4: four levels, the last one without attention."""
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        down_block_types=('CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'),
        layers_per_block=2,
        attention_head_dim=4,
        cross_attention_dim=16,
    )
    pipeline = StableDiffusionPipeline(
        vae=_vae(scaling_factor=0.18215),
        text_encoder=_text_encoder(CLIPTextModel, hidden=16),
        tokenizer=_tokenizer(folder / 'tokenizer'),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear', steps_offset=1, clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def save_tiny_vae(folder: Path) -> Path:
    """Save a small AutoencoderTiny."""
    torch.manual_seed(3)
    AutoencoderTiny(encoder_block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8)).save_pretrained(
        folder
    )
    return folder


def _vae(scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=8,
        down_block_types=('DownEncoderBlock2D',) * 4,
        up_block_types=('UpDecoderBlock2D',) * 4,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=scaling_factor,
        sample_size=128,
    )


def _text_encoder(kind: type, hidden: int) -> torch.nn.Module:
    return kind(
        CLIPTextConfig(
            vocab_size=258,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            projection_dim=hidden,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=256,
            eos_token_id=257,
            pad_token_id=257,
        )
    ).eval()


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a tokenizer of single letters, from files as CLIP's are written."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(ord('!'), ord('!') + 128)]
    tokens = [*letters, *(f'{letter}</w>' for letter in letters), '<|startoftext|>', '<|endoftext|>']
    (folder / 'vocab.json').write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    return CLIPTokenizer(str(folder / 'vocab.json'), str(folder / 'merges.txt'), model_max_length=77)
