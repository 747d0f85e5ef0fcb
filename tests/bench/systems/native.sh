# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# QEMU's own COLO, set up as QEMU's docs/system/qemu-colo.rst says: filter-mirror, filter-redirector and colo-compare on the primary, filter-rewriter on the
# secondary, quorum and replication drivers for the disk, NBD between the hosts. What differs from that document: the guest is the one all systems run
# (virtio disk and NIC, hence vnet_hdr_support), two hosts instead of one, TCG, and return-path, which QEMU 11 wants on with x-colo. Checkpoints at least
# every second, where ftd makes them when they are due, every ten at least (ftd-fixed1000 has the same interval); QEMU's default of 20 s (qapi/migration.json,
# x-checkpoint-delay) would be one checkpoint per measurement, of all that was written in it.
SERVERS=(10.99.0.12)
NATIVE_DIR=/var/lib/libvirt/images/native
NATIVE_A=10.98.0.1
NATIVE_B=10.98.0.2

system_up() {
	native_image && native_start a "$(native_primary)" && wait_echo "${SERVERS[0]}" && { [ -n "$PROTECT" ] || protect; }
}

native_dir() { echo "$LAB_STATE/$1$NATIVE_DIR"; }

native_image() {
	local dir
	lab exec a mkdir -p "$NATIVE_DIR"
	lab exec b mkdir -p "$NATIVE_DIR"
	dir=$(native_dir a)
	rm -f "$dir"/* "$(native_dir b)"/*
	if [ "$GUEST" = small ]; then
		truncate -s 1G "$dir/raw" && mkfs.ext4 -q -F -N 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$dir/raw"
	else
		cp --sparse=always "$(guest_image)" "$dir/raw"
	fi
	NATIVE_SIZE=$(stat -c %s "$dir/raw")
	lab exec a qemu-img convert -O qcow2 "$NATIVE_DIR/raw" "$NATIVE_DIR/primary.qcow2" || return
	rm -f "$dir/raw"
}

# "Initially, primary.qcow2 needs to be copied to all hosts"; "it is better to put active disk and hidden disk in ramdisk".
native_copies() {
	local image
	cp --sparse=always "$(native_dir a)/primary.qcow2" "$(native_dir b)/" || return
	for image in active hidden; do lab exec b qemu-img create -q -f qcow2 "/tmp/secondary-$image.qcow2" "$NATIVE_SIZE" || return; done
}

native_common() {	# HOST
	local append='console=ttyS0 panic=-1 quiet tsc=unstable random.trust_cpu=1 ftd.ip=10.99.0.12 ftd.ip6=fd99::c'
	[ "$GUEST" = small ] || append+=' ftd.image=/dev/vda'
	echo "qemu-system-x86_64 -name native -accel tcg -machine pc -cpu qemu64 -m $(guest_memory) -smp 1 -nodefaults -display none"
	echo "-kernel /var/lib/libvirt/boot/ftd-guest-vmlinuz -initrd /var/lib/libvirt/boot/ftd-guest-initrd -append '$append'"
	echo "-serial file:/var/log/libvirt/qemu/native.log -pidfile /run/native.pid -daemonize"
	echo "-qmp tcp:127.0.0.1:4444,server=on,wait=off -qmp tcp:127.0.0.1:4445,server=on,wait=off"
	echo "-netdev tap,id=hn0,ifname=native0,script=no,downscript=no,vhost=off -device virtio-net-pci,id=e0,netdev=hn0,mac=52:54:00:99:00:0c"
}

native_primary() {
	native_common
	cat <<-ARGS
		-chardev socket,id=mirror0,host=0.0.0.0,port=9003,server=on,wait=off
		-chardev socket,id=compare1,host=0.0.0.0,port=9004,server=on,wait=off
		-chardev socket,id=compare0,host=127.0.0.1,port=9001,server=on,wait=off
		-chardev socket,id=compare0-0,host=127.0.0.1,port=9001
		-chardev socket,id=compare_out,host=127.0.0.1,port=9005,server=on,wait=off
		-chardev socket,id=compare_out0,host=127.0.0.1,port=9005
		-drive if=none,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0.file.filename=$NATIVE_DIR/primary.qcow2,children.0.driver=qcow2
		-device virtio-blk-pci,drive=colo-disk0
	ARGS
}

native_secondary() {
	native_common
	cat <<-ARGS
		-chardev socket,id=red0,host=$NATIVE_A,port=9003,reconnect-ms=100
		-chardev socket,id=red1,host=$NATIVE_A,port=9004,reconnect-ms=100
		-object filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0,vnet_hdr_support=on
		-object filter-redirector,id=f2,netdev=hn0,queue=rx,outdev=red1,vnet_hdr_support=on
		-object filter-rewriter,id=rew0,netdev=hn0,queue=all,vnet_hdr_support=on
		-drive if=none,id=parent0,file.filename=$NATIVE_DIR/primary.qcow2,driver=qcow2
		-drive if=none,id=childs0,driver=replication,mode=secondary,file.driver=qcow2,top-id=colo-disk0,file.file.filename=/tmp/secondary-active.qcow2,file.backing.driver=qcow2,file.backing.file.filename=/tmp/secondary-hidden.qcow2,file.backing.backing=parent0
		-drive if=none,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,children.0=childs0
		-device virtio-blk-pci,drive=colo-disk0
		-incoming tcp:0.0.0.0:9998
	ARGS
}

# native_start HOST ARGUMENTS: the primary's tap is on the LAN; the secondary's is not: what it would hear there it gets from the primary.
native_start() {
	local bridge=''
	[ "$1" = b ] || bridge='ip link set native0 master br0;'
	lab exec "$1" sh -c "ip tuntap add native0 mode tap; $bridge ip link set native0 up"
	lab exec "$1" sh -c "exec $(printf '%s' "$2" | tr '\n' ' ')" || { note "native: QEMU did not start on $1"; return 1; }
}

# qmp HOST COMMAND...: each on a line as JSON; fails at the first that QEMU refuses
native_qmp() {
	local h=$1
	shift
	# shellcheck disable=SC2016 # expanded in the host
	lab exec "$h" bash -c 'exec 3<>/dev/tcp/127.0.0.1/4444
		for c in "{\"execute\":\"qmp_capabilities\"}" "$@"; do
			printf "%s\n" "$c" >&3
			while IFS= read -r -t 30 line <&3; do
				case $line in
				*\"return\":*) printf "%s\n" "$line"; continue 2 ;;
				*\"error\":*) printf "%s\n%s\n" "$c" "$line" >&2; exit 1 ;;
				esac
			done
			exit 1
		done' bash "$@"
}

native_status() { native_qmp a '{"execute":"query-migrate"}' | grep -q '"status": "colo"'; }

# The document's guest has not started yet: its images are equal, its filters are on the command line. This one runs, so it is stopped, its image copied and
# the same objects are added; COLO starts it again.
protect() {
	local caps='{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"x-colo","state":true},{"capability":"return-path","state":true}]}}'
	native_qmp a '{"execute":"stop"}' >/dev/null && native_copies && native_start b "$(native_secondary)" || return
	native_qmp b "$caps" '{"execute":"nbd-server-start","arguments":{"addr":{"type":"inet","data":{"host":"0.0.0.0","port":"9999"}}}}' \
		'{"execute":"nbd-server-add","arguments":{"device":"parent0","writable":true}}' >/dev/null || return
	native_qmp a \
		'{"execute":"object-add","arguments":{"qom-type":"filter-mirror","id":"m0","netdev":"hn0","queue":"tx","outdev":"mirror0","vnet_hdr_support":true}}' \
		'{"execute":"object-add","arguments":{"qom-type":"filter-redirector","id":"redire0","netdev":"hn0","queue":"rx","indev":"compare_out","vnet_hdr_support":true}}' \
		'{"execute":"object-add","arguments":{"qom-type":"filter-redirector","id":"redire1","netdev":"hn0","queue":"rx","outdev":"compare0","vnet_hdr_support":true}}' \
		'{"execute":"object-add","arguments":{"qom-type":"iothread","id":"iothread1"}}' \
		'{"execute":"object-add","arguments":{"qom-type":"colo-compare","id":"comp0","primary_in":"compare0-0","secondary_in":"compare1","outdev":"compare_out0","iothread":"iothread1","vnet_hdr_support":true}}' \
		"{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"drive_add -n buddy driver=replication,mode=primary,file.driver=nbd,file.host=$NATIVE_B,file.port=9999,file.export=parent0,node-name=replication0\"}}" \
		'{"execute":"x-blockdev-change","arguments":{"parent":"colo-disk0","node":"replication0"}}' "$caps" \
		'{"execute":"migrate-set-parameters","arguments":{"x-checkpoint-delay":1000}}' \
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"tcp:$NATIVE_B:9998\"}}" >/dev/null || return
	for _ in $(seq 300); do
		! native_status || return 0
		sleep 0.1
	done
	note "native: no COLO after 30 s: $(native_qmp a '{"execute":"query-migrate"}' | tail -n 1)"
	return 1
}

system_down() {
	local h
	for h in a b; do
		lab exec $h sh -c 'read -r p </run/native.pid && kill -9 "$p"; rm -f /run/native.pid; while kill -0 "$p"; do sleep 0.05; done; ip link del native0' 2>/dev/null
		rm -f "$(native_dir $h)"/*
	done
	return 0
}

system_pauses() {
	# shellcheck disable=SC2016 # expanded in the host
	setsid "$LAB" exec a bash -c 'exec 3<>/dev/tcp/127.0.0.1/4445; printf "%s\n" "{\"execute\":\"qmp_capabilities\"}" >&3; exec cat <&3' >"$1.raw" &
	NATIVE_EVENTS=$!
	PAUSES=$1
	sleep 0.3
}
system_pauses_end() {
	kill -- "-$NATIVE_EVENTS"	# with what the lab started in the host
	wait "$NATIVE_EVENTS" 2>/dev/null
	jq -r 'select(.event == "STOP" or .event == "RESUME") | "\(.event) \(.timestamp.seconds).\(1000000 + .timestamp.microseconds | tostring | .[1:])"' "$PAUSES.raw" >"$PAUSES"
	return 0
}
system_counters() { echo "ft_link_bytes $(ft_bytes)"; }
system_gauges() { native_status; }
