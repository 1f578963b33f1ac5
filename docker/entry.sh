#!/bin/sh
# Gives a part of Outrider the secrets it may read, then becomes it.
#
# Settings read OUTRIDER_..._FILE themselves; these are no settings, and are taken from the
# environment only. Set here, they show neither in the image nor in `docker inspect`.
set -eu

take() {
  [ ! -r "/run/secrets/$2" ] || export "$1=$(cat "/run/secrets/$2")"
}

take FLEET_DATABASE_URL database_url
take OUTRIDER_FLOWER_PASSWORD flower_password
take OUTRIDER_DASHBOARD_TOKEN dashboard_token
exec "$@"
