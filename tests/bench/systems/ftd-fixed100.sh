# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# ftd-colo with a checkpoint every 100 ms at the latest, where its policy would choose how often: what that policy is worth. Measured when it is asked for.
. "$BENCH/systems/ftd-colo.sh"
FTD_CONF=max-epoch-ms=100
