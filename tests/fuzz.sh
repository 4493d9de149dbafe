#!/bin/sh
# Runs the fuzz targets: sh tests/fuzz.sh [MINUTES [TARGET…]], one minute each and all of them without arguments.
# Needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. New texts that lead to new places are kept in fuzz/corpus/;
# one that breaks something ends the run, lies in fuzz/artifacts/, and belongs into fuzz/seeds/ once it is mended.
set -eu

cd "$(dirname "$0")/.."
minutes=${1:-1}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(cd fuzz/seeds && ls)
# The instrumentation needs what only this variable allows a released compiler.
RUSTC_BOOTSTRAP=1
export RUSTC_BOOTSTRAP
for target in "$@"; do
    mkdir -p "fuzz/corpus/$target"
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time=$((minutes * 60)) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
done
