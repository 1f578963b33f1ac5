#!/bin/sh
# Runs a command, and again when it ends by accident, so that this container outlives it.
#
# The worker shares the pid namespace of the bots' container: were that to end with its supervisor,
# the kernel would kill the worker too, and Docker does not retry a start that came too early.
# Told to stop, or on settings that can't work (exit code 2), it ends with its command.
set -u
stopping= child=
trap 'stopping=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM INT

while :; do
  "$@" &
  child=$!
  # A signal may have come before there was anybody to pass it on to.
  [ -z "$stopping" ] || kill -TERM "$child" 2>/dev/null
  wait "$child"
  code=$?
  # A signal ends `wait` before the command has ended.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  if [ -n "$stopping" ] || [ "$code" -eq 2 ]; then
    exit "$code"
  fi
  echo "again.sh: $* ended with $code; starting it again" >&2
  sleep 1
done
