"""What PostgreSQL 13 to 17 says of itself to an ordinary role.

Each group is a statement of its own, so that one which a server refuses (hosted ones forbid the
log's position, a replica has none of its own) costs the others nothing. Connections are counted by
what every role may see. The server hides the state of other roles' sessions: without pg_monitor,
"active", the longest transaction and the lag of replicas are of our own role, or left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

# Checkpoints have a view of their own since.
_CHECKPOINTER_SINCE = 17
# xid_used_ratio: a server stops to take writes when its oldest transaction is 2^31 of them old.
_SERVER = sa.text("""
WITH clients AS (
  SELECT pid, state, xact_start FROM pg_stat_activity
  WHERE datid IS NOT NULL AND usesysid IS NOT NULL
    AND coalesce(backend_type, 'client backend') = 'client backend'
), others AS (
  SELECT state, xact_start FROM clients WHERE pid <> pg_backend_pid()
), kept AS (
  SELECT * FROM pg_stat_database WHERE datname = current_database()
)
SELECT
  (SELECT count(*) FROM clients) AS "connections.used",
  current_setting('max_connections')::int AS "connections.max",
  (SELECT count(*) FROM clients)::float / current_setting('max_connections')::int
    AS "connections.used_ratio",
  (SELECT count(*) FROM others WHERE state = 'active') AS "connections.active",
  (SELECT count(*) FROM others WHERE state LIKE 'idle in transaction%')
    AS "connections.idle_in_transaction",
  (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0) FROM others)
    AS longest_transaction_s,
  (SELECT count(*) FROM pg_locks WHERE NOT granted) AS "locks.waiting",
  xact_commit AS commits_total,
  xact_rollback AS rollbacks_total,
  deadlocks AS deadlocks_total,
  conflicts AS conflicts_total,
  temp_files AS temp_files_total,
  temp_bytes AS temp_bytes_total,
  tup_inserted + tup_updated + tup_deleted AS rows_written_total,
  tup_fetched AS rows_fetched_total,
  blks_hit AS blocks_hit_total,
  blks_read AS blocks_read_total,
  blks_hit::float / nullif(blks_hit + blks_read, 0) AS cache_hit_ratio,
  checksum_failures AS checksum_failures_total,
  (SELECT max(age(datfrozenxid)) FROM pg_database) AS xid_age,
  (SELECT max(age(datfrozenxid)) FROM pg_database)::float / 2147483648 AS xid_used_ratio,
  floor(extract(epoch FROM pg_postmaster_start_time())) AS started_at_s
FROM kept
""")
_LOG = sa.text("""
SELECT
  pg_is_in_recovery()::int AS "replication.is_replica",
  pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
    ELSE pg_current_wal_lsn() END, '0/0') AS wal_bytes_total,
  CASE WHEN NOT pg_is_in_recovery() THEN NULL
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
  END AS "replication.behind_s"
""")
_REPLICAS = sa.text("""
SELECT
  (SELECT count(*) FROM pg_stat_replication) AS "replication.replicas",
  (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication)
    AS "replication.lag_bytes",
  (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication) AS "replication.lag_s",
  (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FROM pg_replication_slots)
    AS "replication.slot_retained_bytes"
WHERE NOT pg_is_in_recovery()
""")
_CHECKPOINTS = sa.text("""
SELECT num_timed AS "checkpoints.timed_total", num_requested AS "checkpoints.requested_total",
  write_time / 1000 AS "checkpoints.write_seconds_total"
FROM pg_stat_checkpointer
""")
_CHECKPOINTS_BEFORE = sa.text("""
SELECT checkpoints_timed AS "checkpoints.timed_total",
  checkpoints_req AS "checkpoints.requested_total",
  checkpoint_write_time / 1000 AS "checkpoints.write_seconds_total"
FROM pg_stat_bgwriter
""")
# Looks at every file of the database.
_SIZE = sa.text("SELECT pg_database_size(current_database()) AS size_bytes")


def read(connection: sa.Connection) -> dict[str, Any]:
    """Return what is cheap. Raises SQLAlchemyError when the server does not answer at all."""
    major = int((connection.dialect.server_version_info or (0,))[0])
    checkpoints = _CHECKPOINTS if major >= _CHECKPOINTER_SINCE else _CHECKPOINTS_BEFORE
    found = {**connection.execute(_SERVER).mappings().one()}
    for statement in (_LOG, _REPLICAS, checkpoints):
        found |= _if_allowed(connection, statement)
    return found


def read_dear(connection: sa.Connection) -> Mapping[str, Any]:
    """Return the size of the database, which takes longer the more tables it has."""
    return _if_allowed(connection, _SIZE)


def _if_allowed(connection: sa.Connection, statement: sa.TextClause) -> Mapping[str, Any]:
    try:
        row = connection.execute(statement).mappings().one_or_none()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return {}
    return dict(row) if row else {}
