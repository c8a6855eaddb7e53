"""LPIPS: frozen graphs of the published signature, made here, against numpy."""

import numpy as np
import pytest
import tensorflow as tf

from dbp_tf.errors import InputError
from dbp_tf.evaluation import lpips

KERNEL = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)


def freeze(path, distance, channels=3, names=("0", "1")):
    """Writes a frozen graph: `distance` of two [N, channels, rows, columns] placeholders."""
    graph = tf.Graph()
    with graph.as_default():
        ins = [
            tf.compat.v1.placeholder(tf.float32, [None, channels, None, None], name=name)
            for name in names
        ]
        distance(*ins)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def perceptual(first, second):
    """As the published graph on a GPU: NCHW convolution and pooling, [N, 1, 1, 1] at the end."""

    def features(picture):
        kernel = tf.constant(KERNEL[None, None])
        convolved = tf.nn.relu(tf.nn.conv2d(picture, kernel, 1, "VALID", data_format="NCHW"))
        return tf.nn.max_pool2d(convolved, 2, 2, "VALID", data_format="NCHW")

    squares = tf.square(features(first) - features(second))
    tf.reduce_mean(squares, [1, 2, 3], keepdims=True)


def perceptual_in_numpy(first, second):
    def features(picture):
        convolved = np.maximum((picture * 2 - 1) @ KERNEL, 0)
        rows, columns = (size // 2 for size in picture.shape[:2])
        blocks = convolved[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 5)
        return blocks.max((1, 3))

    return np.mean((features(first) - features(second)) ** 2)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    # As the published script scores them: the restored picture is not clipped.
    return rng.uniform(-0.3, 1.4, (21, 34, 3)), rng.uniform(0, 1, (21, 34, 3)).astype(np.float32)


def test_distance_is_that_of_the_graph(tmp_path, pair):
    distance = lpips.load_lpips(freeze(tmp_path / "graph.pb", perceptual))
    assert distance(*pair) == pytest.approx(perceptual_in_numpy(*pair), rel=1e-5)
    # Another size through the same graph.
    smaller = [picture[:10, :17] for picture in pair]
    assert distance(*smaller) == pytest.approx(perceptual_in_numpy(*smaller), rel=1e-5)


def test_equal_pictures_have_no_distance(tmp_path, pair):
    distance = lpips.load_lpips(freeze(tmp_path / "graph.pb", perceptual))
    assert distance(pair[0], pair[0]) == 0


def test_the_first_picture_goes_to_input_0(tmp_path, pair):
    path = freeze(tmp_path / "graph.pb", lambda a, b: tf.reduce_mean(a - 3 * b))
    wanted = np.mean(pair[0] * 2 - 1) - 3 * np.mean(pair[1] * 2 - 1)
    assert lpips.load_lpips(path)(*pair) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a graph at all", b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_file_that_is_no_graph_is_named(tmp_path, content):
    path = tmp_path / "broken.pb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.pb is not a frozen LPIPS graph"):
        lpips.load_lpips(path)


def test_a_graph_cut_short_is_named(tmp_path):
    path = freeze(tmp_path / "broken.pb", perceptual)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"broken\.pb is not a frozen LPIPS graph"):
        lpips.load_lpips(path)


def test_a_graph_with_other_inputs_is_named(tmp_path):
    path = freeze(tmp_path / "other.pb", perceptual, names=("0", "image"))
    with pytest.raises(InputError, match=r"other\.pb is not a frozen LPIPS graph.*1:0"):
        lpips.load_lpips(path)


def test_a_graph_that_ends_in_two_outputs_is_named(tmp_path):
    path = freeze(tmp_path / "other.pb", lambda a, b: tf.unique(tf.reshape(a - b, [-1])))
    with pytest.raises(InputError, match=r"other\.pb is not a frozen LPIPS graph"):
        lpips.load_lpips(path)


def test_a_graph_that_gives_a_map_is_named(tmp_path, pair):
    path = freeze(tmp_path / "map.pb", lambda a, b: tf.abs(a - b))
    with pytest.raises(InputError, match=r"map\.pb gives 2142 values"):
        lpips.load_lpips(path)(*pair)


def test_a_graph_for_other_channels_is_named(tmp_path, pair):
    path = freeze(tmp_path / "grey.pb", lambda a, b: tf.reduce_mean(a - b), channels=1)
    with pytest.raises(InputError, match=r"grey\.pb cannot compare"):
        lpips.load_lpips(path)(*pair)


def test_the_default_graph_is_found_where_its_users_keep_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert lpips.find_graph() is None
    graph = tmp_path / ".lpips" / "net-lin_alex_v0.1.pb"
    graph.parent.mkdir()
    graph.touch()
    assert lpips.find_graph() == graph


def test_a_graph_asked_for_must_be_there(tmp_path):
    with pytest.raises(InputError, match=r"--lpips_graph.*none\.pb"):
        lpips.find_graph(tmp_path / "none.pb")
