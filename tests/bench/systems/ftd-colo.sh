# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# ftd, both copies run and are compared.
. "$BENCH/systems/ftd.inc"
FTD_ENABLE=()
