"""The benchmark of quality: what it measures, which strength it picks, when a gate is met."""

import importlib.util
import pathlib

import numpy as np
import pytest

from dbp_tf.raw import cameras, packing

SCRIPT = pathlib.Path(__file__).parent.parent / "benchmarks" / "quality.py"


@pytest.fixture(scope="module")
def quality():
    spec = importlib.util.spec_from_file_location("quality", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    "nlm": (27, 24),
    "bm3d": (28, 23),
    "coarse": (22, 21),
    "fine": (27, 24.5),
    "burst2": (27, 24.7),
    "burst4": (28, 24.9),
    "burst8": (28.5, 25),
    "rotate": (28.6, 25.2),
}


@pytest.mark.parametrize(
    "changed, missed",
    [
        ({}, []),
        ({"coarse": (25.5, 23)}, []),
        ({"coarse": (25.51, 21)}, [0]),
        ({"coarse": (22, 23.01)}, [0]),
        ({"burst8": (28.5, 24.99)}, [1, 4]),
        ({"fine": (28.51, 24.5)}, [1, 2]),
        ({"burst2": (27, 24.91)}, [2]),
        ({"burst4": (26.99, 24.9)}, [2]),
        ({"mean": (26, 23.01)}, [3]),
        # The better denoiser counts, at each ratio.
        ({"bm3d": (28.5, 23)}, [4]),
        ({"nlm": (27, 24.01)}, [4]),
        ({"bm3d": (27, 24.21)}, [4, 5]),
        ({"rotate": (28, 25.2)}, [5]),
        # Equal in the two digits that are shown.
        ({"burst4": (28.504, 24.9), "burst8": (28.497, 25)}, []),
    ],
)
def test_gates(quality, changed, missed):
    means = {
        (row, ratio): (psnr, 0.5)
        for row, values in (MEANS | changed).items()
        for ratio, psnr in zip((100, 300), values, strict=True)
    }
    verdicts = list(quality.gates(means))
    assert [place for place, (_, _, met) in enumerate(verdicts) if not met] == missed
    for line, (_, _, met) in zip(quality.verdicts(means), verdicts, strict=True):
        assert line.startswith("met: " if met else "missed: ")


def test_a_gate_names_the_figures_it_compares(quality):
    means = {
        (row, ratio): (psnr, 0.5)
        for row, values in MEANS.items()
        for ratio, psnr in zip((100, 300), values, strict=True)
    }
    fine, _, growth, mean, aim, rotated = quality.verdicts(means)
    assert fine.endswith("(22.00 -> 27.00 at 100; 21.00 -> 24.50 at 300 dB)")
    assert "27.00 -> 27.00 -> 28.00 -> 28.50 at 100" in growth
    assert mean.endswith("(21.00 -> 25.00 at 300 dB)")
    assert aim.endswith("(28.00 -> 28.50 at 100; 24.00 -> 25.00 at 300 dB)")
    assert rotated.endswith("(28.00 -> 28.60 at 100; 24.00 -> 25.20 at 300 dB)")


def test_without_a_reference_frame_there_is_no_such_verdict(quality):
    means = {
        (row, ratio): (psnr, 0.5)
        for row, values in MEANS.items()
        for ratio, psnr in zip((100, 300), values, strict=True)
        if row != "rotate"
    }
    assert len([*quality.verdicts(means)]) == 5


def test_means_are_over_the_bursts_of_one_ratio(quality):
    lines = [
        {"row": "mean", "ratio": "100", "psnr": "20", "ssim": "0.5"},
        {"row": "mean", "ratio": "100", "psnr": "23", "ssim": "0.6"},
        {"row": "mean", "ratio": "300", "psnr": "19", "ssim": "0.4"},
    ]
    means = quality.means_of(lines)
    assert means == {
        ("mean", 100): pytest.approx((21.5, 0.55)),
        ("mean", 300): pytest.approx((19, 0.4)),
    }
