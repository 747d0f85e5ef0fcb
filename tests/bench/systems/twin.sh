# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Two unprotected guests, one on each host, under the same load at once: what two copies can reach on this machine.
SERVERS=(10.99.0.10 10.99.0.11)
system_up() {
	guest_start bench a 10.99.0.10 && guest_start bench2 b 10.99.0.11
}
system_down() {
	lab guest-rm bench
	lab guest-rm bench2
}
