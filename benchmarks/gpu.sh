#!/bin/bash
# What a GPU has to tell, in one command, one file and less than ten minutes: checks, tests, and the figures that
# docs/results.md lacks for GPUs.
#
#     benchmarks/gpu.sh [FILE]               # gpu-figures.txt unless named
#     DEVICE=cpu benchmarks/gpu.sh           # the same parts with small sizes, to see that they work
#
# Each part has a time limit, and one that fails does not stop the others; the summary at the end says which did.
# SECONDS_IN_ALL (590) bounds all of them together, TIMES (1) multiplies every limit on a machine that does other work,
# and PYTHON names the interpreter.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

device=${DEVICE:-cuda}
python=${PYTHON:-python}
file=$(realpath -m "${1:-gpu-figures.txt}")
times=${TIMES:-1}
deadline=$((SECONDS + times * ${SECONDS_IN_ALL:-590}))
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
summary=()
failed=0

# part NAME SECONDS COMMAND...: run it for so long at most, and note how it ended.
part() {
    local name=$1 limit=$((times * $2)) began=$SECONDS code outcome
    shift 2
    printf '\n== %s\n$ %s\n' "$name" "$*"
    if ((limit > deadline - SECONDS)); then limit=$((deadline - SECONDS)); fi
    if ((limit <= 0)); then
        outcome="not begun: no time left"
        failed=1
    else
        timeout --kill-after=5 "$limit" "$@" </dev/null 2>&1
        code=$?
        case $code in
            0) outcome=done ;;
            5) if [[ $name == tests ]]; then outcome="no test ran"; else outcome="failed with exit code 5"; fi ;;
            124 | 137) outcome="ended after its $limit seconds" ;;
            *) outcome="failed with exit code $code" ;;
        esac
        ((code == 0)) || failed=1
    fi
    summary+=("$(printf '%-24s %4d s  %s' "$name" $((SECONDS - began)) "$outcome")")
}

run_all() {
    date -u '+%Y-%m-%d %H:%M UTC'
    git rev-parse --short HEAD 2>/dev/null
    if [[ $device == cpu ]]; then
        local train=(--model 1/8/2 --batch-size 2 --steps 1 --rounds 1 --only plain float32)
        local small=(--model 1/8/2 --batch-size 2 --repeats 1 --skip naive)
        local score=(--model 1/8/2 --images 16 --rounds 1)
        local sizes=(--nr-filters 8 --nr-logistic-mix 2 --image-size 8 --train-size 16 --batch-size 8)
        local processes=2 tests=(-m "not slow and not gpu" -k "cpu and not cuda" tests/gpu)
    else
        local train=(--model 1/160/5 5/108/10 --batch-size 32 --only plain float32 bfloat16 compiled)
        local small=(--model 1/160/5 5/108/10 --batch-size 16 64)
        local score=(--model 1/160/5 5/108/10 --images 256)
        local sizes=(--preset wide --train-size 2048)
        local processes tests=(-m gpu)
        processes=$("$python" -c 'import torch; print(torch.cuda.device_count())' 2>/dev/null || echo 0)
        part "machine" 20 nvidia-smi
    fi
    part "checks" 100 "$python" -m cpixelcnn checks --device "$device" --runs "$scratch/runs"
    part "tests" 150 "$python" -m pytest -q -n 0 -p no:cacheprovider "${tests[@]}"
    part "training" 110 "$python" benchmarks/training.py --device "$device" "${train[@]}"
    part "sampling" 80 "$python" benchmarks/sampling.py --device "$device" "${small[@]}"
    part "sampling in bfloat16" 50 "$python" benchmarks/sampling.py --device "$device" "${small[@]}" \
        --precision bfloat16 --skip naive
    part "evaluation" 40 "$python" benchmarks/evaluation.py --device "$device" "${score[@]}"
    local alone=(train "${sizes[@]}" --epochs 1 --no-test --eval-images 16 --json)
    if [[ $device == cpu ]]; then alone+=(--device cpu --threads 1); fi
    part "one process" 40 "$python" -m cpixelcnn "${alone[@]}" --out "$scratch/one"
    if ((processes > 1)); then
        part "$processes processes" 50 "$python" -m torch.distributed.run --standalone --nproc-per-node "$processes" \
            -m cpixelcnn "${alone[@]}" --out "$scratch/several"
    else
        summary+=("several processes           0 s  left out: there is one GPU")
    fi
    for run in one several; do
        if [[ -f $scratch/$run/metrics.csv ]]; then
            printf '\n== speed of the training in %s\n' "$run"
            cat "$scratch/$run/metrics.csv"
        fi
    done
    printf '\n== summary\n'
    printf '%s\n' "${summary[@]}"
    return "$failed"
}

run_all > >(tee "$file") 2>&1
code=$?
wait
echo "written to $file"
exit "$code"
