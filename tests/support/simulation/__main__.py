"""See the package."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.support.simulation.goals import GOALS, TEN_DAYS, TOGETHER, WEEKS, Measured, measure, report, table
from tests.support.simulation.mail import Outcome

_FULL_FLOOD, _QUICK_FLOOD = 1_000_000, 20_000


def _seeds(text: str) -> list[int]:
    """5, or 101-120."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def _options() -> Namespace:
    parser = ArgumentParser("python -m tests.support.simulation", description="Weeks of mail in seconds.")
    parser.add_argument("seed", nargs="*", type=_seeds, help="5 or 1-5 (default 1): print all tables")
    parser.add_argument("--goals", metavar="SEEDS", type=_seeds, help="only say which goals are met")
    parser.add_argument("--weeks", action="store_true", help="eight weeks instead of ten days")
    parser.add_argument("--full", action="store_true", help=f"floods of {_FULL_FLOOD:,} attempts")
    parser.add_argument("--no-spf", action="store_true", help="as without any plugin")
    parser.add_argument("--processes", type=int, default=2, help="seeds run at once (default 2)")
    return parser.parse_args()


def _one(measure_seed: partial[Measured], seed: int, *, keep: bool) -> tuple[Measured, str]:
    """The figures and the table of one seed; what became of each message stays in its process."""
    measured = measure_seed(seed)
    text = table(measured.full) if keep else ""
    empty = Outcome(measured.days, [], {}, ())
    values = measured.values, measured.one_shots, measured.one_shots_passed
    return Measured(seed, measured.days, *values, empty), text


def _all(options: Namespace, seeds: Sequence[int], *, keep: bool) -> Iterable[tuple[Measured, str]]:
    days = WEEKS if options.weeks else TEN_DAYS
    size = _FULL_FLOOD if options.full else _QUICK_FLOOD
    one = partial(_one, partial(measure, days=days, size=size, spf=not options.no_spf), keep=keep)
    if len(seeds) == 1 or options.processes < 2:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(options.processes) as pool:
        yield from pool.map(one, seeds)


def _tables(options: Namespace, seeds: Sequence[int]) -> None:
    for measured, text in _all(options, seeds, keep=True):
        sys.stdout.write(f"seed {measured.seed}, {measured.days} days\n{text}\n{report(measured)}\n")
        sys.stdout.flush()


def _goals(options: Namespace, seeds: Sequence[int]) -> bool:
    """A line for each seed, then one for each goal; whether all are met."""
    found, all_met = [], True
    for measured, _ in _all(options, seeds, keep=False):
        found.append(measured)
        missed = [f"{one.figure}: {measured.values[one.figure]:g}" for one in measured.missed()]
        sys.stdout.write(f"seed {measured.seed}: {'; '.join(missed) if missed else 'all goals met'}\n")
        sys.stdout.flush()
    for goal in (goal for goal in GOALS if found[0].days in goal.days):
        values = sorted(one.values[goal.figure] for one in found)
        met = sum(map(goal.met, values))
        span = f"{values[0]:g} to {values[-1]:g}"
        all_met &= met == len(found)
        sys.stdout.write(f"{goal!s:62}{span:26}{met} of {len(found)} seeds\n")
    number = sum(one.one_shots for one in found)
    value = 100 * sum(one.one_shots_passed for one in found) / number
    verdict = "met" if TOGETHER.met(value) else "MISSED"
    sys.stdout.write(f"{TOGETHER!s:62}{value:<26.4f}{verdict} ({number} messages)\n")
    return all_met and TOGETHER.met(value)


def main() -> None:
    """See `--help`."""
    options = _options()
    if options.goals:
        sys.exit(0 if _goals(options, options.goals) else 1)
    else:
        _tables(options, [seed for seeds in options.seed or [[1]] for seed in seeds])


if __name__ == "__main__":
    main()
