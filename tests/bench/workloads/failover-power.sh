# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The primary's host loses its power and its links at once, so that only its silence tells: the gap has suspect-ms (150) in it.
. "$BENCH/workloads/failover.inc"
fail() { lab crash "$1" --dark; }
mend() { lab boot "$1"; }
