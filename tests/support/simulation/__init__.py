"""Weeks of mail in seconds: senders as they are in the field, against the engine with default settings.

    python -m tests.support.simulation [SEED ...]           what became of each class, and all figures
    python -m tests.support.simulation --goals 101-120      which goals are met, seed by seed

    schedules   when senders come back, and when their mail is too late
    mail        what a sender is, and what becomes of its mail
    hosts, dns  how hosts and authors look; what domains publish
    providers   the wanted mail of pools: the mix, as data
    senders     the rest of it
    attacks     the unwanted mail: spam, attacks on other senders, floods
    wiring      the engine, put together as the daemon does
    run         the queue of events
    figures     what came of it
    goals       what has to be reached

Nothing is random but the seed, and no time passes.  What a message does follows from the seed and its own
class and number alone, so the same mail can be run with and without an attack, and compared.
"""

from __future__ import annotations

from tests.support.simulation.goals import GOALS, Goal, Measured, goal, measure

__all__ = ["GOALS", "Goal", "Measured", "goal", "measure"]
