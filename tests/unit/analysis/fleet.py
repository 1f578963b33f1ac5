"""A synthetic fleet for tests of diagnosis: three bots that are well, and what is done to them."""

from __future__ import annotations

import numpy as np

from outrider.samples import Window, is_counter

TICKS = 60
FAULT = 44
BOTS = ("canary", "courier", "ledger")
NEEDS = dict.fromkeys(BOTS, ("telegram",))


class Fleet:
    """Columns by name. Counters are given by what they grow by at each tick of one second."""

    def __init__(self, *, ticks: int = TICKS, step_s: float = 1.0, seed: int = 1) -> None:
        self.draw = np.random.default_rng(seed)
        self.ticks, self.step_s = ticks, step_s
        self.columns: dict[str, np.ndarray] = {}
        self.set("host.cpu.used_ratio", self.near(0.2, 0.03))
        self.set("host.cpu.cores", 2)
        self.set("host.memory.used_ratio", self.near(0.3, 0.003))
        self.set("host.pressure.cpu.some_ratio", self.near(0.05, 0.01))
        for bot in (*BOTS, "telegram"):
            self.bot(bot)

    def bot(self, bot: str) -> None:
        b = f"bot.{bot}."
        calls = self.draw.poisson(4, self.ticks)
        for name, column in {
            "up": 1, "state": 2, "cpu_ratio": self.near(0.01, 0.002), "crashes_total": 0,
            "rss_bytes": self.near(80e6, 1e5), "loop_lag_s": self.near(0.002, 0.0005),
            "heartbeat_age_s": self.near(0.6, 0.1), "handle_update.count": calls,
            "handle_update.sum_s": calls * self.near(0.01, 0.002), "updates_total": calls,
            "errors_total": 0,
        }.items():  # fmt: skip
            self.set(b + name, column)
        if bot == "telegram":
            return
        queries = self.draw.poisson(8, self.ticks)
        for name, column in {
            "db.queries_total": queries, "db.query_seconds_total": queries * self.near(1e-3, 2e-4),
            "db.pool.used_ratio": self.draw.choice([0, 1 / 3], self.ticks), "db.pool.waiting": 0,
            "db.pool.wait_seconds_total": self.near(1e-4, 1e-5), "db.errors_total": 0,
            "cache.things.hits_total": self.draw.poisson(9, self.ticks),
            "cache.things.misses_total": self.draw.poisson(1, self.ticks),
            "cache.things.away": 0, "cache.things.fallbacks_total": 0,
        }.items():  # fmt: skip
            self.set(b + name, column)

    def near(self, value: float, spread: float) -> np.ndarray:
        return np.maximum(self.draw.normal(value, spread, self.ticks), 0)

    def set(self, name: str, column: object) -> Fleet:
        self.columns[name] = np.array(np.broadcast_to(np.asarray(column, float), self.ticks))
        return self

    def since(self, name: str, value: object, *, at: int = FAULT) -> Fleet:
        """Change a column from a tick on."""
        if name not in self.columns:
            self.set(name, 0)
        self.columns[name][at:] = value
        return self

    def slow(self, bot: str, *, seconds: float, at: int = FAULT) -> Fleet:
        """Let the handlers of a bot take so long."""
        calls = self.columns[f"bot.{bot}.handle_update.count"][at:]
        return self.since(f"bot.{bot}.handle_update.sum_s", calls * seconds, at=at)

    def slow_queries(self, bot: str, *, seconds: float, at: int = FAULT) -> Fleet:
        queries = self.columns[f"bot.{bot}.db.queries_total"][at:]
        return self.since(f"bot.{bot}.db.query_seconds_total", queries * seconds, at=at)

    def window(self) -> Window:
        columns = [
            np.cumsum(column) if is_counter(name) else column
            for name, column in self.columns.items()
        ]
        times_s = np.arange(self.ticks, dtype=np.float64) * self.step_s + 1000.0
        return Window(tuple(self.columns), times_s, np.array(columns).T)
