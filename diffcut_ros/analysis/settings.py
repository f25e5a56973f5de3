"""Settings of an analysis: the node's parameters from its own file, and which images of a recording are taken."""

import dataclasses
import math
import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from diffcut_ros.analysis.finest_cut import DEEPEST_TAU
from diffcut_ros.classes_file import ClassesFile, read_classes
from diffcut_ros.core import SegmenterConfig, TrackerConfig
from diffcut_ros.core.parameters import complaint, parameters
from diffcut_ros.features import CONFIGS
from diffcut_ros.features.models import downloads_allowed
from diffcut_ros.features.registry import kind_of
from diffcut_ros.parameter_file import is_for, is_shared, left_out, read_sections
from diffcut_ros.settings import SPECS, NodeConfig, check_known, known_parameters, unknown_parameters

# The node's own name where nothing renames it; sections of a parameter file name the node that they are for.
NODE = '/diffcut'
COLOR_BY = 'track', 'class'


@dataclass(frozen=True)
class AnalysisOptions:
    """What to analyse of a recording, and how.

    Attributes:
        params: parameter file of the node; its `rate_hz`, `depth`, `sync_slop_s`, `labels` and all of the pipeline's
            parameters hold. Without `rate_hz` in it, every image is taken, since nothing has to keep up.
        node: full name of the node whose parameters of the file hold.
        backend: replaces that of the file.
        tau: likewise.
        target_segments: likewise.
        image_topic: name; None: found by type and name.
        camera_info_topic: likewise.
        depth_topic: likewise.
        depth: False: without segments in space, even if there is depth.
        classes: file of classes that segments are named by; replaces `classes_file` of the file.
        depth_scale: millimetres per count of depth of 16 bits; replaces that of the file.
        target_frame: that places are wanted in, by /tf of the recording; replaces that of the file.
        start_s: seconds after the first image, by header stamps, from where on images are taken.
        duration_s: of what is taken; None: to the end.
        rate_hz: images per second at most, by their header stamps; replaces that of the file; 0: all.
        every: take each n-th image.

    Raises:
        ValueError: for a value out of range.
    """

    params: Path | None = None
    node: str = NODE
    backend: str | None = None
    tau: float | None = None
    target_segments: int | None = None
    image_topic: str | None = None
    camera_info_topic: str | None = None
    depth_topic: str | None = None
    depth: bool = True
    classes: Path | None = None
    depth_scale: float | None = None
    target_frame: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    rate_hz: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < math.inf:
            raise ValueError(f'start: expected 0 s or more, received {self.start_s}')
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise ValueError(f'duration: expected more than 0 s, received {self.duration_s}')
        if self.depth_topic is not None and not self.depth:
            raise ValueError(f'expected one of --no-depth and --depth-topic, received both ({self.depth_topic})')
        if self.every < 1:
            raise ValueError(f'every: expected at least 1, received {self.every}')
        if not re.fullmatch(r'(/\w+)+', self.node):
            raise ValueError(f'node name: expected a full one, such as /robot1/diffcut, received {self.node!r}')


@dataclass(frozen=True)
class OutputOptions:
    """What is written.

    Attributes:
        with_source: copies of the input messages, too.
        raw_labels: label images as they are, not as PNG.
        csv: tables as CSV, not as Parquet.
        video: images with their segments as a video.
        sweep: values of tau to look at from stored hierarchies, rising; the hierarchies go up to the last one.
        report: report.html, too.
        hierarchy_tau: hierarchies go up to it at least, so that a later sweep may.
        color_by: what video and report are coloured by, 'track' or 'class'; None: by class where there are classes. The
            report has a switch to the other.
        objects: a map of objects, too: things, each meant to be there once, as a table, points and pictures.

    Raises:
        ValueError: for another `color_by`.
    """

    with_source: bool = False
    raw_labels: bool = False
    csv: bool = False
    video: bool = True
    sweep: tuple[float, ...] = ()
    report: bool = True
    hierarchy_tau: float = DEEPEST_TAU
    color_by: str | None = None
    objects: bool = False

    def __post_init__(self) -> None:
        if self.color_by not in (None, *COLOR_BY):
            raise ValueError(f'color by: expected {" or ".join(COLOR_BY)}, received {self.color_by!r}')

    def by_class(self, classes: ClassesFile | None) -> bool:
        """Say whether video and report are coloured by class, to begin with.

        Raises:
            ValueError: when that is asked for, and there are no classes.
        """
        if self.color_by == 'class' and classes is None:
            raise ValueError('--color-by class: expected --classes, too')
        return self.color_by != 'track' and classes is not None

    def check(self, settings: 'Settings') -> None:
        """Raise ValueError when the map of objects is asked for without a frame that it could be in."""
        if self.objects and not settings.node.target_frame:
            raise ValueError(
                '--objects: expected --target-frame, too, such as map, since things are put together by where they are '
                'in a frame that does not move; received none'
            )


@dataclass(frozen=True)
class Settings:
    """Parameters that hold for an analysis.

    Attributes:
        node: backend, device, rate, joining, labels.
        segmenter: of the mask stage.
        tracker: of the tracker.
        extractor: options of the backend, by name.
        with_depth: whether camera_info and depth are looked for.
    """

    node: NodeConfig
    segmenter: SegmenterConfig
    tracker: TrackerConfig
    extractor: dict[str, Any]
    with_depth: bool


def read_settings(options: AnalysisOptions) -> Settings:
    """Return the parameters of the options' file with what the options replace.

    Raises:
        ValueError: for a file that cannot be read, an unknown parameter (listing the known ones), a wrong type or a
            value out of range.
    """
    values = {} if options.params is None else read_parameter_file(options.params, options.node)
    own = ('backend', 'tau', 'target_segments', 'rate_hz', 'depth_scale', 'target_frame')
    values |= {name: getattr(options, name) for name in own if getattr(options, name) is not None}
    values.setdefault('rate_hz', 0.0)
    if options.classes is not None:
        values['classes_file'] = str(options.classes)
    configs = {}
    for prefix, kind in SPECS:
        fields = parameters(kind)
        given = {name: values[prefix + name] for name in fields if prefix + name in values}
        for name, value in given.items():
            field, info = fields[name]
            problem = complaint(field.type, info, value)
            if problem:
                raise ValueError(f'parameter {prefix}{name}: {problem}')
            given[name] = field.type(value)  # `tau: 1` in a YAML file is an int
        configs[kind] = kind(**given)
    node = configs[NodeConfig]
    if node.classes_file:  # from wherever it is read
        node = dataclasses.replace(node, classes_file=os.path.abspath(os.path.expanduser(node.classes_file)))
    if len(node.cameras) > 1:
        raise ValueError(
            f'parameter cameras: expected one camera, received {", ".join(node.cameras)}; analyse one after the other, '
            'with --image-topic and a parameter file without cameras'
        )
    return Settings(
        node=node,
        segmenter=configs[SegmenterConfig],
        tracker=configs[TrackerConfig],
        extractor=dataclasses.asdict(configs[CONFIGS[kind_of(node.backend, downloads_allowed(values))]]),
        # A recording is looked through for depth; a file that says false is heard.
        with_depth=options.depth and (options.depth_topic is not None or values.get('depth', True)),
    )


def read_named(settings: Settings) -> ClassesFile | None:
    """Return what the file of classes holds, None without one.

    Raises:
        ValueError: for a file that cannot be read.
    """
    return read_classes(Path(settings.node.classes_file)) if settings.node.classes_file else None


def read_parameter_file(path: Path, node: str = NODE) -> dict[str, Any]:
    """Return the parameters that a ROS parameter file gives a node, by their full names; later sections win.

    Unknown names in sections for nodes of any name, such as /**, are other nodes': they are left out.

    Raises:
        ValueError: for a file that is missing, no YAML, or without a section for the node, and unknown parameters.
    """
    values: dict[str, Any] = {}
    for section, given in _sections_for(node, path).items():
        try:
            check_known(() if is_shared(section) else given)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        values |= given
    return {name: value for name, value in values.items() if name not in unknown_parameters(values)}


def left_out_parameters(options: AnalysisOptions) -> str:
    """Say which parameters of the options' file are taken for other nodes', or return an empty string.

    Raises:
        ValueError: for a file that cannot be read.
    """
    if options.params is None:
        return ''
    shared = [given for section, given in _sections_for(options.node, options.params).items() if is_shared(section)]
    text = left_out(set(unknown_parameters(chain(*shared))), known_parameters())
    return f'{options.params}: {text}' if text else ''


def _sections_for(node: str, path: Path) -> dict[str, dict[str, Any]]:
    sections = read_sections(path)
    found = {section: given for section, given in sections.items() if is_for(section, node)}
    if not found:
        raise ValueError(
            f'{path}: expected a section for {node} or /**, received {", ".join(sections)}; --node-name takes that of '
            'another node'
        )
    return found
