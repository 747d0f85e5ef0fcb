# SPDX-License-Identifier: LGPL-2.1-or-later
# A selection of tests/lab/operations (all of them: HACKING.md). Each run is judged there; silence as with faults, since here other tests may run meanwhile.
. "$(dirname "$0")/lib.sh"

SELECTION=switchover,test-failover,drain

of() { jq -rs --arg operation "$1" "map(select(.operation == \$operation)) | last | $2" "$TEST_WORK/operations.json"; }

fresh
"$(dirname "$0")/operations" --json --gap 2000 --only "$SELECTION" >"$TEST_WORK/operations.json" || echo "status $?"
cat "$TEST_WORK/operations.json"
for operation in ${SELECTION//,/ }; do
	if [ "$(of "$operation" .ok)" = true ]; then
		ok "$operation: $(of "$operation" '"\(.acknowledged) acknowledged, none lost, silence \(.gap_ms) ms"')"
	else
		not_ok "$operation: $(of "$operation" .why)"
	fi
done
fresh
