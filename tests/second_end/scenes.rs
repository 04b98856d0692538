//! Scenes that test the rules of protocol/SPEC.md with the real daemon.

use crate::client::Client;
use crate::codec::Value;
use crate::messages::{DIGESTS, VERSION};

const EXITED: u64 = 0;
const SIGNALLED: u64 = 1;
const SIGKILL: u64 = 9;
const SIGTERM: u64 = 15;
const STDIN_FROM_HOST: (&str, Value) = ("stdin_from", Value::Int(1));

pub type Scene = fn(Client);

pub const SCENES: &[(&str, Scene)] = &[
    ("handshake", handshake),
    ("versions", versions),
    ("command", command),
    ("failure", failure),
    ("credit", credit),
    ("signals", signals),
    ("refusals", refusals),
    ("beside", beside),
    ("malformed", malformed),
    ("recovery", recovery),
    ("shutdown", shutdown),
    ("end_of_stream", end_of_stream),
];

fn handshake(mut client: Client) {
    client.write(b"what comes before the first hello is dropped without a word");
    for _ in 0..2 {
        client.say_hello(VERSION);
        let ready = client.expect("ready", 0);
        assert_eq!((ready.int("version"), ready.int("digest")), (VERSION.into(), DIGESTS[3]));
    }
    client.send("ping", 0, &[("token", 5.into())]);
    assert_eq!(client.expect("pong", 0).int("token"), 5);
}

fn versions(mut client: Client) {
    for version in 1..=VERSION {
        client.greet(version);
        client.shell(1, "exit 4", &[]);
        let end = client.end(1);
        assert_eq!((end.ending, end.status), (EXITED, 4));
    }
    client.greet(1);
    client.write(&[0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0]);
    client.expect_error(0, 1, 11, 4, 0);
}

fn command(mut client: Client) {
    client.greet(VERSION);
    let more = [("cwd", "/usr".into()), ("env", ["GREETING=good day"].into()), STDIN_FROM_HOST];
    client.shell(1, "echo $0 $PWD $GREETING; cat >&2; exit 7", &more);
    assert!(client.expect("exec_stdin_credit", 1).int("amount") >= 5);
    client.send("exec_stdin", 1, &[("data", "input".into())]);
    client.send("exec_stdin", 1, &[]);
    let end = client.end(1);
    assert_eq!((end.ending, end.status), (EXITED, 7));
    assert_eq!((end.stdout, end.stderr), (b"sh /usr good day\n".to_vec(), b"input".to_vec()));
}

fn failure(mut client: Client) {
    client.greet(VERSION);
    let (lookup, exec, enoent) = (5, 6, 2);
    for (id, command, stage) in
        [(1, "there is no such command", lookup), (2, "/no/such/file", exec)]
    {
        client.send("exec_request", id, &[("command", command.into())]);
        let failed = client.expect("exec_failed", id);
        assert_eq!((failed.int("stage"), failed.int("error_number")), (stage, enoent));
    }
}

fn credit(mut client: Client) {
    client.greet(VERSION);
    client.shell(1, "printf 0123456789; printf error >&2", &[("stdout_credit", 4.into())]);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while (stdout.len(), stderr.len()) != (4, 5) {
        let output = client.expect("exec_output", 1);
        if output.int("stream") == 1 { &mut stdout } else { &mut stderr }
            .extend(output.bytes("data"));
    }
    assert_eq!((stdout, stderr), (b"0123".to_vec(), b"error".to_vec()));
    client.send("ping", 0, &[]);
    client.expect("pong", 0);
    client.send("exec_credit", 1, &[("stream", 1.into()), ("amount", 6.into())]);
    assert_eq!(client.end(1).stdout, b"456789");
}

fn signals(mut client: Client) {
    client.greet(VERSION);
    for (id, message, signal) in
        [(1, "exec_signal", SIGTERM), (2, "exec_terminate", SIGTERM), (3, "exec_kill", SIGKILL)]
    {
        client.shell(id, "echo started; exec sleep 600", &[]);
        client.expect("exec_output", id);
        let values = [("signal", Value::Int(signal))];
        client.send(message, id, if message == "exec_signal" { &values } else { &[] });
        let end = client.end(id);
        assert_eq!((end.ending, end.status), (SIGNALLED, signal));
    }
}

fn refusals(mut client: Client) {
    let (busy, unknown_id, stale_id, over_credit) = (64, 65, 66, 67);
    let (exec_request, exec_kill, exec_stdin) = (16, 21, 23);
    client.greet(VERSION);
    client.shell(5, "exec sleep 600", &[]);
    client.shell(6, "", &[]);
    client.expect_error(6, busy, exec_request, 0, 0);
    client.shell(6, "", &[]);
    client.expect_error(6, stale_id, exec_request, 0, 0);
    client.send("exec_kill", 7, &[]);
    client.expect_error(7, unknown_id, exec_kill, 0, 0);
    // Messages about finished or refused commands are ignored.
    client.send("exec_kill", 4, &[]);
    client.send("exec_kill", 6, &[]);
    client.send("exec_stdin", 5, &[("data", "not asked for".into())]);
    client.expect_error(5, over_credit, exec_stdin, 0, 0);
    client.send("exec_kill", 5, &[]);
    let end = client.end(5);
    assert_eq!((end.ending, end.status), (SIGNALLED, SIGKILL));
}

/// Two commands run at once. A third one, whose request lacks the flag `beside`, is refused.
fn beside(mut client: Client) {
    let (busy, exec_request, keep) = (64, 16, 11);
    let beside = ("beside", Value::Int(1));
    client.greet(VERSION);
    client.shell(1, "cat; exit 3", &[beside.clone(), STDIN_FROM_HOST]);
    assert!(client.expect("exec_stdin_credit", 1).int("amount") <= 1 << 20);
    client.shell(2, "echo second; exec sleep 600", &[beside.clone()]);
    assert_eq!(client.expect("exec_output", 2).bytes("data"), b"second\n");
    client.shell(3, "", &[]);
    client.expect_error(3, busy, exec_request, 0, 0);
    client.send("exec_kill", 2, &[]);
    let end = client.end(2);
    assert_eq!((end.ending, end.status), (SIGNALLED, SIGKILL));
    client.send("keep", 0, &[]);
    client.expect_error(0, busy, keep, 0, 0);
    client.shell(4, "exit 4", &[beside]);
    assert_eq!(client.end(4).status, 4);
    client.send("exec_stdin", 1, &[("data", "first".into())]);
    client.send("exec_stdin", 1, &[]);
    let end = client.end(1);
    assert_eq!((end.stdout, end.status), (b"first".to_vec(), 3));
}

fn malformed(mut client: Client) {
    client.greet(VERSION);
    client.shell(1, "echo started; exec sleep 600", &[]);
    client.expect("exec_output", 1);
    client.write(&[5, 0, 0, 0, 22, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0]);
    client.expect_error(1, 10, 22, 12, 1);
    client.send("ping", 0, &[]);
    client.greet(VERSION);
    client.shell(1, "echo again", &[]);
    assert_eq!(client.end(1).stdout, b"again\n");
}

/// A host follows another that stopped in the middle of a frame.
fn recovery(mut client: Client) {
    let longest_frame = 6299843;
    client.greet(VERSION);
    client.write(&[0, 0, 96, 0, 16, 0, 0, 0, 1, 0, 0, 0, 255]);
    client.write(&vec![255; longest_frame]);
    client.greet(VERSION);
    client.shell(1, "echo again", &[]);
    assert_eq!(client.end(1).stdout, b"again\n");
}

fn shutdown(mut client: Client) {
    client.greet(VERSION);
    client.shell(1, "exec sleep 600", &[]);
    client.send("shutdown", 0, &[]);
    assert_eq!(client.expect("goodbye", 0).int("reason"), 1);
    assert!(client.wait().success());
}

fn end_of_stream(mut client: Client) {
    client.greet(VERSION);
    client.shell(1, "exec sleep 600", &[]);
    client.hang_up();
    assert_eq!(client.expect("goodbye", 0).int("reason"), 2);
    assert!(client.wait().success());
}
