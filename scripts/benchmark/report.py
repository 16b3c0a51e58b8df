"""Writes the report: a table in Markdown, the figures in JSON, the plot, the machine. Used by the command line."""

import json
import os
import platform
import statistics
import subprocess
from itertools import groupby, pairwise
from pathlib import Path
from typing import Final

from benchmark import engines, plot, pulls, starts
from benchmark.filesystems import FUSE, KERNEL, OURS, PLAIN
from benchmark.metrics import METRICS, MIB, MICROSECONDS, Group, Metric
from benchmark.results import Ratio, Results, geometric_mean

_GEOMETRIC: Final = 0.6
_GETATTR: Final = 6.0
_RESIDENT: Final = 60.0
_PULL: Final = 1.0
_START: Final = 1.0
_BUILD: Final = 0.8
_START_MORE: Final = 0.030  # seconds more than on fuse-overlayfs


def write(results: Results, directory: Path) -> None:
    """The files of the report into ``directory``, and the table on the standard output."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = _table(results)
    print("\n".join(lines))
    (directory / "results.md").write_text("\n".join([*_head(results), *lines, ""]))
    (directory / "machine.md").write_text("\n".join(_machine()))
    figures = {"figures": _plain(results.figures), "processor seconds": _plain(results.processor)}
    (directory / "results.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
    plot.write(results, directory / "results.svg")


def _plain(figures: dict[str, dict[str, dict[int, float]]]) -> dict[str, dict[str, list[float]]]:
    return {name: {system: list(rounds.values()) for system, rounds in by.items()} for name, by in figures.items()}


def _head(results: Results) -> list[str]:
    return [
        "# Benchmark",
        "",
        f"`scripts/bench --rounds {results.rounds}` on the machine in [machine.md](machine.md); big files are of"
        f" {results.words['big']}. Median (least-most) of the rounds; ratios are of medians, in brackets the least and"
        " most of a round, then the target. All figures, and the processor time of commands and daemon:"
        " [results.json](results.json).",
        "",
        "![Time of cowfs as a part of the time of the others](results.svg)",
        "",
    ]


def _table(results: Results) -> list[str]:
    measured = [metric for metric in METRICS if results.values(metric.name, OURS) or results.values(metric.name, FUSE)]
    systems = [OURS, *([PLAIN] if any(results.values(m.name, PLAIN) for m in measured) else []), KERNEL, FUSE]
    head = ["workload", *systems, "to fuse-overlayfs", "to overlayfs"]
    lines: list[str] = []
    for group, metrics in groupby(measured, lambda metric: metric.group):
        lines += [f"## {group.title}", "", _row(head), _row(["---"] * len(head))]
        lines += [_row(_cells(results, metric, systems)) for metric in metrics]
        lines.append("")
    others = [*_pulls(results), *_starts(results), *_engines(results)]
    return [*lines, *others, *_summary(results, measured), *_failures(results)]


def _pulls(results: Results) -> list[str]:
    """A table of its own: it is podman that is compared."""
    if not results.values(f"pull-{next(iter(pulls.FORMS))}", pulls.OURS):
        return []
    head = [f"a pull of {results.words['pull']} from loopback", pulls.OURS, pulls.PODMAN, "to podman"]
    lines = ["## Pull", "", _row(head), _row(["---"] * len(head))]
    for form in pulls.FORMS:
        for name, title, unit, most in (
            (f"pull-{form}", form, "s", _PULL),
            (f"pull-{form}-memory", f"{form}, memory at the most, MiB", MIB, None),
        ):
            figures = [_figure(results.values(name, system), unit) for system in (pulls.OURS, pulls.PODMAN)]
            lines.append(_row([title, *figures, _judged(results.ratio(name, pulls.OURS, pulls.PODMAN), most)]))
    return [*lines, ""]


def _starts(results: Results) -> list[str]:
    """Likewise."""
    if not results.values(starts.NAME, pulls.OURS):
        return []
    head = ["start and end of true in a run", pulls.OURS, pulls.PODMAN, "to podman"]
    lines = ["## Start of a run", "", _row(head), _row(["---"] * len(head))]
    for name, title, most in (
        (starts.NAME, "no network, wall time", _START),
        (starts.PROCESSOR, "no network, processor time", None),
        (starts.PRIVATE, "private network, wall time", _START),
        (starts.PRIVATE_PROCESSOR, "private network, processor time", None),
    ):
        figures = [_figure(results.values(name, system), "s") for system in (pulls.OURS, pulls.PODMAN)]
        lines.append(_row([title, *figures, _judged(results.ratio(name, pulls.OURS, pulls.PODMAN), most)]))
    return [*lines, ""]


def _engines(results: Results) -> list[str]:
    """podman itself, on each file system."""
    if not results.values(engines.BUILD, OURS):
        return []
    head = ["podman", OURS, KERNEL, FUSE, "to fuse-overlayfs"]
    lines = ["## podman on each", "", _row(head), _row(["---"] * len(head))]
    start, other = (statistics.median(results.values(engines.START, system)) for system in (OURS, FUSE))
    more = start - other
    for name, title, judged in (
        (engines.START, "run --rm true", f"{more * 1000:+.0f} ms, at most 30: {_word(more <= _START_MORE)}"),
        (engines.BUILD, "a build of eight steps", _judged(results.ratio(engines.BUILD, OURS, FUSE), _BUILD)),
    ):
        figures = [_figure(results.values(name, system), "s") for system in (OURS, KERNEL, FUSE)]
        lines.append(_row([title, *figures, judged]))
    return [*lines, ""]


def _cells(results: Results, metric: Metric, systems: list[str]) -> list[str]:
    title = metric.title.format_map(results.words) + ("" if metric.unit == "s" else f", {metric.unit}")
    figures = [_figure(results.values(metric.name, system), metric.unit) for system in systems]
    return [
        title,
        *figures,
        _judged(results.ratio(metric.name, OURS, FUSE), metric.group.to_fuse),
        _judged(results.ratio(metric.name, OURS, KERNEL), metric.group.to_kernel),
    ]


def _summary(results: Results, measured: list[Metric]) -> list[str]:
    lines = ["## In all", ""]
    for other in (FUSE, KERNEL):
        ratios = [r.of_medians for m in measured if _counts(m.group) and (r := results.ratio(m.name, OURS, other))]
        if ratios:
            wanted = (
                f", wanted at most {_GEOMETRIC}: {_word(geometric_mean(ratios) <= _GEOMETRIC)}" if other == FUSE else ""
            )
            lines.append(f"- geometric mean of {len(ratios)} ratios to {other}: {geometric_mean(ratios):.2f}{wanted}")
    for name, title, most in (("trip-getattr", "getattr in µs", _GETATTR), ("memory", "resident in MiB", _RESIDENT)):
        if values := results.values(name, OURS):
            median = statistics.median(values)
            lines.append(f"- {title}: {median:.1f}, wanted at most {most:.0f}: {_word(median <= most)}")
    return [*lines, *(line for work in ("unpack", "list", "rm") for line in _growth(results, work))]


def _growth(results: Results, work: str) -> list[str]:
    """How much longer ten times the files took."""
    names = [f"{work}-{count}" for count in (1_000, 10_000, 100_000)]
    medians = [statistics.median(values) for name in names if (values := results.values(name, OURS))]
    factors = [f"{after / before:.1f}" for before, after in pairwise(medians)]
    return [f"- {work}: each 10 times the files took {', then '.join(factors)} times as long"] if factors else []


def _failures(results: Results) -> list[str]:
    return [f"- {name} on {system} failed: {reason}" for (name, system), reason in results.failures.items()]


def _counts(group: Group) -> bool:
    return group.to_fuse is not None


def _word(met: bool) -> str:
    return "met" if met else "**not met**"


def _judged(ratio: Ratio | None, most: float | None) -> str:
    if ratio is None:
        return "-"
    text = f"{ratio.of_medians:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"
    return text if most is None else f"{text}, {most}: {_word(ratio.of_medians <= most)}"


def _figure(values: list[float], unit: str) -> str:
    if not values:
        return "-"
    digits = {MICROSECONDS: 2, MIB: 1}.get(unit, 3 if statistics.median(values) >= 0.02 else 5)
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine() -> list[str]:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    versions = _said("fuse-overlayfs", "--version").splitlines()
    return [
        "# The machine",
        "",
        f"- {os.cpu_count()} cores of {model}, {memory} GiB",
        f"- Linux {platform.release()}, {_said('findmnt', '-n', '-o', 'FSTYPE', '-T', '/var/tmp').strip()}",
        f"- Python {platform.python_version()}, pyfuse3 {_version('pyfuse3')}, trio {_version('trio')}",
        *(f"- {line}" for line in versions if line.startswith(("fuse-overlayfs", "FUSE library"))),
        "",
    ]


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
