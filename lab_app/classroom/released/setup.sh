#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the autograder's image.
set -euo pipefail
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
apt-get install -y -qq --no-install-recommends git openssl redis-server python3 python3-venv
python=python3
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then # as on Ubuntu 22.04
  apt-get install -y -qq --no-install-recommends python3.11 python3.11-venv
  python=python3.11
fi
"$python" -m lab_app --help >/dev/null # makes .venv with what requirements.txt pins
