"""A camera's JSON file, and the noise that is drawn by it."""

import dataclasses
import json
import math

import numpy as np
import pytest
import scipy.stats

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, noise, packing
from dbp_tf.raw.cameras import CAMERAS, FUJI, SONY

# A camera unlike both built-in ones: 12 bit, another phase and other colours.
OWN = cameras.Camera(
    name="Own One",
    mosaic="bayer",
    black=128.5,
    white=4095,
    xyz_to_camera=((0.9, -0.3, -0.1), (-0.4, 1.2, 0.2), (-0.1, 0.2, 0.6)),
    white_balance=(512, 256, 384),
    pattern="GBRG",
    noise=tuple(
        cameras.Noise(
            iso=iso,
            gain_dn_per_electron=0.002 * iso,
            read_noise_dn=1 + iso / 400,
            read_noise_shape=shape,
            row_noise_dn=0.001 * iso,
            black_error_dn=(iso / 800, 0, -iso / 800),
            uncertainty=cameras.Uncertainty(gain_dn_per_electron=1e-4, black_error_dn=(0.1,) * 3),
            fixed_pattern_dn=0.3,
        )
        for iso, shape in ((1600, -0.1), (400, 0.1))
    ),
)


@pytest.mark.parametrize("camera", [SONY, FUJI, OWN], ids=lambda camera: camera.name)
def test_a_saved_camera_is_the_same_when_it_is_loaded(tmp_path, camera):
    cameras.save(camera, tmp_path / "camera.json")
    assert cameras.load(tmp_path / "camera.json") == camera
    assert cameras.camera_named(str(tmp_path / "camera.json")) == camera
    assert hash(camera) == hash(dataclasses.replace(camera))


def test_the_files_keys_are_those_that_calibration_writes(tmp_path):
    cameras.save(OWN, tmp_path / "camera.json")
    content = json.loads((tmp_path / "camera.json").read_text())
    assert content["white_balance"] == [2, 1, 1.5]
    assert [entry["iso"] for entry in content["noise"]] == [400, 1600]
    first = content["noise"][0]
    assert first["black_error_dn"] == [0.5, 0, -0.5]
    assert first["uncertainty"]["black_error_dn"] == [0.1, 0.1, 0.1]
    assert first["uncertainty"]["row_noise_dn"] is None
    # What has a default may be left out.
    least = {
        name: content[name]
        for name in "name mosaic black white xyz_to_camera white_balance noise".split()
    }
    for entry in least["noise"]:
        for name in ("column_noise_dn", "fixed_pattern_dn", "black_error_spread_dn"):
            del entry[name]
        entry["uncertainty"] = {"gain_dn_per_electron": math.nan}
    (tmp_path / "least.json").write_text(json.dumps(least))
    camera = cameras.load(tmp_path / "least.json")
    assert (camera.model, camera.suffix, camera.filters) == ("Own One", ".dng", ("RG", "GB"))
    assert (camera.channels, camera.scale, camera.padded_columns) == (4, 2, 0)
    assert camera.noise[0].uncertainty == cameras.Uncertainty()


def test_the_sony_has_its_published_calibration():
    (entry,) = SONY.noise
    assert entry.iso == 800
    assert (entry.gain_dn_per_electron, entry.read_noise_dn) == (0.765, 3.55)
    assert (entry.row_noise_dn, entry.read_noise_shape) == (0.57, -0.008)
    assert entry.black_error_dn == (0.61, 0.58, 0.61)
    assert "Feng" in SONY.source


GONE = object()


def changed(key, value):
    """OWN's description with one key changed or gone; a key of the first noise entry after a +."""
    content = cameras.as_json(OWN)
    holder = content["noise"][0] if key.startswith("+") else content
    holder[key.removeprefix("+")] = value
    if value is GONE:
        del holder[key.removeprefix("+")]
    return content


@pytest.mark.parametrize(
    "key, value, sentence",
    [
        *((key, GONE, f"{key} is missing") for key in ("name", "mosaic", "black", "white")),
        *((key, GONE, f"{key} is missing") for key in ("xyz_to_camera", "white_balance", "noise")),
        *(
            (f"+{key}", GONE, f"noise, entry 1, {key} is missing")
            for key in ("iso", "gain_dn_per_electron", "read_noise_dn", "read_noise_shape")
        ),
        *(
            (f"+{key}", GONE, f"noise, entry 1, {key} is missing")
            for key in ("row_noise_dn", "black_error_dn", "uncertainty")
        ),
        ("colour", 1, "colour is no key of a camera: known are name, mosaic"),
        ("+gain", 1, "noise, entry 1, gain is no key of a camera: known are iso, gain_dn_per"),
        ("+uncertainty", {"iso": 1}, "noise, entry 1, uncertainty, iso is no key"),
        ("+uncertainty", None, "noise, entry 1, uncertainty, is an object, not null"),
        ("+uncertainty", {"read_noise_dn": -1}, "uncertainty, read_noise_dn is -1, but has to"),
        ("name", 7, "name is a text, not 7"),
        ("name", "a/b", 'name is "a/b", but folders are called by it'),
        ("name", "", 'name is "", but'),
        ("name", "é" * 60, "name takes 120 bytes: give a shorter one, of 100 at the most"),
        ("name", "sony", "name is sony, as that of a built-in camera"),
        ("mosaic", "foveon", 'mosaic is one of bayer, xtrans, not "foveon"'),
        ("black", "512", 'black is a finite number, not "512"'),
        ("black", True, "black is a finite number, not true"),
        ("black", -1, "black is -1, but has to be at least 0"),
        ("white", 128.5, "white is 128.5, which is not above black 128.5"),
        ("white", 65536, "white is 65536, but can be 65535 at the most"),
        ("white", 10**400, "white is a finite number, not 1000"),
        ("xyz_to_camera", [[1, 0, 0]] * 3, "xyz_to_camera is .*, which cannot be inverted"),
        ("xyz_to_camera", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "white light gives hardly a signal"),
        ("xyz_to_camera", [[1e-3, 0, 0], [0, 1e-3, 0], [0, 0, 1e-3]], "gives hardly a signal"),
        (
            "xyz_to_camera",
            [[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1e9]],
            "row 1, of R is 1e\\+09, but can",
        ),
        ("xyz_to_camera", [1, 0, 0], "xyz_to_camera, row 1, is three numbers"),
        ("xyz_to_camera", "matrix", "xyz_to_camera is three rows of three numbers"),
        ("white_balance", [2, 1], r"white_balance is three numbers \[R, G, B\], not \[2, 1\]"),
        (
            "white_balance",
            [1e5, 0.1, 1],
            "brought to 1, of R is 1e\\+06, but can be 100 at the most",
        ),
        ("white_balance", [2, 0, 1], "white_balance of G is 0, but has to be at least 0.01"),
        ("noise", [], r"noise is a list with an entry for each ISO setting, not \[\]"),
        ("noise", {"800": 1}, "noise is a list with an entry for each ISO setting"),
        ("noise", [3], "noise, entry 1, is an object, not 3"),
        ("+iso", 1600, "noise has two entries of iso 1600: remove one"),
        ("+iso", 0, "noise, entry 1, iso is 0, but has to be above 0"),
        ("+gain_dn_per_electron", 0, "gain_dn_per_electron is 0, but has to be above 0"),
        ("+gain_dn_per_electron", math.nan, "gain_dn_per_electron is a finite number, not NaN"),
        ("+read_noise_dn", -1, "noise, entry 1, read_noise_dn is -1, but has to be at least 0"),
        ("+row_noise_dn", None, "row_noise_dn is a finite number, not null"),
        ("+read_noise_shape", -0.5, "read_noise_shape is -0.5, but has to be above -0.5"),
        ("+black_error_dn", 0.5, r"black_error_dn is three numbers \[R, G, B\], not 0.5"),
        ("+black_error_dn", [0, math.inf, 0], "black_error_dn of G is a finite number, not Inf"),
        ("suffix", "RAF", 'suffix is like .ARW, not "RAF"'),
        ("pattern", "RGBG", 'pattern is "RGBG", but the filters .* RGGB, GRBG, GBRG or BGGR'),
        ("padded_columns", 3, "padded_columns is an even number"),
    ],
)
def test_a_bad_key_is_named_with_its_file(tmp_path, key, value, sentence):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(InputError, match=f"^{path}: .*{sentence}") as raised:
        cameras.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "own.json is not a JSON file .*dbp_tf.calibrate writes one"),
        (b"\xff\xfe\x00", "own.json is not a JSON file"),
        (b"{'name': 1}", "own.json is not a JSON file .*line 1 column 2"),
        (b"[" * 100_000, "own.json is not a JSON file"),
        (b"[1, 2]", r"own.json: the file is an object, not \[1, 2\]"),
        (b'{"black": 1, "black": 2}', "own.json: black is there 2 times: leave one"),
        (b'{"a\\nb": 1}', "own.json: name is missing"),
    ],
)
def test_what_is_no_camera_file_is_refused(tmp_path, content, sentence):
    (tmp_path / "own.json").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        cameras.camera_named(str(tmp_path / "own.json"))


def test_a_name_that_is_no_camera_says_what_is_one(tmp_path):
    with pytest.raises(InputError, match="there is no camera 'nikon': give sony, fuji or a camera"):
        cameras.camera_named("nikon")
    with pytest.raises(InputError, match="there is no camera file .*none.json"):
        cameras.camera_named(str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="is a folder: give a camera's JSON file"):
        cameras.camera_named(str(tmp_path))


# Noise by the description


def test_noise_between_two_settings_is_interpolated():
    low, high = OWN.noise
    assert noise.noise_at(OWN, 400) is low and noise.noise_at(OWN, 1600) is high
    # 800 is half-way in stops.
    middle = noise.noise_at(OWN, 800)
    assert middle.iso == 800
    assert middle.gain_dn_per_electron == pytest.approx(1.6)
    assert middle.read_noise_dn == pytest.approx((2 * 5) ** 0.5)
    assert middle.read_noise_shape == pytest.approx(0)
    np.testing.assert_allclose(middle.black_error_dn, (1.25, 0, -1.25))
    assert middle.fixed_pattern_dn == pytest.approx(0.3)
    for iso in (399, 1601):
        with pytest.raises(InputError, match=rf"--iso {iso} lies beyond .* \(400, 1600\)"):
            noise.noise_at(OWN, iso)
    with pytest.raises(InputError, match=r"--iso 100 .* sony was calibrated \(800\)"):
        noise.noise_at(SONY, 100)


def test_bursts_are_drawn_over_the_calibrated_settings():
    rng = np.random.default_rng(0)
    drawn = np.array([noise.draw_noise(OWN, rng).iso for _ in range(2000)])
    # As many below 800 as above it.
    assert 400 <= drawn.min() < 402 and 1590 < drawn.max() <= 1600
    assert np.mean(drawn < 800) == pytest.approx(0.5, abs=0.04)
    state = rng.bit_generator.state
    assert noise.draw_noise(SONY, rng) is SONY.noise[0]
    assert rng.bit_generator.state == state


@pytest.mark.parametrize("shape", [-0.2, -0.008, 0, 0.14, 1])
def test_read_noise_follows_tukeys_lambda(shape):
    entry = dataclasses.replace(
        OWN.noise[0],
        gain_dn_per_electron=1e-9,
        read_noise_dn=30,
        read_noise_shape=shape,
        row_noise_dn=0,
    )
    dark = np.zeros((400, 500))
    frame = noise.expose(dark, 1, SONY, entry, (0, 0, 0), np.random.default_rng(1)).astype(float)
    error = (frame - SONY.black).ravel()
    assert error.std() == pytest.approx(30, rel=0.01)
    scale = 30 / scipy.stats.tukeylambda.std(shape or 1e-9)
    shares = np.array([0.001, 0.01, 0.25, 0.75, 0.99, 0.999])
    expected = scipy.stats.tukeylambda.ppf(shares, shape, scale=scale)
    np.testing.assert_allclose(np.quantile(error, shares), expected, rtol=0.08, atol=0.6)


def test_a_fixed_pattern_stays_through_a_burst_and_column_noise_does_not():
    quiet = dataclasses.replace(
        OWN.noise[0],
        gain_dn_per_electron=1e-9,
        read_noise_dn=0,
        row_noise_dn=0,
        black_error_spread_dn=0,
        black_error_dn=(0, 0, 0),
    )
    black = np.zeros((64, 96, 3))

    def frames(**values):
        entry = dataclasses.replace(quiet, **values)
        scene = simulate.simulate_scene(
            black, SONY, np.random.default_rng(2), frames=2, noise=entry
        )
        return scene.frames.astype(float) - SONY.black

    first, second = frames(fixed_pattern_dn=5)
    np.testing.assert_array_equal(first, second)
    assert first.std() == pytest.approx(5, rel=0.05)
    first, second = frames(fixed_pattern_dn=0, column_noise_dn=5)
    assert np.abs(first - second).max() > 5
    np.testing.assert_array_equal(first, first[:1].repeat(64, axis=0))
    assert first[0].std() == pytest.approx(5, rel=0.25)


def test_simulated_files_are_the_cameras(tmp_path):
    """Phase, levels and noise of the files, as the reader finds them."""
    from dbp_tf.raw import reading

    grey = np.full((64, 64, 3), 0.5)
    scene = simulate.simulate_scene(grey, OWN, np.random.default_rng(3), frames=2, ratio=10)
    assert 400 <= scene.noise.iso <= 1600
    frames, truth = simulate.write_scene(tmp_path, 1, scene, OWN, 10)
    assert frames[0].name == "00001_00_0.1s.dng"
    frame = reading.read_raw(frames[0], OWN)
    assert frame.offset == (1, 0) and frame.layout is packing.BAYER
    assert (frame.black, frame.white) == ((128.5,) * 4, 4095)
    np.testing.assert_allclose(frame.white_balance, (2, 1, 1.5), rtol=1e-4)
    long = reading.read_raw(truth, OWN).packed()
    light = long.mean((0, 1)) * np.array(frame.white_balance)[[0, 1, 2, 1]]
    np.testing.assert_allclose(light, light[1], rtol=0.01)


def test_the_built_in_cameras_are_of_the_same_form():
    assert list(CAMERAS) == ["sony", "fuji"]
    assert (SONY.filters, FUJI.filters) == (packing.BAYER.colours, packing.XTRANS.colours)
    assert (SONY.reference_frame, FUJI.reference_frame) == ("first", "center")
    assert (SONY.contextual_weight, FUJI.contextual_weight) == (1.0, 0.1)


# The flag


def test_settings_hold_the_whole_description_and_tell_two_apart(tmp_path):
    from dbp_tf import config
    from dbp_tf.simulate.command import FLAGS, Simulation

    def parsed(*words):
        FLAGS.unparse_flags()
        FLAGS(["simulate", "--out", str(tmp_path), *words])
        return config.as_json(config.from_flags(FLAGS, Simulation))["camera"]

    path = tmp_path / "own.json"
    cameras.save(OWN, path)
    assert parsed("--camera=fuji") == "fuji"
    before = parsed(f"--camera={path}")
    assert before == json.loads(path.read_text())
    cameras.save(dataclasses.replace(OWN, black=130), path)
    now = parsed(f"--camera={path}")
    assert config.shown(before, now) == ("Own One with black 128.5", "black 130")
    assert config.shown("sony", now) == ("sony", "Own One")
