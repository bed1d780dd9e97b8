"""The definitions of all metrics: name, kind, labels and meaning.

The collector, the table of multigrey-metrics(7) and the test of the dashboard use them.
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
    """Without the suffix _total of a counter."""
    kind: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def sample(self) -> str:
        """The name for queries; for a histogram, what the names of its samples begin with."""
        return f"{self.name}_total" if self.kind == COUNTER else self.name


LABELS: Mapping[str, str] = MappingProxyType(
    {
        "action": "The action of the verdict: pass, defer or reject.",
        "reason": "The reason of the verdict, as in REASONS in multigrey(8).",
        "listener": "The name of the [[listen]] that received the request.",
        "observed": "yes if it would have been deferred or refused but was only observed, else no.",
        "origin": "named (with a name of its own), unnamed (known by its network only) or provider.",
        "class": "The name of the [[class]]; empty for mail in no class.",
        "plugin": "The name of a plugin; multigrey stands for what is built in.",
        "list": "A whitelist: its source and path.",
        "state": "active; review (active, but its review_by day is over); expired; disabled.  Lists in "
        "formats without dates have active entries only.",
        "mode": "enforce, observe or off.",
        "network": "A /24 or /64 (a /16 or /32 where many of its networks are concerned), or the name of an "
        "origin; a token where [log] redact is on.  At most five at a time.",
        "problem": "The kind of implausible input: own-clients, one-address, no-names or one-helo.",
        "version": "The version of multigrey.",
        "backend": "The kind of store.",
    }
)
"""Every label and its values."""

_ALL = (
    Metric("multigrey_build_info", GAUGE, "Always 1; the label is the version.", ("version",)),
    Metric("multigrey_start_time_seconds", GAUGE, "When the daemon started, in seconds since 1970."),
    Metric(
        "multigrey_uptime_seconds",
        GAUGE,
        "How long the daemon has been running, regardless of changes of the wall clock.",
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
        "The time from the first attempt to acceptance, for mail that was deferred and then accepted.  "
        "Mail that passed at once is not counted.",
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
        "First deferrals of mail (early retries are not counted).",
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
        "or lost mail.  Counted by the hour, so up to an hour late.",
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
        "Attempts of networks and origins over the limit of new records ([limits] new_records), which are "
        "remembered by a mark only; their own retries pass.",
    ),
    Metric(
        "multigrey_over_limit_networks",
        GAUGE,
        "Networks and named origins that are over the limit, or were within the last hour.",
    ),
    Metric(
        "multigrey_over_limit_hourly_attempts",
        GAUGE,
        "Attempts over the limit within the last hour, for the five networks with the most.",
        ("network",),
    ),
    Metric(
        "multigrey_over_limit_since_seconds",
        GAUGE,
        "When each of these networks went over the limit, in seconds since 1970.",
        ("network",),
    ),
    Metric(
        "multigrey_input_implausible",
        GAUGE,
        "1 while the client data that mail servers send to a listener cannot be true, as behind a NAT or a "
        "proxy.",
        ("listener", "problem"),
    ),
    Metric(
        "multigrey_own_clients_ratio",
        GAUGE,
        "The share of the last 200 different attempts that came from own clients, from 0 to 1.",
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
        "How long answers waited for the disk: for each commit, the wait of its first answer.",
    ),
    Metric("multigrey_commit_answers", HISTOGRAM, "The number of answers that waited for the same commit."),
    Metric(
        "multigrey_loop_lag_seconds",
        HISTOGRAM,
        "How late the event loop was, measured four times a second; a late loop delays all answers.",
    ),
    Metric("multigrey_connections", GAUGE, "Open connections."),
    Metric("multigrey_connections_limit", GAUGE, "The limit of open connections ([limits] connections)."),
    Metric("multigrey_internal_errors", COUNTER, "Connections that ended because of a bug in multigrey."),
    Metric("multigrey_log_lines_lost", COUNTER, "Decision lines that could not be written."),
    Metric(
        "multigrey_listener_up",
        GAUGE,
        "Whether connections of mail servers can be accepted: 1 or 0.",
        ("listener",),
    ),
    Metric("multigrey_log_up", GAUGE, "Whether decision lines are written where they belong: 1 or 0."),
    Metric("multigrey_reload_up", GAUGE, "Whether the latest reload was accepted: 1 or 0."),
    Metric(
        "multigrey_list_up",
        GAUGE,
        "Whether the file or directory of a whitelist is there and can be read: 1 or 0.",
        ("list",),
    ),
    Metric(
        "multigrey_state_directory_up",
        GAUGE,
        "Whether the files that the daemon writes still have their names in the state directory: 1 or 0.",
    ),
    Metric("multigrey_store_up", GAUGE, "Whether the store reported its figures: 1 or 0."),
    Metric("multigrey_store_info", GAUGE, "Always 1; the label is the kind of store.", ("backend",)),
    Metric("multigrey_store_records", GAUGE, "Records in the store."),
    Metric("multigrey_store_origins", GAUGE, "Entries about origins."),
    Metric(
        "multigrey_store_marks",
        GAUGE,
        "Rows with marks of attempts over the limit of new records, up to 40 each; at most 32,768 rows.",
    ),
    Metric("multigrey_store_pending", GAUGE, "Entries that are not on disk yet."),
    Metric("multigrey_store_used_bytes", GAUGE, "Octets in use (LMDB)."),
    Metric("multigrey_store_limit_bytes", GAUGE, "The largest size of the store: [store] map_size (LMDB)."),
    Metric("multigrey_store_file_bytes", GAUGE, "Size of the file in octets, free pages included (LMDB)."),
    Metric("multigrey_store_journal_bytes", GAUGE, "Size of the journal in octets (LMDB)."),
    Metric("multigrey_store_journal_entries", GAUGE, "Entries that wait for a checkpoint (LMDB)."),
    Metric("multigrey_store_last_commit_seconds", GAUGE, "How long the last commit took (LMDB)."),
    Metric("multigrey_store_last_checkpoint_seconds", GAUGE, "How long the last checkpoint took (LMDB)."),
    Metric("multigrey_store_commit_failures", COUNTER, "Commits that failed (LMDB)."),
    Metric("multigrey_store_checkpoint_failures", COUNTER, "Checkpoints that failed (LMDB)."),
    Metric(
        "multigrey_store_damaged",
        GAUGE,
        "1 while damage of the store waits to be looked at: it was met, or a store.damaged.N is still there "
        "(LMDB).",
    ),
    Metric("multigrey_store_records_limit", GAUGE, "[limits] max_records; 0 means no limit."),
    Metric(
        "multigrey_store_full",
        GAUGE,
        "1 while max_records leaves no room for new records beside those that have passed.",
    ),
    Metric(
        "multigrey_store_records_bounded",
        COUNTER,
        "Records evicted early, because there were more than max_records.",
    ),
    Metric("multigrey_history_up", GAUGE, "Whether the history of decisions can be written: 1 or 0."),
    Metric("multigrey_history_decisions", GAUGE, "Decisions in the history."),
    Metric(
        "multigrey_history_lost",
        COUNTER,
        "Decisions that the history did not keep, because it could not be written, or because there were "
        "very many of one reason at once.",
    ),
    Metric(
        "multigrey_plugin_calls",
        COUNTER,
        "Calls of slow sources, which query other services.  Sources in memory are asked for every attempt, "
        "and not counted.",
        ("plugin",),
    ),
    Metric(
        "multigrey_plugin_failures",
        COUNTER,
        "Calls of any kind that raised an error, returned a wrong value or were late; each meant no vote.",
        ("plugin",),
    ),
    Metric(
        "multigrey_plugin_timeouts",
        COUNTER,
        "Those of the failed calls that had not answered within [limits] slow.",
        ("plugin",),
    ),
    Metric(
        "multigrey_plugin_up",
        GAUGE,
        "Whether the latest call of each object of the plugin was answered: 1 or 0.",
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
"""The figures of `Store.health`: the metric of each, and the factor that the figure is multiplied by."""
