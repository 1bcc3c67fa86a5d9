#!/usr/bin/env bash
# compute-sanitizer over the kernels, on a machine with a GPU: memory errors, races, missing barriers, reads of memory
# that nobody wrote. Runs benchmarks/gpu_check.py --kernels, which launches each kernel over a sweep of odd sizes.
set -euo pipefail
cd "$(dirname "$0")/../.."
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
for tool in memcheck racecheck synccheck initcheck; do
  echo "compute-sanitizer --tool $tool"
  "$sanitizer" --tool "$tool" --error-exitcode 9 "${PYTHON:-python3}" benchmarks/gpu_check.py --kernels
done
