"""Images to self-attention features."""

from collections.abc import Callable

import diffusers
import numpy as np
import torch
from torch import nn

from diffcut_ros.core.memory import Result, within_memory
from diffcut_ros.core.types import FeatureMap, check_image
from diffcut_ros.features.cuda_graphs import CudaGraphs
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
from diffcut_ros.features.diffusion.unet import UNetEncoder
from diffcut_ros.features.diffusion.vae import ImageEncoder
from diffcut_ros.features.fingerprint import fingerprint
from diffcut_ros.features.models import computes_bfloat16, precision_name, resolve_precision
from diffcut_ros.features.pixels import upload
from diffcut_ros.features.weights import Weights, check_weights

# One noise for all images (DiffCut, section 4.1), the same on every device.
_NOISE_SEED = 42


class DiffusionExtractor:
    """Maps images to the output of a self-attention layer of a diffusion UNet (DiffCut, section 3.1).

    On a GPU the networks run as CUDA graphs, captured here for one image at a time; see `prepare` for more.

    Args:
        encoder: weights and settings; it has the VAE that `config` names.
        config: what the user chose.
        device: where everything runs.

    Attributes:
        channels: of the features.
        stride: pixels of the network's input per cell and side.
        input_hw: height and width of the network's input.
        description: of model, precision and sizes, as text.

    Raises:
        ValueError: for settings that this encoder does not allow, or weights that do not fit.
        MemoryError: when the device has too little memory.
    """

    def __init__(self, encoder: DiffusionEncoder, config: DiffusionConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        vae_config, vae_weights = encoder.vaes[config.vae]
        self._networks = {'vae': vae_config, 'unet': encoder.unet_config, 'layer': encoder.layer}
        self._vae, self._unet = ImageEncoder(vae_config), UNetEncoder(encoder.unet_config, encoder.layer)
        if self._vae.channels != self._unet.conv_in.in_channels:
            raise ValueError(
                f'UNet: expected {self._vae.channels} input channels, those of the VAE, found '
                f'{self._unet.conv_in.in_channels}; checkpoints for inpainting do not serve'
            )
        self.channels = self._unet.channels
        self.stride = self._vae.downsampling * self._unet.downsampling
        self.input_hw = config.input_hw(self.stride)
        if config.timestep >= len(encoder.alphas_cumprod):
            raise ValueError(
                f'timestep: expected 0 to {len(encoder.alphas_cumprod) - 1}, the steps of the schedule, '
                f'received {config.timestep}'
            )
        signal = float(encoder.alphas_cumprod[config.timestep])
        self._signal, self._noise_share = signal**0.5, (1 - signal) ** 0.5
        self.precision = resolve_precision(config.precision, device)
        vae_precision = self.precision
        if self.precision == torch.float16 and self._vae.overflows_in_float16:
            # bfloat16 has the range of float32 at the speed of float16, where the device knows it.
            vae_precision = torch.bfloat16 if computes_bfloat16(device) else torch.float32
        name = encoder.source.get('model', 'diffusion')
        self.description = (
            f'{name}, {config.vae} VAE in {precision_name(vae_precision)}, UNet in {precision_name(self.precision)}, '
            f'input {self.input_hw[1]}x{self.input_hw[0]}, {self.grid_hw()[0]}x{self.grid_hw()[1]} cells'
        )
        self._graphs = CudaGraphs(device)
        self._within_memory(lambda: self._load(encoder, vae_weights, vae_precision))
        self.prepare(1)

    def grid_hw(self, image_hw: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return rows and columns of the feature grid; the same for every image."""
        return self.input_hw[0] // self.stride, self.input_hw[1] // self.stride

    def prepare(self, batch: int) -> None:
        """Capture the CUDA graphs for that many images at a time, so that the first frame does not; nothing on a CPU.

        Raises:
            MemoryError: when the device has too little memory.
        """
        functions, shape = (self._encode, self._attend), (batch, 3, *self.input_hw)
        self.description += self._graphs.prepare(functions, shape, self._advice(), torch.channels_last)

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB; see `batch`."""
        return self.batch([image_rgb])[0]

    @torch.inference_mode()
    def batch(self, images_rgb: list[np.ndarray]) -> list[FeatureMap]:
        """Return the features of several images, each uint8 [H, W, 3] RGB of any size, from one pass.

        Raises:
            ValueError: for an image of another shape or dtype.
            MemoryError: when the device has too little memory; the images are given up.
        """
        for image in images_rgb:
            check_image(image)
        features = self._within_memory(lambda: self.features(self.latents(self.upload(images_rgb))))
        sizes = [image.shape[:2] for image in images_rgb]
        return [FeatureMap(features[i], size) for i, size in enumerate(sizes)]

    @torch.inference_mode()
    def upload(self, images_rgb: list[np.ndarray]) -> torch.Tensor:
        """Return images on the device as the network sees them: resized (bilinear, antialiased), from -1 to 1.

        Args:
            images_rgb: B images, uint8 [H, W, 3].

        Returns:
            float32 [B, 3, *input_hw].
        """
        pixels = upload(images_rgb, self.input_hw, self.device)
        return pixels.div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def latents(self, images: torch.Tensor) -> torch.Tensor:
        """Return the noisy latents of images as `upload` gives them."""
        return self._graphs(self._encode, images)

    @torch.inference_mode()
    def features(self, latents: torch.Tensor) -> torch.Tensor:
        """Return features, float32 [B, h, w, C], of latents as `latents` gives them."""
        return self._graphs(self._attend, latents).float()

    def fingerprint(self) -> str:
        """Return a digest of weights, prompt, noise and settings; takes about a second per gigabyte of weights."""
        settings = {
            'config': {name: value for name, value in vars(self.config).items() if name != 'allow_download'},
            'networks': self._networks,
            'precision': [precision_name(self.precision), precision_name(next(self._vae.parameters()).dtype)],
            'device': self.device.type,  # kernels differ between devices in their last digits
            'signal': self._signal,
            'diffusers': diffusers.__version__,
        }
        held = (value for network in (self._vae, self._unet) for _, value in sorted(network.state_dict().items()))
        return fingerprint(settings, (*held, self._prompt, self._noise, self._embedded))

    @torch.inference_mode()
    def _load(self, encoder: DiffusionEncoder, vae_weights: Weights, vae_precision: torch.dtype) -> None:
        _load_weights(self._vae, vae_weights, self.device, vae_precision, 'VAE')
        _load_weights(self._unet, encoder.unet, self.device, self.precision, 'UNet')
        self._prompt = encoder.prompt.to(self.device, self.precision)
        pooled = None if encoder.pooled is None else encoder.pooled.to(self.device, self.precision)
        self._embedded = self._unet.embed(self.config.timestep, pooled, self.input_hw)
        latent_hw = [side // self._vae.downsampling for side in self.input_hw]
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        noise = torch.randn(1, self._vae.channels, *latent_hw, generator=generator)
        self._noise = noise.to(self.device, self.precision)

    def _within_memory(self, function: Callable[[], Result]) -> Result:
        return within_memory(function, self.device, self._advice())

    def _advice(self) -> str:
        height, width = self.input_hw
        return f'the network at input {width}x{height} needs more; take a smaller input_size, or vae: tiny'

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        precision = next(self._vae.parameters()).dtype
        latents = self._vae(images.to(precision)).to(self.precision)
        return self._signal * latents + self._noise_share * self._noise

    def _attend(self, latents: torch.Tensor) -> torch.Tensor:
        return self._unet(latents, self._embedded, self._prompt)


def _load_weights(
    network: nn.Module, weights: Weights, device: torch.device, precision: torch.dtype, name: str
) -> None:
    check_weights(name, weights, network.state_dict())
    network.load_state_dict(weights, assign=True)
    network.requires_grad_(False).eval()
    network.to(device, precision, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not declared
