#!/usr/bin/env bash
# One chunk of a training that is given a machine for minutes at a time.
#
#   configs/train_in_chunks.sh NAME CONFIG CARRY [SECONDS] [OPTION...]
#
# Begins with the networks in the folder CARRY, if there are any, trains for SECONDS (540), and puts
# the networks back. CARRY is all that has to travel between machines: a generator of the embedded
# suite takes 8 MB. The optimiser starts afresh in every chunk. OPTIONs go to `jaxface train`.
#
#   configs/train_in_chunks.sh generator configs/embedded_64_live.py carry
set -euo pipefail

name=$1 config=$2 carry=$3 seconds=${4:-540}
shift $(($# < 4 ? $# : 4))
mkdir -p "$carry"
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT

begin=()
if compgen -G "$carry/*.safetensors" > /dev/null; then
  begin=(--begin "$carry")
fi
status=0
timeout --signal=TERM --kill-after=60 "$seconds" \
  jaxface train "$name" --config "$config" --out "$run" "${begin[@]}" "$@" || status=$?
# 143: the time was up, and the run has checkpointed. GNU timeout reports that as 124.
if [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && [ "$status" -ne 143 ]; then
  exit "$status"
fi
for network in "$run"/*.safetensors; do
  cp "$network" "$carry/.arriving" && mv "$carry/.arriving" "$carry/$(basename "$network")"
done
if [ -f "$run/metrics.jsonl" ]; then # a short chunk has none
  tail -n 1 "$run/metrics.jsonl" >> "$carry/metrics.jsonl"
fi
