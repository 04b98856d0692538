-- A Wireshark dissector for sandboxd, version 4, over TCP.
-- Generated from sandboxd.toml by `microvm-proto gen`.
--
--   tshark -X lua_script:sandboxd.lua -o sandboxd.port:PORT -r FILE
--
-- PORT is the port of the guest. Without it, use `Decode As` in Wireshark. The direction of the
-- messages is then not checked.

local HEADER_SIZE, PREFIX_SIZE = 12, 4

-- The prefix of filters and preferences. If Wireshark already has a protocol of that name,
-- `_frames` is appended.
local NAME = "sandboxd"
local free, protocol = pcall(Proto, NAME, "sandboxd, version 4")
if not free then
  NAME = NAME .. "_frames"
  protocol = Proto(NAME, "sandboxd, version 4")
end

protocol.prefs.port = Pref.uint("TCP port of the guest", 0, "0 if it is not known")

-- A field of a message, struct or flags has a dot in its name here. These others have none, so the
-- names cannot clash.
local fields = {
  body_length = ProtoField.uint32(NAME .. ".body_length", "body_length"),
  type = ProtoField.uint16(NAME .. ".type", "type", base.DEC, { [1] = "hello", [2] = "ready", [3] = "resume", [4] = "ping", [5] = "pong", [6] = "status_request", [7] = "status", [8] = "shutdown", [9] = "goodbye", [10] = "error", [11] = "keep", [16] = "exec_request", [17] = "exec_output", [18] = "exec_response", [19] = "exec_failed", [20] = "exec_signal", [21] = "exec_kill", [27] = "exec_terminate", [22] = "exec_credit", [23] = "exec_stdin", [24] = "exec_stdin_credit", [25] = "exec_stdin_closed", [26] = "exec_resize" }),
  flags = ProtoField.uint16(NAME .. ".flags", "flags", base.HEX),
  id = ProtoField.uint32(NAME .. ".id", "id"),
  length = ProtoField.uint32(NAME .. ".length", "length"),
  count = ProtoField.uint32(NAME .. ".count", "count"),
  dropped = ProtoField.bytes(NAME .. ".dropped", "dropped"),
  fault = ProtoField.uint8(NAME .. ".fault", "fault", base.DEC, { [1] = "unknown_type", [2] = "bad_direction", [3] = "reserved_flags", [4] = "bad_id", [5] = "body_too_long", [6] = "truncated", [7] = "too_long", [8] = "too_many", [9] = "total_too_long", [10] = "unknown_value", [11] = "embedded_nul", [12] = "trailing_bytes", [13] = "not_utf8", [14] = "not_finite", [15] = "bad_check", [16] = "bad_stuffing" }),
  fault_offset = ProtoField.uint32(NAME .. ".fault_offset", "offset of the fault"),
  fault_field = ProtoField.uint8(NAME .. ".fault_field", "field of the fault"),
  ["hello.magic"] = ProtoField.uint64(NAME .. ".hello.magic", "magic", base.DEC, nil, nil, "The bytes `microvm` and a newline."),
  ["hello.version"] = ProtoField.uint32(NAME .. ".hello.version", "version", base.DEC, nil, nil, "The highest version of this protocol that the sender speaks."),
  ["hello.digest"] = ProtoField.uint64(NAME .. ".hello.digest", "digest", base.DEC, nil, nil, "The digest of the sender's schema."),
  ["hello.max_body"] = ProtoField.uint32(NAME .. ".hello.max_body", "max_body", base.DEC, nil, nil, "The longest body that the sender can receive, in bytes; information only."),
  ["hello.nonce"] = ProtoField.uint64(NAME .. ".hello.nonce", "nonce", base.DEC, nil, nil, "A random number, which is a new one for each `hello`."),
  ["ready.magic"] = ProtoField.uint64(NAME .. ".ready.magic", "magic", base.DEC, nil, nil, "The bytes `microvm` and a newline, as in `hello`."),
  ["ready.version"] = ProtoField.uint32(NAME .. ".ready.version", "version", base.DEC, nil, nil, "The highest version of this protocol that the sender speaks."),
  ["ready.digest"] = ProtoField.uint64(NAME .. ".ready.digest", "digest", base.DEC, nil, nil, "The digest of the sender's schema."),
  ["ready.max_body"] = ProtoField.uint32(NAME .. ".ready.max_body", "max_body", base.DEC, nil, nil, "The longest body that the sender can receive, in bytes; information only."),
  ["ready.nonce"] = ProtoField.uint64(NAME .. ".ready.nonce", "nonce", base.DEC, nil, nil, "The nonce of the `hello` that this answers."),
  ["resume.realtime_ns"] = ProtoField.uint64(NAME .. ".resume.realtime_ns", "realtime_ns", base.DEC, nil, nil, "The wall clock, in nanoseconds since 1970-01-01 UTC."),
  ["resume.entropy"] = ProtoField.bytes(NAME .. ".resume.entropy", "entropy", base.NONE, "Random bytes for the guest's kernel, which counts all their bits as entropy."),
  ["ping.token"] = ProtoField.uint64(NAME .. ".ping.token", "token", base.DEC, nil, nil, "Any number."),
  ["pong.token"] = ProtoField.uint64(NAME .. ".pong.token", "token", base.DEC, nil, nil, "The number from the `ping`."),
  ["status.started_ns"] = ProtoField.uint64(NAME .. ".status.started_ns", "started_ns", base.DEC, nil, nil, "The time at which the daemon started."),
  ["status.opened_ns"] = ProtoField.uint64(NAME .. ".status.opened_ns", "opened_ns", base.DEC, nil, nil, "The time at which the daemon had opened its port to the host."),
  ["status.now_ns"] = ProtoField.uint64(NAME .. ".status.now_ns", "now_ns", base.DEC, nil, nil, "The time at which the daemon wrote this message."),
  ["status.frames_seen"] = ProtoField.uint64(NAME .. ".status.frames_seen", "frames_seen", base.DEC, nil, nil, "Number of well-formed frames since the daemon started, including the `status_request`."),
  ["status.frames_refused"] = ProtoField.uint64(NAME .. ".status.frames_refused", "frames_refused", base.DEC, nil, nil, "Number of frames that the daemon answered with `error`."),
  ["status.execs"] = ProtoField.uint64(NAME .. ".status.execs", "execs", base.DEC, nil, nil, "Number of commands that the daemon has started, without failed starts."),
  ["status.bytes_dropped"] = ProtoField.uint64(NAME .. ".status.bytes_dropped", "bytes_dropped", base.DEC, nil, nil, "Number of bytes skipped in search of a `hello`, including those of the malformed frame before."),
  ["status.descriptors"] = ProtoField.uint32(NAME .. ".status.descriptors", "descriptors", base.DEC, nil, nil, "Number of files that the daemon has open."),
  ["status.zombies"] = ProtoField.uint8(NAME .. ".status.zombies", "zombies", base.DEC, nil, nil, "1 if a child process has exited and was not reaped yet, otherwise 0."),
  ["status.memory"] = ProtoField.uint64(NAME .. ".status.memory", "memory", base.DEC, nil, nil, "The resident memory of the daemon, in bytes; 0 if it has no `/proc`."),
  ["goodbye.reason"] = ProtoField.uint8(NAME .. ".goodbye.reason", "reason", base.DEC, { [1] = "shutdown", [2] = "broken" }, nil, "The reason."),
  ["error.code"] = ProtoField.uint16(NAME .. ".error.code", "code", base.DEC, { [1] = "unknown_type", [2] = "bad_direction", [3] = "reserved_flags", [4] = "bad_id", [5] = "body_too_long", [6] = "truncated", [7] = "too_long", [8] = "too_many", [9] = "total_too_long", [10] = "unknown_value", [11] = "embedded_nul", [12] = "trailing_bytes", [13] = "not_utf8", [14] = "not_finite", [15] = "bad_check", [16] = "bad_stuffing", [64] = "busy", [65] = "unknown_id", [66] = "stale_id", [67] = "over_credit" }, nil, "The reason."),
  ["error.refused_type"] = ProtoField.uint16(NAME .. ".error.refused_type", "refused_type", base.DEC, nil, nil, "The type in the refused frame's header."),
  ["error.offset"] = ProtoField.uint32(NAME .. ".error.offset", "offset", base.DEC, nil, nil, "The position of the fault, in bytes from the start of the frame; 0 for codes from 64 on."),
  ["error.field"] = ProtoField.uint8(NAME .. ".error.field", "field", base.DEC, nil, nil, "The number of the faulty field, from 1; 0 for the header, for `trailing_bytes`, and for codes from 64 on."),
  ["exec_request.command"] = ProtoField.bytes(NAME .. ".exec_request.command", "command", base.NONE, "The file to execute. Without a slash, it is looked up in PATH."),
  ["exec_request.cwd"] = ProtoField.bytes(NAME .. ".exec_request.cwd", "cwd", base.NONE, "The working directory. When it is empty, it is the user's home, or `/` if the home cannot be entered."),
  ["exec_request.argv"] = ProtoField.bytes(NAME .. ".exec_request.argv", "argv", base.NONE, "The arguments, as for `execve`: the first is the program's own name."),
  ["exec_request.env"] = ProtoField.bytes(NAME .. ".exec_request.env", "env", base.NONE, "The environment variables, as `KEY=VALUE`. The guest adds defaults, such as PATH, for those that are missing."),
  ["exec_request.stdout_credit"] = ProtoField.uint32(NAME .. ".exec_request.stdout_credit", "stdout_credit", base.DEC, nil, nil, "Number of bytes of standard output that the guest may send before the first `exec_credit`."),
  ["exec_request.stderr_credit"] = ProtoField.uint32(NAME .. ".exec_request.stderr_credit", "stderr_credit", base.DEC, nil, nil, "Number of bytes of standard error that the guest may send before the first `exec_credit`."),
  ["exec_request.user"] = ProtoField.bytes(NAME .. ".exec_request.user", "user", base.NONE, "The user to run as: `NAME`, `UID`, or either with `:GROUP`. If it is empty, the daemon's own user, which is root in a machine."),
  ["exec_request.stdin_from"] = ProtoField.uint8(NAME .. ".exec_request.stdin_from", "stdin_from", base.DEC, { [0] = "null", [1] = "host" }, nil, "The source of standard input. The source for a terminal is always the host."),
  ["exec_request.rows"] = ProtoField.uint16(NAME .. ".exec_request.rows", "rows", base.DEC, nil, nil, "Number of lines of the command's terminal; 0: the command has no terminal."),
  ["exec_request.columns"] = ProtoField.uint16(NAME .. ".exec_request.columns", "columns", base.DEC, nil, nil, "Number of columns of the terminal."),
  ["exec_request.max_processes"] = ProtoField.uint32(NAME .. ".exec_request.max_processes", "max_processes", base.DEC, nil, nil, "Maximum number of processes and threads of the command at a time, if the guest has cgroups; 0: as many as the kernel allows."),
  ["exec_request.max_memory"] = ProtoField.uint64(NAME .. ".exec_request.max_memory", "max_memory", base.DEC, nil, nil, "Maximum number of bytes of memory that the command's processes may use together, if the guest has cgroups; 0: no limit."),
  ["exec_request.more_argv"] = ProtoField.bytes(NAME .. ".exec_request.more_argv", "more_argv", base.NONE, "The arguments after those in `argv`, for which `argv` has no room."),
  ["exec_request.more_env"] = ProtoField.bytes(NAME .. ".exec_request.more_env", "more_env", base.NONE, "The entries after those in `env`, for which `env` has no room."),
  ["exec_request.beside"] = ProtoField.bool(NAME .. ".exec_request.beside", "beside", base.NONE, nil, nil, "True if the command may run at the same time as other commands whose `beside` is true; false if it may only run alone."),
  ["exec_request.joined"] = ProtoField.bool(NAME .. ".exec_request.joined", "joined", base.NONE, nil, nil, "True if standard error is the same pipe as standard output, so that the output of both arrives in order, as standard output."),
  ["exec_output.stream"] = ProtoField.uint8(NAME .. ".exec_output.stream", "stream", base.DEC, { [1] = "stdout", [2] = "stderr" }, nil, "The stream that the command wrote to."),
  ["exec_output.data"] = ProtoField.bytes(NAME .. ".exec_output.data", "data", base.NONE, "The bytes, at least one."),
  ["exec_response.ending"] = ProtoField.uint8(NAME .. ".exec_response.ending", "ending", base.DEC, { [0] = "exited", [1] = "signalled", [2] = "out_of_memory" }, nil, "The way in which the command ended."),
  ["exec_response.status"] = ProtoField.uint8(NAME .. ".exec_response.status", "status", base.DEC, nil, nil, "The exit code or the number of the signal, depending on `ending`."),
  ["exec_response.memory"] = ProtoField.uint64(NAME .. ".exec_response.memory", "memory", base.DEC, nil, nil, "The peak memory use of the command and all processes that it started, in bytes; 0 if it is not known."),
  ["exec_failed.stage"] = ProtoField.uint8(NAME .. ".exec_failed.stage", "stage", base.DEC, { [1] = "pipe", [2] = "fork", [3] = "setup", [4] = "chdir", [5] = "lookup", [6] = "exec", [7] = "interpreter", [8] = "user", [9] = "limit" }, nil, "The step that failed."),
  ["exec_failed.error_number"] = ProtoField.uint32(NAME .. ".exec_failed.error_number", "error_number", base.DEC, nil, nil, "The `errno` of the failure, as Linux numbers it."),
  ["exec_failed.missing"] = ProtoField.bytes(NAME .. ".exec_failed.missing", "missing", base.NONE, "For the stage `interpreter`, the first bytes of the path of the missing interpreter, which the host cannot know; otherwise empty."),
  ["exec_signal.signal"] = ProtoField.uint8(NAME .. ".exec_signal.signal", "signal", base.DEC, nil, nil, "The number of the signal. 0 and numbers that the guest's kernel does not have are ignored."),
  ["exec_credit.stream"] = ProtoField.uint8(NAME .. ".exec_credit.stream", "stream", base.DEC, { [1] = "stdout", [2] = "stderr" }, nil, "The output stream of which the guest may send more."),
  ["exec_credit.amount"] = ProtoField.uint32(NAME .. ".exec_credit.amount", "amount", base.DEC, nil, nil, "Number of bytes that the guest may send in addition. The total number that it may send is limited to 4294967295."),
  ["exec_stdin.data"] = ProtoField.bytes(NAME .. ".exec_stdin.data", "data", base.NONE, "The bytes."),
  ["exec_stdin_credit.amount"] = ProtoField.uint32(NAME .. ".exec_stdin_credit.amount", "amount", base.DEC, nil, nil, "Number of bytes that the host may send in addition, at least one."),
  ["exec_resize.rows"] = ProtoField.uint16(NAME .. ".exec_resize.rows", "rows", base.DEC, nil, nil, "Number of lines."),
  ["exec_resize.columns"] = ProtoField.uint16(NAME .. ".exec_resize.columns", "columns", base.DEC, nil, nil, "Number of columns."),
}
protocol.fields = fields

local malformed = ProtoExpert.new(
  NAME .. ".malformed", "malformed frame", expert.group.MALFORMED, expert.severity.ERROR
)
protocol.experts = { malformed }

-- The code and the description of each fault.
local faults = {
  ["unknown_type"] = { 1, "No message has this type." },
  ["bad_direction"] = { 2, "Only the other side may send this message." },
  ["reserved_flags"] = { 3, "The header's flags are not 0." },
  ["bad_id"] = { 4, "The id is 0 but the message needs one, or not 0 but the message has none." },
  ["body_too_long"] = { 5, "The body is longer than this message's maximum." },
  ["truncated"] = { 6, "A field, or the length of a field, extends beyond the body." },
  ["too_long"] = { 7, "A value of variable length is longer than its bound." },
  ["too_many"] = { 8, "A list has more items than its bound." },
  ["total_too_long"] = { 9, "The items of a list, with their lengths, exceed its total bound." },
  ["unknown_value"] = { 10, "A value is not among those that its field allows." },
  ["embedded_nul"] = { 11, "A value that must not contain a NUL byte contains one." },
  ["trailing_bytes"] = { 12, "The body continues after its last field." },
  ["not_utf8"] = { 13, "Text is not valid UTF-8." },
  ["not_finite"] = { 14, "A float that must be finite is a NaN or an infinity." },
  ["bad_check"] = { 15, "The frame's check is wrong." },
  ["bad_stuffing"] = { 16, "The bytes between two delimiters are not a stuffed frame." },
}

-- The fields of structs. `known` lists the valid values of a field, as they are encoded; `unknown`
-- has the bits that must not be set.
local structs = {
}

-- The messages by type.
local messages = {
  [1] = { name = "hello", sender = "host", id = "none", max_body = 32, fields = {
    { number = 1, field = "hello.magic", kind = "scalar", size = 8, read = "le_uint64", known = { ["6d6963726f766d0a"] = true } },
    { number = 2, field = "hello.version", kind = "scalar", size = 4, read = "le_uint" },
    { number = 3, field = "hello.digest", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 4, field = "hello.max_body", kind = "scalar", size = 4, read = "le_uint" },
    { number = 5, field = "hello.nonce", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [2] = { name = "ready", sender = "guest", id = "none", max_body = 32, fields = {
    { number = 1, field = "ready.magic", kind = "scalar", size = 8, read = "le_uint64", known = { ["6d6963726f766d0a"] = true } },
    { number = 2, field = "ready.version", kind = "scalar", size = 4, read = "le_uint" },
    { number = 3, field = "ready.digest", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 4, field = "ready.max_body", kind = "scalar", size = 4, read = "le_uint" },
    { number = 5, field = "ready.nonce", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [3] = { name = "resume", sender = "host", id = "none", max_body = 76, fields = {
    { number = 1, field = "resume.realtime_ns", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 2, field = "resume.entropy", kind = "bytes", max = 64, nul = true },
  } },
  [4] = { name = "ping", sender = "host", id = "none", max_body = 8, fields = {
    { number = 1, field = "ping.token", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [5] = { name = "pong", sender = "guest", id = "none", max_body = 8, fields = {
    { number = 1, field = "pong.token", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [6] = { name = "status_request", sender = "host", id = "none", max_body = 0, fields = {} },
  [7] = { name = "status", sender = "guest", id = "none", max_body = 69, fields = {
    { number = 1, field = "status.started_ns", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 2, field = "status.opened_ns", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 3, field = "status.now_ns", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 4, field = "status.frames_seen", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 5, field = "status.frames_refused", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 6, field = "status.execs", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 7, field = "status.bytes_dropped", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 8, field = "status.descriptors", kind = "scalar", size = 4, read = "le_uint" },
    { number = 9, field = "status.zombies", kind = "scalar", size = 1, read = "le_uint" },
    { number = 10, field = "status.memory", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [8] = { name = "shutdown", sender = "host", id = "none", max_body = 0, fields = {} },
  [9] = { name = "goodbye", sender = "guest", id = "none", max_body = 1, fields = {
    { number = 1, field = "goodbye.reason", kind = "scalar", size = 1 },
  } },
  [10] = { name = "error", sender = "guest", id = "any", max_body = 9, fields = {
    { number = 1, field = "error.code", kind = "scalar", size = 2 },
    { number = 2, field = "error.refused_type", kind = "scalar", size = 2, read = "le_uint" },
    { number = 3, field = "error.offset", kind = "scalar", size = 4, read = "le_uint" },
    { number = 4, field = "error.field", kind = "scalar", size = 1, read = "le_uint" },
  } },
  [11] = { name = "keep", sender = "host", id = "none", max_body = 0, fields = {} },
  [16] = { name = "exec_request", sender = "host", id = "required", max_body = 6299831, fields = {
    { number = 1, field = "exec_request.command", kind = "bytes", max = 4096, nul = false },
    { number = 2, field = "exec_request.cwd", kind = "bytes", max = 4096, nul = false },
    { number = 3, kind = "list", max_items = 16384, max_total = 1048576, element = { field = "exec_request.argv", kind = "bytes", max = 131071, nul = false } },
    { number = 4, kind = "list", max_items = 16384, max_total = 1048576, element = { field = "exec_request.env", kind = "bytes", max = 131071, nul = false } },
    { number = 5, field = "exec_request.stdout_credit", kind = "scalar", size = 4, read = "le_uint" },
    { number = 6, field = "exec_request.stderr_credit", kind = "scalar", size = 4, read = "le_uint" },
    { number = 7, field = "exec_request.user", kind = "bytes", max = 128, nul = false },
    { number = 8, field = "exec_request.stdin_from", kind = "scalar", size = 1, known = { ["00"] = true, ["01"] = true } },
    { number = 9, field = "exec_request.rows", kind = "scalar", size = 2, read = "le_uint" },
    { number = 10, field = "exec_request.columns", kind = "scalar", size = 2, read = "le_uint" },
    { number = 11, field = "exec_request.max_processes", kind = "scalar", size = 4, read = "le_uint" },
    { number = 12, field = "exec_request.max_memory", kind = "scalar", size = 8, read = "le_uint64" },
    { number = 13, kind = "list", max_items = 262144, max_total = 2097152, element = { field = "exec_request.more_argv", kind = "bytes", max = 131071, nul = false } },
    { number = 14, kind = "list", max_items = 262144, max_total = 2097152, element = { field = "exec_request.more_env", kind = "bytes", max = 131071, nul = false } },
    { number = 15, field = "exec_request.beside", kind = "scalar", size = 1, known = { ["00"] = true, ["01"] = true } },
    { number = 16, field = "exec_request.joined", kind = "scalar", size = 1, known = { ["00"] = true, ["01"] = true } },
  } },
  [17] = { name = "exec_output", sender = "guest", id = "required", max_body = 65537, fields = {
    { number = 1, field = "exec_output.stream", kind = "scalar", size = 1, known = { ["01"] = true, ["02"] = true } },
    { number = 2, field = "exec_output.data", kind = "tail", max = 65536 },
  } },
  [18] = { name = "exec_response", sender = "guest", id = "required", max_body = 10, fields = {
    { number = 1, field = "exec_response.ending", kind = "scalar", size = 1, known = { ["00"] = true, ["01"] = true, ["02"] = true } },
    { number = 2, field = "exec_response.status", kind = "scalar", size = 1, read = "le_uint" },
    { number = 3, field = "exec_response.memory", kind = "scalar", size = 8, read = "le_uint64" },
  } },
  [19] = { name = "exec_failed", sender = "guest", id = "required", max_body = 105, fields = {
    { number = 1, field = "exec_failed.stage", kind = "scalar", size = 1 },
    { number = 2, field = "exec_failed.error_number", kind = "scalar", size = 4, read = "le_uint" },
    { number = 3, field = "exec_failed.missing", kind = "bytes", max = 96, nul = true },
  } },
  [20] = { name = "exec_signal", sender = "host", id = "required", max_body = 1, fields = {
    { number = 1, field = "exec_signal.signal", kind = "scalar", size = 1, read = "le_uint" },
  } },
  [21] = { name = "exec_kill", sender = "host", id = "required", max_body = 0, fields = {} },
  [27] = { name = "exec_terminate", sender = "host", id = "required", max_body = 0, fields = {} },
  [22] = { name = "exec_credit", sender = "host", id = "required", max_body = 5, fields = {
    { number = 1, field = "exec_credit.stream", kind = "scalar", size = 1, known = { ["01"] = true, ["02"] = true } },
    { number = 2, field = "exec_credit.amount", kind = "scalar", size = 4, read = "le_uint" },
  } },
  [23] = { name = "exec_stdin", sender = "host", id = "required", max_body = 65536, fields = {
    { number = 1, field = "exec_stdin.data", kind = "tail", max = 65536 },
  } },
  [24] = { name = "exec_stdin_credit", sender = "guest", id = "required", max_body = 4, fields = {
    { number = 1, field = "exec_stdin_credit.amount", kind = "scalar", size = 4, read = "le_uint" },
  } },
  [25] = { name = "exec_stdin_closed", sender = "guest", id = "required", max_body = 0, fields = {} },
  [26] = { name = "exec_resize", sender = "host", id = "required", max_body = 4, fields = {
    { number = 1, field = "exec_resize.rows", kind = "scalar", size = 2, read = "le_uint" },
    { number = 2, field = "exec_resize.columns", kind = "scalar", size = 2, read = "le_uint" },
  } },
}

local function refuse(fault, offset)
  error({ fault = fault, offset = offset }, 0)
end

-- A position in a frame: `at` is the offset from its start, `number` that of the current field.
local Cursor = {}
Cursor.__index = Cursor

function Cursor:take(size)
  if size > self.size - self.at then refuse("truncated", self.at) end
  self.at = self.at + size
  return self.frame(self.at - size, size)
end

function Cursor:scalar(field)
  local start = self.at
  local range = self:take(field.size)
  local bytes = range:bytes()
  if field.known and not field.known[bytes:tohex(true)] then refuse("unknown_value", start) end
  if field.unknown and range:le_uint64():band(field.unknown) ~= UInt64(0) then
    refuse("unknown_value", start)
  end
  if field.finite and bytes:get_index(field.size - 1) % 128 == 127
    and bytes:get_index(field.size - 2) >= field.finite then
    refuse("not_finite", start)
  end
  local item = self.tree:add_le(fields[field.field], range)
  for _, bit in ipairs(field.bits or {}) do item:add_le(fields[bit], range) end
  local unit = field.unit and " " .. field.unit or ""
  if field.absent == bytes:tohex(true) then
    unit = " (absent)"
  elseif field.scale then
    local value = tonumber(tostring(range[field.read](range))) * field.scale
    unit = (" (%.10g%s)"):format(value, unit)
  end
  item:append_text(unit)
end

function Cursor:struct(field)
  local tree, left = self.tree, self.size - self.at
  if left == 0 then refuse("truncated", self.at) end
  self.tree = tree:add(fields[field.field], self.frame(self.at, math.min(field.size, left)))
  for _, each in ipairs(structs[field.struct]) do self[each.kind](self, each) end
  self.tree = tree
end

function Cursor:array(field)
  for _ = 1, field.count do self[field.element.kind](self, field.element) end
end

function Cursor:octets(field)
  self:add_text(field, self:take(field.size))
end

-- Reads a value that is preceded by its length. Returns the ranges of the value and of the length.
function Cursor:prefixed(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local length = prefix:le_uint()
  if length > field.max then refuse("too_long", start) end
  local range = self:take(length)
  if not field.nul and length > 0 then
    local nul = range:raw():find("\0", 1, true)
    if nul then refuse("embedded_nul", start + PREFIX_SIZE + nul - 1) end
  end
  return range, prefix
end

function Cursor:bytes(field)
  local range, prefix = self:prefixed(field)
  self.tree:add_le(fields.length, prefix)
  self:add_text(field, range)
end

-- Patterns of UTF-8 characters. In a search from an offset, `^` matches at that offset.
local CHARACTERS = {
  "^[\0-\x7F]+", "^[\xC2-\xDF][\x80-\xBF]", "^\xE0[\xA0-\xBF][\x80-\xBF]",
  "^[\xE1-\xEC\xEE\xEF][\x80-\xBF][\x80-\xBF]", "^\xED[\x80-\x9F][\x80-\xBF]",
  "^\xF0[\x90-\xBF][\x80-\xBF][\x80-\xBF]", "^[\xF1-\xF3][\x80-\xBF][\x80-\xBF][\x80-\xBF]",
  "^\xF4[\x80-\x8F][\x80-\xBF][\x80-\xBF]",
}

-- Returns the number of bytes at the start of a string that are valid UTF-8.
local function valid(text)
  local at, last = 1, nil
  repeat
    for _, pattern in ipairs(CHARACTERS) do
      _, last = text:find(pattern, at)
      if last then break end
    end
    at = last and last + 1 or at
  until not last
  return at - 1
end

function Cursor:text(field)
  local range, prefix = self:prefixed(field)
  local length = range:len()
  local right = length > 0 and valid(range:raw()) or 0
  if right < length then refuse("not_utf8", self.at - length + right) end
  self.tree:add_le(fields.length, prefix)
  self.tree:add_packet_field(fields[field.field], range, ENC_UTF_8 + ENC_STRING)
end

-- Wireshark shows bytes in hexadecimal. This appends the first 48 of them as text.
function Cursor:add_text(field, range)
  local text = range:raw():sub(1, 48):gsub("[^ -~]", ".")
  self.tree:add(fields[field.field], range):append_text('  "' .. text .. '"')
end

function Cursor:list(field)
  local start = self.at
  local prefix = self:take(PREFIX_SIZE)
  local count = prefix:le_uint()
  if count > field.max_items then refuse("too_many", start) end
  self.tree:add_le(fields.count, prefix)
  local first, element = self.at, field.element
  for _ = 1, count do
    start = self.at
    self[element.kind](self, element)
    if field.max_total and self.at - first > field.max_total then
      refuse("total_too_long", start)
    end
  end
end

function Cursor:tail(field)
  local left = self.size - self.at
  if left > field.max then refuse("too_long", self.at) end
  self:add_text(field, self:take(left))
end

-- Checks everything that needs no body. Returns the message of the frame.
local function check_header(header, sender)
  local message = messages[header(4, 2):le_uint()]
  local id = header(8, 4):le_uint()
  if not message then refuse("unknown_type", 4) end
  if sender and message.sender ~= sender and message.sender ~= "both" then
    refuse("bad_direction", 4)
  end
  if header(6, 2):le_uint() ~= 0 then refuse("reserved_flags", 6) end
  if message.id == "required" and id == 0 or message.id == "none" and id ~= 0 then
    refuse("bad_id", 8)
  end
  if header(0, 4):le_uint() > message.max_body then refuse("body_too_long", 0) end
  return message
end

local function check_body(cursor, message)
  for _, field in ipairs(message.fields) do
    cursor.number = field.number
    cursor[field.kind](cursor, field)
  end
  cursor.number = 0
  if cursor.at < cursor.size then refuse("trailing_bytes", cursor.at) end
end

-- Calls `check`. If it finds a fault, shows the fault in the tree and returns false. Otherwise
-- returns true and the result of `check`.
local function shown(tree, frame, cursor, check, ...)
  local passed, result = pcall(check, ...)
  if passed then return true, result end
  if type(result) ~= "table" then error(result, 0) end
  local code, doc = table.unpack(faults[result.fault])
  local where = frame(math.min(result.offset, frame:len() - 1), 1)
  tree:add(fields.fault, where, code)
  tree:add(fields.fault_offset, where, result.offset):set_generated()
  tree:add(fields.fault_field, where, cursor.number):set_generated()
  tree:add_proto_expert_info(malformed, result.fault .. " at " .. result.offset .. ": " .. doc)
  return false
end

local function sender_of(pinfo)
  local port = protocol.prefs.port
  if port == 0 then return nil end
  if pinfo.dst_port == port then return "host" end
  if pinfo.src_port == port then return "guest" end
end

local function add_header(tree, header)
  tree:add_le(fields.body_length, header(0, 4))
  tree:add_le(fields.type, header(4, 2))
  tree:add_le(fields.flags, header(6, 2))
  tree:add_le(fields.id, header(8, 4))
end

-- Shows the frame at an offset. Returns its size. If the frame is incomplete, returns 0 and the
-- number of missing bytes. If it is malformed, so that its end is unknown, returns nil.
local function dissect(buffer, at, pinfo, root)
  local left = buffer:len() - at
  if left < HEADER_SIZE then return 0, DESEGMENT_ONE_MORE_SEGMENT end
  local header = buffer(at, HEADER_SIZE):tvb()
  local sender = sender_of(pinfo)
  local passed, message = pcall(check_header, header, sender)
  local size = HEADER_SIZE + header(0, 4):le_uint()
  if passed and left < size then return 0, size - left end

  local frame = buffer(at, passed and size or HEADER_SIZE):tvb()
  local type = messages[header(4, 2):le_uint()]
  local name = type and type.name or "unknown"
  local tree = root:add(protocol, frame(), "sandboxd: " .. name .. ", id " .. header(8, 4):le_uint())
  local cursor = { frame = frame, tree = tree, size = size, at = HEADER_SIZE, number = 0 }
  setmetatable(cursor, Cursor)
  add_header(tree, frame)
  pinfo.cols.info:append(" " .. name)
  if not shown(tree, frame, cursor, check_header, header, sender) then return nil end
  if not shown(tree, frame, cursor, check_body, cursor, message) then return nil end
  return size
end

function protocol.dissector(buffer, pinfo, root)
  pinfo.cols.protocol = "sandboxd"
  pinfo.cols.info = ""
  local at = 0
  while at < buffer:len() do
    local size, missing = dissect(buffer, at, pinfo, root)
    if not size then
      root:add(fields.dropped, buffer(at))
      return
    end
    if size == 0 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = missing
      return
    end
    at = at + size
  end
end

local ports, current = DissectorTable.get("tcp.port"), 0
ports:add_for_decode_as(protocol)

function protocol.prefs_changed()
  if current ~= 0 then ports:remove(current, protocol) end
  current = protocol.prefs.port
  if current ~= 0 then ports:add(current, protocol) end
end
