"""Trains the small weights in PyTorch, from photographs, with noise drawn anew at every step.

    python train_small.py prepare --data DATA --camera sony PHOTO:REDUCE ...
    python train_small.py train --data DATA --camera sony --folder RUN --stage STAGE ...
    python train_small.py save --camera sony RUN/burst.npz checkpoints/sony_small

STAGE is coarse, fine or burst, one after the other; the later ones `--start` from `.npz` files.
With `--processes 2` two processes of a thread each share a step's batch: on cores that others use
as well, far quicker than two threads.

`prepare` simulates the clean mosaic and the developed ground truth of every photograph, once.
`train` draws crops of them, and for each burst a white balance, an exposure ratio and the noise of
a sensor. RUN keeps the state of each stage, from which the same command goes on, and the averaged
weights under their published names, `STAGE.npz`. `save` writes these in the project's own format;
it needs TensorFlow beside PyTorch, which is no dependency of the project: `pip install torch`.

Axis letters: B bursts, F frames of each, H W packed rows and columns, C packed channels, S output
pixels per packed pixel, P patch (packed pixels).
"""

import argparse
import concurrent.futures
import io
import itertools
import json
import math
import pathlib
import time

import numpy as np
import rawpy
import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.functional as F
import twin

from dbp_tf import simulate
from dbp_tf.raw import cameras, packing, reading

# Multipliers of red and blue, green 1: uniform in Brooks et al. 2019, and from tungsten to shade.
USUAL_LIGHT = (1.9, 2.4), (1.5, 1.9)
ANY_LIGHT = (1.3, 3.2), (1.2, 2.9)

# The simulator's noise when the bundled weights were trained, in DN: gain, read and row noise; the
# mean error of the black level and its spread.
NOISE = 0.8, 3.5, 0.5
OFFSET, OFFSET_SPREAD = 0.6, 0.25

# What the developing start makes of every sample x, see `start_developing`: sign * x + shift, cut
# off at zero. The first is the sample itself, the next are its parts above some brightness, 1 at
# the white level. The last one is what it lacks to white: over several frames, its maximum tells
# the least sample. Width 32 has no room for that one beside X-Trans' nine channels.
PARTS = {
    "bayer": ((1, 0.0), (1, -0.02), (1, -0.08), (1, -0.25), (-1, 1.0)),
    "xtrans": ((1, 0.0), (1, -0.04), (1, -0.2)),
}

# Whether to flip rows, to flip columns and to transpose, in this order.
_FLIPS = tuple(itertools.product((False, True), repeat=3))

# Crops of which a preference for texture takes the most detailed one.
CANDIDATES = 4


def prepare(photos, folder, camera, size):
    """Writes `NAME_mosaic.npy` and `NAME_truth.npy` of every photograph.

    Args:
      photos: list of (path, factor by which it is made smaller).
      folder: where to; made if missing.
      camera: `cameras.Camera`.
      size: most rows and columns, of the photograph's middle.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step = 2 * packing.LAYOUTS[camera.mosaic].period
    for number, (path, reduce) in enumerate(photos):
        photo = simulate.load_photo(path, reduce)
        rows, columns = (min(size, side) // step * step for side in photo.shape[:2])
        top, left = (photo.shape[0] - rows) // 2, (photo.shape[1] - columns) // 2
        photo = photo[top : top + rows, left : left + columns]
        if min(rows, columns) < (516 if camera.mosaic == "xtrans" else 64):
            print(f"{path} is too small when reduced by {reduce}: left out", flush=True)
            continue
        linear = simulate.soften(simulate.unprocess(photo, camera))
        mosaic = simulate.mosaic(linear, camera.filters)
        truth = developed(simulate.expose_long(mosaic, camera), camera, folder)
        name = f"{number:04d}_{pathlib.Path(path).stem}_{reduce}"
        np.save(folder / f"{name}_mosaic.npy", np.rint(65535 * mosaic).astype(np.uint16))
        np.save(folder / f"{name}_truth.npy", truth)
        print(f"{name}: {rows} x {columns}", flush=True)


def developed(samples, camera, folder):
    """A mosaic in DN as LibRaw develops the ground truth: [rows, columns, 3] uint16."""
    path = folder / "long.dng"
    simulate.write_dng(path, samples, camera)
    with rawpy.imread(io.BytesIO(path.read_bytes())) as opened:
        picture = reading.develop(opened)
    path.unlink()
    return picture


def symmetries(pattern):
    """What leaves a mosaic's colour filters in place: flips, transposes and the shift to go with.

    A flipped Bayer mosaic starts with another colour; flipped from one pixel further on, it
    starts with the same one. So the network sees every filter where it will be when it is used.

    Args:
      pattern: strings of R, G, B, one for each row of the filters' period.

    Returns:
      list of (flip rows, flip columns, transpose, (row, column) at which to start).
    """
    filters = np.array([list(row) for row in pattern])
    found = []
    for flips in _FLIPS:
        for start in itertools.product(range(len(filters)), repeat=2):
            there = np.roll(filters, (-start[0], -start[1]), (0, 1))
            if np.array_equal(turned(there, *flips), filters):
                found.append((*flips, start))
                break
    return found


def turned(picture, flip_rows, flip_columns, transpose):
    """A view of a picture [rows, columns, ...], flipped and then transposed."""
    picture = picture[::-1] if flip_rows else picture
    picture = picture[:, ::-1] if flip_columns else picture
    return picture.swapaxes(0, 1) if transpose else picture


class Bursts:
    """Draws bursts with their ground truths from what `prepare` wrote.

    Args:
      folder: see `prepare`.
      camera: `cameras.Camera`.
      options: the command's, see `arguments`.
      process, processes: which of how many this is; each draws its share of a batch.
    """

    def __init__(self, folder, camera, options, process=0, processes=1):
        self.camera, self.options = camera, options
        self.process, self.processes = process, processes
        self.layout = packing.LAYOUTS[camera.mosaic]
        least = self.layout.scale * options.patch + 2 * self.layout.period
        mosaics = sorted(folder.glob("*_mosaic.npy"))
        mosaics = [path for path in mosaics if min(np.load(path, mmap_mode="r").shape) >= least]
        self.mosaics = [np.load(path, mmap_mode="r") for path in mosaics]
        truths = [path.with_name(path.name.replace("mosaic", "truth")) for path in mosaics]
        self.truths = [np.load(path, mmap_mode="r") for path in truths]
        # Large photographs more often than small ones, but not in proportion to their pixels.
        weights = np.array([mosaic.size**0.5 for mosaic in self.mosaics])
        self.shares = weights / weights.sum()
        self.symmetries = symmetries(self.layout.colours)
        if options.augmentation == "published":
            self.symmetries = [(*flips, (0, 0)) for flips in _FLIPS]
        elif options.augmentation == "none":
            self.symmetries = self.symmetries[:1]

    def crop(self, side, rng):
        """(mosaic [side, side], ground truth [side, side, 3]), both uint16, flipped or turned."""
        number = rng.choice(len(self.mosaics), p=self.shares)
        mosaic, truth = self.mosaics[number], self.truths[number]
        *flips, start = self.symmetries[rng.integers(len(self.symmetries))]
        period = self.layout.period
        ranges = [(length - side - period) // period for length in mosaic.shape]
        crops = rng.integers(0, ranges, (CANDIDATES, 2), endpoint=True) * period + start
        places = [(slice(top, top + side), slice(left, left + side)) for top, left in crops]
        place = places[0]
        if rng.random() < self.options.texture:
            place = max(places, key=lambda place: _detail(truth[place]))
        mosaic, truth = mosaic[place], turned(truth[place], *flips)
        if self.options.augmentation == "published":
            packed = packing.pack(mosaic, self.layout)
            return packing.unpack(turned(packed, *flips), self.layout), truth
        return turned(mosaic, *flips), truth

    def draw(self, step):
        """A batch.

        Args:
          step: number of the step, from which all its random numbers follow.

        Returns:
          (frames [B*F, C, H, W] in 0..1, brightened, burst after burst; clean packed mosaics
          [B, C, H, W]; ground truths [B, 3, S*H, S*W] in 0..1), float32.
        """
        o, scale = self.options, self.layout.scale
        rng = np.random.default_rng([o.seed, step, self.process])
        noise = torch.Generator(o.device).manual_seed(int(rng.integers(2**62)))
        # All processes draw the same number of frames, or the quicker would wait for the slower.
        frames = int(np.random.default_rng([o.seed, step]).choice(o.frames))
        bursts = max(1, o.batch // (frames * self.processes))
        pairs = [self.crop(scale * o.patch, rng) for _ in range(bursts)]
        mosaics = np.stack([mosaic for mosaic, _ in pairs]).astype(np.float32) / 65535
        truths = np.stack([truth for _, truth in pairs]).transpose(0, 3, 1, 2)
        mosaics = torch.from_numpy(mosaics).to(o.device)
        dark = self.expose(mosaics[:, None].expand(-1, frames, -1, -1), rng, noise)
        truths = torch.from_numpy(np.ascontiguousarray(truths, np.float32)).to(o.device) / 65535
        return self.pack(dark.flatten(0, 1)), self.pack(mosaics), truths

    def expose(self, samples, rng, noise):
        """Dark frames, brightened and balanced, as `simulate.expose` and the reader make them.

        Args:
          samples: [B, F, rows, columns] clean mosaics in 0..1, in the camera's usual light.
          rng: of the settings of each burst, `numpy.random.Generator`.
          noise: of the samples, `torch.Generator`.
        """
        camera, spread = self.camera, self.options.noise_spread
        bursts, _, rows, columns = samples.shape
        span = camera.white - camera.black
        # Half of the bursts have exactly the simulator's noise.
        sure = rng.random(bursts) < 0.5

        def each(values):
            values = torch.from_numpy(np.asarray(values, np.float32)).to(samples.device)
            return values[:, None, None, None]

        def around(value):
            drawn = value * np.exp(spread * rng.standard_normal(bursts))
            return each(np.where(sure, value, drawn))

        gain, read, row = (around(value) for value in NOISE)
        ratio = each(self._ratios(bursts, rng))
        balance = self._balances(bursts, rng)
        offset = OFFSET + OFFSET_SPREAD * rng.standard_normal((bursts, 3))
        colours = np.array([["RGB".index(c) for c in line] for line in self.layout.colours])
        times = rows // len(colours), columns // len(colours)

        def sites(values):
            values = np.asarray(values, np.float32)[:, colours]
            return torch.from_numpy(np.tile(values, (1, *times))).to(samples.device)[:, None]

        balance, offset = sites(balance), sites(offset)
        electrons = (samples / balance).clamp(max=1) * span / (ratio * gain)
        signal = torch.poisson(electrons, generator=noise).mul_(gain)
        uniform = torch.rand(signal.shape, generator=noise, device=signal.device).clamp_(
            1e-7, 1 - 1e-7
        )
        signal += torch.logit(uniform).mul_(read * (math.sqrt(3) / math.pi))
        shared = torch.randn((*signal.shape[:3], 1), generator=noise, device=signal.device)
        signal += row * shared
        signal = (signal + offset).round_().clamp_(0, span)
        return signal.mul_(ratio * balance / span).clamp_(max=1)

    def _ratios(self, bursts, rng):
        """Exposure ratio of each burst; some are so low that next to no noise is left."""
        o = self.options
        ends = np.log([(1, 30), (30, 250), (250, 300)])
        shares = o.bright, 1 - o.bright - o.darkest, o.darkest
        chosen = ends[rng.choice(len(ends), bursts, p=shares)]
        return np.exp(rng.uniform(chosen[:, 0], chosen[:, 1]))

    def _balances(self, bursts, rng):
        """[B, 3] multipliers of each burst over the camera's, whose light three quarters have."""
        usual = np.array(self.camera.white_balance)
        kinds = rng.choice(3, bursts, p=(0.75, 0.2, 0.05))
        balances = np.ones((bursts, 3))
        for balance, kind in zip(balances, kinds, strict=True):
            if kind:
                (red, blue) = (rng.uniform(*ends) for ends in (USUAL_LIGHT, ANY_LIGHT)[kind - 1])
                balance[:] = np.array([red, 1, blue]) / usual
        return balances

    def pack(self, mosaics):
        """[N, rows, columns] to [N, C, H, W]."""
        rows, columns = mosaics.shape[1:]
        places = packing.pack(np.arange(rows * columns).reshape(rows, columns), self.layout)
        places = torch.from_numpy(np.ascontiguousarray(places.transpose(2, 0, 1))).to(
            mosaics.device
        )
        return mosaics.flatten(1)[:, places.flatten()].unflatten(1, places.shape)


def _detail(truth):
    green = truth[::2, ::2, 1].astype(np.float32)
    return np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()


class Stage:
    """The networks of a stage, what it trains of them, and its loss.

    Args:
      name: "coarse" (that network alone) or "fine" and "burst" (the fine one, coarse frozen).
      camera: `cameras.Camera`.
      width: d.
    """

    def __init__(self, name, camera, width):
        self.name = name
        self.coarse = twin.Coarse(camera.channels, width)
        self.fine = twin.Fine(camera.channels, width, camera.scale)
        self.trained = self.coarse if name == "coarse" else self.fine
        self.networks = [self.coarse] if name == "coarse" else [self.coarse, self.fine]
        for network in (self.coarse, self.fine):
            network.to(memory_format=torch.channels_last)
            network.requires_grad_(network is self.trained)

    def loss(self, frames, clean, truths):
        """L1 of a batch, see `Bursts.draw`: to the clean raw in the coarse stage."""
        frames = frames.contiguous(memory_format=torch.channels_last)
        low = F.avg_pool2d(frames, 2)
        if self.name == "coarse":
            target = F.avg_pool2d(clean, 2)
            times = len(frames) // len(clean)
            return (self.coarse(low) - target.repeat_interleave(times, 0)).abs().mean()
        with torch.no_grad():
            coarse = self.coarse(low)
        return (self.fine(frames, coarse, len(truths)) - truths).abs().mean()


def start_developing(fine, bursts, crops=200, pixels=600):
    """Lets a fine network start as one that develops: brings colour, tone and detail from the raw.

    Of the 2 * 9 * 4 weights that make a pixel of raw samples and of their parts above a few
    brightnesses, the best ones are known in closed form, by least squares over clean crops. They
    go along the first level, past all poolings: the first convolution makes the parts, the second
    passes them on, the first one after the skip weighs its 3 x 3 neighbours, the rest passes on.
    All other channels stay as they are, but do not yet reach the picture.

    Args:
      fine: `twin.Fine` with random weights, changed in place.
      bursts: `Bursts`.
      crops: how many to fit on.
      pixels: how many packed pixels of each.
    """
    rng = np.random.default_rng(bursts.options.seed)
    channels, outputs = bursts.camera.channels, 3 * fine.scale**2
    signs, shifts = np.repeat(PARTS[bursts.camera.mosaic], channels, axis=0).astype(np.float32).T
    parts, width = len(signs), len(fine.weights["g_conv1_1_fine/biases"])
    if width < max(parts, outputs):
        raise SystemExit(f"--developing needs a --width of {max(parts, outputs)} at least")
    signs, shifts = (torch.from_numpy(values)[:, None, None] for values in (signs, shifts))

    def features(packed):
        cut = signs * packed.repeat(1, parts // channels, 1, 1) + shifts
        for _ in range(2):  # As often as convolutions cut it.
            cut = F.leaky_relu(cut, twin.LEAKY_SLOPE)
        return cut

    given, wanted = [], []
    for _ in range(crops):
        mosaic, truth = bursts.crop(64 * fine.scale, rng)
        mosaic = torch.from_numpy(mosaic.astype(np.float32) / 65535)[None]
        truth = torch.from_numpy(truth.astype(np.float32) / 65535).permute(2, 0, 1)[None]
        some = torch.from_numpy(rng.integers(0, 64 * 64, pixels))
        given.append(F.unfold(features(bursts.pack(mosaic)), 3, padding=1)[0, :, some])
        wanted.append(twin.space_to_depth(truth, fine.scale).flatten(2)[0, :, some])
    given, wanted = torch.cat(given, 1).double(), torch.cat(wanted, 1).double()
    # Parts of like size, that none needs weights of another order than the rest.
    sizes = given.unflatten(0, (parts, 9)).square().mean((1, 2)).sqrt().float()
    given /= sizes.double().repeat_interleave(9)[:, None]
    given = torch.cat([given, torch.ones_like(given[:1])])
    square = given @ given.T
    square += 1e-6 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    best = torch.linalg.solve(square, given @ wanted.T).T.float()

    weights = fine.weights
    with torch.no_grad():
        kernel, bias = (weights[f"g_conv1_1_fine/{kind}"] for kind in ("weights", "biases"))
        kernel[:parts] = 0
        kernel[range(parts), [part % channels for part in range(parts)], 1, 1] = (
            signs.flatten() / sizes
        )
        bias[:parts] = shifts.flatten() / sizes
        _pass_on(weights["g_conv1_2_fine/weights"], parts)
        kernel, bias = (weights[f"g_conv9_1_fine/{kind}"] for kind in ("weights", "biases"))
        kernel[:outputs] = 0
        skip = kernel.shape[1] // 2
        kernel[:outputs, skip : skip + parts] = best[:, :-1].reshape(outputs, parts, 3, 3)
        bias[:outputs] = best[:, -1]
        _pass_on(weights["g_conv9_2_fine/weights"], outputs)
        weights["g_conv10_fine/weights"].zero_()
        _pass_on(weights["g_conv10_fine/weights"], outputs)
        weights["g_conv10_fine/biases"].zero_()


def _pass_on(kernel, count):
    """Makes a kernel hand on its first channels as they are."""
    middle = kernel.shape[-1] // 2
    kernel[:count] = 0
    kernel[range(count), range(count), middle, middle] = 1


def learning_rate(step, options):
    """Rises over the warm-up, stays, and falls as a cosine over the last share of the steps."""
    if step < options.warmup:
        return options.rate * (step + 1) / options.warmup
    start = options.steps * (1 - options.fall)
    done = max(0.0, (step - start) / max(1.0, options.steps - start))
    return options.rate * (options.floor + (1 - options.floor) * (1 + math.cos(math.pi * done)) / 2)


def train(process, options):
    """Trains a stage, or goes on with it, in one of several processes."""
    processes = options.processes
    if processes > 1:
        torch.distributed.init_process_group(
            "gloo", f"tcp://localhost:{options.port}", rank=process, world_size=processes
        )
    torch.set_num_threads(options.threads)
    camera = cameras.camera_named(options.camera)
    options.folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(options.stage, camera, options.width)
    for network in (stage.coarse, stage.fine):
        twin.he_weights(network, options.seed, equal_pixels=options.equal_pixels)
    bursts = Bursts(options.data, camera, options, process, processes)
    if options.stage == "fine" and options.developing:
        start_developing(stage.fine, bursts)
    for path in options.start:
        table = dict(np.load(path))
        for network in (stage.coarse, stage.fine):
            if network.weights.keys() <= table.keys():
                twin.load_arrays(table, network)
    for network in stage.networks:
        network.to(options.device)
    trained = list(stage.trained.parameters())
    average = [weight.detach().clone() for weight in trained]
    optimizer = torch.optim.Adam(trained, betas=(0.9, options.beta2), eps=1e-8, fused=True)
    step, seconds = 0, 0.0
    state = options.folder / f"{options.stage}.pt"
    if state.is_file():
        saved = torch.load(state, map_location=options.device)
        step, seconds, average = saved["step"], saved["seconds"], saved["average"]
        stage.trained.load_state_dict(saved["weights"])
        optimizer.load_state_dict(saved["optimizer"])
    if process == 0:
        log = (options.folder / f"{options.stage}.log").open("a", buffering=1)
        print(json.dumps({name: str(value) for name, value in vars(options).items()}), file=log)

    def keep_state():
        saved = {
            "step": step,
            "seconds": seconds,
            "average": average,
            "weights": stage.trained.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        torch.save(saved, state.with_suffix(".new"))
        state.with_suffix(".new").replace(state)
        current = [weight.detach().clone() for weight in trained]
        _put(average, trained)
        np.savez(options.folder / f"{options.stage}.npz", **twin.arrays(*stage.networks))
        _put(current, trained)

    losses, began, saved_at = [], time.monotonic(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:
        batch = ahead.submit(bursts.draw, step)
        while step < options.steps:
            drawn, batch = batch.result(), ahead.submit(bursts.draw, step + 1)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, options)
            optimizer.zero_grad(set_to_none=True)
            loss = stage.loss(*drawn)
            loss.backward()
            if processes > 1:
                _average_over_processes([weight.grad for weight in trained], processes)
            torch.nn.utils.clip_grad_norm_(trained, options.clip_norm)
            optimizer.step()
            step += 1
            # At the start the average follows soon, or it would remember the random weights.
            keep = min(options.average, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [weight.detach() for weight in trained], 1 - keep)
            losses.append(loss.item())
            now = time.monotonic()
            if process:
                continue
            if step % options.report == 0 or step == options.steps:
                seconds, began = seconds + now - began, now
                mean = sum(losses) / len(losses)
                print(f"{step} {seconds:.0f} s loss {mean:.5f}", file=log)
                losses.clear()
            if now - saved_at > options.save_every or step == options.steps:
                keep_state()
                saved_at = time.monotonic()


def _average_over_processes(gradients, processes):
    """The same on all: one exchange of one long vector."""
    flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(processes)
    torch.distributed.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _put(values, weights):
    with torch.no_grad():
        torch._foreach_copy_(weights, values)


def save(arrays, folder, camera):
    """Writes trained weights in the project's own format, 16 bits each: 8 cost these 3 dB.

    Args:
      arrays: path of the `.npz` file with the weights of both networks.
      folder: where to; made if missing.
      camera: `cameras.Camera` they were trained for.
    """
    from dbp_tf.models import network_spec, released
    from dbp_tf.restore import pretrained

    table = np.load(arrays)
    spec = network_spec.NetworkSpec(
        channels=camera.channels,
        scale=camera.scale,
        width=len(table["g_conv1_1/biases"]),
        fusion="max",
        residual_blocks=0,
        squeeze_excite=False,
    )
    model = pretrained.untrained(spec)
    model.white_balance = camera.white_balance
    for name, variable in released.published_variables(model.models).items():
        variable.assign(table[name])
    pretrained.save_pretrained(model, folder, bits=16)


def arguments():
    """The command line; figures are those of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="photographs to clean mosaics and ground truths")
    two = commands.add_parser("train", help="train a stage, or go on with it")
    three = commands.add_parser("save", help="weights in the project's own format")
    three.add_argument("arrays", type=pathlib.Path, metavar="WEIGHTS.npz")
    three.add_argument("out", type=pathlib.Path, metavar="FOLDER")
    for command in (one, two):
        command.add_argument("--data", type=pathlib.Path, required=True)
    for command in (one, two, three):
        command.add_argument("--camera", choices=list(cameras.CAMERAS), default="sony")
    one.add_argument("--size", type=int, default=1404, help="most rows and columns")
    one.add_argument("photos", nargs="+", metavar="PHOTO:REDUCE")
    add = two.add_argument
    add("--folder", type=pathlib.Path, required=True, help="folder of state and weights")
    add("--stage", choices=("coarse", "fine", "burst"), required=True)
    add("--start", type=pathlib.Path, nargs="*", default=[], help=".npz files to start from")
    add("--width", type=int, default=32)
    add("--patch", type=int, default=64, help="side in packed pixels")
    add("--batch", type=int, default=12, help="frames a step, at least one burst")
    add("--frames", type=int, nargs="+", default=[1], help="frames of a burst: one of these")
    add("--steps", type=int, required=True)
    add("--rate", type=float, default=1e-3)
    add("--warmup", type=int, default=200, help="steps over which the rate rises")
    add("--fall", type=float, default=1.0, help="share of the steps over which it falls")
    add("--floor", type=float, default=0.01, help="share of the rate that is left at the end")
    add("--beta2", type=float, default=0.999)
    add("--clip_norm", type=float, default=1.0)
    add("--average", type=float, default=0.995, help="how much of itself the average keeps")
    add("--equal_pixels", action="store_true", help="S x S pixels start equal")
    add("--developing", action="store_true", help="the fine stage starts out developing")
    add("--texture", type=float, default=0.5, help="share of crops chosen for their detail")
    add("--augmentation", choices=("phase", "published", "none"), default="phase")
    add("--bright", type=float, default=0.2, help="share of bursts with next to no noise")
    add("--darkest", type=float, default=0.4, help="share of bursts at ratios from 250 to 300")
    add("--noise_spread", type=float, default=0.3, help="of gain, read and row noise, logarithmic")
    add("--device", default="cpu", help="of PyTorch, such as cuda; noise is drawn there too")
    add("--processes", type=int, default=1)
    add("--threads", type=int, default=1, help="of each process")
    add("--port", type=int, default=29533, help="over which processes talk")
    add("--seed", type=int, default=0)
    add("--report", type=int, default=50, help="steps")
    add("--save_every", type=float, default=180, help="seconds")
    return parser.parse_args()


def main():
    options = arguments()
    if options.command == "save":
        save(options.arrays, options.out, cameras.camera_named(options.camera))
    elif options.command == "prepare":
        photos = [photo.rsplit(":", 1) for photo in options.photos]
        photos = [(path, int(reduce)) for path, reduce in photos]
        prepare(photos, options.data, cameras.camera_named(options.camera), options.size)
    elif options.processes > 1:
        torch.multiprocessing.spawn(train, (options,), options.processes)
    else:
        train(0, options)


if __name__ == "__main__":
    main()
