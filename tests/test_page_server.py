"""`fleetfit ui`: who may look, at what, and what the form refuses."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from scheduler.commands.page_server import Field, PageServer, Shelf
from scheduler.commands.showing import shelf_of
from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.io import write_run
from scheduler.simulate import simulate

NAME = "</a><script>alert(1)</script>"


class Visitor:
    """Asks a server as a browser would."""

    def __init__(self, server: PageServer) -> None:
        self.server = server
        self.token = server.state.token

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: str = "",
        host: str | None = None,
        **headers: str,
    ) -> tuple[int, str, dict[str, str]]:
        link = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        named = {"Host": f"127.0.0.1:{self.server.port}" if host is None else host} | headers
        link.putrequest(method, path, skip_host=True)
        for name, value in named.items():
            link.putheader(name, value)
        if body:
            link.putheader("Content-Length", str(len(body)))
        link.endheaders(body.encode() if body else None)
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        return answer.status, text, dict(answer.getheaders())

    def get(self, rest: str = "") -> tuple[int, str, dict[str, str]]:
        return self.ask(f"/{self.token}/{rest}")


def visit(shelf: Shelf) -> Iterator[Visitor]:
    server = PageServer(shelf)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield Visitor(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def started() -> list[dict[str, str]]:
    return []


@pytest.fixture
def visitor(started: list[dict[str, str]]) -> Iterator[Visitor]:
    def start(form: dict[str, str]) -> str:  # type: ignore[type-arg]
        started.append(dict(form))
        if form.get("topology") == "bad":
            raise InputError([Fault("unknown name", "topology", value=NAME)])
        return "b"

    shelf = Shelf(
        lambda: {"a": NAME, "b": "2 runs"},
        lambda name: f"page of {name}",
        [Field("topology", "Fleet", "x", ("x", NAME)), Field("load", NAME, NAME)],
        start,  # type: ignore[arg-type]
    )
    yield from visit(shelf)


class TestWhoMayLook:
    def test_with_the_token_the_results_are_listed_as_text(self, visitor: Visitor) -> None:
        status, text, headers = visitor.get()
        assert status == 200
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha")
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", ["/", "/wrong/", "", "/wrong/result/0", "/../", "//"])
    def test_without_it_there_is_nothing(self, visitor: Visitor, path: str) -> None:
        status, text, _ = visitor.ask(path or "/x")
        assert status == 404
        assert visitor.token not in text

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example:80"]
    )
    def test_no_other_host_is_served(self, visitor: Visitor, host: str) -> None:
        assert visitor.ask(f"/{visitor.token}/", host=host)[0] == 421

    def test_localhost_is_the_same(self, visitor: Visitor) -> None:
        assert visitor.ask(f"/{visitor.token}/", host=f"localhost:{visitor.server.port}")[0] == 200

    def test_it_listens_on_the_loopback_interface_alone(self, visitor: Visitor) -> None:
        assert visitor.server.server_address[0] == "127.0.0.1"

    def test_tokens_differ(self) -> None:
        shelf = Shelf(dict, str, [], lambda form: "")
        tokens = set()
        for _ in range(3):
            with PageServer(shelf) as server:
                tokens.add(server.state.token)
        assert len(tokens) == 3
        assert min(map(len, tokens)) >= 32

    @pytest.mark.parametrize(
        "rest",
        ["result/../../etc/passwd", "result/%2e%2e%2fetc", "result/-1", "result/9", "result/a",
         "result/0/", "result/00000000000000000001", "task/0", "result/¹", "x", "result"],
    )  # fmt: skip
    def test_only_numbers_it_has_given_are_results(self, visitor: Visitor, rest: str) -> None:
        visitor.get()
        assert visitor.ask(f"/{visitor.token}/{rest.encode('ascii', 'ignore').decode()}")[0] == 404

    def test_a_result_is_served(self, visitor: Visitor) -> None:
        visitor.get()
        assert visitor.get("result/1")[:2] == (200, "page of b")

    def test_nonsense_does_not_stop_it(self, visitor: Visitor) -> None:
        for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x00\xff" * 50 + b"\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", visitor.server.port), timeout=30) as link:
                link.sendall(nonsense)
        assert visitor.get()[0] == 200


class TestForm:
    def post(self, visitor: Visitor, body: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        return visitor.ask(f"/{visitor.token}/start", method="POST", body=body, **headers)

    def test_it_starts_a_run_and_leads_to_it(
        self, visitor: Visitor, started: list[dict[str, str]]
    ) -> None:
        status, _, headers = self.post(visitor, urlencode({"topology": "x", "load": "0.5"}))
        assert status == 303
        where = headers["Location"].removeprefix(f"/{visitor.token}/")
        for _ in range(1000):
            status, text, _ = visitor.get(where)
            if "At work" not in text:
                break
        assert started == [{"topology": "x", "load": "0.5"}]
        assert "../result/" in text

    def test_faults_are_shown_as_text(self, visitor: Visitor) -> None:
        _, _, headers = self.post(visitor, urlencode({"topology": "bad", "workload": NAME}))
        where = headers["Location"].removeprefix(f"/{visitor.token}/")
        for _ in range(1000):
            text = visitor.get(where)[1]
            if "At work" not in text:
                break
        assert "unknown name" in text
        assert "<script>alert" not in text

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1"])
    def test_other_origins_are_refused(
        self, visitor: Visitor, started: list[dict[str, str]], origin: str
    ) -> None:
        assert self.post(visitor, "topology=x", Origin=origin)[0] == 403
        assert not started

    def test_large_and_lost_forms_are_refused(
        self, visitor: Visitor, started: list[dict[str, str]]
    ) -> None:
        lost = visitor.ask(f"/{visitor.token}/", method="POST", body="topology=x")
        assert lost[0] == 400
        path = f"/{visitor.token}/start"
        large = visitor.ask(path, method="POST", **{"Content-Length": "10001"})
        assert large[0] == 400
        assert not started

    def test_other_methods_are_not_known(self, visitor: Visitor) -> None:
        for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
            assert visitor.ask(f"/{visitor.token}/", method=method)[0] == 501


class TestShelf:
    def test_it_lists_runs_and_nothing_else(self, small_problem: Problem, tmp_path: Path) -> None:
        run = simulate(small_problem, "fifo", horizon_s=7200.0)
        (tmp_path / "many").mkdir()
        write_run(run, tmp_path / "many" / "fifo-0.json")
        write_run(run, tmp_path / "one.json")
        (tmp_path / "other.json").write_text('{"schema": "schedule/1"}')
        (tmp_path / "empty").mkdir()
        (tmp_path / "sweep").mkdir()
        (tmp_path / "sweep" / "grid.json").write_text("{}")
        (tmp_path / "link").symlink_to("/etc")
        (tmp_path / ".hidden").mkdir()
        assert shelf_of(tmp_path).results() == {
            "many": "1 run",
            "one.json": "one run",
            "sweep": "a sweep",
        }

    def test_a_name_that_is_not_listed_is_no_page(self, tmp_path: Path) -> None:
        for name in ("../x", "/etc/passwd", "", "."):
            with pytest.raises(InputError, match="no longer there"):
                shelf_of(tmp_path).page(name)

    def test_a_form_says_every_fault(self, tmp_path: Path) -> None:
        form = {"topology": "../x", "workload": "y", "policies": "fifo,nope", "replays": "99",
                "load": "-1"}  # fmt: skip
        with pytest.raises(InputError) as found:
            shelf_of(tmp_path).start(form)
        assert len(found.value.faults) == 5
        assert not [*tmp_path.iterdir()]

    def test_a_small_run_becomes_a_result(self, tmp_path: Path) -> None:
        form = {"topology": "lab-mixed-64", "workload": "llm-lab", "policies": "fifo",
                "replays": "1", "load": "0.6"}  # fmt: skip
        shelf = shelf_of(tmp_path)
        name = shelf.start(form)
        assert shelf.results() == {name: "1 run"}
        assert "<!doctype html>" in shelf.page(name)
