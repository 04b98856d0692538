/* The environment of the model files.pml: the process `carry`, its two streams, all that the tables
 * do not say about host and guest, and the properties. docs/model.md explains it. */

/* Modes of the host. FREE: the host may close the input or kill `carry`. WAITS: it only waits for the
 * answer. DEAF: it never reads again. */
#define FREE 0
#define WAITS 1
#define DEAF 2

/* The conditions of the tables. A side knows by its own counter that only the outermost file or
 * folder is left. */
#define is_content(side, contents, kind) (contents == kind && transfer[side] != TRANSFER_LISTING)
#define transfer_put(side, id, contents) (contents == WHEN_PUT)
#define transfer_list(side, id, contents) (contents == WHEN_LIST)
#define transfer_change(side, id, contents) (contents == WHEN_CHANGE)
#define transfer_file(side, id, contents) is_content(side, contents, WHEN_FILE)
#define transfer_folder(side, id, contents) is_content(side, contents, WHEN_FOLDER)
#define transfer_outermost(side, id, contents) (incomplete[side] == 1)

/* When the host waits for the answer, every run must end. So nothing fails, and a tree gets no more
 * entries or data, except its first entry. */
#define is_first(side) (transfer[side] == TRANSFER_SENDING || transfer[side] == TRANSFER_WRITING)
#define may_send(side, type, id, contents, amount) \
	((side == HOST -> input_open : running) && (type != M_WHOLE || contents == 0) && \
	 (mode != WAITS || type != M_FAILURE) && \
	 (mode == FREE || is_first(side) || (type != M_ENTRY && type != M_DATA)))

/* `carry` reads only the request and the host's tree. After its answer, it can read the rest. */
#define is_reading \
	(transfer[GUEST] == TRANSFER_NEW || transfer[GUEST] == TRANSFER_WRITING || \
	 transfer[GUEST] == TRANSFER_WRITING_FILE || transfer[GUEST] == TRANSFER_WRITING_FOLDER || \
	 transfer[GUEST] == TRANSFER_FINISHED)
#define may_receive(side) (side == HOST -> mode != DEAF : running && is_reading)
#define drops(side) (side == GUEST && !running)
#define is_taken(side) false

#include "files.pml"

byte mode;
bool input_open = true; /* the host has not closed the standard input of `carry` */
bool running = true;	/* `carry` has not exited yet */
bool is_cut;		/* `carry` has exited without an answer, because of the host */

inline take(side) { skip }
inline prepare(side) { skip }
inline sent(side) { skip }
inline received(side) { skip }
inline refused(side) { REQUIRE(false, "fault: a side refuses this message\n") }
inline leave() { running = false; is_cut = (transfer[GUEST] != TRANSFER_FINISHED); settle() }

active proctype Host() {
end:	do
	:: host_sends()
	:: host_receives()
	:: d_step { mode == FREE && input_open -> printf("event: input closes\n"); input_open = false }
	:: d_step { mode == FREE && running -> printf("event: carry exits\n"); leave() }
	:: d_step { mode == FREE -> mode = WAITS }
	:: d_step { mode == FREE -> mode = DEAF }
	od
}

active proctype Guest() {
end:	do
	:: guest_sends()
	:: guest_receives()
	:: d_step { running && is_reading && !input_open && len(to_guest) == 0 ->
		printf("event: carry exits\n"); leave() }
	:: d_step { running && transfer[GUEST] == TRANSFER_FINISHED -> running = false; settle() }
	od
}

#define is_over (transfer[HOST] == TRANSFER_FINISHED || is_cut)

#ifndef LIVENESS
active proctype Rest() {
	timeout ->
	if
	:: mode == DEAF && (len(to_host) > 0 || !running)
	:: else -> REQUIRE(is_over && len(to_host) == 0 && len(to_guest) == 0 && !running,
			   "fault: nothing can happen, but a request is open\n")
	fi
}
#else
ltl outcome { [] (mode == WAITS -> <> is_over) }
#endif
