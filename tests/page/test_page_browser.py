"""The page in a real browser: drawn on, walked through, looked at in both schemes.

The networks are the published ones, the digits scikit-learn's, so no MNIST is needed.
"""

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from chromium import BROWSER, chromium
from PIL import Image

from lenet.page import ablation_data, build, screenshot
from lenet.page import digit_data as page_digits
from lenet.page.network_data import run_content
from lenet.records import run_record
from lenet.report import missed_digits
from lenet.rounding import decimals

ROOT = Path(__file__).parents[2]
OUTPUTS = ROOT / "outputs"
AXE = ROOT / "tests" / "page" / "node_modules" / "axe-core" / "axe.min.js"
REST = 0.5  # seconds after which maps and attacks have begun

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium on PATH: apt-get install chromium"
)
SEVEN = ((70, 70), (120, 66), (160, 66), (205, 70), (180, 120), (160, 170), (140, 225))
ONE = ((140, 50), (140, 100), (140, 160), (140, 230))
READ = '[...document.querySelectorAll(".digit")].map(one => one.textContent)'
NOTHING = ["\N{EN DASH}"] * 2


@pytest.fixture(scope="module")
def content(digits):
    """Both presets as published, the embedded digits, and the factorial."""
    published = build.all_published(str(OUTPUTS))
    records = build.preset_runs(published, str(OUTPUTS))
    return {
        "networks": [
            run_content(
                record, run_record.load_stack([record], str(OUTPUTS)), published
            )
            for record in records
        ],
        "digits": [page_digits.sample_digits(digits)],
        "ablation": ablation_data.factorial_content(OUTPUTS / "factorial"),
    }


@pytest.fixture(scope="module")
def path(content, tmp_path_factory):
    """The page's file."""
    place = tmp_path_factory.mktemp("page") / "index.html"
    place.write_text(build.single_file(content))
    return place


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser for all tests: to start it takes a second."""
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def draw(browser, stroke):
    """Draw a stroke, given in the pad's own pixels, with the mouse."""
    place = """(() => { const box = document.getElementById("pad")
        .getBoundingClientRect(); return [box.left, box.top, box.width]; })()"""
    left, top, width = browser.ask(place)
    browser.drag(*[(left + x * width / 280, top + y * width / 280) for x, y in stroke])


def click(browser, selector):
    """Click the first element that a selector finds."""
    browser.ask(f"document.querySelector({selector!r}).click()")


def test_nothing_is_fetched_and_nothing_complained_of(browser, path):
    """From its file alone, drawn on and switched; a fault would have been heard."""
    browser.open(path)
    draw(browser, SEVEN)
    click(browser, "#board button:last-child")
    browser.wait('document.getElementById("verdict").textContent')
    assert browser.complaints() == []
    assert [url for url in browser.requests() if url != path.as_uri()] in (
        [],
        ["data:,"],
    )
    browser.ask('void fetch("https://lenet.invalid/").catch(() => console.error("x"))')
    browser.wait("true")
    assert browser.requests()[-1] == "https://lenet.invalid/"


def test_drawing_changes_the_reading(browser, path):
    """An example is shown at first, and gives way to a stroke; a drawn 7 is read as a 7
    and a 1 as a 1, by both; undone and cleared, nothing is read."""
    browser.open(path)
    browser.wait(f"{READ}.every(one => one === '3')")
    draw(browser, SEVEN)
    browser.wait(f"{READ}.every(one => one === '7')")
    layers = 'document.querySelector(".maps.C3 canvas").toDataURL()'
    before = browser.ask(layers)
    click(browser, "#undo")
    browser.wait(f"{READ}.every(one => one === {NOTHING[0]!r})")
    draw(browser, ONE)
    browser.wait(f"{READ}.every(one => one === '1')")
    assert browser.ask(layers) != before
    click(browser, "#clear")
    browser.wait(f"{READ}.every(one => one === {NOTHING[0]!r})")


def test_a_digit_is_drawn_and_undone_by_keys(browser, path):
    """The pad takes the focus by Tab; space sets the pen down, arrows move it."""
    browser.open(path)
    while browser.ask("document.activeElement.id") != "pad":
        browser.press("Tab")
    browser.press(" ", " ")
    browser.press("ArrowDown", times=25)
    browser.press(" ", " ")
    browser.wait(f"{READ}.every(one => one === '1')")
    announced = 'document.getElementById("announced").textContent'
    assert browser.wait(announced) == "1998 reads 1, today reads 1" or browser.wait(
        f"{announced} === '1998 reads 1, today reads 1'"
    )
    browser.press("Backspace")
    browser.wait(f"{READ}.every(one => one === {NOTHING[0]!r})")


def test_layers_are_walked_through_by_keys(browser, path):
    """Each is one stop of Tab, as are all digits to pick from. Arrows go from map to
    map, which is said, framed, and looked at more closely, with Table I's kernels."""
    browser.open(path)
    stops = []
    for _ in range(60):
        browser.press("Tab")
        stops.append(browser.ask("document.activeElement.getAttribute('aria-label')"))
    layers = ("output", "C1", "S2", "C3", "S4", "C5", "F6")
    for layer in layers:
        for year in ("1998", "today"):
            assert (
                sum((label or "").startswith(f"{layer} of {year}") for label in stops)
                == 1
            )
    browser.ask('document.querySelector(".maps.C3").focus({focusVisible: true})')
    browser.press("ArrowRight", times=9)
    announced = 'document.querySelector(".maps.C3").getAttribute("aria-valuetext")'
    assert browser.ask(announced) == "map 9, fed by 4 maps of S2: 0, 3, 4, 5"
    framed = """[...document.querySelectorAll(".maps.S2 canvas")]
        .map((one, at) => one.classList.contains("fed") ? at : -1)
        .filter(at => at >= 0)"""
    assert browser.ask(framed) == [0, 3, 4, 5]
    assert (
        browser.ask('document.querySelector("#closer h3").textContent') == "C3, map 9"
    )
    assert browser.ask('document.querySelectorAll(".kernels canvas").length') == 4
    browser.press("End")
    assert browser.ask('document.querySelectorAll(".kernels canvas").length') == 6


def test_pointing_at_a_unit_shows_what_it_sees(browser, path):
    """The middle unit of a map of S4 sees 16 pixels, around which a frame is drawn."""
    browser.open(path)
    x, y = browser.ask("""(() => {
        const one = document.querySelector(".maps.S4 canvas");
        one.scrollIntoView({block: "center", behavior: "instant"});
        const box = one.getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2];
    })()""")
    browser.point(x, y)
    text = browser.wait('document.querySelector("#closer .closer-text p").textContent')
    assert "row 2, column 2 sees 16\N{MULTIPLICATION SIGN}16 pixels" in text
    style = browser.ask("""(() => {
        const { left, top, width, height } = document.querySelector(".field").style;
        return [left, top, width, height];
    })()""")
    frame = [float(length.rstrip("%")) * 28 / 100 for length in style]
    assert frame == pytest.approx([6, 6, 16, 16], abs=0.01)


def test_a_picture_is_read(browser, path, digits, tmp_path):
    """A digit, enlarged, as a file of dark ink on light paper."""
    place = int(np.flatnonzero(digits.test_labels == 0)[0])
    image = np.kron(digits.test_images[place].numpy(), np.ones((5, 5), np.uint8))
    (tmp_path / "digit.png").write_bytes(missed_digits.png(image))
    browser.open(path)
    click(browser, "#clear")
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    given = {"nodeId": root, "selector": "#file"}
    node = browser.call("DOM.querySelector", given)["nodeId"]
    files = {"files": [str(tmp_path / "digit.png")], "nodeId": node}
    browser.call("DOM.setFileInputFiles", files)
    browser.wait(f"{READ}.every(one => one === '0')")
    assert browser.complaints() == []


def test_larger_changes_turn_the_answer(browser, path):
    """At no change both read what they read, at half of the range neither does; the
    smallest change that turns each is found, and lies between."""
    browser.open(path)
    draw(browser, SEVEN)
    browser.wait('document.getElementById("verdict").textContent')
    turned = """[...document.querySelectorAll("#attacked p.turned")]
        .map(one => one.textContent)"""
    slide = """(() => { const one = document.getElementById("epsilon");
        one.value = %d; one.dispatchEvent(new Event("input")); })()"""
    browser.ask(slide % 0)
    assert all(text.startswith("still reads 7") for text in browser.ask(turned))
    browser.ask(slide % 128)
    assert all(re.match("reads [^7], not 7", text) for text in browser.ask(turned))
    least = browser.ask("""[...document.querySelectorAll("#attacked .least a")]
        .map(one => one.textContent)""")
    assert all(0 < float(text.split()[-1]) < 0.5 for text in least) and len(least) == 2


def test_switches_show_the_published_cells(browser, path, content):
    """All of 1998, then its first factor turned: the cells and the effect are those of
    the factorial."""
    browser.open(path)
    announced = 'document.getElementById("cell-said").textContent'
    cells = content["ablation"]["cells"]
    for number in (0, 32):
        if number:
            click(browser, "#board .switch:not(.heading) .choice button:last-child")
        mean = decimals(100 * cells[number]["mean"])
        assert f"{mean}\u202f%" in browser.ask(announced)
    effect = content["ablation"]["switches"][0][0]["mean"]
    does = "adds" if effect > 0 else "takes off"
    assert f"{does} {decimals(abs(100 * effect))} points here" in browser.ask(announced)
    click(browser, "#ends button:last-child")
    assert f"{decimals(100 * cells[63]['mean'])}\u202f%" in browser.ask(announced)


def test_a_dot_says_which_network_it_is(browser, path, content):
    """Seed, error and run of the cell that is chosen, where the pointer is; else how to
    ask."""
    browser.open(path)
    told = 'document.querySelector(".told").textContent'
    asking = browser.ask(told)
    cell, seeds = (content["ablation"][key] for key in ("cells", "seeds"))
    point = """document.querySelectorAll("svg.errors .seed")[2]
        .dispatchEvent(new PointerEvent("pointer%s"))"""
    browser.ask(point % "enter")
    error = f"{decimals(100 * cell[0]['errors'][2])}\u202f%"
    assert browser.ask(told) == f"seed {seeds[2]}: {error}, run {cell[0]['runs'][2]}"
    browser.ask(point % "leave")
    assert browser.ask(told) == asking != ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 768, 380, 320])
def test_page_is_as_wide_as_its_window_and_follows_the_scheme(
    browser, path, width, scheme
):
    """Nothing sticks out, down to 320 pixels, and no text is smaller than 11."""
    browser.open(path, width, color_scheme=scheme)
    browser.wait(f"{READ}.every(one => one === '3')")
    assert browser.ask("document.documentElement.scrollWidth") == width
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", paper))) / 765
    assert light > 0.9 if scheme == "light" else light < 0.15
    smallest = """Math.min(...[...document.querySelectorAll("body *")]
        .filter(one => [...one.childNodes].some(node => node.nodeType === 3
            && node.textContent.trim()) && one.getClientRects().length)
        .map(one => parseFloat(getComputedStyle(one).fontSize)
            * (one.closest("svg") ? one.closest("svg").getBoundingClientRect().width
                / one.closest("svg").viewBox.baseVal.width : 1)))"""
    assert browser.ask(smallest) >= 10.9


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core: npm ci in tests/page")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 380])
def test_axe_finds_nothing(browser, path, width, scheme):
    """Neither in WCAG 2.2 AA nor in axe-core's best practices."""
    browser.open(path, width, color_scheme=scheme)
    draw(browser, SEVEN)
    browser.wait(f"{READ}.every(one => one === '7')")
    browser.ask(AXE.read_text() + "; 0")
    violations = browser.ask(
        "axe.run().then(all => all.violations.map(one =>"
        " [one.id, one.nodes.map(node => node.html.slice(0, 200))]))"
    )
    assert violations == []
    browser.ask('document.querySelector("h1").style.color = "#eee", 0')
    browser.ask('document.body.style.background = "#fff", 0')
    worse = browser.ask("axe.run().then(all => all.violations.map(one => one.id))")
    assert "color-contrast" in worse


def test_nothing_moves_for_who_asks_for_it(browser, path):
    """With reduced motion no transition is left, and without it there are some."""
    moving = """[...document.querySelectorAll("*")].filter(
        one => parseFloat(getComputedStyle(one).transitionDuration) > 0).length"""
    browser.open(path, reduced_motion="reduce")
    assert browser.ask(moving) == 0
    browser.open(path, reduced_motion="no-preference")
    assert browser.ask(moving) > 0


def test_every_number_that_is_a_link_leads_to_a_word(browser, path):
    """Which is on the page, and there are many."""
    browser.open(path)
    links = browser.ask("""[...document.querySelectorAll('a[href^="#"]')]
        .map(one => one.getAttribute("href"))""")
    assert len(links) > 40
    lost = browser.ask("""[...document.querySelectorAll('a[href^="#"]')]
        .filter(one => !document.querySelector(one.getAttribute("href"))).length""")
    assert lost == 0


def test_one_network_alone_has_a_page(browser, content, tmp_path):
    """Without a factorial too: what is missing says how it is made."""
    alone = {**content, "networks": content["networks"][:1], "ablation": None}
    (tmp_path / "one.html").write_text(build.single_file(alone))
    browser.open(tmp_path / "one.html")
    draw(browser, SEVEN)
    browser.wait(f"{READ}.join() === '7'")
    assert "design=factorial" in browser.ask(
        'document.querySelector("#believe").innerText'
    )
    assert browser.complaints() == []
    assert math.isclose(browser.ask("document.documentElement.scrollWidth"), 1300)


@pytest.mark.slow
def test_picture_shows_the_window(tmp_path):
    """At its size, with more than the colour of an empty page."""
    (tmp_path / "page.html").write_text("<h1>Draw a digit</h1>", encoding="utf-8")
    seen = Image.open(io.BytesIO(screenshot.taken(tmp_path / "page.html")))
    assert seen.size == (screenshot.WIDTH, screenshot.HEIGHT)
    assert len(seen.convert("L").getcolors()) > 2
