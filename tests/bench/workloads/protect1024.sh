# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# How long it takes to protect a guest of 1024 MiB, and what its clients notice of it.
. "$BENCH/workloads/protect.inc"
GUEST=small
MEMORY=1024
