#!/bin/sh
# Makes nginx.aci in the current folder: the nginx of Debian's packages on the image example.com/debian, which is in the store.
# As root, on Debian or the like: apt inside uses what this machine's apt uses. $PORT is where nginx listens (8080).
set -e

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)

acbuild begin
# When a command fails, so that the next run can begin again.
trap 'acbuild end; rm -rf "$work"' EXIT
acbuild set-name example.com/nginx
acbuild dep add example.com/debian

# How this machine reaches packages (sources, proxies, keys), for the time of the installation: none of it gets into the
# image. What else its apt would download or keep is its own affair.
apt-config dump | grep -E '^Acquire::(https?|Check|Allow|Retries|ForceIP)' >"$work/apt.conf" || true
# No service is to be started by its package: this is no running system.
printf '#!/bin/sh\nexit 101\n' >"$work/policy-rc.d"
chmod 755 "$work/policy-rc.d"
set -- --volume "$work/apt.conf:/etc/apt/apt.conf.d/99host:ro" --volume "$work/policy-rc.d:/usr/sbin/policy-rc.d:ro"
for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/auth.conf.d /etc/apt/keyrings /etc/apt/trusted.gpg.d \
    /usr/share/keyrings /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$path" ] || set -- "$@" --volume "$path:$path:ro"
done
acbuild run --env DEBIAN_FRONTEND=noninteractive "$@" -- sh -ec '
    apt-get -q -o Acquire::Languages=none update
    apt-get -q install -y --no-install-recommends nginx-light
    apt-get clean
    rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log'

sed "s/PORT/${PORT:-8080}/" "$here/nginx.conf" >"$work/nginx.conf"
acbuild copy "$work/nginx.conf" /etc/nginx/nginx.conf
acbuild set-exec -- /usr/sbin/nginx -g 'daemon off;'
acbuild port add http tcp "${PORT:-8080}"
acbuild label add version 1.0
acbuild write --overwrite nginx.aci
trap - EXIT
acbuild end
rm -rf "$work"
