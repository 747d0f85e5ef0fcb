# SPDX-License-Identifier: LGPL-2.1-or-later
# A selection of the faults of tests/lab/faults (all of them: HACKING.md): a process, a host, a link, an arbiter, a disk, a bad memory. Each run is judged there, but for
# the length of the silence: what a client sees of it is a time-out or two of its own, and how long these are depends on what else the machine does.
. "$(dirname "$0")/lib.sh"

SELECTION=qemu-kill-primary,guard-kill-primary,guard-hang-standby,dark-primary,ft-cut-no-arbiter-heal-link,uplink-lost-primary,disk-error-standby,corrupt-checkpoint

of() { jq -rs --arg fault "$1" "map(select(.fault == \$fault)) | last | $2" "$TEST_WORK/faults.json"; }

fresh
"$(dirname "$0")/faults" --json --gap 2000 --only "$SELECTION" >"$TEST_WORK/faults.json" || echo "status $?"
cat "$TEST_WORK/faults.json"
for fault in ${SELECTION//,/ }; do
	if [ "$(of "$fault" .ok)" = true ]; then
		ok "$fault: $(of "$fault" '"\(.acknowledged) acknowledged, none lost, silence \(.gap_ms) ms"')"
	else
		not_ok "$fault: $(of "$fault" .why)"
	fi
done
fresh
