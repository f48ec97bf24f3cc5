#!/usr/bin/env bash
# Train the property models that the package ships, one command each; repeat it to resume where it was interrupted.
#
#     examples/train_property_models.sh DATA RUNS [PROPERTY ...]
#
# DATA is the folder of the data sets, RUNS gets one folder per training. Without names all are trained: the formation
# energy first, the gap before the dielectric properties, which start from its networks. The others start from those of the
# energy after its first step, with moments up to degree 3 (RUNS/formation_energy_per_atom-of-degree-3), as the shipped ones
# did. JOBS (2) networks are trained at the same time. What CHGNet labels (half an hour on two cores; pip install
# chgnet) is made once. Run it where the folder examples is.
set -euo pipefail

data=$1 runs=$2
shift 2
if [ $# -eq 0 ]; then
    set -- formation_energy_per_atom bulk_modulus shear_modulus band_gap refractive_index dielectric_electronic eij_max poisson_ratio
fi
mkdir -p "$runs"
jobs=${JOBS:-2} structures=$data/mp_structures.npz energy=formation_energy_per_atom-of-degree-3

label() { # NAME SCRIPT OPTION ...: a file that is there only when it is whole
    local out=$runs/$1 script=$2
    shift 2
    if [ ! -f "$out" ]; then
        python "examples/$script" --data "$structures" "$@" --out "$runs/part-${out##*/}"
        mv "$runs/part-${out##*/}" "$out"
    fi
}

fine_tune() { # START PROPERTY EPOCHS BATCH_SIZE FILE ...
    local start=$1 name=$2 epochs=$3 batch=$4 files=()
    shift 4
    for file in "$@"; do files+=(--data "$data/$file"); done
    icsg3d train property "${files[@]}" --target "$name" --from "$runs/$start/model" --resume \
        --set members=2 --set jobs="$jobs" --set epochs="$epochs" --set batch_size="$batch" \
        --set learning_rate=0.001 --set skip_bad_rows=true --out "$runs/$name"
}

for name in "$@"; do
    case $name in
    formation_energy_per_atom)
        label strained.npz label_strained_cells.py --count 12000
        label exchanged.npz label_exchanged_crystals.py --count 24000 --without "$data/mp20_val.npz"
        energies=(--data "$structures" --data "$data/wbm_random.json.gz" --data "$runs/strained.npz"
            --other-scale "$data/mp_perovskites.json.gz" --other-scale "$data/oqmd_heuslers.json.gz"
            --target "$name" --resume --set left_out=examples/suspect_labels.csv --set members=2 --set jobs="$jobs"
            --set batch_size=128 --set skip_bad_rows=true)
        icsg3d train property "${energies[@]}" --teacher "$runs/exchanged.npz" --set preset=environments --set degree=3 \
            --set epochs=16 --set learning_rate=0.0015 --set element_copies=5 --out "$runs/$name-of-degree-3"
        icsg3d train property "${energies[@]}" --from "$runs/$name-of-degree-3/model" --set degree=4 \
            --set epochs=6 --set learning_rate=0.0005 --set element_copies=20 --out "$runs/$name"
        ;;
    band_gap) fine_tune "$energy" "$name" 6 128 mp_structures.npz mp_perovskites.json.gz mp_dielectric.json.gz ;;
    bulk_modulus | shear_modulus) fine_tune "$energy" "$name" 12 64 mp_structures.npz mp_binary_elasticity.json.gz ;;
    poisson_ratio) fine_tune "$energy" "$name" 10 64 mp_structures.npz mp_binary_elasticity.json.gz ;;
    refractive_index | dielectric_electronic) fine_tune band_gap "$name" 25 32 mp_structures.npz mp_dielectric.json.gz ;;
    eij_max) fine_tune "$energy" "$name" 30 32 mp_piezo.json.gz ;;
    *)
        echo "there is no training of $name here" >&2
        exit 2
        ;;
    esac
done
