"""The page in a real browser: drawn, filtered, zoomed, searched, printed, at three widths."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, Page, find
from sample import HOSTILE, contents, hostile, sample

from scheduler.commands.page_server import Field, PageServer, Shelf
from scheduler.report.page import Contents, page_html, write_page

BASELINES = Path(__file__).parent / "baselines"
UPDATE = "FLEETFIT_UPDATE_PICTURES"
SIZES = {"phone": (390, 1500, 0.45), "laptop": (1366, 1700, 0.25), "wall": (3840, 2160, 0.12)}
MEAN_TOLERANCE = 4.0
"""Mean difference of a channel, of 255, that other fonts explain."""
CELL_TOLERANCE, CELLS_TOLERATED = 48, 0.03

AXE = "axe-core@4.10.3"
SECTIONS = ("overview", "idle", "schedule", "fleet", "power", "proof")


WITHOUT = "needs a Chromium (apt-get install chromium)"


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    """One browser for all tests of a worker."""
    if find() is None:
        pytest.skip(WITHOUT)
    with Chromium() as found:
        yield found


@pytest.fixture
def page(browser: Chromium) -> Iterator[Page]:
    """A fresh tab, which must not have complained or asked for anything in the end."""
    tab = browser.page()
    tab.view(1366, 768)
    yield tab
    complaints, requests = tab.complaints(), tab.requests()
    tab.close()
    assert not complaints
    assert not requests


@pytest.fixture(scope="session")
def sample_contents() -> Contents:
    """Two policies, two replays each, one of each drawn."""
    return contents(*sample())


@pytest.fixture(scope="session")
def sample_page(sample_contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sample."""
    path = tmp_path_factory.mktemp("pages") / "sample.html"
    write_page(sample_contents, path)
    return path


@pytest.fixture(scope="session")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with hostile names."""
    path = tmp_path_factory.mktemp("pages") / "hostile.html"
    write_page(contents(*hostile(*sample())), path)
    return path


def text(page: Page, selector: str) -> str:
    found: str = page.run(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def data(page: Page, selector: str) -> dict[str, str]:
    found: dict[str, str] = page.run(
        f"({{...document.querySelector({json.dumps(selector)}).dataset}})"
    )
    return found


def span(page: Page) -> tuple[float, float]:
    low, _, high = data(page, "#gantt canvas")["span"].partition(":")
    return float(low), float(high)


def go_to(page: Page, section: str) -> None:
    """Follow the link of a section and wait until it is drawn."""
    page.run(f"document.querySelector('nav a[href=\"#{section}\"]').click()")
    drawn = {
        "idle": "document.querySelector('#heat canvas').dataset.rows",
        "schedule": "document.querySelector('#gantt canvas').dataset.bars",
        "fleet": "document.querySelector('#network canvas').dataset.lit",
        "power": "document.querySelector('#energy svg')",
    }
    page.until(f"document.body.dataset.settled && !!({drawn.get(section, 'true')})")


def heat_cell(page: Page, row: float, share: float) -> tuple[float, float]:
    """Return the place of a cell of the heat map: rows from the top in units of its height."""
    box = page.box("#heat canvas")
    return box["x"] + box["width"] * share, box["y"] + box["height"] * row


COMPARE = """
async (first, second) => {
  const read = async (data) => {
    const image = new Image();
    image.src = "data:image/png;base64," + data;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [120, 150];
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, 120, 150);
    return [pen.getImageData(0, 0, 120, 150).data, image.width, image.height];
  };
  const [[a, ...sizeA], [b, ...sizeB]] = await Promise.all([read(first), read(second)]);
  let sum = 0, far = 0;
  for (let i = 0; i < a.length; i++) {
    const away = Math.abs(a[i] - b[i]);
    sum += away;
    if (away > CELL_TOLERANCE) far++;
  }
  return { mean: sum / a.length, far: far / a.length, sizes: String(sizeA) === String(sizeB) };
}
""".replace("CELL_TOLERANCE", str(CELL_TOLERANCE))


LETTERS = """
(() => {
  const pen = document.createElement("canvas").getContext("2d");
  return ["16px system-ui", "650 25px system-ui", "14px ui-monospace, monospace"].map((font) => {
    pen.font = `${font}, sans-serif`;
    return Math.round(pen.measureText("Waste: idle or held in vain, 0123456789 %").width);
  });
})()
"""
"""Widths of a line in the page's fonts: other fonts wrap lines elsewhere, so pictures differ."""


class TestWidthsAndThemes:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("size", SIZES)
    def test_it_looks_as_it_did(self, page: Page, sample_page: Path, size: str, theme: str) -> None:
        width, height, scale = SIZES[size]
        page.view(width, height, theme=theme)
        page.open(sample_page)
        page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.run("document.documentElement.scrollWidth") == width  # nothing sticks out
        assert page.run("document.documentElement.dataset.theme") == theme
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        found = page.call("Page.captureScreenshot", format="png", clip=clip)["data"]
        baseline = BASELINES / f"{size}-{theme}.png"
        letters, kept = page.run(LETTERS), BASELINES / "letters.json"
        if os.environ.get(UPDATE):
            BASELINES.mkdir(exist_ok=True)
            baseline.write_bytes(base64.b64decode(found))
            kept.write_text(json.dumps(letters) + "\n")
        if json.loads(kept.read_text()) != letters:
            pytest.skip("needs the fonts that the baselines were made with")
        known = base64.b64encode(baseline.read_bytes()).decode()
        away = page.run(f"({COMPARE})({json.dumps(found)}, {json.dumps(known)})")
        assert away["sizes"]
        assert away["mean"] <= MEAN_TOLERANCE, away
        assert away["far"] <= CELLS_TOLERATED, away

    def test_baselines_are_small(self) -> None:
        sizes = {path.name: path.stat().st_size for path in BASELINES.glob("*.png")}
        assert len(sizes) == 6
        assert max(sizes.values()) <= 60_000

    @pytest.mark.parametrize("width", [390, 1366, 3840])
    def test_every_section_fits_and_draws(self, page: Page, sample_page: Path, width: int) -> None:
        page.view(width, 900)
        page.open(sample_page)
        for section in SECTIONS:
            go_to(page, section)
            assert page.run("document.documentElement.scrollWidth") <= width
            assert page.run(f"document.getElementById('{section}').offsetHeight") > 50

    def test_the_button_changes_the_theme(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        before = page.run("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.run("document.documentElement.dataset.theme") == "dark"
        assert page.run("getComputedStyle(document.body).backgroundColor") != before


class TestFilters:
    def test_a_cell_of_the_heat_map_filters_everything(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        go_to(page, "schedule")
        whole = span(page)
        go_to(page, "idle")
        before = text(page, "#blocks")
        page.drag(*heat_cell(page, 0.19, 0.3), *heat_cell(page, 0.19, 0.42))
        chips = page.until("document.querySelectorAll('#chips .chip').length")
        assert chips == 4  # type, cause, time, and all of them
        found = text(page, "#chips")
        assert "Alpha" in found
        assert re.search(r"\d\d:\d\d to \d\d:\d\d", found)
        assert text(page, "#blocks") != before
        assert "Alpha" in text(page, "#waterfall-card .scope")
        go_to(page, "schedule")
        page.until(
            f"document.querySelector('#gantt canvas').dataset.span != '{whole[0]:g}:{whole[1]:g}'"
        )
        low, high = span(page)
        assert high - low < (whole[1] - whole[0]) / 2
        page.click("#chips .chip:last-child")
        page.until("!document.querySelector('#chips .chip')")
        page.until(
            f"document.querySelector('#gantt canvas').dataset.span == '{whole[0]:g}:{whole[1]:g}'"
        )

    def test_a_cause_of_the_waterfall_filters(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        page.click("[data-cause=gang_wait]")
        assert text(page, "#chips .chip").startswith("gang_wait")
        assert page.run("document.querySelector('[data-cause=gang_wait]').ariaPressed") == "true"
        items = page.run("[...document.querySelectorAll('#todo li')].map((e) => e.textContent)")
        assert items
        assert all("gang_wait" in item for item in items)
        page.click("[data-cause=gang_wait]")
        assert not page.run("!!document.querySelector('#chips .chip')")

    def test_a_row_of_the_policies_chooses_the_run(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        page.click("[data-policy='1']")
        assert page.run("document.getElementById('run').value") == "1"
        assert "replay of second" in text(page, "#policies-note")

    def test_every_figure_stands_beside_every_policy(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        assert not page.run("document.getElementById('metrics').childElementCount")
        page.run("document.querySelector('#metrics-card summary').focus()")
        page.key("Enter")
        page.until("document.querySelector('#metrics table')")
        titles = page.run("[...document.querySelectorAll('#metrics h4')].map((h) => h.innerText)")
        assert titles[:4] == ["Completion time", "Queueing", "Slowdown", "Finish-time ratio"]
        policies = page.run("document.querySelectorAll('#policies tbody tr').length")
        assert page.run("document.querySelectorAll('#metrics tbody')[0].rows.length") == policies
        cells = (
            "[...document.querySelector('{}').tBodies[0].rows].map((r) => r.cells[{}].innerText)"
        )
        p99 = page.run(cells.format("#policies table", 6))
        assert page.run(cells.format("#metrics table", 5)) == p99
        assert "Makespan" in text(page, "#metrics")

    def test_the_heat_map_works_by_keyboard(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        go_to(page, "idle")
        page.run("document.querySelector('#heat canvas').focus()")
        page.key("ArrowRight")
        first = text(page, "#live")
        assert first.startswith("Alpha, policy, 00:00")
        page.key("ArrowRight")
        assert text(page, "#live").startswith("Alpha, policy, 01:00")
        page.key("ArrowDown")
        assert text(page, "#live") != first
        page.key("Enter")
        page.until("document.querySelectorAll('#chips .chip').length === 4")
        page.key("Escape")
        page.until("!document.querySelector('#chips .chip')")


class TestSchedule:
    def test_zoom_and_pan(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        go_to(page, "schedule")
        low, high = span(page)
        page.click("#zoom-in")
        a, b = span(page)
        assert (b - a) / (high - low) == pytest.approx(0.6)
        assert (a + b) / 2 == pytest.approx((low + high) / 2)
        box = page.box("#gantt canvas")
        x, y = box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2
        page.drag(x, y, x - 120, y)
        c, d = span(page)
        assert c > a
        assert d - c == pytest.approx(b - a)
        page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-240, modifiers=2)
        page.until(f"document.querySelector('#gantt canvas').dataset.span != '{c}:{d}'")
        e, f = span(page)
        assert f - e < d - c
        page.run("document.querySelector('#gantt canvas').focus()")
        page.key("ArrowLeft")
        assert span(page)[0] < e
        page.click("#zoom-all")
        assert span(page) == (low, high)

    def test_search_finds_a_job_and_lights_its_placement(
        self, page: Page, sample_page: Path, sample_contents: Contents
    ) -> None:
        columns = sample_contents.data["runs"][0]
        gang = max(range(len(columns["bars"]["job"])), key=lambda i: columns["bars"]["size"][i])
        job = columns["bars"]["job"][gang]
        name = columns["jobs"]["id"][job]
        page.open(sample_page)
        page.run("document.getElementById('find').focus()")
        page.call("Input.insertText", text=name.upper())
        page.until(f"document.querySelector('#found [data-job=\"{job}\"]')")
        page.key("Enter")
        page.until("document.querySelector('#job-card dl')")
        card = text(page, "#job-card")
        assert name in card
        assert "Allocation 1" in card
        assert f"job {name}" in text(page, "#chips")
        go_to(page, "fleet")
        lit = page.until("Number(document.querySelector('#network canvas').dataset.lit)")
        assert lit == columns["bars"]["size"][gang] > 1

    def test_a_bar_can_be_chosen(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        go_to(page, "schedule")
        box = page.box("#gantt canvas")
        for share in (0.5, 0.4, 0.6, 0.3, 0.7):
            x, y = box["x"] + box["width"] * share, box["y"] + box["height"] * 0.6
            page.drag(x, y, x, y)
            if page.run("!!document.querySelector('#job-card dl')"):
                break
        assert "Released" in text(page, "#job-card")
        assert page.run("document.getElementById('tip').hidden") is False

    def test_rows_can_be_domains(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        go_to(page, "schedule")
        assert data(page, "#gantt canvas")["binned"] == "false"
        page.run(
            "(() => { const e = document.getElementById('gantt-rows'); e.value = '1';"
            " e.dispatchEvent(new Event('change')); })()"
        )
        assert data(page, "#gantt canvas")["binned"] == "true"

    def test_too_many_bars_become_shares_until_zoomed(
        self, page: Page, sample_contents: Contents, tmp_path: Path
    ) -> None:
        many = copy.deepcopy(dict(sample_contents.data))
        run = many["runs"][0]
        run["bars"] = times(run["bars"], 70)
        write_page(replace(sample_contents, data=many), tmp_path / "many.html")
        page.open(tmp_path / "many.html")
        go_to(page, "schedule")
        found = data(page, "#gantt canvas")
        assert int(found["bars"]) > 5000
        assert found["binned"] == "true"
        for _ in range(9):
            page.click("#zoom-in")
        found = data(page, "#gantt canvas")
        assert int(found["bars"]) <= 5000
        assert found["binned"] == "false"


def times(bars: dict[str, Any], copies: int) -> dict[str, Any]:
    """Return the columns with every bar repeated."""
    out: dict[str, Any] = {name: [] for name in bars}
    node = counted = 0
    for i, size in enumerate(bars["size"]):
        used = 1 if bars["counts"][counted] < 0 else size
        for copy_number in range(copies):
            for name in ("job", "length", "overhead", "ended", "efficiency", "size"):
                out[name].append(bars[name][i])
            out["start"].append(bars["start"][i] if not copy_number else 0)
            out["nodes"] += bars["nodes"][node : node + size]
            out["counts"] += bars["counts"][counted : counted + used]
        node += size
        counted += used
    return out


class TestPrinting:
    def test_paper_is_light_and_has_every_section(self, page: Page, sample_page: Path) -> None:
        page.view(1366, 768, theme="dark")
        page.open(sample_page)
        page.media("print", "dark")
        page.until("document.documentElement.dataset.theme === 'light'")
        assert page.run("getComputedStyle(document.querySelector('.bar')).display") == "none"
        for canvas in ("#heat", "#gantt", "#network"):
            assert page.run(f"document.querySelector('{canvas} canvas').height") > 50
        assert page.run("document.querySelectorAll('#energy svg').length") == 4
        page.media("screen", "dark")
        page.until("document.documentElement.dataset.theme === 'dark'")

    @pytest.mark.parametrize("width", [390, 1366, 3840])
    def test_it_prints(self, page: Page, sample_page: Path, width: int) -> None:
        page.view(width, 900)
        page.open(sample_page)
        pdf = page.printed()
        assert pdf.startswith(b"%PDF-")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12


class TestHostileNames:
    def test_they_are_text_everywhere(self, page: Page, hostile_page: Path) -> None:
        page.view(1366, 900)
        page.open(hostile_page)
        for section in SECTIONS:
            go_to(page, section)
        page.click("#metrics-card summary")
        page.until("document.querySelector('#metrics table')")
        page.run("document.getElementById('find').focus()")
        page.call("Input.insertText", text="<")
        page.until("document.querySelector('#found [data-job]')")
        page.key("Enter")
        page.until("document.querySelector('#job-card dl')")
        go_to(page, "idle")
        x, y = heat_cell(page, 0.19, 0.4)
        page.drag(x, y, x, y)
        page.mouse("mouseMoved", x + 3, y)
        go_to(page, "fleet")
        page.run("document.querySelector('#network canvas').focus()")
        for _ in range(9):
            page.key("ArrowRight")
        assert page.run("document.title").startswith("<svg onload")
        assert (
            page.run("document.querySelectorAll('img, iframe, object, [onload], [onerror]').length")
            == 0
        )
        assert page.run("document.querySelectorAll('style').length") == 1
        assert page.run("document.querySelectorAll('script').length") == 2
        assert page.run("[...document.querySelectorAll('a')].every((a) => a.hash)")
        assert page.run("getComputedStyle(document.body).display") == "block"
        body = page.run("document.body.innerText")
        assert HOSTILE[0] in body
        assert "\u202e" not in body
        assert "\x1b" not in body
        assert page.run("document.documentElement.scrollWidth") == 1366

    def test_they_do_not_widen_a_phone(self, page: Page, hostile_page: Path) -> None:
        page.view(390, 900)
        page.open(hostile_page)
        for section in SECTIONS:
            go_to(page, section)
        assert page.run("document.documentElement.scrollWidth") == 390


class TestServed:
    def test_the_page_is_the_same_when_served(
        self, browser: Chromium, sample_contents: Contents
    ) -> None:
        shelf = Shelf(
            lambda: {"sample": "<b>two</b> policies"},
            lambda name: page_html(sample_contents),
            [Field("topology", "Fleet", "x", ("x",))],
            lambda form: "sample",
        )
        tab = browser.page()
        with PageServer(shelf) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                tab.open(server.url, ready="document.querySelector('form')")
                assert "<b>two</b> policies" in tab.run("document.body.innerText")
                tab.run("document.querySelector('a[href^=result]').click()")
                tab.until("document.body.dataset.settled")
                assert tab.run("document.querySelectorAll('#policies tbody tr').length") == 2
                tab.open(server.url, ready="document.querySelector('form')")
                tab.run("document.querySelector('form button').click()")
                tab.until("document.querySelector('h1').textContent === 'Done'")
                asked, complaints = tab.requests(), tab.complaints()
            finally:
                server.shutdown()
                thread.join()
        tab.close()
        assert all(url.startswith(server.url) for url in asked)
        assert not complaints


class TestPagesWithoutRuns:
    def test_a_sweep_shows_its_cases(
        self, page: Page, sample_contents: Contents, tmp_path: Path
    ) -> None:
        shown = dict(sample_contents.data)
        first = shown["groups"][0]
        cases = [{**first, "name": "one"}, {**first, "name": "two <b>"}]
        shown |= {"runs": [], "fleet": None, "groups": cases}
        write_page(replace(sample_contents, data=shown), tmp_path / "sweep.html")
        page.open(tmp_path / "sweep.html")
        assert page.run("document.getElementById('schedule').hidden") is True
        assert page.run("[...document.getElementById('group').options].map((o) => o.text)") == [
            "one",
            "two <b>",
        ]
        page.run(
            "(() => { const e = document.getElementById('group'); e.value = '1';"
            " e.dispatchEvent(new Event('change')); })()"
        )
        assert "first" in text(page, "#policies")
        page.click("[data-cause=policy]")
        assert "policy" in text(page, "#chips")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The accessibility checker's script, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, for axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "pack", AXE, "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, timeout=90, capture_output=True, cwd=folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("needs the npm registry, for axe-core")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


class TestAccessibility:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_axe_finds_nothing_serious(
        self, page: Page, sample_page: Path, axe: str, theme: str
    ) -> None:
        page.view(1366, 900, theme=theme)
        page.open(sample_page)
        for section in SECTIONS:
            go_to(page, section)
        page.click("#metrics-card summary")
        page.click("[data-cause=policy]")
        page.run(axe + ";0")
        found = page.run("axe.run().then((r) => r.violations)")
        serious = {
            v["id"]: [n["target"] for n in v["nodes"]][:5]
            for v in found
            if v["impact"] in ("serious", "critical")
        }
        assert not serious

    def test_the_first_stop_is_the_way_past_the_bar(self, page: Page, sample_page: Path) -> None:
        page.open(sample_page)
        page.key("Tab")
        assert page.run("document.activeElement.className") == "skip"
        page.key("Enter")
        assert page.run("location.hash") == "#main"
