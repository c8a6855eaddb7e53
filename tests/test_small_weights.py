"""The weights that come with the project: what they are, and that they restore."""

import pathlib

import h5py
import numpy as np
import pytest

from dbp_tf import simulate
from dbp_tf.data import sid
from dbp_tf.evaluation import metrics
from dbp_tf.models import network_spec
from dbp_tf.raw import cameras, reading
from dbp_tf.restore import modes, pretrained

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "checkpoints"

# Raw rows and columns of the piece of the sample that is restored: for X-Trans the whole, of which
# LibRaw develops no less.
SIZE = {"sony": 288, "fuji": None}

# PSNR in dB of that piece at ratio 300, from one frame and from eight.
GOLDEN = {"sony": (24.04, 26.99), "fuji": (24.84, 26.84)}


@pytest.fixture(scope="module", params=GOLDEN)
def camera(request):
    return cameras.camera_named(request.param)


@pytest.fixture(scope="module")
def model(camera):
    return pretrained.load_pretrained(CHECKPOINTS / f"{camera.name}_small")


@pytest.fixture(scope="module")
def sample(camera, model, tmp_path_factory):
    """(packed frames, truth) of a piece of the sample at ratio 300."""
    folder = tmp_path_factory.mktemp(camera.name)
    for _ in simulate.simulate_tree(
        [simulate.SAMPLE], folder, camera, ratios=(300.0,), size=SIZE[camera.name], count=1
    ):
        pass
    (burst,) = sid.find_bursts(folder / "short", folder / "long", camera, "test", 8)
    frames = [
        reading.read_raw(path, camera).packed(burst.ratio, model.white_balance)
        for path in burst.frames
    ]
    return frames, reading.read_truth(burst.truth)


def test_they_are_small_and_say_what_they_are(camera, model):
    assert model.spec == network_spec.NetworkSpec(
        channels=camera.channels,
        scale=camera.scale,
        width={"sony": 24, "fuji": 32}[camera.name],
        fusion="max",
        residual_blocks=0,
        squeeze_excite=False,
    )
    path = CHECKPOINTS / f"{camera.name}_small" / pretrained.WEIGHTS_FILE
    assert path.stat().st_size < 32e6
    kinds = set()
    with h5py.File(path) as file:
        file.visititems(lambda _, item: kinds.add(getattr(item, "dtype", None)))
    assert kinds == {None, np.dtype("float16")}


def test_the_sample_is_restored_and_more_frames_help(camera, model, sample):
    frames, truth = sample
    grown = modes.grow(model, frames, (1, 8), camera.reference_frame, camera.padded_columns)
    one, eight = (
        metrics.score(*metrics.crop_to_common(picture, truth))["psnr"] for _, picture, _ in grown
    )
    assert (one, eight) == pytest.approx(GOLDEN[camera.name], abs=0.02)
    assert eight > one


@pytest.mark.slow
def test_bfloat16_shows_no_difference(camera, model, sample):
    frames, _ = sample
    rounded = pretrained.load_pretrained(CHECKPOINTS / f"{camera.name}_small", "bfloat16")
    frames = [frame[:96, :96] for frame in frames[:2]]
    full, half = (np.clip(network.enhance(frames), 0, 1) for network in (model, rounded))
    assert 0 < np.abs(full - half).max()
    assert metrics.psnr(half, full, data_range=1) > 45
