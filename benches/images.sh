#!/bin/sh
# Measures images beside the other programs of this machine, in one run: a pull with extraction from a registry on loopback, beside skopeo + umoci and podman;
# an image archive made an OCI layout, beside a plain copy of its bytes; the peak memory of both with an image of zeros; and ten thousand images listed.
# Medians in milliseconds.
# As root, after `cargo build --release`; `sh tests/run.sh --install` brings the peers.
#   SIZE=n   megabytes of the image (default 200)      RUNS=n  how often (default 5)
#   ZEROS=n  megabytes of the image whose memory is measured (default 4096; it takes little room on disk)
#   sh benches/images.sh
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
PATH=${BIN:-$here/target/release}:$PATH:/usr/sbin:/sbin
export PATH
size=${SIZE:-200} runs=${RUNS:-5} zeros=${ZEROS:-4096}
for need in acbuild rkt hyperfine skopeo umoci podman docker-registry openssl; do
    command -v $need >/dev/null || { echo "benches/images.sh: $need is not there: run cargo build --release and sh tests/run.sh --install" >&2; exit 1; }
done

work=$(mktemp -d)
registry=
finish() {
    [ -z "$registry" ] || { kill "$registry" && wait "$registry" || true; } 2>/dev/null
    cd /
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM
cd "$work"
RKT_DIR=$work/rkt
export RKT_DIR

# median PREPARE COMMAND: milliseconds; a dash when it fails.
median() {
    if hyperfine --shell=sh --style none --warmup 1 --runs "$runs" --prepare "$1" --export-csv times.csv "$2" >hyperfine.log 2>&1; then
        awk -F, 'END { printf "%.0f", $4 * 1000 }' times.csv
    else
        tail -n 3 hyperfine.log >&2
        printf -- -
    fi
}

# ratio OURS THEIRS GOAL
ratio() {
    awk -v ours="$1" -v theirs="$2" -v goal="$3" 'BEGIN { if (ours > 0 && theirs > 0) printf "%.2f (goal %s)\n", ours / theirs, goal; else print "-" }'
}

# tree FOLDER MEGABYTES: files of several sizes, of which half can be compressed.
tree() {
    mkdir -p "$1"
    for n in $(seq $(($2 / 2))); do
        mkdir -p "$1/$((n % 16))"
        head -c 524288 /dev/urandom >"$1/$((n % 16))/random-$n"
        seq $((n * 100000)) $((n * 100000 + 76000)) | head -c 524288 >"$1/$((n % 16))/text-$n"
        for m in 1 2 3 4 5 6 7 8; do seq $((n * m)) $((n * m + 20000)) | head -c 131072 >"$1/$((n % 16))/small-$n-$m"; done
    done
}

# Four layers, each on the one before.
image() {
    umoci init --layout layout
    umoci new --image layout:bench
    for layer in 1 2 3 4; do
        tree "tree-$layer" $((size / 4))
        umoci insert --image layout:bench "tree-$layer" "/layer-$layer"
    done
    rm -rf tree-?
}

serve() {
    port=$((20000 + $$ % 20000))
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out ca.crt -subj /CN=bench -addext subjectAltName=IP:127.0.0.1 \
        -addext basicConstraints=critical,CA:FALSE 2>/dev/null
    cat >registry.yml <<END
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/stored}}
http: {addr: "127.0.0.1:$port", tls: {certificate: $work/ca.crt, key: $work/key.pem}}
END
    docker-registry serve registry.yml >registry.log 2>&1 &
    registry=$!
    SSL_CERT_FILE=$work/ca.crt
    export SSL_CERT_FILE
    tries=0
    until skopeo --insecure-policy copy -q oci:layout:bench "docker://127.0.0.1:$port/bench:1" 2>copy.log; do
        tries=$((tries + 1))
        [ $tries -lt 20 ] || { cat copy.log >&2; exit 1; }
        sleep 0.5
    done
}

pull() {
    from=127.0.0.1:$port/bench:1
    pods="podman --root $work/podman --runroot $work/podman-run --storage-driver overlay"
    ours=$(median "rm -rf rkt" "rkt --insecure-options=image fetch docker://$from")
    theirs=$(median "rm -rf pulled unpacked" "skopeo --insecure-policy copy -q docker://$from oci:pulled:1 && umoci unpack --image pulled:1 unpacked")
    echo "pull and extract $size MB: rkt $ours ms, skopeo and umoci $theirs ms: $(ratio "$ours" "$theirs" 0.5)"
    theirs=$(median "$pods rmi --all --force" "$pods pull -q $from")
    echo "the same: rkt $ours ms, podman $theirs ms: $(ratio "$ours" "$theirs" 0.6)"
    $pods rmi --all --force >/dev/null 2>&1 || true
    umount "$work/podman/overlay" 2>/dev/null || true
}

convert() {
    acbuild convert --no-originals oci:layout:bench squashed.aci >/dev/null
    acbuild begin "$work/squashed.aci"
    acbuild set-name example.com/bench
    acbuild write plain.aci >/dev/null
    acbuild end
    for kind in "$@"; do
        rm -rf converted
        ours=$(median "rm -rf converted; sync" "acbuild convert $kind.aci oci:converted")
        theirs=$(median "rm -f copied; sync" "cat $kind.aci >copied && sync copied")
        echo "convert $kind.aci, $size MB, to OCI: acbuild $ours ms, copying its $(($(stat -c %s "$kind.aci") >> 20)) MB $theirs ms: $(ratio "$ours" "$theirs" 1.2)"
    done
}

# peak COMMAND…: megabytes of memory.
peak() {
    if /usr/bin/time -f %M -o peak "$@" >/dev/null 2>peak.log; then
        awk 'END { printf "%.0f", $1 / 1024 }' peak
    else
        tail -n 2 peak.log >&2
        printf -- -
    fi
}

# Zeros compress to nothing, so a large image is small on disk until somebody extracts it.
memory() {
    mkdir -p zeros/rootfs
    truncate -s "${zeros}M" zeros/rootfs/zeros
    acbuild begin ./zeros/rootfs
    acbuild set-name example.com/zeros
    acbuild write zeros.aci >/dev/null
    acbuild end
    rm -rf zeros
    echo "peak memory with an image of $zeros MB: convert to OCI $(peak acbuild convert zeros.aci oci:zeros-layout:1) MB (goal 100)"
    echo "and back $(peak acbuild convert oci:zeros-layout:1 zeros-back.aci) MB (goal 100)"
    SSL_CERT_FILE=$work/ca.crt skopeo --insecure-policy copy -q oci:zeros-layout:1 "docker://127.0.0.1:$port/zeros:1"
    rm -rf zeros-layout zeros-back.aci
    available=$(df -Pm "$work" | awk 'END { print $4 }')
    if [ "$available" -gt $((zeros * 5 / 4)) ]; then
        echo "fetch $(peak rkt --insecure-options=image fetch "docker://127.0.0.1:$port/zeros:1") MB (goal 100)"
    else
        echo "fetch is not measured: $available MB of room are not enough for $zeros MB"
    fi
}

# A store with ten thousand images that differ in their names and IDs.
listing() {
    mkdir -p small/rootfs
    echo '{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/small"}' >small/manifest
    tar cf small.aci -C small manifest rootfs
    rkt --dir many --insecure-options=image fetch small.aci >/dev/null
    cd many/store/images
    one=$(echo sha512-*)
    manifest=$(cat "$one/manifest") metadata=$(cat "$one/metadata")
    for n in $(seq 9999); do printf 'sha512-%0128x\n' "$n"; done >"$work/ids"
    xargs mkdir <"$work/ids"
    n=0
    while read -r id; do
        n=$((n + 1))
        printf '%s' "${manifest%%small*}small-$n${manifest#*small}" >"$id/manifest"
        printf '%s' "${metadata%%small*}small-$n${metadata#*small}" >"$id/metadata"
    done <"$work/ids"
    cd "$work"
    table=$(median : "rkt --dir many image list") json=$(median : "rkt --dir many image list --format=json")
    echo "10,000 images listed: $table ms, as JSON $json ms (goal 100)"
}

image
serve
pull
acbuild convert oci:layout:bench carried.aci >/dev/null
convert carried plain
memory
listing
