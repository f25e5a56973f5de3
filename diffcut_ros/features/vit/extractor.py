"""Images to features of a vision transformer's patches."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffcut_ros.core.memory import Result, within_memory
from diffcut_ros.core.types import FeatureMap, check_image
from diffcut_ros.features.cuda_graphs import CudaGraphs
from diffcut_ros.features.fingerprint import fingerprint
from diffcut_ros.features.models import fast_on_cpu, precision_name, resolve_precision
from diffcut_ros.features.pixels import upload
from diffcut_ros.features.vit.attention import attend_by_head
from diffcut_ros.features.vit.config import VitConfig
from diffcut_ros.features.vit.encoder import VitEncoder
from diffcut_ros.features.vit.kernel import JointKernel, compute_statistics


class VitExtractor:
    """Maps images to features of a vision transformer, made comparable by a kernel.

    On a GPU the network runs as CUDA graphs, one for each size of its input: that for images of 4:3 is captured here,
    others with the first image.

    Args:
        encoder: network, which is moved to the device, and what belongs to it; without statistics, those that the
            joint kernel needs are computed.
        config: what the user chose.
        device: where everything runs.
        graphs: whether CUDA graphs are used, where that is on a GPU.

    Attributes:
        channels: of the features.
        patch: pixels of the network's input per cell of the network and side.
        precision: of the network.
        description: of model, precision and sizes, as text.

    Raises:
        ValueError: for settings that this encoder does not allow.
        MemoryError: when the device has too little memory.
    """

    def __init__(self, encoder: VitEncoder, config: VitConfig, device: torch.device, graphs: bool = True) -> None:
        self.config, self.device = config, device
        self.patch = encoder.network.patch
        config.check(self.patch)
        self.precision = resolve_precision(config.precision, device, fast_on_cpu)
        self._scaling, self._layer = encoder.scaling, encoder.network.layer
        statistics, took = encoder.statistics if config.kernel == 'joint' else None, 0.0
        if config.kernel == 'joint' and statistics is None:
            begun = time.perf_counter()
            # In float32, as those of a bundle: others would make other features of the same kernel.
            plain = replace(config, kernel='plain', precision='float32')
            exact = VitExtractor(encoder, plain, device, graphs=False)
            statistics, took = compute_statistics(exact.raw), time.perf_counter() - begun
        self._network = self._within_memory(lambda: encoder.network.to(device, self.precision), (1, 1))
        if device.type == 'cpu' and self.precision == torch.bfloat16:
            attend_by_head(self._network.network)
        height, width = config.input_hw((3, 4), self.patch)
        self.description = (
            f'{encoder.source.get("model", "vit")}, {self._layer}, in {precision_name(self.precision)}, input '
            f'{width}x{height} for images of 4:3, patch {self.patch}, {config.kernel} kernel'
        )
        if took:
            self.description += f' (statistics computed in {took:.1f} s; a bundle has them)'
        self._kernel = JointKernel(statistics, device) if statistics else None
        self.channels = self._network.channels if self._kernel is None else self._kernel.channels
        self._graphs = CudaGraphs(device) if graphs else CudaGraphs(device, most_shapes=0)
        self.prepare(1)

    def grid_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the features of an image of that height and width."""
        if self._kernel is not None:
            return self._kernel.grid_hw(image_hw)
        height, width = self.config.input_hw(image_hw, self.patch)
        return height // self.patch, width // self.patch

    def prepare(self, batch: int) -> None:
        """Capture the CUDA graph for that many images of 4:3 at a time; nothing on a CPU.

        Raises:
            MemoryError: when the device has too little memory.
        """
        self._capture((batch, 3, *self.config.input_hw((3, 4), self.patch)))

    def __call__(self, image_rgb: np.ndarray) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB; see `batch`."""
        return self.batch([image_rgb])[0]

    def batch(self, images_rgb: list[np.ndarray]) -> list[FeatureMap]:
        """Return the features of several images, each uint8 [H, W, 3] RGB of any size, those of one size in one pass.

        Raises:
            ValueError: for an image of another shape or dtype, or features beyond the range of the precision.
            MemoryError: when the device has too little memory; the images are given up.
        """
        for image in images_rgb:
            check_image(image)
        found = []
        for _, group in groupby(images_rgb, lambda image: image.shape):
            images = list(group)
            raws = self.features(self.upload(images))
            found += [self.join(image, raw) for image, raw in zip(images, raws, strict=True)]
        return found

    @torch.inference_mode()
    def raw(self, image_rgb: np.ndarray) -> torch.Tensor:
        """Return the network's own features of an image, uint8 [H, W, 3] RGB: float32 [h, w, C]."""
        return self.features(self.upload([image_rgb]))[0]

    @torch.inference_mode()
    def upload(self, images_rgb: list[np.ndarray]) -> torch.Tensor:
        """Return images on the device as the network sees them: resized (bilinear, antialiased) and scaled.

        Args:
            images_rgb: B images of one size, uint8 [H, W, 3].

        Returns:
            float32 [B, 3, height, width], see `VitConfig.input_hw`.
        """
        size = self.config.input_hw(images_rgb[0].shape[:2], self.patch)
        mean, std = (
            torch.tensor(values, device=self.device)[:, None, None]
            for values in (self._scaling.mean, self._scaling.std)
        )
        return upload(images_rgb, size, self.device).mul_(self._scaling.factor).sub_(mean).div_(std)

    @torch.inference_mode()
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's own features, float32 [B, h, w, C], of images as `upload` gives them."""
        self._capture(tuple(images.shape))
        found = self._within_memory(lambda: self._graphs(self._compute, images), tuple(images.shape[2:]))
        if not torch.isfinite(found).all():
            name = precision_name(self.precision)
            advice = 'take bfloat16 or float32' if self.precision == torch.float16 else 'check the checkpoint'
            raise ValueError(
                f'features: expected finite values, received NaN or infinity from the network in {name} '
                f'(vit.precision); {advice}'
            )
        return found

    @torch.inference_mode()
    def operations(self, images: torch.Tensor) -> dict[str, int]:
        """Return the operations (multiply and add are two) of the network for images as `upload` gives them, by kind.

        Kinds are those of PyTorch: convolution, addmm, bmm, ...
        """
        # Not as it runs: of fused attention on a CPU none are counted, and none of a CUDA graph.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self._compute(images)
        return {str(kind).removeprefix('aten.'): count for kind, count in counter.get_flop_counts()['Global'].items()}

    @torch.inference_mode()
    def join(self, image_rgb: np.ndarray, raw: torch.Tensor) -> FeatureMap:
        """Return the features of an image, uint8 [H, W, 3] RGB, with the network's own, float32 [h, w, C]."""
        return FeatureMap(raw, image_rgb.shape[:2]) if self._kernel is None else self._kernel(image_rgb, raw)

    def fingerprint(self) -> str:
        """Return a digest of weights and settings; takes about a second per gigabyte of weights."""
        settings = {
            'config': {name: value for name, value in vars(self.config).items() if name != 'allow_download'},
            'network': self._network.description(),
            'layer': self._layer,
            'scaling': vars(self._scaling),
            'precision': precision_name(self.precision),
            'device': self.device.type,  # kernels differ between devices in their last digits
            'transformers': transformers.__version__,
            'kernel': None if self._kernel is None else self._kernel.fingerprint(),
        }
        return fingerprint(settings, (value for _, value in sorted(self._network.state_dict().items())))

    def _compute(self, images: torch.Tensor) -> torch.Tensor:
        return self._network(images.to(self.precision)).float()

    def _capture(self, shape: tuple[int, ...]) -> None:
        self.description += self._graphs.prepare((self._compute,), shape, _advice(shape[2:]))

    def _within_memory(self, function: Callable[[], Result], size: tuple[int, ...]) -> Result:
        return within_memory(function, self.device, _advice(size))


def _advice(size: tuple[int, ...]) -> str:
    height, width = size
    return f'the network at input {width}x{height} needs more; take a smaller input_size'
