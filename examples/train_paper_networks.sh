#!/usr/bin/env bash
# Train the paper's networks by the paper's protocol (Supporting Information, section 2.6) on the data of the shipped ones.
#
#     examples/train_paper_networks.sh DATA RUNS
#     python -m benchmarks.reach --data DATA --models RUNS/models
#
# The network of the formation energy learns from scratch. The others start from it: the dense layers learn for 120
# epochs, then everything but the norms of the graph layers for 10 at a hundredth of the learning rate. Repeat it to
# resume.
set -euo pipefail

data=$1 runs=$2
structures=$data/mp_structures.npz
mkdir -p "$runs/models"

train() { # PROPERTY FILE ... -- OPTION ...
    local name=$1 files=()
    shift
    while [ "$1" != -- ]; do files+=(--data "$1") && shift; done
    shift
    icsg3d train property "${files[@]}" --target "$name" "$@" --resume --set members=1 --set skip_bad_rows=true \
        --out "$runs/$name"
    ln -sfn "../$name/model" "$runs/models/$name"
}

transfer() { # PROPERTY FILE ...
    train "$@" -- --from "$runs/formation_energy_per_atom/model" --set transfer=paper
}

train formation_energy_per_atom "$structures" "$data/wbm_random.json.gz" -- --set preset=paper --set epochs=60
transfer band_gap "$structures" "$data/mp_perovskites.json.gz" "$data/mp_dielectric.json.gz"
for name in bulk_modulus shear_modulus poisson_ratio; do
    transfer "$name" "$structures" "$data/mp_binary_elasticity.json.gz"
done
for name in refractive_index dielectric_electronic; do transfer "$name" "$structures" "$data/mp_dielectric.json.gz"; done
transfer eij_max "$data/mp_piezo.json.gz"
