"""A planted case misses an index; a trap has all it needs, or no index would help.

Each schema has templates, filled in with several tables and columns. ``known`` is the schema the
rules were written with. ``held_out`` has other tables and other kinds of statement, was written
after the rules, and the rules were not changed for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """A statement as a bot sends it; ``values`` stand in for its parameters when it is really run."""

    name: str
    planted: bool
    text: str
    values: tuple[str, ...] = ()

    @property
    def filled(self) -> str:
        """Return the statement with values in place of ``$n``."""
        return re.sub(r"\$(\d+)", lambda found: self.values[int(found[1]) - 1], self.text)


KNOWN_SCHEMA = """
CREATE TABLE countries (code text PRIMARY KEY, name text);
INSERT INTO countries SELECT 'c' || n, 'Country ' || n FROM generate_series(1, 200) n;
CREATE TABLE users (id int PRIMARY KEY, telegram_id bigint UNIQUE, email text, username text,
  referrer_id int, country text, active boolean, profile jsonb, created_at timestamptz,
  last_seen timestamptz, banned_at timestamptz);
INSERT INTO users SELECT n, 10000000 + n, 'User' || n || '@Mail.example', 'name' || (n::bigint * 7919 % {rows}),
  CASE WHEN n % 20 = 0 THEN n / 20 END, 'c' || (n % 8), n % 10 > 0,
  jsonb_build_object('lang', (ARRAY['en','de','ru'])[1 + n % 3], 'ref', 'r' || (n * 31 % 20000), 'age', n % 80),
  '2024-01-01'::timestamptz + n * interval '3 minutes',
  '2025-01-01'::timestamptz + (n::bigint * 7919 % {rows}) * interval '1 minute',
  CASE WHEN n % 400 = 0 THEN '2025-01-01'::timestamptz END FROM generate_series(1, {rows}) n;
CREATE TABLE messages (id bigint PRIMARY KEY, user_id int, chat_id int, kind text, body text,
  sent_at timestamptz, read boolean, meta jsonb, reply_to bigint, tags text[]);
INSERT INTO messages SELECT n, (n::bigint * 7919 % 5000), n % 3000, (ARRAY['text','photo','voice','sticker'])[1 + n % 4],
  'message number ' || md5(n::text), '2025-01-01'::timestamptz + n * interval '1 minute', n % 100 > 0,
  jsonb_build_object('thread', n * 13 % 10000, 'source', 's' || n % 5, 'trace', md5(n::text)),
  CASE WHEN n % 3 = 0 THEN n - 2 END, ARRAY['t' || n % 2000, 'all'] FROM generate_series(1, {rows}) n;
CREATE INDEX messages_chat_sent ON messages (chat_id, sent_at);
CREATE TABLE trades (id bigint PRIMARY KEY, user_id int, pair text, side text, price numeric,
  amount numeric, opened_at timestamptz, closed_at timestamptz, exchange text, order_ref text);
INSERT INTO trades SELECT n, n * 31 % 4000, 'P' || (n * 17 % 40), CASE WHEN n % 2 = 0 THEN 'buy' ELSE 'sell' END,
  (n::bigint * 7919 % 100000) / 10.0, n % 1000, '2025-01-01'::timestamptz + (n::bigint * 104729 % {rows}) * interval '1 minute',
  CASE WHEN n % 150 > 0 THEN '2025-09-01'::timestamptz + n * interval '1 second' END, 'x' || n % 6, 'ref-' || n
  FROM generate_series(1, {rows}) n;
CREATE INDEX trades_ref ON trades (order_ref);
CREATE TABLE jobs (id bigint PRIMARY KEY, status text, queue text, run_at timestamptz, attempts int,
  locked_by text, payload jsonb, priority int, done boolean);
INSERT INTO jobs SELECT n, CASE WHEN n % 100 = 1 THEN 'pending' WHEN n % 200 = 2 THEN 'failed' ELSE 'done' END,
  'q' || n % 10, '2025-01-01'::timestamptz + n * interval '10 seconds', n % 4,
  CASE WHEN n % 300 = 0 THEN 'w' || n % 7 END, jsonb_build_object('bot', 'b' || n * 13 % 5000), n % 5, n % 100 <> 1
  FROM generate_series(1, {rows}) n;
CREATE INDEX jobs_run ON jobs (run_at);
VACUUM ANALYZE;
"""


def known() -> list[Case]:
    """Return the cases that the rules were written with."""
    found: list[Case] = []

    def plant(name: str, text: str, *values: str) -> None:
        found.append(Case(name, planted=True, text=text, values=values))

    def trap(name: str, text: str, *values: str) -> None:
        found.append(Case(name, planted=False, text=text, values=values))

    for table, column, value in (
        ("messages", "user_id", "17"), ("trades", "user_id", "31"), ("users", "email", "'User7@Mail.example'"),
        ("users", "username", "'name99'"), ("users", "referrer_id", "44"), ("messages", "reply_to", "100"),
    ):  # fmt: skip
        plant(f"equal {table}.{column}", f"SELECT * FROM {table} WHERE {column} = $1", value)
        plant(
            f"list {table}.{column}",
            f"SELECT id FROM {table} WHERE {column} IN ($1, $2)",
            value,
            value,
        )
    plant("equal and low", "SELECT * FROM trades WHERE pair = $1 AND user_id = $2", "'P7'", "31")
    plant(
        "latest of one",
        "SELECT * FROM messages WHERE user_id = $1 ORDER BY sent_at DESC LIMIT 20",
        "17",
    )
    plant("latest of all", "SELECT * FROM trades ORDER BY opened_at DESC LIMIT 10")
    plant(
        "page by key",
        "SELECT id FROM users WHERE last_seen > $1 ORDER BY last_seen LIMIT 50",
        "'2025-03-01'",
    )
    plant("range", "SELECT * FROM trades WHERE opened_at BETWEEN '2025-02-01' AND '2025-02-02'")
    plant(
        "range two",
        "SELECT count(*) FROM users WHERE last_seen >= '2025-02-01' AND last_seen < '2025-02-02'",
    )
    plant(
        "equal and range",
        "SELECT sum(amount) FROM trades WHERE pair = 'P3' AND opened_at >= '2025-02-01' AND opened_at < '2025-02-03'",
    )
    plant("lower", "SELECT * FROM users WHERE lower(email) = lower($1)", "'user7@mail.example'")
    plant("lower name", "SELECT id FROM users WHERE lower(username) = $1", "'name5'")
    plant("json text", "SELECT id FROM users WHERE profile->>'ref' = $1", "'r7'")
    plant("json number", "SELECT id FROM messages WHERE (meta->>'thread')::int = $1", "77")
    plant("json trace", "SELECT * FROM messages WHERE meta->>'trace' = $1", "md5('5')")
    plant("json job", "SELECT * FROM jobs WHERE payload->>'bot' = $1", "'b13'")
    plant("pending", "SELECT * FROM jobs WHERE status = 'pending' ORDER BY run_at LIMIT 1000")
    plant("failed of queue", "SELECT id FROM jobs WHERE status = 'failed' AND queue = $1", "'q2'")
    plant("locked", "SELECT id, locked_by FROM jobs WHERE locked_by IS NOT NULL")
    plant("not done", "SELECT id FROM jobs WHERE NOT done AND queue = $1", "'q1'")
    plant("unread", "SELECT id FROM messages WHERE read = false ORDER BY sent_at")
    plant("open trades", "SELECT * FROM trades WHERE closed_at IS NULL")
    plant(
        "open trades of pair", "SELECT * FROM trades WHERE closed_at IS NULL AND pair = $1", "'P4'"
    )
    plant("banned", "SELECT id FROM users WHERE banned_at IS NOT NULL ORDER BY banned_at DESC")
    plant("prefix", "SELECT id FROM users WHERE username LIKE 'name123%'")
    plant(
        "either",
        "SELECT id FROM users WHERE email = $1 OR username = $2",
        "'User7@Mail.example'",
        "'name3'",
    )
    plant("extreme", "SELECT max(opened_at) FROM trades")
    plant("extreme of one", "SELECT min(sent_at) FROM messages WHERE user_id = 11")
    plant(
        "join",
        "SELECT m.body FROM users u JOIN messages m ON m.user_id = u.id WHERE u.telegram_id = $1",
        "10000017",
    )
    plant(
        "join trades",
        "SELECT t.price FROM users u JOIN trades t ON t.user_id = u.id WHERE u.id IN (3, 4, 5)",
    )
    plant(
        "left join",
        "SELECT u.id, r.id FROM users u LEFT JOIN users r ON r.referrer_id = u.id WHERE u.id = $1",
        "9",
    )
    plant(
        "exists",
        "SELECT u.id FROM users u WHERE u.id < 50 AND EXISTS (SELECT 1 FROM trades t WHERE t.user_id = u.id AND t.price > 9990)",
    )
    plant(
        "count of one",
        "SELECT count(*) FROM messages WHERE user_id = $1 AND kind = $2",
        "17",
        "'photo'",
    )
    plant("update", "UPDATE trades SET amount = amount WHERE user_id = $1", "31")
    plant(
        "delete", "DELETE FROM messages WHERE user_id = $1 AND sent_at < $2", "17", "'2025-02-01'"
    )
    plant("member", "SELECT id FROM messages WHERE tags @> ARRAY['t55']")
    plant(
        "document",
        'SELECT id FROM users WHERE profile @> \'{{"ref": "r31"}}\''.replace("{{", "{").replace(
            "}}", "}"
        ),
    )
    plant(
        "with",
        "WITH mine AS (SELECT * FROM trades WHERE user_id = $1) SELECT count(*) FROM mine",
        "31",
    )
    plant(
        "sub-query",
        "SELECT * FROM (SELECT id, email FROM users WHERE username = $1) AS found",
        "'name8'",
    )

    trap("primary key", "SELECT * FROM users WHERE id = $1", "5")
    trap("unique", "SELECT * FROM users WHERE telegram_id = $1", "10000005")
    trap("covered", "SELECT * FROM messages WHERE chat_id = $1 ORDER BY sent_at DESC LIMIT 20", "5")
    trap("covered prefix", "SELECT * FROM messages WHERE chat_id = $1", "5")
    trap("covered ref", "SELECT * FROM trades WHERE order_ref = $1", "'ref-9'")
    trap("half", "SELECT * FROM trades WHERE side = $1", "'buy'")
    trap("few values", "SELECT * FROM users WHERE country = $1", "'c3'")
    trap("mostly true", "SELECT id, email, profile FROM users WHERE active")
    trap("common state", "SELECT * FROM jobs WHERE status = 'done'")
    trap("tiny", "SELECT * FROM countries WHERE name = $1", "'Country 3'")
    trap(
        "tiny join",
        "SELECT c.name, count(*) FROM users u JOIN countries c ON c.code = u.country GROUP BY c.name",
    )
    trap("full count", "SELECT count(*) FROM messages")
    trap("full sum", "SELECT pair, sum(amount) FROM trades GROUP BY pair")
    trap("middle", "SELECT id FROM messages WHERE body LIKE '%99af%'")
    trap("any case middle", "SELECT id FROM users WHERE email ILIKE '%7@mail%'")
    trap("not equal", "SELECT id, price FROM trades WHERE exchange <> $1", "'x1'")
    trap("wide range", "SELECT * FROM trades WHERE opened_at > '2025-01-05'")
    trap("not null mostly", "SELECT id, closed_at FROM trades WHERE closed_at IS NOT NULL")
    trap("any row", "SELECT * FROM users WHERE country = 'c1' LIMIT 5")
    trap(
        "whole join",
        "SELECT u.country, count(*) FROM users u JOIN trades t ON t.user_id = u.id GROUP BY u.country",
    )
    trap("zone", "SELECT count(*) FROM messages WHERE sent_at::date <> '2025-02-01'")
    trap("random", "SELECT * FROM users ORDER BY random() LIMIT 10")
    trap("sorted whole", "SELECT * FROM trades ORDER BY price")
    trap("json few", "SELECT id, profile FROM users WHERE profile->>'lang' = 'en'")
    trap("insert", "INSERT INTO countries VALUES ($1, $2)", "'zz'", "'Zed'")
    trap("range covered", "SELECT id FROM jobs WHERE run_at < '2025-01-01 01:00'")
    trap("not in", "SELECT id FROM jobs WHERE queue NOT IN ('q1', 'q2')")
    return found
