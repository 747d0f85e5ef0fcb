# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# 8 guests at once.
. "$BENCH/workloads/guests.inc"
load() { guests_load 8; }
