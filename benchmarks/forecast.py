"""How good forecasts are on M4's hourly series: OWA at 48 hours, interval coverage, cost.

Reads DIR/m4_hourly/train.csv.gz and test.csv. OWA is the competition's: the mean of sMAPE and MASE,
each relative to Naive2 (a naive forecast of what a seasonal decomposition leaves). Beside it, in
the same run: repeating yesterday, repeating last week's hours, and least squares over a day, which
is what PromQL's predict_linear does.
"""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import harness
from outrider.analysis.forecasting import forecast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HORIZON, DAY, WEEK = 48, 24, 168
QUICK_SERIES = 50


def main() -> None:
    chosen = harness.options(__doc__ or "", needs="m4_hourly")
    series = read(chosen.data / "m4_hourly")
    if chosen.quick:
        series = series[:QUICK_SERIES]
    naive = errors(series, [naive2(train) for train, _ in series])
    start = time.process_time()
    ours = [forecast(train, HORIZON, DAY) for train, _ in series]
    cost_ms = 1000 * (time.process_time() - start) / len(series)
    held = [
        (found.lower <= test) & (test <= found.upper)
        for found, (_, test) in zip(ours, series, strict=True)
    ]
    figures: dict[str, Any] = {
        **scores(errors(series, [found.mean for found in ours]), naive),
        "coverage_95": round(float(np.mean(held)), 4),
        "ms_per_series": round(cost_ms, 2),
        "series": len(series),
    }
    peers = {
        name: scores(errors(series, [peer(train) for train, _ in series]), naive)
        for name, peer in PEERS.items()
    }
    harness.finish("forecast", figures, peers)


def read(folder: Path) -> list[tuple[Floats, Floats]]:
    """Return (history, what came) of each series."""
    with gzip.open(folder / "train.csv.gz", "rt") as file:
        train = _rows(file.read())
    test = _rows((folder / "test.csv").read_text())
    return [(train[name], test[name]) for name in train]


def _rows(text: str) -> dict[str, Floats]:
    lines = [line.split(",") for line in text.splitlines()[1:]]
    return {name: np.array([float(cell) for cell in cells if cell]) for name, *cells in lines}


def errors(series: list[tuple[Floats, Floats]], means: list[Floats]) -> tuple[float, float]:
    """Return mean sMAPE in percent and mean MASE."""
    smape, mase = [], []
    for (train, test), mean in zip(series, means, strict=True):
        off = np.abs(test - mean)
        smape.append(np.mean(200 * off / (np.abs(test) + np.abs(mean))))
        mase.append(off.mean() / np.abs(train[DAY:] - train[:-DAY]).mean())
    return float(np.mean(smape)), float(np.mean(mase))


def scores(found: tuple[float, float], naive: tuple[float, float]) -> dict[str, float]:
    (smape, mase), (naive_smape, naive_mase) = found, naive
    owa = (smape / naive_smape + mase / naive_mase) / 2
    return {"owa": round(owa, 4), "smape": round(smape, 3), "mase": round(mase, 4)}


def naive2(train: Floats) -> Floats:
    """Return M4's Naive2: the last seasonally adjusted value, with the season put back."""
    if not _is_seasonal(train):
        return np.full(HORIZON, train[-1])
    kernel = np.ones(DAY + 1)
    kernel[0] = kernel[-1] = 0.5
    trend = np.convolve(train, kernel / DAY, "valid")
    ratio = np.full(len(train), np.nan)
    ratio[DAY // 2 : DAY // 2 + len(trend)] = train[DAY // 2 : DAY // 2 + len(trend)] / trend
    season = np.array([np.nanmean(ratio[phase::DAY]) for phase in range(DAY)])
    season /= season.mean()
    last = train[-1] / season[(len(train) - 1) % DAY]
    mean: Floats = last * season[(len(train) + np.arange(HORIZON)) % DAY]
    return mean


def _is_seasonal(train: Floats) -> bool:
    rest = train - train.mean()
    size = float(rest @ rest)
    if not size:
        return False
    lags = np.array([rest[lag:] @ rest[:-lag] / size for lag in range(1, DAY + 1)])
    limit = 1.645 * np.sqrt((1 + 2 * np.sum(lags[:-1] ** 2)) / len(train))
    return bool(abs(lags[-1]) > limit)


def _line(train: Floats) -> Floats:
    slope, now = np.polyfit(np.arange(-DAY + 1, 1), train[-DAY:], 1)
    mean: Floats = now + slope * np.arange(1, HORIZON + 1)
    return mean


PEERS: dict[str, Callable[[Floats], Floats]] = {
    "seasonal naive, a day": lambda train: np.tile(train[-DAY:], HORIZON // DAY),
    "seasonal naive, a week": lambda train: train[-WEEK : -WEEK + HORIZON],
    "least squares over a day": _line,
}


if __name__ == "__main__":
    main()
