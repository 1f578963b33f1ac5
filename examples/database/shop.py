"""A shop with three faults, for docs/how-to/mend-a-database.md: run it with a database's URL."""

import sys
import time

import sqlalchemy as sa

import outrider
from outrider.database import tally

engine = outrider.create_engine(sys.argv[1], pool_size=2, max_overflow=0, pool_timeout=1)
bot = outrider.Bot("shop")
forgotten: list[sa.Connection] = []


def prepare() -> None:
    """Make 50,000 orders, and no index on whose they are."""
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS orders"))
        connection.execute(
            sa.text(
                "CREATE TABLE orders AS SELECT n AS id, n % 5000 AS customer,"
                " repeat('x', 100) AS note FROM generate_series(1, 50000) n"
            )
        )
        connection.execute(sa.text("ANALYZE orders"))


def orders_of(customer: int) -> int:
    """Return how many there are; the connection is forgotten when there are none."""
    connection = engine.connect()
    found = connection.execute(
        sa.text("SELECT * FROM orders WHERE customer = :customer"), {"customer": customer}
    ).all()
    if not found:
        forgotten.append(connection)
        return 0  # the leak: this way out closes nothing
    connection.close()
    return len(found)


prepare()
for customer in range(50):
    orders_of(customer)
orders_of(-1)
time.sleep(12)
print({name: value for name, value in tally.readings().items() if "leaked" in name})
for finding in tally.findings():
    print(finding.text)
orders_of(-2)
try:
    orders_of(1)
except sa.exc.TimeoutError as error:
    print(str(error).splitlines()[0])
