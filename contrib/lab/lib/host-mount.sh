# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# First life of a host's pid 1, in fresh mount, pid and uts namespaces: build the host's root, then become host-init inside it.
# All mounts are in this mount namespace, so they are gone when the host is.
# usage: host-mount.sh HOST RUN_DIR CACHED_ROOT STATE_DIR BUILD_DIR small|systemd
set -euo pipefail
host=$1 run=$2 cached=$3 state=$4 build=$5 init=$6
root=$run/root

# /proc is still the machine's: its view of this process (pid and start time) is what the lab needs to find and kill the host.
read -r stat </proc/self/stat
# shellcheck disable=SC2086 # split on purpose
set -- ${stat%% *} ${stat##*) }
pid_line="$1 ${21}"

mount --make-rprivate /
mount --bind "$cached" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$state/$host/etc" "$root/etc"
mount --bind "$state/$host/var" "$root/var"
for dir in run tmp root; do mount -t tmpfs -o mode=0755 "$dir" "$root/$dir"; done
chmod 1777 "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
if [ "$init" = systemd ]; then
	# A systemd that sees the machine's devices would manage them. It must have the unified hierarchy, and only its own part of it.
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=0755 dev "$root/dev"
	mkdir "$root"/dev/{shm,pts,net}
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	for device in null zero full random urandom tty net/tun; do
		touch "$root/dev/$device"
		mount --bind "/dev/$device" "$root/dev/$device"
	done
else
	mount --rbind /dev "$root/dev"
fi
mount -t tmpfs shm "$root/dev/shm"
mount --bind "$state/arbiter" "$root/srv/ftd-arbiter"
if [ -d "$build" ]; then
	mount --bind "$build" "$root/usr/lib/ftd-build"
	mount -o remount,bind,ro "$root/usr/lib/ftd-build"
fi
hostname "$host"
cd /
echo "$pid_line" >"$run/pid.new"
mv "$run/pid.new" "$run/pid"
if [ "$init" = systemd ]; then
	exec env -i container=ftd-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /usr/lib/systemd/systemd --unit=ftd-lab.target --log-target=journal
fi
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root chroot "$root" /bin/bash /etc/ftd-lab-init
