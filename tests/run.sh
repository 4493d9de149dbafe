#!/bin/sh
# Runs every test: installs what they need, builds the programs and the tests, runs them here and then under a second kernel.
#   --lints   also cargo fmt --check and clippy
# Ends with one line that says what passed, and the exit code 0 when everything did. As root, on Debian or the like.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "run.sh: the tests make containers: run this as root" >&2; exit 1; }
    exec sudo -E env "PATH=$PATH" sh "$here/run.sh" "$@"
fi
# Programs for administrators are not in everyone's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

log=$(mktemp)
code=$(mktemp)
trap 'rm -f "$log" "$code"' EXIT
passed=
failed=
began=$(date +%s)

# step NAME MINUTES COMMAND…: runs it within that time and remembers how it ended.
step() {
    name=$1 minutes=$2 start=$(date +%s)
    shift 2
    echo "== $name: $*"
    { status=0; timeout -k 30 "${minutes}m" "$@" 2>&1 || status=$?; echo "$status" >"$code"; } | tee -a "$log"
    status=$(cat "$code")
    took=$(($(date +%s) - start))
    case $status in
    0) passed="$passed $name(${took}s)" ;;
    124 | 137) failed="$failed $name(no end within ${minutes}m)" ;;
    *) failed="$failed $name(exit $status)" ;;
    esac
    return "$status"
}

finish() {
    tests=$(awk '/^test result:/ { ok += $4; bad += $6 } END { printf "%d tests passed, %d failed", ok, bad }' "$log")
    skips=$(grep -c 'SKIPPED' "$log" || true)
    echo "== $tests, $skips skipped, in $(($(date +%s) - began)) s; steps passed:${passed:- none}; steps failed:${failed:- none}"
    [ -z "$failed" ] || exit 1
    exit 0
}

# The packages of programs that are not there. A busybox with libraries would not run in an empty root file system.
missing() {
    for pair in debootstrap:debootstrap runc:runc bwrap:bubblewrap ip:iproute2 qemu-system-x86_64:qemu-system-x86 pigz:pigz setfattr:attr \
        setcap:libcap2-bin gpg:gnupg openssl:openssl strace:strace cpio:cpio bzip2:bzip2 xz:xz-utils zstd:zstd newuidmap:uidmap \
        setpriv:util-linux ps:procps hyperfine:hyperfine criu:criu crun:crun cc:gcc python3:python3-minimal \
        dockerd:docker.io containerd:containerd podman:podman skopeo:skopeo umoci:umoci conmon:conmon slirp4netns:slirp4netns \
        buildah:buildah curl:curl docker-registry:docker-registry htpasswd:apache2-utils mkfs.xfs:xfsprogs \
        systemd-nspawn:systemd-container qemu-aarch64-static:qemu-user-static; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
    busybox=$(command -v busybox) || busybox=
    if [ -z "$busybox" ] || ldd "$busybox" >/dev/null 2>&1; then echo busybox-static; fi
    [ -x /usr/bin/time ] || echo time
    [ -e /usr/include/seccomp.h ] || echo libseccomp-dev
    ls /boot/vmlinuz-*cloud* >/dev/null 2>&1 || echo linux-image-cloud-amd64
}

install() {
    packages=$(missing)
    [ -n "$packages" ] || return 0
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    apt-get update -q && apt-get install -y -q --no-install-recommends $packages
}

if [ "${1:-}" = --install ]; then
    install
    exit
fi
step install 10 sh "$here/run.sh" --install || finish

# One set of flags for everything, so that nothing is compiled twice: static, so that the same executables run under the second kernel.
CARGO_BUILD_TARGET=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-C target-feature=+crt-static"
APPC_TESTS_MUST_WORK=1
export CARGO_BUILD_TARGET RUSTFLAGS APPC_TESTS_MUST_WORK

if [ "${1:-}" = --lints ]; then
    step format 1 cargo fmt --all --check || finish
    step clippy 15 cargo clippy --workspace --all-targets -- -D warnings || finish
fi
step tests-build 20 cargo test --workspace --no-run || finish
# The pods of the end-to-end tests are run by the programs as they are shipped; the example builds and proves them.
step example 20 sh examples/hello/run.sh || finish
APPC_BIN_DIR=$(cd "${CARGO_TARGET_DIR:-target}/$CARGO_BUILD_TARGET/release" && pwd)
export APPC_BIN_DIR

step crates 15 cargo test --workspace --exclude appc-tests --no-fail-fast || true
# Of a build of its own, whose program dies where it is told to. Of the whole workspace, or what is below it were compiled anew.
step fault-injection 15 env -u APPC_BIN_DIR cargo test --workspace --features appc-container/fault-injection --test faults || true
step debian-tree 10 sh tests/support/debian-tree.sh || true
step end-to-end 20 cargo test -p appc-tests --no-fail-fast || true
step second-kernel 15 sh tests/vm/run.sh || true
# This kernel has version 2 beside version 1 or alone; the third kind of host is version 1 alone.
step second-kernel-v1 10 sh tests/vm/run.sh --v1 limits walkthrough || true
finish
