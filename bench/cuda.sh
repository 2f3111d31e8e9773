#!/usr/bin/env bash
# Everything that only a GPU can show, in one run: builds the module, holds it to native_cuda_check (also under
# compute-sanitizer where there is one), to the kernel tests of Node.js where there is Node.js, measures it and PyTorch
# on the same device, and writes one evidence file, bench/results/cuda-<device>.json.
#   bench/cuda.sh [--toolkit pypi]
# Needs CMake and nvcc (or --toolkit pypi); Node.js and PyTorch are optional, and what is left out is said in the file.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build-cuda
work=$out/evidence
mkdir -p "$work" bench/results

if command -v node >/dev/null && [ -d node_modules/cmake-js ]; then
  node scripts/build-cuda.mjs --check "$@"
else
  cmake -S . -B "$out" -DSOFTPACK_CUDA=ON -DCMAKE_CUDA_COMPILER="${CUDACXX:-nvcc}"
  cmake --build "$out" --target softpack_cuda native_cuda_check --parallel
fi
module=$out/Release/softpack_cuda.so
check=$(find "$out" -name native_cuda_check -type f | head -1)

"$check" "$module" --time "$work/timings.json" | tee "$work/check.txt"

sanitizers=''
for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$check" "$module" --brief | tee "$work/$tool.txt"
    sanitizers="$sanitizers $tool: $(tail -1 "$work/$tool.txt");"
  else
    sanitizers="$sanitizers $tool: not run, no compute-sanitizer;"
  fi
done

node_tests='not run: no Node.js, or the package is not installed'
if command -v npx >/dev/null && [ -d node_modules/vitest ]; then
  SOFTPACK_TEST_BACKEND=cuda SOFTPACK_CUDA_MODULE="$PWD/$module" npx vitest run test/native | tee "$work/node.txt"
  node_tests=$(tail -1 "$work/node.txt")
fi

peers=null
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  python3 bench/cuda_peers.py --out "$work/peers.json"
  peers=$work/peers.json
fi

python3 - "$work/timings.json" "$peers" "$sanitizers" "$node_tests" "$(tail -1 <(grep checks "$work/check.txt"))" <<'PYTHON'
import datetime, json, re, subprocess, sys

timings, peers, sanitizers, node_tests, checks = sys.argv[1:]
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
ours = json.load(open(timings))
driver = subprocess.run(
    ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
).stdout.strip()
evidence = {
    "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    "commit": commit,
    "driver": driver,
    "checks": checks,
    "sanitizers": sanitizers.strip(),
    "nodeTests": node_tests,
    "softpack": ours,
    "peers": None if peers == "null" else json.load(open(peers)),
}
file = "bench/results/cuda-" + re.sub(r"\W+", "-", ours["device"].lower()).strip("-") + ".json"
json.dump(evidence, open(file, "w"), indent=1)
print("wrote", file)
PYTHON
