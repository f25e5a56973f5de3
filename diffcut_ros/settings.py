"""What a parameter file may hold: the settings of the node, and the list of all.

Those of the pipeline stand in `core` and `features`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from diffcut_ros.core import SegmenterConfig, TrackerConfig
from diffcut_ros.core.classes import check_class_name
from diffcut_ros.core.parameters import parameter, parameters, validate
from diffcut_ros.core.pipeline import BOX_AXES
from diffcut_ros.features import BACKENDS, CONFIGS
from diffcut_ros.parameter_file import like
from diffcut_ros.printable import quoted
from diffcut_ros.stream.calibration import CALIBRATIONS
from diffcut_ros.stream.images import MAX_PIXELS
from diffcut_ros.stream.inputs import LONGEST_FRAME
from diffcut_ros.stream.rate import LOWEST_HZ


@dataclass(frozen=True)
class NodeConfig:
    """Settings of the node; raises ValueError for a value out of its range."""

    backend: str = parameter(
        'color', f'Feature extractor: {", ".join(BACKENDS)}, the folder of a bundle or checkpoint, or a model id'
    )
    device: str = parameter('auto', "Where the pipeline runs: 'auto' (CUDA where present, else the CPU), 'cpu', 'cuda'")
    cameras: tuple = parameter(
        ('',),
        'Names of the cameras, whose topics are under NAME/ and ~/NAME/; one empty name: one camera, without that',
    )
    image_transport: str = parameter(
        'raw', 'Subscribe to image (raw) or to image/compressed (JPEG, PNG, ...)', choices=('raw', 'compressed')
    )
    depth: bool = parameter(
        False,
        'Subscribe to camera_info and depth, too, and take only images with depth of the same stamp; for all cameras '
        'of the node: one without depth needs a node of its own',
    )
    depth_transport: str = parameter(
        'raw',
        'Subscribe to depth (raw), to depth/compressedDepth (PNG, RVL), or to depth/compressed (PNG of 16 bits, TIFF)',
        choices=('raw', 'compressedDepth', 'compressed'),
    )
    depth_scale: float = parameter(
        1.0,
        'Millimetres per count of depth of 16 bits, such as 0.2 or 0.25; floats are metres',
        unit='mm',
        minimum=0.001,
        maximum=100.0,
        live=True,
    )
    calibration: str = parameter(
        'auto',
        'Which numbers of camera_info positions follow: K and its distortion (images as the lens makes them), or P '
        '(rectified images); auto: P where topic or frame of the image say rectified (image_rect...), else K',
        choices=CALIBRATIONS,
        live=True,
    )
    sync_slop_s: float = parameter(
        0.02,
        'Stamps of image and depth differ by less than this; 0 = they are equal',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    target_frame: str = parameter(
        '',
        "Frame that positions, boxes, points and markers are given in, by TF at the image's stamp, such as map; empty: "
        "the camera's. There is a map of objects only where this is set",
    )
    transform_timeout_s: float = parameter(
        0.1,
        'How long after its arrival an image waits at most for its transform into target_frame',
        unit='s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    box_axes: str = parameter(
        BOX_AXES[0],
        'Boxes in target_frame: turned as the camera is (camera), or along the axes of target_frame (target)',
        choices=BOX_AXES,
        live=True,
    )
    autostart: bool = parameter(True, 'Configure and activate at start, without a lifecycle manager')
    labels: str = parameter(
        'frame',
        'Values in the label image: frame (1..N in each image) or track (the persistent ids, as mono16)',
        choices=('frame', 'track'),
        live=True,
    )
    classes_file: str = parameter(
        '',
        'File with the classes that segments are named by; set it again to read it again; empty: no names',
        live=True,
    )
    teach: str = parameter(
        '',
        'While this holds a name, each click (~/click, ~/clicked_point) adds the clicked segment to the classes under '
        'that name and writes classes_file, which is created where it is missing; empty: clicks teach nothing',
        live=True,
    )
    min_confidence: float = parameter(
        0.0, 'Segments whose class is less certain than this are unknown', minimum=0.0, maximum=1.0, live=True
    )
    mask_classes: tuple = parameter(
        ('',), 'Names of the classes that ~/mask shows, such as person; one empty name: the mask is empty', live=True
    )
    lazy: bool = parameter(
        True,
        'Subscribe to a camera only while someone subscribes to an output of it, or something is taught',
        live=True,
    )
    rate_hz: float = parameter(
        10.0,
        'Images segmented per second and camera at most, by their header stamps; 0 = every image the machine can take',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    network_hz: float = parameter(
        0.0,
        'For slow backends: at most this many images per second and camera are computed, by their stamps; the others '
        'get the last segments, carried along by motion. 0, or a value not below rate_hz: all are computed',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    overlay_opacity: float = parameter(
        0.5,
        'Opacity of the colours in the overlay',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    max_image_megapixels: float = parameter(
        MAX_PIXELS / 1e6, 'Larger images are refused', unit='megapixels', minimum=0.01, maximum=1000.0, live=True
    )
    timeout_s: float = parameter(
        10.0, 'An image that takes longer has failed', unit='s', minimum=0.1, maximum=3600.0, live=True
    )
    max_consecutive_failures: int = parameter(
        10,
        'After so many failed images in a row the node gives up and goes back to unconfigured; 0 = never',
        minimum=0,
        maximum=1000000,
        live=True,
    )

    def __post_init__(self) -> None:
        validate(self)
        if len(set(self.cameras)) < len(self.cameras) or not self.cameras:
            raise ValueError(f'cameras: expected at least one name, and none twice, received {list(self.cameras)}')
        if self.teach:
            try:
                check_class_name(self.teach)
            except ValueError as error:
                raise ValueError(f'teach: {error}') from error
        if self.target_frame != self.target_frame.strip().lstrip('/') or len(self.target_frame) > LONGEST_FRAME:
            raise ValueError(
                f'target_frame: expected a name without spaces around it and without a slash before it, of at most '
                f'{LONGEST_FRAME} characters, received {quoted(self.target_frame)}'
            )
        for name, value in (('rate_hz', self.rate_hz), ('network_hz', self.network_hz)):
            if 0 < value < LOWEST_HZ:
                raise ValueError(f'{name}: expected 0 or at least {LOWEST_HZ:g} Hz, received {value!r}')

    @property
    def carries(self) -> bool:
        """Whether segments are carried along between the images that are computed."""
        return self.network_hz > 0 and (self.rate_hz == 0 or self.network_hz < self.rate_hz)


@dataclass(frozen=True)
class PointsConfig:
    """Settings of the point cloud; raises ValueError for a value of another type."""

    organized: bool = parameter(
        False,
        'A point for each pixel of the image, in its rows and columns, NaN without depth; else points with depth',
        live=True,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When the diagnostics of a camera turn from OK; raises ValueError for a value out of its range."""

    warn_age_s: float = parameter(
        2.0,
        'WARN when outputs are older than this on average when they are published, by their header stamps',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )
    warn_output_share: float = parameter(
        0.0,
        'WARN when less than this share of the received images is published; those that rate_hz leaves out do not '
        'count; 0 = never',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    stale_after_s: float = parameter(
        5.0, 'STALE when no image came for this long', unit='s', minimum=0.1, maximum=3600.0, live=True
    )

    def __post_init__(self) -> None:
        validate(self)


def check_together(node: NodeConfig, segmenter: SegmenterConfig) -> None:
    """Check settings of several groups that need each other.

    Raises:
        ValueError: saying what goes together.
    """
    if segmenter.instances == 'space' and not node.depth:
        raise ValueError(
            'instances: space divides segments by depth; expected depth: true with it, received false; set it, or take '
            'instances: connected'
        )
    if node.target_frame and not node.depth:
        raise ValueError(
            f'target_frame: {quoted(node.target_frame)} needs depth; expected depth: true with it, received false'
        )


# (prefix of the names, configuration dataclass) of every parameter there is
SPECS: list[tuple[str, type]] = [
    ('', NodeConfig),
    ('', SegmenterConfig),
    ('tracking.', TrackerConfig),
    ('points.', PointsConfig),
    ('diagnostics.', DiagnosticsConfig),
    *((f'{kind}.', config) for kind, config in CONFIGS.items()),
]

# Parameters that rclpy declares or reads by itself.
RCLPY_OWN = ('use_sim_time', 'start_type_description_service')


def known_parameters(specs: list[tuple[str, type]] = SPECS) -> list[str]:
    """Return the full names of all parameters that are declared."""
    return [prefix + name for prefix, kind in specs for name in parameters(kind)]


def unknown_parameters(names: Iterable[str], specs: list[tuple[str, type]] = SPECS) -> list[str]:
    """Return the names that nothing declares, such as a misspelt key in a YAML file, sorted."""
    known = {*known_parameters(specs), *RCLPY_OWN}
    return sorted(name for name in names if name not in known and not name.startswith('qos_overrides.'))


def check_known(names: Iterable[str], specs: list[tuple[str, type]] = SPECS) -> None:
    """Refuse unknown parameters.

    Raises:
        ValueError: naming those that may be meant, and listing the known ones.
    """
    unknown, known = unknown_parameters(names, specs), known_parameters(specs)
    if unknown:
        resembling = ', '.join(dict.fromkeys(filter(None, (like(name, known) for name in unknown))))
        meant = f'; {resembling} may be meant' if resembling else ''
        raise ValueError(f'unknown parameter {", ".join(unknown)}{meant}; known are {", ".join(known)}')
