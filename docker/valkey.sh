#!/bin/sh
# Starts Valkey with the password of its secret; as an argument it would show in every `ps`.
set -eu
umask 077
cat >/tmp/valkey.conf <<END
bind * -::*
port 6379
dir /data
requirepass $(cat /run/secrets/redis_password)
appendonly yes
appendfsync everysec
# The log holds everything; a snapshot besides it would only cost memory and disk.
save ""
tcp-keepalive 60
# A queue that forgets messages is worse than one that refuses them.
maxmemory-policy noeviction
END
exec valkey-server /tmp/valkey.conf
