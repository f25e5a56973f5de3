"""The node: camera images in, segments out.

Callbacks check in constant time and hand over; what takes time, decoding and pipeline, runs in a worker.
"""

import dataclasses
import gc
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Point, PointStamped
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from diffcut_ros.arguments.node import parse
from diffcut_ros.core import Classes, Pipeline, Result, Scene, SegmenterConfig, TrackerConfig
from diffcut_ros.core.compiled import prepare
from diffcut_ros.core.pipeline import Deliver
from diffcut_ros.core.threads import leaving_a_core, may_overlap
from diffcut_ros.features import CONFIGS, create_extractor
from diffcut_ros.features.models import downloads_allowed
from diffcut_ros.features.probe import probe
from diffcut_ros.features.registry import Extractor, kind_of
from diffcut_ros.interruption import SIGNALS, interruptible
from diffcut_ros.node.advice import NO_INPUT_S, complaints, misfits, silences, twins
from diffcut_ros.node.bond import Bond
from diffcut_ros.node.camera import Camera, check_name
from diffcut_ros.node.clicks import Clicks
from diffcut_ros.node.diagnostics import ErrorThrottle, memory, status, title
from diffcut_ros.node.heap import return_free_memory
from diffcut_ros.node.images import convert
from diffcut_ros.node.logger import PrintableLogger
from diffcut_ros.node.parameter_sources import (
    file_of,
    mixed_lists,
    parameter_files,
    refused_files,
    shared_only,
    useless_files,
)
from diffcut_ros.node.parameters import (
    as_kept,
    changed_config,
    check_changes,
    declare,
    read,
    take_overrides,
    unused_overrides,
)
from diffcut_ros.node.target_frame import TargetFrame
from diffcut_ros.node.teaching import Backend, Teaching
from diffcut_ros.node.transforms import Transforms
from diffcut_ros.node.worker import LatestFrameWorker, OnRequest
from diffcut_ros.parameter_file import left_out, like
from diffcut_ros.printable import counted, printable, quoted
from diffcut_ros.settings import (
    RCLPY_OWN,
    SPECS,
    DiagnosticsConfig,
    NodeConfig,
    PointsConfig,
    check_together,
    known_parameters,
)
from diffcut_ros.stream.decoder import Decoder
from diffcut_ros.stream.inputs import Inputs

_REPEAT_WARNING_S = 60.0
_DIAGNOSTICS_S = 1.0
# From one map of objects to the next.
_MAP_S = 1.0
_WATCH_S = 0.25
# Something is looked after each _WATCH_S; when nothing was for this long, the process stood still.
_STOOD_STILL_S = 2.0
# After a callback has failed: for how long that shows, how long to wait, how many may do so in a row.
_FAILURE_SHOWN_S, _PAUSE_S, _MOST_FAILURES = 5.0, 0.05, 100
# How long an inference that is under way may hold up the end of the node, or its deactivation.
_PATIENCE_S = 1.0
# Compressed messages of so many bytes are checked in the callback, within milliseconds: a bad one then replaces no good
# one that waits. Larger ones are checked by the worker.
_CHECKED_AT_ONCE = 2**15
# Kinds of trouble with transforms that the diagnostics tell.
_MOST_TROUBLE = 10
# What every node has.
_OWN_TOPICS = {'/clock', '/diagnostics', '/parameter_events', '/rosout'}


class Work(NamedTuple):
    """What is left to do with an image: called with what publishes it; its stage, and what others took, in s."""

    camera: Camera
    segment: Callable[[Deliver], Any]
    stage: str
    seconds: dict[str, float]


class DiffcutNode(LifecycleNode):
    """Segments the images of cameras; see `Camera` for the topics.

    Args:
        arguments: the command line that rclpy was initialised with, which says where parameters come from.

    Raises:
        ValueError: for an unknown parameter or a bad value.
    """

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self._empty: set[str] = set()
        self._arguments = arguments
        super().__init__('diffcut', automatically_declare_parameters_from_overrides=True)
        with self._naming_the_file():
            self._declare(arguments)
            self._config = read(self, NodeConfig)
            self._segmenter_config = read(self, SegmenterConfig)
            self._tracker_config = read(self, TrackerConfig, 'tracking.')
            self._points_config = read(self, PointsConfig, 'points.')
            self._diagnostics_config = read(self, DiagnosticsConfig, 'diagnostics.')
        self._extractor: Extractor | None = None
        self._teaching = Teaching(self.get_logger())
        self._transforms = Transforms(self)
        self._clicks = Clicks(self, self._transforms, self._teaching, self._show_taught)
        self._extracting = threading.Lock()
        self._cameras: dict[str, Camera] = {}
        self._worker: LatestFrameWorker | None = None
        self._network: LatestFrameWorker | None = None
        self._recutter: OnRequest | None = None
        self._mapper: OnRequest | None = None
        self._ticked_s, self._failed_s, self._failed = 0.0, -math.inf, ''
        self._told_target = 0  # of which it was told that tau is not used
        self._throttle, self._warnings = ErrorThrottle(), ErrorThrottle(_REPEAT_WARNING_S)
        self.fatal_error = ''
        self.create_service(Trigger, '~/undo', self._undo)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._refuse_impossible_transitions()
        # Not by the node's clock: simulated time may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._bond = Bond(self, steady)
        for period_s, look in (
            (_WATCH_S, self._watch),
            (_DIAGNOSTICS_S, self._publish_diagnostics),
            (_MAP_S, self._request_objects),
            (NO_INPUT_S, self._warn_of_others),
        ):
            self.create_timer(period_s, partial(self._tick, look), clock=steady)

    @cached_property
    def _printable_logger(self) -> PrintableLogger:
        return PrintableLogger(super().get_logger().name)

    def get_logger(self) -> PrintableLogger:
        """Return the node's logger."""
        return self._printable_logger

    @contextmanager
    def _naming_the_file(self) -> Iterator[None]:
        """Put the parameter file before an error of a parameter that is from one."""
        try:
            yield
        except ValueError as error:
            file = file_of(self._arguments, self.get_fully_qualified_name(), str(error))
            raise ValueError(f'{file}{error}') from error

    def declare_parameters(
        self, namespace: str, parameters: list[tuple[Any, ...]], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare parameters: for rclpy all that were given, too, of which it takes no empty list.

        Raises:
            ValueError: for one of rclpy's own of the wrong type, which it would only log.
        """
        if ignore_override:
            for name, value, *_ in parameters:
                if name in RCLPY_OWN and not isinstance(value, bool):
                    received = [] if value is None else value
                    with self._naming_the_file():
                        raise ValueError(f'parameter {name}: expected bool, received {received!r}')
            self._empty |= {name for name, value, *_ in parameters if value is None}
            parameters = [one for one in parameters if one[1] is not None]
        return super().declare_parameters(namespace, parameters, ignore_override)

    def _declare(self, arguments: Sequence[str]) -> None:
        name = self.get_fully_qualified_name()
        try:
            shared, useless = shared_only(arguments, name), useless_files(arguments, name)
        except ValueError as error:  # ROS could read it, or there would be no node
            shared, useless = set(), [str(error)]
        for text in useless:
            self.get_logger().warning(text)
        others, known = declare(self, SPECS, shared, self._empty), known_parameters()
        if others:
            tell = self.get_logger().warning if any(like(name, known) for name in others) else self.get_logger().info
            tell(f'{", ".join(map(str, parameter_files(arguments)))}: {left_out(others, known)}')
        self._shared, self._overrides = shared, take_overrides(self)

    def _refuse_impossible_transitions(self) -> None:
        """Refuse a transition that the present state does not know; rclpy would let it end the node."""
        (service,) = (one for one in self.services if one.service_name.endswith('/change_state'))
        change_state = service.callback

        def guarded(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            wanted = request.transition.label or request.transition.id
            _, state = self._state_machine.current_state
            possible = [transition[:2] for transition in self._state_machine.available_transitions]
            if any(wanted in transition for transition in possible):
                return change_state(request, response)
            labels = ', '.join(label for _, label in possible) or 'none'
            self._warn(printable(f'no transition {wanted} from the state {state}: possible are {labels}'))
            response.success = False
            return response

        service.callback = guarded

    # Lifecycle. rclpy turns an exception in these silently into an error state, so they raise none.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the backend and advertise the topics; fails, with the reason in the log, when that cannot be done."""
        self.fatal_error = ''
        try:
            self._config = read(self, NodeConfig)
            check_together(self._config, self._segmenter_config)
            given = {name: parameter.value for name, parameter in self.get_parameters_by_prefix('').items()}
            kind = kind_of(self._config.backend, downloads_allowed(given))
            options = read(self, CONFIGS[kind], f'{kind}.')
            self._extracting = threading.Lock()
            self._extractor = create_extractor(self._config.backend, self._config.device, **dataclasses.asdict(options))
            prepare(self.get_logger().info, self.get_logger().warning)
            for batch in range(1, len(self._config.cameras) + 1):
                self._extractor.prepare(batch)
            describe = partial(self._describe, self._extractor, self._extracting)
            self._teaching.configure(self._config.classes_file, self._config.teach, describe)
            for name in filter(None, self._config.cameras):
                check_name(name)
            for name in self._config.cameras:

                def tell(text: str, name: str = name) -> None:
                    self._warn(f'camera {name}: {text}' if name else text)

                camera = self._cameras[name] = Camera(
                    self,
                    name,
                    self._config,
                    self._points_config,
                    Decoder(self._max_pixels, convert, self._config.depth_scale, self._config.calibration),
                    Pipeline(
                        self._extractor,
                        self._segmenter_config,
                        self._tracker_config,
                        self._config.box_axes,
                        tell,
                    ),
                    self._on_image,
                    self._reject,
                    self._on_click,
                    tell,
                    self._transforms.went_back,
                )
                camera.classes = self._classes
                if self._config.target_frame:
                    camera.target = TargetFrame(
                        self._transforms,
                        self._config.target_frame,
                        lambda: self._config.transform_timeout_s,
                        camera.record,
                        lambda text, topic=camera.topic: self._warn(f'{topic}: {text}'),
                    )
            topics = {topic for camera in self._cameras.values() for topic in camera.topics}
            for name, text in unused_overrides(self, self._overrides, topics).items():
                topic = name.split('.')[1]
                if topic in _OWN_TOPICS or (name in self._shared and not like(topic, topics)):
                    continue  # rclpy's, or another node's
                self.get_logger().warning(f'{name}: {text}')
        except Exception as error:
            return self._refuse(error)
        self._warn_of_mask()
        self._teaching.advise(self._config.teach)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen to the cameras."""
        self.fatal_error = ''
        result = super().on_activate(state)
        self._start_threads()
        try:
            for camera in self._cameras.values():
                camera.activate(True)
        except Exception as error:
            self._stop()
            return self._refuse(error, release=False)
        self._ticked_s = time.monotonic()
        self._bond.begin()
        topics = ', '.join(topic for camera in self._cameras.values() for topic in camera.input_topics)
        self.get_logger().info(
            f"backend '{self._config.backend}' ({self._extractor.description}) on {self._extractor.device}, "
            f'tau {self._segmenter_config.tau}, waiting for images on {topics}'
            f'{", once somebody subscribes to an output (lazy)" if self._config.lazy else ""}'
        )
        self._tell_carrying()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen; an error if the node gave up after too many failures."""
        if not self._stop():
            self.get_logger().warning('an image is still being computed, which cannot be stopped; its result is lost')
        result = super().on_deactivate(state)
        self.fatal_error = self._gave_up()
        return TransitionCallbackReturn.ERROR if self.fatal_error else result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back topics, backend and memory."""
        result = super().on_cleanup(state)
        for camera in self._cameras.values():
            if camera.objects is not None:
                camera.objects.forget('the node is cleaned up')
        self._release()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and give everything back."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back; the node can be configured anew."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _refuse(self, error: Exception, release: bool = True) -> TransitionCallbackReturn:
        """Say why a transition is not made."""
        # The first two are written for users; others need their name.
        expected = isinstance(error, (ValueError, MemoryError))
        self.fatal_error = printable(error if expected else f'{type(error).__name__}: {error}')
        self.get_logger().fatal(self.fatal_error)
        if release:
            self._release()
        return TransitionCallbackReturn.FAILURE

    def _start_threads(self) -> None:
        """Start the threads that do not run."""
        if self._worker is None or not self._worker.alive:
            sources = {name: camera.source for name, camera in self._cameras.items()}
            prepare = partial(self._prepare, self._extractor, self._extracting, dict(self._cameras))
            overlap = may_overlap(self._extractor.device)
            self._worker = LatestFrameWorker(sources, prepare, self._finish, self._report_thread, overlap)
        if self._network is None or not self._network.alive:
            sources = {name: camera.network for name, camera in self._cameras.items()}
            compute = partial(self._compute_newest, self._extractor, self._extracting, dict(self._cameras))
            self._network = LatestFrameWorker(
                sources, compute, self._finish, self._report_thread, name='diffcut-network'
            )
        if self._recutter is None or not self._recutter.alive:
            self._recutter = OnRequest(self._recut, self._report_thread, 'diffcut-recutter')
        if self._mapper is None or not self._mapper.alive:
            self._mapper = OnRequest(self._publish_objects, self._report_thread, 'diffcut-mapper')

    def _stop(self) -> bool:
        """End listening and working; say whether the work under way ended in time."""
        self._bond.end()
        for camera in self._cameras.values():
            camera.activate(False)
        threads, end_s = self._threads, time.monotonic() + _PATIENCE_S
        self._worker = self._network = self._recutter = self._mapper = None
        return all([thread.close(max(0.0, end_s - time.monotonic())) for thread in threads])

    @property
    def _threads(self) -> list[LatestFrameWorker | OnRequest]:
        return [thread for thread in (self._worker, self._network, self._recutter, self._mapper) if thread is not None]

    def _release(self) -> None:
        while self._cameras:  # no variable may hold the last one, with its image, when memory is collected
            self._cameras.popitem()[1].destroy()
        self._extractor = None
        self._teaching.release()
        gc.collect()
        return_free_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> bool:
        """End all work; say whether that which was under way ended in time."""
        return self._stop()

    # Images.

    def _on_image(self, camera: Camera, inputs: Inputs) -> None:
        try:
            inputs.check(self._max_pixels)
            if inputs.compressed_bytes <= _CHECKED_AT_ONCE:
                inputs.check_contents(self._max_pixels)
        except ValueError as error:
            self._reject(camera, f'{camera.topic}: image ignored: {error}')
            return
        if self._worker is not None:
            self._worker.submit(camera.name, inputs, inputs.stamp_ns)

    def _prepare(
        self,
        extractor: Extractor,
        extracting: threading.Lock,
        by_name: dict[str, Camera],
        waiting: dict[str, Inputs],
    ) -> Iterator[Work]:
        """Yield the newest image of each camera, with its hierarchy unless it is carried; runs in the worker."""
        scenes: dict[str, Scene] = {}
        seconds: dict[str, float] = {}
        start_s = time.monotonic()
        for name, inputs in waiting.items():
            try:
                scenes[name] = self._decode(by_name[name], inputs)
            except ValueError as error:
                self._reject(by_name[name], f'{by_name[name].topic}: image ignored: {error}')
            except Exception as error:  # such as MemoryError or cv2.error; see below
                self._report_failure(by_name[name], error)
        seconds['decode'] = time.monotonic() - start_s
        if not self._config.carries:
            yield from self._compute(extractor, extracting, by_name, scenes, seconds)
            return
        for name, scene in scenes.items():
            yield Work(by_name[name], partial(self._carry, by_name[name], scene), 'carry', dict(seconds))

    def _carry(self, camera: Camera, scene: Scene, deliver: Deliver) -> Result | None:
        try:
            return camera.pipeline.carry(scene, deliver)
        finally:
            if (network := self._network) is not None:
                network.submit(camera.name, None, scene.stamp_ns)

    def _compute_newest(
        self, extractor: Extractor, extracting: threading.Lock, by_name: dict[str, Camera], waiting: dict[str, None]
    ) -> Iterator[Work]:
        """Yield the newest image of each camera with its hierarchy, while others are carried beside it."""
        newest = {name: by_name[name].pipeline.begin() for name in waiting}
        scenes = {name: scene for name, scene in newest.items() if scene is not None}
        with leaving_a_core():
            yield from self._compute(extractor, extracting, by_name, scenes, {}, arrives=True)

    def _compute(
        self,
        extractor: Extractor,
        extracting: threading.Lock,
        by_name: dict[str, Camera],
        scenes: dict[str, Scene],
        seconds: dict[str, float],
        arrives: bool = False,
    ) -> Iterator[Work]:
        """Yield images with their hierarchies."""
        # The boundary between the pipeline and the robot: whatever fails in there, the node goes on and says so.
        try:
            start_s = time.monotonic()
            # A worker that could not be ended may still be at it, and a backend does one thing at a time.
            if extracting.locked():
                self._warn('waiting for an image of before the deactivation, which is still being computed')
            with extracting:
                feature_maps = extractor.batch([scene.image_rgb for scene in scenes.values()]) if scenes else []
            seconds['features'] = time.monotonic() - start_s
        except Exception as error:
            for name in scenes:
                self._report_failure(by_name[name], error)
            return
        for (name, scene), feature_map in zip(scenes.items(), feature_maps, strict=True):
            start_s, pipeline = time.monotonic(), by_name[name].pipeline
            try:
                prepared = pipeline.prepare(scene, feature_map)
            except Exception as error:
                self._report_failure(by_name[name], error)
                continue
            segment = partial(pipeline.arrive if arrives else pipeline.finish, prepared)
            del prepared  # it holds an image
            yield Work(by_name[name], segment, 'segments', seconds | {'segments': time.monotonic() - start_s})

    def _finish(self, work: Work) -> None:
        """Segment an image and publish it; runs in the worker, beside `_prepare` of the next where that pays."""
        try:
            self._segment(*work)
        except Exception as error:
            self._report_failure(work.camera, error)

    def _decode(self, camera: Camera, inputs: Inputs) -> Scene:
        decoder = camera.decoder
        told = len(decoder.notes)
        try:
            inputs.check_contents(decoder.max_pixels)
        except ValueError:
            camera.source.limit.take_back()
            raise
        try:
            scene = decoder.decode(inputs)
            return scene if camera.target is None else camera.target.place(scene, inputs.arrival_ns)
        finally:
            for note in decoder.notes[told:]:
                self.get_logger().warning(f'{camera.topic}: {note}')
            camera.record.no_space = decoder.no_space
            if decoder.no_space:
                self._warn(f'{camera.topic}: {decoder.no_space}')

    @property
    def _max_pixels(self) -> int:
        return round(self._config.max_image_megapixels * 1e6)

    def _segment(
        self, camera: Camera, segment: Callable[[Deliver], Any], stage: str, seconds: dict[str, float]
    ) -> None:
        start_s, turn_s, record = time.monotonic(), 0.0, camera.record
        shown: tuple[Result, tuple] | None = None

        def publish(result: Result) -> None:
            nonlocal turn_s, shown
            turn_s, shown = time.monotonic(), (result, self._shown_by)
            camera.publish(result)

        done = segment(publish)
        seconds[stage] = seconds.get(stage, 0.0) + (turn_s or time.monotonic()) - start_s
        if stage == 'carry':
            record.counts['not carried'] += not done
        elif done:
            record.computed()
        else:
            record.counts['network images dropped'] += 1
        if shown is None:
            record.took(seconds)
            return
        result, shown_by = shown
        seconds['publish'] = time.monotonic() - turn_s
        age_s = camera.age_s(result.scene)
        if age_s is not None:
            seconds['age'] = age_s
        record.took(seconds)
        record.published(result)
        # What has changed since its turn was shown on the image before, which was the last one then.
        if shown_by != self._shown_by and (recutter := self._recutter) is not None:
            recutter.request()

    def _recut(self) -> None:
        """Publish the last image of each camera again, cut with the settings of now; runs in a thread of its own."""
        for camera in list(self._cameras.values()):

            def publish(result: Result, camera: Camera = camera) -> None:
                camera.publish(result)
                camera.record.published_again(result)

            try:
                camera.pipeline.recut(deliver=publish)
            except Exception as error:
                self._report_failure(camera, error)

    def _request_objects(self) -> None:
        if (mapper := self._mapper) is not None:
            mapper.request()

    def _publish_objects(self) -> None:
        """Publish the map of objects of each camera where that is due; runs in a thread of its own."""
        for camera in list(self._cameras.values()):
            try:
                camera.publish_objects()
            except Exception as error:  # images go on
                if self._worker is not None and self.context.ok():
                    self._warn(f'{camera.topic}: no map of objects: {type(error).__name__}: {error}')

    # Parameters.

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters; what the services of parameters call. Each refusal has a reason, as not all of rclpy's."""
        changes = as_kept(parameter_list, SPECS)
        problem = check_changes(self, changes, SPECS, configured=bool(self._cameras))
        if problem:
            return SetParametersResult(successful=False, reason=problem)
        # What is read-only has its value already, and rclpy would refuse it.
        writable = [change for change in changes if not self.describe_parameter(change.name).read_only]
        files = [change.value for change in changes if change.name == 'classes_file']
        with self._teaching.turn:  # no click shall be lost in between
            before = self._teaching.state
            try:
                config = changed_config(read(self, NodeConfig), changes)
                check_together(config, changed_config(read(self, SegmenterConfig), changes))
                self._teaching.state = self._teaching.prepared(files[-1] if files else None, config.teach)
            except ValueError as error:
                return SetParametersResult(successful=False, reason=str(error))
            result = super().set_parameters_atomically(writable)
            if not result.successful:
                self._teaching.state = before
        return result

    @property
    def _classes(self) -> Classes:
        return self._teaching.classes

    def _warn_of_mask(self) -> None:
        """Tell which names of the mask nothing has."""
        known = {one.name for one in self._classes.classes.values()} | {self._config.teach}
        if missing := [name for name in self._config.mask_classes if name and name not in known]:
            self.get_logger().warning(
                f'mask_classes: no class is called {", ".join(map(quoted, missing))}, so that ~/mask does not show it; '
                f'there are {", ".join(sorted(filter(None, known))) or "none"}'
            )

    def _apply_parameters(self, changes: list[Parameter]) -> None:
        before, shown_before = self._config, self._shown_by
        self._config = changed_config(self._config, changes)
        self._segmenter_config = changed_config(self._segmenter_config, changes)
        self._tracker_config = changed_config(self._tracker_config, changes, 'tracking.')
        self._points_config = changed_config(self._points_config, changes, 'points.')
        self._diagnostics_config = changed_config(self._diagnostics_config, changes, 'diagnostics.')
        for camera in self._cameras.values():
            camera.config, camera.points = self._config, self._points_config
            camera.decoder.max_pixels = self._max_pixels
            camera.decoder.depth_scale = self._config.depth_scale
            camera.decoder.calibration = self._config.calibration
            camera.pipeline.config, camera.pipeline.tracking = self._segmenter_config, self._tracker_config
            camera.pipeline.box_axes = self._config.box_axes
            camera.source.limit.rate_hz = self._config.rate_hz
            camera.network.limit.rate_hz = self._config.network_hz
            camera.update_subscription()
        if self._worker is not None and not before.carries:
            self._tell_carrying()
        told = self._tell_classes(anew=before.min_confidence != self._config.min_confidence)
        target = self._segmenter_config.target_segments
        if target and target != self._told_target and any(change.name == 'tau' for change in changes):
            self._told_target = target
            self.get_logger().warning(f'tau is not used while target_segments is {target}; 0 lets tau decide again')
        if not target:
            self._told_target = 0
        if any(change.name in ('classes_file', 'mask_classes') for change in changes):
            self._warn_of_mask()
        if self._config.teach != before.teach:
            self._teaching.advise(self._config.teach)
        if self._recutter is not None and (told or shown_before != self._shown_by):
            self._recutter.request()

    def _tell_carrying(self) -> None:
        if self._config.carries:
            self.get_logger().info(
                f'network_hz {self._config.network_hz:g}: the backend computes so many images per second at most; '
                'others get the last segments, carried along by motion'
            )

    @property
    def _shown_by(self) -> tuple:
        """The settings that say how an image is shown: when they change, the last one is shown again."""
        config = self._config
        shown = config.overlay_opacity, config.labels, config.min_confidence, config.mask_classes, config.box_axes
        return self._segmenter_config, self._points_config, self._classes, *shown

    # Clicks, and what they teach.

    def _on_click(self, camera: Camera, message: Point | PointStamped) -> None:
        answer = partial(self._clicks.answer, camera, message, time.monotonic())
        if self._recutter is not None and not self._recutter.first(answer):
            self._warn(f'{camera.topic}: more clicks in its images come than can be answered; some are left out')

    def _describe(self, extractor: Extractor, extracting: threading.Lock) -> Backend:
        with extracting:
            return extractor.description, probe(extractor)

    def _show_taught(self) -> None:
        """Show the last images with the classes of now."""
        self._tell_classes()
        if (recutter := self._recutter) is not None:
            recutter.request()

    def _tell_classes(self, anew: bool = False) -> bool:
        """Publish the names of the classes where they have changed, or anyway; say whether that was so."""
        with self._teaching.turn:
            others = [one for one in list(self._cameras.values()) if anew or one.classes is not self._classes]
            for camera in others:
                camera.classes = self._classes
                camera.publish_class_info()
        return bool(others)

    def _undo(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, self._teaching.undo()
            self.get_logger().info(response.message)
        except (ValueError, OSError) as error:
            response.success, response.message = False, printable(error)
            self.get_logger().warning(response.message)
        self._show_taught()
        return response

    # What goes wrong.

    def _reject(self, camera: Camera, problem: str) -> None:
        self._report(camera, 'rejected', problem)

    def _report_failure(self, camera: Camera, error: Exception) -> None:
        # After deactivation and during shutdown, publishing fails and nobody is concerned.
        # So it does where an image of before has taken longer than deactivation and cleanup.
        if self._worker is not None and self.context.ok() and camera in self._cameras.values():
            self._report(camera, 'failed', f'{camera.topic}: image not segmented: {type(error).__name__}: {error}')

    def _report_thread(self, error: Exception) -> None:
        """Report what no image is known for; the thread goes on."""
        for camera in list(self._cameras.values()):
            self._report_failure(camera, error)

    def _report(self, camera: Camera, cause: str, error: str) -> None:
        """Count and log an error, without flooding the log when it repeats with every image."""
        error = printable(error)
        camera.record.failed(cause, error)
        if self._throttle.allows(error):
            self.get_logger().error(f'{error} ({camera.record.counts[cause]} so far)')

    def report_callback(self, error: Exception) -> None:
        """Report what a callback has raised, of which nobody else hears; the node goes on."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = (str(error).splitlines() or [''])[0]
        self._failed_s = time.monotonic()
        self._failed = (
            f'internal error: {type(error).__name__}: {reason} ({Path(where.filename).name}, line {where.lineno}); '
            'what was asked is not done, the node goes on'
        )
        if self._throttle.allows(self._failed):
            self.get_logger().error(self._failed)

    def _tick(self, look: Callable[[], None]) -> None:
        """Look after something, unless the process stood still: then nothing is missing yet, and nothing hangs."""
        late_s = time.monotonic() - self._ticked_s
        self._ticked_s = time.monotonic()
        if self._worker is not None and late_s > _STOOD_STILL_S:
            self._warn(f'this node stood still for {late_s:.0f} s: it was stopped, or the machine had no time for it')
            for worker in filter(None, (self._worker, self._network)):
                worker.forgive(late_s)
            for camera in self._cameras.values():
                camera.count_from_now()
        look()

    def _watch(self) -> None:
        """Notice publishers that come and go and images that take too long; give up after too many failures."""
        for thread in self._threads:
            if not thread.alive:
                self._report_thread(RuntimeError('a thread of the node ended; started again'))
                self._start_threads()
        if any(camera.points_come for camera in self._cameras.values()):
            self._clicks.listen()
        for camera in self._cameras.values():
            camera.follow()
            for text in misfits(camera):
                self._warn(text)
        if any([worker.overdue(self._config.timeout_s) for worker in (self._worker, self._network) if worker]):
            for camera in self._cameras.values():
                error = f'{camera.topic}: the pipeline has been busy for over {self._config.timeout_s:g} s (timeout_s)'
                self._report(camera, 'timed out', error)
        if self._worker is not None and (reason := self._gave_up()):
            self.get_logger().error(f'{reason}; unconfigured from now on, configure and activate to start again')
            self.trigger_deactivate()

    def _gave_up(self) -> str:
        """Say why the node goes on no longer, or return an empty string."""
        limit = self._config.max_consecutive_failures
        for camera in self._cameras.values() if limit else ():
            if (count := camera.record.failures_in_a_row) >= limit:
                last = f'{counted(count, "failure")} in a row (max_consecutive_failures: {limit}), the last one'
                return f'gave up after {last}: {camera.record.last_failure}'
        return ''

    def _warn_of_others(self) -> None:
        """Tell what is wrong with what other nodes do, or do not."""
        for camera in self._cameras.values():
            for subscription, text in silences(self, camera, self._cameras.values()):
                if self._warn(text):
                    camera.told_silent(subscription.topic)
            for text in complaints(camera):
                self._warn(text)
            for text in camera.missed():
                self.get_logger().info(text)

    def _warn(self, text: str) -> bool:
        """Log a warning, unless it repeats too soon; say whether it is in the log."""
        allowed = self._warnings.allows(text)
        if allowed:
            self.get_logger().warning(text)
        return allowed

    def _publish_diagnostics(self) -> None:
        if text := twins(self):
            self._warn(text)
        name = self.get_fully_qualified_name().lstrip('/')
        device = self._extractor.device if self._extractor is not None else None
        hardware = 'none' if device is None else str(device)
        values = {'tau': f'{self._segmenter_config.tau:g}', 'backend': self._config.backend}
        if self._extractor is not None:
            values |= {'model': self._extractor.description, **memory(device)}
        if trouble := dict(self._transforms.trouble):
            values['tf'] = '; '.join(f'{text} ({count} times)' for text, count in list(trouble.items())[:_MOST_TROUBLE])
        if self.fatal_error and self._worker is None:
            whole = status(DiagnosticStatus.ERROR, name, self.fatal_error, hardware, values)
        elif time.monotonic() - self._failed_s < _FAILURE_SHOWN_S:
            whole = status(DiagnosticStatus.ERROR, name, self._failed, hardware, values)
        else:
            whole = status(DiagnosticStatus.OK, name, 'active' if self._worker else 'not active', hardware, values)
        message = DiagnosticArray(status=[whole])
        message.header.stamp = self.get_clock().now().to_msg()
        for camera in self._cameras.values() if self._worker else ():
            for fate in ('skipped', 'replaced'):
                camera.record.counts[fate] = camera.source.counts[fate]
            message.status.append(
                camera.record.status(
                    title(name, camera.name),
                    hardware,
                    self._diagnostics_config,
                    camera.delivery,
                    camera.listeners(),
                    camera.topic,
                    camera.lacks(),
                    '' if camera.target is None else self._transforms.refused,
                )
            )
        self._diagnostics.publish(message)


def _spin(node: DiffcutNode, executor: SingleThreadedExecutor) -> None:
    """Serve callbacks until the node is to end; one that fails ends nothing."""
    failures = 0
    while rclpy.ok():
        try:
            executor.spin_once()
            failures = 0
        except ExternalShutdownException:
            return
        except Exception as error:
            # A signal may come out as any error, a moment before rclpy knows that it is to end.
            time.sleep(_PAUSE_S)
            failures += 1
            if failures == _MOST_FAILURES and rclpy.ok():  # not a callback's fault: nothing works any more
                raise
            if rclpy.ok():
                node.report_callback(error)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; return 2 when it cannot start with its parameters."""
    node, ended = None, True
    try:
        # rclpy ends its own waiting on signals; this ends what Python is doing, such as loading a model.
        with interruptible():
            try:
                parse((sys.argv if args is None else args)[1:])
                rclpy.init(args=args)
            except RuntimeError as error:  # such as for a parameter file that is not there
                given = sys.argv if args is None else args
                plain = mixed_lists(given) if 'of same type' in str(error) else refused_files(given)
                PrintableLogger('diffcut').fatal('; '.join(plain) or str(error))
                return 2
            # Not as late as rclpy.spin makes one: a signal while it is made leaves a trace of rclpy's in the log.
            executor = SingleThreadedExecutor()
            node = DiffcutNode(sys.argv if args is None else args)
            if node.get_parameter('autostart').value:
                if node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                    node.trigger_activate()
                if node.fatal_error:
                    return 2
            executor.add_node(node)
            _spin(node, executor)
    except ValueError as error:
        PrintableLogger('diffcut').fatal(str(error))
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # the usual ways to end
    except RuntimeError:
        # rclpy ends its context at a signal before Python hears of it: what is under way then fails, as an RCLError.
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            ended = node.close()
        if not ended:
            # A thread in the middle of an inference cannot be ended, and Python would wait for it or crash.
            rclpy.try_shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        for number in SIGNALS:  # Python's end turns handlers into the system's, which kill
            signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == '__main__':
    sys.exit(main())
