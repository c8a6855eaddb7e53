"""Shared fixtures. TensorFlow is told to be quiet before any test imports it."""

import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def data():
    """Folder of the golden results; its README says where they come from."""
    return pathlib.Path(__file__).parent / "data"
