"""The report: what its HTML holds, and, in a headless Chromium, what it does."""

import dataclasses
import html.parser
import io
import json
import math
import os
import sys
import time
import urllib.parse

import browser
import imageio.v3 as iio
import numpy as np
import pytest
from scipy import ndimage

from dbp_tf import pictures, simulate
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import developed, plots, results
from dbp_tf.raw import cameras, reading
from dbp_tf.report import result_page

needs_browser = pytest.mark.skipif(
    not (browser.DRIVER and browser.CHROMIUM), reason=browser.MISSING
)

SETTINGS = {
    "flags": {"camera": "sony", "mode": "burst", "n_burst": 8, "checkpoint": "/data/w<8> & co"},
    "network": {"family": "burst", "width": 32},
    "versions": {"dbp_tf": "0.1.0"},
}
RED, BLUE, GREEN = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9), (0.1, 0.9, 0.1)


def result(scene, ratio=100.0, frames=8, psnr=30.0, lpips=None, exposure=0.1):
    scored = psnr is not None
    ssims = (psnr / 50, psnr / 60) if scored else (None, None)
    return results.Result(scene, exposure, ratio, frames, scored, psnr, *ssims, lpips, 1.5)


ROWS = [
    result("10003", psnr=9.5, lpips=0.4),
    result("10011", 250.0, 2, psnr=28.25, lpips=0.2, exposure=1 / 30),
    result("10016", 300.0, psnr=110.0, lpips=0.3),
    result("10034", 100.0, 2, psnr=None),
]


def command(*words):
    return result_page.run(["report", *map(str, words)])


def flat(colour, rows=24, columns=36):
    return np.broadcast_to(np.float32(colour), (rows, columns, 3))


def write_input(folder, name, picture):
    (folder / result_page.SMALL).mkdir(exist_ok=True)
    iio.imwrite(folder / result_page.SMALL / f"{name}_in.jpg", pictures.quantised(picture))


def make_folder(folder, rows, growth=()):
    """A result folder: restored pictures blue, truths green, the inputs of some red."""
    results.begin(folder, SETTINGS, {})
    results.write(folder / "metrics.csv", rows)
    if growth:
        results.write(folder / "frames.csv", growth)
        (folder / "frames.png").write_bytes(plots.plot_growth(plots.growth_of(growth)))
    for row in rows:
        name = result_page.name_of(row)
        pictures.write_png(folder / f"{name}_out.png", flat(BLUE))
        if row.scored:
            pictures.write_png(folder / f"{name}_gt.png", flat(GREEN))
        if row.frames == 8:
            write_input(folder, name, flat(RED))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    growth = [
        result(scene, frames=count, psnr=start + count, lpips=0.5 - count / 50)
        for scene, start in (("10003", 20.0), ("10016", 24.0))
        for count in (1, 2, 4, 8)
    ]
    folder = make_folder(tmp_path_factory.mktemp("results") / "sony <b>&", ROWS, growth)
    pictures.write_png(folder / "10003_00_100_panel.png", flat(GREEN))
    result_page.write(folder)
    return folder


class Page(html.parser.HTMLParser):
    """The parts of a page: text, (tag, attributes) of everything, rows of both tables."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.rows = [("html", {})], "", []
        self.cell, self.source = False, path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True
        # What the slider's window shows is no part of the cell it is kept in.
        self.cell = self.cell and tag != "template"

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.tags[-1][0] not in ("style", "script"):
            self.text += data
        if self.cell:
            self.rows[-1][-1] += data.strip()

    def links(self):
        """Everything the page may load or lead to."""
        names = ("src", "href", "data-restored", "data-input", "data-truth", "srcset", "poster")
        return [a[name] for _, a in self.tags for name in names if name in a]


@pytest.fixture
def no_plot(monkeypatch):
    """Matplotlib takes longer than all the rest."""
    monkeypatch.setattr(plots, "plot_ratios", lambda _: b"a plot")


# What is in it


def test_every_burst_has_its_row_of_figures(folder):
    rows = {row[0]: row[1:] for row in Page(folder / "report.html").rows if row[0].isdigit()}
    assert rows["10003"] == ["100", "8", "0.1", "9.50", "0.1900", "0.1583", "0.4000", "1.5"]
    assert rows["10011"][:4] == ["250", "2", "0.0333", "28.25"]
    assert rows["10034"] == ["100", "2", "0.1", "–", "–", "–", "–", "1.5"]
    assert list(rows) == [row.scene for row in ROWS]


def test_the_averages_are_those_of_the_table(folder):
    found = {row[0]: row[1:] for row in Page(folder / "report.html").rows}
    lines = results.table(ROWS).splitlines()[1:6]
    wanted = {line[:12].strip(): line[12:].split() for line in lines}
    assert set(wanted) == {"all", "ratio 100", "ratio 250", "ratio 300", "frames 2"}
    for title, (bursts, *scores, seconds) in wanted.items():
        assert found[title] == [bursts, *scores, f"{float(seconds):.1f}"]


def test_a_column_that_nothing_has_is_left_out(tmp_path):
    folder = make_folder(tmp_path / "results", [result("10003"), result("10011")])
    page = Page(result_page.write(folder))
    assert "LPIPS" not in page.text and "SSIM" in page.text
    folder = make_folder(tmp_path / "unscored", [result("10003", psnr=None)])
    page = Page(result_page.write(folder))
    assert "No burst is scored" in page.text and "by_ratio" not in page.source


def test_it_is_one_file_with_the_pictures_beside_it(folder):
    page = Page(folder / "report.html")
    links = page.links()
    assert len(links) > 10
    for link in links:
        assert not urllib.parse.urlsplit(link).scheme and not link.startswith("/")
        assert (folder / urllib.parse.unquote(link)).is_file(), link
    for word in ("http:", "https:", "//cdn", "@import", "url(", "data:image", "<link"):
        assert word not in page.source
    assert len(page.source) < 40_000


@pytest.mark.parametrize(
    ("fusion", "is_named"), [("reference", True), ("max", False), (["no name"], True)]
)
def test_the_reference_frame_is_named_unless_all_frames_are_alike(tmp_path, fusion, is_named):
    folder = make_folder(tmp_path, [result("10003")])
    settings = json.loads((folder / "settings.json").read_text())
    settings["flags"]["reference_frame"] = "center"
    settings["network"]["fusion"] = fusion
    (folder / "settings.json").write_text(json.dumps(settings))
    page = Page(result_page.write(folder))
    assert ("reference frame center" in page.text) is is_named


@pytest.mark.parametrize(
    "flags", [{"camera": {}}, {"camera": 7}, {"checkpoint": 3}, {"checkpoint": ["a"]}]
)
def test_settings_of_another_kind_are_shown_as_they_are(tmp_path, flags):
    folder = make_folder(tmp_path, [result("10003")])
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"flags": flags}))
    page = Page(result_page.write(folder))
    ((name, value),) = flags.items()
    assert name in page.text and str(value) in page.text


@pytest.mark.usefixtures("no_plot")
def test_whatever_a_file_says_is_text(tmp_path):
    nasty = "10003 <img src=x onerror=alert(1)> \"'#?&%41"
    folder = make_folder(tmp_path / "<i>folder", [result(nasty), result("10011")])
    settings = json.loads((folder / "settings.json").read_text())
    settings["flags"] = {"camera": "{{rows}}", "short_dir": "<script>alert(2)</script>"}
    (folder / "settings.json").write_text(json.dumps(settings))
    page = Page(result_page.write(folder))
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("script") == 1 and "i" not in kinds
    assert all("onerror" not in attributes for _, attributes in page.tags)
    for text in (nasty, "<i>folder", "{{rows}}", "<script>alert(2)</script>"):
        assert text in page.text
    assert nasty in [attributes.get("data-value") for _, attributes in page.tags]
    for link in page.links():
        assert (folder / urllib.parse.unquote(link)).is_file(), link


def test_a_scene_that_leads_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "results"
    results.begin(folder, SETTINGS, {})
    results.write(folder / "metrics.csv", [result("../../10003")])
    with pytest.raises(InputError, match="metrics.csv"):
        result_page.write(folder)


def test_large_pictures_get_small_copies(tmp_path):
    folder = make_folder(tmp_path / "results", [result("10003")])
    rng = np.random.default_rng(0)
    gradient = np.linspace(0, 1, 2000)[None, :, None] * np.ones((300, 1, 3))
    for bits in (8, 16):
        pictures.write_png(folder / "10003_00_100_out.png", gradient + 0.01 * rng.random(), bits)
        os.utime(folder / "10003_00_100_out.png", (time.time() + bits,) * 2)
        page = Page(result_page.write(folder))
        (row,) = (a for tag, a in page.tags if tag == "tr" and "data-restored" in a)
        assert row["data-restored"] == "report_files/10003_00_100_out.jpg"
        assert row["data-truth"] == "10003_00_100_gt.png"
        preview = iio.imread(folder / row["data-restored"])
        assert preview.shape == (240, 1600, 3)
        assert np.abs(preview[120, :, 1] - np.linspace(0, 255, 1600)).max() < 6
        thumbnail = iio.imread(folder / "report_files" / "10003_00_100_thumb.jpg")
        assert thumbnail.shape == (36, 240, 3)
        assert {"href": "10003_00_100_out.png", "class": "open"} in [a for _, a in page.tags]


def test_small_copies_are_made_again_only_when_the_picture_is_newer(tmp_path):
    folder = make_folder(tmp_path / "results", [result("10003")])
    thumbnail = folder / "report_files" / "10003_00_100_thumb.jpg"
    result_page.write(folder)
    os.utime(thumbnail, (time.time() + 5,) * 2)
    before = thumbnail.stat().st_mtime
    result_page.write(folder)
    assert thumbnail.stat().st_mtime == before
    pictures.write_png(folder / "10003_00_100_out.png", flat(RED))
    os.utime(folder / "10003_00_100_out.png", (time.time() + 9,) * 2)
    result_page.write(folder)
    assert np.abs(iio.imread(thumbnail) - 255 * np.float32(RED)).max() < 4


@pytest.mark.usefixtures("no_plot")
def test_the_brightened_input_is_what_libraw_develops(tmp_path):
    y, x = np.mgrid[:64, :96]
    photo = np.stack([x / 96, y / 64, 0.5 + 0 * x], axis=-1).astype(np.float32)
    rng = np.random.default_rng(0)
    scene = simulate.simulate_scene(photo, cameras.SONY, rng, frames=1, ratio=100)
    frames, truth = simulate.write_scene(tmp_path / "tree", 10003, scene, cameras.SONY, 100)
    burst = sid.Burst("10003", 0.1, 100.0, tuple(frames), truth, True)
    folder = tmp_path / "results"
    results.begin(folder, SETTINGS, {})
    results.write(folder / "metrics.csv", [result("10003"), result("10011")])
    for name in ("10003_00_100_out.png", "10011_00_100_out.png"):
        pictures.write_png(folder / name, flat(BLUE, 64, 96))
    # A burst of which there is no row has no place in the report.
    other = sid.Burst("10099", 0.1, 100.0, tuple(frames), truth, True)
    page = Page(result_page.write(folder, [burst, other], cameras.SONY))
    inputs = [a["data-input"] for _, a in page.tags if "data-input" in a]
    assert inputs == ["report_files/10003_00_100_in.jpg"]
    assert not (folder / "report_files" / "10099_00_100_in.jpg").exists()
    frame = reading.read_raw(frames[0], cameras.SONY)
    wanted = 255 * developed.develop_packed(frame, frame.packed(100))
    picture = iio.imread(folder / inputs[0]).astype(float)
    # JPEG keeps colour at half size: compare what it keeps, means over 8 x 8 pixels.
    blocks = [p.reshape(8, 8, 12, 8, 3).mean((1, 3)) for p in (picture, wanted)]
    assert picture.shape == wanted.shape and np.abs(blocks[0] - blocks[1]).max() < 10


@pytest.mark.usefixtures("no_plot")
def test_a_burst_without_its_picture_keeps_its_row(tmp_path):
    folder = make_folder(tmp_path / "results", [result("10003"), result("10011")])
    (folder / "10003_00_100_out.png").unlink()
    page = Page(result_page.write(folder))
    assert [a["href"] for _, a in page.tags if a.get("class") == "open"] == ["10011_00_100_out.png"]
    assert len([row for row in page.rows if row[0].startswith("100")]) == 2


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "metrics.csv").unlink(), "metrics.csv"),
        (lambda folder: (folder / "settings.json").unlink(), "settings.json"),
        (lambda folder: (folder / "settings.json").write_text("{"), "settings.json"),
        (lambda folder: (folder / "settings.json").write_text('{"flags": 1}'), "settings.json"),
        (lambda folder: (folder / "settings.json").write_text("[" * 100_000), "settings.json"),
        (lambda folder: results.write(folder / "metrics.csv", []), "no rows yet"),
        (lambda folder: (folder / "10003_00_100_out.png").write_bytes(b"\x89PNG"), "_out.png"),
        (lambda folder: (folder / "frames.csv").write_text("a,b\n1,2\n"), "frames.csv"),
    ],
)
def test_a_folder_that_cannot_be_reported_on_is_named(tmp_path, capsys, harm, said):
    folder = make_folder(tmp_path / "results", [result("10003")])
    harm(folder)
    assert command(folder) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_the_command_line(folder, tmp_path, capsys):
    assert command(folder) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    assert command() == 2
    assert "one folder" in capsys.readouterr().err
    assert command(tmp_path / "none") == 2
    assert "metrics.csv" in capsys.readouterr().err


# Plots


def test_the_plots_say_what_they_show(folder):
    page = Page(folder / "report.html")
    shown = {a.get("src"): a["alt"] for tag, a in page.tags if tag == "img" and a.get("alt")}
    assert shown["report_files/by_ratio.png"].startswith("Quality by exposure ratio.")
    assert "2 bursts of 8 frames" in shown["frames.png"]
    # PSNR, SSIM and LPIPS, 600 pixels wide each.
    assert iio.imread(folder / "report_files" / "by_ratio.png").shape[:2] == (510, 1800)


def test_every_burst_is_a_dot():
    def dots(rows):
        plot = iio.imread(io.BytesIO(plots.plot_ratios(rows)))[..., :3].astype(int)
        assert plot.shape[:2] == (510, 1200)
        # A mean's line may cross its dot.
        blue = ndimage.binary_closing(plot[..., 2] - plot[..., 0] > 40, iterations=5)
        return ndimage.label(blue)[1]

    rows = [result("10003", psnr=20.0), result("10011", psnr=30.0), result("10016", 250.0, psnr=24)]
    # Of PSNR and of SSIM.
    assert dots(rows) == 2 * len(rows)
    assert plots.plot_ratios(rows[:1]) is None
    infinite = dataclasses.replace(rows[1], psnr=math.inf)
    assert plots.plot_ratios([rows[0], infinite]) is not None


def test_without_matplotlib_the_page_says_so(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = make_folder(tmp_path / "results", [result("10003"), result("10011")])
    page = Page(result_page.write(folder))
    assert "dbp_tf[figures]" in page.text and "10011" in page.text


@pytest.mark.usefixtures("no_plot")
def test_names_that_are_not_utf_8_are_shown_and_found(tmp_path):
    folder = tmp_path / "d\udcff\udcfe"
    page = Page(result_page.write(make_folder(folder, [result("10003"), result("10011")])))
    assert "d\\xff\\xfe" in page.text
    for link in page.links():
        assert (folder / urllib.parse.unquote(link)).is_file(), link


# In a browser


@pytest.fixture(scope="module")
def chromium():
    with browser.started() as chromium:
        yield chromium


@pytest.fixture
def page(chromium, folder):
    """The report, open on a desktop's screen in light colours."""
    chromium.emulate(1280, 900)
    chromium.requests()
    chromium.open(folder / "report.html")
    chromium.wait("document.readyState === 'complete'")
    yield chromium
    assert chromium.complaints() == []


SCENES = "return [...document.querySelectorAll('#bursts tbody tr')].map(r => r.cells[0].innerText)"
SORTED = "return [...document.querySelectorAll('#bursts th')].map(th => th.ariaSort)"


@needs_browser
def test_headings_sort_and_what_has_no_figure_stands_last(page):
    psnr = "#bursts th:nth-child(5) button"
    page.click(psnr)
    # As numbers: as texts, 110 would come before 28.25 and 9.5.
    assert page.run(SCENES) == ["10003", "10011", "10016", "10034"]
    assert page.run(SORTED)[4] == "ascending" and page.run(SORTED).count("none") == 8
    page.click(psnr)
    assert page.run(SCENES) == ["10016", "10011", "10003", "10034"]
    assert page.run(SORTED)[4] == "descending"
    assert page.run("return document.getElementById('sorted').innerText") == (
        "Sorted by PSNR, descending."
    )
    page.click("#bursts th:nth-child(1) button")
    assert page.run(SCENES) == ["10003", "10011", "10016", "10034"]
    assert page.run(SORTED)[0] == "ascending" and page.run(SORTED)[4] == "none"


@needs_browser
def test_the_keyboard_alone_sorts_opens_moves_and_closes(page):
    focused = "return document.activeElement.innerText || document.activeElement.id"
    page.press("Tab")
    assert page.run(focused).strip() == "Settings"
    # Past the two plots to the third column.
    page.press("Enter", *["Tab"] * 5)
    assert page.run("return document.querySelector('details').open")
    assert page.run(focused).strip() == "Frames"
    page.press("Enter", "Enter")
    assert page.run(SCENES)[:2] == ["10003", "10016"]
    page.press(*["Tab"] * 7)
    assert page.run(focused).strip() == "10003"
    page.press("Enter")
    assert page.run("return document.querySelector('dialog').open")
    assert page.run("return document.activeElement.type") == "range"
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert page.run("return document.getElementById('divider').value") == "53"
    assert page.run("return document.getElementById('divider').ariaValueText") == (
        "Input, brightened up to 53 %"
    )
    page.press("Escape")
    assert not page.run("return document.querySelector('dialog').open")
    assert page.run(focused).strip() == "10003"


def shown(page, tmp_path):
    """(colours of the picture from left to right, as on the screen)."""
    page.screenshot(tmp_path / "shot.png")
    pixels = iio.imread(tmp_path / "shot.png")[..., :3].astype(float)
    left, top, width, height = page.run(
        "const r = document.querySelector('.compare').getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]"
    )
    row = pixels[int(top + height / 4), int(left) : int(left + width)]
    names = {"red": RED, "blue": BLUE, "green": GREEN}
    colours = []
    for pixel in row:
        # The line between the two, black and white, is none of the three.
        near = [n for n, c in names.items() if np.abs(pixel - 255 * np.float32(c)).max() < 30]
        colours += [near[0]] if near else []
    return colours


def shares(colours):
    return {name: round(colours.count(name) / len(colours), 2) for name in dict.fromkeys(colours)}


LOADED = "[...document.querySelectorAll('.compare img:not([hidden])')].every(i => i.naturalWidth)"


@needs_browser
def test_the_slider_uncovers_one_picture_and_then_the_other(page, tmp_path):
    page.click("#bursts .open")
    page.wait(LOADED)
    assert shares(shown(page, tmp_path)) == pytest.approx({"red": 0.5, "blue": 0.5}, abs=0.02)
    page.press(*["ArrowRight"] * 25)
    assert shares(shown(page, tmp_path)) == pytest.approx({"red": 0.75, "blue": 0.25}, abs=0.02)
    # With the mouse, where the pointer is.
    page.click(".compare input", share=0.2)
    assert shares(shown(page, tmp_path)) == pytest.approx({"red": 0.2, "blue": 0.8}, abs=0.02)
    page.press("Home")
    assert set(shown(page, tmp_path)) == {"blue"}
    page.press("End")
    assert set(shown(page, tmp_path)) == {"red"}
    # The truth in place of the input, divider where it was.
    page.click(".compare input", share=0.6)
    page.run(
        "const side = document.getElementById('side'); side.value = 'truth';"
        "side.dispatchEvent(new Event('change'))"
    )
    page.wait(LOADED)
    wanted = {"green": 0.6, "blue": 0.4}
    assert shares(shown(page, tmp_path)) == pytest.approx(wanted, abs=0.02)


@needs_browser
def test_one_burst_leads_to_the_next(page, tmp_path):
    name = "return document.getElementById('name').innerText"
    disabled = "return ['previous', 'next'].map(id => document.getElementById(id).disabled)"
    page.click("#bursts .open")
    page.wait(LOADED)
    assert page.run(name) == "Scene 10003, ratio 100" and page.run(disabled) == [True, False]
    assert "PSNR 9.50" in page.run("return document.getElementById('figures').innerText")
    links = "return [...document.querySelectorAll('#files a')].map(a => a.getAttribute('href'))"
    panel = "10003_00_100_panel.png"
    assert page.run(links) == ["10003_00_100_out.png", "10003_00_100_gt.png", panel]
    # No input: the truth is on the left, and there is nothing to choose.
    page.click("#next")
    page.wait(LOADED)
    assert page.run(name) == "Scene 10011, ratio 250"
    assert set(shown(page, tmp_path)) == {"green", "blue"}
    assert page.run("return document.getElementById('choice').hidden")
    # Neither input nor truth: the picture alone.
    page.click("#next")
    page.click("#next")
    page.wait(LOADED)
    assert page.run(name) == "Scene 10034, ratio 100" and page.run(disabled) == [False, True]
    assert set(shown(page, tmp_path)) == {"blue"}
    assert not page.run("return document.getElementById('divider').checkVisibility()")
    page.click("#close")
    assert not page.run("return document.querySelector('dialog').open")
    # Back to where one has come, not to where one started.
    assert page.run("return document.activeElement.innerText").strip() == "10034"


@needs_browser
def test_nothing_comes_from_a_network_and_large_pictures_not_before_they_are_wanted(page):
    page.wait("document.querySelector('#bursts img').naturalWidth")
    before = page.requests()
    names = sorted({name.rpartition("/")[2] for name in before})
    thumbnails = sorted(f"{result_page.name_of(row)}_thumb.jpg" for row in ROWS)
    assert names == [*thumbnails, "by_ratio.png", "frames.png", "report.html"]
    page.click("#bursts .open")
    page.wait(LOADED)
    after = page.requests()
    assert {"10003_00_100_out.png", "10003_00_100_in.jpg", "10003_00_100_panel.png"} == {
        name.rpartition("/")[2] for name in after
    }
    assert all(name.startswith("file:") for name in before + after)


@needs_browser
@pytest.mark.parametrize("opened", [False, True])
def test_it_fits_a_phone(page, opened):
    page.emulate(390, 844, phone=True)
    if opened:
        page.click("#bursts .open")
        page.wait(LOADED)
    width, small, narrow = page.run(
        "const seen = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility());"
        "const texts = seen.filter(e => e.innerText?.trim());"
        "const targets = seen.filter(e => e.matches('button, .open, select'));"
        "return [document.documentElement.scrollWidth,"
        " Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),"
        " targets.filter(e => e.getBoundingClientRect().height < 40).length]"
    )
    assert (width, narrow) == (390, 0) and small >= 14
    # The table needs no scrolling sideways for its most wanted columns.
    inside = page.run(
        "const t = document.querySelector('.scroll:has(#bursts)');"
        "return t.scrollWidth <= t.clientWidth"
    )
    heads = "return [...document.querySelectorAll('#bursts th')].filter(e => e.checkVisibility())"
    assert inside
    assert page.run(f"{heads}.map(e => e.innerText.trim())") == [
        "Scene",
        "Ratio",
        "Frames",
        "PSNR",
        "SSIM",
        "LPIPS",
    ]


def luminance(colour):
    channels = np.array(colour) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_in_light_and_dark_colours(page, dark):
    page.emulate(1280, 900, dark=dark)
    colours = page.run(
        "const probe = document.body.appendChild(document.createElement('span'));"
        "return Object.fromEntries(['paper', 'panel', 'ink', 'soft', 'accent'].map(name => {"
        " probe.style.color = `var(--${name})`;"
        " return [name, getComputedStyle(probe).color.match(/\\d+/g).map(Number)]; }))"
    )
    light = {name: luminance(colour) for name, colour in colours.items()}
    assert (light["paper"] < 0.05) == dark
    assert page.run("return getComputedStyle(document.body).backgroundColor") == (
        f"rgb({', '.join(map(str, colours['paper']))})"
    )
    for ground in ("paper", "panel"):
        for text in ("ink", "soft", "accent"):
            low, high = sorted((light[ground], light[text]))
            # What WCAG 2 asks of body text.
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ground, text)


@needs_browser
@pytest.mark.usefixtures("no_plot")
def test_hundreds_of_bursts_open_at_once(chromium, tmp_path):
    rows = [result(f"{10000 + number}", psnr=20 + number / 60) for number in range(250)]
    folder = tmp_path / "many"
    results.begin(folder, SETTINGS, {})
    results.write(folder / "metrics.csv", rows)
    first = folder / f"{result_page.name_of(rows[0])}_out.png"
    pictures.write_png(first, flat(BLUE))
    for row in rows[1:]:
        os.link(first, folder / f"{result_page.name_of(row)}_out.png")
    path = result_page.write(folder)
    chromium.requests()
    assert path.stat().st_size < 420_000
    chromium.emulate(1280, 900)
    chromium.open(path)
    chromium.wait("document.readyState === 'complete'")
    chromium.wait("document.querySelector('#bursts img').naturalWidth")
    # Thumbnails come as they are scrolled to.
    assert 1 < len(chromium.requests()) < 150
    assert chromium.run("return document.querySelectorAll('#bursts tbody tr').length") == 250
    # One window for all of them.
    assert chromium.run("return document.querySelectorAll('input[type=range]').length") == 1
