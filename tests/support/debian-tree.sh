#!/bin/sh
# Prints the folder of a real Debian root file system of about 200 MB, building it the first time.
# It holds what makes trees hard: device nodes, hard links, setuid files, file capabilities, odd times and owners.
# Needs root and, the first time only, the mirror that this machine's own apt uses.
set -eu

# A new number here builds a new tree; the old one may be deleted.
version=1
cache=${APPC_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/appc-tests}
tree=$cache/debian-$version

mkdir -p "$cache"
# The setuid files below are for tests, not for the users of this machine.
chmod 700 "$cache"
exec 9>"$cache/lock"
flock 9
if [ -d "$tree" ]; then
    echo "$tree"
    exit
fi

new=$tree.new
[ ! -d "$new" ] || rm -rf --one-file-system "$new"
targets() { apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' 'Component: main'; }
[ -n "$(targets)" ] || apt-get update >&2
# The release itself: the updates and security suites have a dash in their names.
set -- $(targets | grep -v -- - | head -n 1)
if [ $# -ne 2 ]; then
    echo "debian-tree.sh: apt has no Debian release in its sources: add one and run apt-get update" >&2
    exit 1
fi
if ! debootstrap --variant=minbase --include=perl,python3-minimal "$2" "$new" "$1" >"$cache/debootstrap.log" 2>&1; then
    tail -n 20 "$cache/debootstrap.log" >&2
    echo "debian-tree.sh: debootstrap failed: read $cache/debootstrap.log" >&2
    exit 1
fi
rm -rf "$new"/var/cache/apt/*.bin "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/*

cd "$new"
setcap cap_net_raw,cap_net_admin=ep usr/bin/newgrp
setcap cap_net_bind_service=ep usr/bin/perl
mkdir -p srv/odd srv/odd/empty
mkfifo -m 0620 srv/odd/fifo
mknod srv/odd/block b 7 200
mknod srv/odd/char c 1000 70000
echo far >srv/odd/owner
chown 3000000:4000000 srv/odd/owner
echo text >srv/odd/attributes
setfattr -n user.comment -v 'kept with the file' srv/odd/attributes
setfattr -n user.folder -v 'kept with the folder' srv/odd/empty
truncate -s 64M srv/odd/sparse
printf tail >>srv/odd/sparse
long=$(printf '%0200d' 7)
mkdir "srv/odd/$long"
echo long >"srv/odd/$long/$long"
ln "srv/odd/$long/$long" "srv/odd/$long/hard"
ln -s "$long/$long" srv/odd/soft
ln -s /nowhere/at/all srv/odd/dangling
ln srv/odd/fifo srv/odd/fifo-too
printf 'not utf-8' >"srv/odd/$(printf 'caf\351')"
chmod 7777 srv/odd/empty
touch -h -d '2001-02-03 04:05:06.123456789' srv/odd/soft srv/odd/owner
touch -d '1969-12-31 23:59:58.5 UTC' srv/odd/attributes
touch -d '2242-01-01 00:00:00.000000001 UTC' srv/odd/empty
mv "$new" "$tree"
echo "$tree"
