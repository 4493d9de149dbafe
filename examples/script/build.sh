#!/bin/sh
# Makes greeting.aci, with its version as the argument.
set -e
version=${1:?the version is missing}

acbuild begin
end() {
    code=$?
    acbuild end && exit $code
}
trap end EXIT

acbuild set-name example.com/greeting
acbuild label add version "$version"
acbuild copy greeting /usr/share/greeting
acbuild set-exec -- /bin/cat /usr/share/greeting
acbuild annotation add authors "Carly Container <carly@example.com>"
acbuild write --overwrite greeting.aci
