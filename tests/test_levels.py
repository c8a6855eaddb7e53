"""Black and white level: from the file, the published table or flags; checked by the pixels."""

import dataclasses
import time

import numpy as np
import pytest
import rawpy

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.raw import levels, packing, reading
from dbp_tf.raw.cameras import FUJI, SONY
from dbp_tf.raw.overrides import NOTHING, OverrideFlags, Overrides


def dark_mosaic(seed=0, shape=(64, 76), black=512, light=20):
    """A dark frame: noise about the black level and a bright patch."""
    rng = np.random.default_rng(seed)
    mosaic = rng.normal(black + light, 4, shape)
    mosaic[8:24, 8:32] += 200
    return np.clip(np.rint(mosaic), 0, 16383).astype(np.uint16)


def shoot(path, camera=SONY, mosaic=None, **how):
    mosaic = dark_mosaic() if mosaic is None else mosaic
    simulate.write_dng(path, mosaic, camera, **how)
    return path


def read(folder, given=NOTHING, camera=None):
    return reading.read_raw(folder / "a.dng", camera, given)


# --- files that know no camera table ---


def test_a_black_level_of_none_or_twice_the_true_one_is_refused_until_given(tmp_path):
    # What older rawpy versions made of a phone's DNG, and of a Fuji file whose black levels
    # stand in two places.
    for said, sentence in (
        ([[0]], r"says black level 0, but its darkest pixels lie at 5\d\d: the level is missing"),
        ([[1024]], r"says black level 1024, but its darkest .*--black \(about 5\d\d, or 512 if"),
        ([[600]], "says black level 600, but its darkest"),
    ):
        shoot(tmp_path / "a.dng", black=said)
        with pytest.raises(InputError, match="a.dng " + sentence):
            read(tmp_path)
        frame = read(tmp_path, Overrides(black=(512.0,)))
        assert frame.notes == ()
        assert frame.levels == "black 512, white 16383 (--black, else file)"
        # Who says so himself is believed.
        assert read(tmp_path, Overrides(black=(float(said[0][0]),))).notes == ()


@pytest.mark.parametrize(
    ("black", "light", "noise"), [(512, 0, 4), (0, 0, 30), (512, 0, 60), (512, 100, 4), (64, -2, 1)]
)
def test_dark_frames_with_true_levels_pass(tmp_path, black, light, noise):
    rng = np.random.default_rng(1)
    mosaic = rng.logistic(black + light, noise * 3**0.5 / np.pi, (64, 76))
    mosaic = np.clip(np.rint(mosaic), 0, 16383).astype(np.uint16)
    shoot(tmp_path / "a.dng", mosaic=mosaic, black=[[black]])
    assert read(tmp_path).notes == ()


@pytest.mark.parametrize(("black", "noise"), [(64, 64), (64, 30), (16, 16), (4, 4), (1, 1)])
def test_noise_that_reaches_down_to_zero_is_no_damage(tmp_path, black, noise):
    mosaic = np.random.default_rng(1).normal(black, noise, (256, 256))
    mosaic = np.clip(np.rint(mosaic), 0, 1023).astype(np.uint16)
    assert (mosaic == 0).mean() > 0.01
    phone = dataclasses.replace(SONY, black=black, white=1023)
    shoot(tmp_path / "a.dng", mosaic=mosaic, camera=phone)
    assert read(tmp_path).notes == ()


def test_dead_pixels_do_not_make_a_black_level_wrong(tmp_path):
    mosaic = dark_mosaic()
    mosaic.ravel()[:: round(1 / 0.009)] = 0
    assert 0.008 < (mosaic == 0).mean() < 0.01
    shoot(tmp_path / "a.dng", mosaic=mosaic)
    assert read(tmp_path).notes == ()
    # Nor do they hide one that is.
    shoot(tmp_path / "a.dng", mosaic=mosaic, black=[[1024]])
    with pytest.raises(InputError, match=r"a.dng says black level 1024, .* lie at 5\d\d"):
        read(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_file_filled_up_with_zeros_is_called_damaged_whatever_the_scene(tmp_path, share):
    bright = np.random.default_rng(0).integers(520, 9000, (64, 76)).astype(np.uint16)
    for mosaic in (dark_mosaic(), bright):
        mosaic.ravel()[round((1 - share) * mosaic.size) :] = 0
        shoot(tmp_path / "a.dng", mosaic=mosaic)
        for given in (NOTHING, Overrides(black=(500.0,))):
            with pytest.raises(InputError, match=r"a.dng are 0, .*cut off or filled up with zeros"):
                read(tmp_path, given)


def test_a_bright_scene_may_have_black_level_zero(tmp_path):
    mosaic = np.random.default_rng(0).integers(185, 9000, (64, 76)).astype(np.uint16)
    shoot(tmp_path / "a.dng", mosaic=mosaic, black=[[0]])
    assert read(tmp_path).notes == ()


def test_odd_but_possible_levels_are_remarked_on(tmp_path):
    shoot(tmp_path / "a.dng", mosaic=dark_mosaic(light=900))
    (note,) = read(tmp_path).notes
    assert "the darkest pixels lie at 1" in note and "--black" in note
    low = dataclasses.replace(SONY, white=600)
    shoot(tmp_path / "a.dng", camera=low, mosaic=dark_mosaic(light=0))
    (note,) = read(tmp_path).notes
    assert "8 % of the pixels lie above the white level 600" in note
    assert read(tmp_path, Overrides(white=1000.0)).notes == ()


# --- the published table ---


def noisy(black, shape=(64, 76), seed=0, light=3, noise=4):
    """Noise about a black level, one for all pixels or one for each, and little light."""
    rng = np.random.default_rng(seed)
    scene = light * rng.random(shape) * (np.arange(shape[1]) > 20)
    return np.clip(np.rint(rng.normal(black + scene, noise)), 0, 16383).astype(np.uint16)


SIZES = {SONY.name: (64, 76), FUJI.name: (516, 516)}


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
@pytest.mark.parametrize("off", [-0.009, 0, 0.006])
@pytest.mark.parametrize("white", [15360, 16300, 16383])
def test_the_published_levels_hold_for_files_of_about_the_same(tmp_path, camera, off, white):
    black = round(camera.black * (1 + off))
    near = dataclasses.replace(camera, black=black, white=white)
    shoot(tmp_path / "a.dng", near, noisy(black, SIZES[camera.name]))
    frame = read(tmp_path, camera=camera)
    assert set(frame.black) == {camera.black}
    assert frame.levels == f"black {camera.black}, white 16383 (camera table)"
    assert frame.notes == ()


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
@pytest.mark.parametrize("noise", [2, 12])
def test_black_0_that_the_pixels_confirm_is_believed(tmp_path, camera, noise):
    """Nikon's D700 and D800 subtract the black level before they write a file."""
    own = dataclasses.replace(camera, black=0)
    shoot(tmp_path / "a.dng", own, noisy(0, SIZES[camera.name], noise=noise))
    frame = read(tmp_path, camera=camera)
    assert frame.levels == "black 0, white 16383 (file)"
    assert frame.notes == read(tmp_path).notes == ()


def test_a_frame_behind_the_lens_cap_keeps_its_level(tmp_path):
    for black in (0, 512):
        shoot(tmp_path / "a.dng", mosaic=noisy(black, light=0), black=[[black]])
        frame = read(tmp_path, camera=SONY)
        assert frame.black == (black,) * 4 and frame.notes == ()


@pytest.mark.parametrize("camera", [SONY, FUJI], ids=lambda camera: camera.name)
@pytest.mark.parametrize("factor", [0, 2])
def test_the_published_level_replaces_one_that_the_pixels_disprove(tmp_path, camera, factor):
    mosaic = noisy(camera.black, SIZES[camera.name])
    shoot(tmp_path / "a.dng", camera, mosaic, black=[[factor * camera.black]])
    frame = read(tmp_path, camera=camera)
    assert set(frame.black) == {camera.black} and frame.level_source == "camera table"
    (note,) = frame.notes
    assert note.startswith(f"the file says black level {factor * camera.black}, but its darkest")
    with pytest.raises(InputError, match="the level is .*: give --black"):
        read(tmp_path)


@pytest.mark.parametrize("black", [400, 480, 560, 600])
def test_the_published_level_never_replaces_one_that_the_pixels_confirm(tmp_path, black):
    shoot(tmp_path / "a.dng", mosaic=noisy(black), black=[[black]])
    frame = read(tmp_path, camera=SONY)
    assert frame.black == (black,) * 4 and frame.level_source == "file"


def test_levels_of_each_channel_are_kept_and_each_is_checked(tmp_path):
    blacks = np.array([[512, 530], [540, 512]])
    mosaic = noisy(np.tile(blacks, (32, 38)))
    shoot(tmp_path / "a.dng", mosaic=mosaic, black=blacks)
    assert read(tmp_path, camera=SONY).black == (512, 530, 512, 540)
    # Twice the true level, in the blue channel alone.
    shoot(tmp_path / "a.dng", mosaic=mosaic, black=[[512, 530], [540, 1024]])
    with pytest.raises(InputError, match=r"says black level 1024, but .* give --black \(about 51"):
        read(tmp_path)


def test_a_level_that_nothing_confirms_is_refused_and_said_how_to_mend(tmp_path):
    for said, true in ((0, 900), (512, 0), (512, 200), (1024, 300)):
        shoot(tmp_path / "a.dng", mosaic=noisy(true), black=[[said]])
        with pytest.raises(
            InputError, match=f"a.dng says black level {said}, .* --black"
        ) as caught:
            read(tmp_path, camera=SONY)
        # The programs for datasets have no such flag.
        assert "leave the file out, or restore it with python -m dbp_tf.photos" in str(caught.value)


def test_an_even_scene_is_no_missing_level_if_it_lies_below_the_camera_s(tmp_path):
    shoot(tmp_path / "a.dng", mosaic=noisy(150), black=[[0]])
    frame = read(tmp_path, camera=SONY)
    assert frame.black == (0,) * 4
    assert "if pictures come out pale, the level is wrong" in frame.notes[0]


def test_the_check_of_12_megapixels_takes_little(tmp_path):
    mosaic = np.tile(noisy(512, (354, 530)), (8, 8))
    said = levels.Levels((512.0,) * 4, 16383.0, "file")
    seconds = []
    for _ in range(3):
        started = time.process_time()
        darkest = levels.Darkest(mosaic, packing.BAYER)
        assert levels.check(said, darkest, mosaic, tmp_path, NOTHING, SONY) == []
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.2


# --- flags ---


def test_flags_overrule_the_file(tmp_path):
    shoot(tmp_path / "a.dng", mosaic=dark_mosaic(shape=(72, 84)), pattern=("GB", "RG"))
    path = tmp_path / "a.dng"
    given = OverrideFlags(["500", "510", "520"], 4095.0, "rggb", ["4", "7", "64", "72"]).overrides
    frame = reading.read_raw(path, overrides=given)
    assert frame.black == (500, 510, 520, 510)
    assert frame.levels == "black 500/510/520, white 4095 (--black and --white)"
    with rawpy.imread(str(path)) as opened:
        np.testing.assert_array_equal(frame.mosaic, opened.raw_image[4:68, 7:79])
    # The area alone: the filters go on as in the file, whose (1, 0) is RGGB's first.
    area = OverrideFlags(active_area=["4", "7", "64", "72"]).overrides
    frame = reading.read_raw(path, overrides=area)
    assert frame.offset == (1, 1)
    shifted = reading.read_raw(path, overrides=OverrideFlags(pattern="GR/BG").overrides)
    assert shifted.offset == (0, 1)
    four = OverrideFlags(black=["1", "2", "3", "4"]).overrides
    assert reading.read_raw(path, overrides=four).black == (1, 2, 3, 4)


def test_black_of_each_filter_stays_with_its_site_in_an_active_area(tmp_path):
    shoot(tmp_path / "a.dng", black=[[500, 501], [502, 503]])
    area = OverrideFlags(active_area=["1", "1", "60", "60"]).overrides
    frame = reading.read_raw(tmp_path / "a.dng", overrides=area)
    # The area starts at the blue site, so RGGB starts at the area's (1, 1).
    assert (frame.offset, frame.black) == ((1, 1), (500, 501, 503, 502))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"black": ["x"]}, "--black=x: give one number"),
        ({"black": ["1", "2"]}, "--black=1,2"),
        ({"black": ["nan"]}, "--black=nan"),
        ({"black": ["-3"]}, "--black=-3"),
        ({"pattern": "RGBG"}, "--pattern=RGBG: give"),
        ({"pattern": "RG"}, "--pattern=RG"),
        ({"active_area": ["1", "2", "3"]}, "--active_area=1,2,3: give TOP,LEFT"),
        ({"active_area": ["1", "2", "3.5", "4"]}, "--active_area: give whole numbers"),
    ],
)
def test_flags_that_make_no_sense_are_named(flags, sentence):
    with pytest.raises(InputError, match=sentence):
        _ = OverrideFlags(**flags).overrides


def test_flags_that_do_not_fit_the_file_are_named(tmp_path):
    path = shoot(tmp_path / "a.dng")
    for flags, sentence in (
        ({"active_area": ["0", "0", "64", "78"]}, "reaches beyond .*a.dng, which has 64 rows"),
        ({"active_area": ["0", "0", "0", "0"]}, "^--active_area=0,0,0,0 has only 0 x 0 pixels"),
        ({"active_area": ["0", "0", "3", "76"]}, "^--active_area=0,0,3,76 has only 3 x 76 pixels"),
        ({"white": 500.0}, r"a.dng has black level 512 and white level 500 \(--white, else file\)"),
    ):
        with pytest.raises(InputError, match=sentence):
            reading.read_raw(path, overrides=OverrideFlags(**flags).overrides)
    with pytest.raises(InputError, match="--black: an X-Trans mosaic has three colours"):
        Overrides(black=(1.0, 2.0, 3.0, 4.0)).black_of(packing.XTRANS)
    blacks = Overrides(black=(1.0, 2.0, 3.0)).black_of(packing.XTRANS)
    assert blacks == (1, 2, 3, 1, 3, 2, 2, 2, 2)


def test_levels_are_those_before_libraw_develops(tmp_path):
    shoot(tmp_path / "a.dng")
    with reading.open_raw(tmp_path / "a.dng") as opened:
        before = opened.black_level_per_channel
        reading.develop(opened)
        assert opened.black_level_per_channel == before == [512] * 4
