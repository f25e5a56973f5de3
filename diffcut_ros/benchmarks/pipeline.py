"""`diffcut_benchmark pipeline`: time and memory of each stage from image to labels, beside the paper's procedure.

The stages are timed one by one, each until the device is done, and for the same image the whole as a node runs it. The
paper's procedure runs the whole UNet with a hook, a VAE in float32 and an eigendecomposition for each split; its
weights are random, and its hierarchy cuts the graph of our features; with --backend color it starts from them. A floor
is the number of counted operations over the rate of a large matrix product on the same device: no program that computes
these networks can be faster. On a GPU, a vision transformer without CUDA graphs stands beside it; with --backend color,
scikit-image's Felzenszwalb and SLIC. Where the machine had other work, a line below the tables says so.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich.table import Table
from skimage.segmentation import felzenszwalb, slic
from torch.utils.flop_counter import FlopCounterMode

from diffcut_ros.arguments.parser import given
from diffcut_ros.benchmarks import limits
from diffcut_ros.benchmarks.figures import Figures
from diffcut_ros.benchmarks.graphs import photographs
from diffcut_ros.benchmarks.plain_ncut import plain_affinity, plain_assignment, plain_ncut
from diffcut_ros.core import FeatureMap, Segmenter, SegmenterConfig, assign_concepts, recursive_ncut
from diffcut_ros.core.affinity import graph_of
from diffcut_ros.core.assignment import concept_features
from diffcut_ros.core.frame import describe_segments
from diffcut_ros.core.refinement import refine_borders
from diffcut_ros.evaluation.measure import Waiting, machine, peak_bytes, synchronized_time, timed
from diffcut_ros.evaluation.methods.felzenszwalb import FelzenszwalbConfig
from diffcut_ros.features.diffusion.config import DiffusionConfig
from diffcut_ros.features.models import packages, precision_name
from diffcut_ros.features.registry import Extractor, create_extractor, kind_of, resolve_device
from diffcut_ros.features.vit.config import VitConfig
from diffcut_ros.progress import track

STAGES = (
    'upload',
    'VAE',
    'UNet',
    'ViT',
    'kernel',
    'features',
    'affinity',
    'hierarchy',
    'assignment',
    'borders',
    'segments',
)
WHOLE, PAPER = 'whole', "paper's procedure"
_NO_GRAPHS = 'without CUDA graphs'
_RANDOM = 'Random weights: timings and memory only. The segments mean nothing.'
# scikit-image's, with the settings that `diffcut_evaluate methods` has, and about as many superpixels as cells.
_OTHERS = {
    'Felzenszwalb': partial(felzenszwalb, **vars(FelzenszwalbConfig())),
    'SLIC': partial(slic, n_segments=1000),
}

Made = TypeVar('Made')

if TYPE_CHECKING:
    from diffcut_ros.benchmarks.plain_pipeline import PlainPipeline
    from diffcut_ros.features.diffusion.encoder import DiffusionEncoder
    from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
    from diffcut_ros.features.vit.extractor import VitExtractor

# Works on one image and yields the name of each stage when it is done.
Procedure = Callable[[np.ndarray], Iterator[str]]


@dataclass(frozen=True)
class _Measured:
    """Seconds of each run by stage, and the peak of memory with the weights, in bytes, where it is known."""

    seconds: dict[str, list[float]]
    peak: int | None = None

    @property
    def whole(self) -> list[float]:
        """Seconds of whole runs: measured, or else the sum of the stages."""
        return self.seconds.get(WHOLE) or [sum(stages) for stages in zip(*self.seconds.values(), strict=False)]


def run(args: argparse.Namespace) -> None:
    """Run the benchmark and print its tables.

    Raises:
        ValueError: for settings that a backend does not allow.
    """
    args.tau = SegmenterConfig(**given(args, 'tau')).tau
    device = resolve_device(args.device)
    console = Figures()
    images = [cv2.resize(image, tuple(args.image_size), interpolation=cv2.INTER_AREA) for image in photographs()]
    kind = kind_of(args.backend)
    waiting = Waiting()
    {'color': _run_color, 'vit': _run_vit, 'diffusion': _run_diffusion}[kind](args, images, device, console)
    if busy := waiting.told():
        console.print(busy, style='bold')


def _run_color(args: argparse.Namespace, images: list[np.ndarray], device: torch.device, console: Figures) -> None:
    if args.random_weights:
        raise ValueError('--random-weights: expected a backend with a network such as ssd-1b, received color')
    console.print(machine(device))
    extractor = create_extractor('color', device=device)
    console.print(extractor.description)
    ours = partial(_color_stages, extractor, args.tau)
    columns = _begin(args, console)
    _ours(columns, args, images, device, extractor, ours, args.backend)
    if not args.no_paper:
        _paper(columns, args, images, device, extractor)
        for name, segment in _OTHERS.items():
            procedures = [partial(_other, segment)]
            _measure(columns, name, lambda procedures=procedures: (None, procedures), images, args.repeats, device)
    console.finish()
    if device.type == 'cpu':
        works = [_work(extractor(image), args.tau) for image in images[: args.repeats]]
        medians = {stage: statistics.median(seconds) for stage, seconds in columns['color'].seconds.items()}
        console.print(limits.table(works, medians))


def _begin(args: argparse.Namespace, console: Figures) -> dict[str, _Measured]:
    """Return the columns of the table that `console.finish` prints, none yet."""
    columns: dict[str, _Measured] = {}
    console.begin(lambda: _table(columns, args))
    return columns


def _ours(
    columns: dict[str, _Measured],
    args: argparse.Namespace,
    images: list[np.ndarray],
    device: torch.device,
    extractor: Extractor,
    stages: Procedure,
    title: str,
) -> None:
    """Measure what a backend takes, stage by stage and as a whole."""
    procedures = [stages, partial(_whole, extractor, args.tau)]
    _measure(columns, title, lambda: (None, procedures), images, args.repeats, device)


def _paper(
    columns: dict[str, _Measured],
    args: argparse.Namespace,
    images: list[np.ndarray],
    device: torch.device,
    extractor: Extractor,
) -> None:
    """Measure what the paper's procedure takes with the same features."""
    procedures = [partial(_paper_color_stages, extractor, args.tau)]
    _measure(columns, PAPER, lambda: (None, procedures), images, max(1, args.repeats // 5), device)


def _run_vit(args: argparse.Namespace, images: list[np.ndarray], device: torch.device, console: Figures) -> None:
    with packages('vit'):
        from diffcut_ros.benchmarks import vit_parts
        from diffcut_ros.benchmarks.random_vit import random_vit
        from diffcut_ros.features.vit.extractor import VitExtractor
        from diffcut_ros.features.vit.load import load_encoder

    console.print(machine(device))
    config = VitConfig(**given(args, 'input_size', 'aspect', 'precision', 'layer', 'kernel'))
    if args.random_weights:
        console.print(_RANDOM, style='bold')
        encoder = random_vit(args.backend, config.layer)
    else:
        encoder = load_encoder(args.backend, config)
    columns = _begin(args, console)
    if device.type == 'cuda':
        extractor = VitExtractor(encoder, config, device, graphs=False)
        stages = partial(_vit_stages, extractor, args.tau)
        _ours(columns, args, images, device, extractor, stages, _NO_GRAPHS)
    extractor = VitExtractor(encoder, config, device)
    stages = partial(_vit_stages, extractor, args.tau)
    _ours(columns, args, images, device, extractor, stages, args.backend)
    if not args.no_paper:
        _paper(columns, args, images, device, extractor)
    pixels = extractor.upload(images[:1])
    counts = {'ViT': sum(extractor.operations(pixels).values())}
    for line in (extractor.description, *_floors(counts, extractor.precision, device)):
        console.print(line)
    console.finish()
    if device.type == 'cpu':
        console.print(vit_parts.table(extractor, pixels, matrix_rate(extractor.precision, device), args.repeats))


@torch.inference_mode()
def _work(feature_map: FeatureMap, tau: float) -> dict[str, limits.Work]:
    config = SegmenterConfig(tau=tau)
    tree = recursive_ncut(graph_of(feature_map, config.alpha), tau)
    return limits.work(feature_map, tree, int(tree.cut(tau).max()) + 1, config.alpha)


def _vit_stages(extractor: 'VitExtractor', tau: float, image_rgb: np.ndarray) -> Iterator[str]:
    """What `Segmenter.segment` does, stage by stage."""
    pixels = extractor.upload([image_rgb])
    yield 'upload'
    raw = extractor.features(pixels)[0]
    yield 'ViT'
    feature_map = extractor.join(image_rgb, raw)
    yield 'kernel'
    yield from _mask_stages(image_rgb, feature_map, tau)


def _other(segment: Callable[[np.ndarray], np.ndarray], image_rgb: np.ndarray) -> Iterator[str]:
    """What others do with an image."""
    segment(image_rgb)
    yield WHOLE


def _run_diffusion(args: argparse.Namespace, images: list[np.ndarray], device: torch.device, console: Figures) -> None:
    with packages():
        from diffcut_ros.benchmarks.plain_pipeline import PlainPipeline
        from diffcut_ros.benchmarks.random_weights import random_encoder
        from diffcut_ros.features.diffusion.extractor import DiffusionExtractor
        from diffcut_ros.features.diffusion.load import load_encoder

    console.print(machine(device))
    options = given(args, 'input_size', 'aspect', 'precision', 'tiny_vae')
    configs = {vae: DiffusionConfig(vae=vae, **options) for vae in args.vae}
    if args.random_weights:
        console.print(_RANDOM, style='bold')
        encoder = random_encoder(args.backend)
    else:
        encoder = load_encoder(args.backend, configs.get('tiny', configs[args.vae[0]]))
    columns = _begin(args, console)
    features: dict[str, torch.Tensor] = {}
    for vae, config in configs.items():

        def procedures(config: DiffusionConfig = config) -> tuple[DiffusionExtractor, list[Procedure]]:
            extractor = DiffusionExtractor(encoder, config, device)
            return extractor, [partial(_stages, extractor, args.tau), partial(_whole, extractor, args.tau)]

        extractor = _measure(columns, f'{vae} VAE', procedures, images, args.repeats, device)
        features[vae] = torch.stack([extractor(image).features for image in images])
        counts = operations(encoder, extractor.config.vae, extractor.input_hw)
        for line in (extractor.description, *_floors(counts, extractor.precision, device)):
            console.print(line)
    if not args.no_paper:
        graphs = {id(image): cells.flatten(0, 1) for image, cells in zip(images, features[args.vae[0]], strict=True)}

        def procedures() -> tuple[None, list[Procedure]]:
            pipeline = PlainPipeline(encoder, extractor.input_hw, extractor.config.timestep, device)
            return None, [partial(_paper_stages, pipeline, graphs, extractor.grid_hw(), args.tau)]

        _measure(columns, PAPER, procedures, images, max(1, args.repeats // 5), device)
    console.finish()
    if len(features) == 2 and not args.random_weights:
        similarity = F.cosine_similarity(features['full'], features['tiny'], dim=-1)
        console.print(
            f'tiny instead of full VAE: cosine similarity of the features {similarity.mean():.3f} on average, '
            f'{similarity.min():.3f} at least, over the cells of {len(images)} photographs'
        )


def _stages(extractor: 'DiffusionExtractor', tau: float, image_rgb: np.ndarray) -> Iterator[str]:
    """What `Segmenter.segment` does, stage by stage."""
    pixels = extractor.upload([image_rgb])
    yield 'upload'
    latents = extractor.latents(pixels)
    yield 'VAE'
    feature_map = FeatureMap(extractor.features(latents)[0], image_rgb.shape[:2])
    yield 'UNet'
    yield from _mask_stages(image_rgb, feature_map, tau)


def _color_stages(extractor: Extractor, tau: float, image_rgb: np.ndarray) -> Iterator[str]:
    """The same for features that no network makes."""
    feature_map = extractor(image_rgb)
    yield 'features'
    yield from _mask_stages(image_rgb, feature_map, tau)


def _mask_stages(image_rgb: np.ndarray, feature_map: FeatureMap, tau: float) -> Iterator[str]:
    affinity = graph_of(feature_map, lower=True)
    yield 'affinity'
    tree = recursive_ncut(affinity, tau, checked=True)
    yield 'hierarchy'
    concepts = concept_features(feature_map, tree.cut(tau))
    labels = assign_concepts(feature_map, concepts)
    yield 'assignment'
    refined = refine_borders(image_rgb, labels.cpu().numpy().astype(np.uint16), feature_map.grid_hw)
    yield 'borders'
    describe_segments(refined, concepts.cpu().numpy(), 0, tau)
    yield 'segments'


def _whole(extractor: Extractor, tau: float, image_rgb: np.ndarray) -> Iterator[str]:
    """All stages as a node runs them, without waiting in between."""
    Segmenter(extractor, SegmenterConfig(tau=tau)).segment(image_rgb)
    yield WHOLE


def _paper_stages(
    pipeline: 'PlainPipeline',
    graphs: dict[int, torch.Tensor],
    grid_hw: tuple[int, int],
    tau: float,
    image_rgb: np.ndarray,
) -> Iterator[str]:
    """The paper's procedure; from the affinity on for the features [N, C] that stand in `graphs` for an image."""
    pixels = pipeline.upload(image_rgb)
    yield 'upload'
    latents = pipeline.latents(pixels)
    yield 'VAE'
    pipeline.features(latents)
    yield 'UNet'
    yield from _paper_mask_stages(graphs[id(image_rgb)], grid_hw, tau)


def _paper_color_stages(extractor: Extractor, tau: float, image_rgb: np.ndarray) -> Iterator[str]:
    """The paper's procedure for features that no network makes."""
    feature_map = extractor(image_rgb)
    yield 'features'
    yield from _paper_mask_stages(feature_map.flat(), feature_map.grid_hw, tau)


def _paper_mask_stages(features: torch.Tensor, grid_hw: tuple[int, int], tau: float) -> Iterator[str]:
    affinity = plain_affinity(features)
    yield 'affinity'
    cells = plain_ncut(affinity, tau)
    yield 'hierarchy'
    plain_assignment(features, grid_hw, cells)
    yield 'assignment'


def _measure(
    columns: dict[str, _Measured],
    title: str,
    make: Callable[[], tuple[Made, list[Procedure]]],
    images: list[np.ndarray],
    repeats: int,
    device: torch.device,
) -> Made:
    """Load something and time its procedures, each image in turn; the first run of each does not count.

    For each image one procedure after the other, so that what else the machine does is the same for all. What is
    measured goes into the column `title` at once: it is not lost when the benchmark is interrupted.
    """
    made = []
    seconds = defaultdict(list)
    columns[title] = _Measured(seconds)

    @torch.inference_mode()
    def load_and_run() -> None:
        made.append(make())
        for run in track(range(-1, repeats), repeats + 1, title):
            for procedure in made[0][1]:
                last = synchronized_time(device)
                for stage in procedure(images[run % len(images)]):
                    now = synchronized_time(device)
                    if run >= 0:
                        seconds[stage].append(now - last)
                    last = now

    if device.type == 'cuda':
        columns[title] = _Measured(seconds, peak_bytes(load_and_run, device))
    else:
        load_and_run()
    return made[0][0]


def _floors(counts: dict[str, int], precision: torch.dtype, device: torch.device) -> list[str]:
    """Say how fast networks could be at most, by their operations for an image and the device's matrix rate."""
    rate = matrix_rate(precision, device)
    lines = [f'matrix products in {precision_name(precision)}: {rate / 1e12:.3g} TFLOP/s']
    for name, count in counts.items():
        lines.append(f'floor of the {name}: {count / 1e12:.3g} TFLOP, {1000 * count / rate:.1f} ms')
    return lines


def operations(encoder: 'DiffusionEncoder', vae: str, input_hw: tuple[int, int]) -> dict[str, int]:
    """Return the operations for one image of VAE and UNet (multiply and add are two), counted without computing."""
    from diffcut_ros.features.diffusion.unet import UNetEncoder
    from diffcut_ros.features.diffusion.vae import ImageEncoder

    # On the meta device attention is made of matrix products, all of which are counted.
    image_encoder, unet = ImageEncoder(encoder.vaes[vae][0]), UNetEncoder(encoder.unet_config, encoder.layer)
    counts = {}
    with torch.device('meta'), torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            latents = image_encoder(torch.empty(1, 3, *input_hw))
        counts['VAE'] = counter.get_total_flops()
        embedded = torch.empty(1, unet.time_embedding.linear_2.out_features)
        with FlopCounterMode(display=False) as counter:
            unet(latents, embedded, torch.empty(encoder.prompt.shape))
        counts['UNet'] = counter.get_total_flops()
    return counts


@cache  # one figure for all that is compared with it
def matrix_rate(precision: torch.dtype, device: torch.device) -> float:
    """Return the operations per second (multiply and add are two) of a large matrix product."""
    side = 8192 if device.type == 'cuda' else 1024
    a, b = (torch.randn(side, side, device=device).to(precision) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device)[0] for _ in range(10))


def _table(columns: dict[str, _Measured], args: argparse.Namespace) -> Table:
    table = Table(
        title=f'one image of {args.image_size[0]}x{args.image_size[1]}, tau {args.tau:g}: median, 95th percentile'
    )
    table.add_column('stage')
    for name in columns:
        table.add_column(name, justify='right')
    for stage in STAGES:
        if any(stage in column.seconds for column in columns.values()):
            table.add_row(stage, *(_milliseconds(column.seconds.get(stage)) for column in columns.values()))
    if not any(column.whole for column in columns.values()):
        return table  # interrupted at once
    table.add_section()
    table.add_row(WHOLE, *(_milliseconds(column.whole) for column in columns.values()))
    if PAPER in columns and (paper := columns[PAPER].whole):
        faster = (
            f'{statistics.median(paper) / statistics.median(column.whole):.1f}' if column.whole else ''
            for column in columns.values()
        )
        table.add_row('times faster', *faster)
    if any(column.peak is not None for column in columns.values()):
        peaks = ('' if column.peak is None else f'{column.peak / 1e9:.2f} GB' for column in columns.values())
        table.add_row('peak memory', *peaks)
    return table


def _milliseconds(seconds: list[float] | None) -> str:
    if not seconds:
        return ''
    return f'{1000 * statistics.median(seconds):.1f} ms, {1000 * np.percentile(seconds, 95):.1f}'
