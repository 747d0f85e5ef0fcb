#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-pages.sh SOURCE-DIR BUILD-DIR TEST-REPORT
# The pages that people look at, in a browser without a screen: well-formed, nothing fetched, nothing in its log, and what it shows is what it was given.
# Pictures are left in BUILD-DIR/pages for whoever wants to look.
set -eu
top=$1 out=$2/pages report=$(realpath "$3")
for tool in xmllint chromium-headless-shell; do
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
