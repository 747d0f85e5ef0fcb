# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Three members of etcd as the arbiter, in a network of their own ("etcd": ETCD_NET.101 to .103), so that the FT link can be cut without them.
# They are the machine's own etcd, run as plain processes; the package's service is not started.

ETCD_MEMBERS='1 2 3'

etcd_up() {
	local i
	if ! command -v etcd >/dev/null; then
		say 'installing etcd-server (a real arbiter)'
		etcd_install || { apt-get update -q >&2 && etcd_install; } || die 'apt-get could not install etcd-server (its messages are above)'
	fi
	net_etcd_up
	for i in $ETCD_MEMBERS; do
		pki_make_member "$i"
		etcd_start "$i"
	done
	wait_until 20 etcd_answers || die "etcd does not answer: $(tail -n 3 "$STATE/etcd/1.log")"
	say 'etcd: three members are up'
}

# Without a running system there is nothing to start the service in; with one it is turned off at once.
etcd_install() {
	local had_policy=
	[ ! -e /usr/sbin/policy-rc.d ] || had_policy=1
	[ -n "$had_policy" ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d; }
	apt_install etcd-server
	local status=$?
	[ -n "$had_policy" ] || rm -f /usr/sbin/policy-rc.d
	return $status
}

etcd_is_up() { ns_exists etcd; }

etcd_spec() { echo 'etcd:https://etcd1:2379,https://etcd2:2379,https://etcd3:2379'; }

etcd_member() { [[ $1 =~ ^[1-3]$ ]] || die "etcd has the members 1, 2 and 3, not '$1'"; }

etcd_start() {
	local i=$1 me="https://$ETCD_NET.10$1" pki="$STATE/pki/good" j cluster=
	etcd_member "$i"
	pid_read "$RUN/etcd-$i.pid" >/dev/null && return
	for j in $ETCD_MEMBERS; do cluster+="${cluster:+,}etcd$j=https://$ETCD_NET.10$j:2380"; done
	mkdir -p "$STATE/etcd"
	# LC_ALL: etcd's own environment variables (ETCD_...) of the caller must not reach it.
	setsid env -i PATH="$PATH" LC_ALL=C.UTF-8 ip netns exec "${PREFIX}etcd$i" etcd --name "etcd$i" --data-dir "$STATE/etcd/$i" \
		--listen-client-urls "$me:2379" --advertise-client-urls "$me:2379" \
		--listen-peer-urls "$me:2380" --initial-advertise-peer-urls "$me:2380" --initial-cluster "$cluster" \
		--client-cert-auth --trusted-ca-file "$pki/cacert.pem" --cert-file "$pki/etcd$i-cert.pem" --key-file "$pki/etcd$i-key.pem" \
		--peer-client-cert-auth --peer-trusted-ca-file "$pki/cacert.pem" --peer-cert-file "$pki/etcd$i-cert.pem" --peer-key-file "$pki/etcd$i-key.pem" \
		</dev/null >>"$STATE/etcd/$i.log" 2>&1 9>&- &
	pid_write "$RUN/etcd-$i.pid" $!
}

# Does a linearizable read succeed? (As ftd asks: through the gateway, with a host's certificate.)
etcd_answers() {
	local i
	for i in $ETCD_MEMBERS; do
		in_ns "etcd$i" curl -s -m 1 --noproxy '*' --cacert "$STATE/pki/good/cacert.pem" --cert "$STATE/pki/good/etcd$i-cert.pem" --key "$STATE/pki/good/etcd$i-key.pem" \
			-d '{"key":"L2Z0ZA=="}' "https://$ETCD_NET.10$i:2379/v3/kv/range" 2>/dev/null | grep -q '"revision"' && return
	done
	return 1
}

etcd_command() {
	local what=${1:-} i
	etcd_is_up || die 'this lab has no etcd; start it with: lab up --etcd'
	[ $# -gt 0 ] && shift
	case $what in
	start)
		lock
		for i in ${*:-$ETCD_MEMBERS}; do etcd_start "$i"; done ;;
	stop)
		lock
		for i in ${*:-$ETCD_MEMBERS}; do etcd_member "$i"; pid_kill "$RUN/etcd-$i.pid"; done ;;
	wait) wait_until 20 etcd_answers || die 'etcd does not answer' ;;
	*) die 'usage: lab etcd start|stop|wait [MEMBER...]' ;;
	esac
}

etcd_status() {
	local i state
	etcd_is_up || return 0
	for i in $ETCD_MEMBERS; do
		state=down
		pid_read "$RUN/etcd-$i.pid" >/dev/null && state=up
		printf 'etcd%-7s %s\n' "$i" "$state"
	done
}

etcd_kill() {
	local i
	for i in $ETCD_MEMBERS; do pid_kill "$RUN/etcd-$i.pid"; done
}

# arbiter_use KIND: what the hosts' ftd.conf says from now on.
arbiter_use() {
	local h
	case ${1:-} in
	file) echo 'file:/srv/ftd-arbiter' ;;
	etcd) etcd_is_up || die 'this lab has no etcd; start it with: lab up --etcd'; etcd_spec ;;
	manual) echo 'manual:' ;;
	*) die 'usage: lab arbiter file|etcd|manual' ;;
	esac >"$STATE/arbiter-spec.new"
	cmp -s "$STATE/arbiter-spec.new" "$STATE/arbiter-spec" && return
	mv "$STATE/arbiter-spec.new" "$STATE/arbiter-spec"
	for h in $(hosts_known); do
		[ -e "$STATE/$h/complete" ] || continue
		host_config "$h" "$STATE/$h/etc"
		host_restart_ftd "$h"
	done
}

arbiter_spec() { cat "$STATE/arbiter-spec" 2>/dev/null || echo 'file:/srv/ftd-arbiter'; }
