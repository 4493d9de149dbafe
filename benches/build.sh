#!/bin/sh
# Measures `acbuild run` beside buildah on this machine, in one run: medians, ratios and the goals. As root; `sh tests/run.sh --install` brings the peer.
# RUNS=n sets how often each runs (default 20). APPC_BIN_DIR is a folder with the programs, built already.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
PATH=$PATH:/usr/sbin:/sbin
for need in hyperfine buildah debootstrap; do
    command -v $need >/dev/null || { echo "benches/build.sh: $need is not there: run sh tests/run.sh --install" >&2; exit 1; }
done
if [ -z "${APPC_BIN_DIR:-}" ]; then
    cargo build --release -q -p acbuild -p rkt
    APPC_BIN_DIR=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
fi
PATH=$(cd "$APPC_BIN_DIR" && pwd):$PATH
export PATH
tree=$(sh tests/support/debian-tree.sh)
runs=${RUNS:-20}

work=$(mktemp -d)
RKT_DIR=$work/data
export RKT_DIR
buildah="buildah --root $work/buildah --runroot $work/buildah-run --storage-driver overlay"
finish() {
    cd /
    $buildah rm --all >/dev/null 2>&1 || true
    umount "$work/buildah/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap finish EXIT
cd "$work"

# median COMMAND: milliseconds.
median() {
    hyperfine -N --style none --warmup 2 --runs "$runs" --export-csv times.csv "$1" >/dev/null 2>hyperfine.log ||
        { cat hyperfine.log >&2; exit 1; }
    awk -F, 'END { printf "%.3f", $4 * 1000 }' times.csv
}

# row NAME OURS PEER PEER-NAME GOAL: GOAL is the ratio to reach.
row() {
    awk -v name="$1" -v ours="$2" -v peer="$3" -v other="$4" -v goal="$5" 'BEGIN {
        ratio = ours / peer
        printf "%-34s %12.2f %12.2f  %-28s %6.3f  goal %.2f: %s\n", name, ours, peer, other, ratio, goal, ratio <= goal ? "met" : "MISSED"
    }'
}

acbuild begin "$tree"
acbuild set-name example.com/debian
acbuild write --compression none debian.aci >/dev/null
acbuild end
rkt --insecure-options=image fetch ./debian.aci >/dev/null
acbuild begin
acbuild set-name example.com/app
acbuild dependency add example.com/debian

tar -C "$tree" -cf debian.tar .
base=$($buildah from scratch)
$buildah add -q "$base" debian.tar / >/dev/null
$buildah commit -q "$base" debian >/dev/null
container=$($buildah from debian)

printf '%-34s %12s %12s  %-28s %6s\n' 'ours' 'ours' 'peer' 'peer' 'ratio'
ours=$(median 'acbuild --no-history run -- /bin/true')
# crun, where it is what buildah takes, refuses hosts with both versions of cgroups.
peer=$(median "$buildah run --runtime runc $container -- /bin/true")
row 'acbuild run -- /bin/true, ms' "$ours" "$peer" 'buildah run' 0.3
row 'acbuild run -- /bin/true, ms' "$ours" 25 'the limit' 1
