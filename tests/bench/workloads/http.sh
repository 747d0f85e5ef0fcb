# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# HTTP, 20 bytes, 8 connections.
. "$BENCH/workloads/http.inc"
GUEST=small
load() { http_load "$1" / 8; }
