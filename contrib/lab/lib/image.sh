# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# The image of a Debian guest with real services (redis, PostgreSQL, fio), and the same root file system as a folder, whose clients
# (redis-benchmark, pgbench, wrk) run on the LAN. No systemd in it: image-init starts what is needed, so that it boots in seconds under TCG.

IMAGE_VERSION=1		# raise it when the recipe changes
IMAGE_SUITE=trixie
IMAGE_PACKAGES='redis-server postgresql postgresql-contrib fio wrk iproute2 procps busybox-static'
IMAGE_SIZE=3G
IMAGE_TABLES=2		# pgbench's scale: 100,000 accounts each

# lab image: makes it when it is missing or old, prints its path.
image_make() {
	local version
	exec 8>"$CACHE/lock"
	flock 8
	version="$IMAGE_VERSION $(cat "$LAB_DIR/image-init" "$CACHE/bin/guest-server" "$CACHE/bin/guest-agent" "$CACHE/bin/guest-dirty" | cksum)"
	if [ "$(cat "$CACHE/image/version" 2>/dev/null)" != "$version" ]; then
		image_root
		say 'packing the image of the Debian guest'
		image_pack >"$CACHE/image.log" 2>&1 || die "could not pack the image; the last lines of $CACHE/image.log:
$(tail -n 5 "$CACHE/image.log")"
		echo "$version" >"$CACHE/image/version"
	fi
	exec 8>&-
	echo "$CACHE/image/guest.raw"
}

image_root() {
	[ "$(cat "$CACHE/image/root/.ftd-lab-version" 2>/dev/null)" = "$IMAGE_VERSION" ] && return
	local uri
	uri=$(debian_mirror)
	[ -n "$uri" ] || die 'found no Debian mirror in the apt sources (/etc/apt/sources.list*)'
	say "building the Debian guest's root file system (Debian $IMAGE_SUITE; about three minutes, log: $CACHE/image-root.log)"
	mkdir -p "$CACHE/image"
	# shellcheck disable=SC2086 # a list
	image_build "$uri" "$CACHE/image/root.new" >"$CACHE/image-root.log" 2>&1 </dev/null ||
		die "could not build the Debian guest from $uri; the last lines of $CACHE/image-root.log:
$(tail -n 5 "$CACHE/image-root.log")"
	rm -rf --one-file-system "$CACHE/image/root"
	mv "$CACHE/image/root.new" "$CACHE/image/root"
}

image_build() {
	local root=$2
	# shellcheck disable=SC2086 # a list
	debian_root "$IMAGE_SUITE" "$1" "$root" $IMAGE_PACKAGES || return
	image_settings "$root" || return
	image_database "$root" || return
	finish_root "$root"
	echo "$IMAGE_VERSION" >"$root/.ftd-lab-version"
}

# What every client may do here it may do on this LAN only: nothing else is ever attached to it.
image_settings() {
	local root=$1 pg
	pg=$(echo "$root"/etc/postgresql/*/main)
	sed -i 's/^bind .*/bind 0.0.0.0/; s/^protected-mode yes/protected-mode no/; s/^daemonize yes/daemonize no/; s/^save .*//' "$root/etc/redis/redis.conf"
	sed -i "s/^#*listen_addresses.*/listen_addresses = '*'/; s/^ssl = on/ssl = off/; s/^shared_buffers.*/shared_buffers = 64MB/" "$pg/postgresql.conf"
	echo 'host all all 0.0.0.0/0 trust' >>"$pg/pg_hba.conf"
	mkdir -p "$root/data"
}

image_database() {
	local root=$1 version bin socket
	version=$(basename "$root"/usr/lib/postgresql/*)
	bin=/usr/lib/postgresql/$version/bin
	socket=/var/tmp
	chroot "$root" runuser -u postgres -- "$bin/pg_ctl" -s -w -D "/var/lib/postgresql/$version/main" \
		-o "-c config_file=/etc/postgresql/$version/main/postgresql.conf -c listen_addresses= -c unix_socket_directories=$socket" -l /var/tmp/pg.log start &&
		chroot "$root" runuser -u postgres -- "$bin/createdb" -h "$socket" bench &&
		chroot "$root" runuser -u postgres -- "$bin/pgbench" -h "$socket" -q -i -s "$IMAGE_TABLES" bench &&
		chroot "$root" runuser -u postgres -- "$bin/pg_ctl" -s -w -m fast -D "/var/lib/postgresql/$version/main" stop
}

image_pack() {
	local root=$CACHE/image/root out=$CACHE/image/guest.raw program
	install -m 0755 "$LAB_DIR/image-init" "$root/sbin/lab-init" || return
	for program in guest-server guest-agent guest-dirty; do
		install -m 0755 "$CACHE/bin/$program" "$root/sbin/$program" || return
	done
	rm -f "$out" "$CACHE/image/version"
	truncate -s "$IMAGE_SIZE" "$out.new" &&
		mkfs.ext4 -q -F -L guest -E lazy_itable_init=0,lazy_journal_init=0 -d "$root" "$out.new" &&
		mv "$out.new" "$out"
}
