"""The simulator: a photograph becomes a dark burst and its bright truth, as raw files.

    python -m dbp_tf.simulate photo.jpg --out DIR --camera sony --frames 8 --ratio 100

writes `DIR/short/IIIII_NN_0.1s.ARW` and `DIR/long/IIIII_00_Ts.ARW`, DNG files under the names
of the See-in-the-Dark dataset (LibRaw goes by content, not by suffix).

The photograph is un-processed to linear camera colours (Brooks et al., Unprocessing Images for
Learned Raw Denoising, CVPR 2019), softened as by a lens, filtered by the sensor's mosaic and
divided by the exposure ratio; then comes the noise of a sensor (Wei et al., A Physics-based Noise
Formation Model for Extreme Low-light Raw Denoising, CVPR 2020, "ELD"): shot noise, read noise,
row noise, an offset of each colour's black level, rounding to whole DN. The truth is the same
mosaic without noise.

Axis letters: F frames. Mosaics are [rows, columns] in raw pixels. DN are 14-bit raw values.
"""

import contextlib
import dataclasses
import datetime
import functools
import io
import itertools
import math
import pathlib

import numpy as np
from absl import flags

from dbp_tf import cli, files
from dbp_tf.data import sid
from dbp_tf.errors import InputError
from dbp_tf.raw import cameras, packing

SAMPLE = pathlib.Path(__file__).parent / "samples" / "astronaut.jpg"

SHORT_EXPOSURE = 0.1  # seconds, the commonest of the dataset

# Linear sRGB to CIE XYZ, white D65 (IEC 61966-2-1), with the digits LibRaw uses.
_SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

# Smallest raw files, in pixels a side: LibRaw 0.22 refuses to develop smaller X-Trans files; a
# Bayer file has to survive the four poolings of the low-resolution network.
_LEAST_SIDE = {"bayer": 64, "xtrans": 512}

# EXIF's tag, and those of its values by which rows and columns change places.
_ORIENTATION = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)

# Linear brightness from which highlights go white, and from which that white saturates the sensor.
_HIGHLIGHT = 0.9
_SATURATED = 0.95

# What lens and optical low-pass filter make of a point of light, along rows and along columns:
# a fifth of the contrast is left at the finest detail that the pixels can hold. Without it, the
# one-pixel detail of a photograph made smaller would come out of any demosaicing as false colour.
_OPTICS = (0.2, 0.6, 0.2)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise of one sensor at one ISO setting, in DN of a 14-bit raw file.

    The defaults are those of a full-frame sensor at ISO 800. There the Sony A7S II was
    calibrated, after ELD's model, to 0.765 DN per electron, 3.55 DN read noise and 0.57 DN row
    noise (Feng et al., Learnability Enhancement for Low-light Raw Denoising, ACM MM 2022).
    There is no published calibration of the Fuji X-T2: it gets the same.

    Attributes:
      gain: DN per electron; scales the shot noise.
      read: standard deviation of the read noise.
      row: standard deviation of the offset that a row's pixels share.
      offset: mean error of the black level (R, G, B). ELD's calibration of the A7S II gives
        0.61, 0.58, 0.61 at the fourth of its nine ISO settings, -1.6 to 4.3 over all of them.
      offset_spread: standard deviation of each colour's error about that mean, drawn once a
        burst. The spread over the colours is 0.02 to 0.4 (0.24 on average) in ELD's calibrations
        of five cameras.
    """

    gain: float = 0.8
    read: float = 3.5
    row: float = 0.5
    offset: tuple[float, float, float] = (0.6, 0.6, 0.6)
    offset_spread: float = 0.25


@dataclasses.dataclass(frozen=True)
class Scene:
    """A simulated burst and its truth.

    Attributes:
      truth: [rows, columns] uint16, the long exposure without noise, in DN.
      frames: [F, rows, columns] uint16, the dark burst, in DN.
      shifts: [F, 2] rows and columns in raw pixels by which each frame's content lies further
        down and right than the truth's; the first is (0, 0).
      offset: [3] error of the black level of this burst (R, G, B), in DN.
    """

    truth: np.ndarray
    frames: np.ndarray
    shifts: np.ndarray
    offset: np.ndarray


def srgb_to_linear(photo):
    """sRGB code values in 0..1 to linear light in 0..1 (IEC 61966-2-1)."""
    return np.where(photo <= 0.04045, photo / 12.92, ((photo + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear):
    """Linear light in 0..1 to sRGB code values in 0..1 (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@contextlib.contextmanager
def _opened(path):
    """The photograph as a Pillow image whose pixels have not been read."""
    from PIL import Image

    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"there is no photograph {path}")
    try:
        with Image.open(path) as picture:
            if picture.mode in ("I", "F"):
                raise InputError(
                    f"{path} holds 32-bit numbers and does not say which of them is white: save "
                    f"it with 8 bits"
                )
            yield picture
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{path} has more pixels than Pillow reads: make it smaller") from None
    except (OSError, ValueError, SyntaxError):
        raise InputError(
            f"{path} is not a picture, or a damaged one: give a JPEG, PNG or TIFF"
        ) from None


def photo_shape(path, reduce=1):
    """(rows, columns) of what `load_photo` would return, from the file's header; errors alike."""
    with _opened(path) as picture:
        columns, rows = picture.size
        if picture.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
            rows, columns = columns, rows
    return rows // reduce, columns // reduce


def load_photo(path, reduce=1):
    """Reads a photograph.

    Args:
      path: any picture of 8 bits, or of 16 bits grey, that Pillow reads; taken as sRGB, turned
        upright, alpha dropped.
      reduce: whole factor by which it is made smaller, each pixel the mean light of
        reduce x reduce. From 2 on the photograph's own noise and its own interpolated colours
        mostly vanish.

    Returns:
      [rows, columns, 3] float32 sRGB in 0..1.

    Raises:
      InputError: no such file, not a picture, or one of 32 bits.
    """
    from PIL import ImageOps

    with _opened(path) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode.startswith("I;16"):
            # Pillow would clip these to 255 on their way to RGB.
            grey = np.asarray(upright).astype(np.float32) / np.float32(65535)
            photo = np.repeat(grey[..., np.newaxis], 3, axis=-1)
        else:
            photo = np.asarray(upright.convert("RGB")).astype(np.float32) / np.float32(255)
    if reduce == 1:
        return photo
    rows, columns = photo.shape[0] // reduce, photo.shape[1] // reduce
    blocks = srgb_to_linear(photo[: rows * reduce, : columns * reduce])
    blocks = blocks.reshape(rows, reduce, columns, reduce, 3)
    return linear_to_srgb(blocks.mean((1, 3))).astype(np.float32)


def tiles(photo, camera, size=None, count=1, name="the photograph"):
    """Cuts a photograph to sizes that pack to an even number of rows and columns.

    Args:
      photo: [rows, columns, 3].
      camera: `cameras.Camera`; its raw sizes are multiples of 4 (Bayer) or 12 (X-Trans).
      size: side of square tiles, rounded up to such a multiple; None for the whole photograph
        less its last few rows and columns.
      count: number of tiles, those nearest to the centre first; 0 for as many as there are.
      name: of the photograph, for errors.

    Returns:
      list of [rows, columns, 3]. Where the photograph lacks the last few pixels of a tile it
      is continued by its mirror image.

    Raises:
      InputError: the photograph is smaller than a tile, or than the least that LibRaw develops.
    """
    side, grid = _cut(photo.shape[:2], camera, size, name)
    rows, columns = side
    photo = _centre(_mirrored(photo, side), (grid[0] * rows, grid[1] * columns))
    corners = list(itertools.product(range(grid[0]), range(grid[1])))
    corners.sort(key=lambda at: math.dist(at, ((grid[0] - 1) / 2, (grid[1] - 1) / 2)))
    return [
        photo[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
        for row, column in corners[: count or None]
    ]


def _cut(shape, camera, size, name):
    """(rows and columns of a tile, tiles down and across); see `tiles`."""
    step = 2 * packing.LAYOUTS[camera.mosaic].period
    least = _LEAST_SIDE[camera.mosaic]
    if size is not None and size < least:
        raise InputError(
            f"--size {size} is too small: a {camera.mosaic} raw file needs at least {least} "
            f"rows and columns"
        )
    if min(shape) < (size or least):
        raise InputError(
            f"{name} comes to {shape[0]} rows and {shape[1]} columns, but at least "
            f"{size or least} of each are needed: give a larger photograph, or smaller --reduce "
            f"or --size ({camera.mosaic} raw files need {least})"
        )
    if size is None:
        side = [n // step * step if n // step * step >= least else _up(n, step) for n in shape]
        return side, (1, 1)
    side = _up(size, step)
    return (side, side), [max(1, n // side) for n in shape]


def _up(number, step):
    return -(-number // step) * step


def _mirrored(photo, side):
    """The photograph, continued by its mirror image where it has less than `side` pixels."""
    margins = [(0, max(0, side[axis] - photo.shape[axis])) for axis in (0, 1)]
    return np.pad(photo, [*margins, (0, 0)], mode="reflect")


def _centre(photo, side):
    """The middle of the photograph, `side` rows and columns."""
    top, left = ((photo.shape[axis] - side[axis]) // 2 for axis in (0, 1))
    return photo[top : top + side[0], left : left + side[1]]


def camera_matrix(camera):
    """[3, 3] linear sRGB to white-balanced camera colours: white stays (1, 1, 1)."""
    matrix = np.array(camera.xyz_to_camera) @ _SRGB_TO_XYZ
    return matrix / matrix.sum(axis=1, keepdims=True)


def unprocess(photo, camera):
    """A photograph to the light that the sensor's colour filters let through.

    Inverts sRGB's tone curve, the camera's colour matrix and its white balance. Gains below
    one would leave highlights grey-green in the raw file; near white they fade to one, so that
    white saturates all colours as it does on a sensor (Brooks et al. 2019). Before they do, a
    highlight loses its colour: a channel that saturates ahead of the others would tint it.

    Args:
      photo: [rows, columns, 3] sRGB in 0..1.
      camera: `cameras.Camera`.

    Returns:
      [rows, columns, 3] float32 in 0..1, 1 at the sensor's white level.
    """
    linear = srgb_to_linear(np.asarray(photo, np.float32))
    linear = np.clip(linear @ camera_matrix(camera).T.astype(np.float32), 0, 1)
    # LibRaw scales its multipliers so that the smallest is one.
    gains = np.float32(min(camera.white_balance)) / np.array(camera.white_balance, np.float32)
    grey = linear.mean(axis=-1, keepdims=True)
    linear = _fade(linear, (grey - _HIGHLIGHT) / (_SATURATED - _HIGHLIGHT))
    return linear * _fade(gains, (grey - _SATURATED) / (1 - _SATURATED))


def _fade(values, share):
    """Values that go to one as `share` goes from 0 to 1, gently at first."""
    return values + (1 - values) * np.clip(share, 0, 1) ** 2


def soften(linear):
    """Light through lens and optical low-pass filter; see `_OPTICS`.

    Args:
      linear: [rows, columns, channels], continued at the edges by its mirror image.

    Returns:
      The same shape and type; a uniform picture stays as it is.
    """
    for axis in (0, 1):
        margins = [(1, 1) if axis == other else (0, 0) for other in range(linear.ndim)]
        padded = np.pad(linear, margins, mode="symmetric")
        places = np.arange(linear.shape[axis])
        linear = sum(weight * padded.take(places + by, axis) for by, weight in enumerate(_OPTICS))
    return linear


def pattern_of(camera):
    """The colour filters of the camera's raw files, as `mosaic` wants them."""
    return packing.LAYOUTS[camera.mosaic].colours


def _spread(sites, shape):
    """[period, period] values of filter sites, repeated over a mosaic of that shape."""
    sites = np.asarray(sites)
    rows, columns = (np.arange(shape[axis]) % sites.shape[axis] for axis in (0, 1))
    return sites[np.ix_(rows, columns)]


def _colours(pattern):
    """[period, period] indices of the sites' colours: 0 red, 1 green, 2 blue."""
    return np.array([["RGB".index(letter) for letter in row] for row in pattern])


def mosaic(linear, pattern):
    """Keeps of each pixel the colour that its filter lets through.

    Args:
      linear: [rows, columns, 3].
      pattern: strings of R, G, B, one for each row of the filters' period.

    Returns:
      [rows, columns] of the same type.
    """
    colours = _spread(_colours(pattern), linear.shape[:2])
    return np.take_along_axis(linear, colours[..., np.newaxis], axis=-1)[..., 0]


def draw_offset(noise, rng):
    """[3] error of the black level of one burst (R, G, B), in DN."""
    return np.array(noise.offset) + noise.offset_spread * rng.standard_normal(3)


def expose(samples, ratio, camera, noise, offset, rng, pattern=None, black=None):
    """One dark frame.

    Shot noise is Poisson in electrons. Read noise follows the logistic distribution, which is
    ELD's Tukey lambda of shape 0: the A7S II was calibrated to shape -0.008 at ISO 800, 0.149 at
    ISO 100 and -0.091 at ISO 25600 (Feng et al., see `Noise`). Its tails are heavier than a
    Gaussian's: specks in the dark.

    Args:
      samples: [rows, columns] mosaic of the long exposure in 0..1.
      ratio: long over short exposure.
      camera: `cameras.Camera`, for its levels.
      noise: `Noise`.
      offset: [3] error of the black level (R, G, B), in DN.
      rng: `numpy.random.Generator`.
      pattern: the mosaic's filters; those of the camera by default.
      black: black level of each filter site [period, period], in DN; the camera's by default.

    Returns:
      [rows, columns] uint16 in DN, 0 to the camera's white level.
    """
    levels = _spread([[camera.black]] if black is None else black, samples.shape)
    electrons = samples * (camera.white - levels) / (ratio * noise.gain)
    signal = float(noise.gain) * rng.poisson(electrons)
    # The standard deviation of a logistic variable is pi / sqrt(3) times its scale.
    signal += rng.logistic(0, noise.read * math.sqrt(3) / math.pi, samples.shape)
    signal += rng.normal(0, noise.row, (samples.shape[0], 1))
    signal += _spread(np.asarray(offset)[_colours(pattern or pattern_of(camera))], samples.shape)
    return _to_raw(signal, levels, camera)


def expose_long(samples, camera, black=None):
    """The long exposure without noise: [rows, columns] uint16 in DN. See `expose`."""
    levels = _spread([[camera.black]] if black is None else black, samples.shape)
    return _to_raw(samples * (camera.white - levels), levels, camera)


def _to_raw(signal, levels, camera):
    return np.clip(np.rint(signal + levels), 0, camera.white).astype(np.uint16)


def shifted(picture, shift):
    """Moves a picture's content down and right by whole pixels; its mirror image fills up.

    Args:
      picture: [rows, columns, ...].
      shift: (rows, columns), each less than the picture's size.
    """
    down, right = (int(amount) for amount in shift)
    margins = [(max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0))]
    padded = np.pad(picture, margins + [(0, 0)] * (picture.ndim - 2), mode="reflect")
    top, left = max(-down, 0), max(-right, 0)
    return padded[top : top + picture.shape[0], left : left + picture.shape[1]]


def simulate_scene(photo, camera, rng, frames=8, ratio=100.0, shake=0, noise=None):
    """A dark burst and its truth from a photograph.

    Frames come out of `rng` one after another, so that a burst of two frames is the start of a
    burst of eight.

    Args:
      photo: [rows, columns, 3] sRGB in 0..1, see `tiles` for the sizes.
      camera: `cameras.Camera`.
      rng: `numpy.random.Generator`; the same state gives the same scene.
      frames: F.
      ratio: long over short exposure.
      shake: hand shake. Every frame but the first is off by up to so many raw pixels along rows
        and along columns, whole pixels, all shifts alike likely. The scene moves, not the
        filters.
      noise: `Noise`; None for the defaults.

    Returns:
      `Scene`.
    """
    noise = noise or Noise()
    linear = soften(unprocess(photo, camera))
    pattern = pattern_of(camera)
    offset = draw_offset(noise, rng)
    shifts, burst = np.zeros((frames, 2), int), []
    for frame in range(frames):
        if frame and shake:
            shifts[frame] = rng.integers(-shake, shake, 2, endpoint=True)
        samples = mosaic(shifted(linear, shifts[frame]), pattern)
        burst.append(expose(samples, ratio, camera, noise, offset, rng))
    truth = expose_long(mosaic(linear, pattern), camera)
    return Scene(truth=truth, frames=np.stack(burst), shifts=shifts, offset=offset)


def write_dng(
    path,
    samples,
    camera,
    exposure=SHORT_EXPOSURE,
    captured=None,
    pattern=None,
    black=None,
    orientation=1,
):
    """Writes a mosaic as an uncompressed DNG file.

    Args:
      path: the file; an existing one is replaced, in one step.
      samples: [rows, columns] uint16 in DN.
      camera: `cameras.Camera`: white level, colour matrix, white balance, name.
      exposure: exposure time in seconds.
      captured: `datetime.datetime` of the shot, kept to milliseconds; None leaves it out.
      pattern: strings of R, G, B, one for each row of the filters' period (2x2 or 6x6); the
        camera's by default.
      black: black level of each filter site [period, period], in whole DN; the camera's by
        default.
      orientation: 1 to 8 as in TIFF and EXIF.

    Raises:
      InputError: tifffile is not installed, or the file cannot be written.
    """
    try:
        import tifffile
    except ImportError:
        raise InputError(
            'writing raw files needs tifffile: pip install "dbp_tf[simulate]"'
        ) from None

    path = pathlib.Path(path)
    colours = _colours(pattern or pattern_of(camera))
    levels = np.array([[camera.black]] if black is None else black)
    model = f"{camera.model} (simulated)"
    neutral = [round(1e6 / multiplier) for multiplier in camera.white_balance]
    matrix = [round(1e4 * value) for row in camera.xyz_to_camera for value in row]
    time = round(1e6 * exposure)
    tags = [
        ("Make", "s", 0, "dbp_tf", True),
        ("Model", "s", 0, model, True),
        ("Orientation", "H", 1, orientation, True),
        ("CFARepeatPatternDim", "H", 2, colours.shape, True),
        ("CFAPattern", "B", colours.size, colours.astype(np.uint8).tobytes(), True),
        ("ExposureTime", "2I", 1, (time, 1000000), True),
        ("DNGVersion", "B", 4, (1, 4, 0, 0), True),
        ("DNGBackwardVersion", "B", 4, (1, 1, 0, 0), True),
        ("UniqueCameraModel", "s", 0, model, True),
        ("CFAPlaneColor", "B", 3, (0, 1, 2), True),
        ("CFALayout", "H", 1, 1, True),
        ("BlackLevelRepeatDim", "H", 2, levels.shape, True),
        ("BlackLevel", "H", levels.size, tuple(levels.ravel().tolist()), True),
        ("WhiteLevel", "I", 1, camera.white, True),
        ("ColorMatrix1", "2i", 9, [n for value in matrix for n in (value, 10000)], True),
        ("AsShotNeutral", "2I", 3, [n for value in neutral for n in (value, 1000000)], True),
        ("CalibrationIlluminant1", "H", 1, 21, True),  # D65
    ]
    if captured is not None:
        # TIFF/EP puts these beside the image's own tags; tifffile writes no EXIF directory.
        tags += [
            ("DateTimeOriginal", "s", 0, captured.strftime("%Y:%m:%d %H:%M:%S"), True),
            ("SubsecTimeOriginal", "s", 0, f"{captured.microsecond // 1000:03d}", True),
        ]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        samples,
        photometric="cfa",
        metadata=None,
        software="dbp_tf.simulate",
        datetime=captured,
        extratags=[(tifffile.TIFF.TAGS[tag[0]], *tag[1:]) for tag in tags],
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, file.getvalue())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error})") from None


def _files_of(folder, number, camera):
    """The raw files of one scene that lie in the tree, dark ones and bright ones."""
    name = f"{number:05d}_*{camera.suffix}"
    return [path for side in ("short", "long") for path in sorted((folder / side).glob(name))]


def write_scene(folder, number, scene, camera, ratio, overwrite=False):
    """Writes a scene as raw files of the See-in-the-Dark layout.

    The short exposure is 0.1 s, the long one `ratio` times as much. Capture times follow from
    the scene's number: a minute from scene to scene, 0.15 s from frame to frame, the long
    exposure at the end.

    Args:
      folder: of the tree; `short/` and `long/` are made in it.
      number: of the scene, 0 to 99999.
      scene: `Scene`.
      camera: `cameras.Camera`.
      ratio: long over short exposure.
      overwrite: whether files of the same scene that lie there may be replaced; then all of
        them are.

    Returns:
      list of the frames' paths, and the truth's path.

    Raises:
      InputError: the scene is there already, or a file cannot be written.
    """
    folder = pathlib.Path(folder)
    there = _files_of(folder, number, camera)
    if there and not overwrite:
        raise InputError(
            f"{there[0]} exists already: give --overwrite to replace scene {number:05d}, or "
            f"another --scene or --out"
        )
    start = datetime.datetime(2020, 1, 1) + datetime.timedelta(minutes=number)

    def write(side, frame, exposure, samples, seconds):
        path = folder / side / f"{number:05d}_{frame:02d}_{exposure:g}s{camera.suffix}"
        captured = start + datetime.timedelta(seconds=seconds)
        write_dng(path, samples, camera, exposure, captured)
        return path

    frames = [
        write("short", frame, SHORT_EXPOSURE, samples, 0.15 * frame)
        for frame, samples in enumerate(scene.frames)
    ]
    truth = write("long", 0, SHORT_EXPOSURE * ratio, scene.truth, 0.15 * len(frames))
    for path in there:
        if path not in (*frames, truth):
            path.unlink()
    return frames, truth


def scene_numbers(first, count):
    """`first`, and then the numbers above it that are not misaligned in the dataset.

    Those three are left out of every average, which no simulated scene deserves.

    Returns:
      list of `count` numbers.

    Raises:
      InputError: there are not so many up to 99999.
    """
    numbers = (
        number
        for number in range(first, 100000)
        if number == first or f"{number:05d}" not in sid.MISALIGNED_SCENES
    )
    numbers = list(itertools.islice(numbers, count))
    if len(numbers) < count:
        raise InputError(
            f"--scene {first} leaves {len(numbers)} of the {count} numbers of five digits that are "
            f"needed: start with a smaller one"
        )
    return numbers


def simulate(
    photos,
    folder,
    camera,
    ratios=(100.0,),
    first_scene=10000,
    seed=0,
    reduce=1,
    size=None,
    count=1,
    overwrite=False,
    **options,
):
    """Writes a scene for every photograph, tile of it and exposure ratio.

    Args:
      photos: list of paths.
      folder: of the tree.
      camera: `cameras.Camera`.
      ratios: exposure ratios; each makes a scene of its own.
      first_scene: its number; the following scenes count up.
      seed: of the random numbers. A scene's depend on nothing but the seed and its number.
      reduce: see `load_photo`.
      size, count: see `tiles`.
      overwrite: see `write_scene`.
      **options: `frames`, `shake` and `noise` of `simulate_scene`.

    Yields:
      one line of text for each scene written.

    Raises:
      InputError: see `load_photo`, `tiles`, `scene_numbers` and `write_scene`. Photographs that
        are missing, too small or too many are found before anything is written.
    """
    grids = [_cut(photo_shape(path, reduce), camera, size, path)[1] for path in photos]
    cuts = [min(count or math.prod(grid), math.prod(grid)) for grid in grids]
    numbers = iter(scene_numbers(first_scene, sum(cuts) * len(ratios)))
    for path in photos:
        for tile in tiles(load_photo(path, reduce), camera, size, count, name=path):
            for ratio in ratios:
                number = next(numbers)
                rng = np.random.default_rng([seed, number])
                scene = simulate_scene(tile, camera, rng, ratio=ratio, **options)
                write_scene(folder, number, scene, camera, ratio, overwrite)
                rows, columns = scene.truth.shape
                yield (
                    f"scene {number:05d}: {path}, {rows} x {columns}, ratio {ratio:g}, "
                    f"{len(scene.frames)} frames"
                )


FLAGS = flags.FlagValues()
_NOISE = Noise()
_define = functools.partial(cli.define, FLAGS)


_define(
    cli.DEFINE_path,
    "out",
    None,
    "Folder for short/ and long/ of the simulated raw files; made if it is missing.",
    required=True,
)
_define(
    flags.DEFINE_enum, "camera", "sony", "Camera to imitate.", enum_values=list(cameras.CAMERAS)
)
_define(
    flags.DEFINE_integer, "frames", 8, "Dark frames of a burst.", lower_bound=1, upper_bound=100
)
_define(
    flags.DEFINE_list,
    "ratio",
    ["100"],
    "Exposure ratio; several with commas, each makes a scene of its own.",
)
_define(
    flags.DEFINE_integer,
    "scene",
    10000,
    "Number of the first scene: 0xxxx train, 1xxxx test, 2xxxx validation. The following scenes "
    "count up, past the three numbers that are misaligned in the dataset.",
    lower_bound=0,
    upper_bound=99999,
)
_define(
    flags.DEFINE_integer,
    "shake",
    0,
    "Hand shake: raw pixels by which a frame may be off the first one, along rows and along "
    "columns.",
    lower_bound=0,
    upper_bound=63,
)
_define(
    flags.DEFINE_integer,
    "seed",
    0,
    "Seed of the random numbers; a scene depends on it and on its own number only.",
    lower_bound=0,
)
_define(
    flags.DEFINE_integer,
    "reduce",
    1,
    "Whole factor by which photographs are made smaller; from 2 on their own noise mostly "
    "vanishes from the truth.",
    lower_bound=1,
)
_define(
    flags.DEFINE_integer,
    "size",
    None,
    "Cut square tiles with so many pixels a side, rounded up to what packs evenly; without it, "
    "the whole photograph.",
    lower_bound=1,
)
_define(
    flags.DEFINE_integer,
    "tiles",
    1,
    "With --size: tiles of a photograph, those nearest its centre first; 0 for all.",
    lower_bound=0,
)
_define(flags.DEFINE_float, "gain", _NOISE.gain, "Shot noise: DN per electron.", lower_bound=1e-6)
_define(flags.DEFINE_float, "read_noise", _NOISE.read, "Read noise in DN.", lower_bound=0)
_define(flags.DEFINE_float, "row_noise", _NOISE.row, "Row noise in DN.", lower_bound=0)
_define(
    flags.DEFINE_list,
    "black_offset",
    [f"{value:g}" for value in _NOISE.offset],
    "Mean error of the black level in DN: R,G,B.",
)
_define(
    flags.DEFINE_float,
    "offset_spread",
    _NOISE.offset_spread,
    "How far each colour's black level lies off that mean, drawn once a burst: standard "
    "deviation in DN.",
    lower_bound=0,
)
_define(flags.DEFINE_bool, "overwrite", False, "Replace scenes that are there already.")


def _numbers(flag, least, most):
    texts = FLAGS[flag].value
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        numbers = ()
    if not numbers or not all(least <= number <= most for number in numbers):
        raise InputError(
            f"--{flag}={','.join(texts)}: give numbers from {least:g} to {most:g}, with commas "
            f"between them"
        )
    return numbers


def main(photos):
    """Simulates scenes from photographs as the flags say; without one, from the sample."""
    if FLAGS["tiles"].present and FLAGS.size is None:
        raise InputError("--tiles belongs to --size: give that too")
    offset = _numbers("black_offset", least=-1000, most=1000)
    if len(offset) != 3:
        raise InputError(f"--black_offset: give three numbers, R,G,B, not {len(offset)}")
    lines = simulate(
        [*map(files.expand, photos)] or [SAMPLE],
        FLAGS.out,
        cameras.camera_named(FLAGS.camera),
        ratios=_numbers("ratio", least=1, most=10000),
        first_scene=FLAGS.scene,
        seed=FLAGS.seed,
        reduce=FLAGS.reduce,
        size=FLAGS.size,
        count=FLAGS.tiles,
        overwrite=FLAGS.overwrite,
        frames=FLAGS.frames,
        shake=FLAGS.shake,
        noise=Noise(FLAGS.gain, FLAGS.read_noise, FLAGS.row_noise, offset, FLAGS.offset_spread),
    )
    for line in lines:
        print(line, flush=True)
