"""The page that shows what was measured: photon transfer, dark noise, rows of each ISO."""

import io
from collections.abc import Sequence

import numpy as np

from dbp_tf.calibrate import darks, transfer, tukey

_COLOURS = {"R": "tab:red", "G": "tab:green", "B": "tab:blue"}
_SIGNALS = 200

# Cells of the histogram, in standard deviations, and how far they reach.
_WIDTH, _REACH = 0.2, 8


def draw(
    title: str,
    settings: Sequence[tuple[float, darks.DarkNoise, float, Sequence[transfer.Point]]],
) -> bytes:
    """The page as a PNG file; needs matplotlib.

    Args:
      title: of the page.
      settings: (ISO, noise, gain in DN per electron, points of the pairs or none) of each.
    """
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(12, 0.6 + 3.4 * len(settings)), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(settings), 3, squeeze=False)
    for row, (iso, noise, gain, points) in zip(axes, settings, strict=True):
        _transfer(row[0], noise, gain, points)
        _histogram(row[1], noise)
        _rows(row[2], noise)
        row[0].set_ylabel(f"ISO {iso:g}\n{row[0].get_ylabel()}")
        for plot in row:
            plot.grid(alpha=0.3)
            plot.legend(fontsize="small")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()


def _transfer(plot, noise, gain, points):
    for colour, drawn in _COLOURS.items():
        own = [point for point in points if point.colour == colour]
        signals, variances = [p.signal for p in own], [p.variance for p in own]
        plot.plot(signals, variances, "o", color=drawn, alpha=0.6, markersize=4)
    signals = [point.signal for point in points] or [noise.total / gain, 100 * noise.total / gain]
    line = np.geomspace(min(signals) / 3, max(signals) * 2, _SIGNALS)
    label = f"{noise.total:.3g} + {gain:.3g} x signal" + ("" if points else " (gain not measured)")
    plot.plot(line, noise.total + gain * line, color="black", linewidth=1, label=label)
    plot.set(xscale="log", yscale="log", title="Photon transfer")
    plot.set(xlabel="signal in DN", ylabel="variance in DN²")


def _histogram(plot, noise):
    centres, counts = _coarse(tukey.CENTRES, noise.histogram)
    used = counts > 0
    read, shape = float(noise.read.value), float(noise.shape.value)
    plot.plot(read * centres[used], counts[used] / read, "o", markersize=3, label="measured")
    residuals = noise.residuals
    for model, style in ((shape, "-"), (0.1349, ":")):
        values, shares = _coarse(residuals.centres, residuals.shares(model))
        near = np.abs(values) <= _REACH
        label = f"Tukey lambda, shape {model:.3g}" if style == "-" else "normal"
        plot.plot(read * values[near], shares[near] / read, style, color="black", label=label)
    least = max(counts[used].min() / read, 1e-9)
    plot.set(yscale="log", ylim=(least / 3, None), xlim=(-_REACH * read, _REACH * read))
    plot.set(title="Dark noise without rows and pattern", xlabel="DN", ylabel="share per DN")


def _coarse(centres, counts):
    """(centres of wider cells, density per standard deviation in them)."""
    cells = np.rint(centres / _WIDTH).astype(int)
    first = cells.min()
    totals = np.bincount(cells - first, weights=counts)
    return (np.arange(len(totals)) + first) * _WIDTH, totals / counts.sum() / _WIDTH


def _rows(plot, noise):
    frequencies, power = noise.spectrum
    plot.plot(frequencies, power, linewidth=0.8, label="means of rows")
    model = noise.row.value**2 + noise.row_floor
    plot.axhline(model, color="black", linewidth=1, label=f"row noise {noise.row.value:.3g} DN")
    plot.axhline(noise.row_floor, color="black", linestyle=":", label="read noise alone")
    plot.set(yscale="log", title="Row spectrum", xlabel="cycles a row", ylabel="power in DN²")
