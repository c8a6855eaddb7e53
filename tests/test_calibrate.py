"""Calibration: known noise is found again, and files that are not what they should be are refused.

The sensor simulated here shares no code with the estimators nor with the package's simulator.
"""

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from dbp_tf import cli, simulate
from dbp_tf.calibrate import command, page
from dbp_tf.raw import cameras

XTRANS = ("RBGBRG", "GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB")
NUMBERS = "gain_dn_per_electron read_noise_dn row_noise_dn".split()


def camera(mosaic="bayer", black=512, white=16383):
    base = cameras.FUJI if mosaic == "xtrans" else cameras.SONY
    return dataclasses.replace(base, name="made-up", model="Made Up", black=black, white=white)


class Sensor:
    """A sensor with vignetting, dust, uneven pixels, fixed pattern and hot pixels."""

    def __init__(self, gain, read, row, shape=0.0, error=(0.6, 0.4, 0.9), size=(192, 288), **more):
        options = {"pattern": ("RG", "GB"), "black": 512, "white": 16383, "hot": 0.001, "seed": 0}
        options |= {"fixed": 0.2 * read, "column": 0.0, "says": None} | more
        self.__dict__.update(options)
        self.gain, self.read, self.row, self.shape, self.size = gain, read, row, shape, size
        rng = self.rng = np.random.default_rng(self.seed)
        period = len(self.pattern)
        colours = np.array([["RGB".index(letter) for letter in line] for line in self.pattern])
        repeat = [-(-length // period) for length in size]
        colours = np.tile(colours, repeat)[: size[0], : size[1]]
        self.offset = np.array(error)[colours] + rng.normal(0, self.fixed, size)
        self.glow = np.where(rng.random(size) < self.hot, rng.exponential(800, size), 0)
        y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
        self.light = np.array([0.5, 1, 0.6])[colours] * rng.normal(1, 0.01, size)
        self.light *= 1 - 0.3 * (x**2 + y**2)
        for row, column in rng.uniform(-0.8, 0.8, (5, 2)):
            self.light[(x - column) ** 2 + (y - row) ** 2 < 0.01] *= 0.7

    def shot(self, light=0.0, stray=0.0):
        """A frame [rows, columns] uint16; `light` is a share of the range, `stray` is in DN."""
        rng = self.rng
        p = rng.random(self.size)
        s = self.shape
        noise = (p**s - (1 - p) ** s) / s if s else np.log(p / (1 - p))
        value = self.read * noise / scipy.stats.tukeylambda.std(s)
        value += rng.normal(0, self.row, (self.size[0], 1))
        value += rng.normal(0, self.column, (1, self.size[1])) + self.black + self.offset + stray
        signal = light * (self.white - self.black) * self.light + self.glow
        value += self.gain * rng.poisson(signal / self.gain)
        return np.clip(np.rint(value), 0, self.white).astype(np.uint16)

    def write(self, path, samples, iso=800, exposure=0.1, model=None):
        mosaic = "bayer" if len(self.pattern) == 2 else "xtrans"
        described = camera(mosaic, self.black, self.says or self.white)
        described = dataclasses.replace(described, model=model or described.model)
        simulate.write_dng(
            path, samples, described, exposure=exposure, pattern=self.pattern, iso=iso
        )
        return path

    def shoot(self, folder, iso=800, darks=8, levels=(0.05, 0.2, 0.5)):
        for n in range(darks):
            self.write(folder / "dark" / f"{iso}_{n}.dng", self.shot(), iso)
        for n, level in enumerate(levels):
            for k, flicker in enumerate((1, 1.04)):
                name = folder / "flat" / f"{iso}_{n}_{k}.dng"
                self.write(name, self.shot(level * flicker), iso, 0.1 * (n + 1))


@pytest.fixture(autouse=True)
def blank_page(monkeypatch):
    """The page is drawn in seconds, so most tests go without."""
    monkeypatch.setattr(page, "draw", lambda *_: b"")


def run(*words):
    return cli.run(command.main, command.FLAGS, ["calibrate", *map(str, words)])


def measured(folder, *words):
    out = folder / "my.json"
    assert run("--dark", folder / "dark", *words, "--out", out, "--overwrite") == 0
    return json.loads(out.read_text())


def check(entry, sensor, error=(0.6, 0.4, 0.9), margin=1.0):
    got = [entry[name] for name in NUMBERS]
    np.testing.assert_allclose(got[0], sensor.gain, rtol=0.02 * margin)
    np.testing.assert_allclose(got[1], sensor.read, rtol=0.03 * margin)
    np.testing.assert_allclose(got[2], sensor.row, rtol=0.1 * margin)
    np.testing.assert_allclose(entry["black_error_dn"], error, atol=0.1 * margin)
    np.testing.assert_allclose(entry["read_noise_shape"], sensor.shape, atol=0.03)
    # Of Sony's 3.55 DN of read noise, 0.25 DN.
    np.testing.assert_allclose(entry["black_error_spread_dn"], 0.0704 * sensor.read, rtol=0.04)
    assert set(NUMBERS) < set(entry["uncertainty"])


FOURTEEN = ((100, 0.2, 1.4, 0.25, 0.1), (800, 0.8, 3.5, 0.5, -0.05), (1600, 1.6, 6, 0.8, 0.0))
TWELVE = ((100, 0.06, 0.7, 0.12, 0.1), (800, 0.3, 1.2, 0.2, 0.05), (3200, 1.2, 4, 0.5, -0.05))


def recover(folder, pattern, levels, settings, size, darks):
    sensors = []
    for iso, gain, read, row, shape in settings:
        levels_of = {"black": levels[0], "white": levels[1], "pattern": pattern}
        sensor = Sensor(gain, read, row, shape, size=size, seed=iso, **levels_of)
        sensor.shoot(folder, iso, darks)
        sensors.append(sensor)
    found = measured(folder, "--flat", folder / "flat")
    assert (found["black"], found["white"]) == levels
    assert found["pattern"] == "".join(pattern)
    assert [entry["iso"] for entry in found["noise"]] == [one[0] for one in settings]
    for entry, sensor in zip(found["noise"], sensors, strict=True):
        check(entry, sensor)
    return found


def test_three_settings_of_a_bayer_camera_are_found_again(tmp_path, capsys):
    found = recover(tmp_path, ("GB", "RG"), (512, 16383), FOURTEEN, (288, 384), 8)
    np.testing.assert_allclose(found["xyz_to_camera"], cameras.SONY.xyz_to_camera, atol=1e-4)
    np.testing.assert_allclose(found["white_balance"], cameras.SONY.white_balance, rtol=1e-3)
    assert cameras.load(tmp_path / "my.json").name == "my"
    said = capsys.readouterr().out
    assert "ISO 800: 8 dark frames" in said and "3 pairs of --flat" in said


def test_an_xtrans_camera_of_12_bit_is_found_again(tmp_path, monkeypatch):
    monkeypatch.undo()  # The page is drawn.
    recover(tmp_path, XTRANS, (256, 4095), TWELVE[1:2], (288, 384), 8)
    assert (tmp_path / "my.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [("RG", "GB"), XTRANS], ids=["bayer", "xtrans"])
@pytest.mark.parametrize("bits", [12, 14])
def test_large_frames_are_found_again(tmp_path, pattern, bits):
    levels, settings = ((256, 4095), TWELVE) if bits == 12 else ((1024, 16383), FOURTEEN)
    recover(tmp_path, pattern, levels, settings, (768, 1152), 12)


@pytest.fixture(scope="module")
def sensor():
    return Sensor(0.8, 3.5, 0.5, -0.05)


@pytest.fixture(scope="module")
def shots(tmp_path_factory, sensor):
    folder = tmp_path_factory.mktemp("shots")
    sensor.shoot(folder)
    return folder


@pytest.fixture
def folder(tmp_path, shots):
    """A folder of good frames, which a test may spoil."""
    for path in shots.glob("*/*.dng"):
        there = tmp_path / path.parent.name / path.name
        there.parent.mkdir(exist_ok=True)
        there.hardlink_to(path)
    return tmp_path


def refused(capsys, folder, sentence, *words):
    words = words or ("--dark", folder / "dark", "--flat", folder / "flat")
    assert run(*words, "--out", folder / "my.json") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(sentence, line), line
    assert not list(folder.glob("my.*"))


def test_the_shell_may_expand_patterns_or_leave_them(folder, tmp_path):
    odd = tmp_path / "dark" / "800_0.dng"
    odd.rename(odd.with_name("a, b [1] é.dng"))
    darks, flats = (sorted((tmp_path / name).glob("*")) for name in ("dark", "flat"))
    expanded = measured_by(tmp_path, "--dark", *darks, "--flat", *flats)
    patterns = [f"--dark={tmp_path}/dark/*.dng", f"--flat={tmp_path}/flat/*.dng"]
    assert measured_by(tmp_path, *patterns) == expanded
    assert measured_by(tmp_path, "--dark", tmp_path / "dark", "--flat", tmp_path / "flat")
    assert expanded["noise"][0]["iso"] == 800


def measured_by(folder, *words):
    assert run(*words, "--out", folder / "my.json", "--overwrite") == 0
    return json.loads((folder / "my.json").read_text())


def test_gain_is_given_or_comes_from_pictures(folder, capsys):
    found = measured(folder, "--gain", 0.5)["noise"][0]
    assert found["gain_dn_per_electron"] == 0.5
    assert found["uncertainty"]["gain_dn_per_electron"] is None
    assert "(--gain)" in capsys.readouterr().out
    found = measured(folder, "--picture", folder / "flat")["noise"][0]
    np.testing.assert_allclose(found["gain_dn_per_electron"], 0.8, rtol=0.03)
    assert "--picture" in capsys.readouterr().out


def test_a_setting_without_flats_gets_a_gain_in_proportion(folder, capsys):
    Sensor(1.6, 6, 0.8).shoot(folder, 1600, levels=())
    entries = measured(folder, "--flat", folder / "flat")["noise"]
    gains = [entry["gain_dn_per_electron"] for entry in entries]
    np.testing.assert_allclose(gains[1], 2 * gains[0], rtol=1e-3)
    said = capsys.readouterr().out
    assert (
        "in proportion to that of ISO 800, not measured" in said and "uncertain: the gain" in said
    )


def test_saturation_is_measured_from_overexposed_frames(folder, sensor):
    over = np.minimum(sensor.shot(0.5) + 20000, 15000).astype(np.uint16)
    sensor.write(folder / "over.dng", over)
    words = ["--flat", folder / "flat", "--saturated", folder / "over.dng"]
    assert measured(folder, *words)["white"] == 15000


def test_the_row_spectrum_has_a_peak_where_rows_repeat(tmp_path, monkeypatch):
    """Banding of 8 rows lies at 1/8 cycles a row, and no frequency above a half."""
    sensor, seen = Sensor(0.8, 3.5, 0.5), []
    for n in range(6):
        banding = 3 * np.sin(2 * np.pi * np.arange(sensor.size[0]) / 8 + n)[:, None]
        samples = np.rint(sensor.shot().astype(float) + banding).astype(np.uint16)
        sensor.write(tmp_path / "dark" / f"{n}.dng", samples)
    monkeypatch.setattr(page, "draw", lambda _, settings: seen.extend(settings) or b"")
    measured(tmp_path, "--gain=0.8")
    cycles, power = seen[0][1].spectrum
    assert cycles.max() <= 0.5
    assert cycles[power.argmax()] == pytest.approx(1 / 8, abs=0.002)


def test_column_banding_is_found(tmp_path, capsys):
    Sensor(0.8, 3.5, 0.5, column=0.6).shoot(tmp_path, levels=())
    entry = measured(tmp_path, "--gain", 0.8)["noise"][0]
    np.testing.assert_allclose(entry["column_noise_dn"], 0.6, rtol=0.15)
    np.testing.assert_allclose(entry["row_noise_dn"], 0.5, rtol=0.1)
    assert "banding along columns" in capsys.readouterr().out


def gradient(sensor, dn):
    return dn * np.linspace(0, 1, sensor.size[1])[np.newaxis]


SPOILED = {
    "a lit dark frame": ("dark/800_3", lambda s: s.shot(stray=8), "800_3.dng is .* brighter than"),
    "a leak": ("dark/800_5", lambda s: s.shot(stray=gradient(s, 12)), "800_5.dng is .* brighter"),
    "a flat that clips": ("flat/800_2_1", lambda s: s.shot(1.1), "800_2_1.dng, of --flat, clips"),
    "a low clip": (
        "flat/800_2_0",
        lambda s: np.minimum(s.shot(0.5), 6000),
        "800_2_0.dng, of --flat, clips: .*6000",
    ),
    "a dark flat": ("flat/800_0_0", lambda s: s.shot(), "800_0_0.dng, of --flat, is no brighter"),
    "another scene": (
        "flat/800_1_1",
        lambda s: np.ascontiguousarray(
            s.shot(np.where(np.arange(s.size[1]) < 144, 0.13, 0.27)[np.newaxis])
        ),
        "800_1_0.dng and .*800_1_1.dng, of --flat, are no pair",
    ),
    "another size": ("flat/800_0_1", lambda s: s.shot(0.05)[:-48], "800_0_1.dng has 144 x 288"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_frames_that_are_not_what_they_should_be_are_refused(folder, sensor, capsys, case):
    name, spoil, sentence = SPOILED[case]
    path = folder / f"{name}.dng"
    path.unlink()
    exposure = 0.1 * (int(name.split("_")[1]) + 1) if "flat" in name else 0.1
    sensor.write(path, spoil(sensor), exposure=exposure)
    refused(capsys, folder, sentence)


def grainy(sensor, level, averaged=np.inf):
    """Light as it should be, with noise that does not depend on it, or that of a mean of frames."""
    light = level * (sensor.white - sensor.black) * sensor.light
    noise = np.sqrt(9 + sensor.gain * light / averaged)
    return light + sensor.black + noise * sensor.rng.standard_normal(sensor.size)


def waves(sensor, shift):
    y, x = np.mgrid[: sensor.size[0], : sensor.size[1]]
    return 1 + 0.3 * np.sin((x + shift) / 6) * np.sin(y / 5)


# What is done to each flat: sensor, brightness, whether it is the second one of its pair.
FLATS = {
    "the same noise in any light": (
        lambda s, level, second: grainy(s, level),
        "of --flat, does not grow with the light",
    ),
    "averaged": (
        lambda s, level, second: grainy(s, level, averaged=60),
        "of --flat, does not grow with the light",
    ),
    "smoothed along rows": (
        lambda s, level, second: smooth(s, 1, level),
        "of --flat, differ in more than noise .*neighbours are alike",
    ),
    "smoothed along columns": (
        lambda s, level, second: smooth(s, 0, level),
        "of --flat, differ in more than noise .*neighbours are alike",
    ),
    "moved": (
        lambda s, level, second: s.shot(level * waves(s, 3 * second)),
        "of --flat, differ in more than noise .*moved",
    ),
}


def shoot_flats(folder, sensor, make, levels=((0, 0.05), (1, 0.2), (2, 0.5))):
    for number, level in levels:
        for second in (0, 1):
            path = folder / "flat" / f"800_{number}_{second}.dng"
            path.unlink()
            samples = np.clip(np.rint(make(sensor, level, second)), 0, sensor.white)
            sensor.write(path, samples.astype(np.uint16), exposure=0.1 * (number + 1))


@pytest.mark.parametrize("case", FLATS)
def test_flats_whose_noise_is_not_the_sensors_are_refused(folder, sensor, capsys, case):
    make, sentence = FLATS[case]
    shoot_flats(folder, sensor, make)
    refused(capsys, folder, sentence)


def test_a_pair_that_gives_another_gain_is_refused(folder, sensor, capsys):
    def scaled(sensor, level, second):
        return (sensor.shot(level / 2) - 512.0) * 2 + 512

    shoot_flats(folder, sensor, scaled, levels=[(2, 0.5)])
    refused(
        capsys, folder, "800_2_.*and .*800_2_.*, of --flat, give 1.6.*, but the pairs together 0.8"
    )


def test_pictures_give_the_gain_and_are_refused_as_flats_are(folder, sensor, capsys):
    rng = np.random.default_rng(7)
    tiles = np.clip(np.kron(rng.random((12, 18)), np.ones((16, 16))) * 1.2, 0.02, None)

    def taken(name, light, spread=0):
        samples = sensor.shot(light) - rng.integers(0, spread + 1, sensor.size)
        return sensor.write(folder / f"{name}.dng", samples.astype(np.uint16))

    dark = "--dark", folder / "dark"
    one, two = (taken(name, tiles) for name in ("one", "two"))
    found = measured(folder, "--picture", one, two)["noise"][0]
    np.testing.assert_allclose(found["gain_dn_per_electron"], sensor.gain, rtol=0.03)
    for path in folder.glob("my.*"):
        path.unlink()
    capsys.readouterr()
    for sentence, pictures in {
        "one.dng, of --picture, has no partner": [one],
        "of --picture, differ in more than noise": [one, taken("other", tiles[::-1])],
        # By chance the mean of no light is above the black level or below it.
        "does not grow with the light|give brighter ones": [taken("a", 0.0), taken("b", 0.0)],
        "of --picture, have too few places with light": [taken("c", 5.0, 9), taken("d", 5.0, 9)],
    }.items():
        refused(capsys, folder, sentence, *dark, "--picture", *pictures)


@pytest.mark.parametrize("bits", [10, 12])
def test_files_may_state_the_white_level_of_16_bits(tmp_path, capsys, bits):
    full = 2**bits - 1
    sensor = Sensor(full / 65000, 1.5, 0.1, black=64, white=full, says=65535, size=(96, 144))
    sensor.shoot(tmp_path)
    level = sensor.write(tmp_path / "level.dng", np.full(sensor.size, full, np.uint16))
    for words in ((), ("--saturated", level)):
        found = measured(tmp_path, "--flat", tmp_path / "flat", *words)
        gain = found["noise"][0]["gain_dn_per_electron"]
        np.testing.assert_allclose(gain, sensor.gain, rtol=0.05)
        sentence = "far below white level 65535: .*give --saturated"
        noted = re.search(sentence, capsys.readouterr().out)
        assert bool(noted) == (not words)
    assert found["white"] == full


def test_saturated_frames_and_levels_that_cannot_be_are_refused(folder, sensor, capsys):
    level = sensor.write(folder / "c.dng", np.full(sensor.size, 520, np.uint16))
    dark = "--dark", folder / "dark", "--gain", 1
    cases = [
        (("--saturated", level), "c.dng, of --saturated, is not: nearly all its pixels are 520"),
        (("--saturated", folder / "flat/800_0_0.dng"), "of --saturated, is not: its commonest"),
        (("--black", 900), "lie 387 DN below the black level 900.*give the right --black"),
        (("--black", 0), "lie 513 DN above the black level 0.*give --black"),
    ]
    for words, sentence in cases:
        refused(capsys, folder, sentence, *dark, *words)


@pytest.mark.parametrize(
    ("stray", "sentence"),
    [(40, "differ by|brighter|above"), ("gradient", "from place to place"), ("red", "by colour")],
)
def test_light_in_all_dark_frames_is_refused(tmp_path, sensor, capsys, stray, sentence):
    light = {"gradient": gradient(sensor, 9), "red": 0.0}.get(stray, 300.0)
    if stray == "red":
        light = np.zeros(sensor.size)
        light[::2, ::2] = 6
    for n in range(5):
        sensor.write(tmp_path / "dark" / f"{n}.dng", sensor.shot(stray=light))
    words = "--dark", tmp_path / "dark", "--gain", 1
    refused(capsys, tmp_path, sentence, *words)


def test_swapped_frames_are_refused(folder, capsys):
    words = "--dark", folder / "flat", "--flat", folder / "dark"
    refused(capsys, folder, "--dark and --flat were swapped", *words)


def test_files_that_do_not_go_together_are_refused(folder, sensor, capsys):
    more = sensor.write(folder / "more.dng", sensor.shot(), iso=1600)
    dark, flat = ("--dark", folder / "dark"), ("--flat", folder / "flat")
    cases = [
        ((*dark, more, *flat), "only one dark frame of ISO 1600 .*more.dng"),
        ((*dark, *flat, more), "more.dng are of ISO 1600, but the dark frames are of ISO 800"),
        (("--dark", folder / "dark/800_0.dng", *flat), "only one dark frame"),
        ((*dark, folder / "dark/800_0.dng", *flat), "800_0.dng is named twice"),
        ((*dark, "--flat", folder / "flat/800_0_0.dng"), "800_0_0.dng, of --flat, has no partner"),
        ((*dark, "--flat", *sorted(folder.glob("flat/*_0.dng"))), "has no partner"),
        (dark, "dark frames do not tell the gain"),
        ((*dark, *flat, "--gain", 1), "--flat and --gain each give the gain"),
        ((*dark, *flat, "--saturated", folder / "flat/800_0_0.dng"), "named twice"),
        ((*dark, *flat, "--name", "sony"), "sony is the name of a built-in camera"),
        ((*dark, "--flat", folder / "none/*.dng"), "there is no file or folder .*none"),
        (("--dark", "--flat", folder / "flat"), "--dark: no word follows it"),
        ((*flat,), "--dark is missing"),
    ]
    for words, sentence in cases:
        refused(capsys, folder, sentence, *words)


def test_equal_pixels_and_other_cameras_are_refused(folder, sensor, capsys):
    copy = folder / "flat" / "copy.dng"
    copy.write_bytes((folder / "flat/800_0_0.dng").read_bytes())
    refused(capsys, folder, "copy.dng holds the very pixels of .*800_0_0.dng|800_0_0.dng holds")
    copy.unlink()
    sensor.write(copy, sensor.shot(0.05), model="Another")
    refused(capsys, folder, "copy.dng comes from .*Another")


def test_frames_without_an_iso_setting_need_it_given(tmp_path, sensor, capsys):
    for n in range(5):
        sensor.write(tmp_path / "dark" / f"{n}.dng", sensor.shot(), iso=None)
    words = "--dark", tmp_path / "dark", "--gain", 1
    refused(capsys, tmp_path, "0.dng, of --dark, does not say its ISO setting", *words)
    assert measured(tmp_path, "--gain", 1, "--iso", 200)["noise"][0]["iso"] == 200


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda s: np.rint(np.mean([s.shot() for _ in range(150)], 0)), "hardly any noise"),
        (lambda s: np.maximum(s.shot(), 513), "are cut off below: .* lowest value"),
        (lambda s: smooth(s, 1), "were smoothed"),
        (lambda s: smooth(s, 0), "were smoothed"),
        (lambda s: smooth(s, 1, apart=1), "were smoothed"),
    ],
    ids=["averaged", "cut off", "smoothed", "along columns", "over colours"],
)
def test_processed_dark_frames_are_refused(tmp_path, capsys, make, sentence):
    sensor = Sensor(0.8, 3.5, 0.1, size=(96, 96), hot=0, fixed=0)
    for n in range(5):
        sensor.write(tmp_path / "dark" / f"{n}.dng", make(sensor).astype(np.uint16))
    refused(capsys, tmp_path, sentence, "--dark", tmp_path / "dark", "--gain", 1)


def smooth(sensor, axis, level=0.0, apart=2):
    """A frame in which each pixel is the mean of two, by default neighbours of one colour."""
    frame = sensor.shot(level).astype(float)
    return np.rint((frame + np.roll(frame, apart, axis)) / 2)


def test_nothing_is_replaced_unasked(folder, capsys):
    (folder / "my.json").write_text("mine")
    words = "--dark", folder / "dark", "--gain", 1, "--out", folder / "my.json"
    assert run(*words) == 2
    assert "my.json exists already: give --overwrite" in capsys.readouterr().err
    assert (folder / "my.json").read_text() == "mine"


def test_runs_as_a_module_without_tensorflow_and_matplotlib(folder):
    program = (
        "import runpy, sys\n"
        "sys.modules['tensorflow'] = sys.modules['matplotlib'] = None\n"
        "runpy.run_module('dbp_tf.calibrate', run_name='__main__', alter_sys=True)"
    )
    words = ["--dark", str(folder / "dark"), "--gain=1", "--out", str(folder / "my.json")]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "no picture is written" in done.stdout
    assert (folder / "my.json").is_file() and not (folder / "my.png").exists()
