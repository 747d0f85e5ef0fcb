# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Networks: a bridge br0 in namespace "lan" and one in "ft" (and one in "etcd", if there is one), a port per host in each. In the host the LAN port is in its own br0,
# where guests are attached; ft0 carries addresses. Links are cut and slowed at the port in "lan"/"ft", out of the hosts' sight.

ns_exists() { [ -e "$RUN/namespaces" ] && grep -qxF "$PREFIX$1" "$RUN/namespaces"; }

ns_make() {
	local ns=$PREFIX$1
	if ns_exists "$1"; then
		ip netns del "$ns" 2>/dev/null || true	# half made by an interrupted command
	elif [ -e "/run/netns/$ns" ]; then
		die "network namespace $ns exists but this lab did not make it: choose another FTD_LAB_PREFIX, or remove it (ip netns del $ns)"
	else
		echo "$ns" >>"$RUN/namespaces"
	fi
	ip netns add "$ns"
	ip -n "$ns" link set dev lo up
}

in_ns() { ip netns exec "$PREFIX$1" "${@:2}"; }

bridge_make() {
	ip -n "$PREFIX$1" link add br0 type bridge forward_delay 0 mcast_snooping 0
	ip -n "$PREFIX$1" link set dev br0 up
}

net_up() {
	[ ! -e "$RUN/net" ] || return 0
	say 'making networks'
	ns_make lan
	bridge_make lan
	ip -n "${PREFIX}lan" addr add "$LAN_NET.1/24" dev br0
	ip -n "${PREFIX}lan" addr add "$LAN_NET6:1/64" dev br0 nodad
	ns_make ft
	bridge_make ft
	touch "$RUN/net"
}

net_host_up() {
	local h=$1 ns=$PREFIX$1
	[ ! -e "$RUN/$h/net" ] || return 0
	mkdir -p "$RUN/$h"
	ns_make "$h"
	bridge_make "$h"
	ip link add lan0 netns "$ns" type veth peer name "$h" netns "${PREFIX}lan"
	ip -n "$ns" link set dev lan0 master br0 up
	ip -n "${PREFIX}lan" link set dev "$h" master br0 up
	ip link add ft0 netns "$ns" type veth peer name "$h" netns "${PREFIX}ft"
	ip -n "$ns" addr add "$FT_NET.$(host_number "$h")/24" dev ft0
	ip -n "$ns" link set dev ft0 up
	ip -n "${PREFIX}ft" link set dev "$h" master br0 up
	touch "$RUN/$h/net"
}

# The members' network and namespaces (a member takes only peers whose address is that of their certificate: they cannot share one), and a port of every host that is in the lab by then.
net_etcd_up() {
	local h i
	if ! ns_exists etcd; then
		ns_make etcd
		bridge_make etcd
		for i in 1 2 3; do
			ns_make "etcd$i"
			ip link add etcd0 netns "${PREFIX}etcd$i" type veth peer name "etcd$i" netns "${PREFIX}etcd"
			ip -n "${PREFIX}etcd$i" addr add "$ETCD_NET.10$i/24" dev etcd0
			ip -n "${PREFIX}etcd$i" link set dev etcd0 up
			ip -n "${PREFIX}etcd" link set dev "etcd$i" master br0 up
		done
	fi
	for h in $(hosts_known); do
		[ ! -e "$RUN/$h/net-etcd" ] || continue
		ip link add etcd0 netns "$PREFIX$h" type veth peer name "$h" netns "${PREFIX}etcd"
		ip -n "$PREFIX$h" addr add "$ETCD_NET.$(host_number "$h")/24" dev etcd0
		ip -n "$PREFIX$h" link set dev etcd0 up
		ip -n "${PREFIX}etcd" link set dev "$h" master br0 up
		touch "$RUN/$h/net-etcd"
	done
}

# Whatever still runs in our namespaces (clients, wires) ends with them.
net_down() {
	local ns pids
	[ -e "$RUN/namespaces" ] || return 0
	while read -r ns; do
		[ -e "/run/netns/$ns" ] || continue
		pids=$(ip netns pids "$ns" 2>/dev/null || true)
		# shellcheck disable=SC2086 # a list
		[ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
		ip netns del "$ns" || say "could not remove the network namespace $ns"
	done <"$RUN/namespaces"
	rm -f "$RUN/namespaces"
}

forget_namespaces() {
	local ns
	[ -e "$RUN/namespaces" ] || return 0
	while read -r ns; do
		mountpoint -q "/run/netns/$ns" || rm -f "/run/netns/$ns"
	done <"$RUN/namespaces"
}

links_known() {
	local net h
	for net in lan ft etcd; do
		ns_exists "$net" || continue
		for h in $(hosts_known); do echo "$net-$h"; done
	done
}

# The ports a LINK stands for, as "network host" lines.
link_ports() {
	local h
	[ -e "$RUN/namespaces" ] || die 'the lab is down; start it with: lab up'
	case $1 in
	ft | etcd)
		ns_exists "$1" || die "link $1: the lab has no such network"
		for h in $(hosts_known); do echo "$1 $h"; done ;;
	ft-? | lan-? | etcd-?)
		ns_exists "${1#*-}" || die "link $1: the lab has no host '${1#*-}'"
		echo "${1%-*} ${1#*-}" ;;
	*) die "there is no link '$1': links are ft, ft-HOST, lan-HOST, etcd, etcd-HOST" ;;
	esac
}

# A bridge port in state "disabled" neither receives nor sends, and its peer keeps the carrier: frames vanish, nothing is told to anyone.
port_state() { in_ns "$1" bridge link set dev "$2" state "$3"; }

link_cut() {
	local net h ports
	[ $# -eq 1 ] || die 'usage: lab cut LINK'
	ports=$(link_ports "$1")
	while read -r net h; do
		port_state "$net" "$(port_name "$net" "$h")" 0
		touch "$RUN/cut-$net-$h"
	done <<<"$ports"
}

link_unplug() {
	local net h ports
	[ $# -eq 1 ] || die 'usage: lab unplug LINK'
	ports=$(link_ports "$1")
	while read -r net h; do
		ip -n "$PREFIX$net" link set dev "$h" down
		touch "$RUN/unplugged-$net-$h"
	done <<<"$ports"
}

link_heal() {
	local net h ports
	[ $# -eq 1 ] || die 'usage: lab heal LINK'
	ports=$(link_ports "$1")
	while read -r net h; do
		wire_remove "$net" "$h"
		[ ! -e "$RUN/unplugged-$net-$h" ] || ip -n "$PREFIX$net" link set dev "$h" up
		rm -f "$RUN/unplugged-$net-$h"
		port_state "$net" "$h" 3
		rm -f "$RUN/cut-$net-$h"
	done <<<"$ports"
}

link_slow() {
	local link=${1:-} delay=0 rate=0 loss=0 corrupt=0 net h ports
	[ $# -ge 1 ] || die 'usage: lab slow LINK [--delay MS] [--rate MBIT] [--loss PERCENT] [--corrupt PERCENT]'
	shift
	while [ $# -gt 0 ]; do
		need_value "$@"
		case $1 in
		--delay) delay=$2 ;;
		--rate) rate=$2 ;;
		--loss) loss=$2 ;;
		--corrupt) corrupt=$2 ;;
		*) die "slow: unknown argument '$1' (see lab --help)" ;;
		esac
		shift 2
	done
	ports=$(link_ports "$link")
	while read -r net h; do
		wire_remove "$net" "$h"
		wire_insert "$net" "$h" "$link" --delay "$delay" --rate "$rate" --loss "$loss" --corrupt "$corrupt"
	done <<<"$ports"
}

link_corrupt() {
	local net h pid ports
	[ $# -eq 1 ] || die 'usage: lab corrupt LINK'
	ports=$(link_ports "$1")
	while read -r net h; do
		pid=$(pid_read "$RUN/wire-$net-$h.pid") || die "corrupt: make a wire first: lab slow $1 --corrupt PERCENT"
		kill -USR1 "$pid"
	done <<<"$ports"
}

# A slow port is taken off the bridge; a process (lab-wire.c) carries its frames to and from a port pair put in its place.
# (Not tc netem: not every kernel has it.)
wire_insert() {
	local net=$1 h=$2 link=$3 ns=$PREFIX$1
	shift 3
	# Every frame of "ft" passes two ports: slow it at one of them, on its way in.
	[ "$link" != ft ] || set -- "$@" --one-way
	ip -n "$ns" link add "$h-w" type veth peer name "$h-p"
	ip -n "$ns" link set dev "$h-w" up
	ip -n "$ns" link set dev "$h" nomaster
	ip -n "$ns" link set dev "$h-p" master br0 up
	[ ! -e "$RUN/cut-$net-$h" ] || port_state "$net" "$h-p" 0
	echo "$*" >"$RUN/wire-$net-$h"
	setsid ip netns exec "$ns" "$CACHE/bin/lab-wire" "$h" "$h-w" "$@" </dev/null >/dev/null 2>"$RUN/wire-$net-$h.log" 9>&- &
	pid_write "$RUN/wire-$net-$h.pid" $!
	wait_until 2 grep -q ready "$RUN/wire-$net-$h.log" || die "lab-wire did not start: $(cat "$RUN/wire-$net-$h.log")"
}

wire_remove() {
	local net=$1 h=$2 ns=$PREFIX$1
	[ -e "$RUN/wire-$net-$h" ] || return 0
	pid_kill "$RUN/wire-$net-$h.pid"
	ip -n "$ns" link del dev "$h-w" 2>/dev/null || true
	ip -n "$ns" link set dev "$h" master br0 up
	[ ! -e "$RUN/cut-$net-$h" ] || port_state "$net" "$h" 0
	rm -f "$RUN/wire-$net-$h" "$RUN/wire-$net-$h.pid" "$RUN/wire-$net-$h.log"
}

# The port that is on the bridge for this host.
port_name() {
	if [ -e "$RUN/wire-$1-$2" ]; then echo "$2-p"; else echo "$2"; fi
}

link_status() {
	local state=up
	[ ! -e "$RUN/wire-$1" ] || state="slow: $(cat "$RUN/wire-$1")"
	[ ! -e "$RUN/cut-$1" ] || state='cut'
	[ ! -e "$RUN/unplugged-$1" ] || state='unplugged'
	echo "$state"
}
