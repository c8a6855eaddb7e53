"""The published evaluation on small simulated datasets, through test_burst.py.

What it writes is worked out once more from the raw files, with rawpy, scikit-image and code of
the test's own; only the network is the same.
"""

import copy
import csv
import dataclasses
import errno
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import imageio.v3 as iio
import numpy as np
import pytest
import rawpy
import tensorflow as tf
from conftest import of_tree, photo, runner, write_tree
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dbp_tf import cli, environment, simulate
from dbp_tf.data import checks, sid
from dbp_tf.errors import InputError
from dbp_tf.evaluation import dark_frames, protocol, results
from dbp_tf.models import network_spec
from dbp_tf.raw import cameras, packing, reading
from dbp_tf.restore import checkpoints, enhancer, modes, pretrained, streaming

SCRIPT = pathlib.Path(__file__).parent.parent / "test_burst.py"

# Scene: (frames, ratio). Exposures above a ratio of 300 are capped, 10034 is misaligned.
SONY_SCENES = {10003: (8, 100), 10011: (5, 250), 10016: (2, 400), 10034: (2, 100)}
FUJI_SCENES = {10055: (2, 100)}


@pytest.fixture(scope="session")
def sony_tree(tmp_path_factory):
    # A training scene lies there as well and is not of the test split.
    scenes = SONY_SCENES | {7: (1, 100)}
    return write_tree(tmp_path_factory.mktemp("sony"), cameras.SONY, scenes, (72, 104))


@pytest.fixture(scope="session")
def fuji_tree(tmp_path_factory):
    # Two columns beyond whole periods, as the X-T2's files have.
    return write_tree(tmp_path_factory.mktemp("fuji"), cameras.FUJI, FUJI_SCENES, (516, 530))


def run_evaluation(script, weights, models, home, patch):
    return runner(
        script,
        models,
        home,
        patch,
        result_dir=home / "results",
        checkpoint=lambda given: weights["fuji" if "--camera=fuji" in given else "sony"],
    )


@pytest.fixture
def run(script, weights, models, tmp_path, monkeypatch):
    """Runs test_burst.py in this process, see `runner`.

    Each run writes to tmp_path / "results" and takes the tiny Sony weights unless told otherwise.
    """
    return run_evaluation(script, weights, models, tmp_path, monkeypatch)


# What `finished` and `a_result` were made with, besides the directories.
SHORTLY = ("--limit=1", "--n_burst=1")


@pytest.fixture(scope="session")
def finished(script, weights, models, sony_tree, tmp_path_factory):
    """The result folder of one burst of one frame; tests only look at it."""
    home = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        run = run_evaluation(script, weights, models, home, patch)
        assert run(*of_tree(sony_tree), *SHORTLY) == 0
    return home / "results"


@pytest.fixture
def a_result(finished, tmp_path):
    """A copy of `finished` where `run` writes to."""
    return pathlib.Path(shutil.copytree(finished, tmp_path / "results"))


def copy_of(tree, folder):
    """A copy of a dataset, to be broken."""
    for side in ("short", "long"):
        shutil.copytree(tree / side, folder / side)
    return folder


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder)]


def develop(path):
    with rawpy.imread(str(path)) as raw:
        developed = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=16)
    return developed / np.float32(65535)


def packed_by_hand(path, camera, ratio):
    """[H, W, C] as the published code packs it, from what rawpy reads."""
    with rawpy.imread(str(path)) as raw:
        signal = raw.raw_image_visible.astype(np.float32)
    signal = np.maximum(signal - camera.black, 0) / (camera.white - camera.black)
    if camera.mosaic == "bayer":
        sites = [signal[0::2, 0::2], signal[0::2, 1::2], signal[1::2, 1::2], signal[1::2, 0::2]]
        packed = np.stack(sites, axis=-1)
    else:
        packed = packing.pack(signal, packing.XTRANS)
    return np.minimum(packed * np.float32(ratio), 1)


def frames_of(tree, scene, ratio, camera, n_burst=8):
    paths = sorted((tree / "short").glob(f"{scene}_*"))[:n_burst]
    return np.stack([packed_by_hand(path, camera, ratio) for path in paths])


def check_figures(row, output, truth):
    """The row's figures against scikit-image's of this output and truth."""
    clipped = np.clip(output, 0, 1)
    wanted = {
        "psnr": peak_signal_noise_ratio(truth, clipped, data_range=1),
        "ssim_range2": structural_similarity(truth, clipped, channel_axis=-1, data_range=2.0),
        "ssim_range1": structural_similarity(truth, clipped, channel_axis=-1, data_range=1.0),
    }
    assert {name: float(row[name]) for name in wanted} == pytest.approx(wanted, abs=2e-6)


def check_picture(path, wanted):
    """An 8-bit picture against the floats it was made from; a rounding may fall either way."""
    picture = iio.imread(path).astype(float)
    assert picture.shape == wanted.shape
    assert np.abs(picture - np.clip(wanted, 0, 1) * 255).max() <= 0.51


def test_sony_evaluation_worked_out_once_more(run, sony_tree, weights, models, tmp_path, capsys):
    assert run(*of_tree(sony_tree)) == 0
    folder = tmp_path / "results"
    rows = rows_of(folder)
    assert [(r["scene"], r["frames"], r["scored"]) for r in rows] == [
        ("10003", "8", "1"),
        ("10011", "5", "1"),
        ("10016", "2", "1"),
        ("10034", "2", "0"),
    ]
    assert [(float(r["exposure"]), float(r["ratio"])) for r in rows] == [
        (0.1, 100),
        (0.1, 250),
        (0.1, 300),
        (0.1, 100),
    ]
    model = models[weights["sony"]]
    for row in rows:
        frames = frames_of(sony_tree, row["scene"], float(row["ratio"]), cameras.SONY)
        output = model.enhance(frames, reference_frame="first")
        truth = develop(next((sony_tree / "long").glob(f"{row['scene']}_*")))
        name = f"{row['scene']}_00_{float(row['ratio']):.0f}"
        check_picture(folder / f"{name}_out.png", output)
        check_picture(folder / f"{name}_gt.png", truth)
        assert row["lpips"] == "" and float(row["seconds"]) > 0
        if row["scored"] == "1":
            check_figures(row, output, truth)
        else:
            assert row["psnr"] == row["ssim_range2"] == row["ssim_range1"] == ""

    published = np.load(folder / "results.npy")
    scored = rows[:3]
    assert published.shape == (5, 3) and published.dtype == np.float32
    for values, column in zip(
        published, ("ssim_range2", "psnr", None, "ratio", "seconds"), strict=True
    ):
        if column:
            np.testing.assert_allclose(values, [float(r[column]) for r in scored], rtol=1e-6)
        else:
            assert np.isnan(values).all()

    text = capsys.readouterr().out
    assert "net-lin_alex_v0.1.pb" in text
    assert "black 512, white 16383" in text
    table = {line[:12].strip(): line[12:].split() for line in text.splitlines() if len(line) > 60}
    mean = np.mean([float(r["psnr"]) for r in scored])
    assert table["all"][:2] == ["3", f"{mean:.2f}"]
    for title in ("ratio 100", "ratio 250", "ratio 300", "frames 8", "frames 5", "frames 2"):
        assert table[title][0] == "1"
    assert table["frames 2"][1] == table["ratio 300"][1] == f"{float(rows[2]['psnr']):.2f}"
    assert "1 more restored but not scored" in text


def test_fuji_evaluation_with_its_38_columns(run, fuji_tree, weights, models, tmp_path):
    assert run(*of_tree(fuji_tree), "--camera=fuji") == 0
    (row,) = rows_of(tmp_path / "results")
    frames = frames_of(fuji_tree, "10055", 100, cameras.FUJI)
    assert frames.shape == (2, 172, 176, 9)
    padded = np.zeros((2, 172, 176 + 38, 9), np.float32)
    padded[:, :, :176] = frames
    padded[:, :, 176:] = frames[:, :, 138:]
    model = models[weights["fuji"]]
    # The two columns beyond 3 x 176 are filled from the padding, as published.
    output = model.enhance(padded, reference_frame="center")[:, :530]
    truth = develop(fuji_tree / "long" / "10055_00_10s.RAF")
    assert truth.shape == output.shape == (516, 530, 3)
    check_figures(row, output, truth)
    check_picture(tmp_path / "results" / "10055_00_100_out.png", output)
    # The padding reaches the pictures: its columns take part in the instance norm.
    plain = model.enhance(frames, reference_frame="center")
    assert np.abs(plain - output[:, :528]).max() > 1e-3


def test_a_mosaic_of_another_phase_is_held_against_its_own_part_of_the_truth(
    run, weights, models, tmp_path
):
    # Blue first: what the networks know starts at row and column 1.
    tree = tmp_path / "tree"
    scene = simulate.simulate_scene(
        photo(73, 105, 3), cameras.SONY, np.random.default_rng(3), frames=2
    )
    paths = ["short/10003_00_0.1s.ARW", "short/10003_01_0.1s.ARW", "long/10003_00_10s.ARW"]
    for path, samples in zip(paths, [*scene.frames, scene.truth], strict=True):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        # A row and a column that the networks do not see come first.
        samples = np.pad(samples, ((1, 0), (1, 0)), mode="edge")
        simulate.write_dng(tree / path, samples, cameras.SONY, pattern=("BG", "GR"))
    assert run(*of_tree(tree)) == 0
    signal = [np.maximum(frame - 512.0, 0)[:72, :104] / (16383 - 512) for frame in scene.frames]
    frames = np.stack([np.minimum(packing.pack(s, packing.BAYER) * 100, 1) for s in signal])
    output = models[weights["sony"]].enhance(frames.astype(np.float32), reference_frame="first")
    truth = develop(tree / paths[-1])[1:73, 1:105]
    (row,) = rows_of(tmp_path / "results")
    check_figures(row, output, truth)
    check_picture(tmp_path / "results" / "10003_00_100_out.png", output)
    check_picture(tmp_path / "results" / "10003_00_100_gt.png", truth)


def test_a_camera_of_the_users_own(run, weights, models, tmp_path):
    """Levels and phase are those of the description; the weights, those of its mosaic."""
    camera = dataclasses.replace(
        cameras.SONY, name="own", black=128.0, white=4095.0, pattern="GBRG", suffix=".dng"
    )
    cameras.save(camera, tmp_path / "own.json")
    scene = simulate.simulate_scene(photo(74, 104, 3), camera, np.random.default_rng(3), frames=2)
    paths, truth = simulate.write_scene(tmp_path / "tree", 10003, scene, camera, 100)
    assert run(*of_tree(tmp_path / "tree"), f"--camera={tmp_path / 'own.json'}") == 0
    frames = []
    for path in paths:
        with rawpy.imread(str(path)) as raw:
            samples = raw.raw_image_visible[1:-1].astype(np.float32)  # from a red filter on
        signal = np.maximum(samples - 128, 0) / (4095 - 128)
        frames.append(np.minimum(packing.pack(signal, packing.BAYER) * 100, 1))
    output = models[weights["sony"]].enhance(np.stack(frames), reference_frame="first")
    (row,) = rows_of(tmp_path / "results")
    check_figures(row, output, develop(truth)[1:-1])
    settings = json.loads((tmp_path / "results" / "settings.json").read_text())
    assert settings["flags"]["camera"] == cameras.as_json(camera)


@pytest.mark.parametrize("mode", ["single", "ensemble", "rotate"])
def test_the_other_modes(run, sony_tree, weights, models, tmp_path, mode):
    assert run(*of_tree(sony_tree), f"--mode={mode}", "--limit=2", "--n_burst=6") == 0
    rows = rows_of(tmp_path / "results")
    assert [r["frames"] for r in rows] == (["1", "1"] if mode == "single" else ["6", "5"])
    model = models[weights["sony"]]
    for row in rows:
        frames = frames_of(sony_tree, row["scene"], float(row["ratio"]), cameras.SONY, 6)
        if mode == "single":
            output = model.enhance(frames[:1])
        elif mode == "ensemble":
            singles = [np.clip(model.enhance(frame[None]), 0, 1) for frame in frames]
            output = np.mean(singles, axis=0)
        else:
            turns = [model.enhance(frames, reference_frame=i) for i in range(len(frames))]
            assert np.abs(turns[0] - turns[1]).max() > 1e-3
            output = np.mean(np.clip(turns, 0, 1), axis=0)
        check_figures(row, output, develop(next((sony_tree / "long").glob(f"{row['scene']}_*"))))


@pytest.mark.usefixtures("eagerly")
def test_rotate_encodes_each_frame_once_and_runs_the_lower_decoder_once():
    model = pretrained.untrained(network_spec.NetworkSpec(width=2, residual_blocks=1))
    steps, calls = model.steps, {}

    def counted(name):
        real = getattr(steps, name)

        def step(*arguments):
            calls[name] = calls.get(name, 0) + 1
            return real(*arguments)

        setattr(steps, name, step)

    names = ("denoise", "encode_below", "decode_below", "decode_stripe")
    for name in names:
        counted(name)
    modes.restore(
        model, list(np.random.default_rng(0).random((3, 32, 32, 4), np.float32)), "rotate"
    )
    assert [calls[name] for name in names] == [3, 3, 1, 3]


def test_rotate_is_refused_where_no_frame_is_the_reference():
    model = enhancer.Enhancer(network_spec.NetworkSpec(fusion="max"), {"coarse": 1, "fine": 1})
    with pytest.raises(InputError, match="--mode rotate needs a reference frame"):
        checkpoints.check_model(model, cameras.SONY, "rotate")


@pytest.mark.usefixtures("eagerly")
def test_the_precision_is_the_flag_s(run, sony_tree, weights, models, tmp_path, monkeypatch):
    loaded, load = [], pretrained.load_pretrained

    def noted(*arguments):
        loaded.append(load(*arguments))
        return loaded[-1]

    monkeypatch.setattr(pretrained, "load_pretrained", noted)
    assert run(*of_tree(sony_tree), *SHORTLY, "--precision=bfloat16") == 0
    (half,) = loaded
    assert "bfloat16" in {weight.dtype for weight in half.fine.weights}
    frames = frames_of(sony_tree, "10003", 100, cameras.SONY, 1)
    output = half.enhance(frames)
    assert np.abs(output - models[weights["sony"]].enhance(frames)).max() > 1e-4
    check_figures(
        rows_of(tmp_path / "results")[0],
        output,
        develop(next((sony_tree / "long").glob("10003_*"))),
    )


@pytest.mark.parametrize("flag, columns", [("--stripes", 272), ("--nostripes", None)])
def test_stripes_are_the_flag_s(run, sony_tree, monkeypatch, flag, columns):
    seen, real = [], streaming.BurstStream

    def stream(steps, keep, stripe_columns):
        seen.append(stripe_columns)
        return real(steps, keep, stripe_columns)

    monkeypatch.setattr(streaming, "BurstStream", stream)
    assert run(*of_tree(sony_tree), "--limit=1", "--n_burst=1", flag) == 0
    assert seen == [columns]


def test_files_that_hold_no_black_level_are_evaluated_as_they_say(run, tmp_path, capsys):
    """A Nikon D700's, say: with the table's 512 they would come out black."""
    camera = dataclasses.replace(cameras.SONY, black=0)
    tree = write_tree(tmp_path / "tree", camera, {10003: (1, 100)}, (72, 104))
    assert run(*of_tree(tree), *SHORTLY) == 0
    assert "black 0, white 16383 (file)" in capsys.readouterr().out


def test_files_are_read_one_ahead_and_the_next_burst_s_first_one_too(
    run, sony_tree, monkeypatch, tmp_path
):
    """Frame k + 1 of a burst, and only that, is read when the networks get frame k."""
    asked, at = [], []
    real_read, real_checked = reading.read_raw, enhancer.Enhancer.checked

    def read(path, *arguments):
        if path.parent.name == "short":
            asked.append(path.name)
        return real_read(path, *arguments)

    def checked(model, frames):
        for frame in real_checked(model, frames):
            yield frame
            at.append(len(asked))

    monkeypatch.setattr(checks, "check_files", lambda *_: None)
    monkeypatch.setattr(dark_frames.reading, "read_raw", read)
    monkeypatch.setattr(enhancer.Enhancer, "checked", checked)
    assert run(*of_tree(sony_tree), "--limit=2", "--n_burst=3") == 0
    first, second = (
        [f"{scene}_{i:02d}_0.1s.ARW" for i in range(3)] for scene in ("10003", "10011")
    )
    assert sorted(asked) == sorted(first + second)
    assert set(asked[:2]) == {first[0], second[0]}
    # Two bursts have one file each read from the start; the others come one at a time.
    assert all(count <= 2 + k for k, count in enumerate(at[:3], 1))


def test_reference_frame_is_the_flag_s(run, sony_tree, weights, models, tmp_path):
    assert run(*of_tree(sony_tree), "--limit=1", "--n_burst=3", "--reference_frame=center") == 0
    frames = frames_of(sony_tree, "10003", 100, cameras.SONY, 3)
    model = models[weights["sony"]]
    output = model.enhance(frames, reference_frame="center")
    assert np.abs(output - model.enhance(frames, reference_frame="first")).max() > 1e-3
    check_picture(tmp_path / "results" / "10003_00_100_out.png", output)


def test_a_reference_frame_without_effect_is_refused(run, sony_tree, data, capsys):
    first_version = f"--checkpoint={data / 'sony_v1_d2'}"
    assert run(*of_tree(sony_tree), first_version, "--reference_frame=first") == 2
    error = capsys.readouterr().err
    assert "--reference_frame means nothing to the weights in" in error and "sony_v1_d2" in error


def test_pictures_of_16_bit(run, sony_tree, weights, models, tmp_path):
    assert run(*of_tree(sony_tree), "--limit=1", "--n_burst=1", "--png16") == 0
    frames = frames_of(sony_tree, "10003", 100, cameras.SONY, 1)
    output = models[weights["sony"]].enhance(frames)
    file = tf.io.read_file(str(tmp_path / "results" / "10003_00_100_out.png"))
    picture = tf.io.decode_png(file, dtype=tf.uint16).numpy()
    assert np.abs(picture - np.clip(output, 0, 1) * 65535.0).max() < 2


def test_lpips_is_that_of_the_unclipped_output(run, sony_tree, weights, models, tmp_path, capsys):
    graph = tf.Graph()
    with graph.as_default():
        first, second = (
            tf.compat.v1.placeholder(tf.float32, [None, 3, None, None], name=name) for name in "01"
        )
        # Not the same with the pictures swapped.
        tf.reduce_mean(tf.abs(2 * first - second) ** 3, [1, 2, 3], keepdims=True)
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    assert run(*of_tree(sony_tree), "--limit=1", f"--lpips_graph={path}") == 0
    (row,) = rows_of(tmp_path / "results")
    frames = frames_of(sony_tree, "10003", 100, cameras.SONY)
    output = models[weights["sony"]].enhance(frames)
    truth = develop(sony_tree / "long" / "10003_00_10s.ARW")

    def distance(image):
        return np.mean(np.abs(2 * (2 * image - 1) - (2 * truth - 1)) ** 3.0)

    wanted = distance(output)
    assert wanted != pytest.approx(distance(np.clip(output, 0, 1)), abs=1e-5)
    assert float(row["lpips"]) == pytest.approx(wanted, abs=1e-5)
    assert np.load(tmp_path / "results" / "results.npy")[2] == pytest.approx(wanted, abs=1e-5)
    text = capsys.readouterr().out
    assert f"LPIPS {wanted:.4f}" in text and "No LPIPS" not in text


def test_bursts_without_a_truth_are_restored_but_not_scored(
    run, sony_tree, weights, models, tmp_path
):
    short = f"--short_dir={sony_tree / 'short'}"
    assert run(short, "--ratio=150", "--limit=1", "--n_burst=2") == 0
    folder = tmp_path / "results"
    (row,) = rows_of(folder)
    assert (row["ratio"], row["scored"], row["psnr"]) == ("150.0", "0", "")
    frames = frames_of(sony_tree, "10003", 150, cameras.SONY, 2)
    output = models[weights["sony"]].enhance(frames)
    check_picture(folder / "10003_00_150_out.png", output)
    assert not list(folder.glob("*_gt.png"))
    assert np.load(folder / "results.npy").shape == (5, 0)


def test_settings_say_how_it_was_done(finished, sony_tree, weights, models):
    settings = json.loads((finished / "settings.json").read_text())
    flags = settings["flags"]
    assert flags["n_burst"] == 1 and flags["mode"] == "burst"
    assert flags["reference_frame"] == "first" and flags["lpips_graph"] is None
    assert flags["short_dir"] == str((sony_tree / "short").resolve())
    assert flags["result_dir"] == str(finished.resolve())
    assert settings["versions"]["tensorflow"] == tf.__version__
    assert settings["versions"]["rawpy"] == rawpy.__version__
    assert settings["versions"]["libraw"].count(".") == 2
    model = models[weights["sony"]]
    network = settings["network"]
    assert {k: network[k] for k in vars(model.spec)} == dataclasses.asdict(model.spec)


# Stopping and going on


@pytest.fixture
def stop_after(monkeypatch):
    """stop_after(n): Ctrl-C when n bursts are restored; stop_after(None): never."""
    real, calls = modes.restore, []

    def stop_after(bursts):
        calls.clear()

        def restore(model, frames, *args, **how):
            if len(calls) == bursts:
                raise KeyboardInterrupt
            calls.append(frames.first.path.name[:5])
            return real(model, frames, *args, **how)

        monkeypatch.setattr(modes, "restore", restore)
        return calls

    return stop_after


def test_a_stopped_run_goes_on_where_it_was(run, sony_tree, tmp_path, stop_after, capsys):
    whole = tmp_path / "whole"
    flags = (*of_tree(sony_tree), "--n_burst=2")
    assert run(*flags, f"--result_dir={whole}") == 0
    folder = tmp_path / "results"
    stop_after(2)
    assert run(*flags) == 130
    assert [r["scene"] for r in rows_of(folder)] == ["10003", "10011"]
    assert not (folder / "results.npy").exists()
    # What a crash in the middle of a line would leave.
    with (folder / "metrics.csv").open("a") as file:
        file.write("10016,0.1,30")
    # A picture that was lost is made again.
    (folder / "10003_00_100_out.png").unlink()
    capsys.readouterr()
    calls = stop_after(None)
    assert run(*flags, "--resume") == 0
    assert calls == ["10003", "10016", "10034"]
    assert "1 of 4 bursts are done already" in capsys.readouterr().out
    by_scene = sorted(without_times(folder), key=lambda row: row["scene"])
    assert by_scene == without_times(whole)
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in whole.iterdir()}
    assert np.load(folder / "results.npy").shape == (5, 3)
    # Once more: nothing is left to do.
    calls = stop_after(None)
    assert run(*flags, "--resume") == 0
    assert not calls and sorted(without_times(folder), key=lambda r: r["scene"]) == by_scene


def test_a_folder_with_something_in_it_is_left_alone(run, a_result, sony_tree, capsys):
    before = {path: path.read_bytes() for path in a_result.iterdir()}
    assert run(*of_tree(sony_tree)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --result_dir") and "--resume" in error
    assert {path: path.read_bytes() for path in a_result.iterdir()} == before
    # Without settings --resume would not help either.
    (a_result / "settings.json").unlink()
    assert run(*of_tree(sony_tree)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --result_dir") and "--resume" not in error


def test_a_run_killed_before_its_first_row_goes_on(run, a_result, sony_tree, monkeypatch, capsys):
    shutil.rmtree(a_result)
    write = results.write

    def killed(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "write", killed)
    assert run(*of_tree(sony_tree), *SHORTLY) == 130
    monkeypatch.setattr(results, "write", write)
    # What a kill while a file was written would leave.
    (a_result / ".metrics.csv.0123abcd.part").write_text("scene")
    assert [path.suffix for path in sorted(a_result.iterdir())] == [".part", ".json"]
    assert run(*of_tree(sony_tree), *SHORTLY, "--resume") == 0
    assert [row["scene"] for row in rows_of(a_result)] == ["10003"]


def test_half_written_files_alone_are_an_empty_folder(tmp_path):
    (tmp_path / ".settings.json.0123abcd.part").write_text("{")
    results.check_folder(tmp_path, resume=False)
    results.check_folder(tmp_path, resume=True)


@pytest.mark.parametrize("inside", ["results", "results/deeper", "results/two/levels"])
def test_a_file_in_the_folder_s_place_is_found_before_tensorflow_is_loaded(
    run, sony_tree, tmp_path, monkeypatch, capsys, inside
):
    monkeypatch.setattr(
        environment, "import_tensorflow", lambda: pytest.fail("TensorFlow was loaded")
    )
    (tmp_path / "results").write_text("mine")
    for flags in (of_tree(sony_tree), []):
        assert run(*flags, f"--result_dir={tmp_path / inside}") == 2
        error = capsys.readouterr().err
        assert error.startswith("error: --result_dir") and str(tmp_path / "results") in error
        assert error.count("\n") == 1
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="needs an unwritable folder")
def test_an_unwritable_folder_is_found_before_tensorflow_is_loaded(
    run, sony_tree, monkeypatch, capsys
):
    monkeypatch.setattr(
        environment, "import_tensorflow", lambda: pytest.fail("TensorFlow was loaded")
    )
    # Not even root can write there.
    assert run(*of_tree(sony_tree), "--result_dir=/proc/self/results") == 2
    assert capsys.readouterr().err.startswith("error: --result_dir: nothing can be written to ")


def test_the_default_folder_says_what_is_restored(script, run, sony_tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []

    def note(folder, *_):
        folders.append(str(folder))
        raise InputError("far enough")

    monkeypatch.setattr(results, "check_folder", note)
    for flags in (
        [],
        ["--camera=fuji"],
        of_tree(sony_tree),
        [*of_tree(sony_tree), "--split=train", "--mode=single"],
    ):
        assert cli.run(script.main, script.FLAGS, ["test_burst.py", *flags]) == 2
    assert folders == [
        "results/sample_sony",
        "results/sample_fuji",
        "results/sony_test_burst",
        "results/sony_train_single",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_gone_on_with(run, sony_tree, tmp_path, capsys):
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "10003_00_100_out.png").write_text("mine")
    assert run(*of_tree(sony_tree), f"--result_dir={folder}", "--resume") == 2
    assert "settings.json" in capsys.readouterr().err
    assert (folder / "10003_00_100_out.png").read_text() == "mine"


@pytest.mark.parametrize(
    "other",
    ["--n_burst=2", "--mode=single", "--reference_frame=center", "--png16", "--split=train"],
)
def test_other_settings_are_not_mixed_in(run, a_result, sony_tree, capsys, other):
    before = (a_result / "metrics.csv").read_bytes()
    flags = [other] if other.startswith("--n_burst") else ["--n_burst=1", other]
    assert run(*of_tree(sony_tree), *flags, "--resume") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --resume") and other.partition("=")[0] in error
    assert (a_result / "metrics.csv").read_bytes() == before


def test_a_folder_of_a_version_that_describes_weights_otherwise_is_gone_on_with(
    run, a_result, sony_tree
):
    settings = json.loads((a_result / "settings.json").read_text())
    del settings["network"]["reference_frame"]
    settings["network"]["family"] = "burst"
    (a_result / "settings.json").write_text(json.dumps(settings))
    assert run(*of_tree(sony_tree), *SHORTLY, "--resume") == 0


@pytest.mark.usefixtures("eagerly", "built_once")
def test_changed_weights_are_not_mixed_in(run, sony_tree, weights, models, tmp_path, capsys):
    checkpoint = tmp_path / "weights"
    shutil.copytree(weights["sony"], checkpoint)
    flags = (*of_tree(sony_tree), "--limit=1", "--n_burst=1", f"--checkpoint={checkpoint}")
    assert run(*flags) == 0
    model = pretrained.load_pretrained(checkpoint)
    model.coarse.weights[0].assign(model.coarse.weights[0] * 1.001)
    pretrained.save_pretrained(model, checkpoint)
    assert run(*flags, "--resume") == 2
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["10003,0.1,100,eight,1,,,,,0.1\n", "hello\n", ",,,,,,,,,\n", "\0\n"]
)
def test_a_table_changed_by_other_hands_is_named(run, a_result, sony_tree, capsys, line):
    with (a_result / "metrics.csv").open("a") as file:
        file.write(line)
    assert run(*of_tree(sony_tree), *SHORTLY, "--resume") == 2
    assert "metrics.csv" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"flags": 3, "network": {}}', '{"flags": {}}'])
def test_settings_that_cannot_be_read_are_named(run, sony_tree, tmp_path, capsys, text):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "settings.json").write_text(text)
    assert run(*of_tree(sony_tree), "--limit=1", "--resume") == 2
    assert "settings.json" in capsys.readouterr().err


# Bad input


@pytest.fixture
def broken_tree(sony_tree, tmp_path):
    """The Sony tree with a truncated frame in 10003 and a larger one in 10011."""
    tree = copy_of(sony_tree, tmp_path / "broken")
    truncated = tree / "short" / "10003_01_0.1s.ARW"
    truncated.write_bytes(truncated.read_bytes()[:700])
    large = np.full((76, 104), 600, np.uint16)
    simulate.write_dng(tree / "short" / "10011_01_0.1s.ARW", large, cameras.SONY)
    return tree


def test_a_broken_raw_file_stops_the_run(run, broken_tree, tmp_path, capsys):
    assert run(*of_tree(broken_tree)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "10003_01_0.1s.ARW" in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_keep_going_skips_and_reports(run, broken_tree, tmp_path, capsys):
    assert run(*of_tree(broken_tree), "--keep_going") == 1
    folder = tmp_path / "results"
    assert [r["scene"] for r in rows_of(folder)] == ["10016", "10034"]
    assert np.load(folder / "results.npy").shape == (5, 1)
    captured = capsys.readouterr()
    first, *failed = captured.err.strip().splitlines()
    assert first == "2 of 4 bursts could not be restored:"
    assert "10003_01_0.1s.ARW" in failed[0]
    assert "10011_01_0.1s.ARW" in failed[1] and "76 x 104" in failed[1] and "72 x 104" in failed[1]
    assert len(failed) == 2 and "all                   1" in captured.out
    # Mended, the same folder is completed.
    shutil.copy(
        broken_tree / "short" / "10003_00_0.1s.ARW", broken_tree / "short" / "10003_01_0.1s.ARW"
    )
    (broken_tree / "short" / "10011_01_0.1s.ARW").unlink()
    assert run(*of_tree(broken_tree), "--resume") == 0
    assert {r["scene"] for r in rows_of(folder)} == {"10003", "10011", "10016", "10034"}


def test_keep_going_lists_what_is_wrong_with_the_folders(run, sony_tree, tmp_path, capsys):
    tree = copy_of(sony_tree, tmp_path / "tree")
    (tree / "short" / "10011_00_0.1s.ARW").unlink()
    (tree / "long" / "10016_00_40s.ARW").unlink()
    flags = (*of_tree(tree), "--n_burst=1")
    # Later bursts are nothing to one that is limited to the first.
    assert run(*flags, "--limit=1") == 0
    assert run(*flags, "--resume") == 2
    (tree / "short" / "notes.ARW").touch()
    capsys.readouterr()
    assert run(*flags, "--resume", "--keep_going") == 1
    assert {row["scene"] for row in rows_of(tmp_path / "results")} == {"10003", "10034"}
    first, *said = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("Left out") and len(said) == 3
    for words, line in zip(("notes.ARW", "10011_01_0.1s.ARW", "scene 10016"), said, strict=True):
        assert words in line


@pytest.mark.parametrize(
    "unreadable",
    [
        "folder",
        pytest.param(
            "forbidden",
            marks=pytest.mark.skipif(
                not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
            ),
        ),
    ],
)
def test_keep_going_skips_what_cannot_be_read(run, sony_tree, tmp_path, capsys, unreadable):
    tree = copy_of(sony_tree, tmp_path / "tree")
    path = tree / "short" / "10003_00_0.1s.ARW"
    if unreadable == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.chmod(0)
    assert run(*of_tree(tree), "--n_burst=1", "--limit=2", "--keep_going") == 1
    assert [row["scene"] for row in rows_of(tmp_path / "results")] == ["10011"]
    assert "10003_00_0.1s.ARW" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(96, 104), (72, 106), (74, 104), (71, 104)])
def test_a_truth_of_another_size_is_named(run, sony_tree, tmp_path, capsys, size):
    path = tmp_path / "long" / "10003_00_10s.ARW"
    simulate.write_dng(path, np.full(size, 600, np.uint16), cameras.SONY)
    flags = (f"--short_dir={sony_tree / 'short'}", f"--long_dir={path.parent}")
    assert run(*flags, *SHORTLY) == 2
    said = rf"10003_00_10s.ARW .* {size[0]} x {size[1]} .* 72 x 104"
    assert re.search(said, capsys.readouterr().err)
    assert rows_of(tmp_path / "results") == []


def test_a_truth_that_is_no_raw_file_is_named_before_the_networks_run(sony_tree, tmp_path):
    (burst,) = sid.find_bursts(
        *(sony_tree / side for side in ("short", "long")), cameras.SONY, "test", 1, limit=1
    )
    path = tmp_path / "10003_00_10s.ARW"
    path.write_text("no raw file\n" * 999)
    without_networks = types.SimpleNamespace(white_balance=None)
    with pytest.raises(InputError, match="10003_00_10s.ARW is not a raw file"):
        protocol.evaluate(
            without_networks, [dataclasses.replace(burst, truth=path)], cameras.SONY, tmp_path
        )


def test_pairs_that_cannot_be_true_are_refused_before_anything_is_written(
    run, sony_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        environment, "import_tensorflow", lambda: pytest.fail("TensorFlow was loaded")
    )
    short, long = sony_tree / "short", sony_tree / "long"
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    shutil.copy(short / "10003_01_0.1s.ARW", renamed / "10003_00_10s.ARW")
    for folders in ((long, short), (short, short), (short, renamed)):
        flags = [
            f"--{flag}_dir={path}" for flag, path in zip(("short", "long"), folders, strict=True)
        ]
        for more in ([], ["--ratio=100"]):
            assert run(*flags, *more, "--limit=1") == 2
            error = capsys.readouterr().err
            assert "--short_dir" in error and "--long_dir" in error and error.count("\n") == 1
    assert run(f"--short_dir={short}", "--ratio=1") == 2
    assert "--ratio" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_bright_frame_in_a_dark_burst_is_refused_and_a_copied_one_said(
    run, sony_tree, tmp_path, capsys
):
    tree = copy_of(sony_tree, tmp_path / "tree")
    short, (bright,) = tree / "short", (tree / "long").glob("10003_00_*")
    shutil.copy(short / "10003_00_0.1s.ARW", short / "10003_01_0.1s.ARW")
    assert run(*of_tree(tree), "--n_burst=2", "--limit=1") == 0
    said = "10003_01_0.1s.ARW holds the very pixels of 10003_00_0.1s.ARW"
    assert said in capsys.readouterr().out
    shutil.copy(bright, short / "10003_01_0.1s.ARW")
    again = f"--result_dir={tmp_path / 'again'}"
    assert run(*of_tree(tree), "--n_burst=2", "--limit=1", again) == 2
    assert "10003_01_0.1s.ARW is far brighter than" in capsys.readouterr().err
    assert not list((tmp_path / "again").glob("10003*"))


def test_a_later_pair_that_cannot_be_true_leaves_no_picture(run, sony_tree, tmp_path, capsys):
    tree = copy_of(sony_tree, tmp_path / "tree")
    shutil.copy(tree / "short" / "10011_01_0.1s.ARW", tree / "long" / "10011_00_25s.ARW")
    assert run(*of_tree(tree), "--n_burst=1", "--limit=3", "--keep_going") == 1
    assert {row["scene"] for row in rows_of(tmp_path / "results")} == {"10003", "10016"}
    assert "10011_00_25s.ARW is no brighter than" in capsys.readouterr().err
    assert not list((tmp_path / "results").glob("10011*"))


def test_files_of_any_raw_suffix_are_restored(run, sony_tree, tmp_path):
    tree = copy_of(sony_tree, tmp_path / "tree")
    for path in [*tree.glob("*/10003*")]:
        path.rename(path.with_suffix(".NEF"))
    assert run(*of_tree(tree), "--n_burst=1", "--limit=1") == 0
    assert [row["scene"] for row in rows_of(tmp_path / "results")] == ["10003"]


def test_a_file_that_is_no_raw_file_is_refused_before_tensorflow_is_loaded(
    run, sony_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        environment, "import_tensorflow", lambda: pytest.fail("TensorFlow was loaded")
    )
    tree = copy_of(sony_tree, tmp_path / "tree")
    (tree / "short" / "10016_01_0.1s.ARW").write_text("no raw file\n" * 99)
    assert run(*of_tree(tree)) == 2
    assert "10016_01_0.1s.ARW is not a raw file" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_full_disk_names_the_file_and_loses_nothing(
    run, sony_tree, tmp_path, monkeypatch, capsys
):
    flags, fsync, calls = (*of_tree(sony_tree), "--n_burst=1", "--limit=2"), os.fsync, []

    def full(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if calls[-1].endswith("metrics.csv") and len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    assert run(*flags, "--keep_going") == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "results" / "metrics.csv") in error and "disk is full" in error
    monkeypatch.setattr(os, "fsync", fsync)
    assert run(*flags, "--resume") == 0
    assert [row["scene"] for row in rows_of(tmp_path / "results")] == ["10003", "10011"]


def test_names_that_are_not_utf_8_are_skipped_or_used(run, sony_tree, tmp_path, capsys):
    tree = copy_of(sony_tree, tmp_path / os.fsdecode(b"tr\xff[e]"))
    (tree / "short" / os.fsdecode(b"10003_0\xff_0.1s.ARW")).touch()
    flags = (*of_tree(tree), "--n_burst=1", "--limit=1", f"--result_dir={tree / 'results'}")
    assert run(*flags) == 2
    assert "10003_0\\xff_0.1s.ARW is not named" in capsys.readouterr().err
    assert run(*flags, "--keep_going", "--report") == 1
    assert "10003_0\\xff_0.1s.ARW is not named" in capsys.readouterr().err
    assert [row["scene"] for row in rows_of(tree / "results")] == ["10003"]
    assert (tree / "results" / "report.html").is_file()


def test_an_empty_folder_is_named(run, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(f"--short_dir={empty}", "--ratio=100") == 2
    assert str(empty) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--short_dir=/none"], "--short_dir"),
        (["--short_dir=."], "--long_dir"),
        (["--long_dir=."], "--short_dir"),
        (["--ratio=100"], "--short_dir"),
        (["--ratio=301"], "--ratio"),
        (["--short_dir=.", "--ratio=nan"], "--ratio=nan"),
        (["--burst=a.dng"], "python -m dbp_tf.photos"),
        (["--burst", "a.dng", "--burst_gap=5"], "python -m dbp_tf.photos"),
        (["--split=train"], "--short_dir"),
        (["--n_burst=0"], "--n_burst"),
        (["--limit=0"], "--limit"),
        (["--mode=average"], "--mode"),
        (["--camera=nikon"], "--camera"),
        (["--lpips_graph=/none.pb"], "--lpips_graph"),
        (["--checkpoint=/none"], "/none"),
    ],
)
def test_bad_flags_are_named(run, sony_tree, capsys, arguments, said):
    if said == "/none":
        arguments = [*of_tree(sony_tree), *arguments]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("checkpoint", "flags", "said"),
    [
        ("fuji", [], "--camera fuji"),
        ("sony", ["--camera=fuji"], "--camera sony"),
        ("video", [], "weights of this camera"),
        ("sid_sony_d2", [], "--mode single or --mode ensemble"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    run,
    data,
    weights,
    models,
    sony_tree,
    fuji_tree,
    tmp_path,
    monkeypatch,
    capsys,
    checkpoint,
    flags,
    said,
):
    tree = fuji_tree if flags else sony_tree
    path = weights.get(checkpoint, data / checkpoint)
    if checkpoint == "video":
        spec = network_spec.NetworkSpec(scale=1, depth_to_space=False)
        monkeypatch.setitem(models, path, enhancer.Enhancer(spec, {"coarse": 1, "fine": 1}))
    assert run(*of_tree(tree), *flags, f"--checkpoint={path}") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_weights_of_a_coarse_network_alone_are_refused():
    spec = network_spec.NetworkSpec(family="coarse", scale=1)
    model = enhancer.Enhancer(spec, {"coarse": 1})
    with pytest.raises(InputError, match="coarse network alone"):
        checkpoints.check_model(model, cameras.SONY, "burst")


@pytest.mark.usefixtures("eagerly")
def test_the_sid_baseline_restores_single_frames(run, data, sony_tree, tmp_path):
    flags = ("--limit=1", "--n_burst=2", f"--checkpoint={data / 'sid_sony_d2'}")
    assert run(*of_tree(sony_tree), *flags, "--mode=ensemble") == 0
    frames = frames_of(sony_tree, "10003", 100, cameras.SONY, 2)
    model = pretrained.load_pretrained(data / "sid_sony_d2")
    wanted = np.mean([np.clip(model.enhance(f[None]), 0, 1) for f in frames], axis=0)
    check_picture(tmp_path / "results" / "10003_00_100_out.png", wanted)


def test_two_bursts_that_would_share_a_picture_are_named(run, tmp_path, capsys):
    tree = write_tree(tmp_path / "tree", cameras.SONY, {10003: (1, 400)}, (64, 64))
    first = tree / "short" / "10003_00_0.1s.ARW"
    shutil.copy(first, first.with_name("10003_00_0.05s.ARW"))
    assert run(*of_tree(tree)) == 2
    error = capsys.readouterr().err
    assert "10003_00_0.1s.ARW" in error and "10003_00_0.05s.ARW" in error
    assert not (tmp_path / "results").exists()


def burst_in_light(folder, multipliers):
    """A dataset of one noiseless burst whose light the camera noted as `multipliers`."""
    light = dataclasses.replace(cameras.SONY, white_balance=multipliers)
    balanced = photo(64, 80) / 2
    for side, exposure in (("short", 0.1), ("long", 10)):
        (folder / side).mkdir(parents=True)
        linear = balanced / multipliers * (exposure / 10)
        mosaic = simulate.mosaic(linear, packing.BAYER.colours)
        samples = np.rint(light.black + mosaic * (light.white - light.black)).astype(np.uint16)
        simulate.write_dng(folder / side / f"10003_00_{exposure:g}s.ARW", samples, light, exposure)
    return folder


def test_another_light_makes_no_other_picture_where_weights_say_theirs(
    run, weights, models, tmp_path, capsys
):
    trained, other = cameras.SONY.white_balance, (2.1, 1.0, 2.4)
    trees = [burst_in_light(tmp_path / f"{m[0]}", m) for m in (trained, other)]
    balanced = copy.copy(models[weights["sony"]])
    balanced.white_balance = trained
    (tmp_path / "balanced").mkdir()
    models[tmp_path / "balanced"] = balanced

    def pictures(*flags):
        for number, tree in enumerate(trees):
            folder = tmp_path / f"{len(flags)} {number}"
            assert run(*of_tree(tree), f"--result_dir={folder}", *flags) == 0
            yield iio.imread(folder / "10003_00_100_out.png") / 255

    try:
        left, scaled = list(pictures()), list(pictures(f"--checkpoint={tmp_path / 'balanced'}"))
    finally:
        del models[tmp_path / "balanced"]
    np.testing.assert_allclose(scaled[0], left[0], atol=1.1 / 255)
    assert np.abs(left[1] - left[0]).mean() > 0.008
    # But for whole raw values, a hundred times brightened.
    assert np.abs(scaled[1] - scaled[0]).mean() < 0.003
    said = "White balance: the weights were trained for 2.77/1/1.43; colours are scaled to that"
    assert capsys.readouterr().out.count(said) == 2


# The parts


def test_every_mode_says_what_it_is_and_how_many_frames_it_reads():
    assert {name: mode.most_frames for name, mode in modes.MODES.items()} == {
        "burst": None,
        "single": 1,
        "ensemble": None,
        "rotate": None,
    }


def test_padding_repeats_the_last_columns_and_changes_no_frame():
    class Model:
        reference_frame = "first"

        def enhance(self, frames, reference_frame):
            assert reference_frame == 0
            return np.stack(list(frames))

    frames = list(np.random.default_rng(0).random((3, 4, 10, 2), np.float32))
    before = np.stack(frames)
    padded = modes.restore(Model(), frames, padded_columns=3)
    np.testing.assert_array_equal(padded[:, :, :10], before)
    np.testing.assert_array_equal(padded[:, :, 10:], before[:, :, 7:])
    np.testing.assert_array_equal(np.stack(frames), before)


def test_the_table_leaves_out_what_is_not_scored():
    scored = results.Result("10003", 0.1, 100.0, 8, True, 30.0, 0.9, 0.8, 0.25, 2.0)
    other = dataclasses.replace(scored, scene="10011", ratio=250.0, frames=2, psnr=20.0, lpips=None)
    unscored = results.Result("10034", 0.1, 100.0, 8, False, None, None, None, None, 99.0)
    lines = results.table([scored, unscored, other]).splitlines()
    found = {line[:12].strip(): line[12:].split() for line in lines[1:6]}
    assert found["all"] == ["2", "25.00", "0.9000", "0.8000", "0.2500", "2.00"]
    assert found["ratio 250"] == ["1", "20.00", "0.9000", "0.8000", "-", "2.00"]
    assert list(found) == ["all", "ratio 100", "ratio 250", "frames 2", "frames 8"]
    assert results.table([unscored]).startswith("1 restored, none of them scored")
    assert results.table([]) == "No burst was restored."
    assert results.table([scored]) == (
        "PSNR 30.00 dB, SSIM 0.9000 as published (data range 2), 0.8000 of data range 1, "
        "LPIPS 0.2500"
    )


def test_the_published_array_marks_a_missing_lpips():
    row = results.Result("10003", 0.1, 100.0, 8, True, 30.0, 0.9, 0.8, None, 2.0)
    np.testing.assert_array_equal(
        results.published_array([row, dataclasses.replace(row, lpips=0.25, scene="10011")]),
        np.array(
            [[0.9, 0.9], [30, 30], [math.nan, 0.25], [100, 100], [2, 2]],
            np.float32,
        ),
    )


# Without a dataset


def test_without_flags_the_sample_is_restored_with_the_project_s_weights(
    run, weights, models, tmp_path, monkeypatch, capsys
):
    bundled = pathlib.Path(
        shutil.copytree(weights["sony"], tmp_path / "checkpoints" / "sony_small")
    )
    assert (checkpoints.FOLDER / "sony_small" / "network.json").is_file()
    monkeypatch.setitem(models, bundled, models[weights["sony"]])
    monkeypatch.setattr(checkpoints, "FOLDER", bundled.parent)
    folder = tmp_path / "results"
    assert run("--n_burst=2", "--checkpoint=") == 0
    assert "10000_00_100_out.png" in capsys.readouterr().out
    (row,) = rows_of(folder)
    assert (row["ratio"], row["frames"], row["scored"]) == ("100.0", "2", "1")
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["flags"]["checkpoint"].endswith("sony_small")
    assert len(list((folder / "sample" / "short").iterdir())) == 8
    # What is there is not simulated again.
    monkeypatch.setattr(simulate, "simulate_tree", lambda *_, **__: pytest.fail("simulated again"))
    assert run("--n_burst=2", "--checkpoint=", "--resume") == 0


def test_without_the_project_s_weights_others_are_asked_for(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "FOLDER", tmp_path)
    assert run("--checkpoint=", "--camera=fuji") == 2
    error = capsys.readouterr().err
    assert "fuji_small" in error and "--checkpoint" in error and error.count("\n") == 1
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").glob("*.png"))


def test_the_sample_needs_the_simulator_s_extra(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert run() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "dbp_tf[simulate]" in error


def test_the_script_itself_and_the_environment_does_not_choose_for_keras(
    finished, sony_tree, weights, tmp_path
):
    keras = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(keras))
    # No TF_CPP_MIN_LOG_LEVEL: TensorFlow's chatter must be silenced without.
    environment = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "KERAS_BACKEND": "torch",
        "MPLBACKEND": "module://of_a_notebook.inline",
    }
    command = [sys.executable, str(SCRIPT), *of_tree(sony_tree), *SHORTLY]
    command += [f"--checkpoint={weights['sony']}", f"--result_dir={tmp_path / 'results'}"]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1/1] 10003_00_100, 1 frame: PSNR" in done.stdout
    picture, wanted = (
        iio.imread(folder / "10003_00_100_out.png").astype(int)
        for folder in (tmp_path / "results", finished)
    )
    assert np.abs(picture - wanted).max() <= 1
