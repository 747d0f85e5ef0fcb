# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Two certificate authorities: "good" signs what the hosts use, "wrong" is a stranger's that tests present instead.

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
pki_make_host() { pki_make "$1" "$2" "$FT_NET.$(host_number "$2")"; }

# A member of etcd: its gateway is a client of its own server.
pki_make_member() { pki_make good "etcd$1" "$ETCD_NET.10$1"; }

pki_make() {
	local h=$2 dir=$STATE/pki/$1
	pki_make_ca "$1"
	[ -e "$dir/$h-cert.pem" ] && return
	certtool --generate-privkey --key-type ecdsa --outfile "$dir/$h-key.pem" 2>/dev/null
	cat >"$dir/$h.info" <<-INFO
		cn = "$h"
		organization = "ftd lab"
		dns_name = "$h"
		ip_address = "$3"
		tls_www_server
		tls_www_client
		signing_key
		encryption_key
		expiration_days = 3650
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

host_pki() {
	[ $# -eq 2 ] || die 'usage: lab pki HOST good|wrong|none'
	case $2 in good | wrong | none) ;; *) die "pki: '$2' is none of good, wrong, none" ;; esac
	ns_exists "$1" || die "the lab has no host '$1'"
	pki_install "$2" "$1"
	host_restart_ftd "$1"
}
