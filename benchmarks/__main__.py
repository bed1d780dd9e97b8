"""The report: multigrey's speed beside postgrey's, greylistd's and a bare echo's, and the goals.

    .venv/bin/python -m benchmarks                 everything, about ten minutes
    .venv/bin/python -m benchmarks --quick policy  one part, roughly
    .venv/bin/python -m benchmarks profile known   where the time goes

Exit status: 0 when every goal was met or missed by less than a quarter, 1 when one was missed by more,
2 when something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.generator import Generator, build
from benchmarks.goals import table
from benchmarks.machine import BenchmarkError, Cores
from benchmarks.peers import SYSTEM_PYTHON
from benchmarks.profiling import WORKLOADS, profile
from benchmarks.report import PARTS, Report, Scale
from tests.support.debian import DebianError

QUICK = Scale(pairs=2, seconds=1.0, stall_seconds=5.0, week_decisions=500_000)
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "overlay"}


def main() -> int:
    """Parse the command line and run what it asks for."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="multigrey-bench-", dir=options.dir) as name:
        directory = Path(name)
        directory.chmod(0o755)  # the daemon gives up root and still has to reach its files
        try:
            generator = Generator(build(directory), Cores.of_this_machine(), directory)
            if options.parts[:1] == ["profile"]:
                return _profile(generator, directory, options)
            return _report(generator, directory, options)
        except (BenchmarkError, DebianError) as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all), or: profile WORKLOAD"
    )
    parser.add_argument("--pairs", type=int, help="rounds of A B A B (default 5)")
    parser.add_argument("--seconds", type=float, help="length of one measurement (default 2)")
    parser.add_argument("--quick", action="store_true", help="two short rounds: is it alive, not: how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path("/var/tmp"),
        help="a directory on the disk to be measured (%(default)s)",
    )
    return parser


def _report(generator: Generator, directory: Path, options: argparse.Namespace) -> int:
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        raise BenchmarkError(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(PARTS)})")
    scale = QUICK if options.quick else Scale()
    wanted = {"pairs": options.pairs, "seconds": options.seconds}
    scale = replace(scale, **{name: value for name, value in wanted.items() if value is not None})
    report = Report(scale, generator, directory)
    print(_machine(generator.cores, directory), flush=True)
    for name in options.parts or PARTS:
        PARTS[name](report)
    rows = [("goal", "wanted", "measured", "extremes", ""), *(outcome.row() for outcome in report.outcomes)]
    print(f"\n{table(rows)}")
    if options.json:
        goals = [{**asdict(outcome), "met": outcome.met} for outcome in report.outcomes]
        options.json.write_text(json.dumps({"goals": goals, "measurements": report.figures}, indent=1) + "\n")
    return 1 if any(outcome.far for outcome in report.outcomes) else 0


def _profile(generator: Generator, directory: Path, options: argparse.Namespace) -> int:
    wanted = options.parts[1:] or list(WORKLOADS)
    for name in wanted:
        if name not in WORKLOADS:
            raise BenchmarkError(f"no such workload: {name} (there are {', '.join(WORKLOADS)})")
        print(profile(generator, directory / name, name, options.seconds or 5.0), flush=True)
    return 0


def _machine(cores: Cores, directory: Path) -> str:
    """What one must know of the machine to read the rest."""
    pinned = (
        "server and generator pinned to a processor each" if cores.server is not None else "one processor"
    )
    kind = _file_system(directory)
    memory = (
        " (MEMORY, NOT A DISK: `new` means nothing here; see --dir)" if kind in MEMORY_FILE_SYSTEMS else ""
    )
    other = (
        ""
        if Path(sys.executable).resolve() == SYSTEM_PYTHON.resolve()
        else " (not greylistd's; see README.md)"
    )
    python = f"Python {platform.python_version()} of {sys.base_prefix}{other}"
    return f"{python}, Linux {platform.release()}, {pinned}, {kind}{memory}"


def _file_system(directory: Path) -> str:
    """The kind of file system a directory lies on, from the longest mount point that leads there."""
    best, kind = "", "unknown file system"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, point, name = line.split()[:3]
        if directory.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    return kind


if __name__ == "__main__":
    sys.exit(main())
