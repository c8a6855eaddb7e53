"""PSNR and SSIM against scikit-image and the golden values of the published evaluation."""

import math
import tracemalloc

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dbp_tf.errors import InputError
from dbp_tf.evaluation import metrics

# 64 x 128 windows make a tile: the sizes lie below, at and just beyond one and several tiles.
SIZES = [(7, 7), (7, 140), (70, 134), (71, 135), (133, 20), (141, 269)]


def pair(rows, columns, seed=0, dtype=np.float64):
    """Two pictures that share structure: smooth, with flat, black and white parts, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    reference = np.stack([np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)], axis=-1)
    reference = np.clip(0.5 + 0.8 * reference, 0, 1)
    reference[: rows // 3, : columns // 3] = 0.25
    image = np.clip(reference + rng.normal(0, 0.08, reference.shape), 0, 1)
    return image.astype(dtype), reference.astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_is_that_of_scikit_image(size, data_range):
    image, reference = pair(*size)
    wanted = structural_similarity(image, reference, data_range=data_range, channel_axis=-1)
    assert metrics.ssim(image, reference, data_range=data_range) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_psnr_is_that_of_scikit_image(size, data_range):
    image, reference = pair(*size)
    wanted = peak_signal_noise_ratio(reference, image, data_range=data_range)
    assert metrics.psnr(image, reference, data_range=data_range) == pytest.approx(wanted, abs=1e-9)


def test_float32_pictures_score_as_scikit_image_says():
    image, reference = pair(91, 214, dtype=np.float32)
    for data_range in (1.0, 2.0):
        ssim = structural_similarity(image, reference, data_range=data_range, channel_axis=-1)
        psnr = peak_signal_noise_ratio(reference, image, data_range=data_range)
        assert metrics.ssim(image, reference, data_range=data_range) == pytest.approx(
            ssim, abs=1e-6
        )
        assert metrics.psnr(image, reference, data_range=data_range) == pytest.approx(
            psnr, abs=1e-6
        )


def test_golden_values_of_the_published_evaluation(data):
    golden = np.load(data / "packing_metrics.npz")
    image, reference = golden["metric_image"], golden["metric_reference"]
    assert metrics.psnr(image, reference, data_range=1) == pytest.approx(
        float(golden["psnr"]), abs=1e-6
    )
    published = metrics.ssim(image, reference, data_range=metrics.PUBLISHED_SSIM_RANGE)
    assert published == pytest.approx(float(golden["ssim_data_range_2"]), abs=1e-6)


def test_several_ranges_in_one_pass_are_the_same():
    image, reference = pair(73, 150)
    each = tuple(metrics.ssim(image, reference, data_range=r) for r in (2.0, 1.0, 255.0))
    assert metrics.ssim(image, reference, data_range=(2.0, 1.0, 255.0)) == each


def test_a_picture_equals_itself():
    image, _ = pair(80, 45)
    assert metrics.psnr(image, image, data_range=1) == math.inf
    assert metrics.ssim(image, image, data_range=1) == pytest.approx(1, abs=1e-12)


def test_swapping_the_pictures_changes_nothing():
    image, reference = pair(66, 131)
    for metric in (metrics.psnr, metrics.ssim):
        assert metric(image, reference, data_range=1) == metric(reference, image, data_range=1)


def test_one_wrong_pixel_in_the_last_corner_counts():
    image, reference = pair(71, 135)
    worse = image.copy()
    worse[-1, -1] = 1 - worse[-1, -1]
    for metric in (metrics.psnr, metrics.ssim):
        assert metric(worse, reference, data_range=1) < metric(image, reference, data_range=1)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_pictures_of_two_sizes_are_refused(metric):
    with pytest.raises(InputError, match="one size"):
        metric(np.zeros((20, 30, 3)), np.zeros((20, 31, 3)), data_range=1)


def test_a_picture_smaller_than_the_window_is_refused():
    with pytest.raises(InputError, match="too small"):
        metrics.ssim(np.zeros((6, 30, 3)), np.zeros((6, 30, 3)), data_range=1)


def test_memory_does_not_grow_with_the_picture():
    image, reference = pair(900, 1300, dtype=np.float32)
    tracemalloc.start()
    metrics.ssim(image, reference, data_range=(1.0, 2.0))
    metrics.psnr(image, reference, data_range=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.3 * image.nbytes
