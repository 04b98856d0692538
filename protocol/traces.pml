/* Lets recorded conversations drive the model, if PART is TRACES. docs/model.md explains it.
 *
 * The program reads the file `traces`. It searches for runs of the model in which the host sends
 * and receives the messages of a trace in the recorded order, and the guest sends the messages
 * that the host has received. For each trace, it prints how many of its first events such a run
 * can contain. */
#define NUMBER int
#define MANY 1073741824
#define SOME(side) NEXT(side, size)
#define NEXT(side, field) c_expr { TRACE.sent[side][now.told[side]].field }

/* A trace contains the id of each message, so a side sends its next message only with this id.
 * Other runs of the model try each id. */
#define WITH_IDS(side, chooses) :: chooses(next_id[side])
#define IS_NEXT(side, id) true
#define session_free(side, id, contents) \
	(side == HOST -> c_expr { HOST_IS_FREE } : c_expr { GUEST_IS_FREE })

/* A run ends when a side refuses a message. */
#define REQUIRE(right, words) if :: right :: else -> is_stuck = true fi

/* True while the run can continue, and messages of the trace are left. */
#define is_open (has_begun && !is_stuck && c_expr { !IS_OVER })

/* True if the host cannot continue before the guest sends or reads a message. The guest takes its
 * steps only then, because earlier steps would make no difference. */
#define is_needed (len(to_guest) == CHANNEL || (len(to_host) == 0 && c_expr { !HAS_READ }))

/* True if only the tables, and no other rule of the environment, limit what the side does. */
#define is_free(side) (side == HOST || c_expr { TRACE.is_free })
#define is_left_out(type, contents, amount) false

/* True if this message is the next one that the side sends, and the side can send it now. */
#define is_recorded(side, type, id, contents, amount) \
	(is_open && NEXT(side, kind) == type && \
	 (type == M_HELLO || type == M_READY || type == M_EXEC_REQUEST || NEXT(side, condition) == contents) && \
	 NEXT(side, size) == amount && is_recorded_id(side, type, id) && \
	 (side == HOST -> c_expr { HAS_READ } : \
	  is_needed && (type != M_READY || is_free(side) || NEXT(side, nonce) == nonce[GUEST])))
#define is_recorded_id(side, type, id) \
	(next_id[side] == id && (id != 0 || NEXT(side, number) == 0) && \
	 (type != M_EXEC_REQUEST || NEXT(side, number) > last_id))
#define new_nonce(side) NEXT(side, nonce)
#define is_beside(id) (NEXT(HOST, condition) != 0)
#define may_read(side) (is_open && (side == HOST -> c_expr { MAY_READ } : is_needed))

/* True if the command must take this step before the guest can send its next message. */
#define is_due(next, id) \
	((next == RUNS && !(NEXT(GUEST, kind) == M_EXEC_FAILED && next_id[GUEST] == id)) || \
	 (next == EXITED && NEXT(GUEST, kind) == M_EXEC_RESPONSE))
#define has_output(stream, id) \
	(NEXT(GUEST, kind) == M_EXEC_OUTPUT && NEXT(GUEST, condition) == stream)

/* Records that the side has sent its next message. */
#define record(side) \
	if \
	:: type == M_HELLO -> last_id = 0 \
	:: type == M_EXEC_REQUEST -> last_id = NEXT(HOST, number) \
	:: else \
	fi; \
	told[side]++; \
	advance()
#define advance() next_id[0] = NEXT(0, slot); next_id[1] = NEXT(1, slot)

c_decl {
	\#include <limits.h>
	\#include <stdio.h>
	\#include <stdlib.h>

	/* A message. `number` is its id in the recording, and `slot` is its id in the model.
	 * `after` is the number of messages of the other side that precede it in the recording. */
	struct recorded { int kind, number, slot, condition, size, nonce, after; };

	/* A trace. If `is_free`, only the tables limit what the guest sends. */
	struct trace { int is_free, length[2], events; struct recorded *sent[2]; };

	static struct trace *traces;
	static int trace_count;

	static void print_traces(void)
	{
		for (int i = 0; i < trace_count; i++)
			printf("trace %d: %d\n", i, traces[i].events);
	}

	static void read_traces(void)
	{
		FILE *file = fopen("traces", "r");
		if (!file || fscanf(file, "%d", &trace_count) != 1)
			exit(2);
		traces = calloc(trace_count, sizeof *traces);
		for (struct trace *t = traces; t < traces + trace_count; t++) {
			fscanf(file, "%d %d %d", &t->is_free, &t->length[0], &t->length[1]);
			for (int side = 0; side < 2; side++) {
				struct recorded *r = calloc(t->length[side] + 1, sizeof *r);
				t->sent[side] = r;
				for (int i = 0; i < t->length[side]; i++, r++)
					fscanf(file, "%d %d %d %d %d %d %d", &r->kind, &r->number, &r->slot,
					       &r->condition, &r->size, &r->nonce, &r->after);
				r->after = INT_MAX;
			}
		}
		atexit(print_traces);
	}

	\#define TRACE traces[now.chosen]
	\#define READ (now.told[1] - q_len(now.to_host))
	\#define NEXT_AFTER TRACE.sent[0][now.told[0]].after
	\#define HAS_READ (READ >= NEXT_AFTER)
	\#define MAY_READ (now.told[0] == TRACE.sent[1][READ].after)
	\#define EVENTS (now.told[0] + (READ < NEXT_AFTER ? READ : NEXT_AFTER))
	\#define IS_OVER (TRACE.events == TRACE.length[0] + TRACE.length[1])
	\#define IS_NEWS (EVENTS > TRACE.events)
	\#define IS_LAST (now.chosen + 1 == trace_count)
}

c_code {
	/* Returns true if all requests that a side has sent or received are answered. */
	static int is_idle(int side)
	{
		for (int i = side * IDS; i < (side + 1) * IDS; i++)
			if (now.exec_request_open[i])
				return 0;
		return 1;
	}
	\#define HOST_IS_FREE is_idle(0)
	\#define GUEST_IS_FREE is_idle(1)
}

int chosen;		/* the trace */
int told[2];		/* number of messages that each side has sent */
byte next_id[2];	/* the model's id of the next message of each side */
short last_id;		/* the id of the last request in the recording */
bool has_begun, is_stuck;

/* Chooses a trace, and notes how many of its events have happened. */
active proctype Trace() {
	c_code { read_traces(); };
	do
	:: d_step { c_expr { !IS_LAST } -> chosen++ }
	:: d_step { advance(); has_begun = true }; break
	od;
end:	do
	:: d_step { !is_stuck && c_expr { IS_NEWS } -> c_code { TRACE.events = EVENTS; } }
	od
}
