# SPDX-License-Identifier: LGPL-2.1-or-later
# Two disks share one epoch boundary: after a power loss both files hold every acknowledged number.
. "$(dirname "$0")/lib.sh"

fresh
"$LAB" guest vm1 --disk 512M --disk 256M || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
client_moves l 150
"$LAB" crash a
client_moves l 100
client_end l
check "first disk: no number lost" nothing_lost l
last=$("$LAB" client dump2 2>/dev/null | tail -n 1)
check "second disk: the same last number" eval '[ -n "$last" ] && [ "$last" -ge "$(result l .acknowledged)" ]'
