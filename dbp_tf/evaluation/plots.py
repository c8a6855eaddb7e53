"""The plots of scores: against the number of frames, and by exposure ratio; by matplotlib."""

import collections
import dataclasses
import io
import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from dbp_tf import progress
from dbp_tf.errors import InputError
from dbp_tf.evaluation import results

# Titles of the axes that show a score, a field of `results.Result`.
_TITLES = {
    "psnr": "PSNR in dB (higher is better)",
    "ssim_range2": "SSIM (higher is better)",
    "lpips": "LPIPS (lower is better)",
}


@dataclasses.dataclass(frozen=True)
class Growth:
    """How one figure of merit grows with the number of frames.

    Attributes:
      title: with its unit and direction, for an axis.
      counts: numbers of frames, rising.
      means: one for each count, over `bursts`.
      spreads: standard deviations over the bursts; zero if there is but one.
      bursts: how many were averaged, the same ones at every count.
    """

    title: str
    counts: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    bursts: int


def growth_of(rows: Sequence[results.Result]) -> list[Growth]:
    """[`Growth`] of PSNR, SSIM and, where known, LPIPS.

    Only bursts with as many frames as the largest count are averaged: otherwise the means of many
    and of few frames would be of different scenes.

    Args:
      rows: several of a burst, with different `frames`.
    """
    bursts: dict[tuple[str, float], dict[int, results.Result]] = {}
    for row in rows:
        bursts.setdefault(row.key, {})[row.frames] = row
    most = max((max(burst) for burst in bursts.values()), default=0)
    whole = [burst for burst in bursts.values() if most in burst]
    counts = tuple(sorted(set.intersection(*map(set, whole)))) if whole else ()
    growth = []
    for name, title in _TITLES.items():
        values = [[getattr(burst[count], name) for burst in whole] for count in counts]
        if values and all(v is not None and math.isfinite(v) for v in sum(values, [])):
            growth.append(
                Growth(
                    title=title,
                    counts=counts,
                    means=tuple(map(statistics.fmean, values)),
                    spreads=tuple(statistics.stdev(v) if len(v) > 1 else 0.0 for v in values),
                    bursts=len(whole),
                )
            )
    return growth


def caption_of(growth: Growth) -> str:
    """The caption of a plot of a `Growth`, a sentence."""
    frames = progress.plural(growth.counts[-1], "frame")
    if growth.bursts == 1:
        return f"One burst of {frames}."
    return f"Mean of {growth.bursts} bursts of {frames}; the band is one standard deviation."


def axes_for(titles: Sequence[str]) -> tuple[Any, Any]:
    """(matplotlib's figure, its axes side by side, one for each title).

    Raises:
      InputError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure
    except ImportError:
        raise InputError(
            "the plots are drawn with matplotlib, which is not installed: pip install "
            '"dbp_tf[figures]"'
        ) from None
    size = (4 * len(titles), 3.4)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    plots = figure.subplots(1, len(titles), squeeze=False)[0]
    for axes, title in zip(plots, titles, strict=True):
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    return figure, plots


def _png(figure):
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()


def plot_growth(growth: list[Growth]) -> bytes:
    """The plot of several `Growth`s side by side, as a PNG file.

    Raises:
      InputError: matplotlib is not installed.
    """
    figure, plots = axes_for([one.title for one in growth])
    for axes, one in zip(plots, growth, strict=True):
        means, spreads = np.array(one.means), np.array(one.spreads)
        axes.fill_between(one.counts, means - spreads, means + spreads, alpha=0.2, linewidth=0)
        axes.plot(one.counts, means, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_xticks(one.counts, [str(count) for count in one.counts])
        axes.minorticks_off()
        axes.set_xlabel("frames")
    figure.suptitle(caption_of(growth[0]), fontsize="medium")
    return _png(figure)


def plot_ratios(rows: list[results.Result]) -> bytes | None:
    """The scores by exposure ratio, a dot for each burst and a line for the mean, as a PNG file.

    Returns:
      None if there are not two scores to plot.

    Raises:
      InputError: matplotlib is not installed.
    """
    scores = {}
    for name, title in _TITLES.items():
        found = collections.defaultdict(list)
        for row in rows:
            value = getattr(row, name)
            if row.scored and value is not None and math.isfinite(value):
                found[int(row.ratio)].append(value)
        if sum(map(len, found.values())) > 1:
            scores[title] = dict(sorted(found.items()))
    if not scores:
        return None
    figure, plots = axes_for(list(scores))
    for axes, by_ratio in zip(plots, scores.values(), strict=True):
        for place, values in enumerate(by_ratio.values()):
            # Steps of the golden ratio spread any number of dots evenly.
            spread = 0.6 * (0.618034 * np.arange(len(values)) % 1 - 0.5)
            axes.plot(place + spread, values, "o", color="C0", alpha=0.45)
            axes.hlines(statistics.fmean(values), place - 0.35, place + 0.35, color="black")
        labels = [f"{ratio} ({len(values)})" for ratio, values in by_ratio.items()]
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel("exposure ratio (bursts)")
    return _png(figure)
