"""The parameters of `python -m dbp_tf.calibrate`."""

import dataclasses
import functools
import pathlib

from dbp_tf.errors import InputError
from dbp_tf.parameters import parameter
from dbp_tf.raw import cameras
from dbp_tf.raw.overrides import OverrideFlags

_frames_flag = functools.partial(parameter, topic="Frames")
_result_flag = functools.partial(parameter, topic="Result")


@dataclasses.dataclass(frozen=True)
class Settings(OverrideFlags):
    """See the help of each field. The fields hold what the user wrote, the properties its meaning.

    Raises:
      InputError: a field makes no sense, or two do not go together.
    """

    dark: tuple[str, ...] = _frames_flag(
        (),
        "Raw files taken with the cap on, 10 to 20 of each ISO setting: files, patterns, folders.",
        required=True,
    )
    flat: tuple[str, ...] = _frames_flag(
        (),
        "Raw files of an even surface, two of each brightness, from dark to nearly saturated: they "
        "give the gain.",
    )
    picture: tuple[str, ...] = _frames_flag(
        (),
        "Instead of --flat: two raw files or more of one still scene, taken from a support, with "
        "dark and bright places. Their noise gives the gain a little less exactly.",
    )
    gain: float | None = _frames_flag(
        None,
        "Instead of --flat: DN per electron at the lowest ISO setting of --dark; at others it is "
        "taken to be in proportion.",
        low=1e-6,
        high=1e5,
    )
    saturated: tuple[str, ...] = _frames_flag(
        (),
        "Raw files that are overexposed all over: they give the level of saturation instead of the "
        "files' white level.",
    )
    iso: float | None = _frames_flag(
        None, "ISO setting of the files that do not say theirs.", low=1, high=1e8
    )
    out: pathlib.Path = _result_flag(
        None,
        "JSON file to write; a picture of what was measured is written beside it, as PNG.",
        required=True,
    )
    name: str | None = _result_flag(
        None, "What to call the camera; by default as the file of --out."
    )
    overwrite: bool = _result_flag(False, "Replace files that are there.")

    def __post_init__(self):
        given = [
            f"--{name}"
            for name in ("flat", "picture", "gain")
            if getattr(self, name) not in (None, ())
        ]
        if not given:
            raise InputError(
                "dark frames do not tell the gain: give --flat, pairs of frames of an even "
                "surface, or --picture, two frames of one still scene, or --gain, DN per electron"
            )
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} each give the gain: leave one of them out")
        if self.out.suffix.lower() != ".json":
            raise InputError(f"--out={self.out}: give the name of a JSON file, such as my.json")
        for path in (self.out, self.page):
            if path.is_dir():
                raise InputError(f"--out: {path} is a folder: give another name")
            if path.exists() and not self.overwrite:
                raise InputError(f"{path} exists already: give --overwrite to replace it")
        if self.camera_name in cameras.CAMERAS:
            raise InputError(
                f"{self.camera_name} is the name of a built-in camera: give another with --name"
            )
        # Said now rather than when they are needed.
        dataclasses.replace(cameras.SONY, name=self.camera_name)
        _ = self.overrides

    @property
    def page(self) -> pathlib.Path:
        """The picture beside the JSON file."""
        return self.out.with_suffix(".png")

    @functools.cached_property
    def camera_name(self) -> str:
        """What to call the camera."""
        return self.name if self.name is not None else self.out.stem
