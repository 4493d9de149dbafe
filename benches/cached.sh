#!/bin/sh
# Measures the build cache on this machine, in one run: the 20 steps of examples/cached with nothing in the cache, and with everything.
# As root; `sh tests/run.sh --install` brings what it needs. RUNS=n sets how often each runs (default 20). APPC_BIN_DIR is a folder with
# the programs, built already.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
for need in hyperfine busybox; do
    command -v $need >/dev/null || { echo "benches/cached.sh: $need is not there: run sh tests/run.sh --install" >&2; exit 1; }
done
if [ -z "${APPC_BIN_DIR:-}" ]; then
    cargo build --release -q -p acbuild
    APPC_BIN_DIR=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
fi
PATH=$(cd "$APPC_BIN_DIR" && pwd):$PATH
export PATH
runs=${RUNS:-20}

work=$(mktemp -d)
trap 'cd /; rm -rf "$work"' EXIT
RKT_DIR=$work/data
export RKT_DIR
cp -R examples/cached "$work/example"
cd "$work/example"

# median PREPARE: milliseconds of the script.
median() {
    hyperfine -N --style none --warmup 1 --runs "$runs" --prepare "$1" --export-csv times.csv \
        "acbuild script build.acbuild $(command -v busybox)" >/dev/null 2>hyperfine.log || { cat hyperfine.log >&2; exit 1; }
    awk -F, 'END { printf "%.3f", $4 * 1000 }' times.csv
}

full=$(median "rm -rf $RKT_DIR/cache")
cached=$(median true)
awk -v full="$full" -v cached="$cached" 'BEGIN {
    printf "%-34s %12s %12s %8s\n", "20 steps, ms", "full", "cached", "ratio"
    printf "%-34s %12.2f %12.2f %8.3f\n", "examples/cached", full, cached, cached / full
    printf "%-34s %12.2f %12s  goal %.2f: %s\n", "the limit", 150, "", 1, cached <= 150 ? "met" : "MISSED"
}'
