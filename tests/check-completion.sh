#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-completion.sh SOURCE-DIR FTCTL
# What the completions offer, in a real bash and a real zsh.
set -euo pipefail
top=$1 ftctl=$(realpath "$2")
PATH=$(dirname "$ftctl"):$PATH
bad=0

fault() {
	echo "$*" >&2
	bad=1
}

# offered WORD...: the completions of the last word
. "$top/contrib/completion/ftctl.bash"
offered() {
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_ftctl ftctl
	echo "${COMPREPLY[*]}"
}
# offers EXPECTED WORD...
offers() {
	local expected=$1 has
	shift
	has=$(offered "$@")
	[ "$has" = "$expected" ] || fault "bash: '$*' offers '$has' and not '$expected'"
}

verbs=$(ftctl --help | sed -nE 's/^  ([a-z-]+) .*/\1/p' | xargs)
[ "$(wc -w <<<"$verbs")" -ge 7 ] || fault "ftctl --help has no verbs any more: $verbs"
offers "$verbs" ftctl ''
offers enable ftctl en
offers enable ftctl --timeout 5 --json en
offers --peer ftctl enable --pe
offers --force ftctl failover vm1 --fo
offers '' ftctl failover vm1 --pe
offers '' ftctl --timeout ''
offers 'drain undrain' ftctl hosts ''
hosts=$(getent hosts | awk '$2 !~ /^(localhost|ip6-)/ { print $2 }' | sort -u | xargs)
[ "$(offered ftctl migrate-secondary vm1 '' | xargs -n 1 | sort -u | xargs)" = "$hosts" ] || fault "bash: migrate-secondary's second word is not one of $hosts"
for v in $verbs; do
	case " $(offered ftctl "$v" --) " in
	*' --json '*) ;;
	*) fault "bash: $v does not offer --json" ;;
	esac
done

if command -v zsh >/dev/null; then
	zsh -n "$top/contrib/completion/ftctl.zsh" || fault "zsh: syntax"
	# The words that compadd and _describe are given.
	has=$(zsh -fc 'compadd() { print -r -- ${(P)2}; }; _describe() { print -r -- ${(P)2%%:*}; }; run() { source '"$top"'/contrib/completion/ftctl.zsh; }
		words=(ftctl ""); CURRENT=2; run; words=(ftctl enable --pe); CURRENT=3; run
		_hosts() { print -r -- HOSTS; }; words=(ftctl hosts ""); CURRENT=3; run; words=(ftctl migrate-secondary vm1 ""); CURRENT=4; run' 2>&1)
	[[ $has == *"$verbs"* && $has == *--peer*"drain undrain"*HOSTS* ]] || fault "zsh offers: $has"
else
	echo "there is no zsh here: its half was not tested"
	exit $((bad ? 1 : 77))
fi
exit $bad
