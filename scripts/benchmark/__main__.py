"""The command line of scripts/bench."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmark import engines, filesystems, pulls, report, starts
from benchmark.inputs import Inputs
from benchmark.measuring import Bench, Failed
from benchmark.results import Results
from benchmark.workloads import WORKLOADS, Workload

_DIRECTORY: Final = Path("/var/tmp/cowfs-bench")
_DOCS: Final = Path(__file__).parents[2] / "docs" / "bench"


def main() -> int:
    """Run the workloads, write the report."""
    arguments = _arguments()
    os.environ["COWFS_ROOT"] = str(arguments.directory / "store")
    inputs = Inputs(arguments.directory / "inputs", arguments.quick)
    systems = filesystems.known(arguments.commands)
    if not arguments.plain:
        del systems[filesystems.PLAIN]
    if arguments.systems:
        systems = {name: systems[name] for name in arguments.systems}
    chosen = [workload for workload in WORKLOADS if not arguments.only or workload.name in arguments.only]
    results = Results(rounds=arguments.rounds)
    shutil.rmtree(arguments.directory / "run", ignore_errors=True)
    inputs.directory.mkdir(parents=True, exist_ok=True)
    try:
        results.describe(inputs, chosen)
        for workload in chosen:
            for number in range(min(arguments.rounds, workload.rounds or arguments.rounds)):
                _one_round(workload, list(systems.values()), number, inputs, results)
        if not arguments.only or pulls.NAME in arguments.only:
            pulls.measure(inputs, arguments.commands, arguments.rounds, results)
        if not arguments.only or starts.NAME in arguments.only:
            starts.measure(arguments.directory / "run", arguments.commands, arguments.rounds, results)
        if not arguments.only or engines.NAME in arguments.only:
            engines.measure(arguments.directory / "run", arguments.commands, arguments.rounds, results)
        report.write(results, arguments.out)
    finally:
        shutil.rmtree(arguments.directory if not arguments.keep else arguments.directory / "run", ignore_errors=True)
    return 0


def _one_round(
    workload: Workload, systems: list[filesystems.FileSystem], number: int, inputs: Inputs, results: Results
) -> None:
    """Every file system in turn; another one begins in each round."""
    first = number % len(systems)
    for system in systems[first:] + systems[:first]:
        with filesystems.mounted(system, workload.lower(inputs), inputs.directory.parent / "run") as mount:
            bench = Bench(mount, inputs)
            try:
                workload.work(bench)
            except Failed as failure:
                results.fail(workload.name, system.name, str(failure))
                print(f"{workload.name} {number + 1} {system.name}: {failure}", file=sys.stderr)
            results.add(system.name, number, bench.figures, bench.processor)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in bench.figures.items())
        print(f"{workload.name} {number + 1} {system.name:15s} {shown}", file=sys.stderr, flush=True)


def _names() -> list[str]:
    return [*(workload.name for workload in WORKLOADS), pulls.NAME, starts.NAME, engines.NAME]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (5)")
    parser.add_argument("--only", nargs="+", choices=_names(), help="these workloads")
    parser.add_argument("--systems", nargs="+", help="these file systems")
    parser.add_argument("--plain", action="store_true", help="measure cowfs with --transport plain, too")
    parser.add_argument("--quick", action="store_true", help="smaller inputs")
    parser.add_argument("--keep", action="store_true", help="keep the inputs for the next run")
    parser.add_argument("--directory", type=Path, default=_DIRECTORY, help=f"where to work ({_DIRECTORY})")
    parser.add_argument("--out", type=Path, default=_DOCS, help="where the report goes (docs/bench)")
    parser.add_argument("--commands", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure or 'interrupted'}")
