"""Pictures for the owner alone: the view without those who pass, where things stay, what masks hide, what they gain.

They show what the camera sees. Nothing of them may reach an analyst.
"""

import io
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from privid.domain.units import SECOND
from privid.persistence.cells import Grid, Mask
from privid.persistence.mask_search import Search
from privid.persistence.masks import Measured
from privid.video.catalog import Catalog
from privid.video.chunking import Chunk
from privid.video.frames import read_chunks
from privid.video.store import SegmentStore

Picture = npt.NDArray[np.uint8]
"""Shape (height, width, 3), BGR."""

SAMPLES = 31
"""Frames of which the background is the median: who stays for less than half of them is not in it."""
_WIDEST = 960
"""Pixels of a picture in a report; recordings may be larger."""
_GREY = 96
_HIDDEN = np.array([40, 40, 200])
"""What a mask hides, in BGR."""


def background(catalog: Catalog, store: SegmentStore, camera: str, begin_us: int, end_us: int) -> Picture | None:
    """The median of frames spread over [begin_us, end_us); None if nothing was recorded then.

    Raises UnknownCamera, StoreFailure, OSError.
    """
    length = min(SECOND, max(1, (end_us - begin_us) // SAMPLES))
    moments = np.linspace(begin_us, max(begin_us, end_us - length), SAMPLES).astype(np.int64)
    wanted = [Chunk(i, int(at), int(at) + length) for i, at in enumerate(np.unique(moments))]
    frames: list[Picture] = []
    for chunk in read_chunks(catalog, store, camera, wanted, fps=Fraction(1)):
        if chunk.memory is not None:
            first = os.pread(chunk.memory.fd, chunk.height * chunk.width * 3, 0)
            frames.append(np.frombuffer(first, np.uint8).reshape(chunk.height, chunk.width, 3))
            chunk.memory.close()
    return np.median(np.stack(frames), axis=0).astype(np.uint8) if frames else None


def heatmap(seconds: npt.NDArray[np.float64], grid: Grid, under: Picture | None) -> bytes:
    """A PNG: for how long things stay in each cell, over the background. `seconds` has shape (rows, columns)."""
    figure = _figure(grid.width, grid.height)
    axes = figure.subplots()
    axes.imshow(_background(under, grid.width, grid.height)[:, :, ::-1], extent=(0, grid.width, grid.height, 0))
    axes.set_axis_off()
    shown = np.ma.masked_less_equal(seconds, 0)
    drawn = axes.imshow(
        np.ma.log10(shown),
        extent=(0, grid.columns * grid.cell, grid.rows * grid.cell, 0),
        cmap="inferno",
        alpha=0.6,
        interpolation="nearest",
    )
    axes.set_xlim(0, grid.width)
    axes.set_ylim(grid.height, 0)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02)
    low, high = np.ceil(drawn.get_clim()[0]), np.floor(drawn.get_clim()[1])
    ticks = np.arange(low, high + 1) if high >= low else np.array(drawn.get_clim())
    bar.set_ticks(ticks.tolist(), labels=[f"{10**tick:,.3g} s" for tick in ticks])
    bar.set_label("time of all objects together")
    return _png(figure)


def curve(order: Search, suggested: Sequence[Measured]) -> bytes:
    """A PNG: the part of the picture that is masked against the longest presence, with the suggested masks."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    cells = order.grid.rows * order.grid.columns
    axes.step(
        100 * np.arange(len(order.longest_us)) / cells,
        order.longest_us / SECOND,
        where="post",
        color="#2b6b47",
        label="one cell after the other",
    )
    for one in suggested:
        at = (100 * one.share, one.terms.rho_us / SECOND)
        axes.plot(*at, "o", color="#b03030")
        axes.annotate(f"{one.name} (k {one.terms.segments})", at, xytext=(6, 6), textcoords="offset points", fontsize=8)
    axes.set_xlabel("part of the picture that is masked, %")
    axes.set_ylabel("longest that still shows, seconds")
    # A logarithm has no place for nothing at all, which is where an order may end.
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(0.1, order.longest_us[order.longest_us > 0].min(initial=SECOND) / SECOND / 2))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _png(figure)


def preview(hidden: Mask, under: Picture | None) -> bytes:
    """A PNG: the view with what a mask hides darkened and red; `hidden` has the shape of the view."""
    height, width = hidden.shape
    view = _background(under, width, height)
    view[hidden] = (view[hidden] // 4 + _HIDDEN // 2).astype(np.uint8)
    return _encoded(view)


def regions_preview(inside: npt.NDArray[np.bool_], names: Sequence[str], under: Picture | None) -> bytes:
    """A PNG: the view with each region tinted and named; `inside` has shape (regions, height, width)."""
    height, width = inside.shape[1:]
    view = _background(under, width, height)
    for number, (name, region) in enumerate(zip(names, inside, strict=True)):
        hue = np.array([[[180 * number // max(1, len(names)), 200, 220]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]
        view[region] = (view[region] * 0.6 + colour * 0.4).astype(np.uint8)
        y, x = (int(middle) for middle in np.argwhere(region).mean(axis=0)) if region.any() else (0, 0)
        cv2.putText(view, name, (max(0, x - 20), y), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    return _encoded(view)


def durations(lengths: Iterable[tuple[str, npt.NDArray[np.int64]]]) -> bytes:
    """A PNG: which part of the presences lasts longer than so long, for several views; lengths in microseconds."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, found in lengths:
        if len(found):
            longest_first = np.sort(found)[::-1] / SECOND
            axes.step(longest_first, 100 * np.arange(1, len(found) + 1) / len(found), where="pre", label=name)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xlabel("longer than, seconds")
    axes.set_ylabel("% of what shows")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    return _png(figure)


def _background(under: Picture | None, width: int, height: int) -> npt.NDArray[np.uint8]:
    if under is None:
        return np.full((height, width, 3), _GREY, np.uint8)
    if under.shape[:2] == (height, width):
        return under.copy()
    return np.asarray(cv2.resize(under, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _figure(width: int, height: int) -> Figure:
    return Figure(figsize=(9, 1 + 8 * height / width), layout="constrained")


def _encoded(view: npt.NDArray[np.uint8]) -> bytes:
    height, width = view.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        view = np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, content = cv2.imencode(".png", view)
    assert done
    return bytes(content.tobytes())


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
