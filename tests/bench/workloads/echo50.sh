# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# TCP echo on 50 connections, each every 100 ms.
GUEST=small
load() { on_lan "$BENCH_BIN/echo-load" "$1" 50 100 "$SECONDS_EACH"; }
