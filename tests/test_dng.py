"""DNG tags that change the meaning of the samples: done right, or said in a line."""

import dataclasses
import re
import struct
import time

import handmade_dng as handmade
import numpy as np
import pytest
import rawpy
from handmade_dng import (
    BYTE,
    DOUBLE,
    FLOAT,
    LONG,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
)

from dbp_tf.errors import InputError
from dbp_tf.raw import dng, packing, reading

SHAPE = (64, 76)

# Both byte orders, once with the raw picture below a preview.
LAYOUTS = pytest.mark.parametrize(("order", "below"), [("<", False), (">", True), ("<", True)])


def signal(seed=0, light=1000):
    """A dark edge for the black level, light in the rest."""
    rng = np.random.default_rng(seed)
    scene = light * (0.5 + rng.random(SHAPE))
    scene[:, :12] = 0
    return scene


def mosaic(black=512, light=1000):
    noise = np.random.default_rng(1).normal(0, 3, SHAPE)
    return np.clip(np.rint(signal(light=light) + black + noise), 0, 65535).astype(np.uint16)


def read(tmp_path, tags=(), samples=None, order="<", below=False, camera=None):
    path = tmp_path / "a.dng"
    handmade.write(path, mosaic() if samples is None else samples, tags, order, below)
    return reading.read_raw(path, camera)


@LAYOUTS
def test_a_file_without_peculiarities(tmp_path, order, below):
    frame = read(tmp_path, order=order, below=below)
    assert frame.levels == "black 512, white 16383 (file)"
    assert frame.white_balance == pytest.approx((2, 1, 1.6))
    assert frame.notes == ()
    np.testing.assert_array_equal(frame.mosaic, mosaic())


# --- levels ---


@LAYOUTS
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (LONG, 512),
        (RATIONAL, (5125, 10)),
        (SRATIONAL, (5125, 10)),
        (FLOAT, 512.5),
        (DOUBLE, 512.5),
    ],
)
def test_a_black_level_of_any_type_keeps_its_fraction(tmp_path, order, below, kind, said):
    frame = read(tmp_path, {50714: (kind, said)}, order=order, below=below)
    assert frame.black == (512.5 if kind != LONG else 512,) * 4


def test_a_black_level_in_bytes(tmp_path):
    assert read(tmp_path, {50714: (BYTE, 200)}, mosaic(200)).black == (200,) * 4


@LAYOUTS
@pytest.mark.parametrize(
    ("kind", "said"), [(SHORT, 4000), (LONG, 4000), (RATIONAL, (40000, 10)), (FLOAT, 4000.0)]
)
def test_a_white_level_of_any_type(tmp_path, order, below, kind, said):
    assert read(tmp_path, {50717: (kind, said)}, order=order, below=below).white == 4000


def test_the_white_level_that_is_not_said_is_that_of_the_bits(tmp_path):
    assert read(tmp_path, {50717: None}).white == 65535


@LAYOUTS
def test_a_block_of_black_levels_starts_at_the_active_area(tmp_path, order, below):
    block = np.array([[500.2, 510.4], [520.6, 530.8]])
    levels = tuple(n for level in block.ravel() for n in (round(10 * level), 10))
    tags = {50713: (SHORT, (2, 2)), 50714: (RATIONAL, levels), 50829: (LONG, (1, 3, 61, 75))}
    frame = read(tmp_path, tags, mosaic(515), order, below)
    # Filters and levels both start where the area does, from which LibRaw takes one row and one
    # column away to make its corner even.
    assert frame.offset == (1, 1)
    assert frame.black == pytest.approx((500.2, 510.4, 530.8, 520.6))
    np.testing.assert_array_equal(frame.mosaic, mosaic(515)[3:59, 5:73])


@LAYOUTS
def test_black_levels_of_rows_and_columns_are_levelled(tmp_path, order, below):
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(-200, 200, 60) / 10, rng.integers(-200, 200, 72) / 10
    samples = mosaic()
    samples[2:62, 4:76] = np.rint(samples[2:62, 4:76] + rows[:, None] + columns)
    pairs = [tuple(n for one in many for n in (round(10 * one), 10)) for many in (columns, rows)]
    tags = {
        50715: (SRATIONAL, pairs[0]),
        50716: (SRATIONAL, pairs[1]),
        50829: (LONG, (2, 4, 62, 76)),
    }
    frame = read(tmp_path, tags, samples, order, below)
    assert frame.black == pytest.approx((512 + rows.mean() + columns.mean(),) * 4)
    plain = read(tmp_path, {50829: (LONG, (2, 4, 62, 76))})
    # Rounded twice.
    np.testing.assert_allclose(frame.mosaic - frame.black[0], plain.mosaic - 512.0, atol=1 + 1e-6)
    # The ground truth, which LibRaw develops, has lost the stripes too.
    striped = reading.read_truth(tmp_path / "a.dng")
    handmade.write(tmp_path / "a.dng", mosaic(), {50829: (LONG, (2, 4, 62, 76))})
    difference = np.abs(striped - reading.read_truth(tmp_path / "a.dng"))
    assert np.quantile(difference, 0.99) < 4e-3


def test_the_linearization_table_and_the_masked_area_are_libraws(tmp_path):
    table = tuple(min(3 * n, 65535) for n in range(4096))
    frame = read(tmp_path, {50712: (SHORT, table), 50714: (SHORT, 1536)})
    np.testing.assert_array_equal(frame.mosaic, 3 * mosaic())
    masked = {50714: None, 50829: (LONG, (0, 12, 64, 76)), 50830: (LONG, (0, 0, 64, 12))}
    for said in (None, (SHORT, 0)):
        frame = read(tmp_path, masked | {50714: said})
        assert frame.black == pytest.approx((512,) * 4, abs=1)


def test_floating_point_samples(tmp_path):
    tags = {258: (SHORT, 32), 339: (SHORT, 3), 50717: (LONG, 1), 50714: (RATIONAL, (1, 32))}
    frame = read(tmp_path, tags, (mosaic() / 16384).astype(np.float32))
    assert frame.black == pytest.approx((16383 / 32,) * 4)
    np.testing.assert_allclose(frame.mosaic, mosaic(), atol=1.5)
    assert frame.notes == ("its floating-point samples are rounded to 14 bits",)


@pytest.mark.parametrize(
    "tags",
    [
        {50714: (RATIONAL, (1, 0))},
        {50713: (SHORT, (2, 2))},
        {50713: (SHORT, (0, 0))},
        {50713: (RATIONAL, (1, 0, 1, 1))},
        {50713: (SHORT, (1, 1, 1))},
        {50713: (SRATIONAL, (-1, 1, -1, 1))},
        {50730: (FLOAT, 1e30)},
        {50728: None, 50729: (DOUBLE, (0.3, 0.1858))},
        {273: (RATIONAL, (1, 0))},
        {51009: (RATIONAL, (1, 0) * 9)},
        {50713: (UNDEFINED, b"ab")},
        {50714: (SHORT, (1, 2, 3))},
        {50829: (SHORT, 7)},
        {50717: (RATIONAL, (1, 0))},
        {50715: (SRATIONAL, (1, 0))},
        {51009: (UNDEFINED, b"\0\0\0\2\0\0")},
        {51009: (UNDEFINED, struct.pack(">5I", 9, 9, 0, 0, 2**32 - 1))},
    ],
)
def test_a_damaged_tag_is_none_or_refused(tmp_path, tags):
    facts = dng.read_facts(handmade.write(tmp_path / "a.dng", mosaic(), tags))
    assert isinstance(facts, dng.Facts)
    assert facts.black is None or np.isfinite(facts.black).all()
    try:
        assert isinstance(reading.read_raw(tmp_path / "a.dng"), reading.RawFrame)
    except InputError as error:
        assert "a.dng" in str(error)


def test_no_dng_has_no_facts(tmp_path):
    handmade.write(tmp_path / "a.nef", mosaic(), {50706: None})
    nothing = dataclasses.asdict(dng.Facts())
    assert dataclasses.asdict(dng.read_facts(tmp_path / "a.nef")) == nothing
    (tmp_path / "a.txt").write_text("II")
    assert dataclasses.asdict(dng.read_facts(tmp_path / "a.txt")) == nothing
    assert dataclasses.asdict(dng.read_facts(tmp_path / "none")) == nothing


def test_a_tag_and_a_directory_repeated_without_end_cost_nothing(tmp_path):
    # 1024 times 1000 entries of 4096 bytes each, if all of them were read.
    levels = struct.pack("<HHII", 50714, 4, 1024, 0) * 1000
    below = struct.pack("<H", 1000) + levels
    head = struct.pack("<2sHIH", b"II", 42, 8, 2) + struct.pack("<HHII", 50706, 4, 1, 1)
    head += struct.pack("<HHII", 330, 4, 1024, 34)
    path = tmp_path / "a.dng"
    path.write_bytes(head + struct.pack("<1024I", *[34 + 4096] * 1024) + below)
    started = time.process_time()
    assert dng.read_facts(path).black is None
    assert time.process_time() - started < 1


# --- opcodes ---


def opcode_list(*opcodes):
    blocks = [
        struct.pack(">IIII", code, 0x01030000, 0, len(parameters)) + parameters
        for code, parameters in opcodes
    ]
    return (UNDEFINED, struct.pack(">I", len(opcodes)) + b"".join(blocks))


def area(top, left, bottom, right, pitch=(1, 1)):
    return struct.pack(">8I", top, left, bottom, right, 0, 1, *pitch)


def gain_map(gains, corner=(0, 0), pitch=(2, 2), shape=SHAPE, spacing=None, origin=(0.0, 0.0)):
    rows, columns = gains.shape
    spacing = spacing or (1 / (rows - 1), 1 / (columns - 1))
    return 9, (
        area(*corner, *shape, pitch)
        + struct.pack(">2I2d2dI", rows, columns, *spacing, *origin, 1)
        + gains.astype(">f4").tobytes()
    )


def interpolated(gains, shape):
    """Bilinear between points that lie from edge to edge."""
    points = [np.linspace(0, 1, size) for size in gains.shape]
    at = [(np.arange(size) + 0.5) / size for size in shape]
    by_row = np.array([np.interp(at[0], points[0], column) for column in gains.T]).T
    return np.array([np.interp(at[1], points[1], row) for row in by_row])


@LAYOUTS
def test_a_gain_map_of_each_filter_is_applied_to_frames_and_truth(tmp_path, order, below):
    """A phone's lens shading: left out, corners come out at a third."""
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    maps = [1 + np.random.default_rng(n).random((5, 7)) * 2 for n in range(4)]
    full = np.ones(SHAPE)
    for (row, column), gains in zip(corners, maps, strict=True):
        full[row::2, column::2] = interpolated(gains, SHAPE)[row::2, column::2]
    samples = np.rint(512 + signal() / full).astype(np.uint16)
    opcodes = [gain_map(gains, corner) for gains, corner in zip(maps, corners, strict=True)]
    frame = read(tmp_path, {51009: opcode_list(*opcodes)}, samples, order, below)
    assert frame.notes == ()
    # Rounded before the gain of up to 3 and after it.
    np.testing.assert_allclose(frame.mosaic, 512 + signal(), atol=2.1)
    truth = reading.read_truth(tmp_path / "a.dng")
    handmade.write(tmp_path / "a.dng", np.rint(512 + signal()).astype(np.uint16))
    # A demosaicing that chooses directions takes another one for the rounding here and there.
    difference = np.abs(truth - reading.read_truth(tmp_path / "a.dng"))
    assert np.quantile(difference, 0.99) < 6e-3


def test_a_gain_map_lies_in_the_active_area_and_keeps_noise_and_white(tmp_path):
    samples = mosaic()
    samples[10, 30] = 500  # noise below black
    samples[10, 31] = 16383  # saturated
    gains = np.full((2, 2), 2.0)
    tags = {50829: (LONG, (2, 4, 62, 76)), 51009: opcode_list(gain_map(gains))}
    frame = read(tmp_path, tags, samples)
    expected = samples[2:62, 4:76].astype(int)
    expected[::2, ::2] = np.minimum(512 + 2 * (expected[::2, ::2] - 512), 16383)
    np.testing.assert_array_equal(frame.mosaic, expected)
    assert frame.mosaic[8, 26] == 488


def test_a_gain_map_of_one_point_and_one_beyond_its_points(tmp_path):
    one = gain_map(np.array([[1.5]]), pitch=(1, 1), spacing=(1.0, 1.0))
    frame = read(tmp_path, {51009: opcode_list(one)})
    np.testing.assert_allclose(frame.mosaic, 512 + 1.5 * (mosaic() - 512.0), atol=0.51)
    # Points of the middle only: the outer ones go on to the edges.
    middle = gain_map(np.array([[1.0], [2.0]]), (0, 0), (1, 1), SHAPE, (0.1, 1.0), (0.45, 0.0))
    frame = read(tmp_path, {51009: opcode_list(middle)})
    np.testing.assert_array_equal(frame.mosaic[:28], mosaic()[:28])
    np.testing.assert_array_equal(frame.mosaic[36:], 512 + 2 * (mosaic()[36:].astype(int) - 512))


def floats(numbers, kind=">f4"):
    return struct.pack(">I", len(numbers)) + np.array(numbers).astype(kind).tobytes()


SPAN = 16383 - 512
ROWS = 1 + np.arange(64) / 64
COLUMNS = 1 + np.arange(38) / 76
TABLE = np.minimum(2 * np.arange(65536), 65535)


@pytest.mark.parametrize(
    ("opcode", "expected"),
    [
        ((12, area(0, 0, *SHAPE) + floats(ROWS)), lambda x: x * ROWS[:, None]),
        (
            (13, area(0, 1, *SHAPE, (1, 2)) + floats(COLUMNS)),
            lambda x: x * np.where(np.arange(76) % 2, np.repeat(COLUMNS, 2), 1),
        ),
        ((10, area(0, 0, *SHAPE) + floats(ROWS / 100)), lambda x: x + ROWS[:, None] / 100),
        ((11, area(0, 0, *SHAPE, (1, 2)) + floats(COLUMNS / 100)), None),
        (
            (8, area(0, 0, *SHAPE) + struct.pack(">I3d", 2, 0, 1.5, -0.5)),
            lambda x: 1.5 * x.clip(0) - 0.5 * x.clip(0) ** 2,
        ),
        ((7, area(0, 0, *SHAPE) + floats(TABLE, ">u2")), lambda x: 2 * x.clip(0)),
    ],
)
def test_other_opcodes_of_the_mosaic(tmp_path, opcode, expected):
    frame = read(tmp_path, {51009: opcode_list(opcode)})
    assert frame.notes == ()
    x = (mosaic() - 512.0) / SPAN
    if expected is None:
        x[:, ::2] += COLUMNS / 100
        expected = np.asarray
    # The table has steps of a quarter of a DN.
    np.testing.assert_allclose(frame.mosaic, 512 + SPAN * expected(x), atol=1)


@pytest.mark.parametrize(
    ("tag", "code", "sentence"),
    [
        (51008, 4, r"asks for FixBadPixelsConstant \(OpcodeList1\), which is not done; .* retouch"),
        (51008, 9, r"asks for GainMap \(OpcodeList1\), which is not done; .* compare"),
        (51009, 6, r"asks for TrimBounds \(OpcodeList2\), .* crop"),
        (51009, 77, r"asks for opcode 77 \(OpcodeList2\), which is not done; .* compare"),
        (51022, 1, r"asks for WarpRectilinear \(OpcodeList3\), .* straighten"),
        (51022, 3, r"asks for FixVignetteRadial \(OpcodeList3\), .* brighten"),
        (51022, 14, r"asks for WarpRectilinear2 \(OpcodeList3\)"),
    ],
)
def test_an_opcode_that_is_not_applied_is_said_once(tmp_path, tag, code, sentence):
    parameters = area(0, 0, *SHAPE) + bytes(60)
    frame = read(tmp_path, {tag: opcode_list((code, parameters), (code, parameters))})
    np.testing.assert_array_equal(frame.mosaic, mosaic())
    (note,) = frame.notes
    assert re.search(sentence, note)


# --- white balance ---


@LAYOUTS
def test_a_placeholder_is_no_white_balance(tmp_path, order, below):
    frame = read(tmp_path, {50728: (RATIONAL, (1, 1, 1, 1, 1, 1))}, order=order, below=below)
    assert frame.white_balance is None
    assert "1/1/1 that the file notes is a placeholder" in frame.notes[0]
    half = read(tmp_path, {50728: (RATIONAL, (1, 2, 1, 2, 1, 2))}, order=order, below=below)
    assert half.white_balance is None
    assert read(tmp_path, {50728: None}).white_balance is None


@LAYOUTS
def test_a_white_given_as_chromaticity(tmp_path, order, below):
    matrix = np.array([[0.9, -0.2, -0.1], [-0.4, 1.2, 0.2], [-0.1, 0.2, 0.6]])
    pairs = tuple(n for value in matrix.ravel() for n in (round(10 * value), 10))
    white = (RATIONAL, (3127, 10000, 3290, 10000))
    tags = {50728: None, 50729: white, 50721: (SRATIONAL, pairs)}
    frame = read(tmp_path, tags, order=order, below=below)
    neutral = matrix @ [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290]
    assert frame.white_balance == pytest.approx(
        (neutral[1] / neutral[0], 1, neutral[1] / neutral[2])
    )
    assert "AsShotWhiteXY, which LibRaw does not read" in frame.notes[0]
    # Gains before the samples were written.
    tags[50727] = (RATIONAL, (2, 1, 1, 1, 1, 1))
    gained = read(tmp_path, tags, order=order, below=below).white_balance
    assert gained == pytest.approx((frame.white_balance[0] / 2, 1, frame.white_balance[2]))
    # A second matrix for tungsten light counts the more, the warmer the white.
    other = tuple(n for value in np.eye(3).ravel() for n in (round(value), 1))
    tags |= {50722: (SRATIONAL, other), 50779: (SHORT, 17), 50727: None}
    tags[50729] = (RATIONAL, (4476, 10000, 4074, 10000))  # 2856 K
    x, y, z = 0.4476 / 0.4074, 1, (1 - 0.4476 - 0.4074) / 0.4074
    assert read(tmp_path, tags).white_balance == pytest.approx((y / x, 1, y / z), rel=0.01)


# --- what is said, and what is refused ---


@LAYOUTS
@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({50730: (SRATIONAL, (3, 2))}, r"brightened by \+1.5 stops .*multiply .* by 2.8"),
        ({50730: (SRATIONAL, (-1, 1))}, r"brightened by -1 stops .*multiply .* by 0.5"),
        ({50730: (FLOAT, 1.5)}, r"brightened by \+1.5 stops"),
        ({50734: (RATIONAL, (3, 4))}, "linear up to 75 % .*give a lower white level"),
        ({50935: (RATIONAL, (1, 2))}, "noise was reduced before .* switch noise reduction off"),
        ({50707: (BYTE, (1, 9, 0, 0))}, r"a reader of DNG 1\.9\.0\.0, but this one knows 1\.7\.1"),
        ({50718: (RATIONAL, (1, 1, 2, 1))}, r"pixels are not square \(0.5 to 1\)"),
    ],
)
def test_a_wish_that_is_not_fulfilled_is_said(tmp_path, order, below, tags, sentence):
    (note,) = read(tmp_path, tags, order=order, below=below).notes
    assert re.search(sentence, note)


@pytest.mark.parametrize(
    "tags",
    [
        {50730: (SRATIONAL, (0, 1))},
        {50730: (SRATIONAL, (1, 0))},
        {50734: (RATIONAL, (1, 1))},
        {50935: (RATIONAL, (0, 1))},
        {50935: (RATIONAL, (0, 0))},
        {50707: (BYTE, (1, 7, 1, 0))},
        {50711: (SHORT, 1)},
        {50710: (BYTE, (0, 1, 2))},
        {339: (SHORT, 1)},
        {50974: (SHORT, (1, 1))},
        {50975: (LONG, 1)},
    ],
)
def test_usual_values_are_not_remarked_on(tmp_path, tags):
    assert read(tmp_path, tags).notes == ()


@LAYOUTS
@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({50711: (SHORT, 2)}, r"a.dng has its pixels in staggered rows .*CFALayout 2"),
        ({50975: (LONG, 2)}, "a.dng stores its rows .* out of order .RowInterleaveFactor.*anew"),
        ({52547: (LONG, 2)}, "ColumnInterleaveFactor"),
        ({50974: (SHORT, (2, 2))}, "SubTileBlockSize"),
        ({50710: (BYTE, (2, 1, 0))}, "a.dng has colour filters other than red, green and blue, in"),
        ({33422: (BYTE, (3, 4, 4, 5)), 50710: (BYTE, (3, 4, 5))}, "a.dng has colour filters other"),
        ({33422: (BYTE, (3, 4, 4, 5))}, "a.dng has colour filters other than red, green and blue"),
        ({339: (SHORT, 2)}, "a.dng has samples of a type .*SampleFormat 2.* unsigned"),
        ({259: (SHORT, 52546)}, "a.dng is compressed with JPEG XL, which LibRaw .*DNG Converter"),
        ({259: (SHORT, 52546), 262: (SHORT, 34892)}, "a.dng is compressed with JPEG XL"),
        ({259: (SHORT, 9)}, "a.dng is compressed with VC-5, GoPro's GPR, .*: convert it"),
    ],
)
def test_samples_that_cannot_be_read_right_are_refused(tmp_path, order, below, tags, sentence):
    path = handmade.write(tmp_path / "a.dng", mosaic(), tags, order, below)
    for reader in (reading.read_raw, reading.read_truth):
        with pytest.raises(InputError, match=sentence):
            reader(path)


def test_what_libraw_still_leaves_undone(tmp_path):
    """Fails once LibRaw does it itself, which would then be done twice."""
    tags = {
        50715: (SRATIONAL, (10, 1, -10, 1) * 38),
        51009: opcode_list(gain_map(np.full((2, 2), 2.0))),
    }
    handmade.write(tmp_path / "a.dng", mosaic(), tags)
    with rawpy.imread(str(tmp_path / "a.dng")) as opened:
        np.testing.assert_array_equal(opened.raw_image, mosaic())


def test_a_packed_frame_of_a_shaded_file(tmp_path):
    frame = read(tmp_path, {51009: opcode_list(gain_map(np.full((2, 2), 2.0)))})
    plain = read(tmp_path)
    expected = plain.packed(2.0) * [2, 1, 1, 1]
    np.testing.assert_allclose(frame.packed(2.0), expected.clip(max=1), atol=2e-6)
    assert frame.layout is packing.BAYER
