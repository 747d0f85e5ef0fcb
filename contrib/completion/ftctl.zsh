#compdef ftctl
# SPDX-License-Identifier: LGPL-2.1-or-later
# zsh completion for ftctl(1). Verbs and options are asked of ftctl itself, so they are always those that it has.

local verb='' i
local -a found

for ((i = 2; i < CURRENT; i++)); do
	case $words[i] in
	(--socket|--timeout) ((i++)) ;;
	(-*) ;;
	(*) verb=$words[i]; break ;;
	esac
done

case $words[CURRENT-1] in
(--socket) _files; return ;;
(--timeout) _message 'seconds'; return ;;
(--peer|-p) _hosts; return ;;
esac

if [[ $words[CURRENT] == -* ]]; then
	found=(${(f)"$($words[1] ${verb:+$verb} --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,')"})
	compadd -a found
elif [[ -z $verb ]]; then
	found=(${(f)"$($words[1] --help 2>/dev/null | sed -nE 's/^  ([a-z-]+) +(.*)/\1:\2/p')"})
	_describe verb found
elif [[ $verb == hosts ]]; then
	found=(drain undrain)
	compadd -a found
elif [[ $verb == migrate-secondary && $words[CURRENT-1] != ($verb|-*) ]]; then
	_hosts
elif [[ $verb == (check|enable) ]]; then
	found=(${(f)"$(virsh -r list --name 2>/dev/null)"})
	compadd -a found
else
	found=(${(f)"$($words[1] --timeout 1 status --json 2>/dev/null | sed -nE 's/^ *"domain": *"(.*)",?$/\1/p')"})
	compadd -a found
fi
