# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# bash completion for ftctl(1). Verbs and options are asked of ftctl itself, so they are always those that it has.

_ftctl_options() { "$1" ${2:+"$2"} --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u; }
_ftctl_verbs() { "$1" --help 2>/dev/null | sed -nE 's/^  ([a-z-]+) .*/\1/p'; }

# Domains that run here, for the verbs that begin something; domains that ftd knows, for the others.
_ftctl_domains() {
	case $2 in
	check | enable) virsh -r list --name 2>/dev/null ;;
	*) "$1" --timeout 1 status --json 2>/dev/null | sed -nE 's/^ *"domain": *"(.*)",?$/\1/p' ;;
	esac
}

_ftctl_hosts() { getent hosts 2>/dev/null | awk '$2 !~ /^(localhost|ip6-)/ { print $2 }'; }

_ftctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb='' i words=
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket | --timeout) i=$((i + 1)) ;;
		-*) ;;
		*)
			verb=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	case $before in
	--socket)
		compopt -o default
		COMPREPLY=()
		return
		;;
	--timeout) return ;;
	--peer | -p) words=$(_ftctl_hosts) ;;
	*)
		if [[ $word == -* ]]; then
			words=$(_ftctl_options "$1" "$verb")
		elif [[ -z $verb ]]; then
			words=$(_ftctl_verbs "$1")
		elif [[ $verb == hosts ]]; then
			words='drain undrain'
		elif [[ $verb == migrate-secondary && $before != "$verb" && $before != -* ]]; then
			words=$(_ftctl_hosts)
		else
			words=$(_ftctl_domains "$1" "$verb")
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _ftctl ftctl
