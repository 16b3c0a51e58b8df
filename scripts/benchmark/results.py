"""The figures of a run, and what follows from them: medians, ratios, targets. Used by the report."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass, field

from benchmark.inputs import Inputs
from benchmark.workloads import Workload, idle_seconds


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over another's: of the medians, and the least and most of a round."""

    of_medians: float
    least: float
    most: float


@dataclass(slots=True)
class Results:
    """Figures by metric, file system and round, and processor seconds in the same way; failures by workload."""

    rounds: int
    words: dict[str, str] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    processor: dict[str, dict[str, dict[int, float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def describe(self, inputs: Inputs, chosen: list[Workload]) -> None:
        """Make all inputs that the chosen workloads need, and keep the words that titles have gaps for."""
        for workload in chosen:
            workload.lower(inputs)
        names = {workload.name for workload in chosen}
        self.words["small"] = f"{inputs.small_count:,}"
        self.words["idle"] = str(idle_seconds(inputs))
        self.words["big"] = f"{inputs.big_mebibytes} MiB"
        if "dpkg" in names:
            self.words["packages"] = str(inputs.package_count())
        if "usr" in names:
            self.words["usr"] = f"{inputs.usr_tar.stat().st_size >> 20} MiB"

    def add(self, system: str, number: int, figures: dict[str, float], processor: dict[str, float]) -> None:
        """What one file system took in one round."""
        for name, value in figures.items():
            self.figures[name][system][number] = value
        for name, value in processor.items():
            self.processor[name][system][number] = value

    def fail(self, workload: str, system: str, reason: str) -> None:
        """A workload could not be done."""
        self.failures[workload, system] = reason

    def values(self, metric: str, system: str) -> list[float]:
        """The figures of all rounds, none where there are none."""
        return list(self.figures[metric][system].values()) if metric in self.figures else []

    def ratio(self, metric: str, ours: str, other: str) -> Ratio | None:
        """Ours over another's, where both have figures."""
        mine, theirs = self.figures[metric][ours], self.figures[metric][other]
        rounds = mine.keys() & theirs.keys()
        if not rounds or not all(theirs.values()):
            return None
        each = [mine[number] / theirs[number] for number in rounds]
        medians = statistics.median(mine.values()) / statistics.median(theirs.values())
        return Ratio(medians, min(each), max(each))


def geometric_mean(ratios: list[float]) -> float:
    """The mean of factors."""
    return math.exp(statistics.fmean(map(math.log, ratios)))
