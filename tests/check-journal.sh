#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-journal.sh SOURCE-DIR
# Every kind of event that has a MESSAGE_ID is in the journal's catalog and in ftd(8), with the same identifier, and each identifier once.
set -eu
export LC_ALL=C
cd "$1"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sed -nE 's/^\t\{ "([a-z-]+)", [3-6], "([0-9a-f]{32})" \},$/\1 \2/p' daemon/event-kinds.c | sort >"$tmp/code"
awk '/^# [a-z-]+$/ { type = $2 } /^-- / { print type, $2 }' contrib/systemd/ftd.catalog | sort >"$tmp/catalog"
awk '$1 == ".Sh" { on = $2 == "JOURNAL" } on && /^\.It/ { print $3, $5 }' man/ftd.8 | sort >"$tmp/man"
[ "$(wc -l <"$tmp/code")" -ge 20 ] || { echo "no kinds were found in daemon/event-kinds.c" >&2; exit 1; }
diff "$tmp/code" "$tmp/catalog"
diff "$tmp/code" "$tmp/man"
[ -z "$(cut -d ' ' -f 2 "$tmp/code" | sort | uniq -d)" ]
# A kind that nothing ever says is no kind.
cut -d ' ' -f 1 "$tmp/code" | while read -r type; do
	grep -qF "\"$type\"" $(ls daemon/*.c | grep -v event-kinds) || { echo "no event is of the type $type" >&2; exit 1; }
done
