"""The page's server: what a browser may ask and tell, and which browsers may."""

import base64
import errno
import importlib.resources
import ipaddress
import json
import secrets
import socket
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from diffcut_ros.analysis.finest_cut import FinestCut
from diffcut_ros.printable import printable
from diffcut_ros.teach.frames import Frame
from diffcut_ros.teach.lesson import Lesson

# Ports that are tried, one after the other.
_PORTS = 50
# Of what a browser tells, bytes: a click is some dozens.
_MOST_BYTES = 100_000
_END_S = 2
# Frames that are asked for at once, at most.
MORE = 10
# What stands in commands for a number that people choose on the page.
MIN_CONFIDENCE = '{min_confidence}'
# What the page is made of: path -> file, its folder, type.
_FILES = {
    '/': ('page.html', 'teach.page', 'text/html'),
    **{
        f'/{name}.js': (f'{name}.js', 'teach.page', 'text/javascript')
        for name in ('page', 'dom', 'state', 'drawing', 'asking', 'panel', 'use')
    },
    '/page.css': ('page.css', 'teach.page', 'text/css'),
    '/hierarchy.js': ('hierarchy.js', 'analysis.report', 'text/javascript'),
    '/theme.css': ('theme.css', 'analysis.report', 'text/css'),
}
_HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}


@dataclass(frozen=True)
class Use:
    """How a node uses the names.

    Attributes:
        node: its full name.
        commands: title and text of each; `MIN_CONFIDENCE` in them stands for what the page's slider is set to.
        min_confidence: that the slider begins with.
    """

    node: str = '/diffcut'
    commands: tuple[tuple[str, str], ...] = ()
    min_confidence: float = 0.0


class FrameSource(Protocol):
    """Where frames are from."""

    start_ns: int  # the stamp that they are counted from

    @property
    def left(self) -> int:
        """How many there are beside those that were taken."""

    @property
    def notes(self) -> list[str]:
        """What people should know of them."""

    def take(self, count: int) -> Iterator[Frame]:
        """Yield more frames."""


class Page:
    """What the page shows and does.

    Args:
        lesson: what is taught.
        title: of the page, such as the recording's name.
        use: how a node uses the names.
        source: of frames.
        learn_anew: takes the examples of a file of another backend.
        offer: to do that, as text; empty: there is no such file.
    """

    def __init__(
        self, lesson: Lesson, title: str, use: Use, source: FrameSource, learn_anew: Callable[[], None], offer: str
    ) -> None:
        self.lesson, self.source = lesson, source
        self._title, self._use = title, use
        self._learn_anew, self._offer = learn_anew, offer
        self._random = np.random.default_rng()
        self._busy, self._one, self._work = '', threading.Lock(), threading.Thread()
        self._ended = False
        self._start = secrets.token_hex(8)

    def state(self) -> dict[str, Any]:
        """Return all that changes."""
        return self.lesson.state() | {
            'title': self._title,
            'node': self._use.node,
            'commands': [{'title': title, 'text': text} for title, text in self._use.commands],
            'min_confidence': self._use.min_confidence,
            'left': self._left(),
            'busy': self._busy,
            'notes': list(map(printable, self.source.notes)),
            'offer': self._offer,
            'key': self.key(),
        }

    def key(self) -> str:
        """Return what differs when the state does, also after another start."""
        return f'{self._start}-{self.lesson.version}-{self._busy}-{self._left()}'

    def _left(self) -> int:
        """Return how many frames there are that can be asked for at once: of a running node, more come all the time."""
        return min(self.source.left, MORE)

    def end(self) -> bool:
        """Begin nothing more; return whether nothing is being done any more."""
        self._ended = True
        if self._work.ident is not None:
            self._work.join(_END_S)
        return not self._work.is_alive()

    def do(self, action: str, given: dict[str, Any]) -> Any:
        """Do what somebody wants; return what there is to answer.

        Raises:
            ValueError: for what cannot be done.
        """
        lesson = self.lesson
        run = given.get('run')
        actions: dict[str, Callable[[], Any]] = {
            'teach': lambda: lesson.teach(
                _whole(given['frame']),
                _whole(given['x']),
                _whole(given['y']),
                None if run is None else (_whole(run[0]), _whole(run[1])),
                _text(given['name']),
            ),
            'remove': lambda: lesson.remove(_text(given['key'])),
            'rename': lambda: lesson.rename(_text(given['name']), _text(given['new'])),
            'forget': lambda: lesson.forget(_text(given['name'])),
            'undo': lesson.undo,
            'redo': lesson.redo,
            'save': lesson.save,
            'propose': lambda: self._place(lesson.proposal(_places(given['passed']))),
            'ask': lambda: self._place(lesson.question(self._random, _places(given.get('passed', [])))),
            'answer': lambda: lesson.answer(_whole(given['frame']), _whole(given['label']), _text(given['name'])),
            'ask_anew': lesson.forget_answers,
            'more': lambda: self._more_frames(_whole(given['count'])),
            'learn_anew': self._anew,
        }
        if action not in actions:
            raise ValueError(f'expected one of {", ".join(actions)}, received {action!r:.80}')
        try:
            return actions[action]()
        except (KeyError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f'{action}: expected what the page sends, received something else: {error!r}') from error

    def _place(self, found: tuple[int, int] | None) -> dict[str, Any] | None:
        if found is None:
            return None
        frame, label = found
        return {'frame': frame, 'label': label, 'point': self.lesson.frames[frame].places[label - 1].tolist()}

    def _more_frames(self, count: int) -> None:
        if not 0 < count <= MORE:
            raise ValueError(f'more frames: expected to be asked for 1 to {MORE}')

        def work() -> None:
            for frame in self.source.take(count):
                if self._ended:
                    return
                self.lesson.add([frame])

        self._begin(f'{count} more frames', work)

    def _anew(self) -> None:
        if not self._offer:
            raise ValueError('there is no file of another backend')

        def work() -> None:
            self._learn_anew()
            self._offer = ''

        self._begin('learning anew', work)

    def _begin(self, what: str, work: Callable[[], None]) -> None:
        """Begin something that takes a while; what comes of it is in the state once it is there.

        Raises:
            ValueError: while something else is being done.
        """
        with self._one:
            if self._busy:
                raise ValueError(f'expected to be asked once {self._busy} is done')
            self._busy = what

            def done() -> None:
                try:
                    work()
                except Exception as error:  # the page is there for whoever waits
                    self.lesson.tell(f'{what}: {error or type(error).__name__}')
                finally:
                    self._busy = ''

            self._work = threading.Thread(target=done, daemon=True)
            self._work.start()


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f'expected a whole number, received {value!r:.80}')
    return value


def _places(values: Any) -> list[tuple[int, int]]:
    return [(_whole(frame), _whole(label)) for frame, label in values]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f'expected a text, received {value!r:.80}')
    return value


def frame_data(frame: Frame, start_ns: int) -> dict[str, Any]:
    """Return a frame for the page, as JSON; maps are 16 bits per pixel by zlib, as in the report."""
    cut: FinestCut = frame.cut
    at_s = (frame.stamp_ns - start_ns) / 1e9
    return {
        'at': f'{at_s:,.1f}\u00a0s',
        'at_s': at_s,
        'size': frame.labels.shape[::-1],
        'whole': frame.size_wh,
        'tau': frame.tau,
        'connected': frame.connected,
        'parts': _packed(cut.parts),
        'taus': cut.taus.tolist(),
        'labels': _packed(frame.labels),
        'places': frame.places.tolist(),
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(values.astype('<u2').tobytes(), 1)).decode()


def application(page: Page, address: str) -> Any:
    """Return the page as an ASGI application.

    Args:
        page: what it does.
        address: that it is served at.
    """

    def file(request: Request) -> Response:
        name, folder, kind = _FILES[request.url.path]
        text = importlib.resources.files(f'diffcut_ros.{folder}').joinpath(name).read_text(encoding='utf-8')
        return Response(text, media_type=kind)

    def state(request: Request) -> Response:
        page.lesson.follow()
        if request.query_params.get('key') == page.key():
            return Response(status_code=204)
        return JSONResponse(page.state())

    def frame(request: Request) -> Response:
        frames = page.lesson.frames
        index = request.path_params['index']
        if index >= len(frames):
            return _problem(404, f'frame: expected one of {len(frames)}, received {index}')
        if request.url.path.startswith('/image'):
            return Response(frames[index].image_jpeg, media_type='image/jpeg')
        return JSONResponse(frame_data(frames[index], page.source.start_ns))

    async def do(request: Request) -> Response:
        try:
            given = json.loads(await _body(request))
            if not isinstance(given, dict):
                raise ValueError('expected an object')
        except (ValueError, RecursionError) as error:
            return _problem(400, f'expected JSON of at most {_MOST_BYTES} bytes, received something else: {error}')
        return await run_in_threadpool(done, request.path_params['action'], given)

    def done(action: str, given: dict[str, Any]) -> Response:
        try:
            answer = page.do(action, given)
        except ValueError as error:
            return _problem(400, str(error))
        return JSONResponse({'answer': answer, 'state': page.state()})

    routes = [Route(path, file) for path in _FILES]
    routes += [
        Route('/state', state),
        Route('/frame/{index:int}', frame),
        Route('/image/{index:int}', frame),
        Route('/do/{action}', do, methods=['POST']),
    ]
    return _guarded(Starlette(routes=routes), address)


async def _body(request: Request) -> bytes:
    body = b''
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ValueError('more')
    return body


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({'error': text}, status)


Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def _guarded(inner: Any, address: str) -> Any:
    """Return an application that answers this page's own requests alone; see `refusal`."""

    async def guarded(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await inner(scope, receive, send)
            return
        headers = {name.decode('latin-1'): value.decode('latin-1') for name, value in scope['headers']}
        why = refusal(scope['method'], headers, address)

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message['type'] == 'http.response.start':
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message['headers'] = [*message.get('headers', []), *more]
            await send(message)

        await (_problem(403, why) if why else inner)(scope, receive, with_headers)

    return guarded


def refusal(method: str, headers: dict[str, str], address: str) -> str:
    """Say why a request is refused; empty: it is not.

    A page elsewhere may send requests here by the browser of whoever visits it. It cannot set the Origin, which has to
    be this page's own wherever something is changed; and where it has its own name lead here (DNS rebinding), the Host
    is that name.

    Args:
        method: of the request.
        headers: of the request; names in lower case.
        address: that the page is served at.
    """
    host = headers.get('host', '')
    name = host.rpartition(':')[0] if not host.endswith(']') and ':' in host else host
    if not _own(name.strip('[]').lower(), address):
        return f'expected a request to this page by its address, received one to {host!r:.80}'
    if method in ('GET', 'HEAD'):
        return ''
    origin = headers.get('origin', '')
    if origin.lower() != f'http://{host}'.lower():
        return f'expected a request of this page itself, received one of {origin!r:.80}'
    if headers.get('content-type', '').partition(';')[0] != 'application/json':
        return 'expected JSON'
    return ''


def _own(name: str, address: str) -> bool:
    """Whether a host is this machine by a name that nobody else can give it."""
    if name == 'localhost':
        return True
    try:
        asked, own = ipaddress.ip_address(name), ipaddress.ip_address(address)
    except ValueError:
        return False
    return asked.is_loopback or asked == own or own.is_unspecified


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens on a port, or on the next one that is free.

    Raises:
        OSError: where none is, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    for tried in range(port, min(port + _PORTS, 65536)):
        made = socket.socket(family)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, tried))
            made.listen()
            return made
        except OSError as error:
            made.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise OSError(f'{address}: expected an address of this machine to listen on: {error}') from error
    raise OSError(f'{address}: expected a free port from {port} on, found none among {_PORTS}; take another --port')


@contextmanager
def serving(page: Page, listening: socket.socket) -> Iterator[None]:
    """Serve a page while inside, in a thread."""
    config = uvicorn.Config(
        application(page, listening.getsockname()[0]),
        log_level='error',
        lifespan='off',
        server_header=False,
        timeout_graceful_shutdown=_END_S,
        http='h11',
        ws='none',
        loop='asyncio',
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _END_S)
        page.end()
