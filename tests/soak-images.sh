#!/bin/sh
# Kills fetch, import, render, rm and gc at random moments, two processes at a time, and looks at the store after each: sh tests/soak-images.sh
# [KILLS], 500 without a number.
set -eu

cd "$(dirname "$0")/.."
cargo build --release -p acbuild -p rkt -p appc-container
APPC_BIN_DIR=$(cd "${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release" && pwd)
APPC_KILLS=${1:-500}
APPC_TESTS_MUST_WORK=1
export APPC_BIN_DIR APPC_KILLS APPC_TESTS_MUST_WORK
cargo test -p appc-tests --test keeping -- --nocapture kill
