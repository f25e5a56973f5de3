"""Rerun's viewer in a browser: the data are served by this process, the page by rerun's own program."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from diffcut_ros.media.rerun_scene import load_rerun

# Nobody else on the network sees the camera.
_HOST = '127.0.0.1'
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0


@contextmanager
def serve(recording: Any, port: int) -> Iterator[str]:
    """Serve a recording and the page that shows it, to this machine alone; yield the page's address.

    Args:
        recording: a `rerun.RecordingStream`.
        port: of the page; data are on the next one.

    Raises:
        OSError: when a port is taken or the page cannot be served.
    """
    for number in (port, port + 1):
        _check_free(number)
    rerun = load_rerun()
    recording.set_sinks(rerun.GrpcServerSink(_HOST, port + 1))
    data = f'rerun+http://{_HOST}:{port + 1}/proxy'
    # `rerun.serve_web_viewer` would do, but listens on all of the machine's addresses.
    import rerun_cli

    program = Path(rerun_cli.__file__).parent / 'rerun'
    command = [program, '--serve-web', '--bind', _HOST, '--web-viewer-port', str(port), data]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_served(process, port)
        yield f'http://{_HOST}:{port}/?url={quote(data, safe="")}'
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check_free(port: int) -> None:
    with closing(socket.socket()) as probe:
        # As servers do: a port that was used a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, 'strerror', None) or error
            raise OSError(
                f'--port: expected it and the next one free, received {port}: {reason}; choose another'
            ) from error


def _wait_until_served(process: subprocess.Popen, port: int) -> None:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise OSError(f'the page of the viewer: expected it on port {port}, received nothing: choose another --port')
