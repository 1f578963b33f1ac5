"""One bot process: takes work when it is due, holds a connection for it, says how long it waited.

Reads a JSON object from standard input (``url``, ``work``: rows of due time and hold in seconds),
makes its engine as any bot does, and writes one JSON row for each
piece of work: due, wait, hold (seconds), and the error if there was one. With ``kind``
"sqlalchemy" the engine is SQLAlchemy's own; with ``mixed`` four of five pieces only read.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

import outrider

THREADS = 80
# What a handler does with its connection besides: it reads and writes a row, then calls an API.
READ = sa.text("SELECT balance FROM account WHERE id = :id")
WRITE = sa.text("UPDATE account SET balance = balance + 1 WHERE id = :id")
OTHER = sa.text("SELECT id FROM account WHERE balance = :id LIMIT 1")
NOTE = sa.text("INSERT INTO event (account) VALUES (:id)")


def main() -> None:
    given = json.loads(sys.stdin.readline())
    options: dict[str, Any] = given.get("options", {})
    if given.get("kind") == "sqlalchemy":
        pool = {"poolclass": NullPool} if options.pop("null", False) else {}
        address = sa.make_url(given["url"]).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(address, **pool, **options)
    else:
        engine = outrider.create_engine(given["url"], **{"pool_timeout": 30, **options})
    mixed = given.get("mixed", False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    start_s = float(sys.stdin.readline())  # when time 0 is
    done: list[dict[str, Any]] = []
    lock = threading.Lock()

    def work(due_s: float, hold_s: float, number: int) -> None:
        row = {"due_s": due_s, "wait_s": 0.0, "hold_s": 0.0, "error": ""}
        try:
            connection = engine.connect()
            taken_s = time.time()
            row["wait_s"] = taken_s - (start_s + due_s)
            with connection, connection.begin():
                connection.execute(READ, {"id": number % 1000})
                time.sleep(max(0.0, hold_s))
                own = {"id": number % 1000 + given["place"] * 1000}
                if mixed and number % 5:
                    connection.execute(OTHER, own)
                else:
                    connection.execute(WRITE, own)
                    if mixed:
                        connection.execute(NOTE, own)
            row["hold_s"] = time.time() - taken_s
        except Exception as error:  # noqa: BLE001 - counted, whatever it is
            row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
        with lock:
            done.append(row)

    with ThreadPoolExecutor(given.get("threads", THREADS)) as threads:
        for number, (due_s, hold_s) in enumerate(given["work"]):
            pause_s = start_s + due_s - time.time()
            if pause_s > 0:
                time.sleep(pause_s)
            threads.submit(work, due_s, hold_s, number)
    sys.stdout.write(json.dumps(done))


if __name__ == "__main__":
    main()
