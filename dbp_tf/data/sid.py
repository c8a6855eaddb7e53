"""The See-in-the-Dark layout: which files make a burst, its ratio, its ground truth.

Names are `IIIII_NN_Ts.EXT`: five-digit scene, frame in the burst, exposure in seconds. Scenes
0xxxx train, 1xxxx test, 2xxxx validate. `short/` holds the dark bursts, `long/` one bright
exposure or more of each scene.
"""

import dataclasses
import pathlib
import re

from dbp_tf.errors import InputError
from dbp_tf.raw.packing import MAX_RATIO

SPLITS = {"train": "0", "test": "1", "val": "2"}

# Ground truth and burst do not show the same thing: restored, but left out of every average.
MISALIGNED_SCENES = frozenset({"10034", "10045", "10172"})

_NAME = re.compile(r"(\d{5})_(\d{2})_(\d+(?:\.\d+)?)s", re.ASCII)


@dataclasses.dataclass(frozen=True)
class RawName:
    """What a file name says: scene "IIIII", frame number, exposure in seconds."""

    path: pathlib.Path
    scene: str
    frame: int
    exposure: float


@dataclasses.dataclass(frozen=True)
class Burst:
    """One dark burst of a scene.

    Attributes:
      scene: five digits.
      exposure: of each dark frame, in seconds.
      ratio: by which the frames are brightened: long over short exposure, at most 300.
      frames: the raw files, frame 00 first.
      truth: the raw file of the long exposure, or None.
      scored: whether the burst counts in averages (misaligned scenes and those without a
        truth do not).
    """

    scene: str
    exposure: float
    ratio: float
    frames: tuple[pathlib.Path, ...]
    truth: pathlib.Path | None
    scored: bool

    @property
    def name(self):
        """The published name of the burst's results: scene, frame 00, integer ratio."""
        # 0.7 s / 0.1 s is a hair less than 7.
        return f"{self.scene}_00_{int(self.ratio + 1e-6):d}"


def parse_name(path):
    """The `RawName` of a file; raises InputError if the name is not of the dataset's pattern."""
    path = pathlib.Path(path)
    match = _NAME.fullmatch(path.stem)
    if not match or float(match[3]) <= 0:
        raise InputError(
            f"{path} is not named like a See-in-the-Dark file: expected "
            f"IIIII_NN_Ts{path.suffix}, for instance 10003_00_0.1s{path.suffix}"
        )
    return RawName(path, match[1], int(match[2]), float(match[3]))


def exposure_ratio(long_exposure, short_exposure):
    """long / short exposure, at most 300: no more than the sensor's noise can bear."""
    return min(long_exposure / short_exposure, MAX_RATIO)


def _note(error, problems):
    if problems is None:
        raise error
    problems.append(str(error))


def _raw_files(folder, suffix, flag, problems):
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{flag}: there is no folder {folder}")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == suffix.lower() and not path.name.startswith(".")
    )
    if not found:
        raise InputError(f"{flag}: {folder} holds no {suffix} files")
    shots = []
    for path in found:
        try:
            shots.append(parse_name(path))
        except InputError as error:
            _note(error, problems)
    return shots


def find_bursts(
    short_dir, long_dir, camera, split, n_burst=8, ratio=None, *, limit=None, problems=None
):
    """All bursts of one split, by scene and then by falling exposure.

    Args:
      short_dir: folder of the dark frames.
      long_dir: folder of the long exposures; None if there are none.
      camera: `cameras.Camera`, for the suffix of its files.
      split: "train", "val" or "test".
      n_burst: frames of a burst at the most: those of 00 .. n_burst - 1 that exist.
      ratio: exposure ratio of the bursts that have no long exposure.
      limit: look at the first so many bursts only; what is wrong with later ones is of no account.
      problems: list that gets a sentence for each file whose name is off the pattern and each
        burst that cannot be used, which are then left out; None to raise the first of them.

    Returns:
      list of `Burst`.

    Raises:
      InputError: a folder is missing or empty, or the split has no scene; without `problems`
        also: a name is off the pattern, a burst has no frame 00 or one twice, or nothing gives
        its ratio.
    """
    shots = {}
    for shot in _raw_files(short_dir, camera.suffix, "--short_dir", problems):
        if shot.scene.startswith(SPLITS[split]):
            shots.setdefault((shot.scene, shot.exposure), []).append(shot)
    if not shots:
        raise InputError(
            f"--short_dir: {short_dir} holds no scene of the {split} split "
            f"(numbers that start with {SPLITS[split]})"
        )
    truths = {}
    for shot in _raw_files(long_dir, camera.suffix, "--long_dir", problems) if long_dir else ():
        # Were a scene exposed long twice, the longer exposure has the less noise.
        if shot.scene not in truths or shot.exposure > truths[shot.scene].exposure:
            truths[shot.scene] = shot

    bursts = []
    for scene, exposure in sorted(shots, key=lambda key: (key[0], -key[1]))[:limit]:
        try:
            frames = _frames_of(shots[scene, exposure])
            truth = truths.get(scene)
            if truth is None and ratio is None:
                raise InputError(
                    f"scene {scene} has no long exposure in {long_dir}, whose exposure time would "
                    f"give the ratio: add it, or give the ratio with --ratio"
                )
        except InputError as error:
            _note(error, problems)
            continue
        bursts.append(
            Burst(
                scene=scene,
                exposure=exposure,
                ratio=exposure_ratio(truth.exposure, exposure) if truth else ratio,
                frames=tuple(frames[frame] for frame in sorted(frames) if frame < n_burst),
                truth=truth.path if truth else None,
                scored=truth is not None and scene not in MISALIGNED_SCENES,
            )
        )
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
