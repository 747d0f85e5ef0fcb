/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.ftd: what the daemon answers on <run>/ftd.sock. ftctl(1) is a client of it; so is varlinkctl. */
#pragma once

#define FTD_INTERFACE "org.ftd"
#define FTD_INTERFACE_DESCRIPTION \
"# Fault tolerance for domains of this host. Every error carries a message that names the cause and the way out.\n" \
"interface org.ftd\n" \
"\n" \
"type Finding (error: string, message: string)\n" \
"\n" \
"# May the domain (name or UUID) be protected by that host? Nothing is changed. No findings: yes.\n" \
"# Warnings are in the way of nothing.\n" \
"method Check(domain: string, peer: string) -> (findings: []Finding, warnings: []string)\n" \
"\n" \
"# Protect a running domain. With more: {phase: check|prepare|connect|attach|disk|memory|arm, done, total} until it is protected.\n" \
"# Without a mode it is that of ftd.conf.\n" \
"method Enable(domain: string, peer: string, mode: ?string) -> (phase: ?string, done: ?int, total: ?int)\n" \
"\n" \
"# Change how a domain is protected, on either of its hosts. mode: auto, colo or passive.\n" \
"method Set(domain: string, mode: string) -> ()\n" \
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
"# changed, with how long the domain stood. With more: {phase, done, total}, from the host that leads only.\n" \
"# Switchover: the standby takes over, nothing is lost. TestFailover: as after a loss. TestRestartSecondary: the standby gives up and another is made.\n" \
"# MigrateSecondary: the standby moves to that host.\n" \
"method Switchover(domain: string) -> (host: ?string, gap_ms: ?int, phase: ?string, done: ?int, total: ?int)\n" \
"method TestFailover(domain: string) -> (host: ?string, gap_ms: ?int, phase: ?string, done: ?int, total: ?int)\n" \
"method TestRestartSecondary(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int)\n" \
"method MigrateSecondary(domain: string, peer: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int)\n" \
"\n" \
"# End the protection for a while, and begin it again, with the same host and mode. Asked on either host; they answer with the domain's.\n" \
"method Suspend(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int)\n" \
"method Resume(domain: string) -> (host: ?string, phase: ?string, done: ?int, total: ?int)\n" \
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
"error Unprotected (message: string)\n"
