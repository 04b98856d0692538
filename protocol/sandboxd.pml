/* The conversations of sandboxd, for Spin. Generated from sandboxd.toml.
 *
 * An environment defines the following macros, includes this file, and then defines the inlines.
 * `side` is the side that sends or reads a message. `id` is a number from 1 to IDS, or 0. At most
 * one of the conditions that depend on the contents of a message holds: `contents` is its number,
 * or 0. `amount` is the number that a message adds to counters or takes from them. A counter is 0,
 * 1 or MANY, its maximum. An environment that needs larger counters defines NUMBER, the type of
 * counters, their maximum MANY, and SOME(side), the amount of the next message of a side. An
 * environment that needs more ids defines three macros: IDS, the number of ids; WITH_IDS(side,
 * chooses), which calls the inline `chooses` with each id that the next message of a side may have;
 * and IS_NEXT(side, id), which is true if a conversation may begin with this id.
 *
 *   CHANNEL                                     length of the channels
 *   CONVERSATION_CONDITION(side, id, contents)  whether a condition holds
 *   may_send(side, type, id, contents, amount)  whether the side can send the message now
 *   may_receive(side)                           whether the side can read a message now
 *   drops(side), is_taken(side)                 whether the message in type, id, ... is dropped,
 *                                               or taken, before the side looks at its tables
 *   take(side)                                  inline that handles the message that is taken
 *   prepare(side)                               inline that can change `contents` before sending
 *   sent(side), received(side), refused(side)   inlines that follow a message: in order or not
 *
 * Processes of the environment run SIDE_sends and SIDE_receives. A message that is ignored is
 * dropped as soon as all messages before it were read. An id is used again when both sides have
 * ended its conversation, and no message about it is on its way. */

#define HOST 0
#define GUEST 1

#define M_HELLO 1
#define M_READY 2
#define M_RESUME 3
#define M_PING 4
#define M_PONG 5
#define M_STATUS_REQUEST 6
#define M_STATUS 7
#define M_SHUTDOWN 8
#define M_GOODBYE 9
#define M_ERROR 10
#define M_KEEP 11
#define M_EXEC_REQUEST 12
#define M_EXEC_OUTPUT 13
#define M_EXEC_RESPONSE 14
#define M_EXEC_FAILED 15
#define M_EXEC_SIGNAL 16
#define M_EXEC_KILL 17
#define M_EXEC_TERMINATE 18
#define M_EXEC_CREDIT 19
#define M_EXEC_STDIN 20
#define M_EXEC_STDIN_CREDIT 21
#define M_EXEC_STDIN_CLOSED 22
#define M_EXEC_RESIZE 23

#define WHEN_OWN_NONCE 1
#define WHEN_FREE 2
#define WHEN_MALFORMED 3
#define WHEN_BUSY 4
#define WHEN_STDOUT 5
#define WHEN_STDERR 6

#define SESSION_NEW 0
#define SESSION_GREETING 1
#define SESSION_READY 2
#define SESSION_SEARCHING 3
#define SESSION_CLOSING 4
#define SESSION_FINISHED 5

#define COMMAND_NEW 0
#define COMMAND_REQUESTED 1
#define COMMAND_RUNNING 2
#define COMMAND_ENDED 3

#ifndef IDS
#define IDS 3
#define WITH_IDS(side, chooses) :: chooses(1) :: chooses(2) :: chooses(3)
#define IS_NEXT(side, id) (((id) <= 1 || command[AT(side, 1)]) && ((id) <= 2 || command[AT(side, 2)]))
#endif
#define AT(side, id) ((side) * IDS + (id) - 1)
#ifndef NUMBER
#define NUMBER byte
#define MANY 2
#define SOME(side) 1
#endif
chan to_host = [CHANNEL] of { byte, byte, byte, NUMBER };
chan to_guest = [CHANNEL] of { byte, byte, byte, NUMBER };
byte type, any_type;
byte id, contents, any_id, any_contents, one;
NUMBER amount, any_amount;
byte session[2];
NUMBER hello_open[2];
NUMBER ping_open[2];
NUMBER status_request_open[2];
byte command[2 * IDS];
NUMBER exec_request_open[2 * IDS];
NUMBER stdout_credit[2 * IDS];
NUMBER stderr_credit[2 * IDS];
NUMBER stdin_credit[2 * IDS];

inline forget_ids(side) {
	one = IDS;
	do
	:: one > 0 ->
		command[AT(side, one)] = 0;
		exec_request_open[AT(side, one)] = 0;
		stdout_credit[AT(side, one)] = 0;
		stderr_credit[AT(side, one)] = 0;
		stdin_credit[AT(side, one)] = 0;
		one--
	:: else -> break
	od
}

inline restart(side) {
	session[side] = 0;
	hello_open[side] = 0;
	ping_open[side] = 0;
	status_request_open[side] = 0;
	forget_ids(side)
}

inline forget_ended() {
	one = IDS;
	do
	:: one > 0 ->
		if
		:: command[AT(0, one)] == COMMAND_ENDED && command[AT(1, one)] == COMMAND_ENDED && !exec_request_open[AT(0, one)] && !exec_request_open[AT(1, one)] && !to_host ?? [any_type, eval(one), any_contents, any_amount] && !to_guest ?? [any_type, eval(one), any_contents, any_amount] ->
			command[AT(0, one)] = 0;
			command[AT(1, one)] = 0;
		:: else
		fi;
		one--
	:: else -> break
	od
}

#define HELLO_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING || session[side] == SESSION_READY || session[side] == SESSION_SEARCHING))

#define HELLO_OPEN(side, from, id, contents, amount) \
	(true)

#define HELLO_FITS(side, from, id, contents, amount) \
	(hello_open[side] < MANY)

#define HELLO_IGNORED(side, from, id, contents, amount) \
	(false)

inline hello_changes(side, from, id, contents, amount) {
	if
	:: (session[side] == SESSION_NEW || session[side] == SESSION_READY || session[side] == SESSION_SEARCHING) ->
		session[side] = SESSION_GREETING;
		forget_ids(side);
		hello_open[side] = 0;
		ping_open[side] = 0;
		status_request_open[side] = 0;
	:: session[side] == SESSION_GREETING ->
		forget_ids(side);
		hello_open[side] = 0;
		ping_open[side] = 0;
		status_request_open[side] = 0;
	:: else
	fi;
	if
	:: true ->
		hello_open[side]++
	:: else
	fi;
}

#define READY_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_GREETING && session_own_nonce(side, id, contents))

#define READY_OPEN(side, from, id, contents, amount) \
	(hello_open[side] > 0)

#define READY_FITS(side, from, id, contents, amount) \
	(true)

#define READY_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline ready_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_GREETING && session_own_nonce(side, id, contents) ->
		session[side] = SESSION_READY;
	:: else
	fi;
	if
	:: hello_open[side] > 0 ->
		hello_open[side]--
	:: else
	fi;
}

#define RESUME_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY)

#define RESUME_OPEN(side, from, id, contents, amount) \
	(true)

#define RESUME_FITS(side, from, id, contents, amount) \
	(true)

#define RESUME_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline resume_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		skip
	:: else
	fi;
}

#define PING_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY)

#define PING_OPEN(side, from, id, contents, amount) \
	(true)

#define PING_FITS(side, from, id, contents, amount) \
	(ping_open[side] < MANY)

#define PING_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline ping_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		skip
	:: else
	fi;
	if
	:: true ->
		ping_open[side]++
	:: else
	fi;
}

#define PONG_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_CLOSING))

#define PONG_OPEN(side, from, id, contents, amount) \
	(ping_open[side] > 0)

#define PONG_FITS(side, from, id, contents, amount) \
	(true)

#define PONG_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline pong_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		skip
	:: session[side] == SESSION_CLOSING ->
		skip
	:: else
	fi;
	if
	:: ping_open[side] > 0 ->
		ping_open[side]--
	:: else
	fi;
}

#define STATUS_REQUEST_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY)

#define STATUS_REQUEST_OPEN(side, from, id, contents, amount) \
	(true)

#define STATUS_REQUEST_FITS(side, from, id, contents, amount) \
	(status_request_open[side] < MANY)

#define STATUS_REQUEST_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline status_request_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		skip
	:: else
	fi;
	if
	:: true ->
		status_request_open[side]++
	:: else
	fi;
}

#define STATUS_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_CLOSING))

#define STATUS_OPEN(side, from, id, contents, amount) \
	(status_request_open[side] > 0)

#define STATUS_FITS(side, from, id, contents, amount) \
	(true)

#define STATUS_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline status_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		skip
	:: session[side] == SESSION_CLOSING ->
		skip
	:: else
	fi;
	if
	:: status_request_open[side] > 0 ->
		status_request_open[side]--
	:: else
	fi;
}

#define SHUTDOWN_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY)

#define SHUTDOWN_OPEN(side, from, id, contents, amount) \
	(true)

#define SHUTDOWN_FITS(side, from, id, contents, amount) \
	(true)

#define SHUTDOWN_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline shutdown_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY ->
		session[side] = SESSION_CLOSING;
	:: else
	fi;
}

#define GOODBYE_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING))

#define GOODBYE_OPEN(side, from, id, contents, amount) \
	(true)

#define GOODBYE_FITS(side, from, id, contents, amount) \
	(true)

#define GOODBYE_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline goodbye_changes(side, from, id, contents, amount) {
	if
	:: (session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) ->
		session[side] = SESSION_FINISHED;
		forget_ids(side);
	:: else
	fi;
}

#define ERROR_ORDER(side, from, id, contents, amount) \
	((id == 0 && (session[side] == SESSION_READY && session_malformed(side, id, contents) || session[side] == SESSION_CLOSING && session_malformed(side, id, contents)) || id != 0 && (session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && command[AT(side, id)] == COMMAND_REQUESTED && command_busy(side, id, contents)))

#define ERROR_OPEN(side, from, id, contents, amount) \
	((!(id != 0) || exec_request_open[AT(side, id)] > 0))

#define ERROR_FITS(side, from, id, contents, amount) \
	(true)

#define ERROR_IGNORED(side, from, id, contents, amount) \
	((id == 0 && (session[side] == SESSION_NEW || session[side] == SESSION_GREETING) || (session[side] == SESSION_NEW || session[side] == SESSION_GREETING)))

inline error_changes(side, from, id, contents, amount) {
	if
	:: id == 0 && (session[side] == SESSION_READY || session[side] == SESSION_CLOSING) && session_malformed(side, id, contents) ->
		session[side] = SESSION_SEARCHING;
	:: else
	fi;
	if
	:: id != 0 && command[AT(side, id)] == COMMAND_REQUESTED && command_busy(side, id, contents) ->
		command[AT(side, id)] = COMMAND_ENDED;
		stdout_credit[AT(side, id)] = 0;
		stderr_credit[AT(side, id)] = 0;
		stdin_credit[AT(side, id)] = 0;
	:: else
	fi;
	if
	:: id != 0 && exec_request_open[AT(side, id)] > 0 ->
		exec_request_open[AT(side, id)]--
	:: else
	fi;
}

#define KEEP_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && session_free(side, id, contents))

#define KEEP_OPEN(side, from, id, contents, amount) \
	(true)

#define KEEP_FITS(side, from, id, contents, amount) \
	(true)

#define KEEP_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline keep_changes(side, from, id, contents, amount) {
	if
	:: session[side] == SESSION_READY && session_free(side, id, contents) ->
		skip
	:: else
	fi;
}

#define EXEC_REQUEST_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_NEW)

#define EXEC_REQUEST_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_REQUEST_FITS(side, from, id, contents, amount) \
	((!(true) || stdout_credit[AT(side, id)] + amount <= MANY) && (!(true) || stderr_credit[AT(side, id)] + amount <= MANY) && exec_request_open[AT(side, id)] < MANY)

#define EXEC_REQUEST_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING))

inline exec_request_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_NEW ->
		command[AT(side, id)] = COMMAND_REQUESTED;
	:: else
	fi;
	if
	:: true ->
		exec_request_open[AT(side, id)]++
	:: else
	fi;
	if
	:: true ->
		stdout_credit[AT(side, id)] = stdout_credit[AT(side, id)] + amount
	:: else
	fi;
	if
	:: true ->
		stderr_credit[AT(side, id)] = stderr_credit[AT(side, id)] + amount
	:: else
	fi;
}

#define EXEC_OUTPUT_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING) && (!(command_stdout(side, id, contents)) || stdout_credit[AT(side, id)] >= amount) && (!(command_stderr(side, id, contents)) || stderr_credit[AT(side, id)] >= amount))

#define EXEC_OUTPUT_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_OUTPUT_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_OUTPUT_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline exec_output_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		command[AT(side, id)] = COMMAND_RUNNING;
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
	if
	:: command_stdout(side, id, contents) ->
		stdout_credit[AT(side, id)] = stdout_credit[AT(side, id)] - amount
	:: else
	fi;
	if
	:: command_stderr(side, id, contents) ->
		stderr_credit[AT(side, id)] = stderr_credit[AT(side, id)] - amount
	:: else
	fi;
}

#define EXEC_RESPONSE_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_RESPONSE_OPEN(side, from, id, contents, amount) \
	(exec_request_open[AT(side, id)] > 0)

#define EXEC_RESPONSE_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_RESPONSE_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline exec_response_changes(side, from, id, contents, amount) {
	if
	:: (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING) ->
		command[AT(side, id)] = COMMAND_ENDED;
		stdout_credit[AT(side, id)] = 0;
		stderr_credit[AT(side, id)] = 0;
		stdin_credit[AT(side, id)] = 0;
	:: else
	fi;
	if
	:: exec_request_open[AT(side, id)] > 0 ->
		exec_request_open[AT(side, id)]--
	:: else
	fi;
}

#define EXEC_FAILED_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && command[AT(side, id)] == COMMAND_REQUESTED)

#define EXEC_FAILED_OPEN(side, from, id, contents, amount) \
	(exec_request_open[AT(side, id)] > 0)

#define EXEC_FAILED_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_FAILED_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline exec_failed_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		command[AT(side, id)] = COMMAND_ENDED;
		stdout_credit[AT(side, id)] = 0;
		stderr_credit[AT(side, id)] = 0;
		stdin_credit[AT(side, id)] = 0;
	:: else
	fi;
	if
	:: exec_request_open[AT(side, id)] > 0 ->
		exec_request_open[AT(side, id)]--
	:: else
	fi;
}

#define EXEC_SIGNAL_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_SIGNAL_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_SIGNAL_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_SIGNAL_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_signal_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
}

#define EXEC_KILL_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_KILL_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_KILL_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_KILL_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_kill_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
}

#define EXEC_TERMINATE_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_TERMINATE_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_TERMINATE_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_TERMINATE_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_terminate_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
}

#define EXEC_CREDIT_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_CREDIT_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_CREDIT_FITS(side, from, id, contents, amount) \
	((!(command_stdout(side, id, contents)) || stdout_credit[AT(side, id)] + amount <= MANY) && (!(command_stderr(side, id, contents)) || stderr_credit[AT(side, id)] + amount <= MANY))

#define EXEC_CREDIT_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_credit_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
	if
	:: command_stdout(side, id, contents) ->
		stdout_credit[AT(side, id)] = stdout_credit[AT(side, id)] + amount
	:: else
	fi;
	if
	:: command_stderr(side, id, contents) ->
		stderr_credit[AT(side, id)] = stderr_credit[AT(side, id)] + amount
	:: else
	fi;
}

#define EXEC_STDIN_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING) && (!(true) || stdin_credit[AT(side, id)] >= amount))

#define EXEC_STDIN_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_STDIN_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_STDIN_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_stdin_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
	if
	:: true ->
		stdin_credit[AT(side, id)] = stdin_credit[AT(side, id)] - amount
	:: else
	fi;
}

#define EXEC_STDIN_CREDIT_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_STDIN_CREDIT_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_STDIN_CREDIT_FITS(side, from, id, contents, amount) \
	((!(true) || stdin_credit[AT(side, id)] + amount <= MANY))

#define EXEC_STDIN_CREDIT_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline exec_stdin_credit_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		command[AT(side, id)] = COMMAND_RUNNING;
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
	if
	:: true ->
		stdin_credit[AT(side, id)] = stdin_credit[AT(side, id)] + amount
	:: else
	fi;
}

#define EXEC_STDIN_CLOSED_ORDER(side, from, id, contents, amount) \
	((session[side] == SESSION_READY || session[side] == SESSION_SEARCHING || session[side] == SESSION_CLOSING) && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_STDIN_CLOSED_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_STDIN_CLOSED_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_STDIN_CLOSED_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_NEW || session[side] == SESSION_GREETING))

inline exec_stdin_closed_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		command[AT(side, id)] = COMMAND_RUNNING;
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
}

#define EXEC_RESIZE_ORDER(side, from, id, contents, amount) \
	(session[side] == SESSION_READY && (command[AT(side, id)] == COMMAND_REQUESTED || command[AT(side, id)] == COMMAND_RUNNING))

#define EXEC_RESIZE_OPEN(side, from, id, contents, amount) \
	(true)

#define EXEC_RESIZE_FITS(side, from, id, contents, amount) \
	(true)

#define EXEC_RESIZE_IGNORED(side, from, id, contents, amount) \
	((session[side] == SESSION_READY && command[AT(side, id)] == COMMAND_ENDED || (session[side] == SESSION_NEW || session[side] == SESSION_SEARCHING)))

inline exec_resize_changes(side, from, id, contents, amount) {
	if
	:: command[AT(side, id)] == COMMAND_REQUESTED ->
		skip
	:: command[AT(side, id)] == COMMAND_RUNNING ->
		skip
	:: else
	fi;
}

#ifndef REQUIRE
#define REQUIRE(right, words) if :: right :: else -> printf(words); assert(false) fi
#endif

inline host_chooses_hello() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_HELLO, 0, 0, 0) && HELLO_ORDER(HOST, HOST, 0, 0, 0) && HELLO_OPEN(HOST, HOST, 0, 0, 0) && HELLO_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_HELLO; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_resume() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_RESUME, 0, 0, 0) && RESUME_ORDER(HOST, HOST, 0, 0, 0) && RESUME_OPEN(HOST, HOST, 0, 0, 0) && RESUME_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_RESUME; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_ping() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_PING, 0, 0, 0) && PING_ORDER(HOST, HOST, 0, 0, 0) && PING_OPEN(HOST, HOST, 0, 0, 0) && PING_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_PING; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_status_request() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_STATUS_REQUEST, 0, 0, 0) && STATUS_REQUEST_ORDER(HOST, HOST, 0, 0, 0) && STATUS_REQUEST_OPEN(HOST, HOST, 0, 0, 0) && STATUS_REQUEST_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_STATUS_REQUEST; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_shutdown() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_SHUTDOWN, 0, 0, 0) && SHUTDOWN_ORDER(HOST, HOST, 0, 0, 0) && SHUTDOWN_OPEN(HOST, HOST, 0, 0, 0) && SHUTDOWN_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_SHUTDOWN; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_keep() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_KEEP, 0, 0, 0) && KEEP_ORDER(HOST, HOST, 0, 0, 0) && KEEP_OPEN(HOST, HOST, 0, 0, 0) && KEEP_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_KEEP; id = 0; contents = 0; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_KEEP, 0, WHEN_FREE, 0) && KEEP_ORDER(HOST, HOST, 0, WHEN_FREE, 0) && KEEP_OPEN(HOST, HOST, 0, WHEN_FREE, 0) && KEEP_FITS(HOST, HOST, 0, WHEN_FREE, 0) ->
		type = M_KEEP; id = 0; contents = WHEN_FREE; amount = 0 }
	fi
}

inline host_chooses_exec_request_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_REQUEST, at, 0, 0) && EXEC_REQUEST_ORDER(HOST, HOST, at, 0, 0) && EXEC_REQUEST_OPEN(HOST, HOST, at, 0, 0) && EXEC_REQUEST_FITS(HOST, HOST, at, 0, 0) && (command[AT(HOST, at)] != 0 || IS_NEXT(HOST, at)) ->
		type = M_EXEC_REQUEST; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_REQUEST, at, 0, SOME(HOST)) && EXEC_REQUEST_ORDER(HOST, HOST, at, 0, SOME(HOST)) && EXEC_REQUEST_OPEN(HOST, HOST, at, 0, SOME(HOST)) && EXEC_REQUEST_FITS(HOST, HOST, at, 0, SOME(HOST)) && (command[AT(HOST, at)] != 0 || IS_NEXT(HOST, at)) ->
		type = M_EXEC_REQUEST; id = at; contents = 0; amount = SOME(HOST) }
	fi
}

inline host_chooses_exec_signal_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_SIGNAL, at, 0, 0) && EXEC_SIGNAL_ORDER(HOST, HOST, at, 0, 0) && EXEC_SIGNAL_OPEN(HOST, HOST, at, 0, 0) && EXEC_SIGNAL_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_SIGNAL; id = at; contents = 0; amount = 0 }
	fi
}

inline host_chooses_exec_kill_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_KILL, at, 0, 0) && EXEC_KILL_ORDER(HOST, HOST, at, 0, 0) && EXEC_KILL_OPEN(HOST, HOST, at, 0, 0) && EXEC_KILL_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_KILL; id = at; contents = 0; amount = 0 }
	fi
}

inline host_chooses_exec_terminate_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_TERMINATE, at, 0, 0) && EXEC_TERMINATE_ORDER(HOST, HOST, at, 0, 0) && EXEC_TERMINATE_OPEN(HOST, HOST, at, 0, 0) && EXEC_TERMINATE_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_TERMINATE; id = at; contents = 0; amount = 0 }
	fi
}

inline host_chooses_exec_credit_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, 0, 0) && EXEC_CREDIT_ORDER(HOST, HOST, at, 0, 0) && EXEC_CREDIT_OPEN(HOST, HOST, at, 0, 0) && EXEC_CREDIT_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_CREDIT; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, 0, SOME(HOST)) && EXEC_CREDIT_ORDER(HOST, HOST, at, 0, SOME(HOST)) && EXEC_CREDIT_OPEN(HOST, HOST, at, 0, SOME(HOST)) && EXEC_CREDIT_FITS(HOST, HOST, at, 0, SOME(HOST)) ->
		type = M_EXEC_CREDIT; id = at; contents = 0; amount = SOME(HOST) }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, WHEN_STDOUT, 0) && EXEC_CREDIT_ORDER(HOST, HOST, at, WHEN_STDOUT, 0) && EXEC_CREDIT_OPEN(HOST, HOST, at, WHEN_STDOUT, 0) && EXEC_CREDIT_FITS(HOST, HOST, at, WHEN_STDOUT, 0) ->
		type = M_EXEC_CREDIT; id = at; contents = WHEN_STDOUT; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, WHEN_STDOUT, SOME(HOST)) && EXEC_CREDIT_ORDER(HOST, HOST, at, WHEN_STDOUT, SOME(HOST)) && EXEC_CREDIT_OPEN(HOST, HOST, at, WHEN_STDOUT, SOME(HOST)) && EXEC_CREDIT_FITS(HOST, HOST, at, WHEN_STDOUT, SOME(HOST)) ->
		type = M_EXEC_CREDIT; id = at; contents = WHEN_STDOUT; amount = SOME(HOST) }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, WHEN_STDERR, 0) && EXEC_CREDIT_ORDER(HOST, HOST, at, WHEN_STDERR, 0) && EXEC_CREDIT_OPEN(HOST, HOST, at, WHEN_STDERR, 0) && EXEC_CREDIT_FITS(HOST, HOST, at, WHEN_STDERR, 0) ->
		type = M_EXEC_CREDIT; id = at; contents = WHEN_STDERR; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_CREDIT, at, WHEN_STDERR, SOME(HOST)) && EXEC_CREDIT_ORDER(HOST, HOST, at, WHEN_STDERR, SOME(HOST)) && EXEC_CREDIT_OPEN(HOST, HOST, at, WHEN_STDERR, SOME(HOST)) && EXEC_CREDIT_FITS(HOST, HOST, at, WHEN_STDERR, SOME(HOST)) ->
		type = M_EXEC_CREDIT; id = at; contents = WHEN_STDERR; amount = SOME(HOST) }
	fi
}

inline host_chooses_exec_stdin_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_STDIN, at, 0, 0) && EXEC_STDIN_ORDER(HOST, HOST, at, 0, 0) && EXEC_STDIN_OPEN(HOST, HOST, at, 0, 0) && EXEC_STDIN_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_STDIN; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_STDIN, at, 0, SOME(HOST)) && EXEC_STDIN_ORDER(HOST, HOST, at, 0, SOME(HOST)) && EXEC_STDIN_OPEN(HOST, HOST, at, 0, SOME(HOST)) && EXEC_STDIN_FITS(HOST, HOST, at, 0, SOME(HOST)) ->
		type = M_EXEC_STDIN; id = at; contents = 0; amount = SOME(HOST) }
	fi
}

inline host_chooses_exec_resize_of(at) {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_EXEC_RESIZE, at, 0, 0) && EXEC_RESIZE_ORDER(HOST, HOST, at, 0, 0) && EXEC_RESIZE_OPEN(HOST, HOST, at, 0, 0) && EXEC_RESIZE_FITS(HOST, HOST, at, 0, 0) ->
		type = M_EXEC_RESIZE; id = at; contents = 0; amount = 0 }
	fi
}

inline host_sends() {
	atomic {
		if
		:: host_chooses_hello()
		:: host_chooses_resume()
		:: host_chooses_ping()
		:: host_chooses_status_request()
		:: host_chooses_shutdown()
		:: host_chooses_keep()
		WITH_IDS(HOST, host_chooses_exec_request_of)
		WITH_IDS(HOST, host_chooses_exec_signal_of)
		WITH_IDS(HOST, host_chooses_exec_kill_of)
		WITH_IDS(HOST, host_chooses_exec_terminate_of)
		WITH_IDS(HOST, host_chooses_exec_credit_of)
		WITH_IDS(HOST, host_chooses_exec_stdin_of)
		WITH_IDS(HOST, host_chooses_exec_resize_of)
		fi;
		d_step {
			prepare(HOST);
			printf("event: host sends %d %d %d %d\n", type, id, contents, amount);
			to_guest ! type, id, contents, amount;
			if
			:: type == M_HELLO ->
				hello_changes(HOST, HOST, id, contents, amount)
			:: type == M_RESUME ->
				resume_changes(HOST, HOST, id, contents, amount)
			:: type == M_PING ->
				ping_changes(HOST, HOST, id, contents, amount)
			:: type == M_STATUS_REQUEST ->
				status_request_changes(HOST, HOST, id, contents, amount)
			:: type == M_SHUTDOWN ->
				shutdown_changes(HOST, HOST, id, contents, amount)
			:: type == M_KEEP ->
				keep_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_REQUEST ->
				exec_request_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_SIGNAL ->
				exec_signal_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_KILL ->
				exec_kill_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_TERMINATE ->
				exec_terminate_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_CREDIT ->
				exec_credit_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_STDIN ->
				exec_stdin_changes(HOST, HOST, id, contents, amount)
			:: type == M_EXEC_RESIZE ->
				exec_resize_changes(HOST, HOST, id, contents, amount)
			:: else
			fi;
			sent(HOST);
			settle()
		}
	}
}

inline host_receives() {
	d_step {
		len(to_host) > 0 && may_receive(HOST) ->
		to_host ? type, id, contents, amount;
		if
		:: is_taken(HOST) ->
			take(HOST)
		:: type == M_READY ->
			if
			:: READY_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(READY_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(READY_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				ready_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_PONG ->
			if
			:: PONG_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(PONG_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(PONG_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				pong_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_STATUS ->
			if
			:: STATUS_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(STATUS_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(STATUS_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				status_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_GOODBYE ->
			if
			:: GOODBYE_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(GOODBYE_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(GOODBYE_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				goodbye_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_ERROR ->
			if
			:: ERROR_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(ERROR_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(ERROR_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				error_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_EXEC_OUTPUT ->
			if
			:: EXEC_OUTPUT_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_OUTPUT_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_OUTPUT_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_output_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_EXEC_RESPONSE ->
			if
			:: EXEC_RESPONSE_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_RESPONSE_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_RESPONSE_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_response_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_EXEC_FAILED ->
			if
			:: EXEC_FAILED_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_FAILED_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_FAILED_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_failed_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_EXEC_STDIN_CREDIT ->
			if
			:: EXEC_STDIN_CREDIT_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_STDIN_CREDIT_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_STDIN_CREDIT_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_stdin_credit_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_EXEC_STDIN_CLOSED ->
			if
			:: EXEC_STDIN_CLOSED_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_STDIN_CLOSED_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_STDIN_CLOSED_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_stdin_closed_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: else
		fi;
		settle()
	}
}

inline host_ignores() {
	do
	:: len(to_host) > 0 ->
		to_host ? <type, id, contents, amount>;
		if
		:: drops(HOST) ->
			printf("event: host drops %d %d %d %d\n", type, id, contents, amount);
			to_host ? type, id, contents, amount
		:: ((type == M_READY && READY_IGNORED(HOST, GUEST, id, contents, amount) && !READY_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_PONG && PONG_IGNORED(HOST, GUEST, id, contents, amount) && !PONG_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_STATUS && STATUS_IGNORED(HOST, GUEST, id, contents, amount) && !STATUS_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_GOODBYE && GOODBYE_IGNORED(HOST, GUEST, id, contents, amount) && !GOODBYE_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_ERROR && ERROR_IGNORED(HOST, GUEST, id, contents, amount) && !ERROR_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_EXEC_OUTPUT && EXEC_OUTPUT_IGNORED(HOST, GUEST, id, contents, amount) && !EXEC_OUTPUT_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_EXEC_RESPONSE && EXEC_RESPONSE_IGNORED(HOST, GUEST, id, contents, amount) && !EXEC_RESPONSE_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_EXEC_FAILED && EXEC_FAILED_IGNORED(HOST, GUEST, id, contents, amount) && !EXEC_FAILED_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_EXEC_STDIN_CREDIT && EXEC_STDIN_CREDIT_IGNORED(HOST, GUEST, id, contents, amount) && !EXEC_STDIN_CREDIT_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_EXEC_STDIN_CLOSED && EXEC_STDIN_CLOSED_IGNORED(HOST, GUEST, id, contents, amount) && !EXEC_STDIN_CLOSED_ORDER(HOST, GUEST, id, contents, amount))) ->
			printf("event: host ignores %d %d %d %d\n", type, id, contents, amount);
			to_host ? type, id, contents, amount
		:: else ->
			break
		fi
	:: else -> break
	od;
}

inline guest_chooses_ready() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_READY, 0, 0, 0) && READY_ORDER(GUEST, GUEST, 0, 0, 0) && READY_OPEN(GUEST, GUEST, 0, 0, 0) && READY_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_READY; id = 0; contents = 0; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_READY, 0, WHEN_OWN_NONCE, 0) && READY_ORDER(GUEST, GUEST, 0, WHEN_OWN_NONCE, 0) && READY_OPEN(GUEST, GUEST, 0, WHEN_OWN_NONCE, 0) && READY_FITS(GUEST, GUEST, 0, WHEN_OWN_NONCE, 0) ->
		type = M_READY; id = 0; contents = WHEN_OWN_NONCE; amount = 0 }
	fi
}

inline guest_chooses_pong() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_PONG, 0, 0, 0) && PONG_ORDER(GUEST, GUEST, 0, 0, 0) && PONG_OPEN(GUEST, GUEST, 0, 0, 0) && PONG_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_PONG; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_status() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_STATUS, 0, 0, 0) && STATUS_ORDER(GUEST, GUEST, 0, 0, 0) && STATUS_OPEN(GUEST, GUEST, 0, 0, 0) && STATUS_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_STATUS; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_goodbye() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_GOODBYE, 0, 0, 0) && GOODBYE_ORDER(GUEST, GUEST, 0, 0, 0) && GOODBYE_OPEN(GUEST, GUEST, 0, 0, 0) && GOODBYE_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_GOODBYE; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_error() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ERROR, 0, 0, 0) && ERROR_ORDER(GUEST, GUEST, 0, 0, 0) && ERROR_OPEN(GUEST, GUEST, 0, 0, 0) && ERROR_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_ERROR; id = 0; contents = 0; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ERROR, 0, WHEN_MALFORMED, 0) && ERROR_ORDER(GUEST, GUEST, 0, WHEN_MALFORMED, 0) && ERROR_OPEN(GUEST, GUEST, 0, WHEN_MALFORMED, 0) && ERROR_FITS(GUEST, GUEST, 0, WHEN_MALFORMED, 0) ->
		type = M_ERROR; id = 0; contents = WHEN_MALFORMED; amount = 0 }
	fi
}

inline guest_chooses_error_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ERROR, at, 0, 0) && ERROR_ORDER(GUEST, GUEST, at, 0, 0) && ERROR_OPEN(GUEST, GUEST, at, 0, 0) && ERROR_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_ERROR; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ERROR, at, WHEN_BUSY, 0) && ERROR_ORDER(GUEST, GUEST, at, WHEN_BUSY, 0) && ERROR_OPEN(GUEST, GUEST, at, WHEN_BUSY, 0) && ERROR_FITS(GUEST, GUEST, at, WHEN_BUSY, 0) ->
		type = M_ERROR; id = at; contents = WHEN_BUSY; amount = 0 }
	fi
}

inline guest_chooses_exec_output_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, 0, 0) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, 0, 0) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, 0, 0) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_EXEC_OUTPUT; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, 0, SOME(GUEST)) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, 0, SOME(GUEST)) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, 0, SOME(GUEST)) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, 0, SOME(GUEST)) ->
		type = M_EXEC_OUTPUT; id = at; contents = 0; amount = SOME(GUEST) }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, WHEN_STDOUT, 0) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, WHEN_STDOUT, 0) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, WHEN_STDOUT, 0) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, WHEN_STDOUT, 0) ->
		type = M_EXEC_OUTPUT; id = at; contents = WHEN_STDOUT; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, WHEN_STDOUT, SOME(GUEST)) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, WHEN_STDOUT, SOME(GUEST)) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, WHEN_STDOUT, SOME(GUEST)) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, WHEN_STDOUT, SOME(GUEST)) ->
		type = M_EXEC_OUTPUT; id = at; contents = WHEN_STDOUT; amount = SOME(GUEST) }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, WHEN_STDERR, 0) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, WHEN_STDERR, 0) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, WHEN_STDERR, 0) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, WHEN_STDERR, 0) ->
		type = M_EXEC_OUTPUT; id = at; contents = WHEN_STDERR; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_OUTPUT, at, WHEN_STDERR, SOME(GUEST)) && EXEC_OUTPUT_ORDER(GUEST, GUEST, at, WHEN_STDERR, SOME(GUEST)) && EXEC_OUTPUT_OPEN(GUEST, GUEST, at, WHEN_STDERR, SOME(GUEST)) && EXEC_OUTPUT_FITS(GUEST, GUEST, at, WHEN_STDERR, SOME(GUEST)) ->
		type = M_EXEC_OUTPUT; id = at; contents = WHEN_STDERR; amount = SOME(GUEST) }
	fi
}

inline guest_chooses_exec_response_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_RESPONSE, at, 0, 0) && EXEC_RESPONSE_ORDER(GUEST, GUEST, at, 0, 0) && EXEC_RESPONSE_OPEN(GUEST, GUEST, at, 0, 0) && EXEC_RESPONSE_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_EXEC_RESPONSE; id = at; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_exec_failed_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_FAILED, at, 0, 0) && EXEC_FAILED_ORDER(GUEST, GUEST, at, 0, 0) && EXEC_FAILED_OPEN(GUEST, GUEST, at, 0, 0) && EXEC_FAILED_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_EXEC_FAILED; id = at; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_exec_stdin_credit_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_STDIN_CREDIT, at, 0, 0) && EXEC_STDIN_CREDIT_ORDER(GUEST, GUEST, at, 0, 0) && EXEC_STDIN_CREDIT_OPEN(GUEST, GUEST, at, 0, 0) && EXEC_STDIN_CREDIT_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_EXEC_STDIN_CREDIT; id = at; contents = 0; amount = 0 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_STDIN_CREDIT, at, 0, SOME(GUEST)) && EXEC_STDIN_CREDIT_ORDER(GUEST, GUEST, at, 0, SOME(GUEST)) && EXEC_STDIN_CREDIT_OPEN(GUEST, GUEST, at, 0, SOME(GUEST)) && EXEC_STDIN_CREDIT_FITS(GUEST, GUEST, at, 0, SOME(GUEST)) ->
		type = M_EXEC_STDIN_CREDIT; id = at; contents = 0; amount = SOME(GUEST) }
	fi
}

inline guest_chooses_exec_stdin_closed_of(at) {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_EXEC_STDIN_CLOSED, at, 0, 0) && EXEC_STDIN_CLOSED_ORDER(GUEST, GUEST, at, 0, 0) && EXEC_STDIN_CLOSED_OPEN(GUEST, GUEST, at, 0, 0) && EXEC_STDIN_CLOSED_FITS(GUEST, GUEST, at, 0, 0) ->
		type = M_EXEC_STDIN_CLOSED; id = at; contents = 0; amount = 0 }
	fi
}

inline guest_sends() {
	atomic {
		if
		:: guest_chooses_ready()
		:: guest_chooses_pong()
		:: guest_chooses_status()
		:: guest_chooses_goodbye()
		:: guest_chooses_error()
		WITH_IDS(GUEST, guest_chooses_error_of)
		WITH_IDS(GUEST, guest_chooses_exec_output_of)
		WITH_IDS(GUEST, guest_chooses_exec_response_of)
		WITH_IDS(GUEST, guest_chooses_exec_failed_of)
		WITH_IDS(GUEST, guest_chooses_exec_stdin_credit_of)
		WITH_IDS(GUEST, guest_chooses_exec_stdin_closed_of)
		fi;
		d_step {
			prepare(GUEST);
			printf("event: guest sends %d %d %d %d\n", type, id, contents, amount);
			to_host ! type, id, contents, amount;
			if
			:: type == M_READY ->
				ready_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_PONG ->
				pong_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_STATUS ->
				status_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_GOODBYE ->
				goodbye_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_ERROR ->
				error_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_EXEC_OUTPUT ->
				exec_output_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_EXEC_RESPONSE ->
				exec_response_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_EXEC_FAILED ->
				exec_failed_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_EXEC_STDIN_CREDIT ->
				exec_stdin_credit_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_EXEC_STDIN_CLOSED ->
				exec_stdin_closed_changes(GUEST, GUEST, id, contents, amount)
			:: else
			fi;
			sent(GUEST);
			settle()
		}
	}
}

inline guest_receives() {
	d_step {
		len(to_guest) > 0 && may_receive(GUEST) ->
		to_guest ? type, id, contents, amount;
		if
		:: is_taken(GUEST) ->
			take(GUEST)
		:: type == M_HELLO ->
			if
			:: HELLO_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(HELLO_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(HELLO_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				hello_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_RESUME ->
			if
			:: RESUME_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(RESUME_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(RESUME_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				resume_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_PING ->
			if
			:: PING_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(PING_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(PING_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				ping_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_STATUS_REQUEST ->
			if
			:: STATUS_REQUEST_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(STATUS_REQUEST_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(STATUS_REQUEST_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				status_request_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_SHUTDOWN ->
			if
			:: SHUTDOWN_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(SHUTDOWN_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(SHUTDOWN_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				shutdown_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_KEEP ->
			if
			:: KEEP_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(KEEP_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(KEEP_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				keep_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_REQUEST ->
			if
			:: EXEC_REQUEST_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_REQUEST_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_REQUEST_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_request_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_SIGNAL ->
			if
			:: EXEC_SIGNAL_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_SIGNAL_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_SIGNAL_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_signal_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_KILL ->
			if
			:: EXEC_KILL_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_KILL_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_KILL_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_kill_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_TERMINATE ->
			if
			:: EXEC_TERMINATE_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_TERMINATE_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_TERMINATE_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_terminate_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_CREDIT ->
			if
			:: EXEC_CREDIT_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_CREDIT_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_CREDIT_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_credit_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_STDIN ->
			if
			:: EXEC_STDIN_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_STDIN_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_STDIN_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_stdin_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_EXEC_RESIZE ->
			if
			:: EXEC_RESIZE_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(EXEC_RESIZE_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(EXEC_RESIZE_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				exec_resize_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: else
		fi;
		settle()
	}
}

inline guest_ignores() {
	do
	:: len(to_guest) > 0 ->
		to_guest ? <type, id, contents, amount>;
		if
		:: drops(GUEST) ->
			printf("event: guest drops %d %d %d %d\n", type, id, contents, amount);
			to_guest ? type, id, contents, amount
		:: ((type == M_HELLO && HELLO_IGNORED(GUEST, HOST, id, contents, amount) && !HELLO_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_RESUME && RESUME_IGNORED(GUEST, HOST, id, contents, amount) && !RESUME_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_PING && PING_IGNORED(GUEST, HOST, id, contents, amount) && !PING_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_STATUS_REQUEST && STATUS_REQUEST_IGNORED(GUEST, HOST, id, contents, amount) && !STATUS_REQUEST_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_SHUTDOWN && SHUTDOWN_IGNORED(GUEST, HOST, id, contents, amount) && !SHUTDOWN_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_KEEP && KEEP_IGNORED(GUEST, HOST, id, contents, amount) && !KEEP_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_REQUEST && EXEC_REQUEST_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_REQUEST_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_SIGNAL && EXEC_SIGNAL_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_SIGNAL_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_KILL && EXEC_KILL_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_KILL_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_TERMINATE && EXEC_TERMINATE_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_TERMINATE_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_CREDIT && EXEC_CREDIT_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_CREDIT_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_STDIN && EXEC_STDIN_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_STDIN_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_EXEC_RESIZE && EXEC_RESIZE_IGNORED(GUEST, HOST, id, contents, amount) && !EXEC_RESIZE_ORDER(GUEST, HOST, id, contents, amount))) ->
			printf("event: guest ignores %d %d %d %d\n", type, id, contents, amount);
			to_guest ? type, id, contents, amount
		:: else ->
			break
		fi
	:: else -> break
	od;
}

inline settle() {
	host_ignores();
	guest_ignores();
	forget_ended();
	type = 0; id = 0; contents = 0; amount = 0
}
