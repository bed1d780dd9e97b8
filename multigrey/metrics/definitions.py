"""Every metric there is: name, kind, labels and meaning, said once.

The collector, the table of multigrey-metrics(7) and the test of the dashboard are made from this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["COUNTER", "GAUGE", "HISTOGRAM", "LABELS", "METRICS", "STORE_FIGURES", "Metric"]

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """Without the ending _total of a counter."""
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name it is queried by; of a histogram: what its samples begin with."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


LABELS: Mapping[str, str] = MappingProxyType(
    {
        "action": "What was answered: pass, defer or reject.",
        "reason": "Why, in the words of REASONS in multigrey(8).",
        "listener": "The name of the [[listen]] that was asked.",
        "observed": "yes if it would have been deferred or refused but was only observed, else no.",
        "origin": "named (with a name of its own), unnamed (known by its network only) or provider.",
        "class": "The name of the [[class]]; empty: in none.",
        "plugin": "The name of a plugin; multigrey stands for what is built in.",
        "list": "A whitelist: its source and path.",
        "state": "active; review (active, but its review-by day is over); expired; disabled.  Lists in "
        "formats without dates only have active entries.",
        "mode": "enforce, observe or off.",
        "network": "A /24 or /64 (a /16 or /32 where many of its networks are concerned), or the name of an "
        "origin; a token where [log] redact is on.  At most five at a time.",
        "problem": "What cannot be true: own-clients, one-address, no-names or one-helo.",
        "version": "Of multigrey.",
        "backend": "The kind of store.",
    }
)
"""Every label and its values."""

_ALL = (
    Metric("multigrey_build_info", GAUGE, "Always 1.", ("version",)),
    Metric("multigrey_start_time_seconds", GAUGE, "When the daemon started, in seconds since 1970."),
    Metric(
        "multigrey_uptime_seconds",
        GAUGE,
        "How long the daemon has been running, whatever was done to the wall clock meanwhile.",
    ),
    Metric(
        "multigrey_mode",
        GAUGE,
        "1 for the mode in effect, 0 for the others.",
        ("mode",),
    ),
    Metric(
        "multigrey_decisions",
        COUNTER,
        "Attempts decided.",
        ("action", "reason", "listener", "observed"),
    ),
    Metric(
        "multigrey_acceptance_delay_seconds",
        HISTOGRAM,
        "Of mail that was deferred and then accepted: the time from its first attempt to its acceptance.  "
        "Mail that passed at once is not in it.",
        ("origin", "class"),
    ),
    Metric(
        "multigrey_class_target_seconds",
        GAUGE,
        "The target of a class, if it has one.",
        ("class",),
    ),
    Metric(
        "multigrey_class_over_target",
        COUNTER,
        "Mail of a class with a target that was accepted later than the target allows.",
        ("class",),
    ),
    Metric(
        "multigrey_deferrals",
        COUNTER,
        "First deferrals: mail that began to wait (early retries are not counted).",
        ("origin",),
    ),
    Metric(
        "multigrey_deferrals_returned",
        COUNTER,
        "Mail that was deferred, came back and passed.",
        ("origin",),
    ),
    Metric(
        "multigrey_deferrals_never_returned",
        COUNTER,
        "First deferrals that had not come back when their retry window was over: spam that was kept out, "
        "or mail that was lost.  Counted by the hour, so up to an hour late.",
        ("origin",),
    ),
    Metric(
        "multigrey_deferrals_waiting",
        GAUGE,
        "First deferrals that have not come back, and still may.",
        ("origin",),
    ),
    Metric(
        "multigrey_over_limit_attempts",
        COUNTER,
        "Attempts of networks and origins over the limit of new records ([limits] new_records): they are "
        "remembered by a mark only, and their own retries pass.",
    ),
    Metric(
        "multigrey_over_limit_networks",
        GAUGE,
        "Networks and named origins that are over the limit, or were within the last hour.",
    ),
    Metric(
        "multigrey_over_limit_hourly_attempts",
        GAUGE,
        "Attempts over the limit within the last hour, of the five networks with most of them.",
        ("network",),
    ),
    Metric(
        "multigrey_over_limit_since_seconds",
        GAUGE,
        "Since when each of these is over the limit, in seconds since 1970.",
        ("network",),
    ),
    Metric(
        "multigrey_input_implausible",
        GAUGE,
        "1 while what mail servers tell a listener of clients cannot be true, as behind a NAT or a proxy.",
        ("listener", "problem"),
    ),
    Metric(
        "multigrey_own_clients_ratio",
        GAUGE,
        "How much of the last 200 different attempts came from own clients, from 0 to 1.",
        ("listener",),
    ),
    Metric(
        "multigrey_answer_seconds",
        HISTOGRAM,
        "Time from reading a request to handing its answer to the kernel.",
    ),
    Metric(
        "multigrey_commit_seconds",
        HISTOGRAM,
        "How long answers waited for the disk: for each commit, the wait of the first of them.",
    ),
    Metric("multigrey_commit_answers", HISTOGRAM, "How many answers waited for the same commit."),
    Metric(
        "multigrey_loop_lag_seconds",
        HISTOGRAM,
        "How late the event loop was, looked at four times a second: what holds it up holds up everybody.",
    ),
    Metric("multigrey_connections", GAUGE, "Connections open."),
    Metric("multigrey_connections_limit", GAUGE, "How many there may be ([limits] connections)."),
    Metric("multigrey_internal_errors", COUNTER, "Connections that ended by a bug of multigrey's."),
    Metric("multigrey_log_lines_lost", COUNTER, "Decision lines that could not be written."),
    Metric("multigrey_store_up", GAUGE, "Whether the store told its figures: 1 or 0."),
    Metric("multigrey_store_info", GAUGE, "Always 1.", ("backend",)),
    Metric("multigrey_store_records", GAUGE, "Records in the store."),
    Metric("multigrey_store_origins", GAUGE, "Entries about origins."),
    Metric(
        "multigrey_store_marks",
        GAUGE,
        "Rows that hold marks of attempts over the limit of new records, up to 40 each; at most 32,768 rows.",
    ),
    Metric("multigrey_store_pending", GAUGE, "Entries not on disk yet."),
    Metric("multigrey_store_used_bytes", GAUGE, "Octets in use (LMDB)."),
    Metric("multigrey_store_limit_bytes", GAUGE, "What it may grow to: [store] map_size (LMDB)."),
    Metric("multigrey_store_file_bytes", GAUGE, "Octets of the file, free pages included (LMDB)."),
    Metric("multigrey_store_journal_bytes", GAUGE, "Octets of the journal (LMDB)."),
    Metric("multigrey_store_journal_entries", GAUGE, "Entries that wait for a checkpoint (LMDB)."),
    Metric("multigrey_store_last_commit_seconds", GAUGE, "How long the last commit took (LMDB)."),
    Metric("multigrey_store_last_checkpoint_seconds", GAUGE, "How long the last checkpoint took (LMDB)."),
    Metric("multigrey_store_commit_failures", COUNTER, "Commits that failed (LMDB)."),
    Metric("multigrey_store_checkpoint_failures", COUNTER, "Checkpoints that failed (LMDB)."),
    Metric("multigrey_store_records_limit", GAUGE, "[limits] max_records; 0 is no limit."),
    Metric(
        "multigrey_store_full",
        GAUGE,
        "1 while max_records leaves no room for new records beside those that have passed.",
    ),
    Metric(
        "multigrey_store_records_bounded",
        COUNTER,
        "Records forgotten early, because there were more than max_records.",
    ),
    Metric("multigrey_history_up", GAUGE, "Whether the history of decisions can be written: 1 or 0."),
    Metric("multigrey_history_decisions", GAUGE, "Decisions that the history remembers."),
    Metric(
        "multigrey_history_lost",
        COUNTER,
        "Decisions that the history did not keep: it could not be written, or there were very many of one "
        "reason at once.",
    ),
    Metric(
        "multigrey_plugin_calls",
        COUNTER,
        "Calls of sources that ask elsewhere; what is asked in memory is asked for every attempt.",
        ("plugin",),
    ),
    Metric(
        "multigrey_plugin_failures",
        COUNTER,
        "Calls of any kind that failed, gave something wrong or were late; all of them meant no vote.",
        ("plugin",),
    ),
    Metric(
        "multigrey_plugin_timeouts",
        COUNTER,
        "Of these, calls that had not answered within [limits] slow.",
        ("plugin",),
    ),
    Metric("multigrey_list_entries", GAUGE, "Entries of whitelists, as loaded.", ("list", "state")),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})
"""By name, in the order of the manual."""

STORE_FIGURES: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "records": ("multigrey_store_records", 1),
        "origins": ("multigrey_store_origins", 1),
        "marks": ("multigrey_store_marks", 1),
        "pending": ("multigrey_store_pending", 1),
        "used": ("multigrey_store_used_bytes", 1),
        "map_size": ("multigrey_store_limit_bytes", 1),
        "file": ("multigrey_store_file_bytes", 1),
        "journal": ("multigrey_store_journal_bytes", 1),
        "journaled": ("multigrey_store_journal_entries", 1),
        "last_commit_us": ("multigrey_store_last_commit_seconds", 1e-6),
        "last_checkpoint_us": ("multigrey_store_last_checkpoint_seconds", 1e-6),
        "commit_failures": ("multigrey_store_commit_failures", 1),
        "checkpoint_failures": ("multigrey_store_checkpoint_failures", 1),
    }
)
"""What a store says of itself (`Store.health`): the metric, and what a figure is multiplied by."""
