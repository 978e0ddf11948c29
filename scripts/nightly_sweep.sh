#!/usr/bin/env bash
# Sweeps seeds that no run before has tried: the shipped scenarios, scenarios drawn from their seeds, and a part of those twice to
# compare. Which seeds follows from the commit and the day, so that a night can be repeated and two nights share none.
# Exits with the first failed sweep's code; everything worth keeping is in the folder that --out names.
#
#   scripts/nightly_sweep.sh [--time SPAN] [--shard N/OF] [--out FOLDER] [--date YYYY-MM-DD]
#
# --time is for the sweeps, a number with s, m or h; shrinking up to five failures of each takes two minutes more for
# each of them. Needs the Rust toolchain, git and coreutils.
set -euo pipefail
cd "$(dirname "$0")/.."

time=30m
shard=1/1
out=target/nightly
date=$(date -u +%F)

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --time) time=$2 ;;
    --shard) shard=$2 ;;
    --out) out=$2 ;;
    --date) date=$2 ;;
    *) usage ;;
    esac
    shift 2
done

case $time in
*[0-9]s) seconds=${time%s} ;;
*[0-9]m) seconds=$((${time%m} * 60)) ;;
*[0-9]h) seconds=$((${time%h} * 3600)) ;;
*) usage ;;
esac

# A block of a million seeds out of eight thousand million such blocks, all of them exact in the numbers of JSON. The first is left to tests.
commit=$(git rev-parse HEAD)
digest=$(printf '%s %s' "$commit" "$date" | sha256sum)
first=$(((0x${digest:0:15} % 8000000000 + 1) * 1000000))
last=$((first + 1000000))

mkdir -p "$out"
cargo build --quiet --release --locked -p blixard-sim
sim=${CARGO_TARGET_DIR:-target}/release/blixard-sim
history=$out/history.redb

printf 'commit  %s\ndate    %s\nseeds   %s..%s\nshare   %s\n' "$commit" "$date" "$first" "$last" "$shard" |
    tee "$out/seeds.txt"

failed=0
# sweep NAME TENTHS ARGUMENTS...: one sweep, for so many tenths of the time.
sweep() {
    local name=$1 span=$((seconds * $2 * 100))ms status=0
    shift 2
    printf '\n== %s, %s\n' "$name" "$span"
    "$sim" "$@" --seeds "$first..$last" --shard "$shard" --time "$span" --max-failures 20 \
        --shrink --shrink-max 5 --artifacts "$out" \
        --junit "$out/$name.xml" --history "$history" | tee "$out/$name.txt" || status=${PIPESTATUS[0]}
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=$status
    fi
}

sweep scenarios 4 sweep --scenario scenarios
sweep swarm 5 swarm
sweep determinism 1 swarm --check-determinism

printf '\n== history\n'
"$sim" history --history "$history"
exit "$failed"
