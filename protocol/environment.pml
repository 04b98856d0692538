/* The environment of the model sandboxd.pml: the port, all that the tables do not say about the
 * daemon and the host, and the properties. docs/model.md explains it.
 *
 * PART is a part of the model: it selects messages and events. In the part TRACES, the messages are
 * those of recorded conversations. -DLIVENESS selects the properties in temporal logic. Without it,
 * the assertions are checked. */
#ifndef CHANNEL
#define CHANNEL 2
#endif

/* Bytes that are no message. FILLER completes half a frame; with contents of 1, to a valid one.
 * Otherwise it is malformed. HALF plus a type is a message whose last bytes are missing. */
#define FILLER 100
#define HALF 101

/* Modes of the host. It sends; it only reads; it does neither. */
#define ACTIVE 0
#define QUIET 1
#define DEAF 2

/* Phases of the command. An endless one exits only when it is killed or terminated. */
#define STARTING 1
#define ENDLESS 2
#define RUNS 3
#define EXITED 4

#define PORT 1
#define COMMANDS 2
#define REQUESTS 3
#define TRACES 4

/* The conditions of the tables. */
#define session_own_nonce(side, id, contents) (side == GUEST || contents == nonce[HOST])
#define session_free(side, id, contents) (!is_active(side, 1) && !is_active(side, 2) && !is_active(side, 3))
#define session_malformed(side, id, contents) (contents == WHEN_MALFORMED)
#define command_busy(side, id, contents) (contents == WHEN_BUSY)
#define command_stdout(side, id, contents) (contents == WHEN_STDOUT)
#define command_stderr(side, id, contents) (contents == WHEN_STDERR)
#define is_active(side, id) \
	(command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING)

/* A nonce is fresh if no `hello` or `ready` with it can arrive. */
#define is_fresh(n) \
	(nonce[GUEST] != n && (half != M_HELLO || half_contents != n) && \
	 !to_guest ?? [M_HELLO, any_amount, n, any_amount] && \
	 !to_guest ?? [eval(HALF + M_HELLO), any_amount, n, any_amount] && \
	 !to_host ?? [M_READY, any_amount, n, any_amount])

#if PART == TRACES
#include "traces.pml"
#else
#define is_left_out(type) \
	(PART == COMMANDS \
		 -> type == M_RESUME || type == M_KEEP || type == M_PING || type == M_STATUS_REQUEST \
		 : type == M_EXEC_OUTPUT || type == M_EXEC_STDIN_CREDIT || type == M_EXEC_STDIN_CLOSED || \
		   type == M_EXEC_SIGNAL || type == M_EXEC_TERMINATE || type == M_EXEC_RESIZE || \
		   type == M_EXEC_CREDIT || type == M_EXEC_STDIN)
#define is_recorded(side, type, id, contents, amount) true
#define may_read(side) true
#define is_free(side) false
#define new_nonce(side) (side == GUEST -> nonce[GUEST] : (is_fresh(1) -> 1 : (is_fresh(2) -> 2 : 3)))
#define record(side) skip
#define is_due(next) true
#define has_output(stream) true
#endif

/* A random run would be short, or full of `hello`, without these limits. */
#ifdef SIMULATION
#define is_patient (session[HOST] > SESSION_GREETING)
#define may_break false
#else
#define is_patient true
#define may_break (mode == ACTIVE)
#endif

/* Half a frame would swallow a `hello`, so a host sends filler bytes before. */
#define may_send(side, type, id, contents, amount) \
	(is_recorded(side, type, id, contents, amount) && (is_free(side) || (!is_left_out(type) && \
	 (side == HOST -> host_may_send(type, contents, amount) : guest_may_send(type, id, contents, amount)))))
#define host_may_send(type, contents, amount) \
	(open && mode == ACTIVE && \
	 (type != M_HELLO || (!is_cut && (is_patient || session[HOST] == SESSION_NEW) && (is_fresh(1) || is_fresh(2) || is_fresh(3)))) && \
	 (type != M_EXEC_REQUEST || \
	  is_active(HOST, 1) + is_active(HOST, 2) + is_active(HOST, 3) < (PART == REQUESTS -> 2 : 1)) && \
	 (type == M_KEEP || type == M_EXEC_CREDIT -> contents != 0 : contents == 0) && \
	 (type != M_EXEC_CREDIT || amount != 0))

/* The command `id` cannot start, because another one runs. */
#define is_busy(id) (command[AT(GUEST, id)] == COMMAND_REQUESTED && running != id)
#define guest_may_send(type, id, contents, amount) \
	((type == M_READY && contents == 0 && renewing && phase != ENDLESS && phase != RUNS) || \
	 (type == M_PONG || type == M_STATUS) || \
	 (type == M_GOODBYE && (session[GUEST] == SESSION_CLOSING || may_break)) || \
	 (type == M_ERROR && id == 0 && contents == WHEN_MALFORMED && malformed) || \
	 (type == M_ERROR && id != 0 && contents == WHEN_BUSY && is_busy(id)) || \
	 (running == id && command_may_send(type, id, contents, amount)))
#define command_may_send(type, id, contents, amount) \
	((type == M_EXEC_FAILED && phase == STARTING) || \
	 (type == M_EXEC_OUTPUT && output && contents == output && amount != 0) || \
	 (type == M_EXEC_STDIN_CREDIT && (phase == ENDLESS || phase == RUNS) && !closed_input && amount != 0) || \
	 (type == M_EXEC_STDIN_CLOSED && phase != STARTING && !closed_input) || \
	 (type == M_EXEC_RESPONSE && phase == EXITED && (!output || (killed && !credit(GUEST, id)))))
#define credit(side, id) \
	((output == WHEN_STDOUT && stdout_credit[AT(side, id)] > 0) || \
	 (output == WHEN_STDERR && stderr_credit[AT(side, id)] > 0))

/* The daemon answers each message before it reads the next one. It reads nothing while it waits
 * for processes, nor after a `shutdown`. */
#define may_receive(side) \
	(may_read(side) && (side == HOST -> open && mode != DEAF : is_free(side) || guest_may_read))
#define guest_may_read \
	(len(to_host) < CHANNEL && !renewing && !freezing && !malformed && phase != STARTING && \
	 !ping_open[GUEST] && !status_request_open[GUEST] && !is_busy(1) && !is_busy(2) && !is_busy(3) && \
	 session[GUEST] != SESSION_CLOSING && session[GUEST] != SESSION_FINISHED)
#define is_searching \
	(seeking || session[GUEST] == SESSION_NEW || session[GUEST] == SESSION_SEARCHING)
#define drops(side) \
	(side == HOST -> false : is_searching && (type >= FILLER || (seeking && type != M_HELLO)))
#define is_taken(side) (side == GUEST && (type >= FILLER || half))

#include "sandboxd.pml"

byte mode, phase, running;    /* `running` is the id of the command, or 0 */
byte output;		      /* the stream of the command that has output, as a condition */
bool killed, closed_input;
bool open = true;	      /* a host has the port open */
bool is_cut;		      /* the channel to the guest ends with half a frame */
bool renewing, freezing;      /* the daemon waits until processes have exited, or are frozen */
bool seeking, malformed;      /* it drops all bytes before a `hello`; it has read a wrong frame */
byte half, half_id, half_contents, half_amount; /* the message whose first bytes it has read */
byte nonce[2];
byte count;

inline prepare(side) {
	if
	:: type == M_HELLO -> contents = new_nonce(HOST); nonce[HOST] = contents
	:: type == M_READY -> contents = new_nonce(GUEST)
	:: else
	fi
}

inline sent(side) {
	record(side);
	if
	:: type == M_READY -> renewing = false; nonce[GUEST] = 0; end_command(0)
	:: type == M_ERROR -> malformed = false
	:: type == M_EXEC_OUTPUT -> output = 0
	:: type == M_EXEC_STDIN_CLOSED -> closed_input = true
	:: type == M_EXEC_FAILED || type == M_EXEC_RESPONSE || type == M_GOODBYE -> end_command(0)
	:: else
	fi
}

inline received(side) {
	if
	:: type == M_HELLO -> renewing = true; seeking = false; nonce[GUEST] = contents; end_command(phase)
	:: type == M_READY -> nonce[HOST] = 0
	:: type == M_KEEP -> freezing = true
	:: type == M_EXEC_REQUEST && !running -> running = id; phase = STARTING
	:: type == M_EXEC_KILL || type == M_EXEC_TERMINATE ->
		killed = killed || type == M_EXEC_KILL;
		phase = (phase == ENDLESS -> RUNS : phase)
	:: else
	fi
}

inline refused(side) { REQUIRE(false, "fault: a side refuses this message\n") }
inline end_command(left) {
	phase = (left == ENDLESS || left == RUNS -> RUNS : 0);
	running = 0; output = 0; killed = false; closed_input = false
}
inline hold(message) { half = message; half_id = id; half_contents = contents; half_amount = amount }
inline release() { type = 0; id = 0; contents = 0; amount = 0; hold(0) }

/* Handles bytes that are no message. The rest of a frame arrives before all that follows it. */
inline take(side) {
	if
	:: type > FILLER -> hold(type - HALF)
	:: type == FILLER && half && contents == 1 ->
		to_guest ! half, half_id, half_contents, half_amount; turn(); release()
	:: type == FILLER -> malformed = true; release()
	:: else /* the rest of the half frame seems to be this message, which is lost */
	fi
}

/* Moves all messages to the guest but the last one behind it. */
inline turn() {
	count = len(to_guest) - 1;
	do
	:: count > 0 ->
		to_guest ? type, id, contents, amount; to_guest ! type, id, contents, amount; count--
	:: else -> break
	od
}

active proctype Host() {
end:	do
	:: host_sends()
	:: host_receives()
#if PART == PORT
	:: d_step { open && mode == ACTIVE && len(to_guest) < CHANNEL && session[HOST] < SESSION_CLOSING &&
		!to_guest ?? [FILLER, any_amount, any_contents, any_amount] ->
		printf("event: host sends %d 0 0 0\n", FILLER); to_guest ! FILLER, 0, 0, 0; is_cut = false; settle() }
	:: d_step { open && mode == ACTIVE && len(to_guest) < CHANNEL && is_cut ->
		printf("event: host sends %d 0 1 0\n", FILLER); to_guest ! FILLER, 0, 1, 0; is_cut = false; settle() }
#endif
#if PART == TRACES
	:: d_step { is_recorded(HOST, FILLER, 0, 0, 0) && len(to_guest) < CHANNEL ->
		printf("event: host sends %d 0 0 0\n", FILLER); to_guest ! FILLER, 0, 0, 0; record(HOST); settle() }
#elif !defined(SIMULATION)
	:: d_step { open && mode == ACTIVE -> mode = QUIET }
	:: d_step { open && mode == ACTIVE -> mode = DEAF }
#endif
	od
}

active proctype Guest() {
end:	do
	:: guest_sends()
	:: guest_receives()
	:: d_step { freezing -> freezing = false }
	od
}

active proctype Command() {
end:	do
	:: d_step { phase == STARTING && is_due(ENDLESS) -> phase = ENDLESS }
	:: d_step { phase == STARTING && is_due(RUNS) -> phase = RUNS }
	:: d_step { phase == RUNS && is_due(EXITED) -> phase = EXITED }
#if PART == COMMANDS || PART == TRACES
	:: d_step { running && (phase == ENDLESS || phase == RUNS) && !output && has_output(WHEN_STDOUT) -> output = WHEN_STDOUT }
	:: d_step { running && (phase == ENDLESS || phase == RUNS) && !output && has_output(WHEN_STDERR) -> output = WHEN_STDERR }
#endif
	od
}

#if PART == PORT
/* The host closes the port, bytes are lost in it, and a new host opens it. To continue a saved
 * machine is the same. */
active proctype Port() {
end:	do
	:: d_step { open && mode == ACTIVE && is_patient && session[GUEST] != SESSION_FINISHED ->
		printf("event: port closes\n");
		open = false; restart(HOST); nonce[HOST] = 0; settle() }
	:: d_step { !open && len(to_host) > 0 -> to_host ? type, id, contents, amount; settle() }
	:: d_step { !open && len(to_guest) > 0 && !is_cut ->
		turn(); to_guest ? type, id, contents, amount; is_cut = (type == FILLER); settle() }
	:: d_step { !open && len(to_guest) > 0 && !is_cut && !to_guest ?? [FILLER, any_amount, any_contents, any_amount] ->
		turn(); to_guest ? type, id, contents, amount; type = type + HALF;
		to_guest ! type, id, contents, amount; is_cut = true; settle() }
	:: d_step { !open && !seeking ->
		do
		:: len(to_guest) > 0 -> to_guest ? type, id, contents, amount
		:: else -> break
		od;
		release(); is_cut = false; seeking = true; settle() }
	:: d_step { !open -> printf("event: port opens\n"); open = true }
	od
}
#endif

/* A command that still runs, or that has exited and whose output waits for credit, has no
 * response yet. */
#define may_wait(side, id) \
	(running == id && (phase == ENDLESS || (phase == EXITED && output && !killed && !credit(side, id))))
#define is_answered(side, id) \
	(may_wait(side, id) || (!exec_request_open[AT(side, id)] && !is_active(side, id)))
#define all_answered(side) \
	(!hello_open[side] && !ping_open[side] && !status_request_open[side] && \
	 is_answered(side, 1) && is_answered(side, 2) && is_answered(side, 3))
/* The daemon has exited, or the host knows that the daemon has not read what it sent. */
#define is_over (session[GUEST] == SESSION_FINISHED || session[HOST] == SESSION_SEARCHING)

#if !defined(LIVENESS) && PART != TRACES
active proctype Rest() {
	timeout ->
	if
	:: is_over || (mode == DEAF && len(to_host) == CHANNEL)
	:: else -> REQUIRE(len(to_guest) == 0 && all_answered((mode == DEAF)),
			   "fault: nothing can happen, but a request is open\n")
	fi
}
#elif defined(LIVENESS)
#define is_killed (killed || to_guest ?? [M_EXEC_KILL, any_id, any_contents, any_amount])
#define is_terminated (to_guest ?? [M_EXEC_TERMINATE, any_id, any_contents, any_amount])
ltl hello { [] (mode == QUIET && session[HOST] == SESSION_GREETING ->
	<> (session[HOST] == SESSION_READY || is_over)) }
ltl shutdown { [] (mode == QUIET && session[HOST] == SESSION_CLOSING -> <> is_over) }
ltl kill { [] (mode == QUIET && is_killed -> <> (session_free(HOST, 0, 0) || is_over)) }
ltl terminate { [] (mode == QUIET && is_terminated -> <> (phase != ENDLESS || is_over)) }
ltl request { [] (mode == QUIET -> <> (all_answered(HOST) || is_over)) }
#endif
