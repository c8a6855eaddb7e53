"""Shared fixtures. TensorFlow is told to be quiet before any test imports it."""

import os
import pathlib
import time

import pytest

from dbp_tf import progress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def data():
    """Folder of the golden results; its README says where they come from."""
    return pathlib.Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def just_spoken(monkeypatch):
    """No line about ten seconds of silence, which a test may well have been running for."""
    monkeypatch.setattr(progress, "_last_line", time.monotonic())
