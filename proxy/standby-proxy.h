/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The standby's proxy: gives the SVM each inbound frame in the epoch the PVM got it, tags what the SVM sends, and keeps it until its twin
 * has left, so that after a failover nobody waits for a retransmission. Pure.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct standby_proxy;

struct standby_proxy_limits {
	size_t max_inbound_bytes;	/* frames waiting for a later epoch; at it the oldest go (the guest's TCP repairs that), counted */
	size_t max_output_bytes;	/* SVM frames kept for a failover; at it the oldest go, counted */
};

enum standby_proxy_action_type {
	STANDBY_PROXY_INJECT,		/* write to f_inj of nic */
	STANDBY_PROXY_TO_PEER,		/* SVM frame: id, epoch, to be compared */
	STANDBY_PROXY_TO_LAN,		/* once it speaks: write to f_rel of nic */
};

struct standby_proxy_action {
	enum standby_proxy_action_type type;
	unsigned nic;
	uint64_t id, epoch;
	GBytes *frame;		/* owned by the action */
};

/* The SVM runs epoch 1 (the state of the initial migration is checkpoint 0). */
struct standby_proxy *standby_proxy_new(const struct standby_proxy_limits *limits);
void standby_proxy_free(struct standby_proxy *p);
typedef struct standby_proxy standby_proxy;	/* for g_autoptr() */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(standby_proxy, standby_proxy_free)

void standby_proxy_inbound(struct standby_proxy *p, uint64_t epoch, unsigned nic, GBytes *frame);	/* frame the PVM received in `epoch` */
/* A frame that the PVM died without having read: the SVM gets it when it is the VM, and by then nobody else has. */
void standby_proxy_stray(struct standby_proxy *p, unsigned nic, GBytes *frame);
/* What the PVM sent in `epoch` and its side, which gives up, did not let go: to the LAN when the SVM speaks if the state that takes over has sent it. */
void standby_proxy_unsent(struct standby_proxy *p, uint64_t epoch, unsigned nic, GBytes *frame);
void standby_proxy_output(struct standby_proxy *p, unsigned nic, GBytes *frame);			/* frame from f_cap */
void standby_proxy_stopped(struct standby_proxy *p);			/* the SVM stands for a load; f_cap is drained: what comes from it now is of the epoch after the load */
void standby_proxy_loaded(struct standby_proxy *p, uint64_t epoch);	/* the SVM runs epoch + 1: older kept output is forgotten, older inbound dropped */
/* Passive: the SVM runs only for moments after a load. Inbound frames wait for the take-over or for a load that has them in its state; output is not compared. Takes
 * effect with the next load. */
void standby_proxy_set_passive(struct standby_proxy *p, bool passive);
void standby_proxy_committed(struct standby_proxy *p, uint64_t epoch);	/* inbound frames up to it need not wait: they are in the state that is loaded before a take-over */
void standby_proxy_twin_left(struct standby_proxy *p, const uint64_t *ids, size_t n);
/* The SVM is the VM now: waiting inbound frames are injected, later ones at once; output is kept still. */
void standby_proxy_take_over(struct standby_proxy *p);
/* After it: all kept output goes to the LAN in order, later output at once. */
void standby_proxy_speak(struct standby_proxy *p);
/* The SVM runs again after it stood while the LAN's own frames came in: what filter-rewriter has kept goes on to it (half-open.h). */
void standby_proxy_push(struct standby_proxy *p, unsigned nic);

bool standby_proxy_next(struct standby_proxy *p, struct standby_proxy_action *out);
void standby_proxy_action_clear(struct standby_proxy_action *a);
/* Frames that went because of a limit. */
uint64_t standby_proxy_dropped(const struct standby_proxy *p);
