#!/usr/bin/env bash
# compute-sanitizer over the kernels, on a machine with a GPU: memory errors, races, missing barriers, reads of memory
# that nobody wrote. Runs benchmarks/gpu_check.py --kernels, which launches each kernel over a sweep of odd sizes. One
# tool that finds something does not keep the others from running.
set -uo pipefail
cd "$(dirname "$0")/../.."
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ ! -x "$sanitizer" ]; then
  echo "compute-sanitizer is not here; it comes with the CUDA toolkit (put it on the PATH)" >&2
  exit 3
fi
failed=0
for tool in memcheck racecheck synccheck initcheck; do
  if "$sanitizer" --tool "$tool" --error-exitcode 9 "${PYTHON:-python3}" benchmarks/gpu_check.py --kernels; then
    echo "sanitize: $tool finds nothing"
  else
    echo "sanitize: $tool FAILED (exit code $?)"
    failed=1
  fi
done
exit "$failed"
