/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows what `ftctl status --json` and `ftctl events --json` say, again and again, and offers a switchover. All text goes in as text: nothing that a domain, a
 * peer or a guest is called becomes markup. One command at a time of each kind: a slow ftd is asked less often, not twice.
 */
"use strict";
/* global cockpit */

const PERIOD_MS = 2000;
const EVENTS_SHOWN = 25;
const QUIET_EVENTS = ["phase", "linked", "state"];

const $ = (id) => document.getElementById(id);
const before = new Map();	/* the last figures of each pair, for rates */
let verb = "failover";		/* or "switchover", where ftctl has it */
let busy = false;		/* a switchover is under way */

function ftctl(...words) {
	return cockpit.spawn(["ftctl", ...words], { superuser: "try", err: "message" });
}

function make(tag, text, className) {
	const node = document.createElement(tag);

	if (text !== undefined)
		node.textContent = text;
	if (className)
		node.className = className;
	return node;
}

/* ftctl says on standard error what is wrong and what to do; without it there is Cockpit's own word for it. */
function whatIsWrong(exception) {
	if (exception.problem === "not-found")
		return "ftctl is not installed on this host.";
	if (exception.problem === "access-denied")
		return "Turn on administrative access, or join ftd's group.";
	return (exception.message || exception.problem || "ftctl failed").replace(/^ftctl: /, "");
}

function notice(id, text) {
	$(id).textContent = text || "";
	$(id).hidden = !text;
}

function stateClass(state) {
	if (state === "protected")
		return "good";
	return ["solo", "orphan", "deciding", "asking", "closing", "fenced", "unknown"].includes(state) ? "bad" : "warn";
}

function short(n) {
	for (const unit of ["B", "KiB", "MiB", "GiB"]) {
		if (n < 1000)
			return (n < 10 && unit !== "B" ? n.toFixed(1) : n.toFixed(0)) + " " + unit + "/s";
		n /= 1024;
	}
	return n.toFixed(1) + " TiB/s";
}

const figure = (n, digits) => (typeof n === "number" ? n.toFixed(digits) : "-");

/* Per second since the last look at the same pair, or null. */
function rate(d, key) {
	const was = before.get(d.uuid + d.role);
	const seconds = was ? (Date.now() - was.at) / 1000 : 0;

	if (!was || was.generation !== d.generation || typeof d[key] !== "number" || typeof was[key] !== "number" || seconds <= 0)
		return null;
	return Math.max(0, d[key] - was[key]) / seconds;
}

function stateCell(d) {
	const cell = make("td");
	const state = d.suspended ? "suspended" : d.state;

	cell.append(make("span", state, "badge " + (d.suspended ? "warn" : stateClass(d.state))));
	if (d.reason && d.reason !== "none" && d.state !== "protected")
		cell.append(make("span", d.reason_text || d.reason, "reason"));
	return cell;
}

function figures(d) {
	const primary = d.role === "primary", over = d.ended_at !== undefined;
	const perSecond = rate(d, primary ? "epochs" : "loads"), link = rate(d, "bytes_sent");
	const lag = primary ? d.commit_p50_ms : d.load_p50_ms;

	return [
		perSecond === null || over ? "-" : perSecond.toFixed(1),
		over || d.pause_p50_ms === undefined ? "-" : figure(d.pause_p50_ms, 1) + " / " + figure(d.pause_p99_ms, 1),
		over ? "-" : figure(lag, 1),
		link === null || over ? "-" : short(link),
	];
}

function actionCell(d) {
	const cell = make("td"), button = make("button", "Switch over");

	button.type = "button";
	button.disabled = busy || d.state !== "protected" || d.suspended === true;
	button.addEventListener("click", () => ask(d));
	cell.append(button);
	return cell;
}

function row(d) {
	const tr = make("tr");

	tr.dataset.domain = d.domain;
	tr.append(make("th", d.domain), stateCell(d), make("td", d.role), make("td", d.peer || "-"), make("td", d.mode || "-"));
	tr.firstChild.scope = "row";
	for (const text of figures(d))
		tr.append(make("td", text, "n"));
	tr.append(d.ended_at === undefined ? actionCell(d) : make("td"));
	return tr;
}

function remember(domains) {
	const at = Date.now();

	before.clear();
	for (const d of domains)
		before.set(d.uuid + d.role, { at, generation: d.generation, epochs: d.epochs, loads: d.loads, bytes_sent: d.bytes_sent });
}

function show(domains) {
	const focused = document.activeElement && document.activeElement.closest("tr[data-domain]");
	const name = focused && focused.dataset.domain;

	$("pairs").tBodies[0].replaceChildren(...domains.map(row));
	$("pairs").hidden = domains.length === 0;
	$("none").hidden = domains.length !== 0;
	$("host").textContent = domains.length && domains[0].host ? "on " + domains[0].host : "";
	for (const tr of $("pairs").tBodies[0].rows)
		if (name && tr.dataset.domain === name && tr.querySelector("button"))
			tr.querySelector("button").focus();
	remember(domains);
}

function showEvents(text) {
	const events = text.split("\n").filter(Boolean).map((line) => JSON.parse(line)).filter((e) => !QUIET_EVENTS.includes(e.type));
	const rows = events.slice(-EVENTS_SHOWN).reverse().map((e) => {
		const tr = make("tr");

		tr.append(make("td", new Date(e.time * 1000).toLocaleString(), "dim"), make("td", e.domain || ""), make("td", e.type), make("td", e.text));
		return tr;
	});

	$("events").querySelector("tbody").replaceChildren(...rows);
	$("events").hidden = rows.length === 0;
}

async function look() {
	try {
		show(JSON.parse(await ftctl("status", "--json")));
		showEvents(await ftctl("events", "--json"));
		notice("trouble", "");
	} catch (exception) {
		notice("trouble", whatIsWrong(exception));
	}
}

/* -- the switchover */

function ask(d) {
	const to = d.role === "primary" ? d.peer : d.host;

	$("ask-title").textContent = "Switch " + d.domain + " over to " + to + "?";
	$("ask-text").textContent = verb === "switchover"
		? "The domain continues on " + to + " without a lost packet, and the host it leaves becomes its standby."
		: "The domain continues on " + to + ", without protection until it is enabled again.";
	$("ask-yes").onclick = () => {
		$("ask").close();
		switchOver(d, to);
	};
	$("ask").showModal();
	$("ask-no").focus();
}

async function switchOver(d, to) {
	busy = true;
	notice("failed", "");
	notice("done", d.domain + " is being switched over to " + to + " ...");
	try {
		await ftctl(verb, d.domain);
		notice("done", d.domain + " runs on " + to + ".");
	} catch (exception) {
		notice("done", "");
		notice("failed", whatIsWrong(exception));	/* stays until the next try */
	}
	busy = false;
	await look();
}

async function begin() {
	$("ask-no").addEventListener("click", () => $("ask").close());
	try {
		if (/^ *switchover /m.test(await ftctl("--help")))
			verb = "switchover";
	} catch (exception) {
		notice("trouble", whatIsWrong(exception));
	}
	for (;;) {
		if (!busy && !document.hidden)
			await look();
		await new Promise((resolve) => setTimeout(resolve, PERIOD_MS));
	}
}

begin();
