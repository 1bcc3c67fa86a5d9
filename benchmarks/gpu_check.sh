#!/usr/bin/env bash
# The check of a GPU on a machine without a package index: builds animevid there and runs `animevid doctor --gpu`.
#
#   make gpu-carry                                    # where there is an index: wheels and ONNX files into .gpu-carry
#   benchmarks/gpu_check.sh --budget 520 --out DIR    # there, in the checkout with .gpu-carry; further options as doctor's
#
# There must be Python 3.11 or newer with NumPy, OpenCV, ONNX, ONNX Runtime, torch with CUDA, cuda-bindings, cuda-core,
# scikit-build-core, nanobind, CMake and a C++ compiler. --budget counts from the start of this script, the build included.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
carried=${CARRIED:-.gpu-carry}
budget=520
rest=(--out "$PWD/gpu-check")
while [ $# -gt 0 ]; do
  case "$1" in
    --budget) budget=$2; shift 2 ;;
    --out) rest+=(--out "$(realpath -m "$2")"); shift 2 ;;
    *) rest+=("$1"); shift ;;
  esac
done
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
offline=(-q --disable-pip-version-check --root-user-action=ignore --no-index --no-deps --no-cache-dir --target "$site")
shopt -s nullglob
wheels=("$carried"/*.whl)
[ ${#wheels[@]} -eq 0 ] || "$python" -m pip install "${offline[@]}" --no-compile "${wheels[@]}"
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"  # the build reads what was carried, too
"$python" -m pip install "${offline[@]}" --no-build-isolation --upgrade .
echo "built and installed in $SECONDS s"
cd "$site"  # the checkout's own modules are not what is checked
styles=()
[ ! -d "$OLDPWD/$carried" ] || styles=(--styles "$OLDPWD/$carried")
"$python" -m animevid doctor --gpu --budget "$((budget - SECONDS))" "${styles[@]}" "${rest[@]}"
