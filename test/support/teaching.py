"""`diffcut_teach` in a process of its own."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

from support.waiting import PATIENCE_S


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as free:
        return free.getsockname()[1]


@contextmanager
def teaching(folder, *arguments):
    """Run `diffcut_teach` in a folder, on a free port unless one is given; give its process and the page's address."""
    port = [] if '--port' in arguments else ['--port', free_port()]
    command = [sys.executable, '-m', 'diffcut_ros.teach.main', *map(str, [*arguments, *port])]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith('open http://'), line + process.stderr.read()
            yield process, line.split()[1]
        finally:
            process.kill()


def ask(address: str, path: str = '', data: bytes | None = None, **headers) -> tuple[int, str]:
    """Return status and text of what the page answers."""
    request = urllib.request.Request(address + path, data, {name.replace('_', '-'): v for name, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def do(address: str, action: str, **given) -> dict:
    """Do something as the page does; return its state afterwards."""
    origin = address.rstrip('/')
    data = json.dumps(given).encode()
    status, text = ask(address, f'do/{action}', data, Origin=origin, Content_Type='application/json')
    assert status == 200, text
    return json.loads(text)['state']


def state(address: str) -> dict:
    return json.loads(ask(address, 'state')[1])
