# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The guest as it is, alone on host a.
SERVERS=(10.99.0.10)
system_up() {
	guest_start bench a 10.99.0.10
}
system_down() { lab guest-rm bench; }
