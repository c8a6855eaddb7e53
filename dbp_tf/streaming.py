"""A burst through the networks one frame and one stripe of rows at a time, exactly.

The fusion is a maximum, so the encoder never needs two frames at once. Only the two upper levels
are large, and their 3x3 convolutions look a few rows around: they run in stripes with a halo,
wide enough that what a stripe's border spoils is cut off. Below them the whole picture is seen,
as instance norm and squeeze-excite need it.

Axis letters: H W packed rows and columns, C packed channels, d the width, S output pixels per
packed pixel. Rows are counted in packed rows of level 1 unless said otherwise.
"""

import keras
import numpy as np
import tensorflow as tf

from dbp_tf import networks
from dbp_tf.errors import InputError

# Rows that a stripe's border may spoil. Going in: two convolutions at level 2 see 2 of its rows
# or 4 packed ones, two at level 1 see 2, the enlarged coarse output 1. Coming out: 2 at level 9,
# 2 rows of level 8 or 4 packed ones, and 1 row of level 7 or 4 packed ones. Both round up to
# whole rows of level 3, 4 packed ones each.
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
    """

    def __init__(self, coarse, fine, spec):
        encoder, bottleneck, decoder = networks.parts(fine)
        self.scale = spec.scale
        self.refers = spec.refers
        above, below = _split_encoder(encoder)
        lower, upper = _split_decoder(decoder)
        first_level = keras.Model(encoder.inputs, encoder.outputs[0])
        frame = tf.TensorSpec((1, None, None, spec.channels), tf.float32)
        first, second, *deeper = _signature(encoder.outputs)
        (pooled,), (level7,) = _signature(below.inputs), _signature(lower.outputs)
        rows = tf.TensorSpec((), tf.int32)

        def compiled(*signature):
            return lambda function: tf.function(function, input_signature=signature)

        @compiled(frame)
        def denoise(frame):
            return coarse(half_size(frame))

        @compiled(frame, frame, rows, rows)
        def encode_stripe(frame, coarse_output, start, count):
            first, second, pooled = above([frame, coarse_output])
            fused = [second[:, start // 2 : (start + count + 1) // 2]]
            if not self.refers:
                fused.append(first[:, start : start + count])
            return fused, pooled[:, start // 4 : (start + count + 3) // 4]

        @compiled(pooled)
        def encode_below(pooled):
            return below(pooled)

        @compiled(deeper)
        def decode_below(levels):
            *skips, deepest = levels
            return lower([*skips, bottleneck(deepest) if bottleneck else deepest])

        @compiled(level7, second, *([frame, frame] if self.refers else [first]), rows, rows)
        def decode_stripe(below, second, *rest):
            *finest, start, count = rest
            first = first_level(finest) if self.refers else finest[0]
            picture = upper([below, second, first])
            scale = spec.scale
            return picture[0, scale * start : scale * (start + count)]

        self.denoise = denoise
        self.encode_stripe = encode_stripe
        self.encode_below = encode_below
        self.decode_below = decode_below
        self.decode_stripe = decode_stripe


def _signature(tensors):
    """The `tf.TensorSpec`s of one picture's tensors, of any size."""
    return [tf.TensorSpec((1, None, None, t.shape[-1]), t.dtype) for t in tensors]


def half_size(frames):
    """Frames [F, H, W, C] of even size to [F, H/2, W/2, C]: the mean of every 2 x 2 pixels.

    What the published bilinear resize with half-pixel centres comes to for even sizes.
    """
    return tf.nn.avg_pool2d(frames, 2, 2, "VALID")


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
          stripe_rows: packed rows computed at once at the two upper levels; None for all.
        """
        if stripe_rows is not None and (stripe_rows < _LEVEL3 or stripe_rows % _LEVEL3):
            raise InputError(f"stripe_rows is a multiple of {_LEVEL3}, not {stripe_rows}")
        self.count = 0
        self._steps = steps
        self._keep = None if keep is None else frozenset(keep)
        self._stripe_rows = stripe_rows
        self._rows = None
        self._kept = {}  # {frame: (packed frame, its coarse output)}
        self._upper = {}  # {(level, top row): stripe of a level that is fused}
        self._deeper = {}  # {level: features}
        self._below = None  # what the decoder makes of them, for pictures of several references

    def _stripes(self):
        height = self._stripe_rows or self._rows
        for top in range(0, self._rows, height):
            bottom = min(top + height, self._rows)
            yield top, bottom, max(top - HALO, 0), min(bottom + HALO, self._rows)

    def add(self, frame):
        """Takes the next frame in, packed [1, H, W, C] float32 in 0..1, H and W even."""
        steps, index = self._steps, self.count
        self._below = None
        self._rows = frame.shape[1]
        coarse = steps.denoise(frame)
        if steps.refers and (self._keep is None or index in self._keep):
            self._kept[index] = frame, coarse
        pooled = []
        for top, bottom, start, end in self._stripes():
            fused, deeper = steps.encode_stripe(
                frame[:, start:end],
                coarse[:, start // 2 : end // 2],
                tf.constant(top - start),
                tf.constant(bottom - top),
            )
            # Stripe by stripe, so that no level is there twice at its full size.
            for level, features in zip((2, 1), fused, strict=False):
                _raise_to(self._upper, (level, top), features)
            pooled.append(deeper)
        del coarse, fused
        for level, features in enumerate(steps.encode_below(_joined(pooled)), 3):
            _raise_to(self._deeper, level, features)
        self.count += 1

    def picture(self, reference=0, last=False):
        """The picture of the frames so far: [S*H, S*W, 3] float32, not clipped.

        Args:
          reference: index of the reference frame, one of `keep`.
          last: nothing more is wanted of this burst, so that the levels can go as the picture
            comes.
        """
        steps, rows = self._steps, self._rows
        upper, kept = self._upper, self._kept[reference] if steps.refers else None
        if self._below is None:
            self._below = steps.decode_below(list(self._deeper.values()))
        below = self._below
        if last:
            self._kept = self._upper = self._deeper = self._below = None
        picture = None
        for top, bottom, start, end in self._stripes():
            if steps.refers:
                frame, coarse = kept
                finest = [frame[:, start:end], coarse[:, start // 2 : end // 2]]
            else:
                finest = [_rows_of(upper, 1, start, end)]
            stripe = steps.decode_stripe(
                below[:, start // 4 : (end + 3) // 4],
                _rows_of(upper, 2, start // 2, end // 2),
                *finest,
                tf.constant(top - start),
                tf.constant(bottom - top),
            )
            if picture is None:
                picture = np.empty((steps.scale * rows, *stripe.shape[1:]), np.float32)
            picture[steps.scale * top : steps.scale * bottom] = stripe
            if last:
                # All of a stripe that no later one reaches into.
                for level, at in upper:
                    if at + bottom - top <= bottom - HALO:
                        upper[level, at] = upper[level, at][:, :, :0]
        return picture


def _joined(stripes):
    return stripes[0] if len(stripes) == 1 else tf.concat(stripes, 1)


def _rows_of(stripes, wanted, start, end):
    """Rows start..end of a level [1, rows, columns, channels] that is held in stripes."""
    pieces, top = [], 0
    for (level, _), stripe in stripes.items():
        if level != wanted:
            continue
        bottom = top + stripe.shape[1]
        if top < end and bottom > start:
            pieces.append(stripe[:, max(start - top, 0) : end - top])
        top = bottom
    return _joined(pieces)


def _raise_to(maxima, key, features):
    """Raises maxima[key] to at least `features`, element by element."""
    before = maxima.get(key)
    maxima[key] = features if before is None else tf.maximum(before, features)
