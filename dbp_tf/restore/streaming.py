"""The exact low-memory form of `networks.restore_burst`: one frame, one stripe at a time.

A fusion takes the frames in one after another (`Fusion.with_frame`), so the encoder never needs two
at once. Only the upper two of the five levels are large. A column of them depends on few columns
beside it, so they are computed in stripes. Each stripe has a halo of more columns on both sides,
which is cut off: near a border the convolutions see padding instead of the picture. The lower three
levels see the whole picture, as instance norm and squeeze-excite need it. Stripes go from top to
bottom, as sensors are wider than high: from side to side, stripes of the same size would have half
as much halo again.

Axis letters: H W packed rows and columns, C packed channels, d the width, S output pixels per
packed pixel. Columns are counted in columns of level 1 unless said otherwise: packed columns in
the fine network, those of the half-size frame in the coarse one.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dbp_tf.errors import InputError
from dbp_tf.models import networks
from dbp_tf.models.fusions import FUSIONS
from dbp_tf.models.network_spec import NetworkSpec
from dbp_tf.restore import winograd

# Width of the halo: so many columns of level 1 can be wrong, from a stripe's border inwards.
# Encoder: the enlarged coarse output spoils 1 and the convolutions of level 1 another 2. These are
# 2 columns of level 2, whose convolutions make them 4, which is 8 of level 1.
# Decoder: block 8 spoils 2 of its columns, 4 of level 1, and block 9 another 2. These 6 are rounded
# up to whole columns of level 3.
HALO = 8
_LEVEL3 = 4

# The widest stripe: eight for 1424 x 2128 packed pixels, whose tensors at width 32 are 52 MB each.
STRIPE_COLUMNS = 272


class Steps:
    """The compiled steps from packed frames to the picture, for one set of networks.

    Sizes are dynamic: bursts of another size or length trace nothing anew.

    `encode_stripe` gives the upper levels that are fused over the frames: 1 and 2 in the first
    version, 2 in the revised one. In the revised one, level 1 is the reference frame's alone, and
    `decode_stripe` computes it a second time from that frame. This is 1 % of the work of eight
    frames. In return the largest tensor of all need not be kept from that frame to the picture.

    The encoder's steps take the merged levels of the frames before and return them with one frame
    more. Inside a step TensorFlow writes a new level over one of the two it is merged from; outside
    it would be a third tensor beside them.
    """

    def __init__(self, coarse: keras.Model, fine: keras.Model, spec: NetworkSpec):
        encoder, bottleneck, decoder = networks.parts(fine)
        self.scale = spec.scale
        self.refers = refers = spec.refers
        fusion = FUSIONS[spec.fusion]
        upper_encoder, lower_encoder = _split_encoder(encoder)
        lower_decoder, upper_decoder = _split_decoder(decoder)
        # Half of the multiplications of one frame are those of level 5; here they become fewer.
        lower_encoder = winograd.faster(lower_encoder)
        bottleneck = bottleneck and winograd.faster(bottleneck)
        first_level = keras.Model(encoder.inputs, encoder.outputs[0])
        coarse_encoder, coarse_lower, coarse_decoder = _split_coarse(coarse)

        frame = tf.TensorSpec((1, None, None, spec.channels), tf.float32)
        cuts = tf.nest.map_structure(tf.type_spec_from_value, Stripes(1, None).cuts[0])
        first, second, *deeper = _signature(encoder.outputs)
        (pooled,) = _signature(lower_encoder.inputs)
        (block7,) = _signature(lower_decoder.outputs)
        upper_levels = [second] if refers else [second, first]
        coarse_block7, *coarse_levels, _ = _signature(coarse_decoder.inputs)

        def compiled(*signature):
            # Without autograph: the steps have no branch or loop that depends on a tensor.
            return lambda step: tf.function(step, input_signature=signature, autograph=False)

        @compiled(frame, cuts)
        def denoise_above(half, cuts):
            first, second, pooled = coarse_encoder(_cut(half, cuts.whole[1]))
            return [second, first], _cut(pooled, cuts.own[3])

        @compiled(*_signature(coarse_lower.inputs))
        def denoise_below(pooled):
            return coarse_lower(pooled)

        @compiled(coarse_block7, *([level] * 3 for level in coarse_levels), frame, cuts)
        def denoise_stripe(below, second, first, half, cuts):
            skips = _joined(second, cuts.three[2]), _joined(first, cuts.three[1])
            block7 = _cut(below, cuts.whole[3])
            output = coarse_decoder([block7, *skips, _cut(half, cuts.whole[1])])
            return _cut(output, cuts.own[1])

        @compiled(frame, frame, upper_levels, cuts)
        def encode_stripe(frame, coarse_output, merged, cuts):
            first, second, pooled = upper_encoder(
                [_cut(frame, cuts.whole[1]), _cut(coarse_output, cuts.whole[2])]
            )
            levels = [second] if refers else [second, first]
            return fusion.with_frame(merged, levels), _cut(pooled, cuts.own[3])

        @compiled(pooled, deeper)
        def encode_below(pooled, merged):
            levels = lower_encoder(pooled)
            # The fusion waits for the last level: then nothing else reads the levels any more, and
            # what is merged can be written over them.
            with tf.control_dependencies(levels[-1:]):
                return fusion.with_frame(merged, levels)

        @compiled(deeper)
        def decode_below(levels):
            *skips, deepest = levels
            return lower_decoder([*skips, bottleneck(deepest) if bottleneck else deepest])

        @compiled(block7, [second] * 3, [frame, frame] if refers else [first] * 3, cuts)
        def decode_stripe(below, second, finest, cuts):
            if refers:
                frame, coarse_output = finest
                first = first_level(
                    [_cut(frame, cuts.whole[1]), _cut(coarse_output, cuts.whole[2])]
                )
            else:
                first = _joined(finest, cuts.three[1])
            # One after the other: else the temporary tensors of both would be in memory together.
            with tf.control_dependencies([first]):
                skips = [_joined(second, cuts.three[2]), first]
                return upper_decoder([_cut(below, cuts.whole[3]), *skips])

        self._denoise_above = denoise_above
        self._denoise_below = denoise_below
        self._denoise_stripe = denoise_stripe
        self.encode_stripe = encode_stripe
        self.encode_below = encode_below
        self.decode_below = decode_below
        self.decode_stripe = decode_stripe
        self.no_upper = [fusion.nothing(level) for level in upper_levels]
        self.no_deeper = [fusion.nothing(level) for level in deeper]

    def denoise(self, frame: tf.Tensor, stripe_columns: int | None = STRIPE_COLUMNS) -> tf.Tensor:
        """The coarse network's output [1, H/2, W/2, C] for a packed frame [1, H, W, C]."""
        half = networks.half_size(frame)
        stripes = Stripes(half.shape[2], stripe_columns)
        levels, pooled, output = [], [], []
        for cuts in stripes.cuts:
            upper, deeper = self._denoise_above(half, cuts)
            levels.append(upper)
            pooled.append(deeper)
        del upper, deeper
        pooled = tf.concat(pooled, 2)
        below = self._denoise_below(pooled)
        del pooled
        for number, cuts in enumerate(stripes.cuts):
            skips = _threes(levels, number)
            output.append(self._denoise_stripe(below, *skips, half, cuts))
            del skips
            _forget(levels, number)
        return tf.concat(output, 2)


def _signature(tensors):
    """The `tf.TensorSpec`s of one picture's tensors, of any size."""
    return [tf.TensorSpec((1, None, None, t.shape[-1]), t.dtype) for t in tensors]


def _cut(features, cut):
    begin, end = tf.unstack(cut)
    # Not `tf.slice`, which oneDNN does in its own way, and slowly.
    others = 0b1011  # all axes but the columns, wholly
    return tf.strided_slice(features, begin, end, [1, 1, 1, 1], begin_mask=others, end_mask=others)


def _joined(three, cuts):
    """A stripe with its halo, cut out of the stripe before it, itself and the one after it."""
    return tf.concat([_cut(*each) for each in zip(three, cuts, strict=True)], 2)


def _split_coarse(network):
    """Three models: frame to (level 1, level 2, pooled); pooled to block 7; from there to the end.

    Blocks are numbered as in the published code: block 7 is the decoder's at the size of level 3.
    """
    first, second, pooled, block7 = (
        network.get_layer(name).output
        for name in ("g_conv1_2_leaky", "g_conv2_2_leaky", "g_pool2", "g_conv7_2_leaky")
    )
    (half,) = network.inputs
    return (
        keras.Model(half, [first, second, pooled]),
        keras.Model(pooled, block7),
        keras.Model([block7, second, first, half], network.output),
    )


def _split_encoder(encoder):
    """The two upper levels, to (level 1, level 2, level 2 pooled); and the three lower ones."""
    pooled = encoder.get_layer("g_pool2_fine").output
    first, second, *deeper = encoder.outputs
    return keras.Model(encoder.inputs, [first, second, pooled]), keras.Model(pooled, deeper)


def _split_decoder(decoder):
    """The two lower blocks, (levels 3, 4, 5) to block 7; and (block 7, levels 2, 1) to the end."""
    first, second, *deeper = decoder.inputs
    block7 = decoder.get_layer("g_conv7_2_fine_leaky").output
    return keras.Model(deeper, block7), keras.Model([block7, second, first], decoder.output)


class _Cuts(NamedTuple):
    """The slices that belong to one stripe: {level: [begin, end]}.

    Attributes:
      whole: out of a whole level: the stripe with its halo.
      own: out of the stripe with its halo: the stripe alone.
      three: out of the stripe before, this one and the one after, each with its halo: three slices,
        which joined are the same columns as `whole`.
    """

    whole: dict
    own: dict
    three: dict


class Stripes:
    """The columns of level 1, divided into stripes of one width; the last may be narrower.

    The width is at least `HALO`, so that a halo reaches no further than into the stripe beside.

    Attributes:
      spans: of each stripe (left, right, start, end): its own columns left..right, and
        start..end with its halo, from which it is computed.
      cuts: `_Cuts` of each.
    """

    def __init__(self, columns: int, widest: int | None):
        """Divides so many columns into stripes of at most `widest`; None for a single stripe."""
        count = -(-columns // widest) if widest else 1
        width = -(-columns // (count * _LEVEL3)) * _LEVEL3  # Whole columns of level 3.
        edges = [*range(0, columns, width), columns]
        self.spans = [
            (left, right, max(left - HALO, 0), min(right + HALO, columns))
            for left, right in itertools.pairwise(edges)
        ]
        padded = [None, *self.spans, None]
        self.cuts = [_cuts(*padded[i : i + 3]) for i in range(len(self.spans))]


def _cuts(before, here, after):
    left, right, start, end = here
    nothing = (start,) * 4

    def cut(level, start, end):
        size = 2 ** (level - 1)
        return tf.constant([(0, 0, start // size, 0), (0, 0, -(-end // size), 0)])

    def shared(level):
        return [
            cut(level, max(left, start) - begin, min(right, end) - begin)
            for left, right, begin, _ in (before or nothing, here, after or nothing)
        ]

    return _Cuts(
        whole={level: cut(level, start, end) for level in (1, 2, 3)},
        own={level: cut(level, left - start, right - start) for level in (1, 3)},
        three={level: shared(level) for level in (1, 2)},
    )


def _threes(stripes, number):
    """A stripe between its two neighbours, for each level; empty ones where there are none.

    Args:
      stripes: from left to right, a list of levels each.
    """
    here = stripes[number]
    empty = [features[:, :, :0] for features in here]
    before = stripes[number - 1] if number else empty
    after = stripes[number + 1] if number + 1 < len(stripes) else empty
    return [list(three) for three in zip(before, here, after, strict=True)]


def _forget(stripes, number):
    """Frees the stripe before this one: later stripes are not computed from it."""
    if number:
        stripes[number - 1] = None


class BurstStream:
    """The fused levels of the frames so far; a picture can be had after every frame.

    Memory does not grow with the number of frames, except for the frames in `keep`.
    """

    def __init__(
        self,
        steps: Steps,
        keep: Iterable[int] | None = (0,),
        stripe_columns: int | None = STRIPE_COLUMNS,
    ):
        """
        Args:
          steps: `Steps`.
          keep: indices of the frames that will be references, None for all. Without effect in
            the first version, whose first level is a maximum like the others.
          stripe_columns: columns computed at once at the two upper levels; None for all.
        """
        if stripe_columns is not None and (stripe_columns < HALO or stripe_columns % _LEVEL3):
            raise InputError(
                f"stripe_columns is at least {HALO} and a multiple of {_LEVEL3}, "
                f"not {stripe_columns}"
            )
        self.count = 0
        self._steps = steps
        self._keep = None if keep is None else frozenset(keep)
        self._stripe_columns = stripe_columns
        self._size: Any = None  # [1, H, W, C] of all the burst's frames
        self._stripes: Any = None  # `Stripes` of a frame
        self._kept: Any = {}  # {frame: [packed frame, its coarse output]}
        self._upper: Any = []  # of each stripe, merged levels 2 and 1, or 2 alone
        self._deeper: Any = steps.no_deeper  # merged levels 3, 4, 5
        self._below = None  # block 7 of these, kept for pictures of other references

    def add(self, frame: tf.Tensor) -> None:
        """Takes the next frame in.

        Args:
          frame: packed [1, H, W, C] float32 in 0..1, H and W even.

        Raises:
          InputError: its size is not that of the frames before, or the burst was finished.
        """
        self._take(iter([frame]))

    def extend(self, frames: Iterator[tf.Tensor]) -> None:
        """Takes in all frames of an iterator, see `add`; each is freed once it is not needed."""
        while self._take(frames):
            pass

    def _take(self, frames):
        """Takes in the next of an iterator's frames; returns whether there was one."""
        self._check_goes_on()
        frame = next(frames, None)
        if frame is None:
            return False
        steps = self._steps
        if self._size is None:
            self._size = frame.shape
            self._stripes = Stripes(frame.shape[2], self._stripe_columns)
            self._upper = [steps.no_upper] * len(self._stripes.cuts)
        if frame.shape != self._size:
            raise InputError(
                f"frame {self.count} has the shape {list(frame.shape[1:])}, the first one "
                f"{list(self._size[1:])}: a burst's frames are of one size"
            )
        self._below = None
        coarse = steps.denoise(frame, self._stripe_columns)
        if steps.refers and (self._keep is None or self.count in self._keep):
            self._kept[self.count] = [frame, coarse]
        pooled = []
        for number, cuts in enumerate(self._stripes.cuts):
            self._upper[number], deeper = steps.encode_stripe(
                frame, coarse, self._upper[number], cuts
            )
            pooled.append(deeper)
        del frame, coarse, deeper
        pooled = tf.concat(pooled, 2)
        self._deeper = steps.encode_below(pooled, self._deeper)
        self.count += 1
        return True

    def _check_goes_on(self):
        if self._upper is None:
            raise InputError("the last picture of this burst was made: begin another one")

    def picture(self, reference: int = 0, last: bool = False) -> np.ndarray:
        """The picture of the frames so far: [S*H, S*W, 3] float32, not clipped.

        Args:
          reference: index of the reference frame, one of `keep`.
          last: whether it is the last picture of this burst; the levels are then freed as the
            picture is made.

        Raises:
          InputError: there is no frame yet, the reference is none of them or was not kept, or the
            burst was finished.
        """
        self._check_goes_on()
        if not self.count:
            raise InputError("a burst needs at least one frame")
        if not 0 <= reference < self.count:
            raise InputError(
                f"the reference frame {reference} is not one of the {self.count} frames"
            )
        if self._steps.refers and reference not in self._kept:
            raise InputError(
                f"the reference frame {reference} is not one of those kept: {sorted(self._kept)}"
            )
        steps, scale = self._steps, self._steps.scale
        upper, kept = self._upper, self._kept[reference] if steps.refers else None
        if self._below is None:
            self._below = steps.decode_below(self._deeper)
        below = self._below
        if last:
            self._kept = self._upper = self._deeper = self._below = None
        stripes, (_, rows, columns, _) = self._stripes, self._size
        picture = np.empty((scale * rows, scale * columns, 3), np.float32)
        for number, (span, cuts) in enumerate(zip(stripes.spans, stripes.cuts, strict=True)):
            second, *first = _threes(upper, number)
            part = steps.decode_stripe(below, second, kept or first[0], cuts)[0].numpy()
            # Here and not by `cuts.own`: it has S columns of pixels for one.
            left, right, start, _ = (scale * column for column in span)
            picture[:, left:right] = part[:, left - start : right - start]
            del second, first, part
            if last:
                _forget(upper, number)
        return picture
