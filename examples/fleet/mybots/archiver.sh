#!/usr/bin/env bash
# Compresses the candle files that prices exports, and keeps the newest: a bot that is no Python.
set -euo pipefail

every_s=${FLEET_ARCHIVE_EVERY_S:-30}
keep=${FLEET_ARCHIVE_KEEP:-200}
exports=${OUTRIDER_DATA_DIR:?is given by the supervisor; set it to the folder of state}/exports
archive=$exports/archive
mkdir -p "$archive"

nap=
trap 'echo "archiver: stopped"; exit 0' TERM INT
trap '[[ -z $nap ]] || kill "$nap" 2>/dev/null || true' EXIT

# A stop may come between any two commands: whatever is left is packed again under the same name.
pack() {
  gzip -9 -n -c "$1" >"$archive/.unfinished" &&
    mv "$archive/.unfinished" "$archive/$(basename "$1").gz" &&
    rm -- "$1"
}

surplus() {
  find "$archive" -name '*.gz' -printf '%T@ %f\n' | sort -rn | tail -n +"$((keep + 1))" | cut -d' ' -f2-
}

while true; do
  packed=0 failed=0 dropped=0
  for file in "$exports"/*.csv; do
    [[ -e $file ]] || continue # no match leaves the pattern itself
    if pack "$file"; then packed=$((packed + 1)); else failed=$((failed + 1)); fi
  done
  while IFS= read -r file; do
    rm -- "$archive/$file" && dropped=$((dropped + 1))
  done < <(surplus)
  echo "archiver: packed $packed, failed $failed, dropped $dropped"
  # A signal ends `wait` at once; it would not end a `sleep` in the foreground.
  sleep "$every_s" &
  nap=$!
  wait "$nap" || true
done
