"""`diffcut_demo`: runs node and virtual camera, shows what comes out and keeps pictures of it."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median
from typing import TextIO

import rclpy
from ament_index_python import get_package_share_directory
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rich.console import Console

from diffcut_ros.arguments.demo import parse
from diffcut_ros.core.compiled import COMPILING
from diffcut_ros.exit_status import Status
from diffcut_ros.interruption import interruptible
from diffcut_ros.media.own_images import OwnImages, find_images
from diffcut_ros.media.video import check_video
from diffcut_ros.node.demo.monitor import Interval, Monitor, rate_hz
from diffcut_ros.node.demo.recorder import Recorder, title
from diffcut_ros.node.demo.things import NAMED_PHOTOGRAPH, largest_segments, things_in_view
from diffcut_ros.printable import printable, tell

_TAUS = (0.25, 0.5)
# Of 14 other photographs, 4 have one or two segments at 0.25; at 0.6 each has 1.7 to 6 times as many as at 0.3.
_OWN_TAUS = (0.3, 0.6)
# Not a share of 0.01: what a larger tau parts would mostly be joined again, since it is smaller.
_DEPTH_PARAMETERS = ('depth:=true', 'instances:=space', 'min_part_share:=0.003')
_NAMES = 2
# The camera's rate, as config/demo.yaml sets it, and how long a photograph of one's own is shown at most.
_CAMERA_HZ, _SECONDS_EACH = 15.0, 8.0
_ROW_S = 2.0
_START_TIMEOUT_S = 60.0
# For what takes a fraction of a second on an idle machine.
_PATIENCE_S = 30.0
_STOP_TIMEOUT_S = 5.0
_ADVICE = 'run the demo again when the machine is less busy; if that does not help, see node.log'
_NEXT = """
Next, with images of your own:
  a camera:    {0}diffcut_node --ros-args -r image:=/camera/color/image_raw
  a recording: {0}diffcut_analyze run1.mcap -o out/ (tables, video, report)
  names:       {0}diffcut_teach run1.mcap --classes names.yaml (a few clicks)"""
# Shots, a few MB each, that wait to be written.
_MOST_UNWRITTEN = 50


class DemoError(Exception):
    """The demo could not be shown; the text says why."""


def main() -> int:
    """Run the demo; return 0 or one of `Status`."""
    args = parse(sys.argv[1:])
    args.output = args.output or Path('demo_output', *(['depth'] if args.depth else _folder_of(args.images)))
    console = Console(highlight=False)
    # The demo is nobody else's business: no other machine on the network sees its topics.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    try:
        check_video()
        with interruptible():
            own = find_images(args.images) if args.images else None
            args.output.mkdir(parents=True, exist_ok=True)
            run(console, args.seconds, args.output, args.depth, own)
    except ValueError as error:
        tell(f'diffcut_demo: {error}')
        return Status.BAD_INPUT
    except OSError as error:
        tell(f'diffcut_demo: {error}')
        return Status.FAILED
    except DemoError as error:
        print(f'diffcut_demo: {error}', file=sys.stderr)  # with lines of the log
        return Status.FAILED
    except KeyboardInterrupt:
        print('diffcut_demo: interrupted', file=sys.stderr)
        return Status.INTERRUPTED
    return 0


def _folder_of(images: Sequence[Path]) -> list[str]:
    """Return the name of the folder in demo_output for images of one's own."""
    return [images[0].resolve().stem or 'own'] if images else []


def run(console: Console, seconds: float, output: Path, depth: bool, own: OwnImages | None = None) -> None:
    """Show the demo: half the time at one tau, half at the other; its processes end with it.

    In the last quarter two things get names; not with depth.

    Args:
        console: to print on.
        seconds: how long, from the first labels on.
        output: a folder.
        depth: whether the camera has depth.
        own: what the camera shows instead of photographs that come along.

    Raises:
        DemoError: when a process ends early, no labels come, tau or a name is refused, or no image is seen cut at both
            taus.
        OSError: when pictures cannot be written.
    """
    started_s = time.monotonic()
    tau, next_tau = _TAUS if own is None else _OWN_TAUS
    node_arguments = ['-r', 'image:=/camera/image_raw', '-p', f'tau:={tau}']
    camera_arguments = ['-r', 'image_raw:=/camera/image_raw']
    if depth:
        for topic in ('depth', 'camera_info'):
            node_arguments += ['-r', f'{topic}:=/camera/{topic}']
            camera_arguments += ['-r', f'{topic}:=/camera/{topic}']
        node_arguments += [word for text in _DEPTH_PARAMETERS for word in ('-p', text)]
        camera_arguments += ['-p', 'depth:=true']
    if own is not None:
        files = [str(path.absolute()) for path in own.paths]
        # All in turn while the demo runs, as far as the camera takes so many.
        each_s = min(_SECONDS_EACH, max(1 / _CAMERA_HZ, seconds / max(1, len(own.photographs))))
        camera_arguments += ['-p', f'files:={json.dumps(files, ensure_ascii=False)}', '-p', f'seconds_each:={each_s:f}']
        each = f', each for {each_s:.2g} s' if len(own.photographs) > 1 else ''
        if (seen := round(seconds / each_s)) < len(own.photographs):
            enough_s = math.ceil(len(own.photographs) * each_s)
            each += f'; the first {seen} are seen in {seconds:g} s, all with --seconds {enough_s}'
        console.print(printable(f'{own.about}{each}'), markup=False, soft_wrap=True)
    names_file = output / 'names.yaml'
    for earlier in output.glob('names.*'):
        earlier.unlink()
    with ExitStack() as stack:
        log = stack.enter_context((output / 'node.log').open('w+'))
        processes = {
            'node': stack.enter_context(_process(log, 'diffcut_node', *node_arguments)),
            'camera': stack.enter_context(_process(log, 'demo.camera', *camera_arguments)),
        }
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        monitor = Monitor('/virtual_camera', '/diffcut', tau, depth, names=not depth)
        executor = SingleThreadedExecutor()
        executor.add_node(monitor)
        recorder = stack.enter_context(Recorder(output))
        # In a thread of its own: what arrives while a picture is written is noted at once.
        writer = ThreadPoolExecutor(1)
        stack.callback(writer.shutdown, cancel_futures=True)
        writing: deque[Future] = deque()

        def spin(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
            """Receive and write until something happened or the time is over; say whether it happened."""
            end_s = time.monotonic() + seconds
            while not until():
                if (left_s := end_s - time.monotonic()) <= 0:
                    return False
                executor.spin_once(timeout_sec=min(left_s, 0.1))
                for name, process in processes.items():
                    if process.poll() is not None:
                        raise DemoError(f'the {name} ended with code {process.returncode}:\n{_tail(log)}')
                while monitor.shots:
                    writing.append(writer.submit(recorder.add, monitor.shots.popleft()))
                while writing and (writing[0].done() or len(writing) > _MOST_UNWRITTEN):
                    writing.popleft().result()
            return True

        def expect(what: str, until: Callable[[], bool], seconds: float = _PATIENCE_S) -> None:
            if not spin(seconds, until):
                raise DemoError(f'{what} within {seconds:.0f} s; {_ADVICE}:\n{_tail(log)}')

        def show(seconds: float) -> None:
            """Print a row every other second or so."""
            monitor.interval = Interval()
            rows = max(1, round(seconds / _ROW_S))
            for _ in range(rows):
                spin(seconds / rows)
                _print_row(console, monitor, time.monotonic() - start_s)

        def known_things() -> dict[str, tuple[float, float]]:
            asked = monitor.camera_parameters.get_parameters(['start_ns'])
            expect('no answer of the camera', asked.done)
            time_s = (monitor.newest_ns - parameter_value_to_python(asked.result().values[0])) / 1e9
            return things_in_view(time_s, monitor.size_hw)

        def name_things() -> None:
            """Click on two things in the last image, which others will resemble, and say what they are."""
            paused = monitor.pause_camera(True)
            expect('the camera did not pause', paused.done)
            expect('no segments of the last image', lambda: monitor.shown_ns == monitor.newest_ns)
            expect('no answer of the node', lambda: monitor.can_click)
            things = known_things() if own is None else largest_segments(monitor.labels)
            for name, (x, y) in list(things.items())[:_NAMES]:
                taught = monitor.teach(name, names_file)
                expect('no answer of the parameter service', taught.done)
                if not taught.result().result.successful:
                    raise DemoError(f'the node did not take the name {name}: {taught.result().result.reason}')
                monitor.click(x, y)
                expect(f'the name {name} was not learnt', lambda: name in monitor.names.values())  # noqa: B023
                console.print(f'  [cyan]clicked on pixel ({x:.0f}, {y:.0f}) and called it {name!r}[/cyan]')
            console.print('  [cyan]from now on, segments of the same colour and texture get the same name[/cyan]')
            monitor.pause_camera(False)

        with console.status(f'Starting the node and a virtual camera, for {seconds:.0f} s ...'):
            expect('no labels', lambda: monitor.shown_ns > 0 and monitor.connected, _START_TIMEOUT_S)
        once = ', since the node had to be compiled for this processor, once' if COMPILING in _whole(log) else ''
        console.print(f'First labels after {time.monotonic() - started_s:.1f} s{once}.\n')
        console.print('Rates: an image that is cut again is not counted twice.')
        console.print('Latency: from the stamp of an image to the arrival of its segments.')
        console.print('[bold]  time   camera   segmented   latency   segments    tau[/bold]')
        start_s = time.monotonic()
        show(seconds / 2)
        # Without newer images, the last one is cut again on a busy machine, too, and what arrives is known.
        paused = monitor.pause_camera(True)
        expect('the camera did not pause', paused.done)
        expect('no segments of the last image', lambda: monitor.shown_ns == monitor.newest_ns)
        called_s, answer = time.monotonic(), monitor.set_tau(next_tau)
        expect('no answer of the parameter service', answer.done)
        if not answer.result().results[0].successful:
            raise DemoError(f'the node did not take tau {next_tau:g}: {answer.result().results[0].reason}')
        console.print(f'  [cyan]tau set to {next_tau:g} through the parameter service of /diffcut[/cyan]')
        if spin(_PATIENCE_S, lambda: monitor.tau == next_tau):
            waited_ms = 1000 * (time.monotonic() - called_s)
            console.print(f'  [cyan]the same image, cut again, arrived {waited_ms:.0f} ms after the call[/cyan]')
        if depth:
            monitor.pause_camera(False)
            show(seconds / 2)
        else:
            if own is None:  # what is named shall stay in view
                chosen = monitor.show_only(NAMED_PHOTOGRAPH)
                expect('the camera did not take another photograph', chosen.done)
            monitor.pause_camera(False)
            show(seconds / 4)
            name_things()
            show(seconds / 4)
        for written in writing:
            written.result()
    names = [*sorted(recorder.names), *([] if depth else [names_file.name]), 'node.log']
    console.print(f'\nPictures and a video are in {output}/:\n  ' + '\n  '.join(names))
    console.print(cut_twice(recorder))
    console.print(_NEXT.format(_before_commands()), markup=False, soft_wrap=True)


def _before_commands() -> str:
    """Return what has to stand before the names of the commands: nothing where the shell finds them."""
    here = Path(sys.executable).parent
    if shutil.which('diffcut_node'):
        return ''
    if not (here / 'diffcut_node').is_file():
        return 'ros2 run diffcut_ros '  # a ROS workspace keeps them where only ros2 looks
    return f'{os.path.relpath(here)}/' if here.is_relative_to(Path.cwd()) else f'{here}/'


def cut_twice(recorder: Recorder) -> str:
    """Return how many segments one image has at one tau and at the other.

    Raises:
        DemoError: when no image is known to have been cut at both.
    """
    if recorder.cut_twice is None:
        raise DemoError(
            'no image is known to have been cut at both values of tau: the last one did not come again after tau was '
            f'set. So there is no tau_change.png. {_ADVICE[0].upper()}{_ADVICE[1:]}'
        )
    return f'One image, cut twice: {" and ".join(map(title, recorder.cut_twice))}.'


def _print_row(console: Console, monitor: Monitor, time_s: float) -> None:
    """Print what was received since the last row."""
    seen = monitor.take_interval()
    camera, segmented = (
        '-' if rate is None else f'{rate:.1f} Hz'
        for rate in (rate_hz(seen.image_stamps_ns), rate_hz(seen.output_stamps_ns))
    )
    latency = f'{1000 * mean(seen.latencies_s):.0f} ms' if seen.latencies_s else '-'
    segments = f'{median(seen.segments):.0f}' if seen.segments else '-'
    tau = '-' if monitor.tau is None else f'{monitor.tau:g}'
    console.print(f'{time_s:4.0f} s {camera:>8} {segmented:>11} {latency:>9} {segments:>10} {tau:>6}')


@contextmanager
def _process(log: TextIO, module: str, *ros_args: str) -> Iterator[subprocess.Popen]:
    """Run a node of this package in its own process, which ends with the context."""
    config = Path(get_package_share_directory('diffcut_ros')) / 'config' / 'demo.yaml'
    command = [sys.executable, '-m', f'diffcut_ros.node.{module}', '--ros-args', '--params-file', config, *ros_args]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _whole(log: TextIO) -> str:
    # Not by `log` itself: its place in the file is that of the processes that write it.
    return Path(log.name).read_text(errors='replace')


def _tail(log: TextIO) -> str:
    return ''.join(_whole(log).splitlines(keepends=True)[-15:])


if __name__ == '__main__':
    sys.exit(main())
