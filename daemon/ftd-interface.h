/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.ftd: what the daemon answers on <run>/ftd.sock. ftctl(1) is a client of it; so is varlinkctl. */
#pragma once

#define FTD_INTERFACE "org.ftd"
#define FTD_INTERFACE_DESCRIPTION \
"# Fault tolerance for domains of this host. Every error carries a message that names the cause and the way out.\n" \
"interface org.ftd\n" \
"\n" \
"# One requirement, or one obstacle of it. state: ok, warning, refused, or unknown where it was not looked at.\n" \
"# reason: see ftctl(1), CHECKS; error: of a refusal. found: what there is; mend: the way out.\n" \
"type CheckRow (requirement: string, state: string, reason: ?string, error: ?string, found: string, mend: ?string)\n" \
"\n" \
"# May the domain (name or UUID) be protected, by that host? Nothing is changed. Yes, if no row is refused.\n" \
"method Check(domain: string, peer: ?string) -> (rows: []CheckRow)\n" \
"\n" \
"# Protect a running domain. With more: {phase: check|prepare|connect|attach|disk|memory|arm, done, total, same} until it is protected. same: there are\n" \
"# images from an earlier time, which are compared; so many bytes are not sent.\n" \
"# mode: auto, colo or passive; bypass, never_compare: flow patterns, comma separated, see ftctl(1), PATTERNS. They are kept in the domain's\n" \
"# metadata. What is left out is as it was the last time; a mode that was never set is that of ftd.conf.\n" \
"method Enable(domain: string, peer: string, mode: ?string, bypass: ?string, never_compare: ?string) -> (phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"\n" \
"# The same of a domain that is protected, from now on. An empty string takes a setting away.\n" \
"method Set(domain: string, mode: ?string, bypass: ?string, never_compare: ?string) -> ()\n" \
"\n" \
"# End protection; the domain goes on here, or on the host that is its primary.\n" \
"method Disable(domain: string) -> ()\n" \
"\n" \
"# A stale copy on this host may be started although another host has a newer one.\n" \
"method Forget(domain: string) -> ()\n" \
"\n" \
"# Let the standby take over now. With force, of a manual arbiter: let this host's copy go on alone, whatever the other host does.\n" \
"method Failover(domain: string, force: ?bool) -> ()\n" \
"\n" \
"# Steps of a pair that end with it protected again; asked on either of its hosts. They answer with the host that is its primary now, and, of one that has\n" \
"# changed, with how long the domain stood. With more: {phase, done, total, same}, from the host that leads only.\n" \
"# Switchover: the standby takes over, nothing is lost. TestFailover: as after a loss. TestRestartSecondary: the standby gives up and another is made.\n" \
"# MigrateSecondary: the standby moves to that host.\n" \
"method Switchover(domain: string) -> (host: ?string, gap_ms: ?int, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"method TestFailover(domain: string) -> (host: ?string, gap_ms: ?int, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"method TestRestartSecondary(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"method MigrateSecondary(domain: string, peer: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"\n" \
"# End the protection for a while, and begin it again, with the same host and mode. Asked on either host; they answer with the domain's.\n" \
"method Suspend(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"method Resume(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"\n" \
"# The hosts of the pool, see ftctl(1) for the members.\n" \
"method Hosts() -> (hosts: []object)\n" \
"\n" \
"# Every pair of this host moves away, one after the other, and none comes any more. undo: they may come. With more: {phase, done, total, domain}.\n" \
"method Drain(undo: ?bool) -> (moved: ?int, phase: ?string, done: ?int, total: ?int, domain: ?string)\n" \
"\n" \
"# Everything there is to know of one domain, or of all: see ftctl(1), STATUS, for the members.\n" \
"method Status(domain: ?string) -> (host: string, version: string, domains: []object)\n" \
"\n" \
"# What the domain sends and how it was released, on its primary's host: see ftctl(1), FLOWS, for the members.\n" \
"method Flows(domain: string) -> (flows: []object)\n" \
"\n" \
"# What this host's side of the pair has done, also of one that has ended: see ftctl(1), TIMELINE, for the members.\n" \
"method History(domain: string) -> (history: object)\n" \
"\n" \
"# The last events {time, domain, type, text, ...}, one reply each; with follow: and every one from now on. Needs more.\n" \
"method Events(domain: ?string, follow: ?bool) -> (event: ?object)\n" \
"\n" \
"error Failed (message: string)\n" \
"error Usage (message: string)\n" \
"error Denied (message: string)\n" \
"error NoDomain (message: string)\n" \
"error NotRunning (message: string)\n" \
"error NotProtected (message: string)\n" \
"error AlreadyProtected (message: string)\n" \
"error NicVhost (message: string)\n" \
"error NicMultiqueue (message: string)\n" \
"error NicModel (message: string)\n" \
"error Device (message: string)\n" \
"error DiskKind (message: string)\n" \
"error QemuNoColo (message: string)\n" \
"error QemuVersion (message: string)\n" \
"error PeerUnreachable (message: string)\n" \
"error PeerCertificate (message: string)\n" \
"error PeerMemory (message: string)\n" \
"error PeerStorage (message: string)\n" \
"error ImageSize (message: string)\n" \
"error PeerUuidRunning (message: string)\n" \
"error ArbiterNotShared (message: string)\n" \
"error ArbiterSilent (message: string)\n" \
"error ArbiterDenied (message: string)\n" \
"error Protocol (message: string)\n" \
"error Timeout (message: string)\n" \
"error Qmp (message: string)\n" \
"error Libvirt (message: string)\n" \
"error Limit (message: string)\n" \
"error Config (message: string)\n" \
"error PeerCpu (message: string)\n" \
"error Unprotected (message: string)\n"
