"""The node: camera images in, segments out. Callbacks check and hand over; the pipeline runs in a worker."""

import dataclasses
import sys
import time

import numpy as np
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from diffcut_ros.core import Segmentation, Segmenter, SegmenterConfig
from diffcut_ros.features import CONFIGS, create_extractor
from diffcut_ros.features.registry import kind_of
from diffcut_ros.media.overlay import draw_overlay
from diffcut_ros.node.config import NodeConfig
from diffcut_ros.node.images import check_image, decode_image, encode_image
from diffcut_ros.node.messages import detections, label_image, label_info
from diffcut_ros.node.parameters import changed_config, check_changes, check_unknown, declare_config
from diffcut_ros.node.worker import LatestFrameWorker

# Deeper: an image and its cut at a new tau may follow each other within a millisecond.
_OUTPUT_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# An error that repeats is logged again after this time; a different one at once.
_REPEAT_ERROR_S = 5.0
_NO_IMAGE_S = 5.0


class DiffcutNode(Node):
    """Segments images of `image` and publishes `~/labels`, `~/segments`, `~/label_info` and `~/overlay`.

    Raises:
        ValueError: for an unknown parameter, a bad value, a device or a model that is not there.
        MemoryError: when the device has too little memory for the model.
    """

    def __init__(self) -> None:
        super().__init__('diffcut', automatically_declare_parameters_from_overrides=True)
        backend_specs = [(f'{kind}.', config) for kind, config in CONFIGS.items()]
        self._specs = [('', NodeConfig), ('', SegmenterConfig), *backend_specs]
        check_unknown(self, self._specs)
        configs = [declare_config(self, kind, prefix) for prefix, kind in self._specs]
        self._config, segmenter_config = configs[:2]
        options = dict(zip(CONFIGS, configs[2:], strict=True))[kind_of(self._config.backend)]
        extractor = create_extractor(self._config.backend, self._config.device, **dataclasses.asdict(options))
        self._segmenter = Segmenter(extractor, segmenter_config)
        self._last: tuple[np.ndarray, Header] | None = None
        self._last_error = ('', 0.0)

        self._labels = self.create_publisher(Image, '~/labels', _OUTPUT_QOS)
        self._segments = self.create_publisher(Detection2DArray, '~/segments', _OUTPUT_QOS)
        self._label_info = self.create_publisher(LabelInfo, '~/label_info', _LATCHED_QOS)
        self._overlay = self.create_publisher(Image, '~/overlay', _OUTPUT_QOS)
        self._worker = LatestFrameWorker(self._process, self._recut, self._on_failure, self._config.rate_hz)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        # Only the newest image counts: a longer queue would only age.
        camera_qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        # Overridable: over Fast DDS as it comes, large images are often lost unless both ends are reliable.
        overrides = QoSOverridingOptions.with_default_policies()
        try:
            self._camera = self.create_subscription(
                Image, 'image', self._on_image, camera_qos, qos_overriding_options=overrides
            )
        except RuntimeError as error:  # rclpy's word for an unknown policy value
            raise ValueError(f'qos_overrides: {error}') from error
        self._no_image = self.create_timer(_NO_IMAGE_S, self._warn_no_image)
        self.get_logger().info(
            f"backend '{self._config.backend}' ({extractor.description}) on {extractor.device}, "
            f'tau {segmenter_config.tau}, waiting for images on {self._camera.topic_name}'
        )

    def close(self) -> None:
        """End the worker; the node publishes nothing from then on."""
        self._worker.close()

    def _on_image(self, message: Image) -> None:
        self._no_image.reset()
        self._worker.counts['received'] += 1
        try:
            check_image(message)
        except ValueError as error:
            self._worker.counts['rejected'] += 1
            self._report(f'{self._camera.topic_name}: image ignored: {error}', self._worker.counts['rejected'])
            return
        stamp = message.header.stamp
        # A driver that leaves stamps at zero still gets its rate limited, by the time of arrival.
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec or time.monotonic_ns()
        self._worker.submit(message, stamp_ns)

    def _process(self, message: Image) -> None:
        image_rgb = decode_image(message)
        segmentation = self._segmenter.segment(image_rgb)
        self._last = image_rgb, message.header
        self._publish(segmentation, *self._last)

    def _recut(self) -> None:
        if self._last is not None:
            self._publish(self._segmenter.recut(), *self._last)

    def _publish(self, segmentation: Segmentation, image_rgb: np.ndarray, header: Header) -> None:
        self._label_info.publish(label_info(segmentation, header))
        self._labels.publish(label_image(segmentation, header))
        self._segments.publish(detections(segmentation, header))
        if self._overlay.get_subscription_count():
            overlay = draw_overlay(image_rgb, segmentation.labels, self._config.overlay_opacity)
            self._overlay.publish(encode_image(overlay, 'rgb8', header))

    def _check_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        problem = check_changes(changes, self._specs)
        return SetParametersResult(successful=not problem, reason=problem)

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        before = self._segmenter.config, self._config.overlay_opacity
        self._config = changed_config(self._config, changes)
        self._segmenter.config = changed_config(self._segmenter.config, changes)
        self._worker.limit.rate_hz = self._config.rate_hz
        if before != (self._segmenter.config, self._config.overlay_opacity):
            self._worker.request_recut()

    def _on_failure(self, error: Exception) -> None:
        if self.context.ok():  # during shutdown, publishing fails and nobody is concerned
            text = f'{self._camera.topic_name}: image not segmented: {type(error).__name__}: {error}'
            self._report(text, self._worker.counts['failed'])

    def _report(self, error: str, count: int) -> None:
        """Log an error, without flooding the log when it repeats with every image."""
        text, logged_s = self._last_error
        now_s = time.monotonic()
        if error != text or now_s - logged_s > _REPEAT_ERROR_S:
            self._last_error = error, now_s
            self.get_logger().error(f'{error} ({count} so far)')

    def _warn_no_image(self) -> None:
        topic = self._camera.topic_name
        publishers = self.get_publishers_info_by_topic(topic)
        advice = 'to listen elsewhere, remap: --ros-args -r image:=/your/camera/image_raw'
        if any(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers):
            advice = f'large images may get lost: try -p qos_overrides.{topic}.subscription.reliability:=reliable'
        elif publishers:
            advice = 'does the camera still run?'
        self.get_logger().warning(
            f'no image in {_NO_IMAGE_S:.0f} s on {topic} ({len(publishers)} publishers); {advice}',
            throttle_duration_sec=60.0,
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; return 2 when it cannot start with its parameters."""
    rclpy.init(args=args)
    try:
        node = DiffcutNode()
    except (ValueError, MemoryError) as error:
        rclpy.logging.get_logger('diffcut').fatal(str(error))
        rclpy.try_shutdown()
        return 2
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the usual ways to end
    finally:
        node.close()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
