"""The dataset's names, splits, bursts and ratios."""

import dataclasses
import importlib.util
import pathlib
import shutil

import numpy as np
import pytest
from conftest import ROOT

from dbp_tf import cli, environment, simulate
from dbp_tf.data import checks, sid
from dbp_tf.errors import InputError
from dbp_tf.raw.cameras import FUJI, SONY


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def tree(tmp_path):
    touch(
        tmp_path / "short",
        *(f"10003_{frame:02d}_0.1s.ARW" for frame in range(10)),
        "10003_00_0.04s.ARW",
        "10003_02_0.04s.ARW",
        "10003_05_0.04s.ARW",
        "10034_00_0.033s.ARW",
        "00001_00_0.1s.ARW",
        "20201_00_0.1s.arw",
        ".10003_00_0.1s.ARW",
        "notes.txt",
    )
    touch(
        tmp_path / "long",
        *(f"{scene}_00_10s.ARW" for scene in ("00001", "10003", "10034", "20201")),
    )
    return tmp_path


def bursts_of(tree, split="test", **options):
    return sid.find_bursts(tree / "short", tree / "long", SONY, split, **options)


def test_bursts_are_grouped_by_scene_and_exposure(tree):
    bursts = bursts_of(tree)
    assert [(b.scene, b.exposure, len(b.frames)) for b in bursts] == [
        ("10003", 0.1, 8),
        ("10003", 0.04, 3),
        ("10034", 0.033, 1),
    ]
    assert [path.name for path in bursts[1].frames] == [
        "10003_00_0.04s.ARW",
        "10003_02_0.04s.ARW",
        "10003_05_0.04s.ARW",
    ]
    assert [b.truth.name for b in bursts[:2]] == ["10003_00_10s.ARW"] * 2


def test_ratios_are_capped_at_300(tree):
    assert [b.ratio for b in bursts_of(tree)] == [100, 250, 300]
    assert [b.name for b in bursts_of(tree)] == ["10003_00_100", "10003_00_250", "10034_00_300"]


def test_misaligned_scenes_are_not_scored(tree):
    assert [b.scored for b in bursts_of(tree)] == [True, True, False]


def test_splits_go_by_the_first_digit_and_suffix_in_any_case(tree):
    assert [b.scene for b in bursts_of(tree, "train")] == ["00001"]
    assert [b.scene for b in bursts_of(tree, "val")] == ["20201"]


def test_n_burst_counts_frame_numbers_as_published(tree):
    touch(tree / "short", "10003_08_0.04s.ARW")
    names = {n: [p.name for p in bursts_of(tree, n_burst=n)[1].frames] for n in (2, 3, 8)}
    assert names[2] == ["10003_00_0.04s.ARW"]
    assert names[3] == ["10003_00_0.04s.ARW", "10003_02_0.04s.ARW"]
    assert names[8] == names[3] + ["10003_05_0.04s.ARW"]


def test_a_whole_ratio_is_named_whole(tree):
    touch(tree / "long", "20201_00_0.7s.ARW")
    (tree / "long" / "20201_00_10s.ARW").unlink()
    assert [b.name for b in bursts_of(tree, "val")] == ["20201_00_7"]


def test_all_misaligned_scenes_of_the_dataset_are_known(tree):
    assert {"10034", "10045", "10172"} == sid.MISALIGNED_SCENES


def test_a_missing_truth_needs_a_ratio_and_is_not_scored(tree):
    (tree / "long" / "10003_00_10s.ARW").unlink()
    with pytest.raises(InputError, match="scene 10003 has no long exposure.*--ratio"):
        bursts_of(tree)
    without = bursts_of(tree, ratio=120.0)[0]
    assert (without.ratio, without.truth, without.scored) == (120.0, None, False)
    assert sid.find_bursts(tree / "short", None, SONY, "test", ratio=50.0)[0].ratio == 50


def test_the_longest_of_two_long_exposures_counts(tree):
    touch(tree / "long", "10003_00_30s.ARW")
    assert [b.ratio for b in bursts_of(tree)[:2]] == [300, 300]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda tree: touch(tree / "short", "10003_xx_0.1s.ARW"), "10003_xx_0.1s.ARW is not named"),
        (lambda tree: touch(tree / "short", "10003_00_0s.ARW"), "10003_00_0s.ARW is not named"),
        (lambda tree: touch(tree / "short", "10003_00_0.10s.ARW"), "are the same frame"),
        (lambda tree: (tree / "short/10003_00_0.1s.ARW").unlink(), "has no frame 00"),
    ],
)
def test_files_off_the_pattern_are_named(tree, break_it, message):
    break_it(tree)
    with pytest.raises(InputError, match=message):
        bursts_of(tree)


def test_problems_are_collected_and_their_bursts_left_out(tree):
    touch(tree / "short", "10003_xx_0.1s.ARW", "10003_02_0.040s.ARW", "10040_01_0.1s.ARW")
    touch(tree / "long", "bright.ARW")
    (tree / "long" / "10034_00_10s.ARW").unlink()
    problems = []
    bursts = bursts_of(tree, problems=problems)
    assert [(b.scene, b.exposure) for b in bursts] == [("10003", 0.1)]
    said = [
        "10003_xx_0.1s.ARW is not named",
        "bright.ARW is not named",
        "10003_02_0.04s.ARW are the same frame",
        "scene 10034 has no long exposure",
        "10040_01_0.1s.ARW has no frame 00",
    ]
    assert len(problems) == len(said)
    for problem in problems:
        assert any(words in problem.replace("0.040s", "0.04s") for words in said), problem
    # A folder without anything to use is no problem of one burst.
    with pytest.raises(InputError, match="no scene of the val split"):
        (tree / "short" / "20201_00_0.1s.arw").unlink()
        bursts_of(tree, "val", problems=[])


def test_what_is_wrong_beyond_the_limit_is_of_no_account(tree):
    (tree / "long" / "10034_00_10s.ARW").unlink()
    assert [b.name for b in bursts_of(tree, limit=2)] == ["10003_00_100", "10003_00_250"]
    with pytest.raises(InputError, match="scene 10034 has no long exposure"):
        bursts_of(tree, limit=3)
    # A burst that cannot be used counts among the first so many.
    (tree / "short" / "10003_00_0.1s.ARW").unlink()
    problems = []
    assert [b.exposure for b in bursts_of(tree, limit=2, problems=problems)] == [0.04]
    assert len(problems) == 1 and "10003_01_0.1s.ARW" in problems[0]


def test_missing_and_empty_folders_name_the_flag(tree, tmp_path):
    with pytest.raises(InputError, match="--short_dir: there is no folder"):
        sid.find_bursts(tree / "nowhere", tree / "long", SONY, "test")
    with pytest.raises(InputError, match="--long_dir: there is no folder"):
        sid.find_bursts(tree / "short", tree / "nowhere", SONY, "test")
    (tree / "none").mkdir()
    (tree / "none" / "10003_00_0.1s.jpg").touch()
    with pytest.raises(InputError, match="--short_dir: .* holds no raw files"):
        sid.find_bursts(tree / "none", tree / "long", FUJI, "test")
    with pytest.raises(InputError, match="--short_dir: .* did you mean .*/long"):
        sid.find_bursts(tree, tree / "long", SONY, "test")
    for path in (tree / "short").glob("2*"):
        path.unlink()
    with pytest.raises(InputError, match="no scene of the val split"):
        bursts_of(tree, "val")


@pytest.mark.parametrize("suffix", [".NEF", ".dng", ".CR2", ".RAF"])
def test_any_raw_suffix_is_taken(tree, suffix):
    for path in [*(tree / "short").glob("10003*"), *(tree / "long").glob("10003*")]:
        path.rename(path.with_suffix(suffix))
    bursts = bursts_of(tree, limit=2)
    assert [(b.ratio, len(b.frames)) for b in bursts] == [(100, 8), (250, 3)]
    assert {path.suffix for b in bursts for path in (*b.frames, b.truth)} == {suffix}


def test_a_converted_copy_beside_the_camera_s_file_is_passed_over_and_said(tree, capsys):
    wanted = bursts_of(tree)
    touch(tree / "short", *(f"10003_{frame:02d}_0.1s.dng" for frame in range(4)))
    assert bursts_of(tree) == wanted
    said = capsys.readouterr().out
    assert "--short_dir: 4 files are passed over" in said and "10003_00_0.1s.dng" in said
    touch(tree / "short", "10040_00_0.1s.dng", "10040_00_0.1s.nef")
    with pytest.raises(InputError, match="10040_00_0.1s.* same frame"):
        bursts_of(tree)


# Pairs that cannot be true


def test_swapped_folders_are_refused(tree):
    swapped = tree / "long", tree / "short", SONY, "test"
    for problems in (None, []):
        with pytest.raises(InputError, match="--short_dir and --long_dir swapped"):
            sid.find_bursts(*swapped, problems=problems)


@pytest.mark.parametrize("problems", [None, []])
def test_one_folder_given_twice_is_refused(tree, problems):
    (tree / "link").symlink_to(tree / "short")
    for other in ("short", "link"):
        with pytest.raises(InputError, match="--short_dir and --long_dir are one folder"):
            sid.find_bursts(tree / "short", tree / other, SONY, "test", problems=problems)
    shutil.copytree(tree / "short", tree / "copy")
    with pytest.raises(InputError, match="no longer: are --short_dir and --long_dir swapped"):
        sid.find_bursts(tree / "short", tree / "copy", SONY, "test", limit=1, problems=problems)


def test_one_exposure_that_is_no_shorter_is_the_problem_of_its_burst(tree):
    touch(tree / "short", "10040_00_10s.ARW")
    touch(tree / "long", "10040_00_10s.ARW")
    with pytest.raises(InputError, match="10040_00_10s.ARW is exposed for 10 s"):
        bursts_of(tree)
    problems = []
    assert [b.scene for b in bursts_of(tree, problems=problems)] == ["10003", "10003", "10034"]
    assert len(problems) == 1 and "--long_dir" in problems[0]


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_ratio_that_brightens_nothing_is_refused(tree, ratio):
    with pytest.raises(InputError, match=f"--ratio={ratio:g} "):
        sid.find_bursts(tree / "short", None, SONY, "test", ratio=ratio)


def pair(folder, dark, bright, exposure=10):
    """A burst of one frame with these samples [rows, columns] in DN, and its long exposure."""
    simulate.write_dng(folder / "short/10003_00_0.1s.ARW", dark, SONY)
    simulate.write_dng(folder / f"long/10003_00_{exposure:g}s.ARW", bright, SONY)
    return sid.find_bursts(folder / "short", folder / "long", SONY, "test")


def noisy(mean, seed, size=(64, 96)):
    """Samples above the black level with the noise of a sensor, in DN."""
    rng = np.random.default_rng(seed)
    signal = rng.poisson(np.broadcast_to(mean, size)) + rng.normal(0, 4, size)
    return np.clip(np.rint(512 + signal), 0, 16383).astype(np.uint16)


@pytest.mark.parametrize(
    ("dark", "bright"),
    [
        # The burst's next frame as its truth, the truth as a burst, and both of one exposure.
        (20, 20),
        (2000, 20),
        (2000, 2000),
        (3, 3),
        (14000, 14000),
    ],
)
def test_a_truth_no_brighter_than_its_burst_is_refused(tmp_path, dark, bright):
    bursts = pair(tmp_path, noisy(dark, 1), noisy(bright, 2))
    with pytest.raises(InputError, match="10003_00_10s.ARW is no brighter than .*0.1s.ARW.*--long"):
        checks.check_files(bursts, SONY)


@pytest.mark.parametrize("ratio", [1.25, 2, 100, 300])
def test_a_dark_scene_with_a_lamp_is_taken(tmp_path, ratio):
    dark = np.full((64, 96), 4.0)
    dark[:8, :8] = 20000
    bursts = pair(tmp_path, noisy(dark, 1), noisy(dark * ratio, 2), 0.1 * ratio)
    checks.check_files(bursts, SONY)
    # Without a truth nothing is compared.
    checks.check_files([dataclasses.replace(bursts[0], truth=None)], SONY)


@pytest.mark.parametrize("dark", [0.5, 20])
@pytest.mark.parametrize("ratio", [2.5, 100])
def test_a_bright_frame_in_a_dark_burst_is_refused_and_a_copied_one_remarked_on(
    tmp_path, dark, ratio
):
    truth = noisy(1000 if dark < 1 else dark * ratio * 2, 3)
    (burst,) = pair(tmp_path, noisy(dark, 1), truth, 0.1 * ratio)
    paths = [pathlib.Path(f"10003_0{frame}_0.1s.ARW") for frame in range(3)]
    seen: dict = {}
    for path, samples in zip(paths, (noisy(dark, 1), noisy(dark * 1.3, 2)), strict=False):
        assert not checks.check_frame(burst, path, checks.sampled(samples), seen, 512)
        # Looked at twice, as by the frames figure.
        assert not checks.check_frame(burst, path, checks.sampled(samples), seen, 512)
    (note,) = checks.check_frame(burst, paths[2], checks.sampled(noisy(dark, 1)), seen, 512)
    assert note == "10003_02_0.1s.ARW holds the very pixels of 10003_00_0.1s.ARW"
    with pytest.raises(InputError, match="02_0.1s.ARW is far brighter than 10003_00_0.1s.ARW"):
        checks.check_frame(burst, paths[2], checks.sampled(truth), seen, 512)


def test_headers_of_all_files_are_looked_at(tree, tmp_path):
    bursts = pair(tmp_path / "one", noisy(20, 1), noisy(2000, 2))
    later = tmp_path / "one/long/10011_00_10s.ARW"
    later.write_text("no raw file" * 99)
    second = dataclasses.replace(bursts[0], scene="10011", truth=later)
    with pytest.raises(InputError, match="10011_00_10s.ARW is not a raw file"):
        checks.check_files([*bursts, second], SONY)


def test_training_refuses_such_pairs_before_anything_is_written(tmp_path, monkeypatch, capsys):
    about = importlib.util.spec_from_file_location("train_coarse_script", ROOT / "train_coarse.py")
    script = importlib.util.module_from_spec(about)
    about.loader.exec_module(script)
    monkeypatch.setattr(
        environment, "import_tensorflow", lambda *_: pytest.fail("TensorFlow was loaded")
    )
    for side, level, exposure in (("short", 20, 0.1), ("long", 2000, 10), ("same", 21, 10)):
        path = tmp_path / f"tree/{side}/00003_00_{exposure:g}s.ARW"
        simulate.write_dng(path, noisy(level, level), SONY)
    before = sorted(tmp_path.rglob("*"))
    for short, long in (("long", "short"), ("short", "short"), ("short", "same")):
        folders = [f"--short_dir={tmp_path}/tree/{short}", f"--long_dir={tmp_path}/tree/{long}"]
        made = [f"--checkpoint_dir={tmp_path}/run", f"--cache_dir={tmp_path}/cache"]
        assert cli.run(script.main, script.FLAGS, ["train", *folders, *made]) == 2
        error = capsys.readouterr().err
        assert "--short_dir" in error and "--long_dir" in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_later_pair_of_the_training_is_refused_when_it_is_decoded(tmp_path):
    from dbp_tf.data.sources import prepare

    bursts = pair(tmp_path, noisy(20, 1), noisy(20, 2))
    with pytest.raises(InputError, match="10003_00_10s.ARW is no brighter than .*--short_dir"):
        prepare(bursts, tmp_path / "cache", SONY)
