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
check "two disks were written and read back" eval '[ "$(result l .disks)" = 2 ]'
check "no number lost on either, no connection reset" nothing_lost l
