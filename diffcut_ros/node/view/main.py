"""`diffcut_view`: shows in a browser what a node publishes, or what it published into a bag."""

import argparse
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import rclpy
from rclpy.executors import SingleThreadedExecutor

from diffcut_ros.arguments.view import parse
from diffcut_ros.core.transform import Transform
from diffcut_ros.exit_status import Status
from diffcut_ros.interruption import interruptible
from diffcut_ros.media.rerun_scene import load_rerun
from diffcut_ros.missing import needed
from diffcut_ros.node.view.live import Listener
from diffcut_ros.node.view.recorder import Recorder
from diffcut_ros.node.view.selection import Selection
from diffcut_ros.node.view.topics import Wanted
from diffcut_ros.node.view.viewer import serve
from diffcut_ros.printable import tell

# More than the end of a recording takes.
_ROOM_BYTES = 65536


def main() -> int:
    """Show it until interrupted; return 0 or one of `Status`."""
    args = parse(sys.argv[1:])
    wanted = Wanted(_absolute(args.node), args.camera.strip('/'), args.image and _absolute(args.image))
    try:
        with interruptible():
            _run(args, wanted)
    except KeyboardInterrupt:
        # The usual end of what is live or shown; what is written of a bag is not complete.
        return Status.INTERRUPTED if args.bag and args.save else 0
    except (ValueError, FileNotFoundError) as error:
        tell(f'diffcut_view: {error}')
        return Status.BAD_INPUT
    except OSError as error:
        tell(f'diffcut_view: {error}')
        return Status.FAILED
    return 0


def _absolute(name: str) -> str:
    return '/' + name.strip('/')


def _run(args: argparse.Namespace, wanted: Wanted) -> None:
    rerun = load_rerun()
    rerun.set_strict_mode(True)  # an error is raised, and not a warning
    with ExitStack() as stack:
        # Before anything is written or served: a bag that cannot be read leaves nothing behind.
        messages = stack.enter_context(_open_bag(args.bag, wanted)) if args.bag else None
        look_up = _read_transforms(args.bag) if args.bag else None
        recording, counts = rerun.RecordingStream('diffcut_view'), Counter[str]()
        stack.callback(recording.disconnect)
        if args.save:
            stack.enter_context(_saved(recording, args.save, counts))
        else:
            print(f'open {stack.enter_context(serve(recording, args.port))} (Ctrl-C ends it)', flush=True)
        recorder = Recorder(recording, counts, args.boxes, args.max_size, look_up)
        selection = Selection(args.rate)
        stack.callback(recorder.close)
        if args.rate:
            hint = '; if the page stays white, or lags behind more and more (no graphics card): --rate 1'
            tell(
                f'at most {args.rate:g} image{"s" * (args.rate != 1)} per second, chosen by their stamps; all with '
                f'--rate 0{"" if args.save or args.rate <= 1 else hint}'
            )

        def add(role: str, message: Any) -> None:
            for chosen in selection.take(role, message):
                recorder.add(*chosen)

        if messages is None:
            _listen(wanted, add)
        else:
            for role, message in messages:
                add(role, message)
            recorder.close()
            if not args.save:
                threading.Event().wait()


def _open_bag(path: Path, wanted: Wanted) -> AbstractContextManager[Iterator[tuple[str, Any]]]:
    with needed('--bag', 'view'):
        from diffcut_ros.node.view.bag import open_messages  # ROS distributions do without rosbags
    return open_messages(path, wanted)


def _read_transforms(path: Path) -> Callable[[str, str, int], Transform] | None:
    from diffcut_ros.node.view.bag import read_transforms  # see above

    return read_transforms(path)


@contextmanager
def _saved(recording: Any, path: Path, counts: Counter[str]) -> Iterator[None]:
    """Save a recording into a file, which appears under its name at the end of the block, however that ends.

    Args:
        recording: without a sink yet.
        path: of the file.
        counts: of the messages in it at the end, by role; for the last line.
    """
    new = path.with_name(f'.{path.name}.writing')
    try:
        if path.is_dir():
            raise IsADirectoryError('it is a folder')
        recording.save(new)
    except (RuntimeError, OSError) as error:
        raise OSError(f'--save: expected a file that can be written, received {path}: {error}') from error
    try:
        yield
    finally:
        try:
            recording.flush()  # raises where its thread could not write
            recording.disconnect()  # writes the end, and says nothing
            with new.open('ab') as file:
                _check_room(file)
            os.replace(new, path)
            _report(counts, path)
        except (RuntimeError, OSError) as error:
            new.unlink(missing_ok=True)
            raise OSError(f'--save: {path} cannot be written, is the disk full? {error}') from error


def _check_room(file: BinaryIO) -> None:
    """Raise OSError where a file cannot grow, and its end may thus be missing."""
    end = file.tell()
    file.write(bytes(_ROOM_BYTES))
    file.flush()
    file.truncate(end)


def _listen(wanted: Wanted, add: Callable[[str, Any], None]) -> None:
    rclpy.init(args=sys.argv)
    listener = Listener(wanted, add)
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    try:
        executor.spin()
    finally:
        executor.shutdown()
        listener.destroy_node()
        rclpy.try_shutdown()


def _report(counts: Counter[str], path: Path) -> None:
    what = ', '.join(f'{count} {role}' for role, count in counts.items()) or 'nothing'
    tell(f'{path}: {what}. Open it with: rerun {path} --web-viewer', sys.stdout)


if __name__ == '__main__':
    sys.exit(main())
