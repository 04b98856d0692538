/* The conversations of files, for Spin. Generated from files.toml.
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

#define M_REQUEST 1
#define M_ENTRY 2
#define M_DATA 3
#define M_WHOLE 4
#define M_DONE 5
#define M_FAILURE 6

#define WHEN_PUT 1
#define WHEN_LIST 2
#define WHEN_CHANGE 3
#define WHEN_FILE 4
#define WHEN_FOLDER 5
#define WHEN_OUTERMOST 6

#define TRANSFER_NEW 0
#define TRANSFER_LISTING 1
#define TRANSFER_SENDING 2
#define TRANSFER_SENDING_FILE 3
#define TRANSFER_SENDING_FOLDER 4
#define TRANSFER_WRITING 5
#define TRANSFER_WRITING_FILE 6
#define TRANSFER_WRITING_FOLDER 7
#define TRANSFER_COMPLETE 8
#define TRANSFER_FINISHED 9

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
byte transfer[2];
NUMBER request_open[2];
NUMBER incomplete[2];

inline forget_ids(side) {
	skip
}

inline restart(side) {
	transfer[side] = 0;
	request_open[side] = 0;
	incomplete[side] = 0;
	forget_ids(side)
}

inline forget_ended() {
	skip
}

#define REQUEST_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_NEW && transfer_put(side, id, contents) || transfer[side] == TRANSFER_NEW && transfer_list(side, id, contents) || transfer[side] == TRANSFER_NEW && transfer_change(side, id, contents) || transfer[side] == TRANSFER_NEW))

#define REQUEST_OPEN(side, from, id, contents, amount) \
	(true)

#define REQUEST_FITS(side, from, id, contents, amount) \
	(request_open[side] < MANY)

#define REQUEST_IGNORED(side, from, id, contents, amount) \
	(transfer[side] == TRANSFER_FINISHED)

inline request_changes(side, from, id, contents, amount) {
	if
	:: transfer[side] == TRANSFER_NEW && transfer_put(side, id, contents) ->
		transfer[side] = TRANSFER_WRITING;
	:: transfer[side] == TRANSFER_NEW && transfer_list(side, id, contents) ->
		transfer[side] = TRANSFER_LISTING;
	:: transfer[side] == TRANSFER_NEW && transfer_change(side, id, contents) ->
		transfer[side] = TRANSFER_COMPLETE;
	:: transfer[side] == TRANSFER_NEW ->
		transfer[side] = TRANSFER_SENDING;
	:: else
	fi;
	if
	:: true ->
		request_open[side]++
	:: else
	fi;
}

#define ENTRY_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_LISTING && from == GUEST || transfer[side] == TRANSFER_SENDING && from == GUEST && transfer_file(side, id, contents) || transfer[side] == TRANSFER_SENDING && from == GUEST && transfer_folder(side, id, contents) || transfer[side] == TRANSFER_SENDING && from == GUEST || transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST && transfer_file(side, id, contents) || transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST || transfer[side] == TRANSFER_WRITING && from == HOST && transfer_file(side, id, contents) || transfer[side] == TRANSFER_WRITING && from == HOST && transfer_folder(side, id, contents) || transfer[side] == TRANSFER_WRITING && from == HOST || transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST && transfer_file(side, id, contents) || transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST))

#define ENTRY_OPEN(side, from, id, contents, amount) \
	(true)

#define ENTRY_FITS(side, from, id, contents, amount) \
	((!(transfer_file(side, id, contents)) || incomplete[side] + amount <= MANY) && (!(transfer_folder(side, id, contents)) || incomplete[side] + amount <= MANY))

#define ENTRY_IGNORED(side, from, id, contents, amount) \
	(from == HOST && transfer[side] == TRANSFER_FINISHED)

inline entry_changes(side, from, id, contents, amount) {
	if
	:: (transfer[side] == TRANSFER_SENDING || transfer[side] == TRANSFER_SENDING_FOLDER) && from == GUEST && transfer_file(side, id, contents) ->
		transfer[side] = TRANSFER_SENDING_FILE;
	:: transfer[side] == TRANSFER_SENDING && from == GUEST && transfer_folder(side, id, contents) ->
		transfer[side] = TRANSFER_SENDING_FOLDER;
	:: (transfer[side] == TRANSFER_WRITING || transfer[side] == TRANSFER_WRITING_FOLDER) && from == HOST && transfer_file(side, id, contents) ->
		transfer[side] = TRANSFER_WRITING_FILE;
	:: transfer[side] == TRANSFER_WRITING && from == HOST && transfer_folder(side, id, contents) ->
		transfer[side] = TRANSFER_WRITING_FOLDER;
	:: transfer[side] == TRANSFER_LISTING && from == GUEST ->
		skip
	:: transfer[side] == TRANSFER_SENDING && from == GUEST ->
		transfer[side] = TRANSFER_COMPLETE;
	:: transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST ->
		skip
	:: transfer[side] == TRANSFER_WRITING && from == HOST ->
		transfer[side] = TRANSFER_COMPLETE;
	:: transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST ->
		skip
	:: else
	fi;
	if
	:: transfer_file(side, id, contents) ->
		incomplete[side] = incomplete[side] + amount
	:: else
	fi;
	if
	:: transfer_folder(side, id, contents) ->
		incomplete[side] = incomplete[side] + amount
	:: else
	fi;
}

#define DATA_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_SENDING_FILE && from == GUEST || transfer[side] == TRANSFER_WRITING_FILE && from == HOST))

#define DATA_OPEN(side, from, id, contents, amount) \
	(true)

#define DATA_FITS(side, from, id, contents, amount) \
	(true)

#define DATA_IGNORED(side, from, id, contents, amount) \
	(from == HOST && transfer[side] == TRANSFER_FINISHED)

inline data_changes(side, from, id, contents, amount) {
	if
	:: transfer[side] == TRANSFER_SENDING_FILE && from == GUEST ->
		skip
	:: transfer[side] == TRANSFER_WRITING_FILE && from == HOST ->
		skip
	:: else
	fi;
}

#define WHOLE_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_SENDING_FILE && from == GUEST && transfer_outermost(side, id, contents) || transfer[side] == TRANSFER_SENDING_FILE && from == GUEST || transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST && transfer_outermost(side, id, contents) || transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST || transfer[side] == TRANSFER_WRITING_FILE && from == HOST && transfer_outermost(side, id, contents) || transfer[side] == TRANSFER_WRITING_FILE && from == HOST || transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST && transfer_outermost(side, id, contents) || transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST) && (!(true) || incomplete[side] >= amount))

#define WHOLE_OPEN(side, from, id, contents, amount) \
	(true)

#define WHOLE_FITS(side, from, id, contents, amount) \
	(true)

#define WHOLE_IGNORED(side, from, id, contents, amount) \
	(from == HOST && transfer[side] == TRANSFER_FINISHED)

inline whole_changes(side, from, id, contents, amount) {
	if
	:: (transfer[side] == TRANSFER_SENDING_FILE || transfer[side] == TRANSFER_SENDING_FOLDER) && from == GUEST && transfer_outermost(side, id, contents) ->
		transfer[side] = TRANSFER_COMPLETE;
	:: (transfer[side] == TRANSFER_WRITING_FILE || transfer[side] == TRANSFER_WRITING_FOLDER) && from == HOST && transfer_outermost(side, id, contents) ->
		transfer[side] = TRANSFER_COMPLETE;
	:: transfer[side] == TRANSFER_SENDING_FILE && from == GUEST ->
		transfer[side] = TRANSFER_SENDING_FOLDER;
	:: transfer[side] == TRANSFER_SENDING_FOLDER && from == GUEST ->
		skip
	:: transfer[side] == TRANSFER_WRITING_FILE && from == HOST ->
		transfer[side] = TRANSFER_WRITING_FOLDER;
	:: transfer[side] == TRANSFER_WRITING_FOLDER && from == HOST ->
		skip
	:: else
	fi;
	if
	:: true ->
		incomplete[side] = incomplete[side] - amount
	:: else
	fi;
}

#define DONE_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_LISTING || transfer[side] == TRANSFER_COMPLETE))

#define DONE_OPEN(side, from, id, contents, amount) \
	(request_open[side] > 0)

#define DONE_FITS(side, from, id, contents, amount) \
	(true)

#define DONE_IGNORED(side, from, id, contents, amount) \
	(false)

inline done_changes(side, from, id, contents, amount) {
	if
	:: (transfer[side] == TRANSFER_LISTING || transfer[side] == TRANSFER_COMPLETE) ->
		transfer[side] = TRANSFER_FINISHED;
	:: else
	fi;
	if
	:: request_open[side] > 0 ->
		request_open[side]--
	:: else
	fi;
}

#define FAILURE_ORDER(side, from, id, contents, amount) \
	((transfer[side] == TRANSFER_LISTING || transfer[side] == TRANSFER_SENDING || transfer[side] == TRANSFER_SENDING_FILE || transfer[side] == TRANSFER_SENDING_FOLDER || transfer[side] == TRANSFER_WRITING || transfer[side] == TRANSFER_WRITING_FILE || transfer[side] == TRANSFER_WRITING_FOLDER || transfer[side] == TRANSFER_COMPLETE))

#define FAILURE_OPEN(side, from, id, contents, amount) \
	(request_open[side] > 0)

#define FAILURE_FITS(side, from, id, contents, amount) \
	(true)

#define FAILURE_IGNORED(side, from, id, contents, amount) \
	(false)

inline failure_changes(side, from, id, contents, amount) {
	if
	:: (transfer[side] == TRANSFER_LISTING || transfer[side] == TRANSFER_SENDING || transfer[side] == TRANSFER_SENDING_FILE || transfer[side] == TRANSFER_SENDING_FOLDER || transfer[side] == TRANSFER_WRITING || transfer[side] == TRANSFER_WRITING_FILE || transfer[side] == TRANSFER_WRITING_FOLDER || transfer[side] == TRANSFER_COMPLETE) ->
		transfer[side] = TRANSFER_FINISHED;
	:: else
	fi;
	if
	:: request_open[side] > 0 ->
		request_open[side]--
	:: else
	fi;
}

#ifndef REQUIRE
#define REQUIRE(right, words) if :: right :: else -> printf(words); assert(false) fi
#endif

inline host_chooses_request() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_REQUEST, 0, 0, 0) && REQUEST_ORDER(HOST, HOST, 0, 0, 0) && REQUEST_OPEN(HOST, HOST, 0, 0, 0) && REQUEST_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_REQUEST; id = 0; contents = 0; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_REQUEST, 0, WHEN_PUT, 0) && REQUEST_ORDER(HOST, HOST, 0, WHEN_PUT, 0) && REQUEST_OPEN(HOST, HOST, 0, WHEN_PUT, 0) && REQUEST_FITS(HOST, HOST, 0, WHEN_PUT, 0) ->
		type = M_REQUEST; id = 0; contents = WHEN_PUT; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_REQUEST, 0, WHEN_LIST, 0) && REQUEST_ORDER(HOST, HOST, 0, WHEN_LIST, 0) && REQUEST_OPEN(HOST, HOST, 0, WHEN_LIST, 0) && REQUEST_FITS(HOST, HOST, 0, WHEN_LIST, 0) ->
		type = M_REQUEST; id = 0; contents = WHEN_LIST; amount = 0 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_REQUEST, 0, WHEN_CHANGE, 0) && REQUEST_ORDER(HOST, HOST, 0, WHEN_CHANGE, 0) && REQUEST_OPEN(HOST, HOST, 0, WHEN_CHANGE, 0) && REQUEST_FITS(HOST, HOST, 0, WHEN_CHANGE, 0) ->
		type = M_REQUEST; id = 0; contents = WHEN_CHANGE; amount = 0 }
	fi
}

inline host_chooses_entry() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_ENTRY, 0, 0, 1) && ENTRY_ORDER(HOST, HOST, 0, 0, 1) && ENTRY_OPEN(HOST, HOST, 0, 0, 1) && ENTRY_FITS(HOST, HOST, 0, 0, 1) ->
		type = M_ENTRY; id = 0; contents = 0; amount = 1 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_ENTRY, 0, WHEN_FILE, 1) && ENTRY_ORDER(HOST, HOST, 0, WHEN_FILE, 1) && ENTRY_OPEN(HOST, HOST, 0, WHEN_FILE, 1) && ENTRY_FITS(HOST, HOST, 0, WHEN_FILE, 1) ->
		type = M_ENTRY; id = 0; contents = WHEN_FILE; amount = 1 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_ENTRY, 0, WHEN_FOLDER, 1) && ENTRY_ORDER(HOST, HOST, 0, WHEN_FOLDER, 1) && ENTRY_OPEN(HOST, HOST, 0, WHEN_FOLDER, 1) && ENTRY_FITS(HOST, HOST, 0, WHEN_FOLDER, 1) ->
		type = M_ENTRY; id = 0; contents = WHEN_FOLDER; amount = 1 }
	fi
}

inline host_chooses_data() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_DATA, 0, 0, 0) && DATA_ORDER(HOST, HOST, 0, 0, 0) && DATA_OPEN(HOST, HOST, 0, 0, 0) && DATA_FITS(HOST, HOST, 0, 0, 0) ->
		type = M_DATA; id = 0; contents = 0; amount = 0 }
	fi
}

inline host_chooses_whole() {
	if
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_WHOLE, 0, 0, 1) && WHOLE_ORDER(HOST, HOST, 0, 0, 1) && WHOLE_OPEN(HOST, HOST, 0, 0, 1) && WHOLE_FITS(HOST, HOST, 0, 0, 1) ->
		type = M_WHOLE; id = 0; contents = 0; amount = 1 }
	:: d_step { len(to_guest) < CHANNEL && may_send(HOST, M_WHOLE, 0, WHEN_OUTERMOST, 1) && WHOLE_ORDER(HOST, HOST, 0, WHEN_OUTERMOST, 1) && WHOLE_OPEN(HOST, HOST, 0, WHEN_OUTERMOST, 1) && WHOLE_FITS(HOST, HOST, 0, WHEN_OUTERMOST, 1) ->
		type = M_WHOLE; id = 0; contents = WHEN_OUTERMOST; amount = 1 }
	fi
}

inline host_sends() {
	atomic {
		if
		:: host_chooses_request()
		:: host_chooses_entry()
		:: host_chooses_data()
		:: host_chooses_whole()
		fi;
		d_step {
			prepare(HOST);
			printf("event: host sends %d %d %d %d\n", type, id, contents, amount);
			to_guest ! type, id, contents, amount;
			if
			:: type == M_REQUEST ->
				request_changes(HOST, HOST, id, contents, amount)
			:: type == M_ENTRY ->
				entry_changes(HOST, HOST, id, contents, amount)
			:: type == M_DATA ->
				data_changes(HOST, HOST, id, contents, amount)
			:: type == M_WHOLE ->
				whole_changes(HOST, HOST, id, contents, amount)
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
		:: type == M_ENTRY ->
			if
			:: ENTRY_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(ENTRY_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(ENTRY_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				entry_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_DATA ->
			if
			:: DATA_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(DATA_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(DATA_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				data_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_WHOLE ->
			if
			:: WHOLE_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(WHOLE_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(WHOLE_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				whole_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_DONE ->
			if
			:: DONE_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(DONE_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(DONE_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				done_changes(HOST, GUEST, id, contents, amount);
				received(HOST)
			:: else ->
				printf("event: host refuses %d %d %d %d\n", type, id, contents, amount);
				refused(HOST)
			fi
		:: type == M_FAILURE ->
			if
			:: FAILURE_ORDER(HOST, GUEST, id, contents, amount) ->
				printf("event: host receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(FAILURE_OPEN(HOST, GUEST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(FAILURE_FITS(HOST, GUEST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				failure_changes(HOST, GUEST, id, contents, amount);
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
		:: ((type == M_ENTRY && ENTRY_IGNORED(HOST, GUEST, id, contents, amount) && !ENTRY_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_DATA && DATA_IGNORED(HOST, GUEST, id, contents, amount) && !DATA_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_WHOLE && WHOLE_IGNORED(HOST, GUEST, id, contents, amount) && !WHOLE_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_DONE && DONE_IGNORED(HOST, GUEST, id, contents, amount) && !DONE_ORDER(HOST, GUEST, id, contents, amount)) || (type == M_FAILURE && FAILURE_IGNORED(HOST, GUEST, id, contents, amount) && !FAILURE_ORDER(HOST, GUEST, id, contents, amount))) ->
			printf("event: host ignores %d %d %d %d\n", type, id, contents, amount);
			to_host ? type, id, contents, amount
		:: else ->
			break
		fi
	:: else -> break
	od;
}

inline guest_chooses_entry() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ENTRY, 0, 0, 1) && ENTRY_ORDER(GUEST, GUEST, 0, 0, 1) && ENTRY_OPEN(GUEST, GUEST, 0, 0, 1) && ENTRY_FITS(GUEST, GUEST, 0, 0, 1) ->
		type = M_ENTRY; id = 0; contents = 0; amount = 1 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ENTRY, 0, WHEN_FILE, 1) && ENTRY_ORDER(GUEST, GUEST, 0, WHEN_FILE, 1) && ENTRY_OPEN(GUEST, GUEST, 0, WHEN_FILE, 1) && ENTRY_FITS(GUEST, GUEST, 0, WHEN_FILE, 1) ->
		type = M_ENTRY; id = 0; contents = WHEN_FILE; amount = 1 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_ENTRY, 0, WHEN_FOLDER, 1) && ENTRY_ORDER(GUEST, GUEST, 0, WHEN_FOLDER, 1) && ENTRY_OPEN(GUEST, GUEST, 0, WHEN_FOLDER, 1) && ENTRY_FITS(GUEST, GUEST, 0, WHEN_FOLDER, 1) ->
		type = M_ENTRY; id = 0; contents = WHEN_FOLDER; amount = 1 }
	fi
}

inline guest_chooses_data() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_DATA, 0, 0, 0) && DATA_ORDER(GUEST, GUEST, 0, 0, 0) && DATA_OPEN(GUEST, GUEST, 0, 0, 0) && DATA_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_DATA; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_whole() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_WHOLE, 0, 0, 1) && WHOLE_ORDER(GUEST, GUEST, 0, 0, 1) && WHOLE_OPEN(GUEST, GUEST, 0, 0, 1) && WHOLE_FITS(GUEST, GUEST, 0, 0, 1) ->
		type = M_WHOLE; id = 0; contents = 0; amount = 1 }
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_WHOLE, 0, WHEN_OUTERMOST, 1) && WHOLE_ORDER(GUEST, GUEST, 0, WHEN_OUTERMOST, 1) && WHOLE_OPEN(GUEST, GUEST, 0, WHEN_OUTERMOST, 1) && WHOLE_FITS(GUEST, GUEST, 0, WHEN_OUTERMOST, 1) ->
		type = M_WHOLE; id = 0; contents = WHEN_OUTERMOST; amount = 1 }
	fi
}

inline guest_chooses_done() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_DONE, 0, 0, 0) && DONE_ORDER(GUEST, GUEST, 0, 0, 0) && DONE_OPEN(GUEST, GUEST, 0, 0, 0) && DONE_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_DONE; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_chooses_failure() {
	if
	:: d_step { len(to_host) < CHANNEL && may_send(GUEST, M_FAILURE, 0, 0, 0) && FAILURE_ORDER(GUEST, GUEST, 0, 0, 0) && FAILURE_OPEN(GUEST, GUEST, 0, 0, 0) && FAILURE_FITS(GUEST, GUEST, 0, 0, 0) ->
		type = M_FAILURE; id = 0; contents = 0; amount = 0 }
	fi
}

inline guest_sends() {
	atomic {
		if
		:: guest_chooses_entry()
		:: guest_chooses_data()
		:: guest_chooses_whole()
		:: guest_chooses_done()
		:: guest_chooses_failure()
		fi;
		d_step {
			prepare(GUEST);
			printf("event: guest sends %d %d %d %d\n", type, id, contents, amount);
			to_host ! type, id, contents, amount;
			if
			:: type == M_ENTRY ->
				entry_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_DATA ->
				data_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_WHOLE ->
				whole_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_DONE ->
				done_changes(GUEST, GUEST, id, contents, amount)
			:: type == M_FAILURE ->
				failure_changes(GUEST, GUEST, id, contents, amount)
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
		:: type == M_REQUEST ->
			if
			:: REQUEST_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(REQUEST_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(REQUEST_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				request_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_ENTRY ->
			if
			:: ENTRY_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(ENTRY_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(ENTRY_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				entry_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_DATA ->
			if
			:: DATA_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(DATA_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(DATA_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				data_changes(GUEST, HOST, id, contents, amount);
				received(GUEST)
			:: else ->
				printf("event: guest refuses %d %d %d %d\n", type, id, contents, amount);
				refused(GUEST)
			fi
		:: type == M_WHOLE ->
			if
			:: WHOLE_ORDER(GUEST, HOST, id, contents, amount) ->
				printf("event: guest receives %d %d %d %d\n", type, id, contents, amount);
				REQUIRE(WHOLE_OPEN(GUEST, HOST, id, contents, amount), "fault: no request has this answer\n");
				REQUIRE(WHOLE_FITS(GUEST, HOST, id, contents, amount), "fault: a counter exceeds its maximum\n");
				whole_changes(GUEST, HOST, id, contents, amount);
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
		:: ((type == M_REQUEST && REQUEST_IGNORED(GUEST, HOST, id, contents, amount) && !REQUEST_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_ENTRY && ENTRY_IGNORED(GUEST, HOST, id, contents, amount) && !ENTRY_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_DATA && DATA_IGNORED(GUEST, HOST, id, contents, amount) && !DATA_ORDER(GUEST, HOST, id, contents, amount)) || (type == M_WHOLE && WHOLE_IGNORED(GUEST, HOST, id, contents, amount) && !WHOLE_ORDER(GUEST, HOST, id, contents, amount))) ->
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
