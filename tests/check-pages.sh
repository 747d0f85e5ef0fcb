#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-pages.sh SOURCE-DIR BUILD-DIR TEST-REPORT FTCTL
# The pages that people look at, in a browser without a screen: well-formed, nothing fetched, nothing in its log, and what it shows is what it was given.
# Pictures are left in BUILD-DIR/pages for whoever wants to look.
set -eu
top=$1 out=$2/pages report=$(realpath "$3") ftctl=$(realpath "$4")
for tool in xmllint chromium-headless-shell jq; do
	command -v $tool >/dev/null || { echo "$tool is not installed (contrib/install-packages)"; exit 77; }
done
mkdir -p "$out"
out=$(realpath "$out")
cd "$top"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT

# browse URL OPTION...: its DOM, scripts done, and on standard error what it logs. As root it runs without a sandbox; the pages are our own.
browse() {
	url=$1
	shift
	HOME=$home timeout 60 chromium-headless-shell --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$home/profile" --enable-logging=stderr --v=0 \
		--virtual-time-budget=5000 "$@" "$url"
}
# The browser's own words about graphics and dbus are none of ours.
complaints() { grep -E 'CONSOLE|Refused|ERR_' "$1" || true; }
fails() {
	echo "not ok $*"
	exit 1
}
# counted FILE PATTERN: how often
counted() { grep -oE "$2" "$1" | wc -l; }

for which in primary ended hostile empty; do
	"$report" $which >"$out/report-$which.html"
	xmllint --noout "$out/report-$which.html" || fails "report $which is not well-formed"
	[ "$(xmllint --xpath "count(//@*[contains(' src href action data srcset ', concat(' ', local-name(), ' '))]) + count(//*[contains(' script iframe img link object ', concat(' ', local-name(), ' '))]) +
		count(//*[local-name()='style'][contains(., 'url(') or contains(., '@import')])" "$out/report-$which.html")" = 0 ] || fails "report $which fetches something"
	browse "file://$out/report-$which.html" --dump-dom >"$out/dom" 2>"$out/log" || fails "report $which: the browser ended badly"
	[ -z "$(complaints "$out/log")" ] || fails "report $which: $(complaints "$out/log")"
	for tag in rect line text tr; do
		[ "$(counted "$out/dom" "<$tag[ >]")" = "$(counted "$out/report-$which.html" "<$tag[ >]")" ] || fails "report $which: the browser sees another number of <$tag>"
	done
	browse "file://$out/report-$which.html" --window-size=1000,1750 --screenshot="$out/report-$which.png" >"$out/log" 2>&1
	[ "$(stat -c %s "$out/report-$which.png")" -gt 8000 ] || fails "report $which: no picture"
	echo "ok report $which"
done
browse "file://$out/report-primary.html" --window-size=1000,1750 --blink-settings=preferredColorScheme=0 --screenshot="$out/report-dark.png" >"$out/log" 2>&1
cmp -s "$out/report-primary.png" "$out/report-dark.png" && fails "the dark page is not dark"
echo "ok dark"

# -- the Cockpit page, served as Cockpit does, ftctl's part played from what a real one has printed: a pair with its primary on b; after the switchover b
# says what a, the standby's host, said before, with the names exchanged.
site=$home/site
mkdir -p "$site/base1" "$site/ftd"
cp contrib/cockpit/index.html contrib/cockpit/ftd.js contrib/cockpit/ftd.css "$site/ftd"
jq -e '.tools.index.label and .requires.cockpit' contrib/cockpit/manifest.json.in >"$out/log" || fails "manifest.json"
cp tests/cockpit/recorded-status "$home/status"
cp tests/cockpit/recorded-events "$home/events"
jq 'map(.host = "b" | .peer = "a")' tests/cockpit/recorded-standby >"$home/after"
"$ftctl" --help >"$home/help"
"$ftctl" --socket "$home/nobody" status 2>"$home/down" && fails "ftctl without ftd succeeds"
{
	printf 'const recorded = '
	for name in status after events help down; do jq -Rs --arg name $name '{($name): .}' "$home/$name"; done | jq -s add
	echo ';'
	cat tests/cockpit/cockpit.js
} >"$site/base1/cockpit.js"
/usr/bin/python3 tests/cockpit/serve.py "$site" "$home/port" &
server=$!
trap 'kill $server; rm -rf "$home"' EXIT
until [ -s "$home/port" ]; do sleep 0.1; done

# cockpit SCENARIO: its DOM in $out/dom, a picture beside
cockpit() {
	at="http://127.0.0.1:$(cat "$home/port")/ftd/index.html#$1"
	browse "$at" --window-size=1200,760 --screenshot="$out/cockpit-$1.png" --dump-dom >"$out/dom" 2>"$out/log" || fails "cockpit $1: the browser ended badly"
	[ -z "$(complaints "$out/log")" ] || fails "cockpit $1: $(complaints "$out/log")"
	if grep -o 'data-broken="[^"]*"' "$out/dom"; then fails "cockpit $1: its script broke"; fi
	if grep -q 'without \(superuser\|messages\)' "$out/dom"; then fails "cockpit $1: ftctl is called without administrative access, or its words are lost"; fi
}
shows() { grep -qE "$1" "$out/dom" || fails "$2: no $1 in $out/dom"; }
shows_not() { ! grep -qE "$1" "$out/dom" || fails "$2: $1 in $out/dom"; }
called() { grep -oE 'data-calls="[^"]*"' "$out/dom" | grep -qF "$1" || fails "$2: not called: $1"; }

cockpit show
for domain in $(jq -r '.[].domain' tests/cockpit/recorded-status); do shows "<th scope=\"row\">$domain</th>" "cockpit show"; done
shows 'badge good">protected' "cockpit show"
shows "<td class=\"n\">$(jq -r '.[0] | "\(.pause_p50_ms * 10 | round / 10)"' tests/cockpit/recorded-status | sed 's/^[0-9]*$/&.0/') / " "cockpit show"
shows '<section id="events">' "cockpit show"
shows_not 'ftctl (switch|fail)over' "cockpit show"
echo "ok cockpit shows the pairs"
cockpit ask
shows '<dialog id="ask"[^>]* open' "cockpit ask"
shows_not 'data-calls="[^"]*(switch|fail)over' "cockpit ask"
echo "ok cockpit asks first"
cockpit switch
called "ftctl switchover vm1" "cockpit switch"
shows 'id="done"[^>]*>vm1 runs on a\.' "cockpit switch"
shows '<td>standby</td><td>a</td>' "cockpit switch"
echo "ok cockpit switches over"
cockpit old
called "ftctl failover vm1" "cockpit old"
echo "ok cockpit fails over where ftctl knows no switchover"
cockpit refused
shows 'id="failed"[^>]*>switchover vm1: the standby is not fit' "cockpit refused"
shows 'badge good">protected' "cockpit refused"
echo "ok cockpit says why it was refused"
cockpit down
shows 'id="trouble"[^>]*>status: ' "cockpit down"
cockpit missing
shows 'ftctl is not installed' "cockpit missing"
echo "ok cockpit says what is wrong"
