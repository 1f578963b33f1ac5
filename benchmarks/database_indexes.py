"""Whether the missing indexes are found, and only those.

On a real server: tables of bots with planted missing indexes, and traps, which look like it and
are not (an index exists, the table is tiny, most rows are wanted, ...). ``advise`` gets all
statements at once, most of them with parameters, as pg_stat_statements shows them. Then every
proposal is really built on the real tables, and every statement it claims is run without and with.

``recall``: planted cases that run at least twice as quick with what was proposed for them.
``precision``: claims (a proposal for a statement) that hold by that measure; on a trap none may be
made. ``held_out`` are the same on a schema and templates that the rules were not written with.

Beside it PgHero's rules, after its source (WHERE and ORDER BY columns of one table by selectivity),
judged alike.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from benchmarks import harness
from benchmarks.indexes import cases, held_out, pghero
from outrider.database import explain, fingerprint, index_advice
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.indexes.cases import Case

ROWS, QUICK_ROWS = 200_000, 50_000
TWICE = 2.0
RUNS = 5


def main() -> None:
    chosen = harness.options(__doc__ or "")
    rows = QUICK_ROWS if chosen.quick else ROWS
    figures: dict[str, Any] = {"rows": rows}
    peers: dict[str, Any] = {}
    with postgres.Postgres(postgres.find()) as server:
        for name, schema, given in (
            ("", cases.KNOWN_SCHEMA, cases.known()),
            ("held_out_", held_out.SCHEMA, held_out.cases()),
        ):
            with _database(server, name or "known", schema.replace("{rows}", str(rows))) as engine:
                for hypopg in (False, True):
                    if hypopg and not _hypopg(server, name or "known"):
                        figures["hypopg"] = "not installed"
                        continue
                    prefix = name + ("hypopg_" if hypopg else "")
                    figures |= {
                        prefix + key: value
                        for key, value in _judge(engine, given, hypothetical=hypopg).items()
                    }
                peers |= {f"{name}pghero": _score(engine, given, pghero.claims(engine, given))}
    total = {
        key: sum(figures[f"{name}{key}"] for name in ("", "held_out_"))
        for key in ("planted", "traps", "found", "claims", "held")
    }
    figures["recall_known"], figures["precision_known"] = figures["recall"], figures["precision"]
    figures |= {
        "recall": round(total["found"] / total["planted"], 3),
        "precision": round(total["held"] / total["claims"], 3),
        "planted": total["planted"],
        "traps": total["traps"],
    }
    harness.finish("database_indexes", figures, {"PgHero": peers})


def _judge(engine: sa.Engine, given: list[Case], *, hypothetical: bool) -> dict[str, Any]:
    started = time.perf_counter()
    advice = index_advice.advise(
        engine, [index_advice.Asked(case.text) for case in given], hypothetical=hypothetical
    )
    took_s = time.perf_counter() - started
    for text, reason in advice.skipped:
        sys.stderr.write(f"skipped: {text[:70]}: {reason}\n")
    by_id = {fingerprint.of(case.text).id: case for case in given}
    claims: dict[str, list[str]] = {}
    for proposal in advice.proposals:
        for gain in proposal.gains:
            claims.setdefault(by_id[gain.fingerprint_id].name, []).append(proposal.ddl)
    return _score(engine, given, claims) | {
        "indexes": len(advice.proposals),
        "advise_ms_per_statement": round(took_s * 1000 / len(given), 1),
    }


def _score(engine: sa.Engine, given: list[Case], claims: dict[str, list[str]]) -> dict[str, Any]:
    """Build what was proposed for each case, run it without and with, and count."""
    found = held = made = 0
    gains = []
    planted = [case for case in given if case.planted]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for case in given:
            proposed = claims.get(case.name, [])
            if not proposed:
                if case.planted:
                    sys.stderr.write(f"missed: {case.name}\n")
                continue
            made += 1
            before = _least_ms(connection, case.filled)
            with _built(connection, proposed):
                after = _least_ms(connection, case.filled)
            quicker = before / max(after, 0.001)
            good = quicker >= TWICE
            held += good and case.planted
            found += good and case.planted
            gains.append(quicker)
            if not good or not case.planted:
                sys.stderr.write(
                    f"{'trap' if not case.planted else 'no gain'}: {case.name}: {quicker:.2f}x"
                    f" ({before:.2f} -> {after:.2f} ms) {proposed}\n"
                )
    gains.sort()
    return {
        "planted": len(planted),
        "traps": len(given) - len(planted),
        "found": found,
        "claims": made,
        "held": held,
        "recall": round(found / len(planted), 3),
        "precision": round(held / made, 3) if made else 0.0,
        "least_gain": round(gains[0], 1) if gains else None,
        "median_gain": round(gains[len(gains) // 2], 1) if gains else None,
    }


@contextlib.contextmanager
def _built(connection: sa.Connection, ddl: list[str]) -> Iterator[None]:
    names = []
    try:
        for number, each in enumerate(ddl):
            name = f"built_{number}"
            explain.run(connection, each.replace("INDEX CONCURRENTLY ON", f"INDEX {name} ON"))
            schema = each.split(" ON ")[1].split(".")[0]
            names.append(f"{schema}.{name}")
        for table in {each.split(" ON ")[1].split(" ")[0] for each in ddl}:
            explain.run(connection, f"ANALYZE {table}")
        yield
    finally:
        for name in names:
            explain.run(connection, f"DROP INDEX {name}")


def _least_ms(connection: sa.Connection, text: str) -> float:
    asked = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}"
    times = []
    for _ in range(RUNS):
        with explain.rolled_back(connection, timeout_s=60):
            times.append(explain.run(connection, asked).scalar_one()[0]["Execution Time"])
    return float(min(times))


@contextlib.contextmanager
def _database(server: postgres.Postgres, name: str, schema: str) -> Iterator[sa.Engine]:
    name = name.strip("_")
    server.run(f"CREATE DATABASE {name} OWNER {postgres.ROLE}")
    url = sa.make_url(server.url).set(drivername="postgresql+psycopg", database=name)
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in schema.split(";\n"):
            if statement.strip():
                explain.run(connection, statement)
    yield engine
    server.run(f"DROP DATABASE {name} WITH (FORCE)")


def _hypopg(server: postgres.Postgres, name: str) -> bool:
    try:
        server.run("CREATE EXTENSION IF NOT EXISTS hypopg", database=name.strip("_"))
    except Exception as error:  # noqa: BLE001 - whatever the reason, it is not there
        sys.stderr.write(f"HypoPG: {str(error).splitlines()[0]}\n")
        return False
    return True


if __name__ == "__main__":
    main()
