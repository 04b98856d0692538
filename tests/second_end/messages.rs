//! The messages of sandboxd, from the tables of protocol/SPEC.md.

use Id::*;
use Kind::*;
use Sender::*;

pub const VERSION: u32 = 4;
/// The digest of each version, from the first on.
pub const DIGESTS: [u64; 4] =
    [0xbaf4a9af3981caf5, 0x928513142a578a32, 0x10b62806af5993c0, 0x2957adf01e17c144];
pub const MAGIC: u64 = 0xa6d766f7263696d;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sender {
    Host,
    Guest,
}

/// The valid ids of a header.
pub enum Id {
    Zero,
    Any,
    NotZero,
}

/// The type of a field on the wire; bounds are in bytes, `size` is the size of an integer.
pub enum Kind {
    Int {
        size: usize,
    },
    Constant {
        size: usize,
        value: u64,
    },
    /// A closed enum: its values, each with the version that introduced it.
    Closed {
        size: usize,
        values: &'static [(u64, u32)],
    },
    Bytes {
        max: usize,
        nul: bool,
    },
    List {
        items: usize,
        each: usize,
        all: usize,
        nul: bool,
    },
    Tail {
        max: usize,
    },
}

pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub since: u32,
}

pub struct Message {
    pub number: u16,
    pub name: &'static str,
    pub sender: Sender,
    pub id: Id,
    pub since: u32,
    pub fields: &'static [Field],
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 1 }
}

const fn since(since: u32, field: Field) -> Field {
    Field { since, ..field }
}

const fn u8(name: &'static str) -> Field {
    field(name, Int { size: 1 })
}

const fn u16(name: &'static str) -> Field {
    field(name, Int { size: 2 })
}

const fn u32(name: &'static str) -> Field {
    field(name, Int { size: 4 })
}

const fn u64(name: &'static str) -> Field {
    field(name, Int { size: 8 })
}

const fn closed(name: &'static str, values: &'static [(u64, u32)]) -> Field {
    field(name, Closed { size: 1, values })
}

const fn path(name: &'static str, max: usize) -> Field {
    field(name, Bytes { max, nul: false })
}

const fn strings(name: &'static str, items: usize, all: usize) -> Field {
    field(name, List { items, each: 131071, all, nul: false })
}

const MAGIC_FIELD: Field = field("magic", Constant { size: 8, value: MAGIC });
const GREETING: &[Field] =
    &[MAGIC_FIELD, u32("version"), u64("digest"), u32("max_body"), u64("nonce")];
const STREAM: &[(u64, u32)] = &[(1, 1), (2, 1)];
const ENDING: &[(u64, u32)] = &[(0, 1), (1, 1), (2, 2)];
const STDIN_KIND: &[(u64, u32)] = &[(0, 1), (1, 1)];
const BOOL: &[(u64, u32)] = &[(0, 1), (1, 1)];

const fn message(
    number: u16,
    name: &'static str,
    sender: Sender,
    id: Id,
    fields: &'static [Field],
) -> Message {
    Message { number, name, sender, id, since: 1, fields }
}

pub static MESSAGES: &[Message] = &[
    message(1, "hello", Host, Zero, GREETING),
    message(2, "ready", Guest, Zero, GREETING),
    message(
        3,
        "resume",
        Host,
        Zero,
        &[u64("realtime_ns"), field("entropy", Bytes { max: 64, nul: true })],
    ),
    message(4, "ping", Host, Zero, &[u64("token")]),
    message(5, "pong", Guest, Zero, &[u64("token")]),
    message(6, "status_request", Host, Zero, &[]),
    message(
        7,
        "status",
        Guest,
        Zero,
        &[
            u64("started_ns"),
            u64("opened_ns"),
            u64("now_ns"),
            u64("frames_seen"),
            u64("frames_refused"),
            u64("execs"),
            u64("bytes_dropped"),
            u32("descriptors"),
            u8("zombies"),
            u64("memory"),
        ],
    ),
    message(8, "shutdown", Host, Zero, &[]),
    message(9, "goodbye", Guest, Zero, &[u8("reason")]),
    message(
        10,
        "error",
        Guest,
        Any,
        &[u16("code"), u16("refused_type"), u32("offset"), u8("field")],
    ),
    Message { since: 2, ..message(11, "keep", Host, Zero, &[]) },
    message(
        16,
        "exec_request",
        Host,
        NotZero,
        &[
            path("command", 4096),
            path("cwd", 4096),
            strings("argv", 16384, 1048576),
            strings("env", 16384, 1048576),
            u32("stdout_credit"),
            u32("stderr_credit"),
            path("user", 128),
            closed("stdin_from", STDIN_KIND),
            u16("rows"),
            u16("columns"),
            u32("max_processes"),
            u64("max_memory"),
            since(2, strings("more_argv", 262144, 2097152)),
            since(2, strings("more_env", 262144, 2097152)),
            since(4, closed("beside", BOOL)),
            since(4, closed("joined", BOOL)),
        ],
    ),
    message(
        17,
        "exec_output",
        Guest,
        NotZero,
        &[closed("stream", STREAM), field("data", Tail { max: 65536 })],
    ),
    message(
        18,
        "exec_response",
        Guest,
        NotZero,
        &[closed("ending", ENDING), u8("status"), since(3, u64("memory"))],
    ),
    message(
        19,
        "exec_failed",
        Guest,
        NotZero,
        &[
            u8("stage"),
            u32("error_number"),
            since(2, field("missing", Bytes { max: 96, nul: true })),
        ],
    ),
    message(20, "exec_signal", Host, NotZero, &[u8("signal")]),
    message(21, "exec_kill", Host, NotZero, &[]),
    message(22, "exec_credit", Host, NotZero, &[closed("stream", STREAM), u32("amount")]),
    message(23, "exec_stdin", Host, NotZero, &[field("data", Tail { max: 65536 })]),
    message(24, "exec_stdin_credit", Guest, NotZero, &[u32("amount")]),
    message(25, "exec_stdin_closed", Guest, NotZero, &[]),
    message(26, "exec_resize", Host, NotZero, &[u16("rows"), u16("columns")]),
    message(27, "exec_terminate", Host, NotZero, &[]),
];
