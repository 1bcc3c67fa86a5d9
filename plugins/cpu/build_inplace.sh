#!/bin/sh
# Builds animevid._native into engine/animevid for work on the sources. Needs CMake and a C++17 compiler; nanobind comes
# from the Python that is given: PYTHON=python3 plugins/cpu/build_inplace.sh
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(command -v "${PYTHON:-python3}")
cmake -S "$root" -B "$root/build/native" -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE="$python"
cmake --build "$root/build/native" --parallel
