#!/bin/sh
# Measures rkt-oci beside the other runtimes on this machine, in one run: medians in milliseconds, of the same bundle with all namespaces, a cgroup, masked
# paths and the filter of system calls that engines give. As root; `sh tests/run.sh --install` brings the peers. RUNS=n sets how often (default 50).
#   sh benches/runtime.sh          on this machine
#   sh benches/runtime.sh --vm     under the second kernel, with cgroup v2 alone, where crun starts (numbers of an emulator: only their ratios mean anything)
set -eu

# bundle FOLDER: what all of them run.
bundle() {
    mkdir -p "$1"
    for folder in bin proc sys dev etc tmp; do mkdir -p "$1/rootfs/$folder"; done
    cp "$(which busybox)" "$1/rootfs/bin/busybox"
    for name in true sleep sh; do ln -sf busybox "$1/rootfs/bin/$name"; done
    rkt-oci spec --bundle "$1"
    # crun 1.8 and runc 1.1 know the specification up to 1.0.2 and 1.0.
    sed -i 's/"terminal": *true/"terminal": false/; s/"ociVersion": *"[^"]*"/"ociVersion": "1.0.2"/' "$1/config.json"
    awk -v profile="$2" '{ print } /"linux": *\{/ { print "\"seccomp\":"; while ((getline line <profile) > 0) print line; print "," }' "$1/config.json" >"$1/new"
    mv "$1/new" "$1/config.json"
    cp -r "$1" "$1-sleep"
    sed -i 's/^\([[:space:]]*\)"sh"/\1"true"/' "$1/config.json"
    sed -i 's/^\([[:space:]]*\)"sh"/\1"sleep", "1000"/' "$1-sleep/config.json"
}

# median COMMAND: milliseconds; a dash when it fails.
median() {
    if hyperfine "$shell" --style none --warmup 3 --runs "$runs" --export-csv times.csv "$1" >hyperfine.log 2>&1; then
        awk -F, 'END { printf "%.2f", $4 * 1000 }' times.csv
    else
        printf -- -
    fi
}

# turns ONE OTHER: the median of each and of their ratio, of five rounds in which they take turns: a machine changes its pace.
turns() {
    for _ in 1 2 3 4 5; do
        echo "$(runs=$((runs / 5 + 1)) median "$1") $(runs=$((runs / 5 + 1)) median "$2")"
    done | awk '{ print $1, $2, $1 / $2 }' >turns
    for column in 1 2 3; do
        awk -v column=$column '{ print $column }' turns | sort -n | awk 'NR == 3 { printf "%.2f ", $1 }'
    done
}

# row NAME COMMAND: with RUNTIME in the command replaced by each of the runtimes.
row() {
    printf '%-30s' "$1"
    ours=
    for runtime in $runtimes; do
        time=$(median "$(echo "$2" | sed "s#RUNTIME#$runtime --root $work/run/$runtime#g; s#NAME#bench-$runtime#g")")
        [ -n "$ours" ] || ours=$time
        ratio=$(awk -v ours="$ours" -v time="$time" 'BEGIN { if (ours > 0 && time > 0) printf "(%.2f)", ours / time }')
        printf '%12s %-7s' "$time" "$ratio"
    done
    echo
}

peak() {
    printf '%-30s' 'run, peak memory, MB'
    for runtime in $runtimes; do
        /usr/bin/time -f %M -o peak "$runtime" --root "$work/run/$runtime" run -b bundle "bench-$runtime" || echo 0 >peak
        awk '{ printf "%12.1f %-7s", $1 / 1024, "" }' peak
    done
    echo
}

# Eight callers start 200 containers at once; then one more, beside them.
many() {
    before=$(shell=-N median "rkt-oci --root $work/run/many run -b bundle bench-alone")
    callers=
    for caller in 1 2 3 4 5 6 7 8; do
        (for n in $(seq 25); do
            rkt-oci --root "$work/run/many" run -d -b bundle-sleep "many-$caller-$n" </dev/null >/dev/null 2>>"failed-$caller" || echo failed >>"failed-$caller"
        done) &
        callers="$callers $!"
    done
    # shellcheck disable=SC2086
    wait $callers
    failed=$(cat failed-* | grep -c . || true)
    beside=$(shell=-N median "rkt-oci --root $work/run/many run -b bundle bench-beside")
    rkt-oci --root "$work/run/many" list -q | while read -r id; do rkt-oci --root "$work/run/many" delete -f "$id"; done
    after=$(shell=-N median "rkt-oci --root $work/run/many run -b bundle bench-alone")
    ratio=$(awk -v beside="$beside" -v before="$before" -v after="$after" 'BEGIN { printf "%.2f", 2 * beside / (before + after) }')
    echo "200 containers by 8 callers: $failed failed; the next run takes $beside ms beside them," \
        "alone $before ms before and $after ms after ($ratio; goal 1.20)"
}

measure() {
    work=$(mktemp -d)
    trap 'cd /; umount "$work/run"; rm -rf "$work"' EXIT
    cd "$work"
    # State is kept where it is by default: in memory, as /run is.
    mkdir run
    mount -t tmpfs -o mode=755 tmpfs run
    bundle bundle "$1"
    runs=${RUNS:-50} runtimes=
    for runtime in rkt-oci runc crun youki; do
        command -v $runtime >/dev/null || continue
        if $runtime --root "$work/run/$runtime" run -b bundle "probe-$runtime" 2>probe; then
            runtimes="$runtimes $runtime"
        else
            echo "$runtime does not start here: $(head -n 1 probe)"
            $runtime --root "$work/run/$runtime" delete -f "probe-$runtime" 2>/dev/null || true
        fi
    done
    printf '%-30s' 'ms (ours : theirs)'
    for runtime in $runtimes; do printf '%12s %-7s' "$runtime" ''; done
    echo
    shell=-N
    row 'run' 'RUNTIME run -b bundle NAME'
    shell=--shell=sh
    row 'create, start, delete' 'RUNTIME create -b bundle NAME </dev/null >/dev/null && RUNTIME start NAME && RUNTIME delete -f NAME'
    for runtime in $runtimes; do $runtime --root "$work/run/$runtime" run -d -b bundle-sleep "bench-$runtime" </dev/null >/dev/null 2>&1; done
    shell=-N
    row 'exec' 'RUNTIME exec NAME true'
    row 'state' 'RUNTIME state NAME'
    for runtime in $runtimes; do $runtime --root "$work/run/$runtime" delete -f "bench-$runtime"; done
    [ ! -x /usr/bin/time ] || peak
    if command -v bwrap >/dev/null; then
        shell=-N
        # shellcheck disable=SC2046
        set -- $(turns "rkt-oci --root $work/run/rkt-oci run -b bundle bench" \
            'bwrap --unshare-all --bind bundle/rootfs / --proc /proc --dev /dev true')
        echo "run in turns with bwrap --unshare-all: $1 ms and $2 ms ($3; goal 1.50)"
        shell=--shell=sh
    fi
    echo "unshare and chroot: $(median 'unshare --fork --pid --mount --ipc --uts --net chroot bundle/rootfs /bin/true') ms"
    many
}

if [ "${1:-}" = --inside ]; then
    measure "$2"
    exit
fi
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
PATH=$PATH:/usr/sbin:/sbin
for need in hyperfine runc busybox; do
    command -v $need >/dev/null || { echo "benches/runtime.sh: $need is not there: run sh tests/run.sh --install" >&2; exit 1; }
done
profile=$here/container/tests/seccomp/docker.json
# Static, as README recommends.
CARGO_BUILD_TARGET=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static"
export CARGO_BUILD_TARGET RUSTFLAGS
if [ "${1:-}" = --vm ]; then
    cargo build --release -q -p acbuild -p rkt -p appc-container
    APPC_BIN_DIR=${CARGO_TARGET_DIR:-target}/$CARGO_BUILD_TARGET/release
    # That of busybox shows four times the memory.
    APPC_VM_PROGRAMS="hyperfine runc crun bwrap time"
    export APPC_BIN_DIR APPC_VM_PROGRAMS
    # The script and the profile go along as text; no line of theirs is the word that ends them.
    end=end-of-text
    exec sh tests/vm/run.sh -- "cat >/tmp/profile <<'$end'
$(cat "$profile")
$end
cat >/tmp/bench <<'$end'
$(cat "$here/benches/runtime.sh")
$end
RUNS=${RUNS:-20} sh /tmp/bench --inside /tmp/profile"
fi
cargo build --release -q -p appc-container
PATH=$(cd "${CARGO_TARGET_DIR:-target}/$CARGO_BUILD_TARGET/release" && pwd):$PATH
measure "$profile"
