#!/bin/sh
# Tries the races between the runtime and somebody who changes its directories far more often than the tests do:
# sh tests/hostile/long.sh [TIMES], 10000 without a number.
set -eu

cd "$(dirname "$0")/../.."
cargo build --release -p appc-container
APPC_BIN_DIR=$(cd "${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release" && pwd)
APPC_RACES=${1:-10000}
APPC_TESTS_MUST_WORK=1
export APPC_BIN_DIR APPC_RACES APPC_TESTS_MUST_WORK
cargo test -p appc-tests --test hostile -- --nocapture item_07
