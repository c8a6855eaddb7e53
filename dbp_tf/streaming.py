"""A burst through the networks one frame and one stripe of rows at a time, exactly.

The fusion is a maximum, so the encoder never needs two frames at once. Only the two upper levels
are large, and their 3x3 convolutions look a few rows around: they run in stripes with a halo,
wide enough that what a stripe's border spoils is cut off. Below them the whole picture is seen,
as instance norm and squeeze-excite need it.

Axis letters: H W packed rows and columns, C packed channels, d the width, S output pixels per
packed pixel. Rows are counted in rows of level 1 unless said otherwise: packed rows in the fine
network, those of the half-size frame in the coarse one.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dbp_tf import networks
from dbp_tf.errors import InputError

# Rows of level 1 that a stripe's border may spoil. Going in: 1 by the enlarged coarse output and
# 2 by the convolutions of level 1, which reach into 2 rows of level 2; those of level 2 make 4 of
# them, 8 of level 1. Coming out: 2 rows of block 8, 4 of level 1, and 2 by block 9, rounded up to
# whole rows of level 3.
HALO = 8
_LEVEL3 = 4

# At 4256 raw columns and width 32 a stripe's tensors are 70 MB each, and its halo is 6 %.
STRIPE_ROWS = 256


class Steps:
    """The compiled steps from packed frames to the picture, for one set of networks.

    Sizes are dynamic: bursts of another size or length trace nothing anew. Of the upper levels,
    `encode_stripe` gives those that are fused by a maximum: 1 and 2 in the first version, 2 in the
    revised one. There level 1 is the reference frame's alone, and `decode_stripe` makes it anew
    from that frame: 1 % of the work of eight frames, for the largest tensor of all, which
    otherwise would be in memory from that frame to the picture.

    The encoder's steps take the maxima of the frames before and give them back raised: inside a
    step the maximum takes the place of what it is the maximum of, where outside it would be a
    third tensor beside the two.
    """

    def __init__(self, coarse, fine, spec):
        encoder, bottleneck, decoder = networks.parts(fine)
        self.scale = scale = spec.scale
        self.refers = refers = spec.refers
        above, below = _split_encoder(encoder)
        lower, upper = _split_decoder(decoder)
        first_level = keras.Model(encoder.inputs, encoder.outputs[0])
        coarse_above, coarse_below, coarse_upper = _split_coarse(coarse)

        frame = tf.TensorSpec((1, None, None, spec.channels), tf.float32)
        rows = tf.TensorSpec((), tf.int32)
        first, second, *deeper = _signature(encoder.outputs)
        (pooled,), (level7,) = _signature(below.inputs), _signature(lower.outputs)
        upper_levels = [second] if refers else [second, first]

        def compiled(*signature):
            # Without autograph: the steps have no branch or loop that depends on a tensor.
            return lambda step: tf.function(step, input_signature=signature, autograph=False)

        @compiled(frame, rows, rows)
        def denoise_above(half, start, count):
            first, second, pooled = coarse_above(half)
            return _of_stripe((second, first), start, count), _pooled_of(pooled, start, count)

        @compiled(*_signature(coarse_below.inputs))
        def denoise_below(pooled):
            return coarse_below(pooled)

        @compiled(*_signature(coarse_upper.inputs), rows, rows)
        def denoise_stripe(below, second, first, half, start, count):
            return coarse_upper([below, second, first, half])[:, start : start + count]

        @compiled(frame, frame, upper_levels, rows, rows)
        def encode_stripe(frame, coarse_output, maxima, start, count):
            first, second, pooled = above([frame, coarse_output])
            levels = (second,) if refers else (second, first)
            raised = _raised(maxima, _of_stripe(levels, start, count))
            return raised, _pooled_of(pooled, start, count)

        @compiled(pooled, deeper)
        def encode_below(pooled, maxima):
            levels = below(pooled)
            # The last level done, no other needs the first, and its maximum can take its place.
            with tf.control_dependencies(levels[-1:]):
                return _raised(maxima, levels)

        @compiled(deeper)
        def decode_below(levels):
            *skips, deepest = levels
            return lower([*skips, bottleneck(deepest) if bottleneck else deepest])

        @compiled(level7, second, *([frame, frame] if refers else [first]), rows, rows)
        def decode_stripe(below, second, *rest):
            *finest, start, count = rest
            first = first_level(finest) if refers else finest[0]
            picture = upper([below, second, first])
            return picture[0, scale * start : scale * (start + count)]

        self._denoise_above = denoise_above
        self._denoise_below = denoise_below
        self._denoise_stripe = denoise_stripe
        self.encode_stripe = encode_stripe
        self.encode_below = encode_below
        self.decode_below = decode_below
        self.decode_stripe = decode_stripe
        # What the maxima of no frame are: less than anything, of any size.
        self.no_upper = [_lowest(level) for level in upper_levels]
        self.no_deeper = [_lowest(level) for level in deeper]

    def denoise(self, frame, stripe_rows=STRIPE_ROWS):
        """The coarse network's output [1, H/2, W/2, C] for a packed frame [1, H, W, C].

        In stripes of half as many rows: what it needs comes on top of the fused levels.
        """
        half = half_size(frame)
        rows = stripe_rows and _up_to_whole(stripe_rows // 2)
        stripes = _stripes(half.shape[1], rows)
        levels, pooled, output = _UpperLevels(), [], []
        for stripe in stripes:
            fused, deeper = self._denoise_above(stripe.of(half), *stripe.inner)
            levels.put(stripe, fused)
            pooled.append(deeper)
        del fused, deeper
        pooled = _joined(pooled)
        below = self._denoise_below(pooled)
        del pooled
        for stripe in stripes:
            skips = [levels.rows(level, stripe) for level in (2, 1)]
            output.append(
                self._denoise_stripe(stripe.of(below, 3), *skips, stripe.of(half), *stripe.inner)
            )
            levels.forget(stripe)
        return _joined(output)


def _signature(tensors):
    """The `tf.TensorSpec`s of one picture's tensors, of any size."""
    return [tf.TensorSpec((1, None, None, t.shape[-1]), t.dtype) for t in tensors]


def _lowest(level):
    return tf.fill((1, 1, 1, level.shape[-1]), tf.constant(-np.inf, level.dtype))


def _of_stripe(levels, start, count):
    """A stripe of the levels (2,) or (2, 1) without its halo."""
    second, *first = levels
    return [
        second[:, start // 2 : (start + count + 1) // 2],
        *(level[:, start : start + count] for level in first),
    ]


def _pooled_of(pooled, start, count):
    return pooled[:, start // 4 : (start + count + 3) // 4]


def _raised(maxima, levels):
    return [tf.maximum(level, before) for level, before in zip(levels, maxima, strict=True)]


def half_size(frames):
    """Frames [F, H, W, C] of even size to [F, H/2, W/2, C]: the mean of every 2 x 2 pixels.

    What the published bilinear resize with half-pixel centres comes to for even sizes.
    """
    return tf.nn.avg_pool2d(frames, 2, 2, "VALID")


def _split_coarse(network):
    """As the encoder and the decoder: to (level 1, level 2, pooled); to block 7; to the end."""
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


class _Stripe(NamedTuple):
    """Rows top..bottom of level 1, computed from start..end."""

    top: int
    bottom: int
    start: int
    end: int

    @property
    def inner(self):
        """Where, in what is computed, the stripe itself begins, and how many rows it has."""
        return tf.constant(self.top - self.start), tf.constant(self.bottom - self.top)

    def of(self, tensor, level=1):
        """The rows of a whole level [1, rows, columns, channels] to compute from."""
        start, end = self.at(level)
        return tensor[:, start:end]

    def at(self, level):
        """(start, end) in rows of a level."""
        size = 2 ** (level - 1)
        return self.start // size, -(-self.end // size)


def _up_to_whole(rows):
    """So many rows of level 1 or a few more, whole ones of level 3."""
    return -(-rows // _LEVEL3) * _LEVEL3


def _stripes(rows, height):
    """The `_Stripe`s of so many rows, None for one of all."""
    height = height or rows
    return [
        _Stripe(top, min(top + height, rows), max(top - HALO, 0), min(top + height + HALO, rows))
        for top in range(0, rows, height)
    ]


class _UpperLevels:
    """Levels 2 and 1, or 2 alone, in stripes: none is ever there twice at its full size."""

    def __init__(self):
        # {(level, top in rows of level 1): features}, each level's from the top downwards
        self._stripes = {}

    def put(self, stripe, levels):
        for level, features in zip((2, 1), levels, strict=False):
            self._stripes[level, stripe.top] = features

    def get(self, stripe):
        """What was put there, or None."""
        return [
            self._stripes[at] for at in ((2, stripe.top), (1, stripe.top)) if at in self._stripes
        ]

    def rows(self, wanted, stripe):
        """The rows of a level that a stripe is computed from."""
        start, end = stripe.at(wanted)
        pieces = []
        for (level, top), features in self._stripes.items():
            top //= 2 ** (level - 1)
            if level == wanted and top < end and top + features.shape[1] > start:
                pieces.append(features[:, max(start - top, 0) : end - top])
        return _joined(pieces)

    def forget(self, stripe):
        """Lets go what no stripe after this one is computed from."""
        height = stripe.bottom - stripe.top
        for at in list(self._stripes):
            if at[1] + height <= stripe.bottom - HALO:
                del self._stripes[at]


def _joined(stripes):
    return stripes[0] if len(stripes) == 1 else tf.concat(stripes, 1)


class BurstStream:
    """The fused levels of the frames so far; a picture can be had after every frame.

    Memory does not grow with the number of frames, save for those in `keep` themselves.
    """

    def __init__(self, steps, keep=(0,), stripe_rows=STRIPE_ROWS):
        """
        Args:
          steps: `Steps`.
          keep: indices of the frames that will be references, None for all. Without effect in
            the first version, whose first level is a maximum like the others.
          stripe_rows: rows computed at once at the two upper levels; None for all.
        """
        if stripe_rows is not None and (stripe_rows < _LEVEL3 or stripe_rows % _LEVEL3):
            raise InputError(f"stripe_rows is {_LEVEL3} or a multiple of it, not {stripe_rows}")
        self.count = 0
        self._steps = steps
        self._keep = None if keep is None else frozenset(keep)
        self._stripe_rows = stripe_rows
        self._size = None  # [1, H, W, C] of all the burst's frames
        self._stripes = None  # theirs
        self._kept = {}  # {frame: (packed frame, its coarse output)}
        self._upper = _UpperLevels()
        self._deeper = steps.no_deeper
        self._below = None  # what the decoder makes of them, for pictures of several references

    def add(self, frame):
        """Takes the next frame in.

        Args:
          frame: packed [1, H, W, C] float32 in 0..1, H and W even.

        Raises:
          InputError: its size is not that of the frames before, or the burst was finished.
        """
        self._take(iter([frame]))

    def extend(self, frames):
        """Takes all of an iterator's frames in, see `add`, each let go once it is not needed."""
        while self._take(frames):
            pass

    def _take(self, frames):
        """Takes in the next of an iterator's frames; returns whether there was one."""
        self._check_goes_on()
        frame = next(frames, None)
        if frame is None:
            return False
        if self._size is None:
            self._size = frame.shape
            self._stripes = _stripes(frame.shape[1], self._stripe_rows)
        if frame.shape != self._size:
            raise InputError(
                f"frame {self.count} has the shape {list(frame.shape[1:])}, the first one "
                f"{list(self._size[1:])}: a burst's frames are of one size"
            )
        steps, index = self._steps, self.count
        self._below = None
        coarse = steps.denoise(frame, self._stripe_rows)
        if steps.refers and (self._keep is None or index in self._keep):
            self._kept[index] = frame, coarse
        pooled = []
        for stripe in self._stripes:
            maxima = self._upper.get(stripe) or steps.no_upper
            fused, deeper = steps.encode_stripe(
                stripe.of(frame), stripe.of(coarse, 2), maxima, *stripe.inner
            )
            self._upper.put(stripe, fused)
            pooled.append(deeper)
        del frame, coarse, maxima, fused, deeper
        pooled = _joined(pooled)
        self._deeper = steps.encode_below(pooled, self._deeper)
        self.count += 1
        return True

    def _check_goes_on(self):
        if self._upper is None:
            raise InputError("the last picture of this burst was made: begin another one")

    def picture(self, reference=0, last=False):
        """The picture of the frames so far: [S*H, S*W, 3] float32, not clipped.

        Args:
          reference: index of the reference frame, one of `keep`.
          last: nothing more is wanted of this burst, so that the levels can go as the picture
            comes.

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
        picture = None
        for stripe in self._stripes:
            if steps.refers:
                frame, coarse = kept
                finest = [stripe.of(frame), stripe.of(coarse, 2)]
            else:
                finest = [upper.rows(1, stripe)]
            part = steps.decode_stripe(
                stripe.of(below, 3), upper.rows(2, stripe), *finest, *stripe.inner
            )
            if picture is None:
                rows = self._stripes[-1].bottom
                picture = np.empty((scale * rows, *part.shape[1:]), np.float32)
            picture[scale * stripe.top : scale * stripe.bottom] = part
            if last:
                upper.forget(stripe)
        return picture
