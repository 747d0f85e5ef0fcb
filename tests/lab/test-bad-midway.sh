# SPDX-License-Identifier: LGPL-2.1-or-later
# An enable that is interrupted: whatever dies on the way, the domain goes on as it was, its client notices nothing worse than a pause, the peer is as it was,
# and the next enable works.
. "$(dirname "$0")/bad.sh"

images=/var/lib/libvirt/images
trap '"$LAB" heal ft; for p in "$TEST_WORK"/pid-*; do [ -e "$p" ] && kill -9 "$(cat "$p")"; done; rm -f "$TEST_WORK"/pid-*' EXIT

# begin PHASE: an enable in the background, until its guards are in that phase
begin() {
	ftctl a enable vm1 --peer b >"$TEST_WORK/enable" 2>&1 &
	enabling=$!
	phase=$1
	until_true 20 eval '[ "$(status a vm1 .phase)" = "$phase" ]' || die "the enable does not come to phase $1: $(cat "$TEST_WORK/enable")"
}
# end_of_it WHAT: it has failed, in its own time, and said so
end_of_it() {
	wait "$enabling" && not_ok "$1: the enable did not fail"
	until_true 1 ftctl a status >/dev/null 2>&1	# it may have been ftd that was killed
	grep -E '^ftctl: enable vm1: ' "$TEST_WORK/enable" || { cat "$TEST_WORK/enable"; not_ok "$1: no error was told"; }
}
as_before() {	# WHAT
	until_true 30 eval '[ "$peer_before" = "$(host_picture b)" ]'
	same "$1: the peer is as it was" "$peer_before" "$(host_picture b)"
	until_true 20 eval '[ "$(status a vm1 .state)" != forming ]'
	same "$1: QEMU is as it was" "$qemu_before" "$(qemu_picture a vm1)"
	client_moves l 10
	ok "$1: the guest has its network"
}
end_guard() { "$LAB" exec "$1" sh -c 'kill -9 $(cat /run/ftd/pairs/*/guard.pid)'; }
end_ftd() { "$LAB" exec "$1" sh -c 'kill -9 $(cat /run/ftd-lab/ftd.pid)'; }

fresh
"$LAB" guest vm1 --disk 256M || die "guest"
# A second disk whose copy takes time.
"$LAB" exec a sh -c "head -c 24M /dev/urandom >$images/random && qemu-img convert -O qcow2 $images/random $images/vm1-vdb.qcow2; rm $images/random"
"$LAB" virsh a attach-disk vm1 $images/vm1-vdb.qcow2 vdb --persistent --subdriver qcow2 >/dev/null || die "attach-disk"
uuid=$("$LAB" virsh a domuuid vm1 | head -n 1)
qemu_before=$(qemu_picture a vm1)
peer_before=$(host_picture b)
client l ledger
client_moves l 20
"$LAB" slow ft --rate 150

for phase in disk memory; do
	begin $phase
	end_guard a
	end_of_it "the primary's guard is killed ($phase)"
	as_before "the primary's guard is killed ($phase)"

	begin $phase
	end_guard b
	end_of_it "the standby's guard is killed ($phase)"
	as_before "the standby's guard is killed ($phase)"

	begin $phase
	end_ftd a
	end_of_it "the primary's ftd is killed ($phase)"
	as_before "the primary's ftd is killed ($phase)"
done

begin disk
"$LAB" crash b 2>/dev/null
end_of_it "the peer loses power"
"$LAB" boot b >/dev/null 2>&1
as_before "the peer loses power"

if "$LAB" exec b sh -c "mount -t tmpfs -o size=100m odd $images && dd if=/dev/zero of=$images/odd bs=4096 count=1 oflag=direct && rm $images/odd" 2>/dev/null; then
	begin disk
	"$LAB" exec b sh -c "head -c 200M /dev/zero >$images/fill; sleep 1; rm $images/fill" 2>/dev/null
	end_of_it "the peer's disk fills up"
	check "the peer's disk fills up: it is said" grep -q 'No space left on device' "$TEST_WORK/enable"
	as_before "the peer's disk fills up"
else
	echo "skip the peer's disk fills up: no O_DIRECT on a tmpfs here"
fi
"$LAB" exec b umount $images

begin memory
"$LAB" cut ft-b
end_of_it "the link is cut (memory)"
"$LAB" heal ft-b
as_before "the link is cut (memory)"

# Before the guards know each other: only the two daemons can notice.
ftctl a enable vm1 --peer b >"$TEST_WORK/enable" 2>&1 &
enabling=$!
until_true 5 grep -q '^preparing' "$TEST_WORK/enable" || die "no standby is prepared"
"$LAB" cut ft-b
started=$SECONDS
end_of_it "the link is cut (prepare)"
check "the link is cut (prepare): noticed in time" test $((SECONDS - started)) -le 30
as_before "the link is cut (prepare)"
"$LAB" heal ft-b

# The pair's record is written, and before anything was armed by it the guard dies: the standby was told to go, so nobody else will claim.
begin memory
generation=$(status a vm1 .generation)
"$LAB" exec a sh -c 'kill -STOP $(cat /run/ftd-lab/ftd.pid)'
end_guard a
"$LAB" exec a sh -c "mkdir -p /srv/ftd-arbiter/$uuid && printf '%s\n' \
	'{\"version\":1,\"pair\":\"$uuid\",\"generation\":$generation,\"active\":\"a\",\"standby\":\"b\",\"nonce\":\"x\",\"reason\":\"protect\",\"written-at\":1}' \
	>/srv/ftd-arbiter/$uuid/$(printf %020d "$generation").json"
"$LAB" exec a sh -c 'kill -CONT $(cat /run/ftd-lab/ftd.pid)'
end_of_it "the guard is killed when the record is written"
as_before "the guard is killed when the record is written"

"$LAB" heal ft
begin memory
end_ftd b
wait "$enabling" || { cat "$TEST_WORK/enable"; not_ok "the peer's ftd is not needed once it has made the standby"; }
check "protected, though the peer's ftd was killed on the way" state_is a vm1 protected
client_moves l 20

# Both at once: nobody is left to claim but ftd.
"$LAB" crash b 2>/dev/null
end_guard a
comes 20 "the primary's guard and the peer are lost together: the primary goes on" state_is a vm1 solo
"$LAB" boot b >/dev/null 2>&1
as_before "and the peer comes back"
enable a vm1 b
client_moves l 20
ftctl a disable vm1 || die "disable"
as_before "enabled and disabled once more"
client_end l
check "no number lost, no connection reset" nothing_lost l

"$LAB" slow ft --rate 150
begin disk
"$LAB" virsh a destroy vm1 >/dev/null
end_of_it "the domain is destroyed"
until_true 20 eval '[ "$peer_before" = "$(host_picture b)" ]'
same "the domain is destroyed: the peer is as it was" "$peer_before" "$(host_picture b)"
check "the domain is destroyed: it is still defined, and starts" "$LAB" virsh a start vm1
