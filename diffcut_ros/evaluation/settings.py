"""What is evaluated and how, resolved: every default filled in, every name and value checked."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcut_ros.core.parameters import parameters, range_text
from diffcut_ros.evaluation.datasets import DATASETS, Dataset
from diffcut_ros.evaluation.methods import METHODS, Method
from diffcut_ros.evaluation.protocols import PROTOCOLS, Protocol
from diffcut_ros.features import CONFIGS
from diffcut_ros.features.models import downloads_allowed, packages
from diffcut_ros.features.registry import kind_of, resolve_device

REFINEMENTS = ('none', 'pamr')
# What the options of attention maps and of several layers are named by, as those of backends by their kinds.
_ATTENTION, _LAYERS = 'attention', 'layers'
KINDS = (*CONFIGS, _ATTENTION, _LAYERS)


@dataclass(frozen=True)
class Settings:
    """All that the results of an evaluation depend on, but for the images.

    Attributes:
        dataset: key of `DATASETS`.
        root: the data set's folder.
        split: one of the data set's parts.
        limit: only the first so many images; None: all.
        protocol: key of `PROTOCOLS`.
        refine: of the method's segments by the protocol: none or pamr.
        method: key of `METHODS`.
        options: of the method, an instance of its configuration.
        backend: feature extractor; None where the method works on images.
        backend_options: of the backend, an instance of its configuration; None likewise.
        device: where features and segments are computed.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """

    dataset: str
    root: Path
    split: str
    limit: int | None
    protocol: str
    refine: str
    method: str
    options: Any
    backend: str | None
    backend_options: Any
    device: str

    def __post_init__(self) -> None:
        if self.split not in DATASETS[self.dataset].splits:
            known = ', '.join(DATASETS[self.dataset].splits)
            raise ValueError(f'split: expected one of {known}, received {self.split!r}')
        if self.limit is not None and self.limit < 1:
            raise ValueError(f'limit: expected at least 1 image, received {self.limit}')
        if PROTOCOLS[self.protocol].needs_classes and not DATASETS[self.dataset].classes:
            raise ValueError(
                f'protocol: expected plain for {self.dataset}, which has no classes, received {self.protocol}'
            )
        own = getattr(self.options, 'refine', 'none')
        if self.refine != 'none' and own != 'none':
            raise ValueError(f'refine: expected one of --refine {self.refine} and --set refine={own}, received both')

    def parts(self) -> tuple[Dataset, Protocol, Method]:
        """Return what the names stand for."""
        return DATASETS[self.dataset], PROTOCOLS[self.protocol], METHODS[self.method]

    def describe(self) -> dict[str, Any]:
        """Return all of it, as for JSON."""
        return dataclasses.asdict(self) | {'root': str(self.root.resolve())}


def resolve(
    dataset: str,
    root: Path,
    split: str | None = None,
    limit: int | None = None,
    protocol: str | None = None,
    refine: str = 'none',
    method: str = 'diffcut',
    options: Mapping[str, str] | None = None,
    backend: str = 'color',
    device: str = 'auto',
) -> Settings:
    """Return settings with their defaults filled in.

    Args:
        dataset: see `Settings`.
        root: likewise.
        split: None: the first one of the data set.
        limit: see `Settings`.
        protocol: None: paper, or plain for a data set without classes.
        refine: see `Settings`.
        method: likewise.
        options: name -> text of the method's options and, as color.NAME, diffusion.NAME, attention.NAME
            and layers.NAME, the backend's.
        backend: see `create_extractor`.
        device: likewise.

    Raises:
        ValueError: for an unknown name (listing the known ones) or a value out of range.
    """
    for what, name, known in (
        ('data set', dataset, DATASETS),
        ('protocol', protocol or 'plain', PROTOCOLS),
        ('method', method, METHODS),
        ('refine', refine, REFINEMENTS),
    ):
        if name not in known:
            raise ValueError(f'{what}: expected one of {", ".join(known)}, received {name!r}')
    of_backend = {name: text for name, text in (options or {}).items() if name.partition('.')[0] in KINDS}
    of_method = {name: text for name, text in (options or {}).items() if name not in of_backend}
    uses_backend = METHODS[method].needs != 'image'
    if of_backend and not uses_backend:
        raise ValueError(f'{", ".join(of_backend)}: expected no option of a backend, since {method} uses none')
    backend_options = None
    if uses_backend:
        kind, config = _backend_config(METHODS[method].needs, backend, of_backend)
        backend_options = read_options(config, of_backend, f'{kind}.')
    return Settings(
        dataset=dataset,
        root=root,
        split=split or DATASETS[dataset].splits[0],
        limit=limit,
        protocol=protocol or ('paper' if DATASETS[dataset].classes else 'plain'),
        refine=refine,
        method=method,
        options=read_options(METHODS[method].config, of_method),
        backend=backend if uses_backend else None,
        backend_options=backend_options,
        device=str(resolve_device(device)),
    )


def method_options() -> str:
    """Return the options of all methods as text."""
    lines = ['options of the methods, for --set NAME=VALUE:']
    for method, entry in METHODS.items():
        for name, (field, info) in parameters(entry.config).items():
            range_of = range_text(info)
            lines.append(f'  {method}: {name}={field.default}' + (f' ({range_of})' if range_of else ''))
    return '\n'.join(lines)


def _backend_config(needs: str, backend: str, options: Mapping[str, str]) -> tuple[str, type]:
    """Return the kind of a backend, which its options are named by, and their dataclass."""
    kind = kind_of(backend, downloads_allowed(options))
    layers = any(name.startswith(f'{_LAYERS}.') for name in options)
    if needs != 'attention' and not layers:
        return kind, CONFIGS[kind]
    if kind != 'diffusion':
        what = 'several layers' if layers else 'attention maps'
        raise ValueError(f'backend: expected a Stable Diffusion checkpoint, for {what}, received {backend!r}')
    with packages():
        from diffcut_ros.features.diffusion.attention import AttentionConfig
        from diffcut_ros.features.diffusion.layers import LayersConfig
    return (_ATTENTION, AttentionConfig) if needs == 'attention' else (_LAYERS, LayersConfig)


def read_options(config: type, texts: Mapping[str, str], prefix: str = '') -> Any:
    """Return a configuration with values that are given as text.

    Args:
        config: a dataclass made of `core.parameters.parameter`.
        texts: name -> value; booleans as true or false, lists with commas.
        prefix: of the names.

    Raises:
        ValueError: for an unknown name (listing the known ones), or text that is no value of it.
    """
    fields = parameters(config)
    values = {}
    for full_name, text in texts.items():
        name = full_name.removeprefix(prefix)
        if name not in fields or not full_name.startswith(prefix):
            known = ', '.join(prefix + name for name in fields)
            raise ValueError(f'option: expected one of {known}, received {full_name!r}')
        field, info = fields[name]
        try:
            values[name] = _READERS[field.type](text)
        except (ValueError, KeyError) as error:
            # As a type and, where there is one, a range: 'float 0.0 to 1.0'.
            expected = f'{field.type.__name__} {range_text(info)}'.strip()
            raise ValueError(f'{full_name}: expected {expected}, received {text!r}') from error
    return config(**values)


# type of a parameter -> its value from text
_READERS = {
    bool: lambda text: {'true': True, 'false': False}[text.lower()],
    int: int,
    float: float,
    str: str,
    tuple: lambda text: tuple(text.split(',')),
}
