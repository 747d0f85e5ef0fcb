# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian package on a host with systemd: installed, upgraded while a domain is protected, not removed meanwhile, purged.
. "$(dirname "$0")/lib.sh"

on_a() { "$LAB" exec a "$@"; }
top=$(dirname "$LAB")/../..
work=$TEST_WORK/package

# Built where the tests run, not in the host: dependencies have other names there, the libraries are the same (lab, cache.sh).
deb() { on_a dpkg --force-depends --force-confold "$@" </dev/null; }
guard_of_a() { on_a sh -c 'cat /run/ftd/pairs/*/guard.pid'; }
ftd_of_a() { on_a systemctl show -P MainPID ftd; }
settled() { [ "$(ftd_of_a)" != "$1" ] && [ "$(ftd_of_a)" != 0 ] && state_is a vm1 protected; }
state_of_package() { on_a dpkg-query -W -f '${db:Status-Status} ${Version}' ftd 2>/dev/null; }

# A purge takes what the lab needs afterwards.
undo() {
	end_clients
	"$LAB" exec a sh -c 'cd /etc && cp -a lab-keeps/ftd . && cp lab-keeps/hook libvirt/hooks/qemu.d/ftd && rm -r lab-keeps; groupdel ftd'
	"$LAB" crash a
	"$LAB" boot a
} >/dev/null 2>&1

fresh
on_a sh -c 'cd /etc && mkdir lab-keeps && cp -a ftd lab-keeps/ && cp libvirt/hooks/qemu.d/ftd lab-keeps/hook' || die "keep"
trap undo EXIT
DEB_BUILD_OPTIONS='nocheck noautodbgsym' "$top/contrib/packaging/build-deb" "$work" || die "build-deb"
old=$(echo "$work"/ftd_*_amd64.deb)
dpkg-deb -R "$old" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -b "$work/next" "$work/next.deb" >/dev/null || die "the next version"

"$LAB" crash a
"$LAB" boot a --systemd || die "boot a --systemd"
until_true 10 on_a systemctl -q is-active ftd
# A system that may be written to, where nobody forbids to start what is installed.
on_a sh -c 'systemctl stop ftd
	rm -rf /etc/systemd/system/ftd.service /etc/systemd/system/ftd.service.d
	mkdir -p /run/lab/build /run/lab/upper /run/lab/work
	mount --bind /usr/lib/ftd-build /run/lab/build
	mount -t tmpfs lab /run/lab/upper && mkdir /run/lab/upper/u /run/lab/upper/w
	mount -t overlay -o lowerdir=/usr,upperdir=/run/lab/upper/u,workdir=/run/lab/upper/w usr /usr
	mount --bind /run/lab/build /usr/lib/ftd-build
	rm /usr/sbin/policy-rc.d; systemctl daemon-reload' || die "a system to install into"
for file in "$old" "$work/next.deb"; do on_a sh -c "cat >/run/lab/${file##*/}" <"$file"; done

check "it is installed" deb -i "/run/lab/${old##*/}"
until_true 10 on_a systemctl -q is-active ftd
check "and its daemon runs, by its own unit" eval 'on_a systemctl -q is-active ftd && [ "$(on_a readlink /proc/$(ftd_of_a)/exe)" = /usr/sbin/ftd ]'
check "there is a group for those who may use it" eval '[ "$(on_a stat -c %G:%a /run/ftd/ftd.sock)" = ftd:660 ]'
"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
enable a vm1 b
client_moves l 30
guard=$(guard_of_a)
ftd=$(ftd_of_a)
check "the confined guard has what it needs" nothing_refused a
check "the package's guard" [ "$(on_a readlink "/proc/$guard/exe")" = /usr/libexec/ftd-guard ]

check "it is upgraded" deb -i /run/lab/next.deb
until_true 15 settled "$ftd"
check "the daemon is another, the guard is not, the pair is protected" eval "settled $ftd && [ \$(guard_of_a) = $guard ]"
client_moves l 30
check "it is not removed while a domain is protected" eval '! deb -r ftd && [[ $(state_of_package) == "installed "*+next ]]'
check "and nothing happened" eval "state_is a vm1 protected && [ \$(guard_of_a) = $guard ]"
"$LAB" kill-qemu a vm1 || die "kill-qemu"
client_moves l 60
until_true 20 state_is b vm1 solo
check "a failover with an upgraded daemon" state_is b vm1 solo
client_end l
check "no number lost, no connection reset" nothing_lost l

until_true 10 eval '! on_a sh -c "cat /run/ftd/pairs/*/guard.pid" >/dev/null 2>&1'
check "it is purged" deb --purge ftd
check "with its files and its state" eval '! on_a sh -c "ls -d /usr/sbin/ftd /usr/libexec/ftd-guard /etc/ftd/ftd.conf /etc/libvirt/hooks/qemu.d/ftd /lib/systemd/system/ftd.service /var/lib/ftd /run/ftd" 2>/dev/null | grep .'
check "but not the keys" on_a test -e /etc/pki/ftd/private/serverkey.pem
