#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-man.sh SOURCE-DIR FTCTL FTD FTD-GUARD MAN-FACTS
# The manual pages list what the programs have, nothing less and nothing else: verbs, options, settings, exit statuses, status members, states, frames,
# calls. And no text refers to a page, or a section of one, that does not exist.
set -eu
export LC_ALL=C
top=$1 ftctl=$(realpath "$2") ftd=$(realpath "$3") guard=$(realpath "$4") facts_program=$(realpath "$5")
cd "$top"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$facts_program" >"$tmp/facts"
: >"$tmp/problems"
: >"$tmp/compared"

# same WHAT PAGE: standard input has the code's lines, descriptor 3 the page's; both are sets. Often in a pipeline, so what it finds goes to files.
same() {
	sort -u >"$tmp/code"
	sort -u <&3 >"$tmp/page"
	cat "$tmp/code" >>"$tmp/compared"
	[ -s "$tmp/code" ] || echo "$1: nothing was found in the code; this script does not know where to look any more" >>"$tmp/problems"
	comm -23 "$tmp/code" "$tmp/page" | sed "s|^|$2 does not have $1: |" >>"$tmp/problems"
	comm -13 "$tmp/code" "$tmp/page" | sed "s|^|$2 has what the code has not, $1: |" >>"$tmp/problems"
}

facts() { sed -n "s/^$1 //p" "$tmp/facts"; }

# The lines of a section (.Sh), with a second name only those of that subsection (.Ss), with "" only those before the first one.
section() {
	awk -v sh="$2" -v ss="${3-*}" '
		$1 == ".Sh" { in_sh = substr($0, 5) == sh; in_ss = ss == "" || ss == "*"; next }
		$1 == ".Ss" { if (ss != "*") in_ss = substr($0, 5) == ss; next }
		in_sh && in_ss' "man/$1"
}
# The words of list items, without macros: ".It Cm a , b" is a and b.
items() { sed -n 's/^\.It //p' | tr ' ' '\n' | sed 's/,$//' | grep -vE '^(,|Cm|Pa|Pq|Ns)?$'; }
# The text of the item that begins with a word.
item_text() { awk -v word="$1" '$1 == ".It" { on = $2 == word || $3 == word; next } $1 == ".El" { on = 0 } on' | sed -E 's/^\.(Pa|Ql|Xr|Cm|Dv) //' | tr '\n' ' '; }
function_body() { awk -v name="$2" 'index($0, name "(") == 1 { on = 1 } on; /^}/ { on = 0 }' "$1"; }
json_keys() { grep -oE ', "[a-z_0-9]+", ' | tr -d ', "'; }

# Long and short options of a help text, and of a page's Fl macros.
help_options() { grep -oE '(^|[ [])-(-[a-z-]+|[a-z],)' | tr -d ' [,'; }
page_options() {
	awk '/^\./ { on = 0
		for (i = 1; i <= NF; i++) {
			if ($i == "Fl" || $i == ".Fl") { on = 1; continue }
			if (on && ($i ~ /^-[a-z]/ || $i ~ /^[a-z]$/)) print "-" $i
			else if ($i != "," && $i != "|") on = 0
		} }' "man/$1"
}

# -- ftctl(1)
verbs=$("$ftctl" --help | sed -nE 's/^  ([a-z-]+) .*/\1/p')
echo "$verbs" | same "verb" ftctl.1 3<<X
$(section ftctl.1 DESCRIPTION | sed -nE 's/^\.It Cm ([a-z-]+).*/\1/p')
X
echo "$verbs" | same "verb in its synopsis" ftctl.1 3<<X
$(section ftctl.1 SYNOPSIS | sed -nE 's/^\.Cm ([a-z-]+).*/\1/p')
X
{
	"$ftctl" --help
	for v in $verbs; do "$ftctl" "$v" --help; done
} | help_options | same "option" ftctl.1 3<<X
$(page_options ftctl.1)
X
facts exit | same "exit status" ftctl.1 3<<X
$(section ftctl.1 "EXIT STATUS" | sed -nE 's/^\.It ([0-9]+) Pq (.*)/\1 \2/p')
X
facts exit | sed -n 's/ Unprotected$//p' | same "exit status of what is done but for the protection" ftctl.1 3<<X
$(section ftctl.1 DESCRIPTION | sed -nE 's/.*exit with ([0-9]+)\.$/\1/p')
X
# Default time limits: a verb that waits has its own.
grep -ohE '^#define (DRAIN_)?TIMEOUT_S [0-9]+' daemon/ftctl-*.c | grep -v ' 5$' | awk '{ print $3 }' | same "default of --timeout" ftctl.1 3<<X
$(section ftctl.1 DESCRIPTION | awk '/^\.It Fl -timeout/ { on = 1; next } /^\.It/ { on = 0 } on' | tr '\n' ' ' | grep -oE '(: |, )[0-9]+ for' | tr -d ':, for')
X
# The daemon adds to what a guard says, and answers for one that does not.
{
	facts status
	grep -oE 'json_object_object_add\(status, "[a-z_]+"' daemon/guard-control-io.c | sed 's/.*"\(.*\)"/\1/'
	function_body daemon/service-io.c status_of | json_keys
	function_body daemon/pairs-io.c last_status | json_keys
} | same "status member" ftctl.1 3<<X
$(section ftctl.1 STATUS "" | items)
X
{
	facts state
	function_body daemon/service-io.c status_of | grep -oE '\] = "[a-z]+"' | sed 's/.*"\(.*\)"/\1/'
} | same "state" ftctl.1 3<<X
$(section ftctl.1 STATUS States | items)
X
{
	facts reason | cut -d ' ' -f 2
	function_body daemon/pairs-io.c last_status | grep -oE 'why : "[a-z-]+"' | sed 's/.*"\(.*\)"/\1/'
} | same "reason" ftctl.1 3<<X
$(section ftctl.1 STATUS Reasons | items)
X
# listed MEMBER: the words after the colon
listed() { section ftctl.1 STATUS "" | item_text "$1" | sed 's/.*: //' | tr -s ' ,.' '\n\n\n' | grep -vE '^(or|and)?$'; }
facts phase | same "phase" ftctl.1 3<<X
$(listed phase)
X
facts want | same "reason of a checkpoint" ftctl.1 3<<X
$(listed checkpoints_by_reason)
X

facts flow | same "member of a flow" ftctl.1 3<<X
$(section ftctl.1 FLOWS | items)
X
facts difference | same "reason of a difference" ftctl.1 3<<X
$(section ftctl.1 FLOWS | awk '$1 == ".Pq" { next } { print }' | item_text first_difference | sed 's/.* is \(content.*limit\).*/\1/' | tr -s ' ,' '\n\n' | grep -vx or)
X

facts requirement | same "requirement" ftctl.1 3<<X
$(section ftctl.1 CHECKS | sed -n 's/^\.It Cm //p')
X
facts check-reason | same "reason of a check" ftctl.1 3<<X
$(section ftctl.1 CHECKS | sed -n 's/^\.It //p' | grep -v '^Cm ')
X

{
	facts history | grep -vx age_seconds
	echo begin
} | same "member of a history" ftctl.1 3<<X
$(section ftctl.1 TIMELINE | items)
X
facts column | same "figure of a history" ftctl.1 3<<X
$(section ftctl.1 TIMELINE | sed '/^Pauses/,$d' | item_text columns | sed 's/.*: //' | tr -s ' ,.' '\n\n\n')
X

# -- ftd(8), ftd-guard(8)
facts could | same "reason that could be supported" ftd.8 3<<X
$(section ftd.8 "NOT SUPPORTED" | items)
X
"$ftd" --help | help_options | same "option" ftd.8 3<<X
$(page_options ftd.8)
X
"$guard" --help | help_options | same "option" ftd-guard.8 3<<X
$(page_options ftd-guard.8)
X
facts state | same "state" ftd-guard.8 3<<X
$(section ftd-guard.8 DESCRIPTION Life | items)
X
{
	sed -nE 's/^\tFIELD\(guard_[a-z]+, ([a-z_]+),.*/\1/p' daemon/guard-config.c
	printf 'nics\ndisks\n'
} | same "member of guard.json" ftd-guard.8 3<<X
$(section ftd-guard.8 FILES "Members of guard.json" | items; section ftd-guard.8 FILES "Members of guard.json" | sed -nE 's/^\.Cm ([a-z_]+).*/\1/p')
X

# -- ftd-metrics(7)
facts metric | same "metric" ftd-metrics.7 3<<X
$(section ftd-metrics.7 METRICS | sed -nE 's/^\.It ([a-z_]+) Pq (.*)/\1 \2/p')
X

# -- ftd.conf(5): group, key, range and default
awk -F '[{}, "]+' '/^\t\{ "[a-z]+", "[a-z-]+", KEY_/ { field = $5; sub(/AT\(/, "", field); sub(/\)/, "", field); print $2, $3, $4, field, $6, $7 }' daemon/config.c >"$tmp/keys"
function_body daemon/config.c ftd_config_new | sed -nE 's/^\tc->([a-z_]+) = (g_strdup\("([^"]*)"\)|([0-9]+)(u << 20)?);/\1 \3\4/p' >"$tmp/defaults"
cut -d ' ' -f 1,2 "$tmp/keys" | same "setting" ftd.conf.5 3<<X
$(for g in ftd guard; do section ftd.conf.5 DESCRIPTION "Group $g" | sed -nE "s/^\.It Cm ([a-z-]+).*/$g \1/p"; done)
X
while read -r group key type field min max; do
	text=$(section ftd.conf.5 DESCRIPTION "Group $group" | item_text "$key")
	default=$(sed -n "s|^$field ||p" "$tmp/defaults")
	want="$key${default:+ default $default}"
	has="$key${default:+ default $(echo "$text" | sed -nE 's/.*[Dd]efault:? +([^ ;]*[^ ;.,]).*/\1/p')}"
	case $type in
	KEY_UINT | KEY_MIB)
		want="$want from $min to $max"
		has="$has from $(echo "$text" | sed -nE 's/^([0-9]+) to ([0-9]+)[;,.].*/\1 to \2/p')"
		;;
	esac
	echo "$want" | same "setting with its default and range" ftd.conf.5 3<<X
$has
X
	sample=$(sed -n "/^\[$group\]/,/^\[/s/^#$key=//p" contrib/ftd.conf)
	[ -z "$sample" ] || [ -z "$default" ] || [ "$sample" = "$default" ] || echo "contrib/ftd.conf: $key is $sample, and its default $default" >>"$tmp/problems"
done <"$tmp/keys"

# -- ftd-protocol(7)
facts frame | same "frame" ftd-protocol.7 3<<X
$(section ftd-protocol.7 FRAMES | sed -nE 's/^\.It ([A-Z_]+) Ta ([0-9]+) Ta ([a-z,]+) Ta ([0-9]+)$/\1 \2 \3 \4/p')
X
facts frame | cut -d ' ' -f 1 | grep -vx JSON | same "payload of a frame" ftd-protocol.7 3<<X
$(section ftd-protocol.7 FRAMES | grep -v ' Ta ' | sed -n 's/^\.It //p' | sed -E 's/\([PS, ]*\)//g' | tr ', ' '\n\n' | grep .)
X
facts protocol-version | same "version" ftd-protocol.7 3<<X
$(section ftd-protocol.7 VERSIONS | sed -nE 's/^This is version ([0-9]+)\.$/\1/p')
X
facts reason | same "number of a reason" ftd-protocol.7 3<<X
$(section ftd-protocol.7 FRAMES | tr '\n' ' ' | sed -E 's/.*Reasons are ([^.]*)\..*/\1/' | tr ',' '\n' | sed 's/^ *//')
X
sed -n '/^static const struct peer_method_entry/,/^};/p' daemon/service-io.c | grep -oE '\{ "[A-Za-z]+"' | tr -d '{ "' | same "call between daemons" ftd-protocol.7 3<<X
$(section ftd-protocol.7 "DAEMON TO DAEMON" | grep '^\.It' | grep -oE 'Fn [A-Za-z]+' | cut -d ' ' -f 2)
X
for name in org.ftd org.ftd.Guard; do
	facts "$name" | same "$name" ftd-protocol.7 3<<X
$(section ftd-protocol.7 VARLINK "$name" | sed -n '/^\.Bd/,/^\.Ed/p' | sed '/^\./d' | awk '/^  / { printf " %s", substr($0, 3); next } NR > 1 { print "" } { printf "%s", $0 } END { print "" }')
X
done
# An error that the daemon can answer with has an exit status; only "nobody answers" is the client's own.
facts org.ftd-error | same "error of org.ftd" ftctl.1 3<<X
$(section ftctl.1 "EXIT STATUS" | sed -nE 's/^\.It [0-9]+ Pq (.*)/\1/p' | grep -vx NoDaemon)
X

# -- references
grep -rnE '\b(ftctl|ftd(\.conf|-[a-z]+)?)\([1-9]\)' README.md HACKING.md daemon policy proxy checkpoint qmp contrib tests --include='*.[ch]' --include='*.md' --include='*.sh' |
	grep -oE '^[^:]*:[0-9]+|\b(ftctl|ftd(\.conf|-[a-z]+)?)\([1-9]\)(,? ([A-Z]{3,}( [A-Z]{3,})*))?' |
	while read -r word rest; do
		case $word in
		*:[0-9]*) where=$word; continue ;;
		esac
		name=${word%%(*} number=${word##*(}
		page=$name.${number%%)*}
		heading=$(echo "$rest" | sed 's/^, *//')
		[ -f "man/$page" ] || echo "$where: there is no man/$page" >>"$tmp/problems"
		[ -z "$heading" ] || grep -qxF ".Sh $heading" "man/$page" || echo "$where: $page has no section $heading" >>"$tmp/problems"
	done
grep -nE '^\.(Pq )?Xr (ftctl|ftd)' man/*.[1-9] | sed -E 's/:\.(Pq )?Xr / /' | while read -r where name number rest; do
	[ -f "man/$name.$number" ] || echo "$where: there is no man/$name.$number" >>"$tmp/problems"
done
cat "$tmp/problems"
echo "$(wc -l <"$tmp/compared") facts compared"
[ ! -s "$tmp/problems" ]
