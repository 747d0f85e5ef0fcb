# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Random writes of 4 KiB.
. "$BENCH/workloads/fio.inc"
GUEST=debian
load() { fio_load "$1" '--rw=randwrite --bs=4k'; }
