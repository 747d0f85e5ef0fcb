/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <stdbool.h>

/*
 * Removes from a primary's QEMU what a guard left there that vanished (it was killed, it crashed): its filters, whose far ends are gone, cut the guest
 * off, its mirror jobs can never end. To be called only when the domain here is the one that goes on. Blocks; from a job's thread. False: try again.
 */
bool guard_release_qemu(const char *libvirt_uri, const char *uuid, GError **error);
