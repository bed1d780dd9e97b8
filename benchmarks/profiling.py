"""Where the daemon's time goes under load.

Two views: cProfile counts calls and adds costs of its own to each; the sampler (run_sampled.py) looks
at what runs a few hundred times a second, changes little, and sees only Python functions.
"""

from __future__ import annotations

import io
import pstats
import signal
from pathlib import Path

from benchmarks.generator import Generator, Load
from benchmarks.ours import start_multigrey, write_config

__all__ = ["WORKLOADS", "profile"]

WORKLOADS = {
    "known": ("postfix", "known"),
    "new": ("postfix", "new"),
    "one-shot-known": ("exim", "known"),
    "one-shot-new": ("exim", "new"),
}
"""Name on the command line: protocol and workload."""
LINES = 40


def profile(generator: Generator, directory: Path, name: str, seconds: float) -> str:
    """Both views of one workload, as text."""
    protocol, workload = WORKLOADS[name]
    load = Load(protocol, workload, seconds=seconds)
    directory.mkdir()
    directory.chmod(0o777)  # the daemon writes its figures after it gave up root
    counted, sampled = directory / "counted", directory / "sampled"
    texts = []
    for output, serve in (
        (sampled, ("-m", "benchmarks.run_sampled", str(sampled))),
        (counted, ("-m", "benchmarks.run_counted", str(counted))),
    ):
        config = write_config(directory / output.name.removesuffix("d"))
        with start_multigrey(config, generator.cores.server, serve=serve) as server:
            server.wait_ready()
            if workload == "known":
                generator.make_known(server, load)
            server.process.send_signal(signal.SIGUSR2)
            measured = generator.run(server, load) if workload == "known" else generator.run_new(server, load)
        texts.append(f"{measured.rate:.0f} answers/s, {measured.cpu_per_answer:.1f} us CPU each")
        texts.append(output.read_text() if output is sampled else _calls(output))
    return f"== {name}, sampled: {texts[0]}\n{texts[1]}\n== {name}, counted: {texts[2]}\n{texts[3]}"


def _calls(path: Path) -> str:
    """cProfile's figures, by time spent in the function itself."""
    text = io.StringIO()
    pstats.Stats(str(path), stream=text).strip_dirs().sort_stats("tottime").print_stats(LINES)
    return text.getvalue()
