# SPDX-License-Identifier: LGPL-2.1-or-later
# Peers that cannot hold a standby of this domain, for each reason there is.
. "$(dirname "$0")/bad.sh"

images=/var/lib/libvirt/images
mounted=
undo() {
	odd_end a odd
	odd_end b odd
	odd_end c odd
	odd_end c odd2
	for at in $mounted; do "$LAB" exec "${at%%:*}" umount "${at#*:}"; done
	for h in a b c; do "$LAB" exec "$h" sh -c "rm -rf $VARIANTS $images/odd* /var/lib/odd*; rm -f /srv/ftd-arbiter/odd*"; done
} >/dev/null 2>&1
trap 'undo; configure a; configure b' EXIT

# configure HOST [SED]: ftd.conf as the lab wrote it, changed; its ftd is started again
configure() {
	# shellcheck disable=SC2016 # expanded in the host
	"$LAB" exec "$1" sh -c 'cd /etc/ftd && { [ -e ftd.conf.lab ] || cp ftd.conf ftd.conf.lab; } && sed "$1" ftd.conf.lab >ftd.conf' sh "${2:-}"
	"$LAB" restart-ftd "$1"
	until_true 5 eval "ftctl $1 status >/dev/null 2>&1" || true
}
mount_at() {	# HOST PATH OPTION...
	local host=$1 path=$2
	shift 2
	"$LAB" exec "$host" mount "$@" "$path" && mounted+=" $host:$path"
}
umount_at() {
	"$LAB" exec "$1" umount "$2"
	mounted=${mounted/ $1:$2/}
}

fresh
image a $images/odd.qcow2 16M
disk $images/odd.qcow2 | odd a odd || die "odd"
uuid=$("$LAB" virsh a domuuid odd | head -n 1)
check "to begin with nothing is in the way" ftctl a check odd --peer b

# -- not to be reached
refused "a name that nobody has" PeerUnreachable 'cannot connect to nosuchhost' a odd nosuchhost
configure a 's/^peer-port=.*/peer-port=7769/'
refused "nobody listens on that port" PeerUnreachable 'cannot connect to b .*7769.*refused' a odd b
configure a
"$LAB" cut ft-b
VERBS=enable refused "the link is cut" PeerUnreachable 'cannot connect to b .*(timed out|No route)' a odd b
"$LAB" heal ft-b
"$LAB" crash c --dark 2>/dev/null
VERBS=enable refused "the host is off" PeerUnreachable 'cannot connect to c .*(timed out|No route)' a odd c
"$LAB" boot c >/dev/null 2>&1

# Guards listen on ports that the kernel chooses; ftd on one that is named.
nsenter --target "$(host_pid b)" --net nft 'add table inet odd; add chain inet odd in { type filter hook input priority 0; }; add rule inet odd in tcp dport 32768-65535 tcp flags & (syn|ack) == syn drop' ||
	die "nft"
refused "a firewall before the guards' ports" PeerUnreachable 'port [0-9]+ of b is not reached \(.*imed out\); guards listen on ports.*firewalls' a odd b
nsenter --target "$(host_pid b)" --net nft 'delete table inet odd'

# -- what is told, and is no obstacle
"$LAB" slow ft-b --delay 30 --rate 20
check "a link that is slow and narrow" eval 'out=$(ftctl a check odd --peer b) && grep -qE "link .*warning .*link-slow.*the round trip to b takes [0-9.]+ ms" <<<"$out" && grep -qE "link-narrow.*the link to b carries [0-9] MiB/s" <<<"$out"'
echo "$out"
"$LAB" heal ft-b
"$LAB" exec b sh -c 'printf "\144\0\0\0\0\0\0\0" >/etc/ftd-lab-clock && echo /usr/lib/ftd-build/tests/lab/libclock-step.so >/etc/ld.so.preload'
"$LAB" restart-ftd b
until_true 5 ftctl b status >/dev/null 2>&1
check "a clock that is 100 s ahead" eval 'out=$(ftctl a check odd --peer b) && grep -qE "clock .*warning .*the clock of b is (99|100)\.[0-9] s ahead" <<<"$out"'
echo "$out"
"$LAB" exec b rm /etc/ld.so.preload /etc/ftd-lab-clock
"$LAB" restart-ftd b
until_true 5 ftctl b status >/dev/null 2>&1

# -- who is it
"$LAB" pki b wrong
until_true 5 ftctl b status >/dev/null 2>&1
refused "the peer's certificate is a stranger's" PeerCertificate 'certificate of b .* unknown authority.*cacert.pem' a odd b
"$LAB" pki b none
VERBS=enable refused "the peer has no certificate" PeerUnreachable 'cannot connect to b .*refused' a odd b
# Refused it is from its first end on; the next start has to come to that point first.
check "and its ftd says why it is not there" until_true 10 "$LAB" exec b grep -q 'ftd: CA certificate /etc/pki/CA/cacert.pem cannot be read: .*CERTIFICATES' /var/log/ftd.log
"$LAB" pki b good
"$LAB" pki a wrong
until_true 5 ftctl a status >/dev/null 2>&1
refused "our own certificate is a stranger's" PeerCertificate 'cacert.pem' a odd b
"$LAB" pki a none
VERBS=enable refused "we have no certificate" NoDaemon 'ftd.sock' a odd b
"$LAB" pki a good
until_true 5 ftctl a status >/dev/null 2>&1
check "nothing is in the way again" ftctl a check odd --peer b

# -- the configuration
configure a 's/^peer-port=.*/peer-port=99999/'
VERBS=enable refused "a bad line in ftd.conf" NoDaemon 'ftd.sock' a odd b
out=$("$LAB" exec a /usr/lib/ftd-build/daemon/ftd --check-config 2>&1)
check "its number is told" test "$?/$out" = '1/ftd: /etc/ftd/ftd.conf:3: peer-port: "99999" is not a number from 1 to 65535'
configure a '/^arbiter=/d'
refused "no arbiter" Config 'no arbiter is configured on a; set arbiter=' a odd b
configure a 's/^arbiter=.*/arbiter=file:\/var\/lib\/odd-arbiter/'
refused "an arbiter that is not there" ArbiterSilent '(^ftctl: enable odd|^arbiter .* refused .* arbiter-silent): arbiter file:/var/lib/odd-arbiter: the directory does not exist on this host; mount the share' a odd b
configure a
"$LAB" exec b mkdir -p /var/lib/odd-arbiter
configure b 's/^arbiter=.*/arbiter=file:\/var\/lib\/odd-arbiter/'
refused "the peer's arbiter is another directory" ArbiterNotShared 'b: .*odd-arbiter.*(same|share)' a odd b
configure b '/^arbiter=/d'
refused "the peer has no arbiter" ArbiterNotShared 'no arbiter is configured' a odd b
configure b '$alibvirt-uri=qemu+unix:///system?socket=/run/nosuch'
refused "the peer's libvirt is not there" Libvirt 'b: libvirt does not answer' a odd b
configure b
record=/srv/ftd-arbiter/$uuid
"$LAB" exec a mkdir -p "$record"
"$LAB" exec a sh -c "echo '{\"version\":1,\"pair\":\"$uuid\",\"generation\":1,\"active\":\"c\",\"standby\":\"\",\"nonce\":\"x\",\"reason\":\"x\",\"written-at\":1}' >$record/00000000000000000001.json"
refused "another host owns the domain" ArbiterDenied 'belongs to host c.*remove the records' a odd b
"$LAB" exec a sh -c "echo '{\"version\":1,\"pa' >$record/00000000000000000001.json"
refused "a torn record of the arbiter" ArbiterSilent '00000000000000000001.json is damaged.*repaired or removed by hand' a odd b
"$LAB" exec a rm -r "$record"

# -- room
mount_at a /var/lib/ftd/pairs -t tmpfs -o ro odd
VERBS=enable refused "the state cannot be written" Failed 'cannot be written down: .*Read-only file system' a odd b
umount_at a /var/lib/ftd/pairs
mount_at b /var/lib/ftd/pairs -t tmpfs -o ro odd
VERBS=enable refused "the peer's state cannot be written" Failed 'b: .*cannot be written down: .*Read-only file system' a odd b
umount_at b /var/lib/ftd/pairs
mount_at b $images -t tmpfs -o size=8m odd
refused "too little room for the image" PeerStorage "b: $images has [0-9]+ MiB left, the image takes [0-9]+ MiB" a odd b
umount_at b $images
mount_at b $images -t tmpfs -o ro odd
refused "a directory that cannot be written" PeerStorage "b: $images is not writable" a odd b
umount_at b $images
image b $images/odd.qcow2 17M
refused "an image of another size" ImageSize "b: $images/odd.qcow2 has 17825792 bytes, here it has 16777216; move" a odd b
"$LAB" exec b sh -c "echo garbage >$images/odd.qcow2"
refused "a file that is no image" ImageSize "b: $images/odd.qcow2 is there but is not an image.*move it away" a odd b
"$LAB" exec b rm $images/odd.qcow2

# -- who is there already
ODD_UUID=$uuid odd b odd </dev/null || die "odd on b"
refused "the same domain runs on the peer" PeerUuidRunning 'UUID of odd runs on b; destroy it' a odd b
odd_end b odd
odd b odd </dev/null || die "odd on b"
refused "another domain of that name" PeerUuidRunning 'b has another domain of the name odd; rename' a odd b
odd_end b odd
enable a odd b
for verb in check enable; do
	out=$(ftctl a $verb odd --peer c 2>&1)
	says "it has a pair: $verb" AlreadyProtected 'has a pair with b already; see ftctl status' $? "$out"
	out=$(ftctl b $verb odd --peer c 2>&1)
	says "it has a pair, asked on the standby's host: $verb" AlreadyProtected 'has a pair with a already; see ftctl status' $? "$out"
done
image c $images/odd.qcow2 16M
disk $images/odd.qcow2 | odd c odd2 || die "odd2"
VERBS=enable refused "the image of another standby" PeerStorage "b: .*$images/odd.qcow2 is the image of the standby of odd here" c odd2 b
odd_end c odd2
check "and is still protected" state_is a odd protected
ftctl a disable odd || not_ok "disable"
odd_end a odd

# -- other domains on a
"$LAB" exec a mkdir -p /var/lib/odd
image a /var/lib/odd/odd.qcow2 16M
disk /var/lib/odd/odd.qcow2 | odd a odd
refused "a directory that is missing there" PeerStorage 'b has no directory /var/lib/odd; create it' a odd b
odd_end a odd
image a /srv/ftd-arbiter/odd.qcow2 16M
disk /srv/ftd-arbiter/odd.qcow2 | odd a odd
refused "storage that both hosts share" DiskKind 'odd.qcow2 is on storage that b shares with this host; each host needs a copy' a odd b
odd_end a odd
"$LAB" exec a rm /srv/ftd-arbiter/odd.qcow2
"$LAB" exec a cp /var/lib/libvirt/boot/ftd-guest-vmlinuz /var/lib/odd/kernel
ODD_OS='<kernel>/var/lib/odd/kernel</kernel>' odd a odd </dev/null
refused "a kernel that is missing there" PeerStorage 'b has no file /var/lib/odd/kernel, which the domain boots from; copy it' a odd b
odd_end a odd
ODD_MEMORY=$(awk '/^MemAvailable/ { print int($2 / 1024 * 0.6) }' /proc/meminfo) odd a odd </dev/null || die "a domain of much memory"
refused "too little memory" PeerMemory 'b has [0-9]+ MiB of memory available, .*twice' a odd b
odd_end a odd

# -- QEMU there. The old one is the distribution's own, in host c; it runs domains under TCG, but not COLO.
"$LAB" exec a sh -c "mkdir -p $VARIANTS && cp /usr/bin/qemu-system-x86_64 $VARIANTS/qemu"
ODD_EMULATOR=$VARIANTS/qemu odd a odd </dev/null
refused "no such emulator there" QemuVersion "b: $VARIANTS/qemu does not run there" a odd b
odd_end a odd
if ! other_qemu c; then
	echo "skip another version of QEMU: there is none to be had from this machine's distribution"
	exit
fi
here=$("$LAB" exec a qemu-system-x86_64 --version | sed -n 's/.* version \([0-9.]*\).*/\1/p')
there=$("$LAB" exec c $VARIANTS/qemu-other --version | sed -n 's/.* version \([0-9.]*\).*/\1/p')
odd a odd </dev/null
mount_at c /usr/bin/qemu-system-x86_64 --bind $VARIANTS/qemu-other
refused "QEMU $there there, $here here" QemuVersion "c has QEMU $there, the domain runs in QEMU $here; install the same version on both hosts" a odd c
umount_at c /usr/bin/qemu-system-x86_64
odd_end a odd
if [ "${there%%.*}" -lt 11 ]; then
	ODD_EMULATOR=$VARIANTS/qemu-other odd c odd </dev/null || die "a domain in the old QEMU"
	refused "QEMU $there under TCG" QemuNoColo "QEMU $there cannot do COLO without KVM; it takes QEMU 11.0" c odd b
	odd_end c odd
fi
