# SPDX-License-Identifier: LGPL-2.1-or-later
# Who may ask for a change, and whom a host believes: groups, a revocation list, a certificate that ends; all of it read again without a restart.
. "$(dirname "$0")/bad.sh"

undo() {
	end_clients
	for h in a b; do "$LAB" pki $h good; done
	"$LAB" exec a groupdel ftd
	"$LAB" restart-ftd a
} >/dev/null 2>&1
trap undo EXIT

ftctl_as() {	# GID ARGUMENT...: as a user who is nobody in particular
	local gid=$1
	shift
	"$LAB" exec a setpriv --reuid 65534 --regid "$gid" --clear-groups /usr/lib/ftd-build/daemon/ftctl "$@" 2>&1
}
events_of_a() { ftctl a events --json 2>/dev/null; }
told() { events_of_a | jq -rs 'flatten | .[].text' | grep -qE "$1"; }

fresh
"$LAB" guest vm1 || die "guest"
client l ledger

# -- callers
"$LAB" exec a groupadd --system ftd || die "groupadd"
gid=$("$LAB" exec a getent group ftd | cut -d: -f3)
"$LAB" restart-ftd a
until_true 5 ftctl a status >/dev/null 2>&1
for verb in status "enable vm1 --peer b"; do
	out=$(ftctl_as 65534 $verb)
	says "a user outside the group: ${verb%% *}" Denied 'no access to /run/ftd/ftd.sock: only root and the members of its group' $? "$out"
done
check "a member of the group may protect a domain" ftctl_as "$gid" enable vm1 --peer b
check "who asked is told" told "^Enable .*\"domain\": *\"vm1\".* was asked for by uid 65534 pid [0-9]+$"
client_moves l 30

# -- certificates
guard=$("$LAB" exec a sh -c 'cat /run/ftd/pairs/*/guard.pid')
ftd=$("$LAB" exec a cat /run/ftd-lab/ftd.pid)
"$LAB" pki a ending --reload
check "a certificate that ends is told when it is read" until_true 5 told '^/etc/pki/ftd/servercert.pem ends on '
"$LAB" exec a sh -c 'echo garbage >/etc/pki/ftd/servercert.pem; kill -HUP $(cat /run/ftd-lab/ftd.pid)'
until_true 5 "$LAB" exec a grep -q 'the old certificates stay in use' /var/log/ftd.log
check "one that cannot be used is not taken" ftctl a check vm1 --peer c
"$LAB" pki a good --reload
"$LAB" revoke b a
check "who is revoked keeps the pair that is there" eval 'client_moves l 30 && state_is a vm1 protected'
check "neither guard nor daemon was started again" "$LAB" exec a kill -0 "$guard" "$ftd"
check "the pair is ended here, the peer does not listen to us" ftctl_as "$gid" disable vm1
until_true 10 eval "! \"\$LAB\" exec b pgrep ftd-guard >/dev/null"
refused "the peer has revoked us" PeerCertificate 'b did not accept our certificate .*revoked' a vm1 b
"$LAB" pki b good --reload
check "taken back" until_true 5 ftctl a check vm1 --peer b
"$LAB" revoke a b
refused "we have revoked the peer" PeerCertificate 'certificate of b .*revoked' a vm1 b
client_end l
check "no number lost, no connection reset" nothing_lost l
