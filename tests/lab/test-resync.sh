# SPDX-License-Identifier: LGPL-2.1-or-later
# A host that lost power has most of the disk still: only what differs goes over the FT link when it is a standby again, while the guest writes. And the
# disks are right: after a failover to it, and after a comparison that the link's end has cut off.
. "$(dirname "$0")/lib.sh"

MIB=$((1 << 20))
DATA=200	# MiB, of random bytes

ft_bytes() { "$LAB" exec "$1" cat /sys/class/net/ft0/statistics/tx_bytes /sys/class/net/ft0/statistics/rx_bytes | awk '{ s += $1 } END { printf "%.0f\n", s }'; }
sums() { "$LAB" guest-run vm1 "echo 3 >/proc/sys/vm/drop_caches; sha256sum /data/blob* | cut -d ' ' -f 1"; }
# COMMAND...: runs it; the bytes on the FT link meanwhile are in $used
measured() {
	local before status=0
	before=$(ft_bytes b)
	"$@" || status=$?
	used=$(($(ft_bytes b) - before))
	return $status
}

fresh
"$LAB" guest vm1 || die "guest"
"$LAB" guest-run vm1 "dd if=/dev/urandom of=/data/blob1 bs=1M count=$DATA conv=fsync 2>/dev/null" || die "no data"
# The guest writes all the time, and so its host has written more than its last checkpoint when it dies.
"$LAB" guest-run vm1 "while [ ! -e /stop ]; do dd if=/dev/urandom of=/data/churn bs=256k count=8 conv=fsync 2>/dev/null; sleep 0.2; done" >/dev/null 2>&1 &
echo $! >"$TEST_WORK/pid-churn"
before=$(sums)

measured enable a vm1 b
first=$used
check "an image that is made anew is copied" eval '[ "$(status a vm1 .disk_compared_bytes)" = 0 ] && [ "$first" -gt $((DATA * MIB)) ]'
sleep 2
"$LAB" crash a
until_true 20 state_is b vm1 solo || die "b does not go on alone"
same "the data is right on the host that took over" "$before" "$(sums)"

"$LAB" boot a || die "boot a"
until_true 10 ftctl a status >/dev/null
measured ftctl b enable vm1 --peer a 2>"$TEST_WORK/progress" || die "enable b vm1 a"
second=$used
compared=$(status b vm1 .disk_compared_bytes)
alike=$(status b vm1 .disk_same_bytes)
sent=$(status b vm1 .bytes_sent)
echo "FT link: $((first / MIB)) MiB, then $((second / MIB)) MiB, of which memory and checkpoints $((sent / MIB)) MiB; compared $((compared / MIB)) MiB, the same $((alike / MIB)) MiB"
check "the image that was there is compared, and most of it is the same" eval '[ "$alike" -gt $((DATA * MIB * 9 / 10)) ]'
check "not all of it is" eval '[ "$alike" -lt "$compared" ]'
check "the disk's data does not go over the FT link again" eval '[ "$((second - sent))" -lt $((DATA * MIB / 4)) ] && [ "$second" -lt $((first - DATA * MIB / 2)) ]'
check "enable says that it compares" eval 'grep -q "^comparing disks: .* the same$" "$TEST_WORK/progress"'
check "protected again" state_is b vm1 protected

"$LAB" guest-run vm1 "dd if=/dev/urandom of=/data/blob2 bs=1M count=20 conv=fsync 2>/dev/null" || die "no data"
before=$(sums)
sleep 2
"$LAB" crash b
until_true 20 state_is a vm1 solo || die "a does not go on alone"
same "the data is right on the host that was a standby again" "$before" "$(sums)"

# The link ends while disks are compared. Slow, so that there is time for it; but a heartbeat must not take as long as suspect-ms for the way and back.
"$LAB" boot b || die "boot b"
until_true 10 ftctl b status >/dev/null
"$LAB" slow ft --delay 40 || die "slow"
ftctl a enable vm1 --peer b >"$TEST_WORK/cut" 2>&1 &
enabling=$!
until_true 60 eval '[ "$(status a vm1 .disk_compared_bytes)" -gt 0 ] 2>/dev/null'
check "disks are being compared" eval '[ "$(status a vm1 .disk_compared_bytes)" -gt 0 ] && state_is a vm1 forming'
"$LAB" cut ft
until_true 30 eval "! kill -0 $enabling 2>/dev/null"
check "the link's end ends it, and nothing hangs" eval "! kill -0 $enabling 2>/dev/null && ! wait $enabling"
cat "$TEST_WORK/cut"
same "the guest goes on, with its data" "$before" "$(sums)"
"$LAB" heal ft
until_true 90 eval 'ftctl a enable vm1 --peer b 2>/dev/null' || die "enable a vm1 b"
check "protected after it" state_is a vm1 protected
sleep 2
"$LAB" crash a
until_true 20 state_is b vm1 solo || die "b does not go on alone"
same "the data is right there, too" "$before" "$(sums)"
"$LAB" guest-run vm1 "touch /stop" >/dev/null
"$LAB" boot a
