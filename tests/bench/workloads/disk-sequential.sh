# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sequential writes of 256 KiB.
. "$BENCH/workloads/fio.inc"
GUEST=debian
load() { fio_load "$1" '--rw=write --bs=256k'; }
