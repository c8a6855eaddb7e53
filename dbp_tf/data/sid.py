"""The See-in-the-Dark layout: which files make a burst, its ratio, its ground truth.

Names are `IIIII_NN_Ts.EXT`: five-digit scene, frame in the burst, exposure in seconds; EXT is that
of any raw file. Scenes 0xxxx train, 1xxxx test, 2xxxx validate. `short/` holds the dark bursts,
`long/` one bright exposure or more of each scene.
"""

import dataclasses
import os
import pathlib
import re

from dbp_tf import progress
from dbp_tf.errors import InputError, raise_or_note
from dbp_tf.raw import cameras, reading
from dbp_tf.raw.packing import MAX_RATIO

Path = str | os.PathLike[str]

SPLITS = {"train": "0", "test": "1", "val": "2"}

# In these scenes the ground truth is not aligned with the burst: they are restored, but left out
# of every average.
MISALIGNED_SCENES = frozenset({"10034", "10045", "10172"})

_NAME = re.compile(r"(\d{5})_(\d{2})_(\d+(?:\.\d+)?)s", re.ASCII)

# The end of errors about pairs that cannot be true.
ASK = "are --short_dir and --long_dir swapped, or is one of them given twice?"


@dataclasses.dataclass(frozen=True)
class RawName:
    """The parts of a file name: scene "IIIII", frame number, exposure in seconds."""

    path: pathlib.Path
    scene: str
    frame: int
    exposure: float


@dataclasses.dataclass(frozen=True)
class Burst:
    """A dark burst of a scene.

    Attributes:
      scene: five digits.
      exposure: of each dark frame, in seconds.
      ratio: by which the frames are brightened: long over short exposure, at most 300.
      frames: the raw files, frame 00 first.
      truth: the raw file of the long exposure, of which the ground truth is made, or None.
      scored: whether the burst counts in averages (misaligned scenes and those without a
        ground truth do not).
    """

    scene: str
    exposure: float
    ratio: float
    frames: tuple[pathlib.Path, ...]
    truth: pathlib.Path | None
    scored: bool

    @property
    def key(self) -> tuple[str, float]:
        """(scene, exposure), by which bursts are told apart."""
        return self.scene, self.exposure

    @property
    def name(self) -> str:
        """The published name of the burst's results: scene, frame 00, integer ratio."""
        # 0.7 s / 0.1 s is a hair less than 7.
        return f"{self.scene}_00_{int(self.ratio + 1e-6):d}"


def parse_name(path: Path) -> RawName:
    """The `RawName` of a file; raises InputError if the name is not of the dataset's pattern."""
    path = pathlib.Path(path)
    match = _NAME.fullmatch(path.stem)
    if not match or float(match[3]) <= 0:
        raise InputError(
            f"{path} is not named like a See-in-the-Dark file: expected "
            f"IIIII_NN_Ts{path.suffix}, for instance 10003_00_0.1s{path.suffix}"
        )
    return RawName(path, match[1], int(match[2]), float(match[3]))


def exposure_ratio(long_exposure: float, short_exposure: float) -> float:
    """long / short exposure, at most 300: no more than the sensor's noise can bear."""
    return min(long_exposure / short_exposure, MAX_RATIO)


def _raw_files_in(folder):
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in reading.RAW_SUFFIXES and not path.name.startswith(".")
    )


def _raw_files(folder, camera, flag, problems):
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{flag}: there is no folder {folder}")
    found = _raw_files_in(folder)
    if not found:
        inside = [
            path for path in sorted(folder.iterdir()) if path.is_dir() and _raw_files_in(path)
        ]
        hint = f": did you mean {inside[0]}?" if inside else ""
        raise InputError(f"{flag}: {folder} holds no raw files{hint}")
    # A converted copy of a frame may lie beside the camera's own file.
    own = {path.stem for path in found if path.suffix.lower() == camera.suffix.lower()}
    shots, copies = [], []
    for path in found:
        if path.stem in own and path.suffix.lower() != camera.suffix.lower():
            copies.append(path.name)
            continue
        try:
            shots.append(parse_name(path))
        except InputError as error:
            raise_or_note(error, problems)
    if copies:
        progress.say(
            f"{flag}: {len(copies)} files are passed over, whose frames are there as "
            f"{camera.suffix} too: {', '.join(copies[:3])}{' ...' if len(copies) > 3 else ''}"
        )
    return shots


def find_bursts(
    short_dir: Path,
    long_dir: Path | None,
    camera: cameras.Camera,
    split: str,
    n_burst: int = 8,
    ratio: float | None = None,
    *,
    limit: int | None = None,
    problems: list[str] | None = None,
) -> list[Burst]:
    """All bursts of one split, by scene and then by falling exposure.

    Args:
      short_dir: folder of the dark frames.
      long_dir: folder of the long exposures; None if there are none.
      camera: of a frame that is there twice, the file with its suffix is taken.
      split: "train", "val" or "test".
      n_burst: frames of a burst at the most: those of 00 .. n_burst - 1 that exist.
      ratio: exposure ratio of the bursts that have no long exposure.
      limit: look at the first so many bursts only; faults of later ones are not looked for.
      problems: list that gets a sentence for each file whose name is off the pattern and each
        burst that cannot be used, which are then left out; None to raise the first of them.

    Raises:
      InputError: a folder is missing, empty or given twice, the split has no scene, the ratio is
        1 or less, or no burst is exposed for less time than its long exposure; without `problems`
        also: a name is off the pattern, a burst has no frame 00 or one twice, is not exposed for
        less time than its long exposure, or nothing gives its ratio.
    """
    if ratio is not None and not ratio > 1:
        raise InputError(
            f"--ratio={ratio:g} says that the frames are no darker than the ground truth: give the "
            f"exposure ratio, which is above 1"
        )
    shots: dict[tuple[str, float], list[RawName]] = {}
    for shot in _raw_files(short_dir, camera, "--short_dir", problems):
        if shot.scene.startswith(SPLITS[split]):
            shots.setdefault((shot.scene, shot.exposure), []).append(shot)
    if not shots:
        raise InputError(
            f"--short_dir: {short_dir} holds no scene of the {split} split "
            f"(numbers that start with {SPLITS[split]})"
        )
    truths: dict[str, RawName] = {}
    for shot in _raw_files(long_dir, camera, "--long_dir", problems) if long_dir else ():
        # The longest of several long exposures of a scene has the least noise.
        if shot.scene not in truths or shot.exposure > truths[shot.scene].exposure:
            truths[shot.scene] = shot
    if long_dir and os.path.samefile(short_dir, long_dir):
        raise InputError(
            f"--short_dir and --long_dir are one folder, {short_dir}: give the folder of the dark "
            f"bursts and that of the long exposures"
        )

    bursts, unlikely = [], None
    for scene, exposure in sorted(shots, key=lambda key: (key[0], -key[1]))[:limit]:
        try:
            frames = _frames_of(shots[scene, exposure])
            truth = truths.get(scene)
            brighter = exposure_ratio(truth.exposure, exposure) if truth else ratio
            if brighter is None:
                raise InputError(
                    f"scene {scene} has no long exposure in {long_dir}, whose exposure time would "
                    f"give the ratio: add it, or give the ratio with --ratio"
                )
            if truth and truth.exposure <= exposure:
                unlikely = InputError(
                    f"{frames[0]} is exposed for {exposure:g} s, but its long exposure "
                    f"{truth.path} for {truth.exposure:g} s, which is no longer: {ASK}"
                )
                raise unlikely
        except InputError as error:
            raise_or_note(error, problems)
            continue
        bursts.append(
            Burst(
                scene=scene,
                exposure=exposure,
                ratio=brighter,
                frames=tuple(frames[frame] for frame in sorted(frames) if frame < n_burst),
                truth=truth.path if truth else None,
                scored=truth is not None and scene not in MISALIGNED_SCENES,
            )
        )
    if unlikely and not bursts:
        raise unlikely
    return bursts


def _frames_of(shots):
    """{frame number: path} of one burst's `RawName`s, frame 00 among them."""
    frames = {}
    for shot in shots:
        if shot.frame in frames:
            raise InputError(
                f"{shot.path} and {frames[shot.frame].name} are the same frame of one burst: "
                f"remove one of them"
            )
        frames[shot.frame] = shot.path
    if 0 not in frames:
        path = frames[min(frames)]
        raise InputError(
            f"{path} has no frame 00 beside it: a burst's first frame is missing from {path.parent}"
        )
    return frames
