#!/bin/sh
# Builds the programs, an image with a dependency, and runs it: the whole way from a C file to a pod. As root.
# Needs Rust and a C compiler; CARGO_BUILD_TARGET and CARGO_TARGET_DIR are minded as cargo does.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
if [ "$(id -u)" -ne 0 ]; then
    echo "run.sh: rkt run needs root: run this as root" >&2
    exit 1
fi

cargo build --release -p acbuild -p rkt -p appc-container
target=${CARGO_TARGET_DIR:-target}
bin=$(cd "$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release" && pwd)
PATH=$bin:$PATH
export PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# A store of our own, so that this leaves nothing behind.
RKT_DIR=$work/data
export RKT_DIR

echo "== a stand-in for the dependency quay.io/coreos/alpine-sh"
cp -R "$here/base" base
acbuild begin ./base
acbuild set-name quay.io/coreos/alpine-sh
acbuild write alpine-sh.aci
acbuild end
rkt fetch ./alpine-sh.aci

echo "== the tutorial's build script"
cc -O2 -static -o hello "$here/hello.c"
sh "$here/build.sh"

echo "== the pod"
answer=$(rkt run ./hello-0.0.1-linux-amd64.aci -- --self-test)
echo "$answer"
case $answer in
*hello*) echo "== hello.aci ran" ;;
*) echo "run.sh: the pod did not answer hello" >&2; exit 1 ;;
esac
