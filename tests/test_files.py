"""Paths: every name a file can have is read, and what is written is whole or not there."""

import errno
import os
import pathlib
import shutil

import numpy as np
import pytest

import dbp_tf
from dbp_tf import files, pictures, simulate
from dbp_tf.errors import InputError, printable, sentence
from dbp_tf.raw import reading
from dbp_tf.raw.cameras import SONY

NAMES = ["a[1]", "*", "~", "a\nb", "a\udcff", "\u00e9 \u00fc", "x" * 251]


@pytest.fixture(scope="module")
def dng(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "a.dng"
    simulate.write_dng(path, np.full((64, 92), 600, np.uint16), SONY)
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_raw_file_and_a_picture_may_have_any_name(tmp_path, dng, name):
    folder = tmp_path / name
    folder.mkdir()
    path = folder / f"{name}.dng"
    path.write_bytes(dng)
    assert reading.read_raw(path).packed(1).shape == (32, 46, 4)
    pictures.write_png(path.with_suffix(".png"), np.zeros((3, 4, 3)))
    assert sorted(other.suffix for other in folder.iterdir()) == [".dng", ".png"]


@pytest.mark.parametrize("name", NAMES)
def test_an_odd_name_is_printed_on_one_line_of_plain_text(name):
    for said in (printable(f"{name}: bad"), sentence(InputError(f"{name}: bad"))):
        assert said.isprintable() and said.encode() and said.endswith(": bad")


@pytest.mark.parametrize("home", ["/home/someone", "/srv/[a]"])
def test_the_home_folder_is_known(monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    assert files.expand("~/a") == pathlib.Path(home, "a")
    assert files.expand(pathlib.Path("~")) == pathlib.Path(home)
    for path in ("a/~", "a~", "/a", ".", "~nobody-of-this-name/a"):
        assert files.expand(path) == pathlib.Path(path)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_scraps(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_whole(path, b"before")

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="file") as failure:
        files.write_whole(path, b"after")
    assert sentence(failure.value).startswith(f"{path}: the disk is full: make room")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing/file", "there is no such file or folder"), ("x" * 256, "the name is too long")],
)
def test_a_file_that_cannot_be_written_is_named(tmp_path, name, said):
    with pytest.raises(OSError) as failure:
        files.write_whole(tmp_path / name, b"x")
    assert sentence(failure.value).startswith(f"{tmp_path / name}: {said}")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("built_once")
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_found_in_a_folder_of_any_name(tmp_path, data, name):
    folder = pathlib.Path(shutil.copytree(data / "sid_sony_d2", tmp_path / name))
    model = dbp_tf.load_pretrained(folder)
    dbp_tf.save_pretrained(model, folder / "own")
    assert dbp_tf.load_pretrained(folder / "own").spec == model.spec
