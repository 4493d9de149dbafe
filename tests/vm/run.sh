#!/bin/sh
# Runs the container tests under a second kernel: Debian's cloud kernel in an emulator, with cgroup v2 alone.
#   tests/vm/run.sh [--v1] [TEST…]      tests of tests/*.rs by name, or `engine` for the engine's own; without any, those of containers
#   tests/vm/run.sh [--v1] -- COMMAND   a shell command instead, in a system with the programs and busybox
# With --v1 it has the hierarchies of cgroup v1 alone.
# Their output comes out here, and the exit code is theirs. Needs qemu-system-x86, cpio, busybox-static and
# linux-image-cloud-amd64 (tests/run.sh installs them), but neither root nor the right to virtualise.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
PATH=$PATH:/usr/sbin:/sbin
minutes=${APPC_VM_MINUTES:-12}

fail() { echo "vm/run.sh: $*" >&2; exit 2; }

kernel=
for file in /boot/vmlinuz-*-cloud-amd64; do kernel=$file; done
[ -r "$kernel" ] || fail "no Debian cloud kernel in /boot: install linux-image-cloud-amd64"
modules=/lib/modules/${kernel#/boot/vmlinuz-}
busybox=$(command -v busybox) || fail "no busybox: install busybox-static"
for program in qemu-system-x86_64 cpio; do
    command -v $program >/dev/null || fail "no $program: sh tests/run.sh --install"
done

# The same flags as tests/run.sh, so that nothing is compiled twice.
export CARGO_BUILD_TARGET="${CARGO_BUILD_TARGET:-x86_64-unknown-linux-gnu}"
export RUSTFLAGS="${RUSTFLAGS:--C target-feature=+crt-static}"

root=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$root"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$root/tree/bin" "$root/tree/tests" "$root/tree/modules"

# Builds tests, with what is below them as the whole workspace has it, or that were compiled anew.
build_tests() {
    cargo test --workspace --no-run --message-format=json "$@" 2>"$root/cargo" >"$root/built" || { cat "$root/cargo" >&2; exit 1; }
}

# take_test PACKAGE KIND NAME: copies what was built without what only a debugger reads.
take_test() {
    file=$(sed -n "/#$1@/s/.*\"kind\":\[\"$2\".*\"name\":\"$3\".*\"executable\":\"\([^\"]*\)\".*/\1/p" "$root/built")
    [ -n "$file" ] || fail "there are no tests called $3"
    strip -o "$root/tree/tests/$3" "$file"
}

cgroups=cgroup_no_v1=all
if [ "${1:-}" = --v1 ]; then
    shift
    # Linux hands parameters that it does not know, and that have no dot, to init's environment.
    cgroups=CGROUPS=v1
fi
command=
if [ "${1:-}" = -- ]; then
    shift
    command="$*"
else
    # criu does not follow every kernel at once; with this one it works.
    [ $# -gt 0 ] || set -- engine checkpoint update events exec limits delegated walkthrough pods
    # shellcheck disable=SC2046
    build_tests $(for test in "$@"; do [ "$test" = engine ] && echo --lib || echo "--test $test"; done)
    for test in "$@"; do
        if [ "$test" = engine ]; then
            take_test appc-container lib appc_container
        elif [ -e "container/tests/$test.rs" ]; then
            take_test appc-container test "$test"
        else
            take_test appc-tests test "$test"
        fi
    done
fi

if [ -z "${APPC_BIN_DIR:-}" ]; then
    cargo build -q --bins
    APPC_BIN_DIR=$(cargo metadata --format-version=1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$CARGO_BUILD_TARGET/debug
fi
for program in acbuild rkt rkt-oci; do strip -o "$root/tree/bin/$program" "$APPC_BIN_DIR/$program"; done

cp "$busybox" "$root/tree/bin/busybox"
# What checkpoints are made with, and whatever APPC_VM_PROGRAMS names: these come with libraries, and go over busybox's.
mkdir "$root/tree/real"
for name in criu tar ip ${APPC_VM_PROGRAMS:-}; do
    program=$(command -v "$name") || continue
    ldd "$program" | sed -n 's/.*[[:space:]]\(\/[^ ]*\) (.*/\1/p' | cpio -pduL --quiet "$root/tree"
    cp "$program" "$root/tree/real/"
done
cp "$here/init" "$root/tree/init"
chmod 755 "$root/tree/init"
printf '%s\n' "$command" >"$root/tree/command"
# What the kernel has as modules and containers need, each after those it depends on.
for module in overlay veth unix_diag inet_diag tcp_diag udp_diag raw_diag af_packet_diag netlink_diag nf_tables tun; do
    sed -n "s|^\(kernel/[^:]*/$module\.ko[^:]*\):\(.*\)|\2 \1|p" "$modules/modules.dep" | tr ' ' '\n'
done | awk 'NF && !seen[$0]++' | while read -r module; do
    cp "$modules/$module" "$root/tree/modules/"
    basename "$module" >>"$root/tree/modules/order"
done
(cd "$root/tree" && find . | cpio -o -H newc -R 0:0 --quiet) >"$root/initramfs"

# No KVM: nested virtualisation hangs on some machines, and the emulator is there on all.
# On a busy host the timer is late, which the kernel takes for a broken one unless it is told not to look.
# One thread for both processors: with one each, a processor can go on executing what the other has just patched in the
# kernel's code (static keys, as the first cpu.max sets one), and hang (seen in qemu 7.2, in one run of thirty).
# What follows the console may be there before the emulator is.
: >"$root/console"
timeout -k 5 "$((minutes * 60))" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 -m 2048 \
    -nodefaults -no-user-config -display none -no-reboot -serial stdio \
    -kernel "$kernel" -initrd "$root/initramfs" -append "console=ttyS0 quiet panic=-1 no_timer_check $cgroups" \
    </dev/null >>"$root/console" 2>&1 &
pid=$!
tail --pid="$pid" -n +1 -f "$root/console" | tr -d '\r' | tee "$root/log"
status=0
wait "$pid" || status=$?
pid=
code=$(sed -n 's/^== second kernel ended with \([0-9]*\)$/\1/p' "$root/log" | tail -n 1)
[ -n "$code" ] || fail "the second kernel did not come to an end within $minutes minutes (the emulator's exit code is $status)"
exit "$code"
