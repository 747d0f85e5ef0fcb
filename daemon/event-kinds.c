/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/event-kinds.h"

/* 4 is for what costs protection or needs somebody to look, 5 for a change of who runs what, or what was asked for. */
static const struct event_kind kinds[] = {
	{ "enable", 5, "9595ab96da8740e89d916661b8f8f1a6" },
	{ "enable-failed", 4, "3f5f1c4a8d2a4fc785ca77853ddb2702" },
	{ "protected", 5, "9c532cf18be4456b848bd2617033dc8d" },
	{ "solo", 4, "f8e1e32135954a3a86786196db967ba5" },
	{ "take-over", 4, "1413d9707b9a469fbcba19f65c826bc0" },
	{ "took-over", 4, "f600aa1706d04c97933d8561c545b583" },
	{ "ended", 5, "bfbf4f7a4b194db094f5252def659c9e" },
	{ "suspended", 5, "019855c807c140d6ae92429db6f79ca7" },
	{ "resumed", 5, "4489c9247ed1491096e1440bc6cab2e7" },
	{ "abdicated", 4, "e6fd626c4f2548d4a8b23ee088b98706" },
	{ "denied", 4, "c92e4d04b754439cad9a0ef97dfdd6c7" },
	{ "claim", 5, "999e75d89504487cb3cdd55360f27374" },
	{ "orphan", 3, "92b1b8d5b47b46c0a44ccc73c5f6a13c" },
	{ "guard-gone", 4, "ba31b9c2f6ee4ccf9451e87221242045" },
	{ "watchdog", 3, "e7f6f75c540b406ab55b21bf41fa33e9" },
	{ "copy-unfit", 4, "5d0a4f0d1f57490f89487c28713658a6" },
	{ "operator", 5, "c811047767ba4349b178d7368e7ceb12" },
	{ "guest-ended", 5, "858da1b6742942f6a9a623de57e0b3ee" },
	{ "guest-panicked", 4, "84d876f6987c442aa4ec6a38ca8ce04b" },
	{ "guest-resumed", 5, "fab45704b28943cba90506ab39903e28" },
	{ "disk-error", 3, "6ac7ec3ad6b4403ca365a1b0e6de988e" },
	{ "certificate", 4, "96c6b45db32348fb9c1863084188c88c" },
	{ "self-heal", 5, "0e953bbe0ccf46f586bf5372de389647" },
	{ "self-heal-failed", 4, "75ee6b48dd764b96952362caa28ba8a9" },
	{ "uplink-lost", 4, "f4630756b5a7426aba480b62b18c9c69" },
	{ "operation", 5, "186e4c8c25f144b9822dbbf0d52dcb5b" },
	{ "switchover", 5, "b0e3830efbb14551975ede5a0c4c6973" },
	{ "switchover-off", 4, "a4570f16b9ea46cc9255f08000e70a96" },
	{ "hosts", 5, "e10d3e365f984cd9afdfff7b30894a02" },
	{ "error", 3, "77e6c5fec95a4a658d56bc25b7612bef" },
	{ "peer-error", 4, "73d0bf17832e4e6884cf04d48b77bb8c" },
};

static const struct event_kind unknown = { NULL, 6, NULL };

const struct event_kind *
event_kind_at(guint i)
{
	return i < G_N_ELEMENTS(kinds) ? &kinds[i] : NULL;
}

const struct event_kind *
event_kind_of(const char *type)
{
	for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
		if (g_strcmp0(kinds[i].type, type) == 0)
			return &kinds[i];
	return &unknown;
}
