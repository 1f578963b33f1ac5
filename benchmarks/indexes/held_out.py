"""Cases that the rules were not written with; see :mod:`benchmarks.indexes.cases`."""

from __future__ import annotations

from benchmarks.indexes.cases import Case

SCHEMA = """
CREATE SCHEMA game;
CREATE TABLE game.ranks (id int PRIMARY KEY, title text);
INSERT INTO game.ranks SELECT n, 'rank ' || n FROM generate_series(1, 12) n;
CREATE TABLE devices (id uuid PRIMARY KEY, serial varchar(40), owner text, firmware text, config jsonb,
  labels text[], parent uuid, installed date, retired boolean NOT NULL DEFAULT false);
INSERT INTO devices SELECT md5(n::text)::uuid, 'SN-' || lpad((n::bigint * 7919 % {rows})::text, 8, '0'),
  'Owner ' || (n % 6000), 'v' || n % 9, jsonb_build_object('net', jsonb_build_object('mac', md5('m' || n)), 'mode', 'm' || n % 3),
  ARRAY['site' || n % 3000, 'floor' || n % 4], CASE WHEN n % 7 = 0 THEN md5((n / 7)::text)::uuid END,
  '2015-01-01'::date + n % 3600, n % 500 = 0 FROM generate_series(1, {rows}) n;
CREATE TABLE readings (id bigserial PRIMARY KEY, device uuid, metric text, value double precision,
  at timestamp, quality smallint, note text);
INSERT INTO readings (device, metric, value, at, quality, note)
  SELECT md5((n % 4000 + 1)::text)::uuid, 'metric' || n % 12, (n::bigint * 104729 % 1000003) / 7.0,
  '2025-01-01'::timestamp + (n::bigint * 7919 % {rows}) * interval '30 seconds', n % 3,
  CASE WHEN n % 250 = 0 THEN 'spike ' || n END FROM generate_series(1, {rows}) n;
CREATE TABLE tickets (no int PRIMARY KEY, state smallint, opener text, assignee int, subject text,
  opened timestamptz, closed timestamptz, severity int, guild bigint, "order" int);
INSERT INTO tickets SELECT n, CASE WHEN n % 120 = 0 THEN 1 WHEN n % 97 = 0 THEN 2 ELSE 3 END, 'person' || n % 9000,
  n % 2500, 'Subject ' || md5(n::text), '2024-01-01'::timestamptz + n * interval '2 minutes',
  CASE WHEN n % 120 > 0 THEN '2024-06-01'::timestamptz + n * interval '2 minutes' END, n % 5, n % 700,
  n::bigint * 31 % 50000 FROM generate_series(1, {rows}) n;
CREATE INDEX tickets_guild ON tickets (guild, opened DESC);
CREATE INDEX tickets_lower ON tickets (lower(subject));
CREATE TABLE payments (id int PRIMARY KEY, ticket_no int, account text, amount_cents bigint, currency char(3),
  paid_on date, refunded_on date, provider text, external_id text, attempts int);
INSERT INTO payments SELECT n, n::bigint * 13 % {rows}, 'acc' || n % 8000, n % 99991, (ARRAY['EUR','USD','GBP'])[1 + n % 3],
  '2020-01-01'::date + (n % 2000), CASE WHEN n % 300 = 0 THEN '2024-05-05'::date END, 'prov' || n % 4,
  CASE WHEN n % 2 = 0 THEN 'ext' || n END, n % 3 FROM generate_series(1, {rows}) n;
CREATE UNIQUE INDEX payments_external ON payments (external_id) WHERE external_id IS NOT NULL;
CREATE TABLE game.scores (player int, level int, points int, at timestamptz, PRIMARY KEY (player, level));
INSERT INTO game.scores SELECT n / 40, n % 40, n::bigint * 7919 % 1000003, '2025-01-01'::timestamptz + n * interval '1 second'
  FROM generate_series(1, {rows}) n;
VACUUM ANALYZE;
"""


def cases() -> list[Case]:
    """Return them."""
    found: list[Case] = []

    def plant(name: str, text: str, *values: str) -> None:
        found.append(Case(name, planted=True, text=text, values=values))

    def trap(name: str, text: str, *values: str) -> None:
        found.append(Case(name, planted=False, text=text, values=values))

    device = "'c4ca4238-a0b9-2382-0dcc-509a6f75849b'"
    plant("uuid", "SELECT avg(value) FROM readings WHERE device = $1", device)
    plant(
        "latest reading",
        "SELECT r.value FROM readings AS r WHERE r.device = $1 AND r.metric = $2 ORDER BY r.at DESC LIMIT 1",
        device,
        "'metric1'",
    )
    plant("varchar", "SELECT owner FROM devices WHERE serial = $1::varchar", "'SN-00000012'")
    plant("upper", "SELECT id FROM devices WHERE upper(serial) = $1", "'SN-00000012'")
    plant("nested json", "SELECT id FROM devices WHERE config->'net'->>'mac' = $1", "md5('m5')")
    plant("json path", "SELECT id FROM devices WHERE config #>> '{net,mac}' = $1", "md5('m6')")
    plant("overlap", "SELECT id FROM devices WHERE labels && ARRAY['site1', 'site2']")
    plant("retired", "SELECT serial FROM devices WHERE retired IS TRUE")
    plant(
        "children",
        "SELECT c.serial FROM devices p JOIN devices c ON c.parent = p.id WHERE p.id = $1",
        device,
    )
    plant(
        "union",
        "SELECT no FROM tickets WHERE opener = $1 UNION ALL SELECT id FROM payments WHERE account = $2",
        "'person5'",
        "'acc5'",
    )
    plant(
        "in select",
        "SELECT * FROM payments WHERE ticket_no IN (SELECT no FROM tickets WHERE guild = 3 AND opened < '2024-01-05')",
    )
    plant(
        "not exists",
        "SELECT t.no FROM tickets t WHERE t.no < 40 AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.ticket_no = t.no)",
    )
    plant(
        "scalar",
        "SELECT t.no, (SELECT sum(p.amount_cents) FROM payments p WHERE p.ticket_no = t.no) FROM tickets t WHERE t.no BETWEEN 10 AND 20",
    )
    plant(
        "lateral",
        "SELECT d.serial, l.value FROM devices d CROSS JOIN LATERAL (SELECT value FROM readings r WHERE r.device = d.id ORDER BY r.at DESC LIMIT 1) l WHERE d.id = $1",
        device,
    )
    plant(
        "key set",
        "SELECT id, at FROM readings WHERE (at, id) > ('2025-01-10', 5) ORDER BY at, id LIMIT 30",
    )
    plant("mixed order", 'SELECT no FROM tickets ORDER BY "order" DESC, no ASC LIMIT 15')
    plant("keyword column", 'SELECT no FROM tickets WHERE "order" = $1', "77")
    plant(
        "now",
        "SELECT count(*) FROM readings WHERE at > '2025-01-03'::timestamp - interval '1 hour' AND at <= '2025-01-03'",
    )
    plant("small state", "SELECT no, subject FROM tickets WHERE state = 1")
    plant(
        "small state severe",
        "SELECT no FROM tickets WHERE state = 1 AND severity >= $1 ORDER BY opened",
        "4",
    )
    plant("open for", "SELECT no FROM tickets WHERE closed IS NULL AND assignee = $1", "120")
    plant(
        "refunds",
        "SELECT account, amount_cents FROM payments WHERE refunded_on IS NOT NULL ORDER BY refunded_on",
    )
    plant(
        "noted",
        "SELECT id, note FROM readings WHERE note IS NOT NULL AND metric = $1",
        "'metric10'",
    )
    plant(
        "account day",
        "SELECT sum(amount_cents) FROM payments WHERE account = $1 AND paid_on >= $2",
        "'acc77'",
        "'2024-06-01'",
    )
    plant(
        "coalesce", "SELECT id FROM payments WHERE coalesce(external_id, account) = $1", "'ext88'"
    )
    plant("arithmetic", "SELECT no FROM tickets WHERE assignee * 10 = $1", "770")
    plant("concat", "SELECT id FROM payments WHERE provider || ':' || account = $1", "'prov1:acc5'")
    plant(
        "update from",
        "UPDATE payments p SET attempts = attempts FROM tickets t WHERE p.ticket_no = t.no AND t.no = $1",
        "9",
    )
    plant(
        "delete using",
        "DELETE FROM readings USING devices d WHERE readings.device = d.id AND d.id = $1",
        device,
    )
    plant(
        "distinct on",
        "SELECT DISTINCT ON (metric) metric, value FROM readings WHERE device = $1 ORDER BY metric, at DESC",
        device,
    )
    plant("for update", "SELECT * FROM tickets WHERE assignee = $1 FOR UPDATE", "5")
    plant(
        "with recursive",
        "WITH RECURSIVE below AS (SELECT id FROM devices WHERE id = $1 UNION ALL SELECT d.id FROM devices d JOIN below b ON d.parent = b.id) SELECT count(*) FROM below",
        device,
    )
    plant(
        "three tables",
        "SELECT d.owner, r.value FROM payments p JOIN tickets t ON t.no = p.ticket_no JOIN readings r ON r.id = t.no JOIN devices d ON d.id = r.device WHERE p.account = $1",
        "'acc9'",
    )
    plant(
        "schema",
        "SELECT player FROM game.scores WHERE points > 999000 ORDER BY points DESC LIMIT 10",
    )
    plant(
        "top scores",
        "SELECT player, points FROM game.scores WHERE level = $1 ORDER BY points DESC LIMIT 10",
        "7",
    )

    # PostgreSQL has no index for a value among a column's members in this spelling.
    trap(
        "any of array", "SELECT id FROM devices WHERE $1 = ANY (labels) AND NOT retired", "'site5'"
    )
    trap("second of key", "SELECT * FROM game.scores WHERE player = $1", "4")
    trap("whole key", "SELECT points FROM game.scores WHERE player = $1 AND level = $2", "4", "5")
    trap("partial there", "SELECT * FROM payments WHERE external_id = $1", "'ext8'")
    trap("expression there", "SELECT no FROM tickets WHERE lower(subject) = $1", "'subject x'")
    trap("order there", "SELECT * FROM tickets WHERE guild = $1 ORDER BY opened DESC LIMIT 10", "5")
    trap("uuid key", "SELECT * FROM devices WHERE id = $1", device)
    trap("tiny in schema", "SELECT * FROM game.ranks WHERE title = $1", "'rank 3'")
    trap("three currencies", "SELECT sum(amount_cents) FROM payments WHERE currency = $1", "'EUR'")
    trap("common smallint", "SELECT * FROM tickets WHERE state = 3")
    trap("nine firmwares", "SELECT id, config FROM devices WHERE firmware = $1", "'v3'")
    trap("json mode", "SELECT id FROM devices WHERE config->>'mode' = 'm1'")
    trap("grouped by day", "SELECT date_trunc('day', at), avg(value) FROM readings GROUP BY 1")
    trap("suffix", "SELECT id FROM devices WHERE serial LIKE '%0012'")
    trap("unknown pattern", "SELECT id FROM devices WHERE owner LIKE $1", "'%7'")
    trap("most of range", "SELECT * FROM payments WHERE paid_on > '2020-02-01'")
    trap("or with all", "SELECT id, account FROM payments WHERE account = 'acc1' OR attempts >= 0")
    trap(
        "window", "SELECT no, row_number() OVER (PARTITION BY guild ORDER BY severity) FROM tickets"
    )
    trap("unlimited order", "SELECT no, subject, opened FROM tickets ORDER BY severity, subject")
    trap("first few", "SELECT * FROM readings WHERE quality = 1 LIMIT 3")
    trap("whole union", "SELECT account FROM payments UNION SELECT opener FROM tickets")
    trap("not distinct", "SELECT id FROM payments WHERE provider IS DISTINCT FROM 'prov1'")
    trap(
        "stable", "SELECT no FROM tickets WHERE to_char(opened, 'YYYY') = '2030' AND severity >= 0"
    )
    trap("insert select", "INSERT INTO game.ranks SELECT no, subject FROM tickets WHERE no = -1")
    trap("all but", "SELECT id FROM payments WHERE NOT (provider = 'prov9')")
    return found
