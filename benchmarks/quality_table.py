"""The table of `quality.py`: means of the bursts' lines, and whether the project's gates are met.

A line is a dict of texts, as `quality.csv` has them, of one burst and one row of the table.
"""

import math
import statistics

RATIOS = (100, 300)

# Rows of the table, by the name they have in the CSV files and in the pictures' names.
ROWS = {
    "single": "single frame scaled and developed",
    "mean": "mean of 8 frames developed",
    "nlm": "mean of 8 + tuned non-local means",
    "bm3d": "mean of 8 + tuned BM3D",
    "coarse": "coarse",
    "fine": "fine, one frame",
    "burst2": "burst of 2",
    "burst4": "burst of 4",
    "burst8": "burst of 8",
    "rotate": "burst of 8, mean over every frame as reference",
}
# What the networks got, in the tables' column "input".
NOISY, NOISE_FREE, OTHER = "burst", "noise_free", "other_light"

# PSNR in dB that is asked of a burst of 8 at each ratio, and how far above the mean of 8 with BM3D
# the aim lies.
LEAST = {"sony": {100: 30.0, 300: 27.5}, "fuji": {100: 29.5, 300: 27.0}}
AIM = {"sony": {100: 0.0, 300: 4.0}, "fuji": {100: 0.0, 300: 2.5}}
LEAST_NOISE_FREE, AIM_NOISE_FREE = 32.0, 34.0
MOST_MESH = 2.0
MOST_LIGHT_LOSS = 0.3

DENOISERS = ("nlm", "bm3d")
CLASSICAL = ("single", "mean", *DENOISERS)
NETWORKS = tuple(row for row in ROWS if row not in CLASSICAL)


def means_of(lines):
    """{(row, ratio): (mean PSNR in dB, mean SSIM)} of the lines of bursts as they are."""
    groups = {}
    for line in lines:
        if line.get("input", NOISY) == NOISY:
            pair = float(line["psnr"]), float(line["ssim"])
            groups.setdefault((line["row"], int(line["ratio"])), []).append(pair)
    return {
        key: tuple(map(statistics.fmean, zip(*group, strict=True))) for key, group in groups.items()
    }


def noise_free_of(lines):
    """{row: (PSNR, PSNR of means, mesh as a multiple of the ground truth's)} of noise-free input.

    A row has no entry if it was not measured, and mesh is nan where no scene has flat areas.
    """
    found = {}
    for row in NETWORKS:
        own = [line for line in lines if (line["row"], line.get("input")) == (row, NOISE_FREE)]
        if own:
            flat = [line for line in own if line["mesh"]]
            ours, theirs = (
                sum(float(line[name]) for line in flat) for name in ("mesh", "mesh_of_truth")
            )
            found[row] = (
                statistics.fmean(float(line["psnr"]) for line in own),
                statistics.fmean(float(line["means_psnr"]) for line in own),
                ours / theirs if theirs else math.nan,
            )
    return found


def light_losses_of(lines):
    """{(row, ratio): mean loss in dB of the other light against the same photographs without}."""
    usual = {
        (line["row"], line["photo"], line["ratio"]): float(line["psnr"])
        for line in lines
        if line.get("input", NOISY) == NOISY
    }
    losses = {}
    for line in lines:
        if line.get("input") == OTHER:
            loss = usual[line["row"], line["photo"], line["ratio"]] - float(line["psnr"])
            losses.setdefault((line["row"], int(line["ratio"])), []).append(loss)
    return {key: statistics.fmean(values) for key, values in losses.items()}


def best_denoiser(means, ratio):
    """The row of `DENOISERS` with the better mean PSNR at that ratio."""
    return max(DENOISERS, key=lambda row: means[row, ratio][0])


def gates(lines, camera):
    """What is asked of the weights.

    Args:
      lines: of the table, with all rows and ratios; "rotate" may be missing.
      camera: `cameras.Camera`.

    Yields:
      (what is asked, what was measured, whether it is met), two texts and a bool.
    """
    # Two digits are what is shown, and what counts.
    shown = {key: round(mean, 2) for key, (mean, _) in means_of(lines).items()}
    least, aim = LEAST[camera.name], AIM[camera.name]

    def at_ratios(rows):
        return "; ".join(
            f"{' -> '.join(f'{shown[row, ratio]:.2f}' for row in rows)} dB at {ratio}"
            for ratio in RATIOS
        )

    yield (
        "burst of 8 at least "
        + ", ".join(f"{psnr} dB at {ratio}" for ratio, psnr in least.items()),
        at_ratios(["burst8"]),
        all(shown["burst8", ratio] >= psnr for ratio, psnr in least.items()),
    )
    rising = ["fine", "burst2", "burst4", "burst8"]
    grown = [[shown[row, ratio] for row in rising] for ratio in RATIOS]
    yield (
        "1, 2, 4, 8 frames: more are never worse",
        at_ratios(rising),
        all(values == sorted(values) for values in grown),
    )
    gain = round(shown["burst8", 300] - shown["fine", 300], 2)
    yield "burst of 8 at least 1.5 dB above one frame at ratio 300", f"{gain:.2f} dB", gain >= 1.5
    sharp, _, strength = noise_free_of(lines)["fine"]
    sharp, strength = round(sharp, 2), round(strength, 2)
    yield f"noise-free input: {LEAST_NOISE_FREE} dB", f"{sharp:.2f} dB", sharp >= LEAST_NOISE_FREE
    yield (
        f"mesh at most {MOST_MESH:g} times the ground truth's",
        f"{strength:.2f} times",
        strength <= MOST_MESH,
    )
    losses = light_losses_of(lines)
    worst = round(max(losses["burst8", ratio] for ratio in RATIOS), 2)
    yield (
        f"other light: burst of 8 loses at most {MOST_LIGHT_LOSS} dB",
        f"{worst:.2f} dB",
        worst <= MOST_LIGHT_LOSS,
    )
    yield (
        "aim: burst of 8 above the mean of 8 with BM3D by "
        + ", ".join(f"{margin:g} dB at {ratio}" for ratio, margin in aim.items()),
        at_ratios(["bm3d", "burst8"]),
        all(
            round(shown["burst8", ratio] - shown["bm3d", ratio], 2) >= margin
            for ratio, margin in aim.items()
        ),
    )
    yield f"aim: noise-free input {AIM_NOISE_FREE} dB", f"{sharp:.2f} dB", sharp >= AIM_NOISE_FREE


def verdicts(lines, camera):
    """Yields a line of text for each of the `gates`."""
    for asked, found, met in gates(lines, camera):
        yield f"{'met' if met else 'missed'}: {asked} ({found})"


def report(lines, camera, checkpoint):
    """The table of means and the gates' verdicts in Markdown, as text."""
    means, photos = means_of(lines), dict.fromkeys(line["photo"] for line in lines)
    noise_free, losses = noise_free_of(lines), light_losses_of(lines)
    strengths = {
        (line["row"], line["ratio"]): line["strength"] for line in lines if line["strength"]
    }
    tuned_to = ", ".join(f"{row} {value} at {ratio}" for (row, ratio), value in strengths.items())
    heads = [f"ratio {ratio}" for ratio in RATIOS]
    if checkpoint:
        heads += ["noise-free", "its 8 x 8 means", "its mesh", "other light loses, dB"]
    text = [
        f"{camera.model}, simulated scenes: mean PSNR in dB / SSIM (range 1); photographs: "
        f"{'; '.join(photos)}.",
        f"Weights: {checkpoint or 'none'}. Denoisers tuned on ground truths of this very set: "
        f"{tuned_to}.",
        "",
        f"| | {' | '.join(heads)} |",
        "|---|" + "---|" * len(heads),
    ]
    for row, title in ROWS.items():
        if (row, RATIOS[0]) not in means:
            continue
        cells = ["{:.2f} / {:.3f}".format(*means[row, ratio]) for ratio in RATIOS]
        if row in noise_free:
            cells += "{:.2f}|{:.2f}|{:.2f} x ground truth's".format(*noise_free[row]).split("|")
        if (row, RATIOS[0]) in losses:
            cells += [""] * (len(heads) - 1 - len(cells))
            cells += [" / ".join(f"{losses[row, ratio]:.2f}" for ratio in RATIOS)]
        text.append(f"| {title} | {' | '.join(cells + [''] * (len(heads) - len(cells)))} |")
    if checkpoint:
        text += [
            "",
            "A burst of equal frames gives the picture of one of them: bursts share the noise-free "
            "columns of one frame.",
            "",
            *(f"- {line}" for line in verdicts(lines, camera)),
        ]
    return "\n".join(text) + "\n"
