# SPDX-License-Identifier: LGPL-2.1-or-later
# The Debian package on a host of its own: installed, upgraded under a pair that does not notice, not to be removed while it is needed, purged.
. "$(dirname "$0")/lib.sh"

top=$(readlink -f "$(dirname "$0")/../..")
suffix=${FTD_LAB_PREFIX%-}
STATE=${FTD_LAB_STATE:-/var/lib/ftd-lab.$suffix}
[ "$suffix" != ftdlab ] || STATE=${FTD_LAB_STATE:-/var/lib/ftd-lab}
debs=${FTD_BUILD:-$top/build}/packages
on_a() { "$LAB" exec a "$@"; }
ftd_of_a() { on_a systemctl show -P MainPID ftd; }
guard_of_a() { on_a sh -c 'cat /run/ftd/pairs/*/guard.pid'; }
on_its_feet() { on_a systemctl -q is-active ftd && ftctl a status >/dev/null 2>&1; }
# Its files are made anew for those who come after.
leave() {
	end_clients
	"$LAB" crash a 2>/dev/null
	rm -rf --one-file-system "$STATE/a"
	"$LAB" up --hosts 3 >/dev/null 2>&1
}
trap leave EXIT
dpkg_a() { on_a env DEBIAN_FRONTEND=noninteractive dpkg --force-confold --force-depends "$@" >"$TEST_WORK/dpkg.log" 2>&1; }

# (--force-depends: the lab's hosts have some of the libraries without their packages.)
# What the package test has left, or a new one.
deb=$(ls "$debs"/ftd_*_amd64.deb 2>/dev/null)
if [ -z "$deb" ] || [ -n "$(find "$top"/{daemon,qmp,checkpoint,proxy,policy,man,contrib,meson.build} -newer "$deb" -type f -print -quit)" ]; then
	DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=2" "$top/contrib/packaging/build-deb" "$TEST_WORK/deb" || die "no package"
	deb=$(ls "$TEST_WORK"/deb/ftd_*_amd64.deb)
fi
dpkg-deb -R "$deb" "$TEST_WORK/next"
sed -i 's/^Version: .*/&.next/' "$TEST_WORK/next/DEBIAN/control"
dpkg-deb -b "$TEST_WORK/next" "$TEST_WORK/next.deb" >/dev/null

fresh
"$LAB" crash a
"$LAB" boot a --systemd || die "boot a --systemd"
# A lab host shares its /usr with the others, and has the unit and the hook of the build: this one gets its own.
on_a sh -c 'mkdir /run/usr /run/build && mount --bind /usr/lib/ftd-build /run/build && mount -t tmpfs none /run/usr && mkdir /run/usr/upper /run/usr/work &&
	mount -t overlay -o lowerdir=/usr,upperdir=/run/usr/upper,workdir=/run/usr/work overlay /usr && mount --bind /run/build /usr/lib/ftd-build &&
	rm -f /usr/sbin/policy-rc.d' || die "no /usr of its own"
on_a sh -c 'systemctl stop ftd; rm -rf /etc/systemd/system/ftd.service /etc/systemd/system/ftd.service.d /etc/libvirt/hooks/qemu.d/ftd; systemctl daemon-reload'
cp "$deb" "$STATE/a/var/first.deb"
cp "$TEST_WORK/next.deb" "$STATE/a/var/next.deb"

dpkg_a -i /var/first.deb || { cat "$TEST_WORK/dpkg.log"; die "dpkg -i"; }
until_true 10 on_its_feet || { cat "$TEST_WORK/dpkg.log"; on_a sh -c 'systemctl status ftd; journalctl -q -u ftd | tail -n 20'; }
check "installed: ftd runs by the package's unit" eval 'on_its_feet && on_a systemctl show -P FragmentPath ftd | grep -q "^/usr/lib/systemd/system/ftd.service\|^/lib/systemd"'
check "... and is the package's program" on_a cmp "/proc/$(ftd_of_a)/exe" /usr/sbin/ftd
check "the hook is in its place" on_a test -x /etc/libvirt/hooks/qemu.d/ftd

"$LAB" guest vm1 || die "guest"
client l ledger
client_moves l 30
on_a ftctl enable vm1 --peer b >"$TEST_WORK/enable" 2>&1 || { cat "$TEST_WORK/enable"; die "enable"; }
client_moves l 30
guard=$(guard_of_a)
ftd=$(ftd_of_a)
check "the guard is the package's" on_a cmp "/proc/$guard/exe" /usr/libexec/ftd-guard
check "... and in a scope of its own" on_a grep '/ftd-guard-.*\.scope$' "/proc/$guard/cgroup"

check "it is not removed while a domain needs it" eval '! dpkg_a -r ftd'
check "... and says how" grep -q "ftctl disable" "$TEST_WORK/dpkg.log"
client_moves l 30

dpkg_a -i /var/next.deb || { cat "$TEST_WORK/dpkg.log"; die "dpkg -i of a newer one"; }
until_true 10 eval '[ "$(ftd_of_a)" != "$ftd" ] && on_its_feet && state_is a vm1 protected'
check "upgraded: another daemon, the same guard, the pair protected" eval "[ \$(ftd_of_a) != $ftd ] && [ \$(guard_of_a) = $guard ] && state_is a vm1 protected && state_is b vm1 protected"
client_moves l 30
"$LAB" crash b
comes 10 "a guard of the old version settles the loss of its peer under the new daemon" state_is a vm1 solo
client_moves l 30
"$LAB" boot b
until_true 10 eval 'ftctl b status >/dev/null 2>&1'
on_a ftctl enable vm1 --peer b >"$TEST_WORK/enable" 2>&1 || { cat "$TEST_WORK/enable"; die "enable with the new version"; }
client_moves l 30
on_a ftctl disable vm1 >/dev/null || die "disable"

dpkg_a -r ftd || cat "$TEST_WORK/dpkg.log"
check "removed: no program, no unit; the state stays" on_a sh -c '! test -e /usr/sbin/ftd && ! systemctl -q is-active ftd && test -d /var/lib/ftd'
dpkg_a -P ftd || cat "$TEST_WORK/dpkg.log"
check "purged: no state, no configuration; the keys stay" on_a sh -c '! test -e /var/lib/ftd && ! test -e /etc/ftd/ftd.conf && ! test -e /etc/libvirt/hooks/qemu.d/ftd && test -e /etc/pki/ftd/private/serverkey.pem'
client_moves l 30
check "the domain runs on" [ "$("$LAB" virsh a domstate vm1 | head -n 1)" = running ]
client_end l
check "no number lost, no connection reset" nothing_lost l
