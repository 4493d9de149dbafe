#!/bin/sh
# Measures the programs beside their peers on this machine, in one run: medians, ratios and the goals. As root; `sh tests/run.sh --install` brings the peers.
# RUNS=n sets how often the long ones run (default 5).
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
PATH=$PATH:/usr/sbin:/sbin
for need in hyperfine pigz runc bwrap busybox debootstrap; do
    command -v $need >/dev/null || { echo "benches/run.sh: $need is not there: run sh tests/run.sh --install" >&2; exit 1; }
done
cargo build --release -q -p acbuild -p rkt -p appc-container
PATH=$(cd "${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release" && pwd):$PATH
export PATH
tree=$(sh tests/support/debian-tree.sh)
runs=${RUNS:-5}

work=$(mktemp -d)
trap 'cd /; rm -rf --one-file-system "$work"' EXIT
cd "$work"
RKT_DIR=$work/data
export RKT_DIR

# median RUNS PREPARE COMMAND: milliseconds.
median() {
    shell=-N
    case $3 in *[\|\>]*) shell=--shell=sh ;; esac
    hyperfine $shell --style none --warmup 1 --runs "$1" --prepare "$2" --export-csv times.csv "$3" >/dev/null 2>hyperfine.log ||
        { cat hyperfine.log >&2; exit 1; }
    awk -F, 'END { printf "%.3f", $4 * 1000 }' times.csv
}

# row NAME OURS PEER PEER-NAME GOAL: GOAL is the ratio to reach, or nothing.
row() {
    awk -v name="$1" -v ours="$2" -v peer="$3" -v other="$4" -v goal="$5" 'BEGIN {
        ratio = ours / peer
        verdict = goal == "" ? "" : sprintf("goal %.2f: %s", goal, ratio <= goal ? "met" : "MISSED")
        printf "%-34s %12.2f %12.2f  %-28s %6.3f  %s\n", name, ours, peer, other, ratio, verdict
    }'
}

peak() {
    [ -x /usr/bin/time ] || { echo 0; return; }
    /usr/bin/time -f %M -o peak "$@" >/dev/null
    awk '{ printf "%.1f", $1 / 1024 }' peak
}

printf '%-34s %12s %12s  %-28s %6s\n' 'ours' 'ours' 'peer' 'peer' 'ratio'

acbuild begin "$tree"
acbuild set-name example.com/debian
acbuild write --overwrite tree.aci >/dev/null
zcat tree.aci >tree.tar
gzip -6 -c tree.tar >tree.tgz
ours=$(median "$runs" sync 'acbuild write --overwrite tree.aci')
peer=$(median "$runs" sync "tar -C $tree -cf - . | pigz -p2 >peer.tgz")
row 'acbuild write, ms' "$ours" "$peer" 'tar | pigz -p2' 0.5
row 'acbuild write, bytes' "$(wc -c <tree.aci)" "$(wc -c <tree.tgz)" 'gzip -6' 1.01

# Each into a new folder, all removed at the end: ext4 makes new files slowly for five seconds after many were removed.
fresh="sh -c 'ln -sfn \$(mktemp -d -p $work) $work/fresh; sync'"
ours=$(RKT_DIR=$work/fresh/data median "$runs" "$fresh" 'rkt fetch tree.aci')
peer=$(median "$runs" "$fresh" "tar -xzf tree.aci -C $work/fresh")
row 'rkt fetch, ms' "$ours" "$peer" 'tar -xzf' 0.45
# The same without the disk, whose share is the file system's to answer for.
if memory=$(mktemp -d -p /dev/shm 2>/dev/null); then
    trap 'cd /; rm -rf --one-file-system "$work" "$memory"' EXIT
    ours=$(RKT_DIR=$memory/data median "$runs" 'sh -c "rkt image rm example.com/debian; true"' 'rkt fetch tree.aci')
    peer=$(median "$runs" "sh -c 'rm -rf $memory/x; mkdir $memory/x'" "tar -xzf tree.aci -C $memory/x")
    row 'rkt fetch, no disk, ms' "$ours" "$peer" 'tar -xzf' ''
    rm -rf "$memory"
fi
row 'acbuild write, peak MB' "$(peak acbuild write --overwrite tree.aci)" 64 'the limit' 1
row 'rkt fetch, peak MB' "$(peak rkt fetch tree.aci)" 64 'the limit' 1

ours=$(median 200 true 'acbuild --no-history label add version 1')
row 'acbuild label add, big tree, ms' "$ours" 5 'the limit' 1
mkdir empty
cd empty
acbuild begin
peer=$(median 200 true 'acbuild --no-history label add version 1')
cd ..
row 'acbuild label add, big tree, ms' "$ours" "$peer" 'an empty tree' ''
acbuild end

mkdir -p bundle/rootfs/bin bundle/rootfs/proc bundle/rootfs/sys bundle/rootfs/dev bundle/rootfs/etc
cp "$(command -v busybox)" bundle/rootfs/bin/busybox
ln -s busybox bundle/rootfs/bin/true
acbuild begin ./bundle/rootfs
acbuild set-name example.com/true
acbuild set-exec /bin/true
acbuild write true.aci >/dev/null
acbuild end
rkt fetch true.aci >/dev/null
ours=$(median 50 true 'rkt run example.com/true')
row 'rkt run /bin/true, ms' "$ours" 15 'the limit' 1
rkt gc --grace-period=0s >/dev/null 2>&1 || true
rkt gc --grace-period=0s >/dev/null 2>&1 || true

cd bundle
rkt-oci spec
sed -i 's/"terminal": *true/"terminal": false/; s/"sh"/"true"/' config.json
ours=$(median 50 true "rkt-oci --root $work/ours run bench-ours-$$")
bwrap=$(median 50 true 'bwrap --unshare-all --bind rootfs / --proc /proc --dev /dev true')
runc=$(median 50 true "runc --root $work/runc run bench-runc-$$")
row 'rkt-oci run true, ms' "$ours" "$runc" 'runc run' ''
row 'rkt-oci run true, ms' "$ours" "$bwrap" 'bwrap, without cgroups' ''
