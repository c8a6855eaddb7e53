"""Frames streamed and levels striped against the batched graph of the whole burst."""

import concurrent.futures
import types
import weakref

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.errors import InputError
from dbp_tf.evaluation import dark_frames
from dbp_tf.models import networks
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.raw import packing, reading
from dbp_tf.restore import enhancer, modes, streaming
from dbp_tf.restore.pretrained import untrained

SPECS = {
    # The first version has no reference frame; the default is the first.
    "v1": NetworkSpec(width=4, fusion="max"),
    "v2": NetworkSpec(width=4, residual_blocks=2),
    "X-Trans": NetworkSpec(
        width=4, residual_blocks=1, channels=9, scale=3, reference_frame="center"
    ),
    "video without noise map": NetworkSpec(
        width=4,
        residual_blocks=1,
        scale=1,
        depth_to_space=False,
        noise_map=False,
        reference_frame="center",
    ),
}


@pytest.fixture(scope="module")
def models():
    """Random weights large enough that every level matters to the picture."""
    loaded = {}

    def load(name):
        if name not in loaded:
            model = untrained(SPECS[name], seed=5)
            for network in model.models.values():
                for variable in network.weights:
                    if variable.path.endswith("kernel") and "up" in variable.path:
                        variable.assign(10 * variable.numpy())
            loaded[name] = model
        return loaded[name]

    return load


def burst_of(frames, rows, columns, channels):
    rng = np.random.default_rng(frames * rows + columns)
    return rng.random((frames, rows, columns, channels), np.float32)


@pytest.mark.parametrize("name", SPECS)
def test_streaming_equals_the_batched_graph(models, name):
    model = models(name)
    # 46 columns halve to 23, 12, 6, 3: odd at the level where stripes meet.
    sizes = [(3, 34, 46)]
    if name == "v2":
        sizes += [(1, 48, 32), (5, 38, 50)]
    for count, rows, columns in sizes:
        frames = burst_of(count, rows, columns, model.spec.channels)
        expected = networks.restore_burst(model.coarse, model.fine, frames).numpy()
        for stripe_columns in (None, 8, 12, 44):
            streamed = model.enhance(frames, stripe_columns=stripe_columns)
            assert np.abs(streamed - expected).max() < 1e-5, (count, columns, stripe_columns)


def test_a_stripe_s_border_would_show_without_its_halo(models, monkeypatch):
    model, frames = models("v2"), burst_of(2, 32, 48, 4)
    whole = model.enhance(frames, stripe_columns=None)
    assert np.abs(model.enhance(frames, stripe_columns=16) - whole).max() < 1e-5
    monkeypatch.setattr("dbp_tf.restore.streaming.HALO", 4)
    model = enhancer.Enhancer(model.spec, model.models)  # Its steps are compiled anew.
    assert np.abs(model.enhance(frames, stripe_columns=16) - whole).max() > 1e-4


def test_stripes_are_of_one_width_and_wide_enough_for_their_neighbours_halo():
    for columns in range(1, 64):
        for widest in range(streaming.HALO, 32, 4):
            spans = streaming.Stripes(columns, widest).spans
            edges = [0, *(right for _, right, _, _ in spans)]
            assert edges == [*(left for left, _, _, _ in spans), columns]
            assert len(edges) - 1 <= -(-columns // widest)
            *widths, last = np.diff(edges)
            assert len(set(widths)) <= 1 and all(width % 4 == 0 for width in widths)
            assert all(streaming.HALO <= width <= widest for width in widths)
            assert 0 < last <= min([widest, *widths])


@pytest.mark.parametrize("columns", [0, 4, 10, -8])
def test_stripes_that_cannot_be_are_refused(models, columns):
    with pytest.raises(InputError, match=f"at least 8 and a multiple of 4, not {columns}"):
        models("v2").enhance(burst_of(1, 16, 24, 4), stripe_columns=columns)


def test_frames_are_taken_one_at_a_time(models):
    model, frames = models("v2"), burst_of(4, 16, 24, 4)
    taken = []

    def one_by_one():
        for frame in frames:
            taken.append(stream_count())
            yield frame

    stream = model.stream(keep=(2,))
    stream_count = lambda: stream.count  # noqa: E731
    for frame in model.checked(one_by_one()):
        stream.add(frame)
    assert taken == [0, 1, 2, 3]
    np.testing.assert_array_equal(stream.picture(2), model.enhance(frames, 2))


@pytest.mark.parametrize("name", ["v1", "v2"])
@pytest.mark.parametrize(
    "restore", [lambda m, f: m.enhance(f, 1), lambda m, f: modes.restore(m, f, "burst", "center")]
)
def test_a_frame_is_let_go_before_the_networks_are_done_with_it(models, monkeypatch, restore, name):
    model, arrays, tensors, alive = models(name), [], [], []

    class Frames:
        def __len__(self):
            return 3

        def __iter__(self):
            return map(self.frame, burst_of(3, 16, 24, 4))

        def frame(self, view):
            copy = view.copy()
            arrays.append(weakref.ref(copy))
            return copy

    def noted(tensor):
        tensors.append(weakref.ref(tensor))
        return tensor

    steps, checked = model.steps, model.checked
    encode = steps.encode_below

    def watched(*arguments):
        alive.append([sum(one() is not None for one in seen) for seen in (arrays, tensors)])
        return encode(*arguments)

    monkeypatch.setattr(steps, "encode_below", watched)
    monkeypatch.setattr(model, "checked", lambda frames: map(noted, checked(frames)))
    restore(model, Frames())
    # Of the tensors, the revised version keeps the reference frame.
    kept = int(model.spec.refers)
    assert alive == [[0, 0], [0, kept], [0, kept]]


def test_the_dataset_s_frames_are_let_go(monkeypatch):
    def raw(path, camera):
        mosaic = np.full((8, 8), ord(path), np.uint16)
        return reading.RawFrame(
            path, mosaic, packing.BAYER, (0, 0), (0.0,) * 4, 65535.0, "made up", None, (8, 8)
        )

    monkeypatch.setattr(dark_frames.reading, "read_raw", raw)
    burst = types.SimpleNamespace(frames=["a", "b", "c"], ratio=100, truth=None)
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        frames = iter(dark_frames.DarkFrames(burst, None, background))
        for _ in range(3):
            seen = weakref.ref(next(frames))
            assert seen() is None


@pytest.mark.parametrize("stripe_columns", [None, 8])
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_growing_burst_gives_the_picture_of_each_length(models, name, stripe_columns):
    model, frames = models(name), burst_of(4, 16, 24, 4)
    stream = model.stream(keep=None, stripe_columns=stripe_columns)
    for count, frame in enumerate(model.checked(frames), 1):
        stream.add(frame)
        expected = model.enhance(frames[:count], "center", stripe_columns=stripe_columns)
        np.testing.assert_array_equal(stream.picture(count // 2), expected)
    np.testing.assert_array_equal(stream.picture(2, last=True), expected)
    for more in (stream.picture, lambda: stream.add(frame)):
        with pytest.raises(InputError, match="begin another one"):
            more()


def test_the_coarse_network_in_stripes_gives_its_whole_output(models):
    model = models("v2")
    for columns in (20, 46, 64):
        (frame,) = model.checked(burst_of(1, 24, columns, 4))
        expected = model.coarse(networks.half_size(frame))
        for stripe_columns in (None, 8, 16, 24):
            output = model.steps.denoise(frame, stripe_columns)
            np.testing.assert_allclose(output, expected, atol=1e-5)
            assert np.std(output) > 1e-3


def test_a_stream_goes_on_after_a_frame_that_does_not_fit(models):
    model, frames = models("v2"), burst_of(2, 16, 24, 4)
    stream = model.stream()
    with pytest.raises(InputError, match="at least one frame"):
        stream.picture()
    first, second = model.checked(frames)
    stream.add(first)
    # A picture of one row or column at the deepest level would broadcast.
    for rows, columns in ((2, 2), (32, 24)):
        with pytest.raises(InputError, match=r"frame 1 has the shape .* first one \[16, 24, 4\]"):
            stream.add(tf.zeros((1, rows, columns, 4)))
    stream.add(second)
    with pytest.raises(InputError, match=r"1 is not one of those kept: \[0\]"):
        stream.picture(1)
    with pytest.raises(InputError, match="2 is not one of the 2 frames"):
        stream.picture(2)
    np.testing.assert_array_equal(stream.picture(), model.enhance(frames))


def test_other_sizes_and_lengths_trace_nothing_anew(models):
    model = models("v2")
    model.enhance(burst_of(2, 32, 32, 4), stripe_columns=16)
    steps = model.steps
    traced = {
        name: step.experimental_get_tracing_count()
        for name, step in vars(steps).items()
        if hasattr(step, "experimental_get_tracing_count")
    }
    assert len(traced) == 7
    for count, rows, columns in ((1, 64, 32), (5, 36, 50), (2, 20, 20)):
        for stripe_columns in (None, 16):
            model.enhance(
                burst_of(count, rows, columns, 4), "center", stripe_columns=stripe_columns
            )
    # The first step of a picture of one stripe is the same as that of many.
    for name in traced:
        assert getattr(steps, name).experimental_get_tracing_count() == 1, name


def test_bfloat16_is_close_and_really_is_bfloat16(models):
    model, frames = models("v2"), burst_of(3, 32, 48, 4)
    full = model.enhance(frames)
    rounded = enhancer.empty(model.spec, "bfloat16")
    for name, network in rounded.models.items():
        network.set_weights(model.models[name].get_weights())
    half = rounded.enhance(frames)
    assert half.dtype == np.float32
    error = np.sqrt(np.mean((full - half) ** 2)) / full.std()
    assert 1e-4 < error < 0.05


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="precision is one of float32, bfloat16"):
        enhancer.empty(SPECS["v2"], "float8")
