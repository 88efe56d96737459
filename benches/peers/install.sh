#!/usr/bin/env bash
# Installs the peers of `weir-lab bench model --peer`, pinned, in a virtual environment of their own.
set -euo pipefail

pin=0.3.36
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<END
Usage: benches/peers/install.sh [FOLDER]

Makes a Python environment in FOLDER [default: target/peers in this repository] and builds llama-cpp-python $pin in it,
for this machine's CPU. Takes some minutes the first time; does nothing where it is there already.
Needs python3 with venv, and a C and a C++ compiler.

    benches/peers/install.sh
    cargo run --release -p weir-lab -- bench model --weak MODEL.gguf --peer llama.cpp
END
}

die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
[ $# -le 1 ] || { usage >&2; exit 2; }
folder=${1:-$root/target/peers}
python=$folder/bin/python

there() { "$python" -c "import sys, llama_cpp; sys.exit(llama_cpp.__version__ != '$pin')" 2>/dev/null; }

if there; then
  echo "llama-cpp-python $pin is in $folder already"
  exit 0
fi
command -v python3 >/dev/null || die "python3 is missing"
python3 -c 'import ensurepip, venv' 2>/dev/null || die "python3 has no venv (Debian: apt-get install python3-venv)"
command -v cc >/dev/null && command -v c++ >/dev/null || die "a C and a C++ compiler are missing (Debian: build-essential)"

[ -x "$python" ] || python3 -m venv "$folder"
echo "building llama-cpp-python $pin in $folder; this takes some minutes"
# From source and without the cache: a build for another CPU would be slower, or not run.
CMAKE_ARGS="-DGGML_NATIVE=ON" "$python" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
  --no-binary llama-cpp-python "llama-cpp-python==$pin" || die "pip could not build llama-cpp-python $pin; see above"
there || die "llama-cpp-python was installed but cannot be imported from $folder"
echo "llama-cpp-python $pin is in $folder"
