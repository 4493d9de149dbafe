#!/bin/sh
# The build script of appc's tutorial: makes hello-0.0.1-linux-amd64.aci of ./hello in the current folder.
set -e

acbuild begin
# When a command fails, so that the next run can begin again.
trap 'acbuild end' EXIT
acbuild set-name example.com/hello
acbuild dep add quay.io/coreos/alpine-sh
acbuild copy hello /bin/hello
acbuild set-exec /bin/hello
acbuild port add www tcp 5000
acbuild label add version 0.0.1
acbuild label add arch amd64
acbuild label add os linux
acbuild annotation add authors "Carly Container <carly@example.com>"
acbuild write hello-0.0.1-linux-amd64.aci
trap - EXIT
acbuild end
