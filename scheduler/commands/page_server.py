"""The pages on the loopback interface: a list of results, and a form that starts a small run.

What protects it: it listens on 127.0.0.1 alone; every address begins with a secret token;
requests that name another host, or come from another origin, are refused; results are
addressed by number, so no part of an address ever becomes a path; pages carry a policy that
lets them ask nobody for anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

from scheduler.core.errors import FleetfitError
from scheduler.report.words import plain

MOST_FORM_BYTES: Final = 10_000
_STYLE: Final = """
:root { color-scheme: light dark; --paper: #f6f7f9; --card: #fff; --ink: #16202c; --line: #dde2e8;
  --accent: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --paper: #0f141a; --card: #171e26; --ink: #e8edf3;
  --line: #2a343f; --accent: #6fb1ff; } }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--paper); color: var(--ink); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } a { color: var(--accent); }
ul, form, pre { background: var(--card); border: 1px solid var(--line); border-radius: 0.6rem;
  padding: 1rem 1.2rem; } ul { list-style: none; }
li { margin: 0.3rem 0; overflow-wrap: anywhere; } small { opacity: 0.75; margin-left: 0.5rem; }
form { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 0.9rem;
  align-items: end; }
label { display: grid; gap: 0.2rem; font-size: 0.9rem; }
select, input, button { font: inherit; padding: 0.4rem 0.6rem; border: 1px solid var(--line);
  border-radius: 0.4rem; background: var(--paper); color: var(--ink); min-height: 2.5rem; }
button { background: var(--accent); color: var(--card); font-weight: 600; cursor: pointer; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form; `choices` makes it a list to choose from."""

    name: str
    label: str
    value: str
    choices: tuple[str, ...] = ()


@dataclass(slots=True)
class Task:
    """A run that the form started.

    Parameters
    ----------
    title : str
        What it plays.
    state : str
        ``running``, ``done`` or ``failed``.
    message : str
        Why it failed.
    shelf : str
        Name of its result among the results, once done.
    """

    title: str
    state: str = "running"
    message: str = ""
    shelf: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the server offers.

    Parameters
    ----------
    results : callable
        Returns names of results, each with a line about it.
    page : callable
        Returns the page of a result, given its name.
    fields : sequence of Field
        Of the form.
    start : callable
        Plays what the form says and returns the name of the new result; checks all of it.
    """

    results: Callable[[], Mapping[str, str]]
    page: Callable[[str], str]
    fields: Sequence[Field]
    start: Callable[[Mapping[str, str]], str]


@dataclass(slots=True)
class _State:
    shelf: Shelf
    token: str
    numbers: dict[str, int] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self, name: str) -> int:
        with self.lock:
            return self.numbers.setdefault(name, len(self.numbers))

    def name(self, number: int) -> str | None:
        with self.lock:
            return next((name for name, n in self.numbers.items() if n == number), None)


class PageServer(ThreadingHTTPServer):
    """Serves a shelf on the loopback interface until it is shut down.

    Parameters
    ----------
    shelf : Shelf
        What it offers.
    port : int
        0: any that is free.
    """

    daemon_threads = True

    def __init__(self, shelf: Shelf, port: int = 0) -> None:
        self.state = _State(shelf, secrets.token_urlsafe(24))
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Address of the first page, with the token."""
        return f"http://127.0.0.1:{self.port}/{self.state.token}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """What a request may name as its host."""
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that hung up."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "fleetfit"
    sys_version = ""
    timeout = 30

    def log_message(self, format: str, *args: object) -> None:
        """Write no log: addresses hold the token."""

    def do_GET(self) -> None:
        parts = self._parts()
        if parts is None:
            return
        match parts:
            case [""]:
                self._send(self._front())
            case ["result", number] if number.isdecimal() and len(number) < 9:
                self._result(int(number))
            case ["task", number] if number.isdecimal() and len(number) < 9:
                self._task(int(number))
            case _:
                self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        parts = self._parts()
        if parts is None:
            return
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            return self._refuse(HTTPStatus.FORBIDDEN)
        length = self.headers.get("Content-Length", "")
        if parts != ["start"] or not length.isdecimal() or int(length) > MOST_FORM_BYTES:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        form = {name: values[0] for name, values in parse_qs(text, max_num_fields=50).items()}
        state = self.server.state
        with state.lock:
            busy = any(task.state == "running" for task in state.tasks)
            if not busy:
                task = Task(plain(f"{form.get('workload', '')} on {form.get('topology', '')}"))
                state.tasks.append(task)
                number = len(state.tasks) - 1
        if busy:
            return self._send(_document("One at a time", "<p>Another run is being played.</p>"))
        threading.Thread(target=self._play, args=(task, form), daemon=True).start()
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", f"/{state.token}/task/{number}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _play(self, task: Task, form: Mapping[str, str]) -> None:
        try:
            task.shelf = self.server.state.shelf.start(form)
            task.state = "done"
        except FleetfitError as error:
            task.message, task.state = str(error), "failed"
        except Exception as error:  # the thread ends here: whatever it was is shown
            task.message, task.state = f"{type(error).__name__}: {error}", "failed"

    # --- pages ---------------------------------------------------------------------------

    def _front(self) -> str:
        state = self.server.state
        items = [
            f'<li><a href="result/{state.number(name)}"><bdi>{html.escape(plain(name, 200))}</bdi>'
            f"</a> <small><bdi>{html.escape(plain(line, 300))}</bdi></small></li>"
            for name, line in state.shelf.results().items()
        ]
        listed = f"<ul>{''.join(items)}</ul>" if items else "<p>No results here yet.</p>"
        fields = "".join(_field(f) for f in state.shelf.fields)
        form = f'<form method="post" action="start">{fields}<button>Play it</button></form>'
        return _document("fleetfit", f"<h2>Results</h2>{listed}<h2>A small run</h2>{form}")

    def _result(self, number: int) -> None:
        name = self.server.state.name(number)
        if name is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            return self._send(self.server.state.shelf.page(name), own_policy=False)
        except FleetfitError as error:
            return self._send(_document("Cannot be drawn", _quoted(str(error))))

    def _task(self, number: int) -> None:
        state = self.server.state
        if number >= len(state.tasks):
            return self._refuse(HTTPStatus.NOT_FOUND)
        task = state.tasks[number]
        back = '<p><a href="../">All results</a></p>'
        if task.state == "failed":
            return self._send(_document("It did not work", _quoted(task.message) + back))
        if task.state == "done":
            link = f'<p><a href="../result/{state.number(task.shelf)}">Look at it</a></p>'
            return self._send(_document("Done", f"<p>{html.escape(task.title)}</p>{link}{back}"))
        body = f"<p>Playing {html.escape(task.title)}; this page renews itself.</p>"
        return self._send(_document("At work", body, again_s=1))

    # --- what every answer has in common ---------------------------------------------------

    def _parts(self) -> list[str] | None:
        """Return what follows the token in the address; None after having refused."""
        if self.headers.get("Host", "") not in self.server.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        token, _, rest = self.path.lstrip("/").partition("/")
        expected = self.server.state.token
        if not hmac.compare_digest(token.encode(), expected.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return rest.split("/")

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(_document(status.phrase, ""), status=status)

    def _send(
        self, text: str, *, status: HTTPStatus = HTTPStatus.OK, own_policy: bool = True
    ) -> None:
        data = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if own_policy:
            digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
            policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"
            more = "form-action 'self'; frame-ancestors 'none'"
            self.send_header("Content-Security-Policy", f"{policy}; {more}")
        else:
            self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),  # with none, forms come from origin "null"
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _document(title: str, body: str, again_s: int = 0) -> str:
    renew = f'<meta http-equiv="refresh" content="{again_s}">' if again_s else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'{renew}<link rel="icon" href="data:,"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>{html.escape(title)}</h1>{body}"
        "</main></body></html>"
    )


def _field(f: Field) -> str:
    label = html.escape(f.label)
    name = html.escape(f.name)
    if f.choices:
        options = "".join(
            f"<option{' selected' if c == f.value else ''}>{html.escape(c)}</option>"
            for c in f.choices
        )
        return f'<label>{label}<select name="{name}">{options}</select></label>'
    return f'<label>{label}<input name="{name}" value="{html.escape(f.value)}"></label>'


def _quoted(message: str) -> str:
    lines = "\n".join(plain(line, 500) for line in message.splitlines())
    return f"<pre><bdi>{html.escape(lines)}</bdi></pre>"
