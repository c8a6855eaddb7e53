"""The benchmark of quality: what it measures, which strength it picks, when a gate is met."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest

from dbp_tf.raw import cameras, packing

SCRIPT = pathlib.Path(__file__).parent.parent / "benchmarks" / "quality.py"


@pytest.fixture(scope="module")
def quality():
    spec = importlib.util.spec_from_file_location("quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table(quality):
    """The module of the table, which the benchmark imports."""
    return sys.modules["quality_table"]


@pytest.mark.parametrize(
    "camera, side, extended",
    [
        (cameras.SONY, (427, 640), (428, 640)),
        (cameras.SONY, (172, 449), (172, 452)),
        (cameras.FUJI, (427, 640), (516, 648)),
        (cameras.FUJI, (512, 517), (516, 528)),
        # More than is there to be mirrored once.
        (cameras.FUJI, (172, 448), (516, 516)),
    ],
)
def test_a_tile_keeps_its_pixels_and_is_continued_to_what_packs(quality, camera, side, extended):
    tile = np.random.default_rng(0).random((*side, 3), np.float32)
    picture = quality.extended(tile, camera)
    assert picture.shape == (*extended, 3)
    layout = packing.LAYOUTS[camera.mosaic]
    assert packing.pack(picture[..., 0], layout).shape[0] % 2 == 0
    scene = quality.Scene(10000, "astronaut", 100, tile, "")
    np.testing.assert_array_equal(scene.own(picture), tile)
    if extended[0] > side[0]:
        np.testing.assert_array_equal(picture[side[0]], picture[side[0] - 2])


def test_tiles_of_one_photograph_lie_side_by_side(quality):
    left, right = (quality.photograph(f"motorcycle, {side} tile") for side in ("left", "right"))
    assert left.shape == right.shape == (500, 370, 3)
    # Neighbouring columns of one picture differ far less than its two ends.
    across = np.abs(left[:, -1] - right[:, 0]).mean()
    assert across < 0.5 * np.abs(left[:, 0] - right[:, -1]).mean()


def test_there_are_twelve_scenes_or_more_and_none_twice(quality):
    taken = [(package, file, place) for package, file, (place, _) in quality.PHOTOS.values()]
    assert len(taken) == len(set(taken)) >= 12


def test_a_fingerprint_follows_from_photograph_camera_ratio_and_number(quality, monkeypatch):
    monkeypatch.setattr(
        quality, "PHOTOS", {name: quality.PHOTOS[name] for name in ("page", "text")}
    )
    scenes = [
        scene
        for camera in cameras.CAMERAS.values()
        for scene in quality.scenes_of(camera, limit=None)
    ]
    assert [(scene.number, scene.photo, scene.ratio) for scene in scenes[:4]] == [
        (10000, "page", 100),
        (10001, "page", 300),
        (10002, "text", 100),
        (10003, "text", 300),
    ]
    assert len({scene.fingerprint for scene in scenes}) == 8
    again = quality.scenes_of(cameras.SONY, limit=1)
    assert [scene.fingerprint for scene in again] == [scene.fingerprint for scene in scenes[:2]]


def test_climbing_stops_behind_the_top(quality):
    asked = []

    def score(strength):
        asked.append(strength)
        return -abs(strength - 3)

    assert quality.climb(score, (1, 2, 3.5, 5, 7)) == [(1, -2), (2, -1), (3.5, -0.5), (5, -2)]
    assert asked == [1, 2, 3.5, 5]
    assert quality.climb(score, (1, 2)) == [(1, -2), (2, -1)]


MEANS = {
    "single": (21, 16),
    "mean": (26, 21),
    "nlm": (27, 22),
    "bm3d": (30, 23.5),
    "coarse": (22, 21),
    "fine": (29, 26),
    "burst2": (29, 27),
    "burst4": (30, 27.2),
    "burst8": (30, 27.5),
    "rotate": (30.1, 27.6),
}


def lines_of(changed=None, noise_free=34, mesh=(0.02, 0.01), lost=0.3):
    """A table of one photograph: `MEANS`, and what the networks make of the other inputs."""
    lines = []
    for row, values in (MEANS | (changed or {})).items():
        for ratio, psnr in zip((100, 300), values, strict=True):
            line = {"row": row, "ratio": str(ratio), "photo": "page", "strength": ""}
            lines.append(line | {"psnr": f"{psnr:.4f}", "ssim": "0.5"})
            if row in ("fine", "burst8"):
                other = {"input": "other_light", "psnr": f"{psnr - lost:.4f}"}
                lines.append(lines[-1] | other)
    clean = lines[-1] | {"row": "fine", "ratio": "100", "input": "noise_free"}
    ours, theirs = mesh
    clean |= {"psnr": f"{noise_free}", "means_psnr": "35", "mesh": ours, "mesh_of_truth": theirs}
    return [*lines, clean, clean | {"mesh": "", "mesh_of_truth": ""}]


@pytest.mark.parametrize(
    "given, missed",
    [
        ({}, []),
        ({"changed": {"burst8": (29.99, 27.5)}}, [0, 1, 6]),
        ({"changed": {"burst8": (30, 27.49), "fine": (29, 25.9)}}, [0, 6]),
        ({"changed": {"burst2": (29, 27.21)}}, [1]),
        ({"changed": {"fine": (29, 26.01)}}, [2]),
        ({"noise_free": 33.99}, [7]),
        ({"noise_free": 31.99}, [3, 7]),
        ({"mesh": (0.0201, 0.01)}, [4]),
        ({"mesh": ("", "")}, [4]),
        ({"lost": 0.31}, [5]),
        ({"changed": {"bm3d": (30.01, 23.5)}}, [6]),
        # Equal in the two digits that are shown.
        ({"changed": {"burst4": (30.004, 27.2), "burst8": (29.996, 27.5)}}, []),
    ],
)
def test_gates(table, given, missed):
    lines = lines_of(**given)
    verdicts = list(table.gates(lines, cameras.SONY))
    assert [place for place, (_, _, met) in enumerate(verdicts) if not met] == missed
    for line, (_, _, met) in zip(table.verdicts(lines, cameras.SONY), verdicts, strict=True):
        assert line.startswith("met: " if met else "missed: ")


def test_each_camera_has_its_gates(table):
    assert [met for *_, met in table.gates(lines_of(), cameras.FUJI)][0]
    lines = lines_of({"burst8": (29.5, 27), "burst4": (29, 27)})
    assert [[*table.gates(lines, c)][0][2] for c in (cameras.SONY, cameras.FUJI)] == [False, True]


def test_the_table_and_its_verdicts_name_the_figures(table):
    text = table.report(lines_of(), cameras.SONY, "checkpoints/sony")
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines()[3:15]}
    assert {len(cells) for cells in rows.values()} == {6}
    assert [cell.strip() for cell in rows["fine, one frame"]] == [
        "29.00 / 0.500",
        "26.00 / 0.500",
        "34.00",
        "35.00",
        "2.00 x ground truth's",
        "0.30 / 0.30",
    ]
    assert [cell.strip() for cell in rows["burst of 8"]][2:] == ["", "", "", "0.30 / 0.30"]
    assert [cell.strip() for cell in rows["coarse"]][2:] == [""] * 4
    assert "more are never worse (29.00 -> 29.00 -> 30.00 -> 30.00 dB at 100; 26.00" in text
    assert "met: mesh at most 2 times the ground truth's (2.00 times)" in text
    assert "loses at most 0.3 dB (0.30 dB)" in text
    without = table.report(
        [line for line in lines_of() if line["row"] in table.CLASSICAL], cameras.SONY, None
    )
    assert "met" not in without and "| ratio 300 |\n" in without


@pytest.mark.parametrize("scale", [2, 3])
def test_the_mesh_is_the_pattern_of_the_packed_pixels(quality, scale):
    rng = np.random.default_rng(scale)
    truth = np.full((96, 144, 3), 0.4) + rng.normal(0, 1e-3, (96, 144, 3))
    pattern = np.zeros((scale, 1, 1))
    pattern[0] = 0.02
    meshed = truth + np.tile(pattern, (96 // scale, 1, 1))
    # The mean over both directions of neighbours' differences: 1 of 1, or 2 of 3, along rows.
    wanted = 0.02 * (1 if scale == 2 else 2 / 3) / 2
    ours, theirs = quality.mesh(meshed, truth, scale)
    assert ours == pytest.approx(wanted, abs=2e-4) and theirs < 5e-4
    # A pattern of another period is none of the packed pixels, and neither is noise.
    other = truth + 0.02 * (np.arange(96) // scale % 2)[:, None, None]
    noisy = truth + rng.normal(0, 0.02, truth.shape)
    for picture in (other, noisy):
        assert quality.mesh(picture, truth, scale)[0] < 0.5 * wanted
    # Where the truth has detail, nothing is compared.
    assert quality.mesh(truth, rng.random((96, 144, 3)), scale) is None


def test_means_are_over_the_bursts_of_one_ratio(table):
    lines = [
        {"row": "mean", "ratio": "100", "psnr": "20", "ssim": "0.5"},
        {"row": "mean", "ratio": "100", "psnr": "23", "ssim": "0.6"},
        {"row": "mean", "ratio": "300", "psnr": "19", "ssim": "0.4"},
    ]
    means = table.means_of(lines)
    assert means == {
        ("mean", 100): pytest.approx((21.5, 0.55)),
        ("mean", 300): pytest.approx((19, 0.4)),
    }
