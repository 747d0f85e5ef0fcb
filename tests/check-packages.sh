#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-packages.sh SOURCE-DIR OUTPUT-DIR      the ftd package is left there, for tests/lab/test-packages.sh
# The packages build from a clean export and have what `meson install` has; lintian finds neither error nor warning that is not overridden with a reason.
set -euo pipefail
export LC_ALL=C
top=$(readlink -f "$1")
out=$(mkdir -p "$2" && readlink -f "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=2" "$top/contrib/packaging/build-deb" "$work"
cd "$work"
rm -f "$out"/*.deb
cp ftd_*_amd64.deb "$out"
lintian --allow-root --display-level '>=warning' --fail-on error,warning ./*.changes

for package in ftd_*_amd64.deb cockpit-ftd_*_all.deb; do dpkg-deb --fsys-tarfile "$package" | tar -t; done | sed -n '/[^/]$/s|^\./||p' | grep -v '^usr/share/\(doc\|lintian\)/' | sed 's/\.gz$//; s|^lib/|usr/lib/|' | sort >have
sed 's/^[0-7]* //; s|^PREFIX|usr|' "$top/tests/installed-files.txt" | sort >want
diff want have

"$top/contrib/packaging/build-rpm" "$work" --nodeps --define '_smp_mflags -j2'
rpm -qp --list x86_64/ftd-*.rpm noarch/cockpit-ftd-*.rpm | sed 's|^/||; s/\.gz$//' | grep -v -e '^usr/share/\(doc\|licenses\)/' -e '^etc/ftd$' -e '^usr/share/\(cockpit/ftd\|ftd\(/monitoring\)\?\)$' -e '/\.build-id' | sort >have
# Fedora has no AppArmor; QEMU's part of it has always been there.
grep -v -e '^etc/apparmor.d/abstractions/ftd-guard$' -e '^etc/apparmor.d/usr.sbin.ftd$' want | diff - have

# An override without a reason is none.
for file in "$top"/contrib/packaging/debian/*.lintian-overrides; do
	awk '/^#/ { reason = 1; next } !reason { print FILENAME ": no reason for: " $0; bad = 1 } { reason = 0 } END { exit bad }' "$file"
done
