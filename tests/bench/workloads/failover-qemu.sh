# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The primary's QEMU is killed.
. "$BENCH/workloads/failover.inc"
fail() { lab kill-qemu "$1" bench; }
mend() { :; }
