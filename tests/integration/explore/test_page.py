"""The guards of the page's server, the image links that may be loaded, the static page, and the command's refusals."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from unittest.mock import Mock

import duckdb
import httpx
import pytest
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from pipeline.explore import server
from pipeline.explore.images import frame, safe_link
from pipeline.explore.questions import QUESTIONS
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.workspace import drop, refresh

pytest.importorskip("marimo", reason="marimo is not installed: run `make setup`")

NAME = "<script>alert(1)</script>"


@pytest.fixture
def workspace(copy_of):
    """Ten sessions, one of them with a hostile name and link, published."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},elite-50,50\n" for i in range(10)))
        refresh(workspace)

    item = {
        "id": "i",
        "buyback_price": 9,
        "content": {"metadata": {"name": NAME, "image": "https://evil.example/a.png"}},
    }
    return copy_of("page", lambda: Simulator(delay_scale=0, hold=0, scripts={"s0": [fulfilled("s0", item)]}), build)


@contextlib.contextmanager
def served(token: str | None) -> Iterator[httpx.Client]:
    """The page's server on a free port of loopback, and a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(uvicorn.Config(server.application(token), log_level="error", lifespan="off"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def local() -> Iterator[httpx.Client]:
    with served(None) as client:
        yield client


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    with served("a-token") as client:
        yield client


def socket_is_refused(client: httpx.Client, headers: dict[str, str]) -> bool:
    """Whether the socket that drives the page is not opened for a page of that origin, or to a host of that name."""
    url = str(client.base_url.join("/ws?session_id=s")).replace("http://", "ws://")
    try:
        connect(url, additional_headers={k: v for k, v in headers.items() if k != "host"}).close()
    except InvalidStatus as refusal:
        return refusal.response.status_code == 403
    return False


def test_the_browser_may_load_nothing_from_elsewhere_and_runs_no_other_script(local):
    answer = local.get("/")
    assert answer.status_code == 200
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'self'"
    assert "unsafe" not in rules["script-src"]
    allowed = {source for rule in rules.values() for source in rule.split()}
    assert all(source in ("data:", "blob:") or source.startswith("'") for source in allowed)
    assert local.get("/favicon.ico").headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "rebound.example:2718"},
        {"host": "["},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:8080"},
    ],
)
def test_another_page_and_another_name_are_refused(headers, local):
    assert local.get("/", headers=headers).status_code == 403
    assert local.post("/api/kernel/set_ui_element_value", headers=headers).status_code == 403
    assert "host" in headers or socket_is_refused(local, headers)


def test_the_page_itself_is_answered(local):
    assert local.get("/", headers={"origin": str(local.base_url).rstrip("/")}).status_code == 200


def test_beyond_loopback_nothing_is_answered_without_the_token(shared):
    for path in ("/", "/api/version"):
        assert shared.get(path).status_code in (302, 303, 307, 401, 403), path
    assert shared.post("/api/kernel/function_call", json={}).status_code in (401, 403)
    assert socket_is_refused(shared, {})
    assert shared.get("/?access_token=another").status_code != 200
    assert shared.get("/?access_token=a-token", follow_redirects=True).status_code == 200


@pytest.mark.parametrize(
    ("host", "is_local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_only_loopback_needs_no_token(host, is_local):
    assert server.is_loopback(host) == is_local


@pytest.mark.parametrize(
    "link",
    [
        None,
        "",
        "http://a.example/x.png",
        "javascript:alert(1)",
        "data:image/png;base64,AA",
        "//a.example/x.png",
        "https:///x.png",
        "https://user@a.example/x.png",
        "https://a.example:port/x.png",
        "https://a.example/x.png; script-src *",
        "https://a.example/x.png\r\nSet-Cookie: a",
        "https://a.example/\"onerror='x'",
        "https://ä.example/x.png",
        "https://a.example/" + "x" * 3000,
    ],
)
def test_a_link_that_is_no_plain_https_link_is_never_loaded(link, local):
    assert safe_link(link) is None
    assert local.get("/image", params={"link": link or ""}).status_code == 404


def test_the_frame_of_an_image_may_load_that_image_only(local):
    link = "https://a.example/cards/x.png?size=2&a=b"
    answer = local.get("/image", params={"link": link})
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ") if " " in rule)
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "https://a.example/cards/x.png")
    assert 'src="https://a.example/cards/x.png?size=2&amp;a=b"' in answer.text
    assert "<script" not in frame(link)[0]


class Tags(HTMLParser):
    """The names of a page's elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_static_page_has_figures_pulls_and_answers_and_neither_scripts_nor_links(workspace, tmp_path):
    page = tmp_path / "page.html"
    done = phygitals_here("explore", "--export", str(page))
    assert done.returncode == 0, done.stderr
    found = Tags(page.read_text(encoding="utf-8"))
    assert found.names.isdisjoint(
        {"script", "link", "img", "iframe", "a", "form", "marimo-button", "marimo-ui-element"}
    )
    assert NAME in found.text
    for words in ("Win rate", "Figures by pack", "elite-50", *(question.title for question in QUESTIONS.values())):
        assert words in found.text
    assert "://" not in page.read_text(encoding="utf-8")


def test_the_static_page_is_not_written_into_the_data_directory(workspace):
    refused = phygitals_here("explore", "--export", str(workspace.data.root / "page.html"))
    assert_one_line_error(refused, "in the data directory")


def test_a_static_page_that_cannot_be_written_leaves_the_former_one(workspace, monkeypatch, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("former")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", Mock(side_effect=full))
    refused = phygitals_here("explore", "--export", str(page))
    assert_one_line_error(refused, "page.html could not be written and is unchanged", "No space left on device")
    assert (page.read_text(), [*tmp_path.glob(".page*")]) == ("former", [])


def test_without_marimo_the_command_says_how_to_install_it(workspace, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    for arguments in ([], ["--export", str(tmp_path / "page.html")]):
        assert_one_line_error(phygitals_here("explore", *arguments), "pip install 'phygitals-pipeline[explore]'")


def test_before_the_first_publication_the_command_says_what_to_do(configure):
    assert_one_line_error(phygitals_here("explore", "--port", "0"), "run `phygitals refresh` first")


def test_a_published_file_of_a_version_that_lacked_a_column_is_named(workspace, tmp_path):
    former = shutil.copy(workspace.data.warehouse, tmp_path / "former.duckdb")  # this process has the file open
    with duckdb.connect(former) as connection:
        connection.execute("ALTER TABLE pulls DROP COLUMN multiple")
    shutil.move(former, workspace.data.warehouse)
    refused = phygitals_here("explore", "--export", str(tmp_path / "page.html"))
    assert_one_line_error(refused, "cannot be explored", "run `phygitals refresh`, which publishes it again")


def test_a_port_that_is_taken_is_named(workspace):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_line_error(phygitals_here("explore", "--port", str(port)), f"127.0.0.1:{port} cannot be used")
