"""Makes one page of a result folder: report.html, which opens from the disk in any browser.

    python -m dbp_tf.report results/sony

or `test_burst.py --report`, which also shows the brightened input beside the restored picture.
Settings, averages, plots and a table of the bursts are in the page; the pictures lie beside it,
small copies of them in report_files/, and are loaded as they are looked at.
"""

import html
import io
import json
import os
import pathlib
import re
import urllib.parse
from collections.abc import Sequence

from absl import flags

from dbp_tf import __version__, cli, files, pictures, progress
from dbp_tf.data import sid
from dbp_tf.errors import InputError, printable
from dbp_tf.evaluation import developed, figures, plots, results
from dbp_tf.models.fusions import FUSIONS
from dbp_tf.raw import cameras, reading

REPORT = "report.html"
SMALL = "report_files"
_RATIO_PLOT = "by_ratio.png"

_TEMPLATE = pathlib.Path(__file__).parent / "report.html"

# The command has no flags; its argument is a folder.
FLAGS = flags.FlagValues()

# Pixels along the longer side: of a thumbnail on a screen of two device pixels to one, and of
# what the slider shows. A picture no larger than that is shown itself.
_THUMBNAIL = 240
_PREVIEW = 1600

# Column of the table: heading, field of `results.Result`, format, whether a phone leaves it out.
_COLUMNS = (
    ("Ratio", "ratio", "g", False),
    ("Frames", "frames", "d", False),
    ("Exposure (s)", "exposure", ".3g", True),
    ("PSNR", "psnr", ".2f", False),
    ("SSIM", "ssim_range2", ".4f", False),
    ("SSIM 0..1", "ssim_range1", ".4f", True),
    ("LPIPS", "lpips", ".4f", False),
    ("Time (s)", "seconds", ".1f", True),
)
_AVERAGED = (*results.SCORES, "seconds")

_NOTE = (
    "PSNR in dB. SSIM as published, with data range 2; SSIM 0..1 is that of data range 1. Bursts "
    "without figures are misaligned or have no ground truth, and are in no average."
)


def write(
    folder: str | os.PathLike[str],
    bursts: Sequence[sid.Burst] = (),
    camera: cameras.Camera | None = None,
) -> pathlib.Path:
    """Writes report.html and the small pictures it shows.

    Args:
      folder: a result folder.
      bursts: their brightened input is shown, and made where it is not yet there.
      camera: of the bursts.

    Returns:
      The path of the page.

    Raises:
      InputError: the folder holds no results, or a file in it is damaged.
    """
    folder = pathlib.Path(folder)
    for name in (results.METRICS, results.SETTINGS):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} holds no {name}, so it is not a folder of results: run test_burst.py "
                f"--result_dir {folder} first"
            )
    rows = results.read(folder / results.METRICS)
    if not rows:
        raise InputError(f"{folder / results.METRICS} has no rows yet: nothing to report on")
    settings = results.read_settings(folder)
    (folder / SMALL).mkdir(exist_ok=True)
    names = {name_of(row) for row in rows}
    inputs = [
        burst
        for burst in bursts
        if burst.name in names and not _small(folder, burst.name, "in").is_file()
    ]
    for burst in progress.counted(inputs, "Report: {} inputs developed"):
        _write_input(folder, burst, camera)
    looks = {
        row.key: _looks(folder, name_of(row))
        for row in progress.counted(rows, "Report: {} bursts looked through")
    }
    page = _page(folder.resolve().name, settings, rows, looks, _plots(folder, rows))
    files.write_whole(folder / REPORT, page.encode())
    return folder / REPORT


def name_of(row: results.Result) -> str:
    """The published name of a burst's pictures, from its row in metrics.csv."""
    name = f"{row.scene}_00_{int(row.ratio):d}"
    if pathlib.PurePath(name).name != name:
        raise InputError(f"{results.METRICS}: {row.scene!r} is not the number of a scene: mend it")
    return name


# Pictures


def _small(folder, name, what):
    return folder / SMALL / f"{name}_{what}.jpg"


def _write_jpeg(path, image, side):
    """Writes a Pillow image, at most `side` pixels along its longer side, as JPEG."""
    from PIL import Image

    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    files.write_whole(path, data.getvalue())


def _write_input(folder, burst, camera):
    from PIL import Image

    frame = reading.read_raw(burst.frames[0], camera)
    picture = developed.develop_packed(frame, frame.packed(burst.ratio))
    rows, columns = frame.mosaic.shape
    whole = pictures.quantised(picture[:rows, :columns])
    _write_jpeg(_small(folder, burst.name, "in"), Image.fromarray(whole), _PREVIEW)


def _looks(folder, name):
    """{what: path within the folder} of a burst's pictures that are there, small ones as needed."""
    from PIL import Image

    looks = {}
    for what in ("out", "gt"):
        path = folder / f"{name}_{what}.png"
        if not path.is_file():
            continue
        looks[f"{what} file"] = path.name
        wanted = {_small(folder, name, what): _PREVIEW}
        if what == "out":
            wanted[_small(folder, name, "thumb")] = _THUMBNAIL
        stale = {p: side for p, side in wanted.items() if _older(p, path)}
        try:
            with Image.open(path) as image:
                if max(image.size) <= _PREVIEW:
                    stale.pop(_small(folder, name, what), None)
                    looks[what] = path.name
                else:
                    looks[what] = f"{SMALL}/{name}_{what}.jpg"
                for small, side in stale.items():
                    _write_jpeg(small, image, side)
        except (OSError, SyntaxError) as error:
            raise InputError(
                f"{path} is damaged ({error}): delete it and make it again with test_burst.py "
                f"--resume"
            ) from None
    for what in ("in", "thumb"):
        if _small(folder, name, what).is_file():
            looks[what] = f"{SMALL}/{name}_{what}.jpg"
    for what in ("panel", "teaser"):
        if (folder / f"{name}_{what}.png").is_file():
            looks[what] = f"{name}_{what}.png"
    return looks


def _older(path, source):
    return not path.is_file() or path.stat().st_mtime < source.stat().st_mtime


# The page. Text and paths that come from files go through `_text` or `_url`.


def _text(value):
    return html.escape(printable(str(value)))


def _url(path):
    return html.escape(urllib.parse.quote(os.fsencode(path)))


def _number(value, form):
    return "–" if value is None else format(value, form)


def _page(title, settings, rows, looks, plots):
    parts = {
        "title": _text(f"Results: {title}"),
        "summary": _summary(settings, rows),
        "settings": _settings_lists(settings),
        "averages": _averages(rows),
        "plots": plots,
        "heads": _heads(rows),
        "rows": "\n".join(_row(row, looks[row.key], _columns(rows)) for row in rows),
        "foot": f"{_text(_NOTE)} dbp_tf {_text(__version__)}.",
    }
    # In one pass: text that was filled in is not searched for placeholders.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _TEMPLATE.read_text())


def _columns(rows):
    """The columns of which any row has a value."""
    return [c for c in _COLUMNS if any(getattr(row, c[1]) is not None for row in rows)]


def _summary(settings, rows):
    flags = settings["flags"]
    scored = sum(row.scored for row in rows)
    camera = flags.get("camera")
    words = [
        f"{progress.plural(len(rows), 'burst')}, {scored} scored",
        f"camera {camera.get('name') if isinstance(camera, dict) else camera}",
        f"mode {flags.get('mode')}",
        f"up to {flags.get('n_burst')} frames",
    ]
    without = [name for name, fusion in FUSIONS.items() if not fusion.refers]
    if settings["network"].get("fusion") not in without:
        words.append(f"reference frame {flags.get('reference_frame')}")
    words.append(f"weights {pathlib.PurePath(str(flags.get('checkpoint') or 'unknown')).name}")
    return _text("; ".join(words)) + "."


def _settings_lists(settings):
    lists = []
    for title, part in (("Flags", "flags"), ("Network", "network"), ("Versions", "versions")):
        given = {name: value for name, value in settings[part].items() if value is not None}
        items = "".join(
            f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in given.items()
        )
        lists.append(f"<h3>{title}</h3><dl>{items}</dl>")
    return "\n".join(lists)


def _averages(rows):
    groups = results.groups(rows)
    if not groups:
        return "<p>No burst is scored: there was no ground truth to compare with.</p>"
    columns = [c for c in _columns(rows) if c[1] in _AVERAGED]
    heads = "".join(_cell(title, wide, "th scope=col") for title, _, _, wide in columns)
    lines = []
    for title, group in groups.items():
        cells = "".join(
            _cell(_number(results.mean(group, name), form), wide) for _, name, form, wide in columns
        )
        lines.append(f"<tr><th scope=row>{_text(title)}</th><td>{len(group)}</td>{cells}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table id="averages"><thead><tr><th scope=col>Average of</th>'
        f"<th scope=col>Bursts</th>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(text, wide, tag="td"):
    kind = ' class="wide"' if wide else ""
    return f"<{tag}{kind}>{_text(text)}</{tag.split()[0]}>"


def _heads(rows):
    heads = [("Scene", "text", False)]
    heads += [(title, "number", wide) for title, _, _, wide in _columns(rows)]
    return "".join(
        f'<th scope="col" aria-sort="none" data-kind="{kind}"{" class=wide" * wide}>'
        f'<button type="button">{_text(title)}</button></th>'
        for title, kind, wide in heads
    )


def _row(row, looks, columns):
    attributes = {"name": f"Scene {row.scene}, ratio {row.ratio:g}", "figures": _sentence(row)}
    attributes = {key: _text(value) for key, value in attributes.items()}
    for key, what in (("restored", "out"), ("input", "in"), ("truth", "gt")):
        if what in looks:
            attributes[key] = _url(looks[what])
    marks = "".join(f' data-{key}="{value}"' for key, value in attributes.items())
    thumbnail = '<span class="thumb"></span>'
    if "thumb" in looks:
        thumbnail = (
            f'<img class="thumb" loading="lazy" alt="" width="96" height="64" '
            f'src="{_url(looks["thumb"])}">'
        )
    first = f"{thumbnail}<b>{_text(row.scene)}</b>"
    if "out" in looks:
        first = f'<a class="open" href="{_url(looks["out file"])}">{first}</a>'
    cells = "".join(_value(getattr(row, name), form, wide) for _, name, form, wide in columns)
    return (
        f'<tr id="{_text(name_of(row))}"{marks}>'
        f'<td data-value="{_text(row.scene)}">{first}{_links(looks)}</td>{cells}</tr>'
    )


def _sentence(row):
    """The figures of one burst in words."""
    words = [progress.plural(row.frames, "frame"), f"{row.exposure:.3g} s each"]
    for title, name, form, _ in _COLUMNS:
        value = getattr(row, name)
        if name in results.SCORES and value is not None:
            words.append(f"{title} {_number(value, form)}")
    return ", ".join([*words, f"restored in {row.seconds:.1f} s"])


def _value(value, form, wide):
    # In the notation of JavaScript, where a perfect PSNR is Infinity.
    exact = "" if value is None else json.dumps(value)
    kind = ' class="wide"' if wide else ""
    return f'<td data-value="{exact}"{kind}>{_number(value, form)}</td>'


def _links(looks):
    """The part below the slider's window; a template's pictures are not loaded before."""
    named = {"out file": "restored picture", "gt file": "ground truth"}
    links = ", ".join(
        f'<a href="{_url(looks[what])}">{text}</a>' for what, text in named.items() if what in looks
    )
    drawn = "".join(
        f'<p><a href="{_url(looks[what])}"><img src="{_url(looks[what])}" alt="{what}"></a></p>'
        for what in ("panel", "teaser")
        if what in looks
    )
    return f"<template>Full size: {links}{drawn}</template>"


# Plots


def _plots(folder, rows):
    """The plots of the folder, with that by exposure ratio, which is drawn here if it can be."""
    note = ""
    try:
        if plot := plots.plot_ratios(rows):
            files.write_whole(folder / SMALL / _RATIO_PLOT, plot)
    except InputError as error:
        note = f'<p class="soft">{_text(error)}</p>'
    growth = plots.growth_of(results.read(folder / figures.FRAMES_CSV))
    caption = plots.caption_of(growth[0]) if growth else ""
    captions = {
        figures.FRAMES_PLOT: f"Quality against the number of frames. {caption}",
        f"{SMALL}/{_RATIO_PLOT}": "Quality by exposure ratio. A dot is a burst, a line the mean.",
    }
    shown = "\n".join(
        f'<figure><a href="{_url(name)}"><img src="{_url(name)}" alt="{_text(text)}"></a>'
        f"<figcaption>{_text(text)}</figcaption></figure>"
        for name, text in captions.items()
        if (folder / name).is_file()
    )
    return f'<h2>Plots</h2>\n<div class="plots">\n{shown}\n</div>{note}' if shown or note else ""


def main(words: list[str]) -> None:
    """Writes the report of the folder that is named."""
    if len(words) != 1:
        raise InputError("give one folder of results: python -m dbp_tf.report FOLDER")
    progress.say(f"The report is {write(files.expand(words[0]))}")


def run(argv: list[str] | None = None) -> int:
    """Runs the command on a command line; returns the exit code."""
    return cli.run(main, FLAGS, argv, words=True)
