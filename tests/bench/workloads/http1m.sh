# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# HTTP, 1 MB, 4 connections.
. "$BENCH/workloads/http.inc"
GUEST=small
load() { http_load "$1" /1m 4; }
