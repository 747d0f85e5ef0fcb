# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# ftd, output leaves on commit only.
. "$BENCH/systems/ftd.inc"
FTD_ENABLE=(--mode passive)
system_missing() { lab ftctl a enable --help 2>&1 | grep -q -- --mode || echo 'this ftctl has no "enable --mode passive"'; }
