"""Results as messages, of rclpy's classes or of rosbags': the same fields, filled in here once.

Every message carries the header that it is given. Values in a label image are labels, or with `by_track` the track ids.
"""

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffcut_ros.core import Segmentation, SegmentGeometry, Segments
from diffcut_ros.core.classes import UNKNOWN, UNKNOWN_NAME, Classes
from diffcut_ros.core.geometry import NOT_TURNED
from diffcut_ros.core.objects import MapObject
from diffcut_ros.core.outlines import outlines, places

# One entry per segment, None for one that could not be located.
Geometries = Sequence[SegmentGeometry | None]

IMAGE, COMPRESSED_IMAGE = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'
DETECTIONS_2D, DETECTIONS_3D = 'vision_msgs/msg/Detection2DArray', 'vision_msgs/msg/Detection3DArray'
ANNOTATIONS, FEATURE_IMAGE = 'foxglove_msgs/msg/ImageAnnotations', 'semantic_inference_msgs/msg/FeatureImage'

# Of annotations: points of an outline at most; its thickness and the height of letters as shares of the image's height,
# and at least, in pixels; how opaque the ground of letters is.
_OUTLINE_POINTS = 64
_LINE_LOOP = 2  # PointsAnnotation.LINE_LOOP
_THICKNESS, _LETTERS = (1 / 240, 1.0), (1 / 40, 10.0)
_GROUND = 0.6
# Width of a letter as a share of its height, about.
_LETTER_ASPECT = 0.55


def label_values(segmentation: Segmentation, by_track: bool) -> tuple[np.ndarray, str]:
    """Return the values of a label image, uint8 or uint16 [H, W], and their encoding, mono8 or mono16."""
    values = segmentation.labels_by_track() if by_track else segmentation.labels
    return values, 'mono8' if values.dtype == np.uint8 else 'mono16'


def shown(segmentation: Segmentation, geometries: Geometries, by_track: bool) -> tuple[Segments, Geometries]:
    """Return the segments that a label image shows, all or those that are tracked, and their geometries."""
    segments = segmentation.segments
    if not by_track or segments.track_id.all():
        return segments, geometries
    rows = np.flatnonzero(segments.track_id)
    return segments[rows], [geometries[row] for row in rows]


def values_of(segments: Segments, by_track: bool) -> list[int]:
    """Return the value of each segment in the label image."""
    return (segments.track_id if by_track else segments.label).tolist()


@dataclass(frozen=True)
class MessageBuilder:
    """Makes messages.

    Args:
        type_of: from the name of a type, such as 'sensor_msgs/msg/Image', to its class.
        pack: an array's bytes, in the form that the class takes for a list of uint8.
    """

    type_of: Callable[[str], Callable[..., Any]]
    pack: Callable[[np.ndarray], Any]

    def image(self, array: np.ndarray, encoding: str, header: Any) -> Any:
        """Return an array as sensor_msgs/Image, step without padding.

        Args:
            array: uint8 [H, W] for mono8, uint16 [H, W] for mono16, uint8 [H, W, 3] for rgb8, float32 [H, W] for
                32FC1, int32 [H, W] for 32SC1.
            encoding: one of these.
            header: taken over as it is.
        """
        height, width = array.shape[:2]
        little = array.astype(array.dtype.newbyteorder('<'), copy=False)
        return self.type_of(IMAGE)(
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=array[:1].nbytes,
            data=self.pack(little),
        )

    def label_image(self, segmentation: Segmentation, header: Any, by_track: bool = False) -> Any:
        """Return the label image, 0 = none: mono8, or mono16 above 255 segments and with `by_track`."""
        return self.image(*label_values(segmentation, by_track), header)

    def label_info(self, segments: Segments, header: Any, by_track: bool = False) -> Any:
        """Return vision_msgs/LabelInfo: the name of each value in the label image."""
        make = self.type_of('vision_msgs/msg/VisionClass')
        named = [make(class_id=value, class_name=f'segment {value}') for value in values_of(segments, by_track)]
        none = make(class_id=0, class_name='none')
        return self.type_of(LABEL_INFO)(header=header, class_map=[none, *named], threshold=0.0)

    def class_image(self, segmentation: Segmentation, class_id: np.ndarray, header: Any) -> Any:
        """Return the class of each pixel, mono8, 0 where it is unknown or in no segment.

        Args:
            segmentation: the segments.
            class_id: int [K], of each of them, 0 to 254, see `Classes.classify`.
            header: taken over as it is.
        """
        return self.image(_of_pixels(segmentation, class_id), 'mono8', header)

    def confidence_image(self, segmentation: Segmentation, confidence: np.ndarray, header: Any) -> Any:
        """Return how sure the class of each pixel is, mono8: 0 to 1 as 0 to 255, 0 where it is unknown.

        Args:
            segmentation: the segments.
            confidence: float [K], of each of them, 0 to 1, see `Classes.classify`.
            header: taken over as it is.
        """
        return self.image(_of_pixels(segmentation, np.rint(255 * confidence)), 'mono8', header)

    def class_info(self, classes: Classes, header: Any, threshold: float = 0.0) -> Any:
        """Return vision_msgs/LabelInfo: the name of each value in the image of classes, whether it shows or not.

        Args:
            classes: names, by id.
            header: taken over as it is.
            threshold: confidence, 0 to 1, below which a class is not to be taken for true.
        """
        make = self.type_of('vision_msgs/msg/VisionClass')
        names = {UNKNOWN: UNKNOWN_NAME} | {key: one.name for key, one in sorted(classes.classes.items())}
        class_map = [make(class_id=key, class_name=name) for key, name in names.items()]
        return self.type_of(LABEL_INFO)(header=header, class_map=class_map, threshold=float(threshold))

    def annotations(
        self,
        segmentation: Segmentation,
        header: Any,
        colors: np.ndarray,
        classes: Classes,
        class_id: np.ndarray,
        by_track: bool = False,
    ) -> Any:
        """Return foxglove_msgs/ImageAnnotations: outlines of the segments in the label image, and their names.

        A name is that of the class; where it is unknown the track id, or `segment 3` of one that is not tracked.

        Args:
            segmentation: the segments.
            header: of the image; each annotation has its stamp, by which it is found.
            colors: uint8 [K, 3] RGB, of segments whose class is unknown; others have that of their class.
            classes: names and colours, by id.
            class_id: int [K], of each segment, see `Classes.classify`.
            by_track: leave out what is not tracked.
        """
        height = segmentation.labels.shape[0]
        thickness, letters = (max(least, share * height) for share, least in (_THICKNESS, _LETTERS))
        make_point, make_points, make_text = (
            self.type_of(f'foxglove_msgs/msg/{name}') for name in ('Point2', 'PointsAnnotation', 'TextAnnotation')
        )
        points, texts = [], []
        none, white, ground = self._color(0, 0, 0, 0), self._color(1, 1, 1), self._color(0, 0, 0, _GROUND)
        of_segments = zip(
            segmentation.segments,
            outlines(segmentation, _OUTLINE_POINTS),
            *places(segmentation),
            colors.tolist(),
            class_id.tolist(),
            strict=True,
        )
        for segment, lines, (x, y), room, color, one in of_segments:
            if by_track and not segment.track_id:
                continue
            named = classes.classes.get(one)
            outline_color = self._color(*(value / 255 for value in (color if named is None else named.color)))
            for line in lines:
                points.append(
                    _with_known(
                        make_points,
                        timestamp=header.stamp,
                        type=_LINE_LOOP,
                        points=[make_point(x=x, y=y) for x, y in line.tolist()],
                        outline_color=outline_color,
                        outline_colors=[],
                        fill_color=none,
                        thickness=thickness,
                        metadata=[],
                    )
                )
            text = str(segment.track_id or f'segment {segment.label}') if named is None else named.name
            # From the middle of a text to its lower left corner, which shall be in the segment.
            away = np.array([-_LETTER_ASPECT * letters * len(text), letters]) / 2
            left, bottom = np.array([x, y]) + away * min(1.0, room / np.hypot(*away))
            texts.append(
                _with_known(
                    make_text,
                    timestamp=header.stamp,
                    position=make_point(x=left, y=bottom),
                    text=text,
                    font_size=letters,
                    text_color=white,
                    background_color=ground,
                    metadata=[],
                )
            )
        make = self.type_of(ANNOTATIONS)
        return _with_known(make, timestamp=header.stamp, circles=[], points=points, texts=texts, metadata=[])

    def _color(self, red: float, green: float, blue: float, opacity: float = 1.0) -> Any:
        make = self.type_of('foxglove_msgs/msg/Color')
        return make(r=float(red), g=float(green), b=float(blue), a=float(opacity))

    def feature_image(self, segmentation: Segmentation, header: Any, by_track: bool = False) -> Any:
        """Return semantic_inference_msgs/FeatureImage: the label image, mono16, and the mean feature of each value."""
        segments, _ = shown(segmentation, [None] * len(segmentation.segments), by_track)
        values, _ = label_values(segmentation, by_track)
        make = self.type_of('semantic_inference_msgs/msg/FeatureVector')
        return self.type_of(FEATURE_IMAGE)(
            header=header,
            mask_ids=array('i', values_of(segments, by_track)),
            image=self.image(values.astype(np.uint16, copy=False), 'mono16', header),
            # As an array: rclpy checks lists value by value.
            features=[make(data=array('f', row.tobytes())) for row in segments.feature],
        )

    def features(self, segments: Segments, header: Any) -> Any:
        """Return the mean features, 32FC1 of K x C: row k is that of detection k; no rows without segments."""
        return self.image(segments.feature if len(segments) else np.zeros((0, 0), np.float32), '32FC1', header)

    def detections(
        self,
        segments: Segments,
        header: Any,
        by_track: bool = False,
        geometries: Geometries | None = None,
        in_target: bool = False,
    ) -> Any:
        """Return vision_msgs/Detection2DArray, one detection per segment, in their order.

        `id` is the track id, empty where it is not tracked. `results[0].pose` is the position of a segment that could
        be located; others have a pose of zeros, which lies in the camera and thus nowhere, or of NaN where places are
        in a target frame, in which zeros are a place.
        """
        values, places = values_of(segments, by_track), geometries or [None] * len(segments)
        nowhere = self._uncertain_pose((math.nan if in_target else 0.0,) * 3)  # one for all: two fifths of the time
        found = []
        for segment, value, place in zip(segments, values, places, strict=True):
            x0, y0, x1, y1 = segment.box_xyxy
            # Pixel i covers [i, i + 1): a box around one pixel has size 1 and its centre in the pixel's middle.
            middle = self.type_of('vision_msgs/msg/Point2D')(x=(x0 + x1) / 2, y=(y0 + y1) / 2)
            box = self.type_of('vision_msgs/msg/BoundingBox2D')(
                center=self.type_of('vision_msgs/msg/Pose2D')(position=middle, theta=0.0),
                size_x=float(x1 - x0),
                size_y=float(y1 - y0),
            )
            pose = nowhere if place is None else self._uncertain_pose(place.position_m)
            results = [self._hypothesis(value, segment.score, pose)]
            make = self.type_of('vision_msgs/msg/Detection2D')
            found.append(make(header=header, results=results, bbox=box, id=_id(segment.track_id)))
        return self.type_of(DETECTIONS_2D)(header=header, detections=found)

    def detections_3d(self, segments: Segments, header: Any, geometries: Geometries, by_track: bool = False) -> Any:
        """Return vision_msgs/Detection3DArray: one detection for each segment that could be located, in their order.

        `id`, `results[0].hypothesis.class_id` and stamp are those of `detections`, by which both join; the score is
        the share of the segment's pixels that have depth. `bbox` is the box, `results[0].pose` the position; both are
        turned as the box is, and in the frame of the header.
        """
        found = []
        for segment, value, place in zip(segments, values_of(segments, by_track), geometries, strict=True):
            if place is None:
                continue
            x, y, z = place.size_m
            size = self.type_of('geometry_msgs/msg/Vector3')(x=x, y=y, z=z)
            center = self.pose(place.center_m, place.turned_xyzw)
            box = self.type_of('vision_msgs/msg/BoundingBox3D')(center=center, size=size)
            pose = self._uncertain_pose(place.position_m, place.turned_xyzw)
            results = [self._hypothesis(value, place.valid_share, pose)]
            make = self.type_of('vision_msgs/msg/Detection3D')
            found.append(make(header=header, results=results, bbox=box, id=_id(segment.track_id)))
        return self.type_of(DETECTIONS_3D)(header=header, detections=found)

    def objects(self, objects: Sequence[MapObject], header: Any) -> Any:
        """Return vision_msgs/Detection3DArray of a map: one detection for each object, in their order.

        `id` is the object's number, `results[0].hypothesis.class_id` that of its class, 0 where it is unknown, the
        score how sure that is. `bbox` is the box, `results[0].pose` the position; both are turned as the box is, about
        z, and in the frame of the header.
        """
        found = []
        for one in objects:
            turned = one.turned_xyzw
            x, y, z = one.box_size_m
            size = self.type_of('geometry_msgs/msg/Vector3')(x=x, y=y, z=z)
            box = self.type_of('vision_msgs/msg/BoundingBox3D')(center=self.pose(one.box_center_m, turned), size=size)
            results = [self._hypothesis(one.class_id, one.confidence, self._uncertain_pose(one.position_m, turned))]
            make = self.type_of('vision_msgs/msg/Detection3D')
            found.append(make(header=header, results=results, bbox=box, id=str(one.object_id)))
        return self.type_of(DETECTIONS_3D)(header=header, detections=found)

    def pose(self, position_m: Sequence[float], turned_xyzw: Sequence[float] = NOT_TURNED) -> Any:
        """Return geometry_msgs/Pose of a position, x y z in metres, and a quaternion."""
        x, y, z = position_m
        qx, qy, qz, qw = turned_xyzw
        return self.type_of('geometry_msgs/msg/Pose')(
            position=self.type_of('geometry_msgs/msg/Point')(x=x, y=y, z=z),
            orientation=self.type_of('geometry_msgs/msg/Quaternion')(x=qx, y=qy, z=qz, w=qw),
        )

    def _uncertain_pose(self, position_m: Sequence[float], turned_xyzw: Sequence[float] = NOT_TURNED) -> Any:
        """Return geometry_msgs/PoseWithCovariance; the covariance is not known, which zeros say."""
        make = self.type_of('geometry_msgs/msg/PoseWithCovariance')
        return make(pose=self.pose(position_m, turned_xyzw), covariance=np.zeros(36))

    def _hypothesis(self, value: int, score: float, pose: Any) -> Any:
        hypothesis = self.type_of('vision_msgs/msg/ObjectHypothesis')(class_id=str(value), score=score)
        return self.type_of('vision_msgs/msg/ObjectHypothesisWithPose')(hypothesis=hypothesis, pose=pose)


def _with_known(make: Any, **fields: Any) -> Any:
    """Return a message with those of the fields that its class knows: which those are changed between versions."""
    known = getattr(make, '__dataclass_fields__', None) or make.get_fields_and_field_types()
    return make(**{name: value for name, value in fields.items() if name in known})


def _of_pixels(segmentation: Segmentation, values: np.ndarray) -> np.ndarray:
    """Return the value of the segment of each pixel, uint8 [H, W], 0 in none; values are one per segment, 0 to 255."""
    if len(values) != len(segmentation.segments):
        raise ValueError(f'values: expected one per segment, {len(segmentation.segments)}, received {len(values)}')
    return np.append(0, values).astype(np.uint8).take(segmentation.labels)


def _id(track_id: int) -> str:
    return str(track_id) if track_id else ''
