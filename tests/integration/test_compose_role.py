"""docker/postgres.sh on a real PostgreSQL: bots get an ordinary role that owns their database."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import sqlalchemy as sa

from outrider.database import engine as engines
from outrider.database import presets
from tests.servers import postgres

SCRIPT = Path(__file__).parents[2] / "docker/postgres.sh"


def test_bots_of_the_containers_run_as_an_ordinary_role(
    postgres_binaries: postgres.Binaries, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("it's a $ecret")
    with postgres.Postgres(postgres_binaries, max_connections=20) as server:
        server.run(f"DROP DATABASE {postgres.DATABASE}")
        subprocess.run(
            ["sh", SCRIPT],
            check=True,
            env={
                "PATH": f"{postgres_binaries.folder}:{os.environ['PATH']}",
                "PGHOST": str(Path(server.socket).parent),
                "PGPORT": str(server.port),
                "POSTGRES_USER": "postgres",
                "ROLE_PASSWORD_FILE": str(secret),
            },
        )
        url = sa.make_url(server.url).set(username="outrider")
        engine = engines.create_engine(url, presets.by_name("production"))  # refuses superusers
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t (id int)"))
            found = connection.execute(
                sa.text(
                    "SELECT rolsuper, pg_has_role(rolname, 'pg_monitor', 'member')"
                    " FROM pg_roles WHERE rolname = current_user"
                )
            ).one()
        engine.dispose()
    assert tuple(found) == (False, True)
