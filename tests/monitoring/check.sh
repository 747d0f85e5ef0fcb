#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check.sh SOURCE-DIR TEST-METRICS MAN-FACTS
# Others than ourselves can read the metrics: Prometheus' own linter, another implementation's parser of OpenMetrics; and the alert rules and the
# dashboard speak of metrics that there are.
set -eu
export LC_ALL=C
top=$1 metrics=$(realpath "$2") facts=$(realpath "$3")
cd "$top"
for tool in promtool /usr/bin/python3 jq; do
	command -v $tool >/dev/null || { echo "$tool is not installed (contrib/install-packages)"; exit 77; }
done
/usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || { echo "python3-prometheus-client is not installed (contrib/install-packages)"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$metrics" prometheus >"$tmp/prometheus"
promtool check metrics <"$tmp/prometheus"
"$metrics" openmetrics >"$tmp/openmetrics"
/usr/bin/python3 - "$tmp/openmetrics" "$tmp/prometheus" <<'P'
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

def samples(families):
    return sorted((s.name, sorted(s.labels.items()), s.value) for f in families for s in f.samples)

one = samples(openmetrics(open(sys.argv[1]).read()))
other = samples(prometheus(open(sys.argv[2]).read()))
assert one == other and len(one) > 40, "the two formats do not say the same"
print(len(one), "samples in both formats")
P

promtool check rules contrib/monitoring/ftd-alerts.yml
promtool test rules tests/monitoring/alerts-test.yml
"$facts" | sed -n 's/^metric \([a-z_]*\) .*/\1/p' | sort -u >"$tmp/have"
jq -e '.panels | length > 10' contrib/monitoring/ftd-grafana.json >"$tmp/panels"
{
	jq -r '.. | .expr? // empty' contrib/monitoring/ftd-grafana.json
	sed -n 's/^ *expr: //p' contrib/monitoring/ftd-alerts.yml
} >"$tmp/expressions"
# Each expression is one that Prometheus can parse, as a rule of its own.
{
	echo 'groups: [{name: dashboard, rules: ['
	sed 's/\$__rate_interval/5m/g; s/\$__range/1h/g; s/\\/\\\\/g; s/"/\\"/g; s/.*/{record: "x:y", labels: {n: "LINE"}, expr: "&"},/' "$tmp/expressions" | awk '{ sub("LINE", NR); print }'
	echo ']}]'
} >"$tmp/rules.yml"
promtool check rules "$tmp/rules.yml"
grep -oE '\bftd_[a-z_]+' "$tmp/expressions" | sort -u >"$tmp/used"
if comm -23 "$tmp/used" "$tmp/have" | grep .; then
	echo "these metrics are used in contrib/monitoring and do not exist"
	exit 1
fi
echo "$(wc -l <"$tmp/used") metrics used of $(wc -l <"$tmp/have")"
