"""The page of a study in a real browser: nothing fetched, sorted, readable."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
import sealed_studies
from test_report import THREE

from lenet.figures.canvas import FORMATS
from lenet.report import effect_tables, exhibit_files, report_sections, study_report

BROWSER = shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
DARK = "--blink-settings=preferredColorScheme=0"
NOTHING = """<meta http-equiv="Content-Security-Policy" content="default-src 'none';
    img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">"""

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium on PATH: apt-get install chromium"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a study of three arms."""
    folder = tmp_path_factory.mktemp("outputs") / "arms"
    sealed_studies.one_factor(folder, range(7), tried=THREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhibit_files, "FORMATS", {"svg": FORMATS["svg"]})
        study_report.write_study(folder)
    return (folder / "report.html").read_text()


def open_page(page, tmp_path, *flags):
    """What the browser makes of a page: its output, and what its console said."""
    (tmp_path / "page.html").write_text(page)
    profile = tmp_path.parent / "chromium"  # a new one takes a second
    own = f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0"
    line = [BROWSER, *FLAGS, *own, *flags, (tmp_path / "page.html").as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def ask(page, tmp_path, script, *flags):
    """What an expression says in a page that may fetch nothing, without errors."""
    asked = f"""<script>addEventListener("load", () => {{
        document.title = JSON.stringify({script});
    }})</script></body>"""
    page = page.replace("<head>", f"<head>{NOTHING}", 1).replace("</body>", asked)
    dom, console = open_page(page, tmp_path, "--dump-dom", *flags)
    assert not console
    return json.loads(unescape(re.search(r"<title>(.*?)</title>", dom)[1]))


def test_page_fetches_nothing_and_has_no_error(page, tmp_path):
    """Under a policy that forbids whatever is not in the file; the console and the
    list of what was fetched are empty, and the policy would have been heard."""
    fetched = 'performance.getEntriesByType("resource").map(one => one.name)'
    assert ask(page, tmp_path, fetched) == []
    for broken in ('<img src="https://lenet.invalid/a.png">', "<script>nix()</script>"):
        worse = page.replace("<head>", f"<head>{NOTHING}")
        worse = worse.replace("</main>", f"</main>{broken}")
        assert open_page(worse, tmp_path, "--dump-dom")[1]


def test_tables_sort_by_their_numbers(page, tmp_path):
    """A click on the heads of the effects sorts the rows by the full numbers, a second
    one backwards, a click on a text by letters."""
    clicks = """(() => {
        const table = document.querySelector("#ablation_chart table");
        const heads = [...table.querySelectorAll("th")];
        const head = text => heads.find(one => one.textContent === text);
        const rows = () => [...table.tBodies[0].rows]
            .map(row => row.cells[0].textContent);
        const click = text => {
            head(text).querySelector("button").click();
            return [head(text).getAttribute("aria-sort"), rows()];
        };
        return ["effect, points", "effect, points", "factor"].map(click);
    })()"""
    factors = list(THREE)
    effects = [sealed_studies.WORTH[factor] for factor in factors]
    order = [factor for _, factor in sorted(zip(effects, factors, strict=True))]
    assert ask(page, tmp_path, clicks) == [
        ["ascending", order],
        ["descending", order[::-1]],
        ["ascending", sorted(factors)],
    ]


def test_cells_without_a_number_stay_last(tmp_path):
    """Numbers sort as numbers, not as texts; no number is last in both directions."""
    rows = pd.DataFrame({"treatment": [*"bad"], "seconds": [9.0, 10.0, float("nan")]})
    script = (Path(report_sections.__file__).parent / "report.js").read_text()
    clicks = """[1, 1, 0].map(at => {
        document.querySelectorAll("th button")[at].click();
        return [...document.querySelectorAll("tbody tr")]
            .map(row => row.cells[0].textContent).join("");
    })"""
    page = f"<head><title></title></head><body>{effect_tables.as_html(rows)}"
    page += f"<script>{script}</script></body>"
    assert ask(page, tmp_path, clicks) == ["bad", "abd", "abd"]


def test_rows_are_filtered_by_words(page, tmp_path):
    """All words must be in a row, in any order and case; how many are left is said."""
    typed = """(() => {
        const table = document.querySelector("#runs table");
        const bar = document.querySelector("#runs .filter");
        const field = bar.querySelector("input");
        return ["", "2", "TANH 2", "nothing like it"].map(text => {
            field.value = text;
            field.dispatchEvent(new Event("input"));
            const rows = [...table.tBodies[0].rows].filter(row => !row.hidden);
            const said = bar.querySelector("output").textContent;
            return [rows.length, said, rows.every(row => text.split(" ").every(
                word => row.textContent.toLowerCase().includes(word.toLowerCase())))];
        });
    })()"""
    every, of_two, both, none = ask(page, tmp_path, typed)
    assert every[:2] == [28, ""] and none[:2] == [0, "0 of 28"]
    assert 0 < both[0] < of_two[0] < 28
    assert of_two[2] and both[2] and both[1] == f"{both[0]} of 28"


def test_rows_are_chosen_by_a_factors_level(page, tmp_path):
    """A choice above the runs for each factor; those of two factors are combined."""
    chosen = """(() => {
        const table = document.querySelector("#runs table");
        const bar = document.querySelector("#runs .filter");
        const choice = name => [...bar.querySelectorAll("label")]
            .find(one => one.textContent.startsWith(name)).querySelector("select");
        return [["activation", "relu"], ["pooling", "max"]].map(([name, level]) => {
            choice(name).value = level;
            choice(name).dispatchEvent(new Event("input"));
            return bar.querySelector("output").textContent;
        });
    })()"""
    assert ask(page, tmp_path, chosen) == ["7 of 28", "0 of 28"]


def test_a_dot_says_its_seed_and_a_click_copies_its_command(page, tmp_path):
    """At once, beside the dot; the command is that of the run's row."""
    told = """(() => {
        let copied = "";
        const clipboard = {writeText: async text => { copied = text; }};
        Object.defineProperty(navigator, "clipboard",
            {configurable: true, get: () => clipboard});
        const dot = document.querySelector("#ablation_chart .dots use[data-command]");
        const tip = document.querySelector(".tip");
        const before = tip.hidden;
        dot.dispatchEvent(new PointerEvent("pointerenter"));
        const said = tip.textContent;
        dot.dispatchEvent(new MouseEvent("click"));
        dot.dispatchEvent(new PointerEvent("pointerleave"));
        return [before, said, copied, tip.hidden];
    })()"""
    before, said, copied, after = ask(page, tmp_path, told)
    assert before and after
    seed = re.match(r"seed (\d+): \S+ points, run \w{8} minus \w{8}; click", said)[1]
    assert copied.startswith("python -m lenet.train ")
    assert copied.endswith(f"seed={seed}")


def test_click_copies_the_command(page, tmp_path):
    """The whole of it, as it stands in its cell; without a clipboard it is selected."""
    clicked = """(() => {
        const cell = [...document.querySelectorAll("#runs td:last-child")][3];
        cell.closest("details").open = true;
        let copied = "";
        const clipboard = {writeText: async text => { copied = text; }};
        Object.defineProperty(navigator, "clipboard",
            {configurable: true, get: () => clipboard});
        cell.firstElementChild.click();
        Object.defineProperty(navigator, "clipboard",
            {configurable: true, get: () => undefined});
        cell.firstElementChild.click();
        return [copied, cell.textContent, getSelection().toString()];
    })()"""
    copied, command, selected = ask(page, tmp_path, clicked)
    assert copied == command == selected and "seed=3" in command
    assert command.startswith("python -m lenet.train ")


CONTRAST = """(() => {
    const light = color => {
        const [r, g, b] = color.match(/[\\d.]+/g).map(Number)
            .map(x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    const contrast = color => {
        const [a, b] = [paper, light(color)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const least = (what, property) => Math.min(
        ...[...document.querySelectorAll(what)]
            .map(one => contrast(getComputedStyle(one)[property])));
    const band = [...document.querySelectorAll("#learning_curves [id*=Fill] use")];
    return {
        paper: paper,
        texts: least("h1, h2, p, a, b, span, summary, th, td", "color"),
        letters: least("svg [id*=text_] use", "fill"),
        bands: Math.max(...band.map(one => contrast(getComputedStyle(one).fill))),
        count: band.length,
    };
})()"""


@pytest.mark.parametrize("flags", [(), (DARK,)], ids=["light", "dark"])
def test_texts_stand_out_in_both_schemes(page, tmp_path, flags):
    """Contrast of WCAG 2 with the page, 4.5 for texts, 3.5 for the letters of figures,
    whose colours are those of the marks; the bands of the curves stay behind."""
    contrast = ask(page, tmp_path, CONTRAST, *flags)
    assert contrast["paper"] < 0.05 if flags else contrast["paper"] == 1
    assert contrast["texts"] >= 4.5
    assert contrast["letters"] >= 3.5
    assert contrast["count"] and contrast["bands"] < 3


def test_every_ink_of_the_figures_has_a_shade_for_the_dark(page):
    """What is not a variable of the page is a grey that both schemes show."""
    fixed = set(re.findall(r"(?<!, )(?<![\w&])#[0-9a-f]{6}\b", page.split("<main>")[1]))
    assert fixed <= {"#999999", "#aaaaaa"}


def test_narrow_window_scrolls_tables_and_figures_alone(page, tmp_path):
    """At 360 pixels the page is as wide as its window, the chart has its narrow form,
    and other figures keep 640."""
    script = """<script>addEventListener("load", () => parent.postMessage([
        innerWidth, document.documentElement.scrollWidth,
        ...[".broad", ".narrow", "#costs"].map(one =>
            document.querySelector(`${one} svg`).getBoundingClientRect().width)],
        "*"))</script>"""
    (tmp_path / "inner.html").write_text(page.replace("</body>", f"{script}</body>"))
    outer = """<script>onmessage = one => { document.title = one.data; }</script>
        <iframe src="inner.html" width="360" height="600"></iframe>"""
    dom, console = open_page(outer, tmp_path, "--dump-dom")
    sizes = map(float, re.search(r"<title>(.*?)</title>", dom)[1].split(","))
    window, width, broad, narrow, figure = sizes
    assert not console and window == width == 360
    assert (broad, figure) == (0, 640) and 300 < narrow <= 360


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="poppler is not installed")
def test_paper_has_all_rows_and_the_heads_on_every_page(page, tmp_path):
    """What is folded is printed; a table that goes on has its heads again."""
    paper = tmp_path / "page.pdf"
    open_page(page, tmp_path, f"--print-to-pdf={paper}", DARK)
    line = ["pdftotext", "-layout", str(paper), "-"]
    text = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    pages = [sheet for sheet in text.split("\f") if "python -m lenet.train" in sheet]
    assert len(pages) > 1 and text.count("python -m lenet.train") == 28
    assert all(re.search(r"seed +status", sheet) for sheet in pages)
