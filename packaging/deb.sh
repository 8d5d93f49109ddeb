#!/bin/sh
# Makes the Debian package of a program: packaging/deb.sh PROGRAM FOLDER [OPTION...]. FOLDER is where the package goes;
# options are those of `cargo deb`. Prints the package's path. `cargo xtask package` calls this, and the tests do.
#
# What the package is, posta/Cargo.toml says ([package.metadata.deb]), from which cargo-deb makes it. This only gives
# cargo-deb the program, which need not be the one in target/release. The manual pages and completions are in
# target/package/pages, where `posta-pages` has written them.
set -eu
program=$(realpath "$1") folder=$(realpath "$2")
shift 2
cd "$(dirname "$0")/.."
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
mkdir "$target/release"
ln -s "$program" "$target/release/posta"
export CARGO_TARGET_DIR="$target"
cargo deb --package posta --no-build --no-strip --locked --quiet --output "$folder/" "$@"
