"""Own photographs: which files make a burst, what is refused, what reaches the network."""

import dataclasses
import datetime
import errno
import io
import os
import pathlib
import re
import struct
import subprocess
import sys
import weakref
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from dbp_tf import cli, simulate
from dbp_tf.errors import InputError
from dbp_tf.photos import bursts, command, looking, photographs
from dbp_tf.photos.settings import Settings
from dbp_tf.raw import exif, reading
from dbp_tf.raw.cameras import FUJI, SONY

NOON = datetime.datetime(2021, 6, 1, 12)


def dark_mosaic(seed=0, shape=(64, 76), black=512, light=20):
    """A dark frame: noise about the black level and a bright patch."""
    rng = np.random.default_rng(seed)
    mosaic = rng.normal(black + light, 4, shape)
    mosaic[8:24, 8:32] += 200
    return np.clip(np.rint(mosaic), 0, 16383).astype(np.uint16)


def cut_off(share):
    """A dark frame whose last pixels were never written."""
    mosaic = dark_mosaic()
    mosaic.ravel()[round((1 - share) * mosaic.size) :] = 0
    return mosaic


def shoot(path, seconds=None, seed=None, camera=SONY, mosaic=None, **how):
    """Writes a raw file that was taken so many seconds past noon; each name has its own noise."""
    captured = None if seconds is None else NOON + datetime.timedelta(seconds=seconds)
    seed = zlib.crc32(os.fsencode(path.parent.name + path.name)) if seed is None else seed
    mosaic = dark_mosaic(seed) if mosaic is None else mosaic
    path.parent.mkdir(parents=True, exist_ok=True)
    simulate.write_dng(path, mosaic, camera, captured=captured, **how)
    return path


def find(*names, gap=None, **how):
    found, _ = bursts.find_bursts(names, gap, **how)
    return found


def names(found):
    return [(burst.name, [frame.path.name for frame in burst.frames]) for burst in found]


# --- which files make a burst ---


def test_a_folder_is_a_burst_in_the_order_of_capture(tmp_path):
    for name, seconds in (("b.dng", 0.5), ("c.dng", 0.25), ("a.dng", 0.75)):
        shoot(tmp_path / name, seconds)
    (tmp_path / "c.jpg").write_bytes(b"beside the raw file")
    (tmp_path / "._a.dng").write_bytes(b"macOS")
    wanted = [(tmp_path.name, ["c.dng", "b.dng", "a.dng"])]
    assert names(find(tmp_path)) == wanted


def test_listed_files_are_a_burst_and_may_hold_a_comma(tmp_path):
    paths = [shoot(tmp_path / name, at) for name, at in (("b, 1.dng", 2), ("a.dng", 1))]
    assert names(find(paths[0])) == [("b, 1", ["b, 1.dng"])]
    shoot(tmp_path / "c.dng", 0)
    listed = [paths[1], tmp_path / "c.dng"]
    assert names(find(*listed)) == [("c", ["c.dng", "a.dng"])]


def test_without_times_names_count_and_their_numbers_as_numbers(tmp_path):
    for number in (10, 9, 1):
        shoot(tmp_path / f"IMG_{number}.dng")
    wanted = ["IMG_1.dng", "IMG_9.dng", "IMG_10.dng"]
    assert names(find(tmp_path))[0][1] == wanted
    # One frame with a time does not order the others.
    shoot(tmp_path / "IMG_10.dng", 5)
    assert names(find(tmp_path))[0][1] == wanted


def test_parts_of_a_second_count_only_if_all_frames_tell_them(tmp_path):
    def frame(name, second, subsecond):
        captured = NOON + datetime.timedelta(seconds=second)
        return exif.Shot(tmp_path / name, captured=captured, subsecond=subsecond)

    told = [frame("a", 1, 0.9), frame("b", 1, 0.1), frame("c", 0, 0.5)]
    assert [one.path.name for one in bursts.in_order(told)] == ["c", "b", "a"]
    partly = [*told, frame("d", 1, None)]
    assert [one.path.name for one in bursts.in_order(partly)] == ["c", "a", "b", "d"]


def test_each_folder_in_a_folder_is_a_burst(tmp_path):
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
        shoot(tmp_path / name / "IMG_1.dng")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".trash").mkdir()
    shoot(tmp_path / ".trash" / "IMG_1.dng")
    wanted = [("one", ["IMG_1.dng"]), ("two", ["IMG_1.dng"])]
    assert names(find(tmp_path)) == wanted


def test_a_mixed_folder_is_split_where_the_camera_paused(tmp_path):
    # Exposures of 2 s: from the end of one to the start of the next it is 1, 3.5 and 1 s.
    for name, seconds in (("d", 8.5), ("a", 0), ("b", 3), ("e", 11.5)):
        shoot(tmp_path / f"{name}.dng", seconds, exposure=2)
    split = [("a", ["a.dng", "b.dng"]), ("d", ["d.dng", "e.dng"])]
    for gap in (1, 3.4):
        assert names(find(tmp_path, gap=gap)) == split
    assert len(find(tmp_path, gap=3.6)) == 1
    assert len(find(tmp_path, gap=0.5)) == 4
    (tmp_path / "more").mkdir()
    shoot(tmp_path / "more" / "a.dng", 0)
    found = [name for name, _ in names(find(tmp_path, gap=1))]
    assert found == [f"{tmp_path.name}_a", f"{tmp_path.name}_d", "more_a"]


def test_files_without_a_time_are_left_out_of_a_mixed_folder_and_named(tmp_path):
    # By name the third file comes before the first.
    for name, seconds in (("c.dng", 0), ("d.dng", 1), ("a.dng", 20), ("b.dng", None)):
        shoot(tmp_path / name, seconds)
    (tmp_path / "e.dng").write_bytes(b"torn")
    (tmp_path / "timeless").mkdir()
    shoot(tmp_path / "timeless" / "f.dng")
    problems = []
    found = names(find(tmp_path, gap=5, problems=problems))
    folder = tmp_path.name
    assert found == [(f"{folder}_c", ["c.dng", "d.dng"]), (f"{folder}_a", ["a.dng"])]
    assert [problem.split()[0] for problem in problems] == [
        str(tmp_path / name) for name in ("b.dng", "e.dng", "timeless/f.dng")
    ]
    with pytest.raises(InputError, match="b.dng is damaged or does not tell when it was taken"):
        find(tmp_path, gap=5)


def test_a_long_pause_within_a_burst_and_frames_left_over_are_remarked_on(tmp_path):
    for number in range(3):
        shoot(tmp_path / f"{number}.dng", 100 * number)
    (burst,) = find(tmp_path)
    pause, _ = bursts.odd_about(burst, 3), bursts.odd_about(burst, 2)
    assert len(pause) == 1 and pause[0].startswith("100 s lie between")
    assert "the first 2 of 3 frames" in bursts.odd_about(burst, 2)[0]
    assert bursts.odd_about(burst, 1) == ["the first 1 of 3 frames are used (--n_burst)"]


def test_what_makes_no_burst_is_refused_by_name(tmp_path):
    (tmp_path / "jpegs").mkdir()
    (tmp_path / "jpegs" / "IMG_1.JPG").touch()
    one = shoot(tmp_path / "one.dng")
    both = tmp_path / "both"
    for inside in ("Both", "empty"):
        (both / inside).mkdir(parents=True)
    shoot(both / "1.dng")
    shoot(both / "Both" / "2.dng")
    for source, gap, sentence in (
        (tmp_path / "none.dng", None, "there is no file or folder .*none.dng"),
        (tmp_path / "jpegs", None, "holds no raw files.*IMG_1.JPG are finished"),
        (both / "empty", None, "empty holds no raw files, nor does a folder in it$"),
        (tmp_path, 1, "one.dng is damaged or does not tell when it was taken.*--burst_gap"),
        (both, None, "1.dng and .*2.dng would both be written as Both"),
    ):
        with pytest.raises(InputError, match=sentence):
            find(source, gap=gap)
    with pytest.raises(InputError, match="one.dng is named twice"):
        find(one, one)
    with pytest.raises(InputError, match="no raw files are named: give those of a burst"):
        find()


# --- everything that is named is used once, or said not to be ---


def used_and_said(*names):
    found, notes = bursts.find_bursts(names)
    return [[frame.path.name for frame in burst.frames] for burst in found], " | ".join(notes)


def test_pictures_and_notes_beside_the_raw_files_are_said_not_to_be_used(tmp_path):
    for number in range(4):
        shoot(tmp_path / f"{number}.dng")
        (tmp_path / f"{number}.JPG").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").mkdir()
    raw = ["0.dng", "1.dng", "2.dng", "3.dng"]
    used, said = used_and_said(tmp_path)
    assert used == [raw]
    assert said == f"4 in {tmp_path} not used, not raw: 0.JPG, 1.JPG, 2.JPG, ..."
    # As the shell expands *.
    used, said = used_and_said(*sorted(path for path in tmp_path.iterdir() if path.is_file()))
    assert used == [raw]
    assert said == "4 of the files named not used, not raw: 0.JPG, 1.JPG, 2.JPG, ..."


def test_raw_files_are_known_by_their_contents_where_no_name_says_so(tmp_path):
    """A Raspberry Pi calls its raw files .jpg."""
    for name in ("a.jpg", "b.jpg"):
        shoot(tmp_path / "a.dng").rename(tmp_path / name)
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff")
    used, said = used_and_said(tmp_path)
    assert used == [["a.jpg", "b.jpg"]] and said == f"1 in {tmp_path} not used, not raw: c.jpg"
    with pytest.raises(InputError, match="c.jpg"):
        read(tmp_path / "c.jpg")


def test_folders_that_lie_too_deep_are_said_not_to_be_used(tmp_path):
    shoot(tmp_path / "one" / "a.dng")
    shoot(tmp_path / "two" / "deeper" / "b.dng")
    shoot(tmp_path / "two" / ".trash" / "c.dng")
    used, said = used_and_said(tmp_path)
    assert used == [["a.dng"]]
    assert said == f"{tmp_path / 'two' / 'deeper'} lies too deep and is not used: name it to " + (
        "restore it"
    )
    (tmp_path / "one" / "a.dng").unlink()
    with pytest.raises(InputError, match="holds no raw files.*two/deeper does: name that"):
        find(tmp_path)


def test_a_link_beside_its_file_is_used_once_and_a_broken_one_is_said(tmp_path):
    shoot(tmp_path / "b.dng")
    (tmp_path / "a.dng").symlink_to(tmp_path / "b.dng")
    (tmp_path / "c.dng").symlink_to(tmp_path / "gone.dng")
    used, said = used_and_said(tmp_path)
    assert used == [["b.dng"]]
    assert "a.dng is not used: it is the same file as b.dng" in said
    assert "c.dng is not used: it is a link to " in said and "which is not there" in said
    with pytest.raises(InputError, match="c.dng is a link to .*gone.dng, which is not there"):
        find(tmp_path / "c.dng")


def test_a_file_named_twice_is_refused_however_it_is_named(tmp_path):
    path = shoot(tmp_path / "in" / "a.dng")
    link = tmp_path / "link.dng"
    link.symlink_to(path)
    folder = tmp_path / "folder"
    folder.symlink_to(path.parent)
    for other in (path, link, path.parent, folder, tmp_path / "in" / ".." / "in" / "a.dng"):
        with pytest.raises(InputError, match="is named twice.*: name each file once"):
            find(path, other)
    for again in (path.parent, folder, tmp_path):
        with pytest.raises(InputError, match="is named twice"):
            find(path.parent, again)


def test_a_shot_in_two_formats_counts_once(tmp_path):
    for number in range(4):
        shoot(tmp_path / f"{number}.dng", number)
        # A camera's own file, for all that matters here.
        shoot(tmp_path / f"{number}.ARW", number, seed=number)
    used, said = used_and_said(tmp_path)
    assert used == [["0.ARW", "1.ARW", "2.ARW", "3.ARW"]]
    assert said.startswith("4 of 8 files not used, the same shots in another format: 0.dng shows")
    # By their time, too, and by none of both if the times differ.
    shoot(tmp_path / "other" / "x.dng", 0.5)
    shoot(tmp_path / "other" / "y.arw", 0.5)
    assert used_and_said(tmp_path / "other")[0] == [["y.arw"]]
    shoot(tmp_path / "apart" / "x.dng", 0)
    shoot(tmp_path / "apart" / "x.arw", 5)
    assert used_and_said(tmp_path / "apart") == ([["x.dng", "x.arw"]], "")


def test_equal_pixels_count_once(tmp_path, capsys):
    for name in ("a.dng", "a (copy).dng", "b.dng"):
        shoot(tmp_path / name, seed=len(name) if name == "b.dng" else 0)
    frames, notes = read(tmp_path)
    assert [frame.path.name for frame in frames] == ["a (copy).dng", "b.dng"]
    assert notes == ["a.dng holds the very pixels of a (copy).dng: used once"]
    ((seen),), _ = restore(tmp_path, tmp_path / "out")
    assert len(seen) == 2 and "2 frames" in capsys.readouterr().out


def test_a_pattern_that_the_shell_left_is_expanded(tmp_path):
    for name in ("a.dng", "b.dng", "[c].dng"):
        shoot(tmp_path / name)
    assert used_and_said(tmp_path / "?.dng")[0] == [["a.dng", "b.dng"]]
    assert used_and_said(tmp_path / "[c].dng")[0] == [["[c].dng"]]
    # A folder whose name would be a pattern of its own.
    shoot(tmp_path / "night [1]" / "d.dng")
    assert used_and_said(tmp_path / "night [1]" / "*.dng")[0] == [["d.dng"]]
    with pytest.raises(InputError, match=r"there is no file or folder .*\*.nef"):
        find(tmp_path / "*.nef")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    shoot(tmp_path / "in" / "a.dng")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert used_and_said("~/in") == ([["a.dng"]], "")
    assert used_and_said("~/in/*.dng") == ([["a.dng"]], "")


# --- frames that do not belong together ---


def read(*names, camera=SONY, **how):
    """(raw frames, notes) of a burst that was looked at."""
    (burst,) = find(*names)
    seen = looking.look(burst, Settings(camera=camera, **how))
    return list(seen.raw_frames), seen.notes


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"camera": dataclasses.replace(SONY, model="Other")}, "taken with dbp_tf Other .simulat"),
        ({"exposure": 0.2}, "b.dng was exposed for 0.2 s, but a.dng for 0.1 s"),
        ({"mosaic": dark_mosaic(shape=(68, 76))}, "68 x 76 pixels, but a.dng has 64 x 76"),
        ({"pattern": ("GR", "BG")}, "b.dng has its colour filters laid out from"),
        (
            {"pattern": ("GR", "BG"), "mosaic": dark_mosaic(shape=(64, 77))},
            r"laid out from \(0, 1\), but a.dng from \(0, 0\)",
        ),
        ({"mosaic": np.zeros((64, 76), np.uint16)}, "b.dng holds nothing but zeros"),
        ({"mosaic": dark_mosaic(shape=(28, 76))}, "b.dng has 28 x 76 usable pixels"),
        ({"mosaic": cut_off(0.02)}, r"2 % of the pixels of .*b.dng are 0, far .* 512: .* damaged"),
    ],
)
def test_a_frame_that_does_not_belong_is_named(tmp_path, how, sentence):
    shoot(tmp_path / "a.dng")
    shoot(tmp_path / "b.dng", **how)
    with pytest.raises(InputError, match=sentence):
        read(tmp_path)


def test_a_rounded_exposure_time_is_the_same_exposure(tmp_path):
    shoot(tmp_path / "a.dng", exposure=1 / 30)
    shoot(tmp_path / "b.dng", exposure=0.033)
    assert len(read(tmp_path)[0]) == 2


def test_weights_of_the_other_mosaic_are_named(tmp_path):
    shoot(tmp_path / "a.dng")
    with pytest.raises(
        InputError, match="a.dng has the mosaic bayer.*--camera fuji are for xtrans"
    ):
        read(tmp_path, camera=FUJI)


# --- the whole way ---


class Recorder:
    """In place of a network: notes what it is given, and hands back its first three channels."""

    coarse = white_balance = None

    def reference_frame_for(self, camera):
        return camera.reference_frame

    def __init__(self, scale=2):
        self.scale, self.seen = scale, []

    def enhance(self, frames, reference_frame=0):
        assert reference_frame == 0
        frames = [np.array(frame) for frame in frames]
        self.seen.append(frames)
        return frames[0][..., :3].repeat(self.scale, 0).repeat(self.scale, 1)


def restore(source, folder, model=None, camera=SONY, **how):
    """(frames that the network got, sentences about bursts that failed)."""
    model = model or Recorder()
    how = {"ratio": "4", "white_balance": "none", "reference_frame": "first"} | how
    settings = Settings(camera=camera, result_dir=folder, **how)
    return model.seen, photographs.restore_all(lambda: model, find(source), settings)


def test_packed_frames_reach_the_network_and_the_picture_is_turned_upright(tmp_path, capsys):
    for number in range(3):
        shoot(tmp_path / f"{number}.dng", number, seed=number, orientation=6)
    (seen,), _ = restore(tmp_path, tmp_path / "out", reference_frame="center", mode="burst")
    expected = [reading.read_raw(tmp_path / f"{number}.dng").packed(4) for number in (1, 0, 2)]
    np.testing.assert_array_equal(seen, expected)
    picture = iio.imread(tmp_path / "out" / f"{tmp_path.name}.png")
    assert picture.shape == (76, 64, 3)
    turned = np.rot90(expected[0][..., :3].repeat(2, 0).repeat(2, 1), -1)
    np.testing.assert_allclose(picture / 255, turned, atol=0.5 / 255 + 1e-6)
    said = capsys.readouterr().out
    red, _, blue = SONY.white_balance
    for line in (
        f"[1/1] {tmp_path.name}",
        "3 frames, 64 x 76 pixels, RG/GB from row 0, column 0 on",
        "black 512, white 16383 (file)",
        f"white balance: the file notes {red:.3g}/1/{blue:.3g}; left to the network",
        "exposure ratio 4 (given)",
        f"{tmp_path.name}.png",
    ):
        assert line in said


def test_colours_are_scaled_and_the_ratio_found(tmp_path, capsys):
    red, _, blue = SONY.white_balance
    other = dataclasses.replace(SONY, white_balance=(red / 2, 1.0, blue * 2))
    shoot(tmp_path / "a.dng", camera=other)
    ((seen,),), _ = restore(
        tmp_path / "a.dng", tmp_path / "out", white_balance="camera", ratio="auto"
    )
    frame = reading.read_raw(tmp_path / "a.dng")
    said = capsys.readouterr().out
    assert "colours scaled by 0.5/1/2" in said and "(found in the signal)" in said
    ratio = float(said.split("exposure ratio ")[1].split()[0])
    assert 10 < ratio < 300
    np.testing.assert_allclose(
        seen, np.minimum(frame.packed(ratio) * [0.5, 1, 2, 1], 1), rtol=3e-3, atol=1e-6
    )


def test_a_file_without_white_balance_gets_one_from_its_signal(tmp_path, capsys):
    rng = np.random.default_rng(0)
    grey = rng.normal(612, 4, (64, 76))
    grey[::2, ::2] = rng.normal(562, 4, (32, 38))  # red is half of green, blue equals it
    block = shoot(tmp_path / "a.dng", mosaic=np.rint(grey).astype(np.uint16)).read_bytes()
    # AsShotNeutral, renamed to a tag that nobody knows.
    (tmp_path / "a.dng").write_bytes(block.replace(struct.pack("<H", 50728), b"\xf0\xff", 1))
    restore(tmp_path, tmp_path / "out", white_balance="camera")
    said = capsys.readouterr().out
    found = said.split("the file notes none; ")[1].split(" estimated from the signal")[0]
    assert [float(part) for part in found.split("/")] == pytest.approx([2, 1, 1], rel=0.03)
    # By name, whatever the file notes.
    shoot(tmp_path / "noted" / "b.dng", mosaic=np.rint(grey).astype(np.uint16))
    restore(tmp_path / "noted" / "b.dng", tmp_path / "out", white_balance="auto")
    assert f"{found} estimated from the signal" in capsys.readouterr().out


def test_files_and_folders_are_named_side_by_side(tmp_path):
    """All files that are named are one burst, wherever they lie; each folder is another."""
    for name in ("a/1.dng", "a/2.dng", "b/3.dng", "c/4.dng"):
        shoot(tmp_path / name)
    found = find(*[tmp_path / name for name in ("a/2.dng", "b/3.dng", "c")])
    assert names(found) == [("2", ["2.dng", "3.dng"]), ("c", ["4.dng"])]


def test_a_damaged_date_is_no_date(tmp_path):
    late = datetime.datetime(9999, 12, 31, 23, 59, 59)
    path = shoot(tmp_path / "a.dng", (late - NOON).total_seconds(), exposure=2.0)
    assert exif.read_shot(path).captured is None
    assert len(find(path)) == 1


def test_any_pause_may_be_given(tmp_path):
    for number in range(2):
        shoot(tmp_path / f"{number}.dng", number)
    assert len(find(tmp_path, gap=1e300)) == 1


def test_frames_of_another_phase_are_called_so(tmp_path):
    first = shoot(tmp_path / "a.dng")
    shoot(tmp_path / "b.dng", pattern=("GB", "RG"))
    with pytest.raises(InputError, match="b.dng has its colour filters laid out from"):
        read(first, tmp_path / "b.dng")


def test_nothing_is_overwritten_unasked(tmp_path):
    shoot(tmp_path / "a.dng")
    restore(tmp_path / "a.dng", tmp_path / "out", format="jpeg")
    path = tmp_path / "out" / "a.jpg"
    before = path.read_bytes()
    found = find(tmp_path / "a.dng")
    settings = Settings(result_dir=tmp_path / "out", format="jpeg")
    with pytest.raises(InputError, match="a.jpg exists already: give --overwrite"):
        looking.check(found, settings)
    with pytest.raises(InputError, match="a.jpg exists already: give --overwrite"):
        restore(tmp_path / "a.dng", tmp_path / "out", format="jpeg", ratio="50")
    assert path.read_bytes() == before
    looking.check(found, dataclasses.replace(settings, overwrite=True))
    restore(tmp_path / "a.dng", tmp_path / "out", format="jpeg", ratio="50", overwrite=True)
    assert path.read_bytes() != before
    assert list(path.parent.iterdir()) == [path]


class Alive:
    """Counts how many arrays that a function returned are alive, and the most there ever were."""

    def __init__(self, function, array_of=lambda value: value):
        self.function, self.array_of, self.alive, self.most = function, array_of, 0, 0

    def __call__(self, *args, **how):
        value = self.function(*args, **how)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(self.array_of(value), self.forget)
        return value

    def forget(self):
        self.alive -= 1


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, monkeypatch):
    photo = simulate.load_photo(simulate.SAMPLE)[150:278, 150:278]
    rng = np.random.default_rng(3)
    scene = simulate.simulate_scene(photo, SONY, rng, frames=16, ratio=100.0, shake=8)
    for number, mosaic in enumerate(scene.frames):
        shoot(tmp_path / "in" / f"{number:02}.dng", number, mosaic=mosaic)

    class Taking(WithCoarse):
        def enhance(self, frames, reference_frame=0):
            self.count = 0
            for frame in frames:
                self.count += 1
                del frame
            return np.zeros((128, 128, 3), np.float32)

    most = {}
    for count in (12, 16):
        packed = Alive(reading.RawFrame.packed)
        mosaics = Alive(reading.read_raw, lambda frame: frame.mosaic)
        model = Taking()
        with monkeypatch.context() as patch:
            patch.setattr(reading.RawFrame, "packed", lambda frame, *how: packed(frame, *how))  # noqa: B023
            patch.setattr(reading, "read_raw", mosaics)
            restore(tmp_path / "in", tmp_path / str(count), model, n_burst=count, keep_all=True)
        assert model.count == count
        most[count] = packed.most, mosaics.most
    # The reference, the frame at work and the one before it; the raw frames that are kept.
    assert most[12] == most[16] and most[16][0] <= 4 and most[16][1] <= 10


def test_files_are_looked_at_before_the_networks_are_loaded(tmp_path):
    def load():
        pytest.fail("the networks were loaded")

    shoot(tmp_path / "good" / "a.dng")
    shoot(tmp_path / "late" / "a.dng")
    (tmp_path / "late" / "b.dng").write_bytes(b"no raw file" * 100)
    settings = Settings(result_dir=tmp_path / "out")
    # The header of any file, and all of the first burst.
    with pytest.raises(InputError, match="b.dng is not a raw file"):
        looking.check(find(tmp_path), settings)
    shoot(tmp_path / "late" / "b.dng", mosaic=np.zeros((64, 76), np.uint16))
    with pytest.raises(InputError, match="b.dng holds nothing but zeros"):
        photographs.restore_all(load, find(tmp_path / "late"), settings)
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_loaded_end_the_run_once(tmp_path):
    for name in ("a", "b"):
        shoot(tmp_path / name / "a.dng")

    def load():
        raise InputError("no weights")

    with pytest.raises(InputError, match="no weights"):
        photographs.restore_all(load, find(tmp_path), Settings(keep_going=True))


@pytest.mark.skipif(sys.platform != "linux", reason="other limits of names")
def test_an_odd_name_never_ends_a_run_that_keeps_going(tmp_path, capsys):
    long, strange = "n" * 252, os.fsdecode(b"caf\xe9")
    for name in (long, strange, "plain"):
        shoot(tmp_path / "in" / name / "a.dng")
    settings = Settings(result_dir=tmp_path / "out")
    found = find(tmp_path / "in")
    with pytest.raises(InputError, match="too long for this disk: rename"):
        looking.check(found, settings)
    assert not (tmp_path / "out").exists()
    _, failures = restore(tmp_path / "in", tmp_path / "out", keep_going=True)
    assert len(failures) == 1 and "too long for this disk" in failures[0]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == sorted([f"{strange}.png", "plain.png"])
    assert r"caf\xe9" in capsys.readouterr().out
    done = {burst.name for burst in found if looking.has_picture(burst, settings)}
    assert done == {strange, "plain"}


def test_a_folder_that_cannot_be_read_is_left_out_and_named(tmp_path, monkeypatch):
    for name in ("good", "locked"):
        shoot(tmp_path / name / "a.dng")
    listed = pathlib.Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", iterdir)
    problems = []
    assert names(find(tmp_path, problems=problems)) == [("good", ["a.dng"])]
    assert len(problems) == 1 and str(tmp_path / "locked") in problems[0]
    with pytest.raises(PermissionError):
        find(tmp_path)


def test_a_burst_that_fails_stops_the_run_or_is_passed_over(tmp_path, capsys):
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
        shoot(tmp_path / name / "a.dng", mosaic=None if name != "2" else np.zeros((64, 76), "u2"))
    with pytest.raises(InputError, match="holds nothing but zeros"):
        restore(tmp_path, tmp_path / "out1")
    assert [path.name for path in (tmp_path / "out1").iterdir()] == ["1.png"]
    _, failures = restore(tmp_path, tmp_path / "out2", keep_going=True)
    assert len(failures) == 1 and "zeros" in failures[0]
    assert sorted(path.name for path in (tmp_path / "out2").iterdir()) == ["1.png", "3.png"]
    assert "[2/3] 2 skipped: " in capsys.readouterr().out


def test_the_sid_baseline_cannot_look_for_the_sharpest_frame(tmp_path):
    shoot(tmp_path / "a.dng")
    with pytest.raises(InputError, match="--reference_frame sharpest needs a coarse network"):
        restore(tmp_path, tmp_path / "out", reference_frame="sharpest", mode="single")


class WithCoarse(Recorder):
    """A `Recorder` whose coarse network leaves frames as they are."""

    coarse = staticmethod(lambda half: half)


@pytest.mark.parametrize("model", [Recorder, WithCoarse])
@pytest.mark.parametrize(
    "how", [{"mode": "single"}, {"align": False, "motion_mask": False}], ids=["single", "as it is"]
)
def test_the_log_names_the_reference_and_nothing_else(tmp_path, capsys, model, how):
    for number in range(3):
        shoot(tmp_path / f"{number}.dng", number, seed=number)
    # The noisiest one passes for the sharpest.
    noise = np.random.default_rng(0).integers(500, 9000, (64, 76)).astype(np.uint16)
    shoot(tmp_path / "2.dng", 2, mosaic=noise)
    wanted, index = ("sharpest", 2) if model is WithCoarse else ("center", 1)
    restore(tmp_path, tmp_path / "out", model(), reference_frame=wanted, **how)
    said = capsys.readouterr().out
    about = re.findall(r"(\d).dng: (.*)", said)
    assert about == [(str(index), "the reference")]
    # A single frame refers to nothing.
    restore(tmp_path / "0.dng", tmp_path / "out", model(), **how)
    assert "the reference" not in capsys.readouterr().out


def test_an_xtrans_burst_goes_the_same_way(tmp_path):
    shape = (516, 522)
    shoot(tmp_path / "a.dng", camera=FUJI, mosaic=dark_mosaic(shape=shape, black=1024))
    ((seen,),), _ = restore(tmp_path, tmp_path / "out", Recorder(3), FUJI, format="tiff16")
    np.testing.assert_array_equal(seen, reading.read_raw(tmp_path / "a.dng").packed(4))
    (path,) = (tmp_path / "out").iterdir()
    assert tifffile.imread(io.BytesIO(path.read_bytes())).shape == (*shape, 3)


# --- the command, with a network ---

ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments):
    words = ["photos", *map(str, arguments)]
    return cli.run(command.main, command.FLAGS, words, words=True)


@pytest.fixture
def tiny(weights, models, monkeypatch):
    """The flag for tiny weights, which are loaded and compiled once for all tests."""
    from dbp_tf.restore import pretrained

    monkeypatch.setattr(pretrained, "load_pretrained", lambda path, _: models[pathlib.Path(path)])
    return f"--checkpoint={weights['sony']}"


def test_a_shaken_burst_from_flags_to_picture(tmp_path, tiny, capsys):
    photo = simulate.load_photo(simulate.SAMPLE)[150:278, 150:278]
    rng = np.random.default_rng(3)
    scene = simulate.simulate_scene(photo, SONY, rng, frames=3, ratio=50.0, shake=12)
    for number, mosaic in enumerate(scene.frames):
        shoot(tmp_path / "in" / f"{number}.dng", number, mosaic=mosaic, orientation=8)
    flags = [tmp_path / "in", "--result_dir", tmp_path / "out"]
    flags += [tiny, "--format", "png16"]
    assert run(*flags, "--ratio=50", "--reference_frame=sharpest") == 0
    said = capsys.readouterr().out
    assert said.count("packed pixels") == 2
    assert sum(f"  {number}.dng: the reference\n" in said for number in range(3)) == 1
    assert "exposure ratio 50 (given)" in said
    (path,) = (tmp_path / "out").iterdir()
    assert path.name == "in.png"
    # Again: refused before TensorFlow has anything to do, unless it may be replaced.
    before = path.read_bytes()
    assert run(*flags) == 2
    assert "in.png exists already: give --overwrite" in capsys.readouterr().err
    # Gone on with: it is there, and so it stays.
    assert run(*flags, "--resume") == 0
    assert "1 of 1 bursts are done already" in capsys.readouterr().out
    assert run(*flags, "--resume", "--overwrite") == 2
    assert "--overwrite" in capsys.readouterr().err and path.read_bytes() == before
    assert run(*flags, "--overwrite", "--noalign", "--nomotion_mask", "--n_burst=2") == 0
    said = capsys.readouterr().out
    assert "(found in the signal)" in said and "packed pixels" not in said
    assert "the first 2 of 3 frames are used" in said
    assert path.read_bytes() != before


def test_keep_going_groups_what_can_be_told_and_counts_the_rest(tmp_path, tiny, capsys):
    for name, seconds in (("a.dng", 0), ("b.dng", 20), ("c.dng", None)):
        shoot(tmp_path / "in" / name, seconds)
    flags = [tmp_path / "in", "--burst_gap=5", "--result_dir", tmp_path / "out"]
    flags += [tiny, "--ratio=50"]
    assert run(*flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'in' / 'c.dng'} ") and "--burst_gap" in line
    assert not (tmp_path / "out").exists()
    # The second time nothing is left to restore, but the file is still there.
    for again in ([], ["--resume"]):
        assert run(*flags, "--keep_going", *again) == 1
        assert str(tmp_path / "in" / "c.dng") in capsys.readouterr().err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["a.dng", "--keep_all", "--noalign"], "--keep_all means nothing with --noalign"),
        (["a.dng", "--resume", "--overwrite"], "--overwrite replaces: give one of them"),
        (["a.dng", "--ratio=0.5"], "--ratio"),
        (["a.dng", "--ratio=nan"], "--ratio=nan"),
        (["a.dng", "--ratio=bright"], "--ratio"),
        (["a.dng", "--burst_gap=inf"], "--burst_gap=inf"),
        (["a.dng", "--white=nan"], "--white=nan"),
        (["a.dng", "--white_balance=warm"], "--white_balance=warm: give none"),
        (["a.dng", "--report"], "report"),
        (["a.dng", "--ratio=50", "--ratio=60"], "--ratio is given 2 times"),
        ([""], "named by nothing"),
        (["a.dng"], "there is no file or folder a.dng"),
        ([], "no raw files are named"),
    ],
)
def test_flags_that_do_not_go_together_are_one_sentence(capsys, tmp_path, flags, sentence):
    assert run(*flags, "--result_dir", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and sentence in line
    assert not (tmp_path / "out").exists()


MANY = """
import pathlib, resource, sys
from dbp_tf.photos import bursts, command, looking, photographs
from dbp_tf.photos.settings import Settings
from dbp_tf.restore import pretrained

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() >> 20

folder, out, weights = sys.argv[1:]
model = pretrained.load_pretrained(weights)
settings = Settings(result_dir=pathlib.Path(out), ratio="4")
for number, burst in enumerate(bursts.find_bursts([folder], 1)[0], 1):
    photographs.restore_burst(model, looking.look(burst, settings), settings)
    if number in (20, 100, 200):
        print(number, resident(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_hundred_bursts_need_the_memory_of_one(tmp_path, data):
    mosaics = [dark_mosaic(seed, (256, 256)) for seed in range(4)]
    for burst in range(200):
        for number, mosaic in enumerate(mosaics):
            shoot(tmp_path / "in" / f"{burst}_{number}.dng", 10 * burst + number, mosaic=mosaic)
    words = [str(word) for word in (tmp_path / "in", tmp_path / "out", data / "sony_v2_d2")]
    done = subprocess.run(
        [sys.executable, "-c", MANY, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    # Beside lines of progress, which come after ten seconds of silence.
    sizes = {int(n): int(mb) for n, mb in re.findall(r"^(\d+) (\d+)$", done.stdout, re.M)}
    assert len(list((tmp_path / "out").iterdir())) == 200
    # Four packed frames are 1 MB; bursts that stayed in memory would add 180.
    assert sizes[200] - sizes[20] < 40
