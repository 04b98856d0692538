//! A host that starts a daemon, `sandboxd N`, and exchanges messages with it over a socket pair.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::codec::{Decoder, Frame, Value};
use crate::messages::{Sender, DIGESTS, MAGIC, VERSION};

/// Maximum time to wait for the daemon.
const TIMEOUT: Duration = Duration::from_secs(30);
const READY: usize = 44;

pub struct Client {
    daemon: Child,
    stream: UnixStream,
    decoder: Decoder,
    nonce: u64,
}

/// The end of a command and its output.
pub struct Ended {
    pub ending: u64,
    pub status: u64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Client {
    /// Start a daemon with the socket as its standard input.
    pub fn start(program: &str) -> Client {
        let (stream, other) = UnixStream::pair().expect("a pair of sockets");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
        let daemon =
            Command::new(program).arg("0").stdin(OwnedFd::from(other)).spawn().expect("a daemon");
        let decoder = Decoder { sender: Sender::Guest, version: VERSION, buffer: Vec::new() };
        Client { daemon, stream, decoder, nonce: 0 }
    }

    /// Send a `hello`, whose version both sides use from then on.
    pub fn say_hello(&mut self, version: u32) {
        self.nonce += 1;
        self.decoder.version = version;
        self.send(
            "hello",
            0,
            &[
                ("version", version.into()),
                ("digest", Value::Int(DIGESTS[version as usize - 1])),
                ("max_body", 65537.into()),
                ("nonce", Value::Int(self.nonce)),
            ],
        );
    }

    /// Send a `hello` with a version, and drop the messages before its answer.
    pub fn greet(&mut self, version: u32) -> Frame {
        self.say_hello(version);
        let mut head = [32, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0].to_vec();
        head.extend(MAGIC.to_le_bytes());
        let nonce = self.nonce.to_le_bytes();
        let is_ready = |bytes: &[u8]| bytes.starts_with(&head) && bytes.ends_with(&nonce);
        loop {
            if let Some(index) = self.decoder.buffer.windows(READY).position(is_ready) {
                self.decoder.buffer.drain(..index);
                return self.expect("ready", 0);
            }
            self.fill();
        }
    }

    pub fn send(&mut self, name: &str, id: u32, values: &[(&str, Value)]) {
        let frame = Frame::new(name, id, values)
            .encode(self.decoder.version)
            .expect("a frame for the daemon");
        self.write(&frame);
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    fn fill(&mut self) {
        assert!(self.read_some() > 0, "the daemon's stream has ended");
    }

    fn read_some(&mut self) -> usize {
        let mut bytes = [0; 65536];
        let length = self.stream.read(&mut bytes).expect("the daemon writes");
        self.decoder.buffer.extend(&bytes[..length]);
        length
    }

    pub fn read(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next().expect("a frame of the daemon") {
                return frame;
            }
            self.fill();
        }
    }

    /// Read a frame, which must equal this one.
    pub fn expect(&mut self, name: &str, id: u32) -> Frame {
        let frame = self.read();
        assert_eq!((frame.message.name, frame.id), (name, id));
        frame
    }

    /// Read an `error`, which must equal this one.
    pub fn expect_error(&mut self, id: u32, code: u64, refused_type: u64, offset: u64, field: u64) {
        let error = self.expect("error", id);
        assert_eq!(
            ["code", "refused_type", "offset", "field"].map(|name| error.int(name)),
            [code, refused_type, offset, field]
        );
    }

    /// Run a shell command with the maximum credit; `more` contains further fields.
    pub fn shell(&mut self, id: u32, line: &str, more: &[(&str, Value)]) {
        let mut values = vec![
            ("command", "/bin/sh".into()),
            ("argv", ["sh", "-c", line].into()),
            ("stdout_credit", u32::MAX.into()),
            ("stderr_credit", u32::MAX.into()),
        ];
        values.extend_from_slice(more);
        self.send("exec_request", id, &values);
    }

    /// Read output until a command ends.
    pub fn end(&mut self, id: u32) -> Ended {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let frame = self.read();
            assert_eq!(frame.id, id);
            match frame.message.name {
                "exec_output" if frame.int("stream") == 1 => stdout.extend(frame.bytes("data")),
                "exec_output" => stderr.extend(frame.bytes("data")),
                "exec_stdin_closed" => (),
                "exec_response" => {
                    return Ended {
                        ending: frame.int("ending"),
                        status: frame.int("status"),
                        stdout,
                        stderr,
                    };
                }
                name => panic!("{name} while a command runs"),
            }
        }
    }

    /// Close our direction of the stream, and keep the other open.
    pub fn hang_up(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a stream");
    }

    /// Wait until the daemon exits, without another message.
    pub fn wait(mut self) -> ExitStatus {
        assert_eq!((self.decoder.buffer.len(), self.read_some()), (0, 0));
        self.daemon.wait().expect("the daemon's end")
    }
}
