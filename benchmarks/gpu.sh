#!/usr/bin/env bash
# All that wants a GPU, the most telling first: benchmarks/gpu.sh OUT [DEVICE]
# Each part has its own time limit, all end within 8 minutes, and a part that fails leaves the others alone. OUT gets what
# each part prints (NAME.txt), its figures (NAME.json), and how each ended (summary.txt). Networks have random weights.
# With DEVICE cpu everything is small: that tries the script, the figures mean nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?'expected a folder for the figures: benchmarks/gpu.sh OUT [DEVICE]'}
device=${2:-cuda}
python=${PYTHON:-python}
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
export PYTHONPATH=$PWD:$PWD/test

part() { # NAME SECONDS COMMAND...
    local name=$1 limit=$2 begin=$SECONDS
    shift 2
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null
    local status=$?
    [ $status = 0 ] || failed=$((failed + 1))
    [ $status = 124 ] && status="124, its $limit s were over"
    printf '%-12s %4d s  exit status %s\n' "$name" $((SECONDS - begin)) "$status" | tee -a "$out/summary.txt"
}
benchmark() { # NAME SECONDS COMMAND...
    local name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$python" -m diffcut_ros.benchmarks.main "$@" --device "$device" --json "$out/$name.json"
}

failed=0
: >"$out/summary.txt"
networks=(pipeline --backend ssd-1b --random-weights)
vit=(pipeline --backend dinov2-small --random-weights --no-paper)
nodes=(1024 2304 4096)
if [ "$device" = cpu ]; then
    # No network of that size on a CPU within the time: the color backend stands for it.
    networks=(pipeline --backend color --repeats 2)
    vit+=(--input-size 112 --repeats 2)
    nodes=(256)
fi
part versions 30 "$python" -c 'import platform, numpy, scipy, torch
cuda = torch.cuda.is_available()
card = torch.cuda.get_device_name() if cuda else "no CUDA"
print(f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {numpy.__version__}, SciPy {scipy.__version__}")
print(card, torch.version.cuda, torch.backends.cudnn.version() if cuda else "")'
# Whatever is measured has to be right.
if [ "$device" = cpu ]; then
    part tests 60 "$python" -m pytest -q -p no:cacheprovider test/core/test_device.py test/features/test_cuda_graphs.py
else
    part tests 100 "$python" -m pytest -q -p no:cacheprovider -k 'cuda or gpu or device or test_memory or test_extractor' test/core test/features
fi
benchmark ncut 70 ncut --nodes "${nodes[@]}" --others-up-to 1024
benchmark ssd_1024 100 "${networks[@]}"
if [ "$device" = cpu ]; then
    benchmark ssd_512 60 "${networks[@]}" --no-paper
else
    benchmark ssd_512 60 "${networks[@]}" --no-paper --input-size 512
fi
# With CUDA graphs and without.
benchmark vit 60 "${vit[@]}"
part profile 60 "$python" benchmarks/profile_image.py --device "$device" --json "$out/profile.json"
echo "figures in $out; parts that failed: $failed" | tee -a "$out/summary.txt"
[ "$failed" = 0 ]
