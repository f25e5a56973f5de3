"""A model hub on this machine: serves folders as the Hugging Face Hub serves repositories, over real HTTP."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = 'c0ffee' + '0' * 34


class Hub:
    """What the server serves, and what it was asked for.

    Attributes:
        models: model id -> folder.
        sent: (path, first byte, bytes) of each file sent, also in part.
        fails_at: bytes of a file after which the server breaks down, until this is set to None.
        stalls: instead of breaking down it waits until this is set.
        refuses: names of files that it does not give.
        gated: ids of models whose files it gives to nobody, as if their licence had to be accepted.
    """

    def __init__(self, models: dict[str, Path]) -> None:
        self.models = models
        self.sent: list[tuple[str, int, int]] = []
        self.fails_at: int | None = None
        self.stalls: threading.Event | None = None
        self.refuses: set[str] = set()
        self.gated: set[str] = set()
        self.url = ''


@contextmanager
def serve(models: dict[str, Path]):
    """Serve models until the end of the `with`; yields the `Hub`."""
    hub = Hub(models)
    handler = type('Handler', (_Handler,), {'hub': hub})
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    server.daemon_threads = True
    hub.url = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition('?')[0]
        if match := re.fullmatch(r'/api/models/([\w.-]+/[\w.-]+)(/revision/[\w]+)?', path):
            self._folder(match[1], self._info)
        elif match := re.fullmatch(r'/api/models/([\w.-]+/[\w.-]+)/tree/\w+', path):
            self._folder(match[1], self._tree)
        elif match := re.fullmatch(r'/([\w.-]+/[\w.-]+)/resolve/\w+/(.+)', path):
            if match[1] in self.hub.gated:
                self._answer(401, b'', {'X-Error-Code': 'GatedRepo', 'X-Error-Message': 'Access is restricted'})
                return
            self._folder(match[1], lambda _, folder: self._file(folder / match[2], match[2]))
        else:
            self._answer(404, b'{}')

    def _folder(self, model_id, answer):
        if model_id in self.hub.models:
            answer(model_id, self.hub.models[model_id])
        else:
            self._answer(401, b'{"error": "Repository not found"}', {'X-Error-Code': 'RepoNotFound'})

    def _info(self, model_id, folder):
        files = [{'rfilename': name, 'size': (folder / name).stat().st_size} for name in _files(folder)]
        info = {'id': model_id, 'sha': COMMIT, 'private': False, 'tags': [], 'downloads': 0, 'siblings': files}
        self._answer(200, json.dumps(info).encode())

    def _tree(self, _, folder):
        entries = [
            {'type': 'file', 'path': name, 'size': (folder / name).stat().st_size, 'oid': _digest(folder / name)}
            for name in _files(folder)
        ]
        self._answer(200, json.dumps(entries).encode())

    def _file(self, path, name):
        if name in self.hub.refuses:
            self._answer(503, b'')
            return
        if not path.is_file():
            self._answer(404, b'', {'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': COMMIT})
            return
        content = path.read_bytes()
        wanted = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        first = int(wanted[1]) if wanted else 0
        headers = {'ETag': f'"{_digest(path)}"', 'X-Repo-Commit': COMMIT, 'Accept-Ranges': 'bytes'}
        if wanted:
            headers['Content-Range'] = f'bytes {first}-{len(content) - 1}/{len(content)}'
        self._answer(206 if wanted else 200, content[first:], headers, name, first)

    def _answer(self, status, body, headers=None, name='', first=0):
        limit = self.hub.fails_at
        self.send_response(status)
        for key, value in {'Content-Type': 'application/json', **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command == 'HEAD':
            return
        broken = limit is not None and first + len(body) > limit and bool(name)
        part = body[: max(0, limit - first)] if broken else body
        if name:
            self.hub.sent.append((name, first, len(part)))
        self.wfile.write(part)
        if broken:
            if self.hub.stalls:
                self.hub.stalls.wait(300)
            self.close_connection = True


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def _digest(path: Path) -> str:
    # As there: the SHA-256 of a large file, something shorter of others.
    kind = hashlib.sha256 if path.suffix == '.safetensors' else hashlib.sha1
    return kind(path.read_bytes()).hexdigest()
