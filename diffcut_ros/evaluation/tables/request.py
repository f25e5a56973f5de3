"""What someone wants a table of: where data sets and results are, how many images, on what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffcut_ros.evaluation.datasets import DATASETS
from diffcut_ros.evaluation.evaluator import Cache
from diffcut_ros.evaluation.methods import METHODS
from diffcut_ros.evaluation.progress import Bar
from diffcut_ros.evaluation.run import evaluate_all
from diffcut_ros.evaluation.settings import KINDS, Settings, resolve
from diffcut_ros.evaluation.tables.rows import Row
from diffcut_ros.features.models import check_model, downloads_allowed
from diffcut_ros.features.registry import BACKENDS, kind_of, resolve_device

# Stands for the first data set that is there, where the figure hardly depends on it.
ANY = 'any'
# The same files, read otherwise.
_FOLDERS = {'ade20k_as_published': 'ade20k', 'voc_without_background': 'voc'}


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        root: folder of the data sets, each in a folder named as in `DATASETS`.
        out: folder of the table's results.
        cache: of features.
        limit: only the first so many images of each data set; None: all.
        jobs: processes, see `evaluate`.
        backend: in place of the paper's models; None: those.
        options: of backends, as of `--set`; each for the rows whose backend is of its kind.
        device: see `create_extractor`.
        tune: number of training images that settings are chosen on.
        split: of the data sets, for a comparison of methods; None: the first one of each.
        rows: names of those that are measured; empty: all.
        models: name of a row -> backend for it alone, in place of the paper's model.

    Raises:
        ValueError: for a value out of range, an unknown backend or option, or a device that is not there.
    """

    root: Path
    out: Path
    cache: Cache
    limit: int | None
    jobs: int
    backend: str | None
    options: Mapping[str, str]
    device: str
    tune: int
    split: str | None = None
    rows: Sequence[str] = ()
    models: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise ValueError(f'{self.root}: expected a folder with {", ".join(DATASETS)} in it, or some of them')
        if self.limit is not None and self.limit < 1:
            raise ValueError(f'--limit: expected at least 1 image, received {self.limit}')
        if self.tune < 1:
            raise ValueError(f'--tune: expected at least 1 image, received {self.tune}')
        for name in self.options:
            if name.partition('.')[0] not in KINDS:
                kinds = ', '.join(f'{kind}.NAME' for kind in KINDS)
                raise ValueError(f'--set: expected options of backends alone, {kinds}, for a table, received {name!r}')
        resolve_device(self.device)
        if self.backend is not None:
            kind_of(self.backend, downloads_allowed(self.options))
        for row, model in self.models.items():
            try:
                if model not in BACKENDS:
                    check_model(model)
            except ValueError as error:
                raise ValueError(f'--model {row}: {error}') from error

    def describe(self) -> dict[str, Any]:
        """Return what the figures depend on, as for JSON."""
        return {
            'root': str(self.root.resolve()),
            'limit': self.limit,
            'backend': self.backend or "the paper's models",
            'options': dict(self.options),
            'device': str(resolve_device(self.device)),
            'tune': self.tune,
            **({'rows': list(self.rows)} if self.rows else {}),
            **({'models': dict(self.models)} if self.models else {}),
        }

    def wanted(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """Return those of a table's rows that are wanted: the named ones, else all.

        Without names, a backend in place of the paper's models leaves out the rows that it does not replace.

        Raises:
            ValueError: for a name that no row has.
        """
        names = [row.name for row in rows if row.method is not None]
        for option, given in (('--rows', self.rows), ('--model', self.models)):
            for name in given:
                if name not in names:
                    raise ValueError(f'{option}: expected rows of this table: {", ".join(names)}, received {name!r}')
        if self.rows:
            return tuple(row for row in rows if row.name in self.rows)
        return tuple(row for row in rows if not (self.backend and row.compared and row.name not in self.models))

    def dataset(self, name: str) -> tuple[str, Path]:
        """Return the key and the folder of a data set.

        Raises:
            ValueError: when it is not there.
        """
        names = DATASETS if name == ANY else (name,)
        for found in names:
            folder = self.root / _FOLDERS.get(found, found)
            if folder.is_dir():
                return found, folder
        folders = ' or '.join(dict.fromkeys(_FOLDERS.get(found, found) for found in names))
        raise ValueError(f'no data set: {self.root} has no folder {folders}')

    def settings(self, row: Row, dataset: str, options: Mapping[str, str], training: bool = False) -> Settings:
        """Return the settings of an evaluation.

        Args:
            row: what is evaluated.
            dataset: see `dataset`.
            options: beside those of the row.
            training: on the first training images of the data set.

        Raises:
            ValueError: for a data set that is not there, or options that do not suit the backend.
        """
        name, folder = self.dataset(dataset)
        backend = self.models.get(row.name) or (not row.compared and self.backend) or row.backend
        return resolve(
            name,
            folder,
            split=DATASETS[name].splits[1] if training else None,
            limit=self.tune if training else self.limit,
            refine=row.refine,
            method=row.method,
            options={**self.own_options(row.method, backend, row.options), **options},
            backend=backend,
            device=self.device,
        )

    def own_options(self, method: str, backend: str, options: Mapping[str, str]) -> dict[str, str]:
        """Return options, and those of the command line, without those of other backends than a method's.

        Args:
            method: key of `METHODS`.
            backend: its backend.
            options: of both, which say whether features of several layers are asked for.
        """
        needs = METHODS[method].needs
        kind = needs if needs != 'features' else kind_of(backend, downloads_allowed(self.options))
        if any(option.startswith('layers.') for option in options):
            kind = 'layers'
        others = {*KINDS} - {kind}
        both = {**options, **self.options}
        return {option: text for option, text in both.items() if option.partition('.')[0] not in others}

    def shown(self, row: Row) -> str:
        """Return what a row is called in a picture: its title, with what stands for the paper's model, if any does."""
        replaced = self.backend if self.backend and not row.compared and row.name not in self.models else ''
        return f'{Path(replaced).name} for {row.title}' if replaced else row.title

    def folder(self, row: Row, dataset: str) -> Path:
        """Return the folder of a row's results on a data set."""
        return self.out / row.name / dataset

    def evaluate(self, title: str, variants: list[tuple[Settings, Path]], cache: Cache | None = None) -> list[dict]:
        """Return the figures of evaluations, see `evaluate_all`; they go on where they were interrupted."""
        with Bar(title) as bar:
            return evaluate_all(variants, cache or self.cache, self.jobs, resume=True, on_image=bar.show)
