"""The picture of the report: how long cowfs takes, as a part of what the others take. Used by the report."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "cowfs"
from matplotlib import pyplot  # noqa: E402

from benchmark.filesystems import FUSE, KERNEL, OURS  # noqa: E402
from benchmark.metrics import METRICS  # noqa: E402
from benchmark.results import Results  # noqa: E402

_COLOURS = {FUSE: "#c2571a", KERNEL: "#2b6ca3"}


def write(results: Results, path: Path) -> None:
    """A bar per workload and other file system, on a logarithmic scale; 1 is equal, to the left is faster."""
    shown = [m for m in METRICS if m.group.to_fuse is not None and results.values(m.name, OURS)][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.34 * len(shown)))
    for shift, other in ((0.2, FUSE), (-0.2, KERNEL)):
        ratios = [results.ratio(metric.name, OURS, other) for metric in shown]
        places = [place + shift for place, ratio in enumerate(ratios) if ratio]
        known = [ratio for ratio in ratios if ratio]
        lengths = [ratio.of_medians - 1 for ratio in known]
        spread = [
            [r.of_medians - min(r.least, r.of_medians) for r in known],
            [max(r.most, r.of_medians) - r.of_medians for r in known],
        ]
        axes.barh(
            places,
            lengths,
            height=0.38,
            left=1,
            color=_COLOURS[other],
            label=f"to {other}",
            xerr=spread,
            ecolor="#555555",
        )
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [metric.title.format_map(results.words) for metric in shown])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of cowfs as a part of the other's (1 is equal, less is faster)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(loc="best")
    axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
