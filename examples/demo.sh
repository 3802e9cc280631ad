#!/usr/bin/env bash
# The demonstration: a real neuron, then a simulated sleep network, through the command line only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=runs/demo
mkdir -p "$out"
fit() { # a fit that has not settled within its iterations exits with 1; its results are what the demo shows
  eqsnn fit "$@" || [ $? -eq 1 ]
}

receptor() {
  python examples/receptor_data.py "$out"
  for model in adaptive_lif plain_lif_receptor; do
    fit "models/$model.eqs" "$out/receptor_train.npz" --starts 6 --iterations 30 --polish 20 --seed 0 --quiet --out "$out/$model"
    eqsnn simulate "$out/$model/fitted.eqs" --input "$out/receptor_input.npz" --burn-in 500ms --duration 3s --out "$out/$model/test.npz"
  done
  for name in adaptive_lif/test plain_lif_receptor/test poisson_test; do
    echo "-- $name"
    eqsnn compare "$out/receptor_test.npz" "$out/$name.npz" --out "$out/$(dirname "$name")" | grep -E "Gamma|van Rossum|rate error|written"
  done
}

sleep_network() {
  eqsnn simulate models/sleep_lif.eqs --duration 4s --trials 6 --record x --seed 1 --out "$out/sleep_target.npz"
  eqsnn simulate models/sleep_lif.eqs --duration 5s --trials 12 --seed 2 --out "$out/sleep_long.npz"
  eqsnn simulate models/sleep_lif.eqs --duration 5s --trials 12 --seed 3 --out "$out/sleep_replicate.npz"
  fit models/sleep_lif.eqs "$out/sleep_target.npz" --learn tau_m --learn tau_g --learn v_rest --learn k --learn w \
    --starts 4 --stages forced --seed 0 --out "$out/sleep"
  eqsnn simulate "$out/sleep/fitted.eqs" --duration 5s --trials 12 --seed 4 --out "$out/sleep/long.npz"
  echo "-- independent noise: rates, spike statistics, ensembles (table of parameters above)"
  eqsnn compare "$out/sleep_long.npz" "$out/sleep/long.npz" --replicate "$out/sleep_replicate.npz" --out "$out/sleep"
}

echo "fitting two models to real and to simulated spikes, side by side; a minute on two cores"
sleep_network >"$out/sleep.log" 2>&1 &
background=$!
echo "== (a) auditory receptor of a grasshopper: fitted on 7 s, scored on the next 3 s"
echo "       held-out scores of the adaptive LIF, the plain LIF, and Poisson with the right rate"
receptor
echo
echo "== (b) sleep network under strong Poisson input: fitted from a far start with its input known"
wait "$background" || { cat "$out/sleep.log"; exit 1; }
cat "$out/sleep.log"
echo "results: $out (summary.json, fitted.eqs and figures of each fit in its folder)"
