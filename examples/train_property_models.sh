#!/usr/bin/env bash
# Train the property models that the package ships, one command each; repeat it to resume where it was interrupted.
#
#     examples/train_property_models.sh DATA RUNS [PROPERTY ...]
#
# DATA is the folder of the data sets, RUNS gets one folder per training. Without names all are trained: the formation
# energy first (45 minutes on one core), from whose networks the others start (1 to 8 minutes each).
set -euo pipefail

data=$1 runs=$2
shift 2
if [ $# -eq 0 ]; then
    set -- formation_energy_per_atom bulk_modulus shear_modulus band_gap refractive_index dielectric_electronic eij_max poisson_ratio
fi
mkdir -p "$runs"

fine_tune() { # PROPERTY EPOCHS BATCH_SIZE MEMBERS FILE ...
    local name=$1 epochs=$2 batch=$3 members=$4 files=()
    shift 4
    for file in "$@"; do files+=(--data "$data/$file"); done
    icsg3d train property "${files[@]}" --target "$name" --from "$runs/formation_energy_per_atom/model" --resume \
        --set members="$members" --set epochs="$epochs" --set batch_size="$batch" --set learning_rate=0.001 \
        --set skip_bad_rows=true --out "$runs/$name"
}

for name in "$@"; do
    case $name in
    formation_energy_per_atom)
        if [ ! -f "$runs/strained.npz" ]; then
            python examples/label_strained_cells.py --data "$data/mp_structures.npz" --count 12000 --out "$runs/part.npz"
            mv "$runs/part.npz" "$runs/strained.npz"
        fi
        icsg3d train property --data "$data/mp_structures.npz" --data "$data/wbm_random.json.gz" \
            --data "$runs/strained.npz" --other-scale "$data/mp_perovskites.json.gz" \
            --other-scale "$data/oqmd_heuslers.json.gz" \
            --target "$name" --resume --set preset=environments --set members=1 --set epochs=24 --set batch_size=128 \
            --set learning_rate=0.0015 --set element_copies=5 --set skip_bad_rows=true --out "$runs/$name"
        ;;
    band_gap) fine_tune "$name" 6 128 1 mp_structures.npz mp_perovskites.json.gz mp_dielectric.json.gz ;;
    bulk_modulus | shear_modulus) fine_tune "$name" 12 64 1 mp_structures.npz mp_binary_elasticity.json.gz ;;
    poisson_ratio) fine_tune "$name" 10 64 1 mp_structures.npz mp_binary_elasticity.json.gz ;;
    refractive_index | dielectric_electronic) fine_tune "$name" 25 32 1 mp_structures.npz mp_dielectric.json.gz ;;
    eij_max) fine_tune "$name" 30 32 2 mp_piezo.json.gz ;;
    *)
        echo "there is no training of $name here" >&2
        exit 2
        ;;
    esac
done
