#!/usr/bin/env bash
# Everything that CI does, in a plain shell: install, quick checks, the documentation, and every number in docs/results made again and compared.
#   bash docs/ci/results.sh
# Downloads are kept in WORKBENCH_CACHE and verified by their SHA-256; finished cells of sweeps are kept under runs/results.
set -euo pipefail
cd "$(dirname "$0")/../.."
export WORKBENCH_CACHE="${WORKBENCH_CACHE:-$PWD/.cache/data}"
make install
make check
make notebooks
make docs-check
make results-check JOBS="${JOBS:-2}"
