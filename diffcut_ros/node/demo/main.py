"""`diffcut_demo`: runs node and virtual camera, shows what comes out and keeps pictures of it."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import mean, median
from typing import TextIO

import rclpy
from ament_index_python import get_package_share_directory
from rclpy.executors import SingleThreadedExecutor
from rich.console import Console

from diffcut_ros.interruption import interruptible
from diffcut_ros.media.video import check_video
from diffcut_ros.node.demo.monitor import Monitor
from diffcut_ros.node.demo.recorder import Recorder

_TAUS = (0.4, 0.8)
_TAUS_DEPTH = (0.5, 0.7)
# With depth: things rather than specks, with borders at their edges.
_DEPTH_PARAMETERS = ('depth:=true', 'refine:=pamr', 'min_segment_area:=300')
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0


class DemoError(Exception):
    """The demo could not be shown; the text says why."""


def main() -> int:
    """Run the demo; return 0, or 1 when it could not be shown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=20.0, help='length, from the first labels on (default 20)')
    parser.add_argument(
        '--output', type=Path, help='folder for pictures and video (default demo_output, or a folder in it)'
    )
    parser.add_argument('--depth', action='store_true', help='a photograph with real depth: segments in space, too')
    args = parser.parse_args()
    args.output = args.output or Path('demo_output', *(['depth'] if args.depth else []))
    console = Console(highlight=False)
    # The demo is nobody else's business: no other machine on the network sees its topics.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    try:
        try:
            check_video()
        except ValueError as error:
            raise DemoError(str(error)) from error
        args.output.mkdir(parents=True, exist_ok=True)
        with interruptible():
            run(console, args.seconds, args.output, args.depth)
    except (DemoError, OSError) as error:
        console.print(f'[red]error:[/red] {error}')
        return 1
    except KeyboardInterrupt:
        console.print('interrupted')
        return 1
    return 0


def run(console: Console, seconds: float, output: Path, depth: bool) -> None:
    """Show the demo: half the time at one tau, half at the other; its processes end with it.

    Raises:
        DemoError: when a process ends early, no labels come or tau is refused.
        OSError: when pictures cannot be written.
    """
    started_s = time.monotonic()
    taus = _TAUS_DEPTH if depth else _TAUS
    node_arguments = ['-r', 'image:=/camera/image_raw', '-p', f'tau:={taus[0]}']
    camera_arguments = ['-r', 'image_raw:=/camera/image_raw']
    if depth:
        for topic in ('depth', 'camera_info'):
            node_arguments += ['-r', f'{topic}:=/camera/{topic}']
            node_arguments += ['-p', f'qos_overrides./camera/{topic}.subscription.reliability:=reliable']
            camera_arguments += ['-r', f'{topic}:=/camera/{topic}']
        node_arguments += [word for text in _DEPTH_PARAMETERS for word in ('-p', text)]
        camera_arguments += ['-p', 'depth:=true']
    with ExitStack() as stack:
        log = stack.enter_context((output / 'node.log').open('w+'))
        processes = {
            'node': stack.enter_context(_process(log, 'diffcut_node', *node_arguments)),
            'camera': stack.enter_context(_process(log, 'demo.camera', *camera_arguments)),
        }
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        monitor = Monitor('/camera/image_raw', '/diffcut', taus[0], depth)
        executor = SingleThreadedExecutor()
        executor.add_node(monitor)

        def spin_until(end_s: float) -> None:
            while (left_s := end_s - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left_s)
                for name, process in processes.items():
                    if process.poll() is not None:
                        raise DemoError(f'the {name} ended with code {process.returncode}:\n{_tail(log)}')

        with console.status(f'Starting the node and a virtual camera, for {seconds:.0f} s ...'):
            while not monitor.shots:
                spin_until(time.monotonic() + 0.1)
                if time.monotonic() - started_s > _START_TIMEOUT_S:
                    raise DemoError(f'no labels within {_START_TIMEOUT_S:.0f} s:\n{_tail(log)}')
        console.print(f'First labels after {time.monotonic() - started_s:.1f} s.\n')
        console.print('Latency: from the stamp of an image to the arrival of its segments.')
        console.print('[bold]  time   camera   segmented   latency   segments    tau[/bold]')
        recorder = stack.enter_context(Recorder(output))
        start_s = time.monotonic()
        for tau in taus:
            if tau != monitor.tau:
                answer = monitor.set_tau(tau)
                executor.spin_until_future_complete(answer, timeout_sec=_STOP_TIMEOUT_S)
                if not (answer.done() and answer.result().results[0].successful):
                    raise DemoError(f'the node did not take tau {tau}:\n{_tail(log)}')
                console.print(f'  [cyan]tau set to {tau:g} through the parameter service of /diffcut[/cyan]')
            phase_s, row_s = seconds / len(taus), time.monotonic()
            rows = max(1, round(phase_s))
            monitor.take_interval()
            for due_s in [row_s + phase_s * (i + 1) / rows for i in range(rows)]:
                if due_s - row_s < 0.5 * phase_s / rows:
                    continue  # writing a picture took longer: the next row counts for both
                spin_until(due_s)
                # In the row's time, so that the next row does not count what arrived meanwhile as its own.
                while monitor.shots:
                    recorder.add(monitor.shots.popleft())
                now_s = time.monotonic()
                _print_row(console, monitor, now_s - row_s, now_s - start_s)
                row_s = now_s
    if monitor.counts_of_one_image:
        before, after = monitor.counts_of_one_image
        console.print(f'\nOne image, cut twice: {before} segments at tau {taus[0]:g}, {after} at tau {taus[1]:g}.')
    console.print(f'Pictures and a video are in {output}/:\n  ' + '\n  '.join([*sorted(recorder.names), 'node.log']))


def _print_row(console: Console, monitor: Monitor, length_s: float, time_s: float) -> None:
    """Print what was received in the last `length_s`."""
    seen = monitor.take_interval()
    latency = f'{1000 * mean(seen.latencies_s):4.0f} ms' if seen.latencies_s else '      -'
    segments = f'{median(seen.segments):.0f}' if seen.segments else '-'
    console.print(
        f'{time_s:4.0f} s {seen.images / length_s:5.1f} Hz {seen.outputs / length_s:8.1f} Hz {latency:>9} '
        f'{segments:>10} {monitor.tau:>6g}'
    )


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


def _tail(log: TextIO) -> str:
    log.seek(0)
    return ''.join(log.readlines()[-15:])


if __name__ == '__main__':
    sys.exit(main())
