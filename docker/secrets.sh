#!/bin/sh
# Makes the passwords that docker-compose.yml mounts, once; what is there is left alone.
#
# Compose mounts a secret file as it is, owner and mode included, and the services run as users of
# their own. So the files can be read by all and the folder entered by you alone.
set -eu
folder=$(dirname "$0")/secrets
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

random() {
  # 24 bytes, in letters that need no escaping in a URL.
  head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n'
}

keep() {
  [ -s "$folder/$1" ] || printf '%s' "$2" >"$folder/$1"
}

keep redis_password "$(random)"
keep postgres_password "$(random)"
keep postgres_admin_password "$(random)"
keep flower_password "$(random)"
keep dashboard_token "$(random)"
keep grafana_password "$(random)"
# The same passwords once more, as the addresses that Outrider and the bots are given.
keep redis_url "redis://:$(cat "$folder/redis_password")@valkey:6379/0"
keep database_url "postgresql://outrider:$(cat "$folder/postgres_password")@postgres:5432/fleet"

echo "dashboard  http://127.0.0.1:${DASHBOARD_PORT:-8787}/?token=$(cat "$folder/dashboard_token")"
echo "flower     http://127.0.0.1:${FLOWER_PORT:-5555}  user outrider, password $(cat "$folder/flower_password")"
echo "grafana    http://127.0.0.1:${GRAFANA_PORT:-3000}  user outrider, password $(cat "$folder/grafana_password") (profile monitoring)"
