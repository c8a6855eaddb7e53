"""The first version of the networks in PyTorch, equal to the Keras ones, many bursts at a time.

Weights are parameters by their published names, so that both sides exchange them as a plain
dict of arrays in the published layout. Axis letters: B bursts, F frames of each, H W packed rows
and columns, C packed channels, S output pixels per packed pixel, d the width.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

LEAKY_SLOPE = 0.2

# Of the up-convolutions of blocks 6 to 9, which the published code left without names of its own.
_UP = {
    "": ("Variable", "Variable_1", "Variable_2", "Variable_3"),
    "_fine": ("deconv_fine_0", "deconv_fine_0_1", "deconv_fine_0_2", "deconv_fine_0_3"),
}

# The fine network starts at this grey, near a bright picture's mean.
_GREY = 0.4


class UNet(torch.nn.Module):
    """What both networks share: five levels down, a maximum over frames, four blocks up.

    Args:
      inputs: channels that come in.
      outputs: channels of the last convolution.
      width: d.
      suffix: of the published names, "" (coarse) or "_fine".
    """

    def __init__(self, inputs, outputs, width, suffix):
        super().__init__()
        self.suffix = suffix
        self.weights = torch.nn.ParameterDict()
        sizes = [width * 2**level for level in range(5)]
        for level, size in enumerate(sizes, 1):
            below = sizes[level - 2] if level > 1 else inputs
            self._add_conv(f"g_conv{level}_1{suffix}", below, size)
            self._add_conv(f"g_conv{level}_2{suffix}", size, size)
        for block, up in enumerate(_UP[suffix], 6):
            size = sizes[9 - block]
            self.weights[up] = torch.nn.Parameter(torch.zeros(2 * size, size, 2, 2))
            self._add_conv(f"g_conv{block}_1{suffix}", 2 * size, size)
            self._add_conv(f"g_conv{block}_2{suffix}", size, size)
        self._add_conv(f"g_conv10{suffix}", width, outputs, kernel=1)

    def _add_conv(self, name, inputs, outputs, kernel=3):
        self.weights[f"{name}/weights"] = torch.nn.Parameter(
            torch.zeros(outputs, inputs, kernel, kernel)
        )
        self.weights[f"{name}/biases"] = torch.nn.Parameter(torch.zeros(outputs))

    def _conv(self, features, name):
        name += self.suffix
        kernel, bias = self.weights[f"{name}/weights"], self.weights[f"{name}/biases"]
        features = F.conv2d(features, kernel, bias, padding=kernel.shape[-1] // 2)
        return F.leaky_relu(features, LEAKY_SLOPE) if kernel.shape[-1] == 3 else features

    def forward(self, features, bursts=None):
        """[N, inputs, H, W] to [N, outputs, H, W], or to [bursts, ...] fused over N / bursts."""
        skips = []
        for level in range(1, 6):
            if level > 1:
                features = F.max_pool2d(features, 2, ceil_mode=True)
            for i in (1, 2):
                features = self._conv(features, f"g_conv{level}_{i}")
            skips.append(features)
        if bursts is not None and bursts != len(features):
            skips = [skip.unflatten(0, (bursts, -1)).amax(1) for skip in skips]
        *skips, features = skips
        for block, up in enumerate(_UP[self.suffix], 6):
            skip = skips.pop()
            features = F.conv_transpose2d(features, self.weights[up], stride=2)
            features = features[..., : skip.shape[-2], : skip.shape[-1]]
            features = torch.cat([features, skip], 1)
            for i in (1, 2):
                features = self._conv(features, f"g_conv{block}_{i}")
        return self._conv(features, "g_conv10")


class Coarse(UNet):
    """`networks.coarse_net`: half-size frames [N, C, H/2, W/2] to the same, less noisy."""

    def __init__(self, channels=4, width=32):
        super().__init__(channels, channels, width, "")

    def forward(self, frames):
        return frames + super().forward(frames)


class Fine(UNet):
    """`networks.fine_net`: frames and coarse outputs of B bursts to B pictures."""

    def __init__(self, channels=4, width=32, scale=2):
        super().__init__(3 * channels, 3 * scale**2, width, "_fine")
        self.scale = scale

    def forward(self, frames, coarse, bursts):
        """[B*F, C, H, W] and [B*F, C, H/2, W/2], burst after burst, to [B, 3, S*H, S*W]."""
        enlarged = enlarge_twice(coarse)
        merged = torch.cat([frames, frames - enlarged, enlarged], 1)
        return depth_to_space(super().forward(merged, bursts), self.scale)


def enlarge_twice(coarse):
    """TensorFlow 1's bilinear resize: no half-pixel centres, corners not aligned."""
    for axis in (2, 3):
        last = coarse.narrow(axis, coarse.shape[axis] - 1, 1)
        after = torch.cat([coarse.narrow(axis, 1, coarse.shape[axis] - 1), last], axis)
        coarse = torch.stack([coarse, (coarse + after) / 2], axis + 1).flatten(axis, axis + 1)
    return coarse


def depth_to_space(colours, scale):
    """[B, S*S*3, H, W] to [B, 3, S*H, S*W]; TensorFlow's order has the colour last."""
    pixels = colours.unflatten(1, (scale, scale, 3)).permute(0, 3, 4, 1, 5, 2)
    return pixels.flatten(4, 5).flatten(2, 3)


def space_to_depth(pictures, scale):
    """The inverse of `depth_to_space`."""
    pixels = pictures.unflatten(3, (-1, scale)).unflatten(2, (-1, scale))
    return pixels.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def he_weights(network, seed, equal_pixels=False):
    """Draws weights as `initial_weights.he_weights` does.

    Args:
      network: `UNet`, changed in place.
      seed: whole number.
      equal_pixels: whether the S * S pixels of a packed pixel start out equal.
    """
    rng = torch.Generator().manual_seed(seed)
    for name, weight in network.weights.items():
        last = name.startswith("g_conv10")
        with torch.no_grad():
            if name.endswith("/biases"):
                weight.fill_(_GREY if last and network.suffix else 0.0)
                continue
            up = name in _UP[network.suffix]
            fan_in = weight.shape[0] if up else weight[0].numel()
            deviation = math.sqrt((1 if up else 2) / fan_in) * (0.1 if last else 1)
            weight.normal_(0, deviation, generator=rng)
            if last and equal_pixels and network.suffix:
                weight.copy_(weight[:3].repeat(len(weight) // 3, 1, 1, 1))


def arrays(*networks):
    """{published name: array in the published layout} of the networks' weights."""
    return {
        name: _turned(weight.detach().cpu().numpy(), (2, 3, 1, 0))
        for network in networks
        for name, weight in network.weights.items()
    }


def load_arrays(table, *networks):
    """Puts what `arrays` returns into networks of the same sizes; other names are passed over."""
    for network in networks:
        for name, weight in network.weights.items():
            array = _turned(np.asarray(table[name], np.float32), (3, 2, 0, 1))
            with torch.no_grad():
                weight.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _turned(array, axes):
    """Kernels between [out, in, rows, columns] and [rows, columns, in, out]; biases as they are.

    Up-convolutions, [in, out, 2, 2] here and [2, 2, out, in] there, take the same turn.
    """
    return array.transpose(axes) if array.ndim == 4 else array
