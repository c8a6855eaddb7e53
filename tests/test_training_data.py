"""Training data: what a patch shows, how it was drawn, and that seed and step alone decide."""

import atexit
import collections
import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf import simulate
from dbp_tf.data import augmentation, patches, raw_cache, sid
from dbp_tf.data.augmentation import Augmentation
from dbp_tf.data.dataset import training_dataset
from dbp_tf.data.recipe import AUGMENTATIONS, Recipe
from dbp_tf.data.sources import Sources, load_burst, prepare
from dbp_tf.errors import InputError
from dbp_tf.models import networks
from dbp_tf.raw import cameras, mosaics, packing, reading, white_balance

pytest.importorskip("tifffile")

BOTH = pytest.mark.parametrize("camera", cameras.CAMERAS.values(), ids=cameras.CAMERAS)

# Packed rows and columns: not square, so that a transposed or swapped axis shows.
ROWS, COLUMNS = 20, 28


def entry(folder, name, array, offset=(0, 0), black=0.0, white=65535.0):
    path = folder / f"{name}.npy"
    np.save(path, array)
    black = (black,) * array.shape[-1] if isinstance(black, float) else black
    return raw_cache.Entry(folder / name, path, array.shape, offset, black, white)


def codes(rows, columns, channels=1):
    """Every sample has a value of its own, from which its place can be read."""
    return np.arange(rows * columns * channels).reshape(rows, columns, channels).astype(np.uint16)


def mapped(folder, frames=8, camera=cameras.SONY, offset=(0, 0), scene="00001"):
    """A burst whose samples tell their place: frames and clean alike, the truth in its own way."""
    place = codes(ROWS, COLUMNS, camera.channels)
    rows, columns = (camera.scale * n + o for n, o in zip((ROWS, COLUMNS), offset, strict=True))
    return Sources(
        scene=scene,
        ratio=1.0,
        frames=tuple(entry(folder, f"{scene}{i}", place, offset) for i in range(frames)),
        clean=entry(folder, f"{scene}clean", place, offset),
        developed=entry(folder, f"{scene}truth", codes(rows, columns, 3)),
        camera=camera,
    )


def numbered(folder, frames, scene="00001"):
    """A burst whose frames are constant: frame i has the value i + 1."""
    burst = mapped(folder, 1, scene=scene)
    flat = [np.full((ROWS, COLUMNS, 4), i + 1, np.uint16) for i in range(frames)]
    frames = tuple(entry(folder, f"{scene}flat{i}", frame) for i, frame in enumerate(flat))
    return dataclasses.replace(burst, frames=frames)


def as_codes(picture):
    return np.rint(picture * np.float64(65535)).astype(int)


def places(frame, camera=cameras.SONY):
    """(row, column) of every pixel of an augmented frame in the whole one."""
    return np.divmod(as_codes(frame)[..., 0] // camera.channels, COLUMNS)


@pytest.mark.parametrize("camera", [cameras.SONY, cameras.FUJI])
@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, 1)])
def test_truth_is_of_the_same_place_at_s_times_the_size(tmp_path, camera, offset):
    scenes = [[mapped(tmp_path, 2, camera, offset)]]
    recipe = Recipe("burst", patch=8, n_burst=2)
    seen, scale = collections.Counter(), camera.scale
    for number in range(60):
        drawn = patches.draw(scenes, recipe, 0, number)
        patch = patches.load_patch(drawn, recipe)
        assert patch["truth"].shape == (scale * 8, scale * 8, 3)
        assert patch["frames"].shape[1:] == (8, 8, camera.channels)
        truth = as_codes(patch["truth"])
        rows, columns = np.divmod(truth[..., 0] // 3, scale * COLUMNS + offset[1])
        large = np.kron(places(patch["frames"][0], camera), np.ones((1, scale, scale), int))
        assert np.array_equal((rows - offset[0]) // scale, large[0])
        assert np.array_equal((columns - offset[1]) // scale, large[1])
        # Single pixels of the truth are turned like packed ones.
        turned = drawn.augmentation
        whole = codes(scale * ROWS + offset[0], scale * COLUMNS + offset[1], 3)
        top, left = scale * drawn.top + offset[0], scale * drawn.left + offset[1]
        part = whole[top : top + scale * 8, left : left + scale * 8]
        part = part[::-1] if turned.flip_rows else part
        part = part[:, ::-1] if turned.flip_columns else part
        part = part.transpose(1, 0, 2) if turned.transpose else part
        assert np.array_equal(truth, part)
        seen[dataclasses.astuple(turned)] += 1
    assert len(seen) == 8


def test_frames_clean_and_truth_are_augmented_alike(tmp_path):
    scenes = [[mapped(tmp_path, 4)]]
    recipe = Recipe("fine", patch=8, n_burst=4)
    for number in range(40):
        drawn = patches.draw(scenes, recipe, 1, number)
        patch = patches.load_patch(drawn, recipe)
        for frame, low in zip(patch["frames"], patch["low"], strict=True):
            assert np.array_equal(frame, patch["frames"][0])
            # Frames and clean raw have the same values here.
            assert np.array_equal(low, patch["clean_low"])
        assert all(array.dtype == np.float32 for array in patch.values())
        assert all(array.flags.c_contiguous for array in patch.values())


def test_every_frame_but_the_first_is_shifted_within_range(tmp_path):
    scenes = [[mapped(tmp_path, 6)]]
    recipe = Recipe("burst", patch=12, n_burst=6, shift=4)
    seen = []
    for number in range(150):
        drawn = patches.draw(scenes, recipe, 2, number)
        patch = patches.load_patch(drawn, recipe)
        first, *others = patch["frames"]
        assert drawn.shifts[0] == (0, 0)
        for frame, by in zip(others, drawn.shifts[1:], strict=True):
            # As published: padded by 4, cropped at 0 to 7. After the augmentation, since both
            # frames are compared as they are augmented.
            padded = np.pad(first, ((4, 4), (4, 4), (0, 0)), mode="reflect")
            row, column = np.add(by, 4)
            assert np.array_equal(frame, padded[row : row + 12, column : column + 12])
            seen.append(by)
        assert np.array_equal(patch["low"], packing.halve(patch["frames"]))
    seen = np.array(seen)
    assert seen.min(0).tolist() == [-4, -4]
    assert seen.max(0).tolist() == [3, 3]
    assert len(np.unique(seen, axis=0)) > 60


@pytest.mark.parametrize("by", [(0, 0), (3, -4), (-4, 3), (6, 9), (-6, -9)])
def test_shift_mirrors_at_the_edges(by):
    picture = codes(7, 10, 2)
    padded = np.pad(picture, ((6, 6), (9, 9), (0, 0)), mode="reflect")
    row, column = np.add(by, (6, 9))
    expected = padded[row : row + 7, column : column + 10]
    assert np.array_equal(augmentation.shift(picture, by), expected)


@pytest.mark.parametrize(("have", "n_burst"), [(8, 8), (2, 8), (8, 2), (8, 1), (1, 8)])
def test_number_and_order_of_frames(tmp_path, have, n_burst):
    scenes = [[numbered(tmp_path, have)]]
    recipe = Recipe("burst", patch=4, n_burst=n_burst, shift=2)
    times = 1500
    drawn = [patches.draw(scenes, recipe, 3, number).frames for number in range(times)]
    counts = collections.Counter(map(len, drawn))
    # Published: the count is drawn from 1 to n_burst, whatever the burst has.
    expected = {n: times / n_burst for n in range(1, min(have, n_burst) + 1)}
    if have < n_burst:
        expected[have] = times * (n_burst - have + 1) / n_burst
    assert counts.keys() == expected.keys()
    for count, times_expected in expected.items():
        assert abs(counts[count] - times_expected) <= 5 * np.sqrt(times_expected)
    first = collections.Counter(frames[0] for frames in drawn)
    assert set(first) == set(range(have))
    assert max(abs(n - times / have) for n in first.values()) < 5 * np.sqrt(times / have)
    assert all(len(set(frames)) == len(frames) for frames in drawn)
    for number in range(20):
        draw = patches.draw(scenes, recipe, 3, number)
        patch = patches.load_patch(draw, recipe)
        shown = as_codes(patch["frames"])[:, 0, 0, 0] - 1
        assert shown.tolist() == list(draw.frames)


@pytest.mark.parametrize("stage", ["coarse", "burst"])
def test_crops_reach_every_edge(tmp_path, stage):
    scenes = [[mapped(tmp_path, 1)]]
    recipe = Recipe(stage, patch=4 if stage == "coarse" else 8, n_burst=1)
    drawn = [patches.draw(scenes, recipe, 4, number) for number in range(2000)]
    for axis, size in (("top", ROWS), ("left", COLUMNS)):
        counts = collections.Counter(getattr(draw, axis) for draw in drawn)
        # The published crop would stop at size - 9; the half-size picture's goes by twos.
        expected = range(0, size - 8 + 1, 2 if stage == "coarse" else 1)
        assert sorted(counts) == list(expected)
        each = len(drawn) / len(expected)
        assert max(abs(n - each) for n in counts.values()) < 5 * np.sqrt(each)
    last = next(d for d in drawn if (d.top, d.left) == (ROWS - 8, COLUMNS - 8))
    patch = patches.load_patch(last, recipe)
    if stage == "burst":
        assert as_codes(patch["truth"]).max() == 2 * ROWS * 2 * COLUMNS * 3 - 1
        assert as_codes(patch["frames"]).max() == ROWS * COLUMNS * 4 - 1


@pytest.mark.parametrize("stage", ["coarse", "fine", "burst"])
def test_halving_and_cutting_come_in_the_published_order(tmp_path, stage):
    rng = np.random.default_rng(5)
    dark = rng.integers(500, 650, (ROWS, COLUMNS, 4)).astype(np.uint16)
    bright = rng.integers(500, 18000, (ROWS, COLUMNS, 4)).astype(np.uint16)
    levels = dict(black=512.0, white=16383.0)
    sources = dataclasses.replace(
        mapped(tmp_path, 1),
        ratio=200.0,
        frames=(entry(tmp_path, "dark", dark, **levels),),
        clean=entry(tmp_path, "bright", bright, **levels),
    )
    recipe = Recipe(stage, patch=ROWS // 2 if stage == "coarse" else ROWS, n_burst=1)
    drawn = patches.draw([[sources]], recipe, 0, 0)
    drawn = dataclasses.replace(drawn, augmentation=Augmentation())
    patch = patches.load_patch(drawn, recipe)

    def expected(samples, ratio):
        part = samples[:, drawn.left : drawn.left + ROWS].astype(np.float64)
        linear = np.maximum(part - 512, 0) / (16383 - 512) * ratio
        halves = linear if stage == "coarse" else np.minimum(linear, 1)
        halves = halves.reshape(ROWS // 2, 2, ROWS // 2, 2, 4).mean((1, 3))
        return np.minimum(linear, 1), np.minimum(halves, 1)

    frame, low = expected(dark, 200)
    # Some neighbours lie on both sides of 1, so that the order matters.
    assert np.any((low < 1) & (frame.reshape(ROWS // 2, 2, ROWS // 2, 2, 4).max((1, 3)) == 1))
    shown = patch["frames"] if stage == "coarse" else patch["low"]
    np.testing.assert_allclose(shown[0], low, rtol=0, atol=1e-6)
    np.testing.assert_allclose(patch["clean_low"], expected(bright, 1)[1], rtol=0, atol=1e-6)
    names = {"frames", "clean_low"}
    if stage != "coarse":
        names |= {"low", "truth"}
        np.testing.assert_allclose(patch["frames"][0], frame, rtol=0, atol=1e-6)
    assert set(patch) == names


@pytest.mark.parametrize("black", [(512.0,) * 4, (500.0, 512.0, 530.0, 512.5)])
@pytest.mark.parametrize(
    ("ratio", "trained"),
    [(1.0, None), (100.0, None), (300.0, None), (10 / 0.033, None), (1.0, (1.4, 1.0, 2.6))],
)
def test_values_are_those_of_restoration_to_the_bit(tmp_path, black, ratio, trained):
    samples = np.random.default_rng(6).integers(0, 65536, (ROWS, COLUMNS, 4)).astype(np.uint16)
    samples[..., 1] //= 100
    frame = entry(tmp_path, "frame", samples, black=black, white=16383.0)
    vars(frame)["white_balance"] = noted = (2.0, 1.0, 2.0)
    sources = dataclasses.replace(mapped(tmp_path, 1), ratio=ratio, frames=(frame,))
    frames, _ = load_burst(sources, trained)
    # Red is darkened to 0.7 there, but where it is saturated.
    scales = white_balance.channel_scales_for(noted, trained, packing.BAYER) if trained else 1
    assert np.array_equal(frames[0], packing.normalise(samples, black, 16383.0, ratio * scales))


def test_halving_is_that_of_restoration():
    frames = np.random.default_rng(7).random((3, 10, 14, 9), np.float32)
    theirs = np.asarray(networks.half_size(frames))
    np.testing.assert_allclose(packing.halve(frames), theirs, rtol=0, atol=1e-6)


@BOTH
@pytest.mark.parametrize("stage", ["coarse", "fine"])
@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_samples_lie_where_the_truth_has_them(tmp_path, augment, stage, camera):
    """Every raw sample and every pixel of the truth has its place as value."""
    layout = packing.LAYOUTS[camera.mosaic]
    scale, size = camera.scale, (camera.scale * ROWS, camera.scale * COLUMNS)
    place = codes(*size)
    sources = dataclasses.replace(
        mapped(tmp_path, 1, camera),
        frames=(entry(tmp_path, "dark", packing.pack(place[..., 0], layout)),),
        clean=entry(tmp_path, "bright", packing.pack(place[..., 0], layout)),
        developed=entry(tmp_path, "truth", place.repeat(3, -1)),
    )
    recipe = Recipe(stage, patch=4 if stage == "coarse" else 8, n_burst=1, augment=augment)
    seen, moved = set(), 0
    for number in range(40):
        drawn = patches.draw([[sources]], recipe, 20, number)
        patch = patches.load_patch(drawn, recipe)
        seen.add(drawn.augmentation)
        if stage == "coarse":
            # The mean place of a half-size pixel's samples.
            assert np.array_equal(patch["frames"][0], patch["clean_low"])
            continue
        mosaic = packing.unpack(patch["frames"][0], layout)
        truth = patch["truth"][..., 0]
        moved += np.abs(as_codes(mosaic) - as_codes(truth)).max() > 0
        assert truth.shape == (8 * scale, 8 * scale)
    assert len(seen) == (1 if augment == "none" else 8)
    if stage == "fine":
        assert moved > 20 if augment == "published" else not moved


@BOTH
def test_phase_keeps_every_filter_in_its_channel(camera):
    layout = packing.LAYOUTS[camera.mosaic]
    filters = mosaics.spread(mosaics.colour_indices(layout.colours), (48, 48))
    packed = packing.pack(filters, layout)
    side = len(packed) - layout.cells
    for turned in itertools.product((False, True), repeat=3):
        got = augmentation.augment_mosaic(packed, Augmentation(*turned), layout)
        np.testing.assert_array_equal(got, packed[:side, :side])


@BOTH
def test_frames_are_scaled_to_the_white_balance_of_the_weights(tmp_path, camera):
    layout, rng = packing.LAYOUTS[camera.mosaic], np.random.default_rng(21)
    noted, trained = (1.9, 1.0, 2.2), (2.4, 1.0, 1.6)
    black = tuple(rng.uniform(400, 600, layout.channels).tolist())
    samples = rng.integers(300, 9000, (3, ROWS, COLUMNS, layout.channels)).astype(np.uint16)
    entries = [
        entry(tmp_path, f"{i}", packed, black=black, white=16383.0)
        for i, packed in enumerate(samples)
    ]
    # The first frame's counts for all of the burst.
    for one, multipliers in zip(entries, (noted, (1, 1, 1), (3, 1, 3)), strict=True):
        vars(one)["white_balance"] = multipliers
    sources = dataclasses.replace(
        mapped(tmp_path, 1, camera), ratio=1.7, frames=tuple(entries[:2]), clean=entries[2]
    )
    recipe = Recipe("fine", patch=8, n_burst=2, shuffle=False, white_balance="2.4,1,1.6")
    for number in range(4):
        drawn = patches.draw([[sources]], recipe, 22, number)
        patch = patches.load_patch(drawn, recipe)
        scales = white_balance.channel_scales_for(noted, trained, layout)
        for index, frame in zip(drawn.frames, patch["frames"], strict=True):
            expected = packing.normalise(samples[index], black, 16383.0, 1.7 * scales)
            expected = expected[drawn.top : drawn.top + 8, drawn.left : drawn.left + 8]
            assert np.array_equal(frame, augmentation.augment(expected, drawn.augmentation))
        clean = packing.normalise(samples[2], black, 16383.0, scales)
        clean = clean[drawn.top : drawn.top + 8, drawn.left : drawn.left + 8]
        clean = packing.halve(augmentation.augment(clean, drawn.augmentation))
        np.testing.assert_allclose(patch["clean_low"], clean, atol=1e-6)


def flat_scene(folder, camera, share=0.25):
    """A burst of one frame whose long exposure is grey, `share` of the range in green."""
    layout, light = packing.LAYOUTS[camera.mosaic], (2.0, 1.0, 1.6)
    per_channel = share / np.array(white_balance.channel_scales(light, layout))
    clean = np.rint(1000 + 15000 * per_channel * np.ones((40, 40, 1))).astype(np.uint16)
    levels = dict(black=1000.0, white=16000.0)
    bright = entry(folder, "clean", clean, **levels)
    vars(bright)["white_balance"] = light
    return dataclasses.replace(
        mapped(folder, 1, camera),
        frames=(entry(folder, "dark", clean // 100, **levels),),
        clean=bright,
        developed=entry(folder, "truth", np.zeros((200, 200, 3), np.uint16)),
    )


@BOTH
@pytest.mark.parametrize("stage", ["coarse", "burst"])
def test_drawn_noise_is_that_of_the_exposure(tmp_path, camera, stage):
    scenes = [[flat_scene(tmp_path, camera)]]
    trained = cameras.CAMERAS[camera.name].white_balance
    patch = 8 if stage == "coarse" else 24
    recipe = Recipe(stage, patch=patch, n_burst=6, noise="drawn", white_balance="camera")
    counts, lights, errors = set(), set(), []
    layout = packing.LAYOUTS[camera.mosaic]
    for number in range(60):
        drawn = patches.draw(scenes, recipe, 23, number)
        frames = patches.load_patch(drawn, recipe)["frames"]
        if number < 5:
            again = patches.load_patch(patches.draw(scenes, recipe, 23, number), recipe)["frames"]
            assert np.array_equal(frames, again)
        exposure = drawn.exposure
        counts.add(len(frames))
        lights.add(exposure.light)
        assert 1 <= exposure.ratio <= 300
        # Grey in any light, scaled to the trained one, is the trained camera's grey.
        light = exposure.light or (2.0, 1.0, 1.6)
        span, unit = camera.white - camera.black, exposure.ratio / (camera.white - camera.black)
        scales = white_balance.channel_scales_for(light, trained, layout)
        offset = np.array(exposure.offset)[["RGB".index(c) for c in layout.channel_colours]]
        signal = 0.25 / np.array(white_balance.channel_scales(light, layout)) * span
        noise = exposure.noise
        deviation = np.sqrt(
            noise.gain_dn_per_electron * signal / exposure.ratio
            + noise.read_noise_dn**2
            + noise.row_noise_dn**2
        )
        if frames.max() >= 1:
            continue  # The mean of what was cut is another.
        expected = (signal / exposure.ratio + offset) * unit * scales
        error = (frames.mean((0, 1, 2)) - expected) / (deviation * unit * scales)
        samples = frames[..., 0].size * (4 if stage == "coarse" else 1)
        errors.append(error * np.sqrt(samples))
        if stage == "burst" and len(frames) > 3:
            spread = frames.std((1, 2)).mean(0)
            np.testing.assert_allclose(spread, deviation * unit * scales, rtol=0.25)
    assert counts == set(range(1, 7)) and len(errors) > 20
    assert None in lights and len(lights) > 20
    # Not quite 1, as rows share an offset.
    assert 0.8 < np.std(errors) < 1.5


def test_drawn_noise_keeps_the_light_without_a_white_balance(tmp_path):
    scenes = [[flat_scene(tmp_path, cameras.SONY)]]
    recipe = Recipe("burst", patch=8, n_burst=2, noise="drawn")
    drawn = [patches.draw(scenes, recipe, 24, number) for number in range(30)]
    assert {one.exposure.light for one in drawn} == {None}
    first, second = (patches.load_patch(one, recipe)["frames"] for one in drawn[:2])
    assert first.shape != second.shape or np.abs(first - second).max() > 0
    ratios = np.array([one.exposure.ratio for one in drawn])
    assert 0.05 < np.mean(ratios < 30) < 0.5


def test_an_epoch_has_every_scene_once(tmp_path):
    names = [f"{n:05d}" for n in range(1, 8)]
    bursts = [mapped(tmp_path, 1, scene=name) for name in names]
    # Two scenes have a second exposure.
    second = [dataclasses.replace(burst, ratio=300.0) for burst in bursts[2:4]]
    scenes = patches.group_scenes([*second, *reversed(bursts)])
    recipe = Recipe("burst", patch=8, n_burst=1)
    drawn = [patches.draw(scenes, recipe, 8, n).sources for n in range(7 * 60)]
    epochs = [tuple(d.scene for d in drawn[i : i + 7]) for i in range(0, len(drawn), 7)]
    assert all(sorted(epoch) == names for epoch in epochs)
    assert len(set(epochs)) > 50
    exposures = collections.Counter((d.scene, d.ratio) for d in drawn)
    for name in names[2:4]:
        assert 15 < exposures[name, 300.0] < 45
        assert exposures[name, 300.0] + exposures[name, 1.0] == 60
    other_seed = [patches.draw(scenes, recipe, 9, n).sources.scene for n in range(7)]
    assert sorted(other_seed) == names
    assert tuple(other_seed) != epochs[0]


def test_seed_and_number_alone_decide(tmp_path):
    scenes = [[mapped(tmp_path, 8)]]
    recipe = Recipe("burst", patch=8, n_burst=8, shift=4)
    drawn = [patches.draw(scenes, recipe, 10, n) for n in range(50)]
    backwards = [patches.draw(scenes, recipe, 10, n) for n in reversed(range(50))]
    assert drawn == backwards[::-1]
    assert len({(d.top, d.left, d.frames, d.shifts) for d in drawn}) == 50
    assert drawn != [patches.draw(scenes, recipe, 11, n) for n in range(50)]


def test_texture_prefers_detail(tmp_path):
    rng = np.random.default_rng(11)
    flat = np.full((ROWS, COLUMNS, 4), 4000, np.uint16)
    flat[:10, :10] += rng.integers(0, 3000, (10, 10, 4)).astype(np.uint16)
    sources = dataclasses.replace(mapped(tmp_path, 1), clean=entry(tmp_path, "clean", flat))

    def share_with_detail(texture):
        recipe = Recipe("burst", patch=8, n_burst=1, texture=texture)
        drawn = [patches.draw([[sources]], recipe, 12, n) for n in range(300)]
        return np.mean([draw.top < 6 and draw.left < 6 for draw in drawn])

    none, half, full = map(share_with_detail, (0.0, 0.5, 1.0))
    # Of 13 x 21 crops 36 hold much of the detail; the best of 8 nearly always does.
    assert abs(none - 36 / (13 * 21)) < 0.06
    assert full > 0.6
    assert abs(half - (none + full) / 2) < 0.1


@pytest.mark.parametrize("stage", ["coarse", "burst"])
def test_only_the_crop_is_read(tmp_path, stage):
    def sparse(name, shape):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint16, shape)
        levels = (512.0,) * shape[-1]
        return raw_cache.Entry(
            tmp_path / name, tmp_path / f"{name}.npy", shape, (0, 0), levels, 16383.0
        )

    packed = sparse("packed", (1424, 2128, 4))
    sources = Sources(
        "00001", 100.0, (packed,) * 8, packed, sparse("truth", (2848, 4256, 3)), cameras.SONY
    )
    recipe = Recipe(stage, patch=64, n_burst=8, shift=4, texture=1.0)
    drawn = next(
        draw
        for draw in (patches.draw([[sources]], recipe, 0, n) for n in range(99))
        if len(draw.frames) == 8
    )
    patches.load_patch(drawn, recipe)  # Tables that all patches share are made.
    tracemalloc.start()
    patch = patches.load_patch(drawn, recipe)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A whole frame alone would take 24 MB as float32 and half of that as uint16.
    assert peak < sum(array.nbytes for array in patch.values()) + 2**20 * 2


# From here on with raw files, through the cache and tf.data.


def write_tree(folder, camera, scenes, size, frames=3, long="10", **how):
    rng = np.random.default_rng(13)
    for scene in scenes:
        for frame in range(frames):
            dark = rng.integers(camera.black - 20, camera.black + 300, size).astype(np.uint16)
            path = folder / "short" / f"{scene:05d}_{frame:02d}_0.1s{camera.suffix}"
            simulate.write_dng(path, dark, camera, 0.1, **how)
        bright = rng.integers(camera.black, camera.white + 1, size).astype(np.uint16)
        path = folder / "long" / f"{scene:05d}_00_{long}s{camera.suffix}"
        simulate.write_dng(path, bright, camera, float(long), **how)
    return sid.find_bursts(folder / "short", folder / "long", camera, "train")


@pytest.fixture(scope="module")
def sony(tmp_path_factory):
    """(bursts, folder of the cache): five scenes of three frames, ratio 100."""
    folder = tmp_path_factory.mktemp("sony")
    bursts = write_tree(folder, cameras.SONY, range(1, 6), (68, 100))
    return bursts, folder / "cache"


def as_numpy(dataset):
    return [{name: value.numpy() for name, value in one.items()} for one in dataset]


def assert_same(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert np.array_equal(one[name], other[name]), name


def dataset_of(bursts, folder, camera, recipe, seed, **span):
    sources = prepare(bursts, folder, camera, recipe.stage)
    return training_dataset(sources, camera, recipe, seed, **span)


def single_bursts(batch):
    """The bursts of a batch, as `patches.load_patch` gives them, and their scenes."""
    ends = np.cumsum(batch["lengths"])
    bursts = []
    for i, (end, length) in enumerate(zip(ends, batch["lengths"], strict=True)):
        bursts.append({k: batch[k][i] for k in ("scene", "clean_low", "truth") if k in batch})
        bursts[i] |= {k: batch[k][end - length : end] for k in ("frames", "low") if k in batch}
    assert ends[-1] == len(batch["frames"])
    return bursts


@pytest.mark.parametrize("stage", ["coarse", "fine", "burst"])
def test_elements_are_the_drawn_patches(sony, stage):
    bursts, folder = sony
    recipe = Recipe(stage, patch=16, n_burst=3, shift=2, bursts_per_step=2)
    dataset = dataset_of(bursts, folder, cameras.SONY, recipe, 14, steps=4)
    scenes = patches.group_scenes(prepare(bursts, folder, cameras.SONY, stage))
    batches = as_numpy(dataset)
    assert len(batches) == 4
    for step, batch in enumerate(batches):
        assert batch.pop("step") == step
        for number, burst in enumerate(single_bursts(batch), 2 * step):
            drawn = patches.draw(scenes, recipe, 14, number)
            patch = patches.load_patch(drawn, recipe)
            assert_same([burst], [patch | {"scene": drawn.sources.scene.encode()}])
    assert max(len(set(batch["lengths"])) for batch in batches) == 2
    # What the loop compiles for: any number of frames, all else known.
    spec = dataset.element_spec
    assert spec["step"] == tf.TensorSpec((), tf.int64)
    assert spec["lengths"] == tf.TensorSpec((2,), tf.int64)
    assert spec["frames"].shape.as_list() == [None, 16, 16, 4]
    low = 16 if stage == "coarse" else 8
    assert spec["clean_low"].shape.as_list() == [2, low, low, 4]
    if stage != "coarse":
        assert spec["low"].shape.as_list() == [None, 8, 8, 4]
        assert spec["truth"].shape.as_list() == [2, 32, 32, 3]


def test_data_go_on_where_they_stopped(sony):
    bursts, folder = sony
    recipe = Recipe("burst", patch=16, n_burst=3, shift=4, bursts_per_step=2)

    def elements(**span):
        dataset = dataset_of(bursts, folder, cameras.SONY, recipe, 15, **span)
        return as_numpy(dataset.take(12))

    whole = elements(steps=12)
    assert [int(one["step"]) for one in whole] == list(range(12))
    assert_same(elements(start_step=5, steps=7), whole[5:])
    # Without an end.
    assert_same(elements(), whole)
    assert len({burst["frames"].sum() for batch in whole for burst in single_bursts(batch)}) == 24


def test_replicas_share_what_one_would_take(sony):
    bursts, folder = sony

    def elements(bursts_per_step, **share):
        recipe = Recipe("burst", patch=16, n_burst=3, bursts_per_step=bursts_per_step)
        share |= {"start_step": 3, "steps": 5}
        data = dataset_of(bursts, folder, cameras.SONY, recipe, 16, **share)
        return [single_bursts(batch) for batch in as_numpy(data)]

    for each in (1, 2):
        replicas = [elements(each, replica=r, replicas=2) for r in range(2)]
        for first, second, both in zip(*replicas, elements(2 * each), strict=True):
            assert_same(first + second, both)


def test_xtrans_files(tmp_path):
    bursts = write_tree(tmp_path, cameras.FUJI, [1], (516, 534), frames=1, long="30")
    recipe = Recipe("fine", patch=16, n_burst=1)
    dataset = dataset_of(bursts, tmp_path / "cache", cameras.FUJI, recipe, 17, steps=3)
    whole = reading.read_raw(bursts[0].frames[0], cameras.FUJI).packed(300.0)
    truth = reading.read_truth(bursts[0].truth)
    scenes = patches.group_scenes(prepare(bursts, tmp_path / "cache", cameras.FUJI))
    for number, one in enumerate(as_numpy(dataset)):
        drawn = patches.draw(scenes, recipe, 17, number)
        top, left = drawn.top, drawn.left
        expected = whole[top : top + 16, left : left + 16]
        turned = augmentation.augment(expected, drawn.augmentation)
        assert np.array_equal(one["frames"][0], turned)
        expected = truth[3 * top : 3 * top + 48, 3 * left : 3 * left + 48]
        assert np.array_equal(one["truth"][0], augmentation.augment(expected, drawn.augmentation))


@pytest.mark.parametrize("pattern", [("RG", "GB"), ("GR", "BG"), ("GB", "RG"), ("BG", "GR")])
def test_whole_bursts_are_those_of_restoration(tmp_path, pattern):
    camera = cameras.SONY
    (burst,) = write_tree(tmp_path, camera, [2], (70, 102), pattern=pattern)
    first_two = dataclasses.replace(burst, frames=burst.frames[:2])
    (sources,) = prepare([first_two], tmp_path / "cache", camera)
    frames, truth = load_burst(sources)
    read = [reading.read_raw(path, camera) for path in burst.frames[:2]]
    assert np.array_equal(frames, np.stack([frame.packed(burst.ratio) for frame in read]))
    rows, columns = read[0].mosaic.shape
    expected = reading.read_truth(burst.truth, read[0].offset)[:rows, :columns]
    assert np.array_equal(truth, expected)
    assert frames.dtype == truth.dtype == np.float32


def test_a_bright_frame_in_a_dark_burst_is_refused(tmp_path, capsys):
    for name, level in (("00_0.1s", 540), ("01_0.1s", 540), ("02_0.1s", 2600), ("00_10s", 2600)):
        samples = np.random.default_rng(level).normal(level, 9, (64, 64)).astype(np.uint16)
        simulate.write_dng(tmp_path / f"00001_{name}.ARW", samples, cameras.SONY)
    frames = [tmp_path / f"00001_0{frame}_0.1s.ARW" for frame in range(3)]
    truth = tmp_path / "00001_00_10s.ARW"
    burst = sid.Burst("00001", 0.1, 100, tuple(frames[:2]), truth, True)
    prepare([burst], tmp_path / "cache", cameras.SONY, "coarse")
    assert f"{frames[1].name} holds the very pixels of {frames[0].name}" in capsys.readouterr().out
    burst = dataclasses.replace(burst, frames=tuple(frames))
    with pytest.raises(InputError, match="00001_02_0.1s.ARW is far brighter than 00001_00_0.1s"):
        prepare([burst], tmp_path / "cache", cameras.SONY, "coarse")


def test_bad_recipes():
    with pytest.raises(InputError, match="--patch is an even number, not 15"):
        Recipe("burst", patch=15)
    with pytest.raises(InputError, match="--shift is less than --patch 16, not 16"):
        Recipe("burst", patch=16, shift=16)


def test_without_shuffling_the_first_frames_are_shown_in_order(tmp_path):
    scenes = [[numbered(tmp_path, 6)]]
    recipe = Recipe("burst", patch=8, n_burst=6, shuffle=False)
    drawn = [patches.draw(scenes, recipe, 5, number).frames for number in range(60)]
    assert all(frames == tuple(range(len(frames))) for frames in drawn)
    assert {len(frames) for frames in drawn} == {1, 2, 3, 4, 5, 6}


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core makes one patch at a time")
def test_a_replica_of_many_still_makes_patches_side_by_side(sony, monkeypatch):
    """Most of the others may be on other machines."""
    bursts, folder = sony
    two_at_once = threading.Barrier(2)
    load_patch = patches.load_patch

    def load_and_meet(*arguments):
        two_at_once.wait(timeout=20)
        return load_patch(*arguments)

    monkeypatch.setattr(patches, "load_patch", load_and_meet)
    recipe = Recipe("coarse", patch=8, n_burst=1)
    data = dataset_of(bursts, folder, cameras.SONY, recipe, 0, steps=2, replica=3, replicas=4)
    assert len(as_numpy(data)) == 2


def test_a_patch_is_compared_with_a_raw_file_alone(sony):
    (first, *_), _ = sony
    path = first.frames[0]
    with pytest.raises(InputError, match=f"{path.name} has 34 x 50 packed pixels.* 34 or less"):
        patches.check_patch(path, Recipe("burst", patch=36), cameras.SONY)
    patches.check_patch(path, Recipe("burst", patch=34), cameras.SONY)
    with pytest.raises(InputError, match="too few for --patch 18: give --patch 16 or less"):
        patches.check_patch(path, Recipe("coarse", patch=18), cameras.SONY)


def test_a_patch_is_compared_with_what_is_left_of_another_phase(tmp_path):
    """Else the run folder would hold settings by the time that all files have been looked at."""
    camera = dataclasses.replace(cameras.SONY, name="other", pattern="GBRG")
    path = tmp_path / "a.dng"
    simulate.write_dng(path, np.full((72, 72), 600, np.uint16), camera, exposure=0.1)
    with pytest.raises(InputError, match="too few for --patch 36: give --patch 34 or less"):
        patches.check_patch(path, Recipe("burst", patch=36), camera)


def test_bad_input_is_named(sony, tmp_path):
    bursts, folder = sony

    def start(bursts, patch=16, seed=0, stage="burst"):
        recipe = Recipe(stage, patch=patch)
        dataset_of(bursts, folder, cameras.SONY, recipe, seed)

    with pytest.raises(
        InputError, match=r"_00_10s.ARW has 34 x 50 packed pixels, too few for --patch 36: .* 34 "
    ):
        start(bursts, patch=36)
    start(bursts, patch=34)
    with pytest.raises(InputError, match="too few for --patch 18: give --patch 16 or less"):
        start(bursts, patch=18, stage="coarse")
    with pytest.raises(InputError, match="scene 00001 has no long exposure"):
        start([dataclasses.replace(bursts[0], truth=None)])
    (other,) = write_tree(tmp_path, cameras.SONY, [9], (72, 100))
    with pytest.raises(InputError, match=r"00009_01_0.1s.ARW has 36 x 50 packed pixels .*34 x 50"):
        frames = (bursts[0].frames[0], other.frames[1])
        start([dataclasses.replace(bursts[0], frames=frames)])
    with pytest.raises(InputError, match="00009_00_10s.ARW has 36 x 50 packed pixels"):
        start([dataclasses.replace(bursts[0], truth=other.truth)])


def test_no_patch_is_being_made_once_python_is_about_to_exit(sony, monkeypatch):
    """Else scripts would wait for it for ever, which the slow test after this one tries."""
    at_exit, begun, done = [], [], []
    inside, free = threading.Event(), threading.Event()
    register, load_patch = atexit.register, patches.load_patch

    def load_watched(*arguments):
        begun.append(arguments)
        inside.set()
        free.wait(20)
        done.append(arguments)
        return load_patch(*arguments)

    monkeypatch.setattr(atexit, "register", lambda end: at_exit.append(register(end)))
    monkeypatch.setattr(patches, "load_patch", load_watched)
    monkeypatch.setattr("dbp_tf.data.dataset._exiting", threading.Event())
    bursts, folder = sony
    recipe = Recipe("coarse", patch=8, n_burst=1)
    batches = dataset_of(bursts, folder, cameras.SONY, recipe, 0, steps=9999)
    (end,) = (end for end in at_exit if str(end.__module__).startswith("dbp_tf"))

    def read():
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            collections.deque(batches, 0)

    reader = threading.Thread(target=read, daemon=True)
    free.set()
    reader.start()
    assert inside.wait(20)
    inside.clear()
    free.clear()
    assert inside.wait(20)
    threading.Timer(0.2, free.set).start()
    end()
    assert len(done) == len(begun)
    reader.join(20)
    assert not reader.is_alive() and len(done) == len(begun) < 9999


ENDLESS = """
import sys
from dbp_tf.data import sid
from dbp_tf.data.dataset import training_dataset
from dbp_tf.data.recipe import Recipe
from dbp_tf.data.sources import prepare
from dbp_tf.raw import cameras
bursts = sid.find_bursts(sys.argv[1] + "/short", sys.argv[1] + "/long", cameras.SONY, "train")
recipe = Recipe("burst", patch=256, n_burst=3)
sources = prepare(bursts, sys.argv[1] + "/cache", cameras.SONY)
dataset = training_dataset(sources, cameras.SONY, recipe, 0)
kept = iter(dataset)
next(kept)
raise SystemExit(7)
"""


@pytest.mark.slow
def test_a_script_ends_while_data_are_being_made(tmp_path):
    # Large enough that tf.data is still making patches when the interpreter goes: it would wait
    # for them for ever.
    write_tree(tmp_path, cameras.SONY, [1], (600, 600))
    command = [sys.executable, "-c", ENDLESS, tmp_path]
    done = subprocess.run(command, timeout=100, capture_output=True)
    assert done.returncode == 7, done.stderr.decode()
