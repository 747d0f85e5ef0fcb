# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Nobody asks anything.
GUEST=small
load() { sleep "$SECONDS_EACH"; }
