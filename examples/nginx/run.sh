#!/bin/sh
# Builds the programs, a Debian base image, nginx on it, and asks that nginx: from packages to an answer. As root, on Debian or
# the like, with debootstrap, setcap, setfattr and curl. CARGO_BUILD_TARGET and CARGO_TARGET_DIR are minded as cargo does;
# APPC_BIN_DIR is a folder with the programs, built already.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
if [ "$(id -u)" -ne 0 ]; then
    echo "run.sh: acbuild run and rkt run need root: run this as root" >&2
    exit 1
fi
if [ -z "${APPC_BIN_DIR:-}" ]; then
    cargo build --release -p acbuild -p rkt
    target=${CARGO_TARGET_DIR:-target}
    APPC_BIN_DIR=$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
fi
PATH=$(cd "$APPC_BIN_DIR" && pwd):$PATH
export PATH

work=$(mktemp -d)
pod=
finish() {
    [ -z "$pod" ] || { kill "$pod" 2>/dev/null; wait "$pod" || true; }
    rm -rf "$work"
}
trap finish EXIT
# A store of our own, so that this leaves nothing behind.
RKT_DIR=$work/data
PORT=${PORT:-8080}
export RKT_DIR PORT

echo "== the base"
tree=$(sh "$here/../../tests/support/debian-tree.sh")
cd "$work"
acbuild begin "$tree"
acbuild set-name example.com/debian
# What only tests want, names that a path whitelist cannot have among it.
acbuild run -- rm -r /srv/odd
acbuild write --compression none debian.aci
acbuild end
rkt --insecure-options=image fetch ./debian.aci
rm debian.aci

echo "== nginx"
sh "$here/build.sh"

echo "== the pod"
rkt --insecure-options=image run --net=host ./nginx.aci &
pod=$!
answer=$(curl --silent --show-error --noproxy '*' --retry 50 --retry-delay 1 --retry-connrefused --max-time 60 "http://127.0.0.1:$PORT/")
echo "$answer"
case $answer in
"hello from nginx") echo "== nginx.aci answered" ;;
*) echo "run.sh: nginx did not answer hello" >&2; exit 1 ;;
esac
