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

/* The phases of a command. An ENDLESS command exits only after an `exec_kill` or `exec_terminate`,
 * which changes its phase to STOPPED. Only the part BESIDE distinguishes STOPPED from RUNS. */
#define STARTING 1
#define ENDLESS 2
#define RUNS 3
#define STOPPED (PART == BESIDE -> 4 : RUNS)
#define EXITED 5

#define PORT 1
#define COMMANDS 2
#define REQUESTS 3
#define TRACES 4
#define BESIDE 5
#define TURNS 6

/* MOST is the maximum number of commands that run at once. MOST_REQUESTS is the maximum number of
 * requests that the guest has not answered yet. */
#define MOST (PART == TRACES -> 64 : 2)
#define MOST_REQUESTS (PART == BESIDE -> 3 : (PART == REQUESTS || PART == TURNS -> 2 : 1))

/* The conditions of the tables. */
#define session_own_nonce(side, id, contents) (side == GUEST || contents == nonce[HOST])
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
#define is_about_input(type) \
	(type == M_EXEC_STDIN || type == M_EXEC_STDIN_CREDIT || type == M_EXEC_STDIN_CLOSED)
#define is_about_output(type) (type == M_EXEC_OUTPUT || type == M_EXEC_CREDIT)
#define is_signal(type) (type == M_EXEC_SIGNAL || type == M_EXEC_TERMINATE || type == M_EXEC_RESIZE)
#define is_about_session(type) (type == M_RESUME || type == M_PING || type == M_STATUS_REQUEST)
#if PART == COMMANDS
#define is_left_out(type, contents, amount) (is_about_session(type) || type == M_KEEP)
#elif PART == BESIDE
#define is_left_out(type, contents, amount) \
	(is_about_session(type) || type == M_SHUTDOWN || type == M_GOODBYE || is_about_input(type) || \
	 is_about_output(type) || is_signal(type))
#elif PART == TURNS
#define is_left_out(type, contents, amount) \
	(is_about_session(type) || type == M_KEEP || type == M_SHUTDOWN || type == M_GOODBYE || \
	 is_about_input(type) || is_signal(type) || type == M_EXEC_FAILED || contents == WHEN_STDERR || \
	 (type == M_EXEC_REQUEST && amount) || \
	 (type == M_HELLO && session[HOST] != SESSION_NEW))
#else
#define is_left_out(type, contents, amount) \
	(is_about_input(type) || is_about_output(type) || is_signal(type))
#endif
#define is_recorded(side, type, id, contents, amount) true
#define may_read(side) true
#define is_free(side) false
#define new_nonce(side) (side == GUEST -> nonce[GUEST] : (is_fresh(1) -> 1 : (is_fresh(2) -> 2 : 3)))
#define record(side) skip
#define is_due(next, id) true
#define has_output(stream, id) true
#define session_free(side, id, contents) \
	(!is_active(side, 1) && !is_active(side, 2) && !is_active(side, 3))
/* True if a request with this id has the flag `beside`. */
#define is_beside(id) ((PART == BESIDE && id != alone) || PART == TURNS)
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
	(is_recorded(side, type, id, contents, amount) && \
	 (is_free(side) || (!is_left_out(type, contents, amount) && \
	  (side == HOST -> host_may_send(type, contents, amount) : guest_may_send(type, id, contents, amount)))))
#define host_may_send(type, contents, amount) \
	(open && mode == ACTIVE && \
	 (type != M_HELLO || (!is_cut && (is_patient || session[HOST] == SESSION_NEW) && (is_fresh(1) || is_fresh(2) || is_fresh(3)))) && \
	 (type != M_EXEC_REQUEST || \
	  is_active(HOST, 1) + is_active(HOST, 2) + is_active(HOST, 3) < MOST_REQUESTS) && \
	 (type == M_KEEP || type == M_EXEC_CREDIT -> contents != 0 : contents == 0) && \
	 (type != M_EXEC_CREDIT || amount != 0))

/* True if the daemon has read the request with this id, and must answer it with `busy`. */
#define is_busy(id) (pending == id && !phase[id])
#define may_begin (!running || (running < MOST && is_together && contents))
#define guest_may_send(type, id, contents, amount) \
	((type == M_READY && contents == 0 && renewing && !leaving) || \
	 (type == M_PONG || type == M_STATUS) || \
	 (type == M_GOODBYE && (session[GUEST] == SESSION_CLOSING || may_break)) || \
	 (type == M_ERROR && id == 0 && contents == WHEN_MALFORMED && malformed) || \
	 (type == M_ERROR && id != 0 && contents == WHEN_BUSY && is_busy(id)) || \
	 (id != 0 && phase[id] && command_may_send(type, id, contents, amount)))
#define command_may_send(type, id, contents, amount) \
	((type == M_EXEC_FAILED && phase[id] == STARTING) || \
	 (type == M_EXEC_OUTPUT && output[id] && contents == output[id] && amount != 0 && has_turn(id)) || \
	 (type == M_EXEC_STDIN_CREDIT && is_process(id) && !closed_input[id] && amount != 0) || \
	 (type == M_EXEC_STDIN_CLOSED && phase[id] != STARTING && !closed_input[id]) || \
	 (type == M_EXEC_RESPONSE && phase[id] == EXITED && (!output[id] || (killed[id] && !credit(GUEST, id)))))
#define is_process(id) (phase[id] >= ENDLESS && phase[id] <= STOPPED)
#define credit(side, id) \
	((output[id] == WHEN_STDOUT && stdout_credit[AT(side, id)] > 0) || \
	 (output[id] == WHEN_STDERR && stderr_credit[AT(side, id)] > 0))

/* True if this command may send output now. Only the part TURNS makes commands take turns. */
#if PART == TURNS
#define has_turn(id) (last != slot[id] || !other_waits(id, 1) && !other_waits(id, 2) && !other_waits(id, 3))
#define other_waits(id, other) (other != id && credit(GUEST, other))
#else
#define has_turn(id) true
#endif

/* The daemon answers each message before it reads the next one. It reads nothing while it waits
 * for processes, nor after a `shutdown`. */
#define may_receive(side) \
	(may_read(side) && (side == HOST -> open && mode != DEAF : is_free(side) || guest_may_read))
#define guest_may_read \
	(len(to_host) < CHANNEL && !renewing && !freezing && !malformed && !pending && \
	 !ping_open[GUEST] && !status_request_open[GUEST] && \
	 session[GUEST] != SESSION_CLOSING && session[GUEST] != SESSION_FINISHED)
#define is_searching \
	(seeking || session[GUEST] == SESSION_NEW || session[GUEST] == SESSION_SEARCHING)
#define drops(side) \
	(side == HOST -> false : is_searching && (type >= FILLER || (seeking && type != M_HELLO)))
#define is_taken(side) (side == GUEST && (type >= FILLER || half))

#include "sandboxd.pml"

byte mode;
byte running;		      /* number of commands that run */
bool is_together;	      /* true if the requests of all running commands have the flag `beside` */
byte pending;		      /* id of the request that the daemon has read, and starts or refuses */
byte phase[IDS + 1];
byte output[IDS + 1];	      /* the condition that names the stream on which the command has output; 0 for none */
bool killed[IDS + 1], closed_input[IDS + 1];
bool leaving;		      /* true after a `hello`, until all processes that it killed have exited */
bool open = true;	      /* a host has the port open */
bool is_cut;		      /* the channel to the guest ends with half a frame */
bool renewing, freezing;      /* the daemon waits until processes have exited, or are frozen */
bool seeking, malformed;      /* it drops all bytes before a `hello`; it has read a wrong frame */
byte half, half_id, half_contents, half_amount; /* the message whose first bytes it has read */
byte nonce[2];
byte count;
byte alone;		      /* id of the one command whose request lacks the flag `beside`, in the part
			       * BESIDE; 0 if all requests have the flag */

inline prepare(side) {
	if
	:: type == M_HELLO -> contents = new_nonce(HOST); nonce[HOST] = contents
	:: type == M_READY -> contents = new_nonce(GUEST)
	:: type == M_EXEC_REQUEST -> contents = is_beside(id)
	:: else
	fi
}

inline sent(side) {
	record(side);
	if
	:: type == M_READY -> renewing = false; nonce[GUEST] = 0
	:: type == M_ERROR -> malformed = false; pending = (id -> 0 : pending)
	:: type == M_EXEC_OUTPUT -> watch_output(); output[id] = 0
	:: type == M_EXEC_STDIN_CLOSED -> closed_input[id] = true
	:: type == M_EXEC_FAILED || type == M_EXEC_RESPONSE -> end_command(id)
	:: type == M_GOODBYE -> end_commands(); leaving = false
	:: type == M_EXEC_KILL -> watch_kill()
	:: else
	fi
}

inline received(side) {
	if
	:: type == M_HELLO -> renewing = true; seeking = false; nonce[GUEST] = contents; end_commands()
	:: type == M_READY -> nonce[HOST] = 0
	:: type == M_KEEP -> REQUIRE(!running, "fault: processes are kept while a command runs\n"); freezing = true
	:: type == M_EXEC_REQUEST ->
		pending = id;
		if
		:: may_begin ->
			phase[id] = STARTING;
			is_together = contents;
			running++;
			watch_begin()
		:: else
		fi
	:: (type == M_EXEC_KILL || type == M_EXEC_TERMINATE) && phase[id] ->
		killed[id] = killed[id] || type == M_EXEC_KILL;
		phase[id] = (phase[id] == ENDLESS -> STOPPED : phase[id])
	:: else
	fi
}

inline refused(side) { REQUIRE(false, "fault: a side refuses this message\n") }
inline end_command(at) {
	running = running - (phase[at] != 0);
	is_together = is_together && running;
	pending = (pending == at -> 0 : pending);
	phase[at] = 0; output[at] = 0; killed[at] = false; closed_input[at] = false;
	watch_end(at)
}
inline end_commands() {
	count = IDS;
	do
	:: count > 0 -> leaving = leaving || is_process(count); end_command(count); count--
	:: else -> break
	od
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

/* The properties of commands that run at the same time. The other parts of the model do not check them. */
#if PART == BESIDE
bool asked[IDS + 1]; /* true if the host has sent a kill of the command */
inline watch_begin() {
	REQUIRE(running <= MOST && (!alone || !phase[alone] || running == 1),
		"fault: a command runs that may not run beside another\n")
}
inline watch_kill() { asked[id] = (command[AT(GUEST, id)] != COMMAND_ENDED) }
inline watch_exit(at) { REQUIRE(phase[at] == RUNS || asked[at], "fault: the wrong command is killed\n") }
inline watch_end(at) { asked[at] = false }
inline watch_output() { skip }
#elif PART == TURNS
bool slot[IDS + 1];   /* the slot of each running command: 0 or 1 */
bool last;	      /* the slot of the command that has sent output last */
bool waited[IDS + 1]; /* true if another command has sent output since this one waits */
#define in_first(id) (phase[id] && !slot[id])
inline watch_begin() { slot[id] = in_first(1) + in_first(2) + in_first(3) > 1 }
inline watch_kill() { skip }
inline watch_exit(at) { skip }
inline watch_end(at) { slot[at] = false; waited[at] = false }
inline watch_output() {
	last = slot[id];
	waited[id] = false;
	count = IDS;
	do
	:: count > 0 ->
		if
		:: other_waits(id, count) ->
			REQUIRE(!waited[count], "fault: output waits for two frames of another command\n");
			waited[count] = true
		:: else
		fi;
		count--
	:: else -> break
	od
}
#else
inline watch_begin() { skip }
inline watch_kill() { skip }
inline watch_exit(at) { skip }
inline watch_end(at) { skip }
inline watch_output() { skip }
#endif

/* The steps that a running command takes without a message: it exits, or has new output. */
inline runs(at) {
	if
	:: d_step { is_process(at) && phase[at] != ENDLESS && is_due(EXITED, at) -> watch_exit(at); phase[at] = EXITED }
#if PART == COMMANDS || PART == TURNS || PART == TRACES
	:: d_step { is_process(at) && !output[at] && has_output(WHEN_STDOUT, at) -> output[at] = WHEN_STDOUT }
#endif
#if PART == COMMANDS || PART == TRACES
	:: d_step { is_process(at) && !output[at] && has_output(WHEN_STDERR, at) -> output[at] = WHEN_STDERR }
#endif
	fi
}

active proctype Host() {
#if PART == BESIDE
	if
	:: alone = IDS
	:: skip
	fi;
#endif
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
	:: d_step { open && mode == ACTIVE && PART != TURNS -> mode = DEAF }
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
	:: d_step { phase[pending] == STARTING && is_due(ENDLESS, pending) -> phase[pending] = ENDLESS; pending = 0 }
	:: d_step { phase[pending] == STARTING && is_due(RUNS, pending) -> phase[pending] = RUNS; pending = 0 }
	:: d_step { leaving -> leaving = false }
	WITH_IDS(GUEST, runs)
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
	(phase[id] == ENDLESS || \
	 (phase[id] == EXITED && output[id] && !killed[id] && !credit(side, id)))
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
#define is_killed(id) (killed[id] || to_guest ?? [M_EXEC_KILL, id, any_contents, any_amount])
#define is_terminated (to_guest ?? [M_EXEC_TERMINATE, any_id, any_contents, any_amount])
#define is_endless (phase[1] == ENDLESS || phase[2] == ENDLESS || phase[3] == ENDLESS)
ltl hello { [] (mode == QUIET && session[HOST] == SESSION_GREETING ->
	<> (session[HOST] == SESSION_READY || is_over)) }
ltl shutdown { [] (mode == QUIET && session[HOST] == SESSION_CLOSING -> <> is_over) }
ltl kill { [] (mode == QUIET && (is_killed(1) || is_killed(2) || is_killed(3)) ->
	<> (session_free(HOST, 0, 0) || is_over)) }
ltl terminate { [] (mode == QUIET && is_terminated -> <> (!is_endless || is_over)) }
#if PART == TURNS
ltl kill_one { [] (mode == QUIET && is_killed(1) -> <> (!is_active(HOST, 1) || is_over)) }
#endif
ltl request { [] (mode == QUIET -> <> (all_answered(HOST) || is_over)) }
#endif
