#!/usr/bin/env bash
# benchmarks/gpu_check.sh on the fake driver, with the tests' stand-in for TensorRT and without a network: what a machine
# with a GPU and no package index would run, as far as a machine without one can. Figures mean nothing.
#   PYTHON=.venv/bin/python tests/gpu/rehearse.sh [options of gpu_check.sh]
set -euo pipefail
cd "$(dirname "$0")/../.."
stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
"${CXX:-g++}" -std=c++17 -O1 -ffp-contract=off -fPIC -shared plugins/cuda/fake_driver.cpp \
  -o "$stand_in/libcuda.so.1" -Wl,-soname,libcuda.so.1
export LD_LIBRARY_PATH="$stand_in" XDG_CACHE_HOME="$stand_in/cache" PYTHONPATH="$PWD/tests/gpu/rehearsal" PYTHON
unplugged=(unshare --net)
[ "$(id -u)" = 0 ] || unplugged=(unshare --net --map-root-user)
"${unplugged[@]}" benchmarks/gpu_check.sh --size 96x64 --frames 6 "$@"
