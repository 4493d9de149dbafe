#!/bin/sh
# Measures the image of examples/nginx beside the same one made with buildah on the same base, from the first command to the
# written archive: medians, the ratio and the goal. As root; `sh tests/run.sh --install` brings the peer. Packages come from
# the mirror that this machine's apt uses, in both. RUNS=n sets how often each runs (default 3). APPC_BIN_DIR is a folder with
# the programs, built already.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
PATH=$PATH:/usr/sbin:/sbin
for need in hyperfine buildah debootstrap; do
    command -v $need >/dev/null || { echo "benches/nginx.sh: $need is not there: run sh tests/run.sh --install" >&2; exit 1; }
done
if [ -z "${APPC_BIN_DIR:-}" ]; then
    cargo build --release -q -p acbuild -p rkt
    APPC_BIN_DIR=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
fi
PATH=$(cd "$APPC_BIN_DIR" && pwd):$PATH
export PATH
tree=$(sh tests/support/debian-tree.sh)

work=$(mktemp -d)
RKT_DIR=$work/data
buildah="buildah --root $work/buildah --runroot $work/buildah-run --storage-driver overlay"
export RKT_DIR buildah work
finish() {
    cd /
    $buildah rm --all >/dev/null 2>&1 || true
    umount "$work/buildah/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap finish EXIT
cd "$work"

acbuild begin "$tree"
acbuild set-name example.com/debian
acbuild run -- rm -r /srv/odd
acbuild write --compression none debian.aci >/dev/null
tar -C .acbuild/currentaci/rootfs -cf debian.tar .
acbuild end
rkt --insecure-options=image fetch ./debian.aci >/dev/null
base=$($buildah from scratch)
$buildah add -q "$base" debian.tar / >/dev/null
$buildah commit -q "$base" debian >/dev/null

apt-config dump | grep -E '^Acquire::(https?|Check|Allow|Retries|ForceIP)' >apt.conf || true
printf '#!/bin/sh\nexit 101\n' >policy-rc.d
chmod 755 policy-rc.d
sed "s/PORT/8080/" "$here/examples/nginx/nginx.conf" >nginx.conf
# What examples/nginx/build.sh does, command for command.
cat >peer.sh <<'PEER'
set -e
set -- --volume "$work/apt.conf:/etc/apt/apt.conf.d/99host:ro" --volume "$work/policy-rc.d:/usr/sbin/policy-rc.d:ro"
for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/auth.conf.d /etc/apt/keyrings /etc/apt/trusted.gpg.d \
    /usr/share/keyrings /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$path" ] || set -- "$@" --volume "$path:$path:ro"
done
container=$($buildah from debian)
# crun, where it is what buildah takes, refuses hosts with both versions of cgroups.
$buildah run --runtime runc --net host --env DEBIAN_FRONTEND=noninteractive "$@" "$container" -- sh -ec '
    apt-get -q -o Acquire::Languages=none update
    apt-get -q install -y --no-install-recommends nginx-light
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log'
$buildah copy -q "$container" nginx.conf /etc/nginx/nginx.conf
$buildah config --entrypoint '["/usr/sbin/nginx", "-g", "daemon off;"]' --port 8080 --label version=1.0 "$container"
rm -f nginx.tar
$buildah commit -q "$container" "oci-archive:$work/nginx.tar"
$buildah rm "$container"
PEER

# median COMMAND: seconds.
median() {
    hyperfine -N --style none --warmup 1 --runs "${RUNS:-3}" --export-csv times.csv "$1" >/dev/null 2>hyperfine.log ||
        { cat hyperfine.log >&2; exit 1; }
    awk -F, 'END { printf "%.3f", $4 }' times.csv
}

ours=$(median "sh $here/examples/nginx/build.sh")
peer=$(median "sh peer.sh")
awk -v ours="$ours" -v peer="$peer" 'BEGIN {
    ratio = ours / peer
    printf "nginx from packages, s: %.2f, buildah %.2f: %.3f  goal 0.60: %s\n", ours, peer, ratio, ratio <= 0.6 ? "met" : "MISSED"
}'
