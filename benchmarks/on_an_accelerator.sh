#!/usr/bin/env bash
# What is to be known of an accelerator, in the order of worth, into a folder:
#
#   benchmarks/on_an_accelerator.sh OUT [SIDE SIDE]
#
# 1. agreement: every family at 64 px beside jaxface on the CPU of the same machine, in float32 (the
#    column "difference" of the tables, relative to the largest number of an output);
# 2. every benchmark at the SIDEs (256 and 1024), with a report and a roofline; synthesis, projection
#    and networks beside the peers that PEERS names, MODULE:FACTORY each, on PYTHONPATH;
# 3. a trace of PIE's and of a projection's step, for XProf.
#
# A part that fails does not keep the later ones from running; the exit status says so at the end.
# To rehearse it on a CPU: TINY=1 benchmarks/on_an_accelerator.sh rehearsal 64 128
set -uo pipefail

out=${1:?the folder for the results}
shift
if (($#)); then sides=("$@"); else sides=(256 1024); fi
small=(--resolution 64)
sizes=(--dtype float32 bfloat16 --batch 1 4 16)
narrow=() tiny=()
if [[ -n ${TINY:-} ]]; then
  small=(--resolution 64 --channel-base 128) sizes=(--batch 2) narrow=(--channel-base 128)
  tiny=(--tiny)
fi
peers=()
for peer in ${PEERS:-}; do peers+=(--peer "$peer"); done
mkdir -p "$out"
status=0

step() { # NAME COMMAND...: the command's output goes to OUT/NAME.txt too
  local name=$1
  shift
  echo "+ $*"
  "$@" 2>&1 | tee "$out/$name.txt" || status=1
}

for name in synthesis projection pie pti direction_matrix latent_difference transfer pvp; do
  step "agreement-$name" jaxface benchmark "$name" "${small[@]}" --batch 2 --repeats 1 --beside-cpu \
    --out "$out/agreement-$name.json"
done
step agreement-networks jaxface benchmark networks "${tiny[@]}" --batch 1 --repeats 1 --beside-cpu \
  --out "$out/agreement-networks.json"

step all jaxface benchmark all --resolution "${sides[@]}" "${narrow[@]}" "${sizes[@]}" \
  --out "$out/all"
step networks jaxface benchmark networks "${tiny[@]}" "${sizes[@]}" "${peers[@]}" \
  --out "$out/networks.json"
if ((${#peers[@]})); then
  for name in synthesis projection; do
    step "peers-$name" jaxface benchmark "$name" --resolution "${sides[@]}" "${narrow[@]}" \
      "${sizes[@]}" "${peers[@]}" --out "$out/peers-$name.json"
  done
fi

for name in pie projection; do
  step "trace-$name" jaxface benchmark "$name" --resolution "${sides[-1]}" "${narrow[@]}" \
    --batch 4 --repeats 2 --profile "$out/trace"
done
exit "$status"
