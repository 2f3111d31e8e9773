#!/usr/bin/env bash
# Everything that only a GPU can show, in steps, within 10 minutes: builds the module, checks it, checks it under
# compute-sanitizer, times it, holds it to the CPU through Node.js, and times PyTorch on the same device.
#   bench/cuda.sh [--toolkit pypi] [--labels N] [--out FOLDER] [--seconds N]
#   bench/cuda.sh --pack FOLDER     what is built here, for a GPU machine without git, Node.js, compilers or network
# Each step has a time limit, and results.json is written after every one: what ends early keeps what it has. A step that
# cannot run says why and the others go on. Exit code 0 if no step failed; a machine without a GPU is none.
# Needs bash and coreutils; a build needs CMake and nvcc (or --toolkit pypi); PyTorch is optional.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out='' toolkit=() pack='' labels=262144 seconds=600
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || { echo "$1: an option and its value are expected" >&2; exit 2; }
  case $1 in
    --toolkit) toolkit=(--toolkit "$2") ;;
    --labels) labels=$2 ;;
    --out) out=$2 ;;
    --seconds) seconds=$2 ;;
    --pack) pack=$2 ;;
    *) echo "unknown option $1; see the head of bench/cuda.sh" >&2; exit 2 ;;
  esac
  shift 2
done
module=${SOFTPACK_CUDA_MODULE:-$root/build-cuda/Release/softpack_cuda.so}
find_check() { find "$root/build-cuda" -name native_cuda_check -type f 2>/dev/null | head -1; }
check=${SOFTPACK_CUDA_CHECK:-$(find_check)}
commit=$(cat "$root/COMMIT" 2>/dev/null || git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)

# One folder of at most 60 MB that this script runs from: Node.js compressed, the addon, the module and its check.
pack_folder() {
  [ ! -e "$pack" ] || { echo "$pack exists" >&2; return 2; }
  [ -f "$module" ] && [ -n "$check" ] || { echo 'nothing is built: npm run build:cuda -- --check' >&2; return 2; }
  local file node
  node=$(command -v node) || { echo 'no Node.js to pack' >&2; return 2; }
  mkdir -p "$pack/bench" "$pack/build-cuda/Release" "$pack/build/Release" "$pack/node_modules" || return 1
  cp "$root"/bench/cuda.sh "$root"/bench/cuda_peers.py "$root"/bench/cuda_node.mjs "$pack/bench/"
  cp "$module" "$pack/build-cuda/Release/softpack_cuda.so"
  cp "$check" "$pack/build-cuda/native_cuda_check"
  cp "$root/build/Release/softpack.node" "$pack/build/Release/"
  cp "$root/package.json" "$pack/"
  cp -r "$root/node_modules/xxhash-wasm" "$pack/node_modules/"
  (cd "$root" && find dist -name '*.js') | while read -r file; do
    mkdir -p "$pack/$(dirname "$file")" && cp "$root/$file" "$pack/$file"
  done
  gzip -c "$(readlink -f "$node")" >"$pack/node.gz"
  echo "$commit" >"$pack/COMMIT"
  local size
  size=$(du -sk "$pack" | cut -f1)
  echo "packed $((size / 1024)) MB into $pack; there: bench/cuda.sh"
  [ "$size" -le $((60 * 1024)) ] || { echo 'more than 60 MB' >&2; return 1; }
}
if [ -n "$pack" ]; then
  pack_folder
  exit
fi

out=${out:-$root/build-cuda/evidence}
mkdir -p "$out" || exit 1
# Of an earlier run; the folder may hold other files.
for name in device build check memcheck racecheck timings node peers results; do
  rm -f "$out/$name.txt" "$out/$name.json"
done
started=$(date +%s)
steps=() device=none driver=none failed=0

quoted() { printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
part() { if [ -s "$1" ]; then cat "$1"; else echo null; fi; }

write_results() {
  {
    printf '{\n"date": "%s",\n"commit": %s,\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(quoted "$commit")"
    printf '"device": %s,\n"driver": %s,\n"steps": [\n' "$(quoted "$device")" "$(quoted "$driver")"
    local i
    for ((i = 0; i < ${#steps[@]}; i++)); do
      printf '%s%s\n' "${steps[i]}" "$([ $((i + 1)) -lt ${#steps[@]} ] && echo ,)"
    done
    printf '],\n"softpack": %s,\n"node": %s,\n"peers": %s\n}\n' \
      "$(part "$out/timings.json")" "$(part "$out/node.json")" "$(part "$out/peers.json")"
  } >"$out/results.json.part" && mv "$out/results.json.part" "$out/results.json"
}

# note NAME STATE SECONDS WORDS
note() {
  echo "$1: $2${4:+: $4}"
  steps+=("{\"name\": $(quoted "$1"), \"state\": $(quoted "$2"), \"seconds\": $3, \"words\": $(quoted "$4")}")
  write_results
}
skip() { note "$1" skipped 0 "$2"; }

# step NAME LIMIT COMMAND...: its output in NAME.txt, its exit code in `code`
step() {
  local name=$1 limit=$2 begun now left
  shift 2
  begun=$(date +%s)
  left=$((seconds - (begun - started)))
  code=124
  if [ "$left" -lt 5 ]; then skip "$name" "no time left of $seconds s"; return; fi
  [ "$limit" -le "$left" ] || limit=$left
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
  code=$?
  now=$(($(date +%s) - begun))
  local state=done
  case $code in
    0) ;;
    124 | 137) state='out of time' ;;
    *) state=failed ;;
  esac
  [ "$name" = check ] && [ "$code" = 3 ] && state='no GPU'
  case $state in failed | 'out of time') failed=1 ;; esac
  note "$name" "$state" "$now" "$(tail -1 "$out/$name.txt")"
}

if command -v nvidia-smi >/dev/null; then
  step device 20 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  [ "$code" = 0 ] && IFS=, read -r device driver <"$out/device.txt"
else
  skip device 'no nvidia-smi'
fi

if [ -f "$module" ] && [ -n "$check" ]; then
  skip build "built before"
elif command -v node >/dev/null && [ -d "$root/node_modules/cmake-js" ]; then
  step build 300 node "$root/scripts/build-cuda.mjs" --check "${toolkit[@]}"
elif command -v cmake >/dev/null; then
  step build 300 bash -c 'cmake -S "$1" -B "$1/build-cuda" -DSOFTPACK_CUDA=ON -DCMAKE_CUDA_COMPILER="${CUDACXX:-nvcc}" &&
    cmake --build "$1/build-cuda" --target softpack_cuda native_cuda_check --parallel' bash "$root"
else
  skip build 'no module, and neither Node.js nor CMake to build it by'
fi
check=${check:-$(find_check)}
if [ ! -f "$module" ] || [ -z "$check" ]; then
  note check failed 0 "no module at $module"
  exit 1
fi

step check 120 "$check" "$module" --brief
if [ "$code" = 3 ]; then
  echo 'no GPU: nothing was measured'
  exit 0
fi

for tool in memcheck racecheck; do
  if command -v compute-sanitizer >/dev/null; then
    step "$tool" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$check" "$module" --brief
  else
    skip "$tool" 'no compute-sanitizer'
  fi
done

step timings 240 "$check" "$module" --time "$out/timings.json" "$labels"

node=$(command -v node || true)
if [ -z "$node" ] && [ -f "$root/node.gz" ]; then
  gzip -dc "$root/node.gz" >"$out/node" && chmod +x "$out/node" && node=$out/node
fi
if [ -n "$node" ] && [ -f "$root/build/Release/softpack.node" ]; then
  SOFTPACK_CUDA_MODULE=$module step node 60 "$node" "$root/bench/cuda_node.mjs" "$out/node.json" "$labels"
else
  skip node 'no Node.js, or no addon'
fi

if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  step peers 150 python3 "$root/bench/cuda_peers.py" --out "$out/peers.json" --labels "$labels"
else
  skip peers 'no PyTorch that finds the GPU'
fi
echo "results: $out/results.json"
exit "$failed"
