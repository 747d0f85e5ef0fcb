# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# TCP echo of 64 bytes every 10 ms on one connection.
GUEST=small
load() { on_lan "$BENCH_BIN/echo-load" "$1" 1 10 "$SECONDS_EACH"; }
