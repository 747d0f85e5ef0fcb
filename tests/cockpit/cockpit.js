/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plays Cockpit's cockpit.js (https://cockpit-project.org/guide/latest/cockpit-spawn) for tests/check-pages.sh: spawn() answers with what a real ftctl has
 * printed (recorded.js), and what stands behind # in the address says what is pressed and how it ends. What was called is written into the page's body.
 */
"use strict";
/* global recorded */
const scenario = location.hash.slice(1);
const calls = [];
let switched = false;

function answer(words) {
	switch (words[1]) {
	case "--help":
		return scenario === "old" ? recorded.help.replace(/^ *switchover .*\n/m, "") : recorded.help.replace(/^ *failover /m, "  switchover  let the standby take over\n$&");
	case "status":
		return switched ? recorded.after : recorded.status;
	case "events":
		return recorded.events;
	default:
		switched = true;
		return "";
	}
}

window.cockpit = {
	spawn(words, options) {
		calls.push(words.join(" ") + (options && options.superuser ? "" : " without superuser") + (options && options.err === "message" ? "" : " without messages"));
		document.body.dataset.calls = [...new Set(calls)].join(";");
		if (words[0] !== "ftctl")
			return Promise.reject(new Error("not ftctl"));
		if (scenario === "missing")
			return Promise.reject(Object.assign(new Error("not-found"), { problem: "not-found" }));
		if (scenario === "down" && words[1] !== "--help")
			return Promise.reject(Object.assign(new Error(recorded.down), { problem: null, exit_status: 10 }));
		if (scenario === "refused" && (words[1] === "switchover" || words[1] === "failover"))
			return Promise.reject(Object.assign(new Error("ftctl: switchover vm1: the standby is not fit"), { problem: null, exit_status: 1 }));
		return Promise.resolve(answer(words));
	},
};

/* The buttons, as soon as they are there. */
function press() {
	const button = document.querySelector("#pairs tbody button"), yes = document.getElementById("ask-yes");

	if (document.getElementById("ask").open)
		return scenario === "ask" ? undefined : yes.click();
	if (button && !button.disabled && !calls.some((c) => /^ftctl (switch|fail)over/.test(c)))
		button.click();
	setTimeout(press, 200);
	return undefined;
}
if (["ask", "switch", "old", "refused"].includes(scenario))
	addEventListener("load", () => setTimeout(press, 500));
addEventListener("error", (e) => { document.body.dataset.broken = e.message; });
addEventListener("unhandledrejection", (e) => { document.body.dataset.broken = String(e.reason); });
