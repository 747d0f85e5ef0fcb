/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.ftd.Guard: what a guard answers on its control socket. ftd is the only caller. */
#pragma once

#define GUARD_INTERFACE "org.ftd.Guard"
/* <state>/pairs/<uuid>.silent is there from a standby's guard's start until its copy speaks to the LAN: whoever finds it without a guard, after a reboot too, knows that
 * nobody has ever heard this copy. */
#define GUARD_SILENT_SUFFIX ".silent"
#define GUARD_INTERFACE_DESCRIPTION \
"# One side of one protected domain. ftd is the only caller; people use org.ftd.\n" \
"interface org.ftd.Guard\n" \
"\n" \
"# Everything there is to know, see ftctl(1) STATUS for the members.\n" \
"method Status() -> (status: object)\n" \
"\n" \
"# Primary: the flows with the most bytes, see ftctl(1) FLOWS for the members.\n" \
"method Flows() -> (flows: []object)\n" \
"\n" \
"# What this side has done since the pair was made, see ftctl(1) TIMELINE for the members.\n" \
"method History() -> (history: object)\n" \
"\n" \
"# Primary: attach to QEMU, copy disks and memory, arm the pair. With more: progress replies\n" \
"# {phase: connect|attach|disk|memory|arm, done: int, total: int, same: ?int}; the last reply comes when the pair is protected.\n" \
"# Standby: prepares QEMU and answers {port} when its link listener is ready for the primary.\n" \
"method Start() -> (port: ?int, phase: ?string, done: ?int, total: ?int, same: ?int)\n" \
"\n" \
"# Primary: end protection, this side goes on alone. Replies when the domain is as it was before.\n" \
"method Disable() -> ()\n" \
"\n" \
"# Standby: take over now (the arbiter is asked first). Replies when this side is the only one.\n" \
"method Failover() -> ()\n" \
"\n" \
"# Primary: hand over to the standby in good order. Replies when the standby owns the domain and this copy is gone.\n" \
"method Switchover() -> ()\n" \
"\n" \
"# Primary, from the next epoch on: auto, colo or passive; both lists of flow patterns, comma separated. What is left out stays.\n" \
"method Set(mode: ?string, bypass: ?string, never_compare: ?string) -> ()\n" \
"\n" \
"# The domain was shut down or destroyed on purpose: end without a failover.\n" \
"method GuestEnded() -> ()\n" \
"\n" \
"# Standby: end, for the primary's host wants another one. Refused while it takes over.\n" \
"method EndStandby() -> ()\n" \
"\n" \
"# The primary's guest panicked, or a disk of its host reports errors: the standby takes over.\n" \
"method GuestPanicked() -> ()\n" \
"method DiskFailed() -> ()\n" \
"\n" \
"# The primary's CPUs stopped at that time of the wall clock. Unless a checkpoint did it, the domain was suspended: no checkpoints until it is resumed.\n" \
"method GuestStopped(time_us: int) -> ()\n" \
"# When they were started, last. More often since that stop than by checkpoints: somebody has resumed the domain.\n" \
"method GuestStarted(times_us: []int) -> ()\n" \
"method GuestResumed() -> ()\n" \
"# The primary's guest has switched itself off or panicked: until it is started again, or for a second, no checkpoint begins.\n" \
"method GuestOff(off: bool) -> ()\n" \
"\n" \
"# With more: every event from now on, and first the last ones kept.\n" \
"method Events() -> (event: object)\n" \
"\n" \
"error Failed (message: string)\n"
