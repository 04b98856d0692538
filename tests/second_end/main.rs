//! A second implementation of protocol/SPEC.md, written from that document alone.
//!
//!     second_end read VERSION WRITTEN PIECE
//!     second_end play SCENE SANDBOXD
//!
//! `read` reads frames, one per line of standard input: `host` or `guest`, and hexadecimal digits. It
//! decodes each in one version, in pieces of this size, and encodes it in another. It prints a line of
//! JSON: the fault, or the message with the frame that was `written`, which is null if the version
//! cannot express it. `play` starts a daemon, and plays a scene with it.

mod client;
mod codec;
mod messages;
mod scenes;

use std::env::args;
use std::io::{stdin, stdout, BufWriter, Write};

use client::Client;
use codec::{Decoder, Frame, Malformed, Value};
use messages::{Kind, Sender};

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("a digit");
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    format!("\"{}\"", String::from_iter(digits))
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Parse a line into its sender and bytes.
fn parse(line: &str) -> (Sender, Vec<u8>) {
    let (sender, frame) = line.split_once(' ').expect("a sender and a frame");
    let sender = match sender {
        "host" => Sender::Host,
        "guest" => Sender::Guest,
        _ => panic!("{sender} sends nothing"),
    };
    (sender, unhex(frame))
}

fn decode(line: &str, version: u32, piece: usize) -> Result<Frame, Malformed> {
    let (sender, bytes) = parse(line);
    let mut decoder = Decoder { sender, version, buffer: Vec::new() };
    for piece in bytes.chunks(piece) {
        decoder.buffer.extend(piece);
        if let Some(frame) = decoder.next()? {
            assert!(decoder.buffer.is_empty(), "a frame, and what is not of it");
            return Ok(frame);
        }
    }
    panic!("half a frame")
}

fn value_to_json(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Bytes(bytes) => hex(bytes),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| hex(item)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

fn frame_to_json(frame: &Frame, written: u32) -> String {
    let values = frame.message.fields.iter().zip(&frame.values);
    let fields: Vec<String> = values
        .filter(|(field, _)| !matches!(field.kind, Kind::Constant { .. }))
        .map(|(field, value)| format!("\"{}\": {}", field.name, value_to_json(value)))
        .collect();
    format!(
        r#"{{"message": "{}", "id": {}, "fields": {{{}}}, "written": {}}}"#,
        frame.message.name,
        frame.id,
        fields.join(", "),
        frame.encode(written).map_or("null".to_string(), |bytes| hex(&bytes)),
    )
}

fn fault_to_json(malformed: &Malformed) -> String {
    let Malformed { fault, offset, field } = *malformed;
    format!(r#"{{"code": {}, "offset": {offset}, "field": {field}}}"#, fault as u8)
}

fn read(version: u32, written: u32, piece: usize) {
    let mut answers = BufWriter::new(stdout());
    for line in stdin().lines() {
        let answer = match decode(&line.expect("a line"), version, piece) {
            Ok(frame) => frame_to_json(&frame, written),
            Err(malformed) => fault_to_json(&malformed),
        };
        writeln!(answers, "{answer}").expect("a reader");
    }
}

fn play(name: &str, daemon: &str) {
    let (_, scene) = scenes::SCENES.iter().find(|(known, _)| *known == name).expect("a scene");
    scene(Client::start(daemon));
}

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["read", version, written, piece] => read(
            version.parse().expect("a version"),
            written.parse().expect("a version"),
            piece.parse().expect("a number of bytes"),
        ),
        ["play", scene, daemon] => play(scene, daemon),
        _ => panic!("read VERSION WRITTEN PIECE, or play SCENE SANDBOXD"),
    }
}
