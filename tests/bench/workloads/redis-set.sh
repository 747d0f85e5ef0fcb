# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# redis set, 100 bytes.
. "$BENCH/workloads/redis.inc"
GUEST=debian
load() { redis_load "$1" set; }
