#!/bin/sh
# Runs at the first start of PostgreSQL's image: makes the bots' role and database.
#
# The image's own role is a superuser, which Outrider refuses for bots outside development: it could
# take the connections that are reserved for repair.
set -eu
export ROLE_PASSWORD_FILE="${ROLE_PASSWORD_FILE:-/run/secrets/postgres_password}"

# psql reads the password itself, so that it is in no list of processes.
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\set password `cat "$ROLE_PASSWORD_FILE"`
CREATE ROLE outrider LOGIN NOSUPERUSER PASSWORD :'password';
-- What `outrider db queries`, `locks` and `advise` read of other roles' sessions and settings.
GRANT pg_monitor TO outrider;
CREATE DATABASE fleet OWNER outrider;
SQL
