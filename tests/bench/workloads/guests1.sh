# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# One guest, for comparison with several.
. "$BENCH/workloads/guests.inc"
load() { guests_load 1; }
