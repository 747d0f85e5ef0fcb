# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# 10 MB/s of memory are written.
. "$BENCH/workloads/dirty.inc"
GUEST=small
load() { dirty_load "$1" 10; }
