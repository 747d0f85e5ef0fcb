# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Two certificate authorities: "good" signs what the hosts use, "wrong" is a stranger's that tests present instead. "ending", "expired" and "other" are "good" by other
# names: what they sign ends in ten days, has ended long ago, or is somebody else's.

pki_make_ca() {
	local dir=$STATE/pki/$1
	[ -e "$dir/cacert.pem" ] && return
	mkdir -p "$dir"
	certtool --generate-privkey --key-type ecdsa --outfile "$dir/cakey.pem" 2>/dev/null
	printf 'cn = "ftd lab %s CA"\nca\ncert_signing_key\nexpiration_days = 3650\n' "$1" >"$dir/ca.info"
	certtool --generate-self-signed --load-privkey "$dir/cakey.pem" --template "$dir/ca.info" \
		--outfile "$dir/cacert.pem.new" 2>"$dir/ca.log" || die "certtool could not make a CA: $(cat "$dir/ca.log")"
	mv "$dir/cacert.pem.new" "$dir/cacert.pem"
}

# One key pair per host, fit for both ends of a connection.
pki_make_host() {
	case $1 in
	ending | expired | other)
		pki_make_ca good
		mkdir -p "$STATE/pki/$1"
		cp "$STATE"/pki/good/ca{cert,key}.pem "$STATE/pki/$1/"
		;;
	esac
	pki_make "$1" "$2" "$FT_NET.$(host_number "$2")"
}

# A member of etcd: its gateway is a client of its own server.
pki_make_member() { pki_make good "etcd$1" "$ETCD_NET.10$1"; }

pki_make() {
	local h=$2 dir=$STATE/pki/$1 name=$2 address=$3 ends='expiration_days = 3650'
	case $1 in
	ending) ends='expiration_days = 10' ;;
	expired) ends=$'activation_date = "2020-01-01 00:00:00"\nexpiration_date = "2020-02-01 00:00:00"' ;;
	other) name=mallory address=$FT_NET.99 ;;
	esac
	pki_make_ca "$1"
	[ -e "$dir/$h-cert.pem" ] && return
	certtool --generate-privkey --key-type ecdsa --outfile "$dir/$h-key.pem" 2>/dev/null
	cat >"$dir/$h.info" <<-INFO
		cn = "$name"
		organization = "ftd lab"
		dns_name = "$name"
		ip_address = "$address"
		tls_www_server
		tls_www_client
		signing_key
		encryption_key
		$ends
	INFO
	certtool --generate-certificate --load-privkey "$dir/$h-key.pem" --load-ca-certificate "$dir/cacert.pem" \
		--load-ca-privkey "$dir/cakey.pem" --template "$dir/$h.info" --outfile "$dir/$h-cert.pem.new" \
		2>"$dir/$h.log" || die "certtool could not make a certificate: $(cat "$dir/$h.log")"
	mv "$dir/$h-cert.pem.new" "$dir/$h-cert.pem"
}

# Laid out as libvirt's own PKI is.
pki_install() {
	local set=$1 h=$2 dir=$STATE/pki/$1 etc=$STATE/$2/etc/pki
	rm -rf "$etc/CA" "$etc/ftd"
	echo "$set" >"$STATE/$h/pki"
	[ "$set" != none ] || return 0
	pki_make_host "$set" "$h"
	mkdir -p "$etc/CA" "$etc/ftd/private"
	chmod 0700 "$etc/ftd/private"
	cp "$dir/cacert.pem" "$etc/CA/cacert.pem"
	local role
	for role in server client; do
		cp "$dir/$h-cert.pem" "$etc/ftd/${role}cert.pem"
		install -m 0600 "$dir/$h-key.pem" "$etc/ftd/private/${role}key.pem"
	done
}

# host_pki HOST SET [--reload]
host_pki() {
	[ $# -ge 2 ] || die 'usage: lab pki HOST good|wrong|ending|expired|other|none [--reload]'
	case $2 in good | wrong | ending | expired | other | none) ;; *) die "pki: '$2' is none of good, wrong, ending, expired, other, none" ;; esac
	ns_exists "$1" || die "the lab has no host '$1'"
	pki_install "$2" "$1"
	if [ "${3:-}" = --reload ]; then host_reload_ftd "$1"; else host_restart_ftd "$1"; fi
}

# The good authority's list on HOST: these hosts' certificates are good no longer, there.
host_revoke() {
	[ $# -ge 2 ] || die 'usage: lab revoke HOST REVOKED-HOST...'
	local h=$1 dir=$STATE/pki/good crl
	shift
	crl=$STATE/$h/etc/pki/CA/cacrl.pem
	printf 'crl_next_update = 30\n' >"$dir/crl.info"
	for victim; do cat "$dir/$victim-cert.pem" || die "revoke: $victim has no certificate"; done >"$dir/revoked.pem"
	certtool --generate-crl --load-ca-privkey "$dir/cakey.pem" --load-ca-certificate "$dir/cacert.pem" --load-certificate "$dir/revoked.pem" \
		--template "$dir/crl.info" --outfile "$crl" 2>"$dir/crl.log" || die "certtool could not make a revocation list: $(cat "$dir/crl.log")"
	host_reload_ftd "$h"
}
