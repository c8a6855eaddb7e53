"""The networks of the method as Keras functional models, named as in the published code.

Axis letters: F frames of one burst (the batch axis), H W packed rows and columns, h w those of
the half-size frames, C packed channels, S output pixels per packed pixel, d the width. Every
weighted layer carries the published variable's name; `released` holds the few exceptions.

    frames [F,H,W,C] ----------------------------+
        | half size                              v
        +--> coarse_net --> coarse [F,h,w,C] --> encoder --> fusion --> bottleneck --> decoder

`restore_burst` is this graph.
"""

import keras
import tensorflow as tf

from dbp_tf.errors import InputError
from dbp_tf.models import layers
from dbp_tf.models.fusions import FUSIONS
from dbp_tf.models.network_spec import NetworkSpec


def build(spec: NetworkSpec, dtype: str | None = None) -> dict[str, keras.Model]:
    """Builds the networks of a spec with new weights.

    Args:
      spec: `NetworkSpec`.
      dtype: Keras' dtype policy of layers that are not always float32, such as "mixed_bfloat16";
        None for the global one.

    Returns:
      {"coarse" | "fine" | "sid": network} of those that the spec has.
    """
    if dtype is not None:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype)
        try:
            return build(spec)
        finally:
            keras.config.set_dtype_policy(before)
    if spec.family == "sid":
        return {"sid": sid_net(spec.channels, spec.width, spec.scale)}
    coarse = {"coarse": coarse_net(spec.channels, spec.width)}
    return coarse if spec.family == "coarse" else {**coarse, "fine": fine_net(spec)}


def restore_burst(coarse: keras.Model, fine: keras.Model, frames: tf.Tensor) -> tf.Tensor:
    """The whole method: one burst to one picture, all frames at once.

    Memory grows with the number of frames. `restore.streaming` gives the same picture frame by
    frame, in little memory.

    Args:
      coarse: see `coarse_net`.
      fine: see `fine_net`.
      frames: [F, H, W, C] float32: packed frames in 0..1, linear, brightened; H and W even.

    Returns:
      [S*H, S*W, 3] float32, sRGB with the camera's white balance, not clipped.
    """
    frames = tf.convert_to_tensor(frames, tf.float32)
    denoised = coarse(half_size(frames))
    # In the fine network the encoder sees every frame by itself, the fusion makes one set of levels
    # of all frames, and the decoder makes the picture of these.
    return fine([frames, denoised])[0]


def half_size(frames: tf.Tensor) -> tf.Tensor:
    """Frames [F, H, W, C] of even size to [F, H/2, W/2, C]: the mean of every 2 x 2 pixels.

    The published bilinear resize with half-pixel centres gives the same for even sizes.
    """
    return tf.nn.avg_pool2d(frames, 2, 2, "VALID")


def coarse_net(channels: int = 4, width: int = 32) -> keras.Model:
    """Denoises each half-size packed frame on its own.

    Args:
      channels: packed channels C.
      width: channels d of the first level.

    Returns:
      `keras.Model` "coarse_net": [F, h, w, C] in 0..1, linear and brightened, to the same shape:
      input plus the residual that a U-Net predicts, not clipped.
    """
    frames = keras.Input((None, None, channels), dtype="float32", name="low_frames")
    levels = _encoder_levels(frames, width, "")
    features = _decoder_levels(levels, width, "")
    correction = _conv(features, channels, "g_conv10", kernel=1, activate=False, dtype="float32")
    coarse = keras.layers.Add(name="coarse_output", dtype="float32")([frames, correction])
    return keras.Model(frames, coarse, name="coarse_net")


def sid_net(channels: int = 4, width: int = 32, scale: int = 2) -> keras.Model:
    """The classic single-image baseline: the published coarse network without the residual.

    Returns:
      `keras.Model` "sid_net": packed frames [F, H, W, C] in 0..1, brightened, to pictures
      [F, S*H, S*W, 3], sRGB with the camera's white balance, not clipped.
    """
    frames = keras.Input((None, None, channels), dtype="float32", name="frames")
    levels = _encoder_levels(frames, width, "")
    features = _decoder_levels(levels, width, "")
    colours = _conv(features, 3 * scale**2, "g_conv10", kernel=1, activate=False, dtype="float32")
    picture = layers.DepthToSpace(scale, name="picture", dtype="float32")(colours)
    return keras.Model(frames, picture, name="sid_net")


def fine_net(spec: NetworkSpec) -> keras.Model:
    """The network of the fine and of the burst stage, which have the same layers.

    `NetworkSpec.fusion` chooses between the first and the revised version. Encoder, bottleneck and
    decoder are models of their own, see `parts`.

    Returns:
      `keras.Model` "fine_net": packed frames [F, H, W, C] in 0..1 and coarse outputs
      [F, H/2, W/2, C] to one picture [1, S*H, S*W, 3], sRGB with the camera's white balance, not
      clipped. Any F from 1, any even H and W.
    """
    encoder = fine_encoder(spec.channels, spec.width, spec.noise_map)
    fuse = layers.FuseBurst(spec.fusion, spec.default_reference, name="fusion")
    levels = fuse(encoder(encoder.inputs))
    if FUSIONS[spec.fusion].bottleneck:
        blocks, gates = spec.residual_blocks or 0, bool(spec.squeeze_excite)
        levels = [*levels[:-1], fine_bottleneck(spec.width, blocks, gates)(levels[-1])]
    decoder = fine_decoder(spec.width, spec.scale, spec.depth_to_space)
    return keras.Model(encoder.inputs, decoder(levels), name="fine_net")


def parts(model: keras.Model) -> tuple[keras.Model, keras.Model | None, keras.Model]:
    """(encoder, bottleneck, decoder) of a fine network; the first version has no bottleneck."""
    by_name = {layer.name: layer for layer in model.layers}
    return by_name["encoder"], by_name.get("bottleneck"), by_name["decoder"]


def fine_pictures(
    model: keras.Model, frames: tf.Tensor, coarse: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """Pictures of several bursts at once, the same that a fine network gives of each alone.

    A larger batch keeps a processor busier than small bursts one after another.

    Args:
      model: see `fine_net`.
      frames: [N, H, W, C], the packed frames of B bursts, one burst after another.
      coarse: [N, H/2, W/2, C], their coarse outputs.
      lengths: [B] integers, the number of frames of each burst; their sum is N.

    Returns:
      [B, S*H, S*W, 3], see `fine_net`.
    """
    encoder, bottleneck, decoder = parts(model)
    levels = model.get_layer("fusion")(encoder([frames, coarse]), lengths=lengths)
    if bottleneck:
        levels = [*levels[:-1], bottleneck(levels[-1])]
    return decoder(levels)


def fine_encoder(channels: int, width: int, noise_map: bool) -> keras.Model:
    """`keras.Model` "encoder": (frames [F,H,W,C], coarse [F,H/2,W/2,C]) to five levels.

    Level i is [F, H / 2^(i-1), W / 2^(i-1), d 2^(i-1)], sizes rounded up.
    """
    frames = keras.Input((None, None, channels), dtype="float32", name="frames")
    coarse = keras.Input((None, None, channels), dtype="float32", name="coarse")
    # In float32 even under mixed precision: a faint noise map is a difference of near equals.
    merged = _MergeInputs(noise_map, name="merge", dtype="float32")([frames, coarse])
    return keras.Model([frames, coarse], _encoder_levels(merged, width, "_fine"), name="encoder")


def fine_bottleneck(width: int, residual_blocks: int, squeeze_excite: bool) -> keras.Model:
    """`keras.Model` "bottleneck": level 5, [B, H/16, W/16, 16 d], to the same shape."""
    filters = 16 * width
    deepest = keras.Input((None, None, filters), dtype="float32", name="level5")
    features = deepest
    for block in range(residual_blocks):
        name = f"g_res{block}_conv{{}}_fine"
        branch = _conv_norm(features, filters, name.format(1))
        branch = keras.layers.LeakyReLU(layers.LEAKY_SLOPE, name=name.format(1) + "_leaky")(branch)
        branch = _conv_norm(branch, filters, name.format(2))
        if squeeze_excite:
            branch = _squeeze_excite(branch, filters, f"g_conv_fine_{block}_se")
        features = keras.layers.Add(name=f"g_res{block}_add_fine")([features, branch])
    features = _conv(features, filters, "g_res_fine", activate=False)
    if squeeze_excite:
        features = _squeeze_excite(features, filters, f"g_conv_fine_{residual_blocks}_se")
    features = keras.layers.Add(name="g_res_add_fine")([deepest, features])
    return keras.Model(deepest, features, name="bottleneck")


def fine_decoder(width: int, scale: int, depth_to_space: bool) -> keras.Model:
    """`keras.Model` "decoder": the five fused levels, [B, ...], to pictures [B, S*H, S*W, 3]."""
    if not depth_to_space and scale != 1:
        raise InputError(f"without depth-to-space a packed pixel gives 1 pixel, not scale {scale}")
    levels = [
        keras.Input((None, None, width * 2**level), dtype="float32", name=f"level{level + 1}")
        for level in range(5)
    ]
    features = _decoder_levels(levels, width, "_fine")
    colours = _conv(
        features, 3 * scale**2, "g_conv10_fine", kernel=1, activate=False, dtype="float32"
    )
    if depth_to_space:
        colours = layers.DepthToSpace(scale, name="picture", dtype="float32")(colours)
    return keras.Model(levels, colours, name="decoder")


def _encoder_levels(features, width, suffix):
    """Five levels of two convolutions each; returns the output of every level before pooling."""
    levels = []
    for level in range(1, 6):
        for i in (1, 2):
            features = _conv(features, width * 2 ** (level - 1), f"g_conv{level}_{i}{suffix}")
        levels.append(features)
        if level < 5:
            features = keras.layers.MaxPooling2D(
                2, padding="same", data_format="channels_last", name=f"g_pool{level}{suffix}"
            )(features)
    return levels


def _decoder_levels(levels, width, suffix):
    """From level 5 to level 1: a block upsamples, appends the level's skip and convolves twice."""
    *skips, features = levels
    for block, skip in zip(range(6, 10), reversed(skips), strict=True):
        filters = width * 2 ** (9 - block)
        upsampled = layers.UpConvolution(filters, name=f"g_up{block}{suffix}")([features, skip])
        features = keras.layers.Concatenate(name=f"g_concat{block}{suffix}")([upsampled, skip])
        for i in (1, 2):
            features = _conv(features, filters, f"g_conv{block}_{i}{suffix}")
    return features


def _conv(features, filters, name, *, kernel=3, activate=True, use_bias=True, dtype=None):
    features = keras.layers.Conv2D(
        filters,
        kernel,
        padding="same",
        data_format="channels_last",
        use_bias=use_bias,
        kernel_initializer=layers.initial_kernel(),
        name=name,
        dtype=dtype,
    )(features)
    if activate:
        features = keras.layers.LeakyReLU(layers.LEAKY_SLOPE, name=f"{name}_leaky")(features)
    return features


def _conv_norm(features, filters, name):
    features = _conv(features, filters, name, activate=False, use_bias=False)
    return layers.InstanceNorm(name=f"{name}_norm")(features)


def _squeeze_excite(features, filters, name):
    # Without the axes H and W, where a dense layer would be twenty operations instead of two.
    gate = keras.layers.GlobalAveragePooling2D("channels_last", name=f"{name}_mean")(features)
    initial = layers.initial_kernel()
    gate = keras.layers.Dense(
        max(filters // 16, 1), "relu", kernel_initializer=initial, name=f"{name}_fc_1"
    )(gate)
    # The ReLU before the sigmoid is an accident of the published code's defaults, and the
    # released weights need it: gates lie in 0.5..1.
    gate = keras.layers.Dense(filters, "relu", kernel_initializer=initial, name=f"{name}_fc_2")(
        gate
    )
    gate = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    gate = keras.layers.Reshape((1, 1, filters), name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([features, gate])


@keras.saving.register_keras_serializable("dbp_tf")
class _MergeInputs(keras.layers.Layer):
    """(frames [F,H,W,C], coarse [F,H/2,W/2,C]) to [F,H,W,3C], or 2C without the noise map."""

    def __init__(self, noise_map, **kwargs):
        super().__init__(**kwargs)
        self.noise_map = noise_map
        self.enlarge = layers.EnlargeTwice(dtype=self.dtype_policy)

    def call(self, inputs):
        frames, coarse = inputs
        for name, size in zip(("height", "width"), frames.shape[1:3], strict=True):
            if size is not None and size % 2:
                raise InputError(
                    f"packed frames have an odd {name} of {size}: cut or pad them to an even one"
                )
        enlarged = self.enlarge(coarse)
        noise = [frames - enlarged] if self.noise_map else []
        return keras.ops.concatenate([frames, *noise, enlarged], axis=-1)

    def compute_output_shape(self, shapes):
        frames, _ = shapes
        return (*frames[:-1], frames[-1] * (3 if self.noise_map else 2))

    def get_config(self):
        return super().get_config() | {"noise_map": self.noise_map}
