"""The paper's figures: what they show is worked out once more, where they put it is looked up."""

import csv
import io
import math
import pathlib
import shutil
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import rawpy
import tensorflow as tf
from conftest import runner, write_tree
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.evaluation import developed, figures, plots, results, sheets
from dbp_tf.raw import cameras, mosaics, packing, reading
from dbp_tf.restore import modes, pretrained

SCRIPT = pathlib.Path(__file__).parent.parent / "test_burst.py"

# Scene: (frames, ratio). 10034 is misaligned: drawn, but not scored.
SCENES = {10003: (8, 100), 10016: (3, 250), 10034: (2, 100)}
SIZE = (64, 88)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("sony"), cameras.SONY, SCENES, SIZE)


@pytest.fixture(scope="module")
def model(weights, models):
    return models[weights["sony"]]


@pytest.fixture(scope="module")
def sid(data):
    return pretrained.load_pretrained(data / "sid_sony_d2")


@pytest.fixture
def run(script, weights, models, sid, tree, data, tmp_path, monkeypatch):
    """Runs test_burst.py on the tree and the tiny network, see `runner`."""
    return runner(
        script,
        models | {data / "sid_sony_d2": sid},
        tmp_path,
        monkeypatch,
        short_dir=tree / "short",
        long_dir=tree / "long",
        checkpoint=weights["sony"],
        result_dir=tmp_path / "results",
    )


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of every panel and teaser that is drawn."""
    calls = []
    for name in ("draw_panel", "draw_teaser"):
        draw = getattr(sheets, name)

        def noted(*arguments, draw=draw):
            calls.append(arguments)
            return draw(*arguments)

        monkeypatch.setattr(sheets, name, noted)
    return calls


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def develop(path):
    with rawpy.imread(str(path)) as raw:
        developed = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, user_flip=0
        )
    return developed / np.float32(65535)


def frames_of(tree, scene, ratio):
    paths = sorted((tree / "short").glob(f"{scene}_*"))
    return [reading.read_raw(path, cameras.SONY).packed(ratio) for path in paths]


def eight_bit(picture):
    return np.clip(np.rint(picture * 255), 0, 255)


# Developed by LibRaw


def test_the_traditional_picture_is_that_of_a_brighter_raw_file(tree, tmp_path):
    path = tree / "short" / "10003_00_0.1s.ARW"
    frame = reading.read_raw(path, cameras.SONY)
    with rawpy.imread(str(path)) as raw:
        dark = raw.raw_image_visible.astype(np.int64)
    bright = np.minimum(512 + 100 * np.maximum(dark - 512, 0), 16383).astype(np.uint16)
    simulate.write_dng(tmp_path / "bright.dng", bright, cameras.SONY)
    picture = developed.develop_packed(frame, frame.packed(100))
    np.testing.assert_array_equal(picture, develop(tmp_path / "bright.dng"))


@pytest.mark.parametrize(
    ("camera", "pattern", "black", "size"),
    [
        (cameras.SONY, ("GB", "RG"), [[500, 510], [520, 530]], (70, 91)),
        (cameras.SONY, ("BG", "GR"), None, (65, 67)),
        (cameras.FUJI, None, None, (517, 532)),
    ],
)
def test_samples_put_back_change_nothing(tmp_path, camera, pattern, black, size):
    rng = np.random.default_rng(1)
    samples = rng.integers(400, 16384, size).astype(np.uint16)
    path = tmp_path / "shot.dng"
    simulate.write_dng(path, samples, camera, pattern=pattern, black=black)
    frame = reading.read_raw(path)
    picture = developed.develop_packed(frame, frame.packed())
    truth = reading.read_truth(path, frame.offset)
    assert picture.shape == truth.shape
    # Rows and columns beyond whole periods are continued, which shows a few pixels inwards.
    np.testing.assert_array_equal(picture[8:-24, 8:-24], truth[8:-24, 8:-24])


@pytest.mark.parametrize(
    ("camera", "start", "size"),
    [
        *((cameras.SONY, (row, column), (67, 70)) for row in (0, 1) for column in (0, 1)),
        # LibRaw develops no smaller X-Trans files.
        (cameras.FUJI, (5, 4), (517, 532)),
    ],
)
def test_the_edges_of_a_cut_mosaic_are_as_the_rest(tmp_path, camera, start, size):
    """Rows and columns beyond whole periods get samples of the filters that stand there."""
    layout, level = packing.LAYOUTS[camera.mosaic], {"R": 50, "G": 90, "B": 70}
    filters = np.roll([list(row) for row in layout.colours], start, (0, 1))
    light = mosaics.spread(np.vectorize(level.get)(filters), size)
    path, pattern = tmp_path / "shot.dng", tuple(map("".join, filters))
    simulate.write_dng(path, (camera.black + light).astype(np.uint16), camera, pattern=pattern)
    frame = reading.read_raw(path)
    assert frame.offset == packing.phase_of(filters, layout)
    picture = developed.develop_packed(frame, frame.packed(20))
    assert picture.shape[:2] == tuple(np.subtract(size, frame.offset))
    assert 0.05 < picture.min() and picture.max() < 1
    np.testing.assert_allclose(np.ptp(picture, axis=(0, 1)), 0, atol=1e-3)


def test_the_coarse_picture_worked_out_once_more(tree, model, tmp_path):
    path = tree / "short" / "10016_00_0.1s.ARW"
    frame = reading.read_raw(path, cameras.SONY)
    packed = frame.packed(250)
    rows, columns, channels = packed.shape
    low = packed.reshape(rows // 2, 2, columns // 2, 2, channels).mean((1, 3))
    coarse = model.coarse(low[None])
    enlarged = tf.compat.v1.image.resize_bilinear(coarse, (rows, columns))[0].numpy()
    mosaic = np.zeros(SIZE)
    for channel, (row, column) in enumerate(((0, 0), (0, 1), (1, 1), (1, 0))):
        mosaic[row::2, column::2] = enlarged[..., channel]
    samples = np.rint(512 + np.clip(mosaic, 0, 1) * (16383 - 512)).astype(np.uint16)
    simulate.write_dng(tmp_path / "coarse.dng", samples, cameras.SONY)
    picture = developed.coarse(model, frame, packed)
    # A sample that lies between two DN may be rounded either way.
    assert np.abs(picture - develop(tmp_path / "coarse.dng")).max() < 2e-3


# Every frame once


@pytest.mark.parametrize("reference", ["first", "center"])
@pytest.mark.parametrize("padded", [0, 4])
def test_a_growing_burst_is_the_burst_of_each_length(tree, model, reference, padded):
    frames = frames_of(tree, 10003, 100)
    grown = list(modes.grow(model, frames, (8, 1, 4, 99), reference, padded))
    assert [count for count, _, _ in grown] == [1, 4, 8]
    for count, picture, _ in grown:
        expected = modes.restore(model, frames[:count], "burst", reference, padded)
        np.testing.assert_array_equal(picture, expected)
    seconds = [seconds for *_, seconds in grown]
    assert 0 < seconds[0]


@pytest.fixture
def counted(model, monkeypatch):
    """{"encoded": frames through the encoder, "decoded": pictures}, counted as they happen."""
    counts = {"encoded": 0, "decoded": 0}
    steps = model.steps
    for name, what in (("encode_below", "encoded"), ("decode_below", "decoded")):
        step = getattr(steps, name)

        def counting(*arguments, step=step, what=what):
            counts[what] += 1
            return step(*arguments)

        monkeypatch.setattr(steps, name, counting)
    return counts


@pytest.fixture
def no_plot(monkeypatch):
    """Matplotlib takes longer than all the rest."""
    monkeypatch.setattr(plots, "plot_growth", lambda *_: b"")


@pytest.mark.usefixtures("no_plot")
def test_one_two_four_and_eight_frames_encode_eight(run, counted):
    assert run("--figure=frames", "--n_burst=1,2,4,8", "--limit=1") == 0
    assert counted == {"encoded": 8, "decoded": 4}


def test_a_panel_encodes_each_frame_once(run, counted):
    assert run("--figure=panel", "--n_burst=4", "--limit=1") == 0
    assert counted == {"encoded": 4, "decoded": 2}


# Drawing


def found(sheet, block):
    """(row, column) at which the block stands on the sheet, exactly once."""
    rows, columns = block.shape[:2]
    candidates = np.argwhere((sheet == block[0, 0]).all(-1))
    places = [
        (row, column)
        for row, column in candidates
        if np.array_equal(sheet[row : row + rows, column : column + columns], block)
    ]
    assert len(places) == 1
    return places[0]


def some_views(number, rows=90, columns=120):
    rng = np.random.default_rng(number)
    return [
        sheets.View(f"view {i}", rng.integers(0, 255, (rows, columns, 3), np.uint8), f"text {i}")
        for i in range(number)
    ]


def by_hand(picture, box, factor):
    part = picture[box.row : box.row + box.rows, box.column : box.column + box.columns]
    return np.kron(part, np.ones((factor, factor, 1), np.uint8))


def test_a_panel_shows_every_detail_pixel_by_pixel():
    views = some_views(4)
    box = sheets.Box(20, 31, 17, 23)
    sheet = sheets.draw_panel(views, box)
    # 480 pixels wide as a whole: 20 times 23 fit, 21 times do not.
    places = [found(sheet, by_hand(view.picture, box, 20)) for view in views]
    assert len({row for row, _ in places}) == 1
    columns = [column for _, column in places]
    assert columns == sorted(columns) and len(set(np.diff(columns))) == 1


def test_a_panel_shows_the_whole_picture_and_where_its_box_is():
    picture = np.full((480, 480, 3), 60, np.uint8)
    picture[100:200, 300:400] = (0, 0, 255)
    sheet = sheets.draw_panel([sheets.View("one", picture)], sheets.Box(100, 300, 100, 100))
    top, left = np.argwhere((sheet == 60).all(-1))[0]
    np.testing.assert_array_equal(
        sheet[top + 100 : top + 200, left + 300 : left + 400], picture[100:200, 300:400]
    )
    box = (sheet[top : top + 480, left : left + 480] == sheets._BOX).all(-1)
    rows, columns = np.nonzero(box)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (96, 203, 296, 403)
    assert not box[100:200, 300:400].any()


def test_a_box_larger_than_the_column_is_not_shrunk():
    (view,) = some_views(1, 300, 700)
    box = sheets.Box(5, 50, 40, 600)
    assert found(sheets.draw_panel([view], box), by_hand(view.picture, box, 1))


@pytest.mark.parametrize("number", [3, 4, 6])
def test_a_teaser_shows_every_detail_in_columns_of_two(number):
    first, *views = some_views(number + 1)
    box = sheets.Box(3, 50, 20, 30)
    sheet = sheets.draw_teaser(first, views, box)
    places = [found(sheet, by_hand(view.picture, box, 10)) for view in views]
    top, left = places[0]
    for place, (row, column) in enumerate(places):
        assert (row > top, column > left) == (place % 2 == 1, place > 1)


def test_captions_stand_over_and_under_their_picture(monkeypatch):
    written = []
    write = sheets._Sheet.text
    monkeypatch.setattr(
        sheets._Sheet,
        "text",
        lambda sheet, row, column, width, text, *more, **how: (
            written.append((row, column, width, text)),
            write(sheet, row, column, width, text, *more, **how),
        ),
    )
    views = some_views(2)
    box = sheets.Box(0, 0, 30, 40)
    sheet = sheets.draw_panel(views, box)
    assert [text for *_, text in written] == ["view 0", "text 0", "view 1", "text 1"]
    for view, name, text in zip(views, written[::2], written[1::2], strict=True):
        row, column = found(sheet, by_hand(view.picture, box, 12))
        assert name[0] < row < row + 30 * 12 <= text[0]
        for line in (name, text):
            # The words are there, inside their column.
            ink = (sheet[line[0] : line[0] + 30, line[1] : line[1] + line[2]] < 128).all(-1)
            assert ink.any() and line[1] <= column < line[1] + line[2]


def test_a_long_caption_stays_inside_its_column():
    sheet = sheets._Sheet(40, 190)
    sheet.text(5, 20, 150, "PSNR 23.45 dB   SSIM 0.1234")
    ink = (sheet.pixels() < 200).any((0, 2))
    assert ink.any() and not ink[:20].any() and not ink[170:].any()


# The box


def test_the_box_of_most_detail_is_that_of_a_search():
    rng = np.random.default_rng(3)
    picture = np.cumsum(rng.normal(size=(13, 17, 3)), axis=1).astype(np.float32)
    grey = picture.mean(-1, dtype=np.float64)
    steps = np.zeros(grey.shape)
    steps[:-1] += abs(grey[1:] - grey[:-1])
    steps[:, :-1] += abs(grey[:, 1:] - grey[:, :-1])
    sums = {
        (row, column): steps[row : row + 4, column : column + 5].sum()
        for row in range(10)
        for column in range(13)
    }
    row, column = max(sums, key=sums.get)
    assert sheets.most_detail(picture, 4, 5) == sheets.Box(row, column, 4, 5)
    assert sheets.most_detail(picture, 13, 17) == sheets.Box(0, 0, 13, 17)


@pytest.mark.parametrize(
    ("rows", "columns", "wanted"),
    [(712, 1064, (40, 60)), (128, 128, (30, 30)), (64, 88, (21, 29)), (300, 30, (100, 10))],
)
def test_the_default_box_is_enlarged_and_inside_the_picture(rows, columns, wanted):
    picture = np.zeros((rows, columns, 3), np.uint8)
    picture[-20:, -20:] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    box = sheets.default_box(picture, 120)
    assert (box.rows, box.columns) == wanted
    assert box.row + box.rows <= rows and box.column + box.columns <= columns
    assert box.row + box.rows > rows - 20 and box.column + box.columns > columns - 20


# Through the script


def test_the_panel_shows_what_it_says(run, tree, model, tmp_path, drawn):
    assert run("--figure=panel", "--limit=1") == 0
    ((views, box),) = drawn
    names = ["Traditional", "Coarse", "Fine (1 frame)", "Burst of 8", "Ground truth"]
    assert [view.name for view in views] == names
    frames = frames_of(tree, 10003, 100)
    frame = reading.read_raw(tree / "short" / "10003_00_0.1s.ARW", cameras.SONY)
    truth = develop(tree / "long" / "10003_00_10s.ARW")
    wanted = [
        developed.develop_packed(frame, frames[0]),
        developed.coarse(model, frame, frames[0]),
        model.enhance(frames[:1]),
        model.enhance(frames),
        truth,
    ]
    for view, picture in zip(views, wanted, strict=True):
        # Float rounding differs between one frame at a time and all; some value may lie between.
        off = np.abs(view.picture - eight_bit(picture))
        assert off.max() <= 1 and off.mean() < 1e-3, view.name
    for view, picture in zip(views[:-1], wanted[:-1], strict=True):
        clipped = np.clip(picture, 0, 1)
        psnr = peak_signal_noise_ratio(truth, clipped, data_range=1)
        ssim = structural_similarity(truth, clipped, channel_axis=-1, data_range=2.0)
        assert view.text == f"{psnr:.2f} dB,  SSIM {ssim:.3f}"
    assert views[-1].text == ""
    assert box == sheets.default_box(views[-1].picture, 480)
    picture = iio.imread(tmp_path / "results" / "10003_00_100_panel.png")
    np.testing.assert_array_equal(picture, sheets.draw_panel(views, box))
    (row,) = rows_of(tmp_path / "results" / "metrics.csv")
    assert f"{float(row['psnr']):.2f} dB" in views[3].text


@pytest.mark.usefixtures("no_plot")
def test_a_figure_changes_no_result(run, tmp_path):
    assert run("--n_burst=3", "--limit=1", f"--result_dir={tmp_path / 'plain'}") == 0
    without = results.read(tmp_path / "plain" / "metrics.csv")
    for figure in ("panel", "frames"):
        counts = "1,3" if figure == "frames" else "3"
        folder = tmp_path / figure
        flags = f"--figure={figure}", f"--n_burst={counts}", f"--result_dir={folder}"
        assert run(*flags, "--limit=1") == 0
        with_figure = results.read(folder / "metrics.csv")
        assert [vars(r) | {"seconds": 0} for r in with_figure] == [
            vars(r) | {"seconds": 0} for r in without
        ]
        for name in ("10003_00_100_out.png", "results.npy"):
            assert (folder / name).is_file()
        picture = iio.imread(folder / "10003_00_100_out.png")
        np.testing.assert_array_equal(
            picture, iio.imread(tmp_path / "plain" / "10003_00_100_out.png")
        )


def test_without_truth_there_is_no_column_and_no_figure_for_it(run, drawn):
    assert run("--figure=panel", "--long_dir=", "--ratio=100", "--limit=1", "--n_burst=1") == 0
    ((views, box),) = drawn
    assert [view.name for view in views] == ["Traditional", "Coarse", "Fine (1 frame)", "Burst"]
    assert not any(view.text for view in views)
    assert box == sheets.default_box(views[-1].picture, 480)


def test_a_misaligned_truth_is_shown_but_compared_with_nothing(run, tree, tmp_path, drawn):
    for side in ("short", "long"):
        (tmp_path / side).mkdir()
        for path in (tree / side).glob("10034_*"):
            shutil.copy(path, tmp_path / side)
    flags = f"--short_dir={tmp_path / 'short'}", f"--long_dir={tmp_path / 'long'}"
    assert run("--figure=panel", *flags) == 0
    ((views, _),) = drawn
    assert views[-1].name == "Ground truth" and not any(view.text for view in views)


def test_the_box_of_the_flag_is_shown(run, drawn):
    flags = ("--limit=1", "--n_burst=1", "--box=3,60,20,28")
    assert run("--figure=panel", *flags) == 0
    assert drawn[0][1] == sheets.Box(3, 60, 20, 28)


@pytest.mark.parametrize("figure", ["panel", "teaser"])
@pytest.mark.parametrize("box", ["50,0,15,10", "0,80,10,9"])
def test_a_box_beyond_the_picture_is_named(run, capsys, figure, box):
    assert run(f"--figure={figure}", "--limit=1", "--n_burst=1", f"--box={box}") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --box {box}") and "64 rows and 88 columns" in error


def test_the_teaser_shows_what_it_says(run, tree, data, model, sid, tmp_path, drawn):
    baseline = f"--sid_checkpoint={data / 'sid_sony_d2'}"
    assert run("--figure=teaser", baseline, "--limit=1", "--n_burst=3") == 0
    ((first, views, box),) = drawn
    frames = frames_of(tree, 10003, 100)[:3]
    truth = develop(tree / "long" / "10003_00_10s.ARW")
    each = {
        name: [network.enhance([frame]) for frame in frames]
        for name, network in (("SID", sid), ("Fine", model))
    }
    wanted = {
        "SID (S)": each["SID"][0],
        "SID (E)": np.mean(np.clip(each["SID"], 0, 1), axis=0),
        "Fine (S)": each["Fine"][0],
        "Fine (E)": np.mean(np.clip(each["Fine"], 0, 1), axis=0),
        "Burst (B)": model.enhance(frames),
        "Ground truth": truth,
    }
    assert [view.name for view in views] == list(wanted)
    for view in views:
        assert np.abs(view.picture - eight_bit(wanted[view.name])).max() <= 1, view.name
    dark = develop(tree / "short" / "10003_00_0.1s.ARW")
    assert first.name == "Input"
    np.testing.assert_array_equal(first.picture, eight_bit(dark))
    picture = iio.imread(tmp_path / "results" / "10003_00_100_teaser.png")
    np.testing.assert_array_equal(picture, sheets.draw_teaser(first, views, box))


def test_the_teaser_without_the_baseline_has_no_columns_for_it(run, drawn):
    assert run("--figure=teaser", "--limit=1", "--n_burst=2") == 0
    ((_, views, _),) = drawn
    names = ["Fine (S)", "Fine (E)", "Burst (B)", "Ground truth"]
    assert [view.name for view in views] == names


def test_weights_that_are_no_baseline_are_named(run, data, weights, capsys, sid):
    for folder, said in ((weights["sony"], "not the SID baseline"), ("/none", "/none")):
        assert run("--figure=teaser", f"--sid_checkpoint={folder}", "--limit=1") == 2
        assert said in capsys.readouterr().err
    with pytest.raises(InputError, match="--camera fuji"):
        figures.check_baseline(sid, cameras.FUJI)


def test_the_frames_are_scored_at_every_length(run, tree, model, tmp_path):
    assert run("--figure=frames", "--n_burst=8,1,4") == 0
    rows = rows_of(tmp_path / "results" / "frames.csv")
    lengths = [(row["scene"], row["frames"]) for row in rows]
    # The burst of three frames ends with all it has; the misaligned one is not scored.
    assert lengths == [
        ("10003", "1"),
        ("10003", "4"),
        ("10003", "8"),
        ("10016", "1"),
        ("10016", "3"),
    ]
    for row in rows:
        frames = frames_of(tree, row["scene"], float(row["ratio"]))[: int(row["frames"])]
        truth = develop(next((tree / "long").glob(f"{row['scene']}_*")))
        output = np.clip(model.enhance(frames), 0, 1)
        psnr = peak_signal_noise_ratio(truth, output, data_range=1)
        ssim = structural_similarity(truth, output, channel_axis=-1, data_range=2.0)
        assert float(row["psnr"]) == pytest.approx(psnr, abs=2e-6)
        assert float(row["ssim_range2"]) == pytest.approx(ssim, abs=2e-6)
        assert row["lpips"] == "" and float(row["seconds"]) > 0
    plot = iio.imread(tmp_path / "results" / "frames.png")
    # Two plots of 4 by 3.4 inches, for there is no LPIPS.
    assert plot.shape[:2] == (510, 1200)


@pytest.mark.usefixtures("no_plot")
def test_by_default_the_frames_are_one_two_four_and_eight(run, tmp_path):
    assert run("--figure=frames", "--limit=1") == 0
    rows = rows_of(tmp_path / "results" / "frames.csv")
    assert [row["frames"] for row in rows] == ["1", "2", "4", "8"]


@pytest.mark.usefixtures("no_plot")
def test_what_is_drawn_is_not_drawn_again(run, tmp_path, counted, capsys):
    flags = ("--figure=frames", "--n_burst=1,2", "--limit=2")
    assert run("--n_burst=2", "--limit=2") == 0
    counted["encoded"] = 0
    assert run(*flags, "--resume") == 0
    assert counted["encoded"] == 4
    before = (tmp_path / "results" / "frames.csv").read_text()
    assert run(*flags, "--resume") == 0
    assert counted["encoded"] == 4
    # A line that is missing is made again, and the others with it are not doubled.
    lines = before.splitlines(keepends=True)
    (tmp_path / "results" / "frames.csv").write_text("".join(lines[:-1]))
    assert run(*flags, "--resume") == 0
    assert counted["encoded"] == 6
    after = rows_of(tmp_path / "results" / "frames.csv")
    assert [(r["scene"], r["frames"]) for r in after] == [
        (scene, count) for scene in ("10003", "10016") for count in ("1", "2")
    ]
    assert len(rows_of(tmp_path / "results" / "metrics.csv")) == 2
    # So is a panel, and only where it is missing.
    assert run("--figure=panel", "--n_burst=2", "--limit=2", "--resume") == 0
    (tmp_path / "results" / "10016_00_250_panel.png").unlink()
    assert run("--figure=panel", "--n_burst=2", "--limit=2", "--resume") == 0
    assert counted["encoded"] == 6 + 4 + 2
    assert (tmp_path / "results" / "10016_00_250_panel.png").is_file()


def test_the_report_comes_with_the_brightened_inputs(run, tmp_path, capsys):
    folder = tmp_path / "results"
    assert run("--n_burst=1", "--limit=2") == 0
    assert not (folder / "report.html").exists()
    assert run("--n_burst=1", "--limit=2", "--resume", "--report") == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    for name in ("10003_00_100", "10016_00_250"):
        assert f'data-input="report_files/{name}_in.jpg"' in page
        assert iio.imread(folder / "report_files" / f"{name}_in.jpg").shape == (*SIZE, 3)


def test_nothing_restored_is_nothing_to_report(run, tree, tmp_path, capsys):
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "10003_00_0.1s.ARW").write_bytes(b"broken")
    flags = (f"--short_dir={tmp_path / 'short'}", "--keep_going", "--report")
    assert run(*flags) == 1
    assert "1 of 1 bursts could not be restored" in capsys.readouterr().err


def result(scene, frames, psnr, lpips=None):
    return results.Result(scene, 0.1, 100.0, frames, True, psnr, psnr / 50, psnr / 60, lpips, 1.0)


def test_means_are_of_the_same_bursts_at_every_length():
    rows = [
        result("10003", count, psnr, 0.5)
        for count, psnr in ((1, 20.0), (2, 22.0), (4, 24.0), (8, 25.0))
    ]
    rows += [
        result("10011", count, psnr, 0.25)
        for count, psnr in ((8, 35.0), (1, 26.0), (2, 26.5), (4, 27.0))
    ]
    # Short bursts are easy here, which must not show as a loss with more frames.
    rows += [result("10016", count, 50.0) for count in (1, 2)]
    psnr, ssim, lpips = plots.growth_of(rows)
    assert (psnr.counts, psnr.bursts) == ((1, 2, 4, 8), 2)
    pairs = np.array([[20, 26], [22, 26.5], [24, 27], [25, 35]])
    np.testing.assert_allclose(psnr.means, pairs.mean(1))
    np.testing.assert_allclose(psnr.spreads, pairs.std(1, ddof=1))
    np.testing.assert_allclose(ssim.means, pairs.mean(1) / 50)
    assert lpips.means == (0.375,) * 4
    assert "2 bursts of 8 frames" in plots.caption_of(psnr)
    without, *_, last = plots.growth_of([r for r in rows if r.scene != "10011"][:4])
    assert without.spreads == (0, 0, 0, 0) and last.title.startswith("LPIPS")
    assert len(plots.growth_of([result("10003", n, 20.0) for n in (1, 2)])) == 2
    assert plots.growth_of([]) == []


def test_the_plot_says_what_to_install(run, monkeypatch, capsys, counted, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run("--figure=frames", "--limit=1") == 2
    error = capsys.readouterr().err
    assert "dbp_tf[figures]" in error and error.count("\n") == 1
    # Said before anything is restored; the pictures need no matplotlib.
    assert counted["encoded"] == 0 and not (tmp_path / "results").exists()
    assert run("--figure=panel", "--limit=1", "--n_burst=1") == 0


def test_the_plot_shows_the_band_and_the_line():
    growth = plots.growth_of(
        [result(s, n, p + n) for s, p in (("10003", 20.0), ("10011", 24.0)) for n in (1, 2, 4)]
    )
    with_band = iio.imread(io.BytesIO(plots.plot_growth(growth)))[..., :3]
    alone = plots.growth_of([result("10003", n, 20.0 + n) for n in (1, 2, 4)])
    without = iio.imread(io.BytesIO(plots.plot_growth(alone)))[..., :3]
    light_blue = np.array([210, 228, 240])
    shares = [(np.abs(p.astype(int) - light_blue) < 6).all(-1).mean() for p in (with_band, without)]
    assert shares[0] > 0.05 > shares[1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--n_burst=0"], "--n_burst=0"),
        (["--n_burst=two"], "--n_burst=two"),
        (["--n_burst=1,2"], "--figure frames"),
        (["--figure=panel", "--n_burst=1,2"], "--figure frames"),
        (["--figure=frames", "--n_burst=1,-2"], "--n_burst=1,-2"),
        (["--figure=poster"], "--figure"),
        (["--figure=panel", "--mode=single"], "--mode"),
        (["--box=1,2,3,4"], "--box"),
        (["--figure=frames", "--box=1,2,3,4"], "--box"),
        (["--figure=panel", "--box=1,2,3"], "--box=1,2,3"),
        (["--figure=panel", "--box=1,2,0,4"], "--box=1,2,0,4"),
        (["--figure=panel", "--box=-1,2,3,4"], "--box=-1,2,3,4"),
        (["--figure=panel", "--sid_checkpoint=x"], "--sid_checkpoint"),
    ],
)
def test_bad_flags_are_named(run, capsys, flags, said, tmp_path):
    assert run(*flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_the_baseline_alone_cannot_make_a_figure(run, data, capsys):
    assert run("--figure=panel", f"--checkpoint={data / 'sid_sony_d2'}") == 2
    assert "one frame at a time" in capsys.readouterr().err


def test_a_tall_box_makes_no_giant_sheet():
    (view,) = some_views(1, 512, 700)
    assert max(sheets.draw_panel([view], sheets.Box(0, 10, 512, 6)).shape) < 3000
    assert max(sheets.draw_teaser(view, [view], sheets.Box(0, 10, 512, 6)).shape) < 3000


def test_a_resumed_figure_keeps_its_box(run, capsys):
    flags = ("--figure=panel", "--limit=1", "--n_burst=1")
    assert run(*flags, "--box=8,8,20,30") == 0
    assert run(*flags, "--box=10,8,20,30", "--resume") == 2
    error = capsys.readouterr().err
    assert "--box" in error and "--resume" in error
    assert run(*flags, "--box=8,8,20,30", "--resume") == 0


def test_a_plot_of_nothing_is_refused_before_anything_is_restored(run, tree, counted, capsys):
    flags = ("--long_dir=", "--ratio=100", f"--short_dir={tree / 'short'}")
    assert run("--figure=frames", "--limit=1", *flags) == 2
    assert "--figure frames" in capsys.readouterr().err and counted["encoded"] == 0


def test_a_score_that_is_no_number_is_not_plotted():
    rows = [result("10003", count, psnr) for count, psnr in ((1, 20.0), (2, math.inf))]
    assert all(not growth.title.startswith("PSNR") for growth in plots.growth_of(rows))
