"""Alignment: simulated bursts, whose shake and moving objects are known."""

import itertools
import re
import weakref

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.transform

from dbp_tf import simulate
from dbp_tf.errors import InputError
from dbp_tf.photos import alignment, motion, shifts
from dbp_tf.photos.shifts import Shift
from dbp_tf.raw import cameras, packing
from dbp_tf.raw.cameras import CAMERAS, SONY
from dbp_tf.raw.packing import BAYER, XTRANS

BOTH = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
RATIOS = pytest.mark.parametrize("ratio", [100, 300])


def layout_of(camera):
    return packing.LAYOUTS[camera.mosaic]


def photo(name="astronaut", rows=264, columns=288):
    picture = getattr(skimage.data, name)()[:rows, :columns]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., np.newaxis], 3, axis=-1)
    return picture.astype(np.float32) / np.float32(255)


def box(half):
    """Stands in for the coarse network: the mean of 5 x 5 pixels."""
    return scipy.ndimage.uniform_filter(half, (1, 5, 5, 1), mode="nearest")


# The noise for which the limits below were found; the cameras' own differs by 4 %.
NOISE = cameras.Noise(
    iso=800,
    gain_dn_per_electron=0.8,
    read_noise_dn=3.5,
    read_noise_shape=0,
    row_noise_dn=0.5,
    black_error_dn=(0.6, 0.6, 0.6),
    uncertainty=cameras.Uncertainty(),
)


def burst(photos, camera, ratio=100, shakes=None, seed=0):
    """Packed frames, one of each photograph, its content shifted by so many raw pixels."""
    rng = np.random.default_rng(seed)
    layout = layout_of(camera)
    frames = []
    for picture, shift in itertools.zip_longest(photos, shakes or [], fillvalue=(0, 0)):
        scene = simulate.simulate_scene(
            simulate.shifted(picture, shift), camera, rng, frames=1, ratio=ratio, noise=NOISE
        )
        samples = packing.pack(scene.frames[0], layout)
        frames.append(packing.normalise(samples, camera.black, camera.white, ratio))
    return frames


def with_disc(picture, centre, radius=22, colour=(0.95, 0.95, 0.95)):
    """The photograph with a disc in it, and where the disc is."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return np.where(inside[..., np.newaxis], np.float32(colour), picture), inside


def with_copy(picture, centre, radius):
    """The photograph with a disc of its own upside-down copy, which moves with the disc."""
    moved = np.roll(picture[::-1], centre[1], axis=1)
    return with_disc(picture, centre, radius, moved)[0]


def align(frames, layout, reference="first", coarse=box, **switches):
    """(list of fitting frames, reference first; notes)."""
    fitting = alignment.align_burst(frames, coarse, layout, reference, **switches)
    fixed = list(fitting)
    assert len(fixed) == len(fitting) and len(fitting.notes) == len(frames)
    return fixed, fitting.notes


def views(frames):
    return [alignment.view_of(frame, box) for frame in frames]


# The shift


@BOTH
@RATIOS
def test_shake_of_whole_packed_pixels_is_recovered_exactly(camera, ratio):
    scale = layout_of(camera).scale
    most = 16 // scale
    # Sums are even, as X-Trans needs it.
    packed = [(0, 0), (most, -most), (-1, 1), (3, 5), (most % 2 - most, -4)]
    shakes = [(scale * rows, scale * columns) for rows, columns in packed]
    reference, *others = views(burst([photo()] * 5, camera, ratio, shakes))
    for view, expected in zip(others, packed[1:], strict=True):
        found = shifts.find_shift(view.coarse, reference.coarse)
        assert shifts.whole_shift(found, layout_of(camera)) == expected
        assert found.confidence > 3 * alignment.LEAST_CONFIDENCE


@BOTH
@pytest.mark.parametrize(("name", "ratio"), [("coffee", 100), ("chelsea", 300)])
def test_any_shake_is_recovered_to_half_a_packed_pixel(camera, ratio, name):
    shakes = [(0, 0), (16, -15), (-7, 11), (1, 2), (-13, -16)]
    reference, *others = views(burst([photo(name)] * 5, camera, ratio, shakes))
    for view, shift in zip(others, shakes[1:], strict=True):
        found = shifts.find_shift(view.coarse, reference.coarse)
        expected = np.array(shift) / layout_of(camera).scale
        np.testing.assert_allclose([2 * found.rows, 2 * found.columns], expected, atol=0.5)


def test_shake_is_found_far_beyond_what_hands_do():
    reference, moved = views(burst([photo()] * 2, SONY, 300, [(0, 0), (-50, 60)]))
    found = shifts.find_shift(moved.coarse, reference.coarse)
    assert shifts.whole_shift(found, BAYER) == (-25, 30)


def test_a_bright_object_does_not_drag_the_picture_along():
    # It moves by 56 raw pixels over a brick wall, and its peak is the higher one.
    pictures = [with_disc(photo("brick"), (130, 70 + 56 * frame), 30)[0] for frame in range(2)]
    reference, moved = views(burst(pictures, SONY, 100, [(0, 0), (6, -4)]))
    found = shifts.find_shift(moved.coarse, reference.coarse)
    # The object's own peak is 28 packed pixels further right.
    np.testing.assert_allclose([2 * found.rows, 2 * found.columns], [3, -2], atol=0.25)


@RATIOS
@pytest.mark.parametrize("name", ["brick", "chelsea"])
def test_a_large_object_does_not_pull_the_peak(ratio, name):
    # It moves less than it is wide, so that its peak and the picture's run into each other.
    still = photo(name)
    shakes = [(0, 0), (0, 0), (6, -4), (-10, 8)]
    pictures = [with_copy(still, (130, 88 + 13 * frame), 44) for frame in range(len(shakes))]
    reference, *others = views(burst(pictures, SONY, ratio, shakes))
    for view, shift in zip(others, shakes[1:], strict=True):
        found = shifts.find_shift(view.coarse, reference.coarse)
        expected = np.array(shift) / 2
        np.testing.assert_allclose([2 * found.rows, 2 * found.columns], expected, atol=0.5)


def test_unrelated_frames_correlate_below_the_limit():
    names = ["astronaut", "coffee", "chelsea", "brick", "grass"]
    frames = burst([photo(name, 256, 264) for name in names], SONY, 300)
    for one, other in itertools.combinations(views(frames), 2):
        found = shifts.find_shift(one.coarse, other.coarse)
        assert found.confidence < alignment.LEAST_CONFIDENCE


def test_nothing_to_see_gives_no_confidence():
    flat = np.full((33, 40, 4), 0.5, np.float32)
    assert shifts.find_shift(flat, flat).confidence < 1


# Moving frames in whole packed pixels


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 7), (-1, -1), (12, 0), (99, -99)])
def test_shift_frame_moves_samples_and_fills_from_the_reference(shift):
    rng = np.random.default_rng(0)
    frame, fill = rng.random((2, 12, 17, 4), np.float32)
    before = frame.copy(), fill.copy()
    moved = shifts.shift_frame(frame, shift, fill)
    for row, column in np.ndindex(12, 17):
        source = row - shift[0], column - shift[1]
        inside = 0 <= source[0] < 12 and 0 <= source[1] < 17
        expected = frame[source] if inside else fill[row, column]
        np.testing.assert_array_equal(moved[row, column], expected)
    np.testing.assert_array_equal((frame, fill), before)


def shaken_mosaic(layout, raw_shift, size=(48, 60)):
    """Packed mosaics of a scene in which every pixel and colour differs: still, and shaken."""
    scene = np.random.default_rng(1).random((*size, 3))
    still = packing.pack(simulate.mosaic(scene, layout.colours), layout)
    shaken = simulate.mosaic(simulate.shifted(scene, raw_shift), layout.colours)
    return still, packing.pack(shaken, layout)


@pytest.mark.parametrize("layout", [BAYER, XTRANS], ids=lambda layout: layout.name)
def test_keeps_mosaic_is_what_mosaics_say(layout):
    for shift in itertools.product(range(-3, 4), repeat=2):
        raw = [layout.scale * amount for amount in shift]
        still, shaken = shaken_mosaic(layout, raw)
        undone = shifts.shift_frame(shaken, (-shift[0], -shift[1]), still)
        same = np.array_equal(undone, still)
        assert shifts.keeps_mosaic(shift, layout) == same, shift
        # Whole periods of the filters always do.
        if not any(amount % layout.cells for amount in shift):
            assert same


def test_xtrans_samples_keep_their_colour_after_any_shift():
    plain = np.broadcast_to(np.array([0.1, 0.2, 0.3]), (48, 60, 3))
    still = packing.pack(simulate.mosaic(plain, XTRANS.colours), XTRANS)
    for shift in [(1, 0), (0, -1), (2, 3), (-5, 5)]:
        np.testing.assert_array_equal(shifts.shift_frame(still, shift, still), still)


@pytest.mark.parametrize("layout", [BAYER, XTRANS], ids=lambda layout: layout.name)
def test_whole_shift_is_the_nearest_allowed(layout):
    rng = np.random.default_rng(2)
    grid = [
        place
        for place in itertools.product(range(-9, 10), repeat=2)
        if shifts.keeps_mosaic(place, layout)
    ]
    for wanted in rng.uniform(-7, 7, (200, 2)):
        shift = Shift(wanted[0] / 2, wanted[1] / 2, 99.0, 0.0)
        nearest = np.hypot(*np.subtract(grid, wanted).T).min()
        found = shifts.whole_shift(shift, layout)
        assert found in grid
        assert np.hypot(*np.subtract(found, wanted)) == pytest.approx(nearest)


# Motion


@BOTH
@RATIOS
@pytest.mark.parametrize("shake", [0, 12])
def test_mask_covers_what_moves_and_little_else(camera, ratio, shake):
    pictures, discs = zip(
        *(with_disc(photo(), (150, 80 + 60 * frame)) for frame in range(3)), strict=True
    )
    shakes = [(0, 0), (shake, -shake), (-shake, 0)]
    frames = burst(pictures, camera, ratio, shakes)
    fixed, notes = align(frames, layout_of(camera))
    assert notes[0].reference and len(fixed) == 3
    np.testing.assert_array_equal(fixed[0], frames[0])
    step = layout_of(camera).scale
    # An object that moves in one frame is taken from the reference in all.
    path = np.logical_or.reduce(discs)[step // 2 :: step, step // 2 :: step]
    for number in (1, 2):
        undone = shifts.shift_frame(frames[number], np.negative(notes[number].shift), frames[0])
        replaced = (fixed[number] == frames[0]).all(-1)
        changed = (fixed[number] != undone).any(-1)
        np.testing.assert_array_equal(fixed[number][changed], frames[0][changed])
        # In half-size pixels: 2 of the box, 4 of the wider window, 4 of the margin, 1 for rounding.
        near = scipy.ndimage.binary_dilation(path, np.ones((3, 3)), iterations=22)
        inner = scipy.ndimage.binary_erosion(path, np.ones((3, 3)))
        assert replaced[inner].mean() > 0.95
        # 3.1 % at the most: one edge of the astronaut, Bayer, ratio 300, shaken.
        assert changed[~near].mean() < 0.04
        assert notes[number].replaced == notes[1].replaced > 0
        disc = (discs[0] | discs[number])[step // 2 :: step, step // 2 :: step]
        assert disc.mean() < notes[number].moving < near.mean()


@BOTH
@pytest.mark.parametrize(
    ("name", "ratio"), [("astronaut", 100), ("astronaut", 300), ("coffee", 100), ("chelsea", 300)]
)
def test_nothing_moves_nothing_changes(camera, ratio, name):
    frames = burst([photo(name)] * 3, camera, ratio)
    before = np.array(frames)
    fixed, notes = align(frames, layout_of(camera))
    assert notes[0].reference
    for given, got, note in zip(frames, fixed, notes, strict=True):
        assert note.kept and note.shift == (0, 0)
        # 6.2 % at the most: the fine edges of the astronaut, X-Trans, ratio 100; else 2.3 %.
        assert note.moving is None or note.moving < 0.07
        changed = (got != given).any(-1)
        np.testing.assert_array_equal(got[changed], frames[0][changed])
        assert changed.mean() < 0.07
    np.testing.assert_array_equal(frames, before)


@BOTH
def test_shaken_but_still_scene_masks_almost_nothing(camera):
    shakes = [(0, 0), (16, -16), (-5, 7)]
    for name in ("astronaut", "chelsea"):
        frames = burst([photo(name)] * 3, camera, 300, shakes)
        _, notes = align(frames, layout_of(camera))
        assert all(note.kept and (note.moving or 0) < 0.02 for note in notes)


def test_a_faint_object_is_covered():
    # A disc darker by a twelfth than the grey around it, behind the noise of ratio 300.
    grey = np.full((264, 288, 3), 0.4, np.float32)
    picture, disc = with_disc(grey, (130, 140), 30, (0.365, 0.365, 0.365))
    one, other = views(burst([grey, picture], SONY, 300, seed=1))
    moving = motion.moving_regions(other.coarse, one.coarse, other.half, one.half)
    assert moving[disc[2::4, 2::4]].mean() > 0.9
    assert moving.mean() < 0.1


def test_what_is_seen_to_move_in_one_frame_is_kept_out_of_all():
    # The second frame alone has the disc; the third is the reference but for noise.
    picture, disc = with_disc(photo(), (150, 140))
    frames = burst([photo(), picture, photo()], SONY, 300)
    fixed, notes = align(frames, BAYER)
    inside = disc[1::2, 1::2]
    assert not notes[2].moving
    for number in (1, 2):
        np.testing.assert_array_equal(fixed[number][inside], frames[0][inside])

    # A frame that does not match says nothing about the others.
    frames = burst([photo(), photo("coffee"), photo()], SONY, 300)
    fixed, _ = align(frames, BAYER, keep_all=True)
    assert fixed[2] is frames[2]


def test_mask_sees_a_faint_difference_if_it_is_large():
    grey = np.full((264, 288, 3), 0.25, np.float32)
    brighter = grey.copy()
    brighter[80:180, 90:200] += 0.1
    one, other = views(burst([grey, brighter], SONY, 300))
    moving = motion.moving_regions(other.coarse, one.coarse, other.half, one.half)
    assert moving[20:45, 22:50].mean() > 0.95
    assert moving.mean() < 0.25


def test_mask_of_a_difference_everywhere_is_everywhere():
    # The noise estimate must not take a scene change for noise.
    frames = burst([photo(), photo("coffee")], SONY, 300)
    one, other = views(frames)
    moving = motion.moving_regions(other.coarse, one.coarse, other.half, one.half)
    assert moving.mean() > 0.8


def test_mask_margin_and_opening():
    rng = np.random.default_rng(3)
    reference = np.full((40, 50, 4), 0.3, np.float32)
    half = reference + rng.normal(0, 0.02, (2, *reference.shape)).astype(np.float32)
    coarse = reference.copy()
    coarse[20:26, 30:37] += 0.4
    tight = motion.moving_regions(coarse, reference, half[0], half[1], margin=0)
    wide = motion.moving_regions(coarse, reference, half[0], half[1], margin=3)
    assert tight[20:26, 30:37].all() and tight.mean() < 0.15
    np.testing.assert_array_equal(wide, scipy.ndimage.maximum_filter(tight, 7, mode="nearest"))
    speck = reference.copy()
    speck[10, 10] += 0.02
    assert not motion.moving_regions(speck, reference, half[0], half[1]).any()


def test_replace_moving_takes_the_reference_there():
    rng = np.random.default_rng(4)
    frame, reference = rng.random((2, 8, 6, 9), np.float32)
    moving = np.zeros((4, 3), bool)
    assert motion.replace_moving(frame, reference, moving) is frame
    moving[1, 2] = True
    replaced = motion.replace_moving(frame, reference, moving)
    expected = frame.copy()
    expected[2:4, 4:6] = reference[2:4, 4:6]
    np.testing.assert_array_equal(replaced, expected)


def test_noise_is_measured_beside_what_moves():
    """A large object does not pass for noise: a faint one beside it shows, and nothing else."""
    # Noise grows from 0.002 to 0.2 with light, and the brightest fifth is nearly saturated.
    rng = np.random.default_rng(5)
    light = np.broadcast_to(np.linspace(0, 1, 400), (300, 400))
    noise = rng.normal(0, 1, light.shape) * (0.002 + 0.2 * light)
    noise[:, 320:] *= 0.1
    moved = np.zeros(light.shape)
    moved[:60] = 0.8
    moved[150:190, 40:80] = 0.06
    image = light + moved + noise
    moving = motion.moving_regions(
        *(image[..., np.newaxis].repeat(4, -1) for image in (image, light, image, light)), margin=0
    )
    assert moving[:60].mean() > 0.99 and moving[150:190, 40:80].mean() > 0.9
    moving[:65] = moving[145:195, 35:85] = False
    # It would be twice as much with the object's light in the estimate, 15 times with one for all.
    assert moving.mean() < 0.002


@pytest.mark.parametrize("radius", [1, 4])
def test_neighbours_agree_with_scipy(radius):
    values = np.random.default_rng(6).random((13, 22))
    size = 2 * radius + 1
    for pick, expected in (
        (np.maximum, scipy.ndimage.maximum_filter(values, size, mode="reflect")),
        (np.minimum, scipy.ndimage.minimum_filter(values, size, mode="reflect")),
        (np.add, scipy.ndimage.uniform_filter(values, size, mode="reflect") * size**2),
    ):
        np.testing.assert_allclose(shifts.neighbours(values, radius, pick), expected)


# Whole bursts


@BOTH
def test_shake_is_undone_sample_by_sample(camera):
    layout = layout_of(camera)
    shakes = [(0, 0), (12, -6), (-6, 12)]
    frames = burst([photo()] * 3, camera, 100, shakes)
    fixed, notes = align(frames, layout, motion_mask=False)
    for number in (1, 2):
        shift = [amount // layout.scale for amount in shakes[number]]
        assert notes[number].shift == tuple(shift)
        expected = shifts.shift_frame(frames[number], np.negative(shift), frames[0])
        np.testing.assert_array_equal(fixed[number], expected)


def test_the_same_frame_twice_stays_the_same():
    (frame,) = burst([photo()], SONY, 300)
    fixed, notes = align([frame, frame.copy(), frame], BAYER)
    assert [note.shift for note in notes] == [(0, 0)] * 3
    assert [note.moving for note in notes] == [None, 0, 0]
    assert fixed[2] is frame
    np.testing.assert_array_equal(fixed[1], frame)


def test_a_frame_of_something_else_is_left_out():
    pictures = [photo("coffee"), photo(), photo(), photo()]
    frames = burst(pictures, SONY, 300, [(0, 0), (4, 4), (0, 0), (0, -8)])
    fixed, notes = align(frames, BAYER, "center")
    assert [note.kept for note in notes] == [False, True, True, True]
    assert [note.reference for note in notes] == [False, False, True, False]
    assert fixed[0] is frames[2]
    assert "left out" in notes[0].text and "left out" not in notes[1].text
    # A frame that is left out is not said to be used in part.
    assert "taken from the reference" not in notes[0].text and "moves" not in notes[0].text

    fixed, notes = align(frames, BAYER, "center", keep_all=True)
    assert fixed[0] is frames[2] and len(fixed) == 4 and all(note.kept for note in notes)


def test_a_frame_of_another_brightness_is_left_out():
    still, flash = burst([photo()] * 2, SONY, 100)
    frames = [still, np.minimum(1.6 * flash, 1)]
    fixed, notes = align(frames, BAYER)
    assert len(fixed) == 1 and not notes[1].kept
    assert notes[1].confidence > alignment.LEAST_CONFIDENCE
    assert re.search(r"left out: it does not match, \d\d.* % differs$", notes[1].text)


def test_a_shift_between_the_pixels_matters_as_much_as_noise_lets_it():
    # By half a packed pixel along both, and by a whole one.
    shakes = [(0, 0), (7, -5), (6, -4)]
    for ratio, kept in ((100, [True, False, True]), (300, [True, True, True])):
        frames = burst([photo()] * 3, SONY, ratio, shakes)
        _, notes = align(frames, BAYER)
        assert [note.kept for note in notes] == kept
        assert notes[2].shift == (3, -2) and notes[2].rest < 0.1
        assert ("falls between two pixels" in notes[1].text) == (not kept[1])
        assert align(frames, BAYER, keep_all=True)[1][1].kept


def test_a_rest_of_the_shift_is_measured_against_noise():
    # A wave's slope, for which the darkness added to light is nothing.
    rows = np.arange(80)[:, np.newaxis, np.newaxis]
    light = (10 + np.sin(2 * np.pi * rows / 40)) ** 2
    wave = np.broadcast_to(light, (80, 90, 4))
    noise = np.random.default_rng(8).normal(0, 0.05, (80, 90))
    noise[:20] = 0  # filled from the reference
    expected = 0.3 * (2 * np.pi / 40) / np.sqrt(2) / 0.05
    assert shifts.misfit((0.3, 0), wave, noise) == pytest.approx(expected, rel=0.06)
    assert shifts.misfit((0, 0.3), wave, noise) == pytest.approx(0, abs=1e-9)


def test_without_structure_frames_stay_where_they_are():
    # A night sky: one weak gradient. No shift stands out, but nothing speaks against them either.
    sky = np.broadcast_to(np.linspace(0.1, 0.35, 288)[:, np.newaxis], (264, 288, 3))
    frames = burst([sky.astype(np.float32)] * 2, SONY, 300)
    _, (_, note) = align(frames, BAYER, keep_all=True)
    assert note.confidence < alignment.LEAST_CONFIDENCE
    assert note.shift == (0, 0) and note.moving < 0.02


def test_frames_in_which_nothing_is_seen_are_left_out():
    frames = burst([np.zeros((264, 288, 3), np.float32)] * 3, SONY, 300)
    fixed, notes = align(frames, BAYER)
    assert len(fixed) == 1 and [note.kept for note in notes] == [True, False, False]
    assert notes[1].text.endswith("left out: it does not match, no shift stands out")


def test_switches():
    frames = burst([photo()] * 2, SONY, 100, [(0, 0), (8, -4)])
    fixed, notes = align(frames, BAYER, align=False, motion_mask=False)
    assert all(got is given for got, given in zip(fixed, frames, strict=True))
    assert [note.text for note in notes] == ["frame 0: the reference", "frame 1: as it is"]

    # A frame that is not aligned moves, and is never left out.
    _, notes = align(frames, BAYER, align=False)
    assert notes[1].shift == (0, 0) and notes[1].confidence is None
    assert notes[1].moving > 0.1 and notes[1].replaced is not None and notes[1].kept

    fixed, notes = align(frames, BAYER, motion_mask=False)
    assert notes[1].shift == (4, -2) and notes[1].replaced is None
    assert notes[1].text.startswith(
        "frame 1: shift of +4 rows, -2 columns (packed pixels) undone; confidence "
    )


def test_reference_frames():
    sharp = photo()
    blurred = scipy.ndimage.gaussian_filter(sharp, (3, 3, 0))
    frames = burst([blurred, blurred, sharp, blurred], SONY, 100)
    for wanted, index in (("sharpest", 2), ("first", 0), ("center", 2), (3, 3)):
        fixed, notes = align(frames, BAYER, wanted, align=False, motion_mask=False)
        assert fixed[0] is frames[index] and notes[index].reference
    # At ratio 300 too, where noise has gradients of its own.
    frames = burst([blurred, sharp], SONY, 300)
    assert align(frames, BAYER, "sharpest", keep_all=True)[1][1].reference


class Files:
    """As a list of files would be: frames are made when asked for, and counted while they live."""

    def __init__(self, frames):
        self.frames, self.asked, self.alive, self.most = frames, [], 0, 0

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.asked.append(index)
        frame = self.frames[index].copy()
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(frame, self.forget)
        return frame

    def forget(self):
        self.alive -= 1


def test_frames_are_read_one_at_a_time_and_let_go():
    shakes = [(0, 0), (8, -4), (0, 0), (-4, 6), (2, 2)]
    whole = burst([photo()] * 5, SONY, 300, shakes)
    for count in (3, 5):
        frames = Files(whole[:count])
        fitting = alignment.align_burst(frames, box, BAYER, "center")
        centre = count // 2
        others = [number for number in range(count) if number != centre]
        assert frames.asked == [centre, *others]
        # As the networks do it: each is let go before the next one is made.
        for frame in fitting:
            del frame
        assert frames.asked == [centre, *others, *others]
        # The reference, the one at work, and the one before it.
        assert frames.most <= 3
        fixed, _ = align(whole[:count], BAYER, "center")
        for got, expected in zip(fitting, fixed, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_a_keras_coarse_network_serves():
    from dbp_tf.models import network_spec
    from dbp_tf.restore import pretrained

    model = pretrained.untrained(network_spec.NetworkSpec(family="coarse", width=2, scale=1))
    frames = burst([photo(rows=128, columns=144)] * 2, SONY, 100, [(0, 0), (8, -4)])
    fixed, notes = align(frames, BAYER, coarse=model.coarse)
    assert notes[1].shift == (4, -2)
    assert all(isinstance(frame, np.ndarray) for frame in fixed)


def test_bad_input_is_one_sentence():
    frame = np.zeros((8, 12, 4), np.float32)
    cases = [
        ([], {}, "a burst needs at least one frame"),
        ([frame, frame[:6]], {}, r"frame 1 has the shape \[6, 12, 4\]"),
        ([frame], {"reference": "last"}, "'last' is none of the 1 frames: give first, center"),
        ([frame], {"reference": 1}, "the reference frame 1 is none of the 1 frames"),
        ([frame], {"reference": -1}, "the reference frame -1"),
    ]
    for frames, options, sentence in cases:
        with pytest.raises(InputError, match=sentence):
            align(frames, BAYER, **options)


def test_a_frame_that_would_mask_too_much_of_the_others_is_left_out():
    # Frame 3 hides a fifth of the scene for good; seven frames show more without it.
    frames = burst([photo("astronaut")] * 8, SONY, 100)
    hidden = frames[3].copy()
    hidden[:, : hidden.shape[1] // 5] = hidden[::-1, ::-1][:, : hidden.shape[1] // 5]
    frames[3] = hidden
    fixed, notes = align(frames, BAYER, reference=5)
    assert [note.kept for note in notes] == [number != 3 for number in range(8)]
    assert len(fixed) == 7 and fixed[0] is frames[5]
    assert "left out" in notes[3].text and "the other frames show more without it" in notes[3].text
    kept, _ = align(frames, BAYER, reference=5, keep_all=True)
    assert len(kept) == 8


def test_frames_are_weighed_by_what_all_of_them_show():
    shape = (10, 20)
    moving = {number: np.zeros(shape, bool) for number in (1, 2, 3)}
    moving[1][:2], moving[2][:, :3] = True, True
    path = alignment.path_of(moving.values(), shape)
    assert path.mean() == pytest.approx(0.2 + 0.8 * 0.15)
    # 3 frames of 68 %, against 2 of 85 % without frame 1.
    assert alignment.worth_keeping(moving, shape) == [1, 2, 3]
    moving[1][:9] = True
    # 3 frames of 8.5 %, against 2 of 85 %.
    assert alignment.worth_keeping(moving, shape) == [2, 3]
    note = alignment.Note(2, moving=0.0, replaced=0.32)
    assert note.text.endswith("0.0 % moves; 32.0 % taken from the reference")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_pictures_that_tell_nothing_are_no_crash():
    frames = list(np.random.default_rng(0).random((3, 4, 4, 4), np.float32))
    align(frames, BAYER)
    frames = burst([photo("astronaut")] * 2, SONY, 100)
    fixed, notes = align(frames, BAYER, coarse=lambda half: half * np.nan)
    assert len(fixed) == 1 and not notes[1].kept
