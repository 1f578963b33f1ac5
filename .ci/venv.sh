#!/usr/bin/env bash
# Make the virtual environment and install Outrider with an extra: venv.sh PYTHON FOLDER EXTRA
set -euo pipefail
python=$1 folder=$2 extra=$3

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
  echo "Outrider needs Python 3.11 to 3.13, $python is $("$python" --version 2>&1 || echo missing)." >&2
  echo "Name another with: make ... PYTHON=python3.12" >&2
  exit 2
fi
if [ ! -x "$folder/bin/python" ]; then
  echo "making $folder with $("$python" --version) ..."
  if ! "$python" -m venv "$folder" 2>/dev/null; then
    rm -rf "$folder"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq && apt-get install -y -qq python3-venv
      "$python" -m venv "$folder"
    else
      echo "python3-venv is missing: sudo apt-get install python3-venv" >&2
      exit 2
    fi
  fi
fi
echo "installing outrider[$extra] ..."
"$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check \
  --constraint constraints.txt --editable ".[$extra]"
