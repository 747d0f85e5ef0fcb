# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Hosts: their files, power, and how to reach into them.

hosts_known() {
	local h
	for h in "${HOSTS[@]}"; do
		! ns_exists "$h" || echo "$h"
	done
}

# The host's pid 1 as the machine sees it, when the host is on.
host_pid() { pid_read "$RUN/$1/pid"; }

# Prints the pid or says why there is none.
host_need() {
	local pid
	if pid=$(host_pid "$1"); then
		echo "$pid"
	elif [ ! -e "$RUN/namespaces" ]; then
		die 'the lab is down; start it with: lab up'
	elif ns_exists "$1"; then
		die "host $1 is off; power it on with: lab boot $1"
	else
		host_number "$1" >/dev/null
		die "the lab has no host $1; add it with: lab up --hosts $(host_number "$1")"
	fi
}

# A host owns its /etc and /var; everything else of its root is shared and read-only.
host_files() {
	local h=$1 dir=$STATE/$1
	if [ "$(cat "$dir/complete" 2>/dev/null)" != "$ROOT_VERSION" ] && ! host_pid "$h" >/dev/null; then
		say "host $h: writing its files"
		rm -rf --one-file-system "$dir"
		mkdir -p "$dir"
		cp -a "$CACHE/root/etc" "$CACHE/root/var" "$dir/"
		mkdir -p "$dir"/etc/{ftd,pki,libvirt/hooks} "$dir"/var/lib/{ftd,libvirt/images,libvirt/boot} \
			"$dir"/var/log/libvirt/qemu "$dir"/var/cache/libvirt
		tr -d - </proc/sys/kernel/random/uuid >"$dir/etc/machine-id"
		echo "$ROOT_VERSION" >"$dir/complete"
	fi
	host_config "$h" "$dir/etc"
	host_boot_files "$h"
	[ -e "$dir/pki" ] || pki_install good "$h"
}

host_config() {
	local h=$1 etc=$2 i
	echo "$h" >"$etc/hostname"
	echo '127.0.0.1 localhost' >"$etc/hosts"
	for i in "${!HOSTS[@]}"; do echo "$FT_NET.$((i + 1)) ${HOSTS[i]}" >>"$etc/hosts"; done
	for i in $ETCD_MEMBERS; do echo "$ETCD_NET.10$i etcd$i" >>"$etc/hosts"; done
	cat >"$etc/libvirt/qemu.conf" <<-'CONF'
		user = "root"
		group = "root"
		dynamic_ownership = 0
		remember_owner = 0
		security_driver = "none"
		cgroup_controllers = []
		namespaces = []
		stdio_handler = "file"
		seccomp_sandbox = 0
	CONF
	cat >"$etc/libvirt/libvirtd.conf" <<-'CONF'
		auth_unix_ro = "none"
		auth_unix_rw = "none"
		unix_sock_rw_perms = "0700"
		host_uuid_source = "machine-id"
	CONF
	cat >"$etc/ftd/ftd.conf" <<-CONF
		[ftd]
		name=$h
		peer-port=7768
		arbiter=$(arbiter_spec)
		pki=/etc/pki
		uplink=lan0
	CONF
	mkdir -p "$etc/libvirt/hooks/qemu.d"
	install -m 0755 "$LAB_DIR/../hooks/qemu" "$etc/libvirt/hooks/qemu.d/ftd"
	install -m 0755 "$LAB_DIR/host-init" "$etc/ftd-lab-init"
}

# The same files at the same path on every host: a standby is started from the primary's XML.
host_boot_files() {
	local boot=$STATE/$1/var/lib/libvirt/boot file
	for file in vmlinuz initrd; do
		cmp -s "$CACHE/guest/$file" "$boot/ftd-guest-$file" || cp "$CACHE/guest/$file" "$boot/ftd-guest-$file"
	done
	for file in "$STATE"/guest-boot/*; do
		[ ! -e "$file" ] || cp -u "$file" "$boot/"
	done
}

# What systemd does on a lab host: the journal, the bus, machined (libvirt registers its domains), libvirtd and ftd by its own unit. All else that belongs to a machine (devices, kernel settings, modules,
# logins) is masked: a lab host has no machine of its own.
host_systemd_files() {
	local etc=$STATE/$1/etc/systemd system=$CACHE/root/usr/lib/systemd/system unit
	rm -rf "$etc/system"
	mkdir -p "$etc/system/ftd.service.d" "$etc/journald.conf.d"
	for unit in "$system"/{sysinit,basic,local-fs,sockets,timers,multi-user,graphical}.target.wants/* systemd-udevd.service systemd-logind.service \
		dbus-org.freedesktop.login1.service dev-hugepages.mount; do
		unit=${unit##*/}
		case $unit in
		'*' | systemd-journald* | systemd-machined* | systemd-tmpfiles-setup.service | dbus.socket | dbus.service | *.target) ;;
		*) ln -sf /dev/null "$etc/system/$unit" ;;
		esac
	done
	printf '[Journal]\nReadKMsg=no\nStorage=volatile\n' >"$etc/journald.conf.d/lab.conf"
	printf '[Unit]\nRequires=basic.target\nWants=dbus.service libvirtd.service ftd.service\nAfter=basic.target\nAllowIsolate=yes\n' >"$etc/system/ftd-lab.target"
	ln -sf /usr/lib/ftd-build/contrib/ftd.service "$etc/system/ftd.service"
	printf '[Service]\nExecStartPre=\nExecStart=\nExecStart=/usr/lib/ftd-build/daemon/ftd\n' >"$etc/system/ftd.service.d/lab.conf"
}

# `ip netns exec`, not `nsenter`: libvirt needs that namespace's /sys/class/net.
# host_start HOST [small|systemd]: what its pid 1 is, see host-init.
host_start() {
	local h=$1 init=${2:-small} own=()
	if host_pid "$h" >/dev/null; then
		host_bind_build "$h"
		return
	fi
	mkdir -p "$RUN/$h/root"
	rm -f "$RUN/$h/pid"
	if [ "$init" = systemd ]; then
		host_systemd_files "$h"
		own=(--cgroup --ipc)
	fi
	setsid ip netns exec "$PREFIX$h" unshare --mount --pid --uts "${own[@]}" --fork --kill-child=SIGKILL \
		bash "$LAB_DIR/lib/host-mount.sh" "$h" "$RUN/$h" "$CACHE/root" "$STATE" "$BUILD" "$init" \
		</dev/null >>"$STATE/$h/var/log/host.log" 2>&1 9>&- &
	wait_until 10 host_pid "$h" >/dev/null || die "host $h did not start: $(tail -n 3 "$STATE/$h/var/log/host.log")"
	ln -sfn "/proc/$(host_pid "$h")/root" "$RUN/$h/inside"
	say "host $h: on"
}

# The build folder may have been made, or made anew, since the host was booted.
host_bind_build() {
	local pid inside
	pid=$(host_pid "$1")
	[ -d "$BUILD" ] || return 0
	inside=/proc/$pid/root/usr/lib/ftd-build
	[ "$(stat -c %d:%i "$inside")" != "$(stat -c %d:%i "$BUILD")" ] || return 0
	say "host $1: /usr/lib/ftd-build is now $BUILD"
	# Without --root: pid 1 is in a chroot, its mount namespace still shows the machine's files.
	nsenter -t "$pid" -m sh -c "umount -l '$RUN/$1/root/usr/lib/ftd-build' 2>/dev/null
		mount --bind '$BUILD' '$RUN/$1/root/usr/lib/ftd-build' && mount -o remount,bind,ro '$RUN/$1/root/usr/lib/ftd-build'"
	host_restart_ftd "$1"
}

ftd_note() {
	if [ ! -d "$BUILD" ]; then
		echo " (without ftd: there is no $BUILD; build it and run lab up again)"
	elif [ ! -x "$BUILD/daemon/ftd" ]; then
		echo " (without ftd: $BUILD/daemon/ftd is not built; it starts by itself once it is)"
	fi
}

host_answers() { host_run "$1" virsh -c qemu:///system version >/dev/null 2>&1; }

host_wait() {
	wait_until 20 host_answers "$1" ||
		die "libvirtd does not answer on host $1: $(tail -n 3 "$STATE/$1/var/log/libvirt/libvirtd.out")"
}

# host_run HOST COMMAND...: in all of the host's namespaces and its root.
host_run() {
	local pid
	pid=$(host_need "$1") || exit "$LAB_ERROR"
	nsenter -t "$pid" -m -u -p -n -r -w env -u LD_LIBRARY_PATH LC_ALL=C.UTF-8 HOME=/root \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "${@:2}"
}

host_exec() {
	[ $# -ge 2 ] || die 'usage: lab exec HOST COMMAND...'
	case $1 in
	lan | ft | etcd | etcd[1-3])
		ns_exists "$1" || die "the lab has no network '$1'; start it with: lab up"
		in_ns "$@" ;;
	*) host_run "$@" ;;
	esac
}

host_virsh() {
	[ $# -ge 1 ] || die 'usage: lab virsh HOST ARGUMENT...'
	host_run "$1" virsh -c qemu:///system "${@:2}"
}

host_ftctl() {
	[ $# -ge 1 ] || die 'usage: lab ftctl HOST ARGUMENT...'
	[ -x "$BUILD/daemon/ftctl" ] || die "$BUILD/daemon/ftctl is not there: build it (ninja -C $BUILD), or point FTD_BUILD at the build folder"
	host_run "$1" /usr/lib/ftd-build/daemon/ftctl "${@:2}"
}

# host-init starts it again at once.
host_restart_ftd() {
	host_pid "$1" >/dev/null || return 0
	# shellcheck disable=SC2016 # expanded in the host
	host_run "$1" bash -c 'read -r pid </run/ftd-lab/ftd.pid || exit
		kill "$pid"
		for i in {1..40}; do kill -0 "$pid" || exit; sleep 0.05; done
		kill -9 "$pid"' 2>/dev/null || true
}

host_reload_ftd() { host_run "$1" sh -c 'kill -HUP "$(cat /run/ftd-lab/ftd.pid)"'; }

host_crash() {
	local h=${1:-} pid
	[ $# -ge 1 ] || die 'usage: lab crash HOST [--dark]'
	pid=$(host_need "$h")
	case ${2:-} in
	# All of it stands still before the links are cut: else its guard has time to win the VM between the two, and to lose it with the host.
	--dark) nsenter --target "$pid" --pid bash -c 'kill -STOP -1'; link_cut "ft-$h"; link_cut "lan-$h"; touch "$RUN/$h/dark" ;;
	'') ;;
	*) die "crash: unknown argument '$2' (see lab --help)" ;;
	esac
	# The kernel kills the whole pid namespace before its pid 1 is gone.
	pid_kill "$RUN/$h/pid"
	say "host $h: off (was pid $pid)"
}

host_boot() {
	local h=${1:-} init=small
	case ${2:-} in
	--systemd) init=systemd ;;
	'') ;;
	*) die "boot: unknown argument '$2' (see lab --help)" ;;
	esac
	[ $# -ge 1 ] || die 'usage: lab boot HOST [--systemd]'
	ns_exists "$h" || die "the lab has no host '$h'"
	lock
	if [ -e "$RUN/$h/dark" ]; then
		link_heal "ft-$h"
		link_heal "lan-$h"
		rm -f "$RUN/$h/dark"
	fi
	host_boot_files "$h"
	host_start "$h" "$init"
	host_wait "$h"
}

hosts_kill() {
	local h
	for h in "${HOSTS[@]}"; do pid_kill "$RUN/$h/pid"; done
}

host_status() {
	local h=$1 pid libvirtd=no ftd=no guests
	if ! pid=$(host_pid "$h"); then
		printf '%-5s %-7s\n' "$h" off
		return
	fi
	guests=$(host_run "$h" virsh -c qemu:///system list --all 2>/dev/null |
		awk 'NR > 2 && NF { n = $2; $1 = $2 = ""; sub(/^ +/, ""); printf "%s%s (%s)", s, n, $0; s = ", " }') && libvirtd=yes
	# shellcheck disable=SC2016 # expanded in the host
	host_run "$h" bash -c 'read -r pid </run/ftd-lab/ftd.pid && kill -0 "$pid"' 2>/dev/null && ftd=yes
	printf '%-5s %-7s %-8s %-9s %-6s %s\n' "$h" on "$pid" "$libvirtd" "$ftd" "${guests:--}"
}
