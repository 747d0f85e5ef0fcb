# SPDX-License-Identifier: LGPL-2.1-or-later
# Who may do what on a host, and whom a host believes (ftd-security(7)): callers without rights, certificates that are somebody else's, over, revoked, or soon over.
. "$(dirname "$0")/bad.sh"

images=/var/lib/libvirt/images
FTCTL=/usr/lib/ftd-build/daemon/ftctl
as_nobody() { "$LAB" exec a setpriv --reuid 65534 --regid 65534 --clear-groups "$@" 2>&1; }
as_member() { "$LAB" exec a setpriv --reuid 65534 --regid 65534 --groups "$gid" "$@" 2>&1; }
ftd_of_a() { "$LAB" exec a pgrep -x ftd; }
answers() { ftctl "$1" status >/dev/null 2>&1; }
certificate_told() { ftctl a events --json | jq -e 'select(.type == "certificate" and (.text | test("ends on .*, and no pair can be made then")))' >/dev/null; }

fresh
image a $images/odd.qcow2 16M
disk $images/odd.qcow2 | odd a odd || die "odd"

# -- callers
before=$(qemu_picture a odd)
for verb in status "enable odd --peer b" "disable odd" "set odd mode=passive"; do
	# shellcheck disable=SC2086 # words of a command
	out=$(as_nobody $FTCTL $verb)
	says "a caller without rights: ftctl $verb" Denied 'no access to /run/ftd/ftd.sock: only root (has it|and the members of the group ftd have it)' $? "$out"
done
same "QEMU is as it was" "$before" "$(qemu_picture a odd)"

"$LAB" exec a sh -c 'getent group ftd >/dev/null || groupadd --system ftd'
gid=$("$LAB" exec a sh -c 'getent group ftd | cut -d: -f3')
"$LAB" restart-ftd a
until_true 5 answers a
check "the group's members may ask" as_member $FTCTL status
out=$(as_nobody $FTCTL status)
says "others may not" Denied 'no access' $? "$out"
check "a member may change what is protected" as_member $FTCTL enable odd --peer b
check "who asked for it is an event" eval 'ftctl a events odd --json | jq -r "select(.type == \"operator\") | .text" | grep -q "Enable .*uid 65534"'
guard=$("$LAB" exec a sh -c 'cat /run/ftd/pairs/*/guard.pid')
check "the guard cannot gain privileges, is filtered, and keeps one capability" "$LAB" exec a sh -c "grep -q '^NoNewPrivs:.1' /proc/$guard/status && grep -q '^Seccomp:.2' /proc/$guard/status &&
	grep -q '^CapEff:.0000000000000002' /proc/$guard/status && grep -q '^CapBnd:.000000000000000[02]' /proc/$guard/status"
check "nobody but root traces it" eval '! as_nobody cat /proc/'"$guard"'/environ >/dev/null 2>&1'
check "a member may end it" as_member $FTCTL disable odd
"$LAB" exec a groupdel ftd
"$LAB" restart-ftd a
until_true 5 answers a

# -- certificates
until_true 5 ftctl a check odd --peer b
for set in expired other; do
	"$LAB" pki b $set
	until_true 5 answers b
	case $set in
	expired) refused "the peer's certificate has expired" PeerCertificate 'certificate of b .* has expired, on .*2020' a odd b ;;
	other) refused "the peer's certificate is another host's" PeerCertificate 'certificate of b .* does not carry the name "b".*mallory' a odd b ;;
	esac
done
"$LAB" pki b good
until_true 5 answers b
ftd=$(ftd_of_a)
"$LAB" revoke a b
refused "the peer's certificate is revoked" PeerCertificate 'certificate of b .* is revoked, says .*cacrl.pem' a odd b
"$LAB" pki a good --reload
check "nothing is in the way again, after a reload" until_true 5 ftctl a check odd --peer b
"$LAB" pki a ending --reload
check "a certificate that ends in ten days is told of" until_true 5 certificate_told
check "... and is good until then" ftctl a check odd --peer b
"$LAB" exec a sh -c 'echo rubbish >/etc/pki/ftd/servercert.pem; kill -HUP $(pgrep -x ftd)'
check "files that cannot be used leave the old ones in use" eval 'sleep 1; ftctl a check odd --peer b'
check "it was one daemon all the time" [ "$(ftd_of_a)" = "$ftd" ]
"$LAB" pki a good
until_true 5 answers a
odd_end a odd
