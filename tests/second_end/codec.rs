//! The encoder and decoder of the frames of sandboxd, for both sides and every version.

use crate::messages::{Field, Id, Kind, Message, Sender, MESSAGES};

const HEADER: usize = 12;

/// The codes of malformed frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    UnknownType = 1,
    BadDirection = 2,
    ReservedFlags = 3,
    BadId = 4,
    BodyTooLong = 5,
    Truncated = 6,
    TooLong = 7,
    TooMany = 8,
    TotalTooLong = 9,
    UnknownValue = 10,
    EmbeddedNul = 11,
    TrailingBytes = 12,
}

/// The first fault of a frame: `offset` is from its start; `field` counts from 1, or is 0 for none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Malformed {
    pub fault: Fault,
    pub offset: usize,
    pub field: usize,
}

/// The reason why a frame cannot be encoded.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// The agreed version lacks the message or value.
    Later(&'static str),
    /// An integer is wider than its field.
    TooWide(&'static str),
    /// A decoder would refuse it.
    Malformed(Malformed),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(u64),
    Bytes(Vec<u8>),
    List(Vec<Vec<u8>>),
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Bytes(text.into())
    }
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(items: [&str; N]) -> Value {
        Value::List(items.map(Vec::from).into())
    }
}

/// A message with its id, and a value for each of its fields.
pub struct Frame {
    pub message: &'static Message,
    pub id: u32,
    pub values: Vec<Value>,
}

impl Field {
    /// The default value of a field that the version lacks.
    fn absent(&self) -> Value {
        match self.kind {
            Kind::Int { .. } | Kind::Closed { .. } => Value::Int(0),
            Kind::Constant { value, .. } => Value::Int(value),
            Kind::Bytes { .. } | Kind::Tail { .. } => Value::Bytes(Vec::new()),
            Kind::List { .. } => Value::List(Vec::new()),
        }
    }

    fn longest(&self) -> usize {
        match self.kind {
            Kind::Int { size } | Kind::Constant { size, .. } | Kind::Closed { size, .. } => size,
            Kind::Bytes { max, .. } => 4 + max,
            Kind::List { all, .. } => 4 + all,
            Kind::Tail { max } => max,
        }
    }
}

impl Message {
    fn longest(&self, version: u32) -> usize {
        self.fields.iter().filter(|field| field.since <= version).map(Field::longest).sum()
    }
}

impl Frame {
    /// Encode a frame; fields that are not in `values` are 0 or empty.
    pub fn new(name: &str, id: u32, values: &[(&str, Value)]) -> Frame {
        let message =
            MESSAGES.iter().find(|message| message.name == name).expect("a message's name");
        let mut frame =
            Frame { message, id, values: message.fields.iter().map(Field::absent).collect() };
        for (name, value) in values {
            let index = frame.index(name);
            frame.values[index] = value.clone();
        }
        frame
    }

    fn index(&self, name: &str) -> usize {
        self.message.fields.iter().position(|field| field.name == name).expect("a field's name")
    }

    pub fn int(&self, name: &str) -> u64 {
        match self.values[self.index(name)] {
            Value::Int(number) => number,
            _ => panic!("{name} is no integer"),
        }
    }

    pub fn bytes(&self, name: &str) -> &[u8] {
        match &self.values[self.index(name)] {
            Value::Bytes(bytes) => bytes,
            _ => panic!("{name} is not bytes"),
        }
    }

    pub fn encode(&self, version: u32) -> Result<Vec<u8>, Refused> {
        if self.message.since > version {
            return Err(Refused::Later(self.message.name));
        }
        let mut body = Vec::new();
        for (field, value) in self.message.fields.iter().zip(&self.values) {
            if field.since <= version {
                write(field, value, &mut body)?;
            } else if *value != field.absent() {
                return Err(Refused::Later(field.name));
            }
        }
        let mut frame = prefix(body.len()).to_vec();
        frame.extend(self.message.number.to_le_bytes());
        frame.extend([0, 0]);
        frame.extend(self.id.to_le_bytes());
        frame.append(&mut body);
        decode(&frame, self.message.sender, version).map_err(Refused::Malformed)?;
        Ok(frame)
    }
}

/// Encode a length or a count. Values above 4 GiB become a value that exceeds every bound, too.
fn prefix(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn write(field: &Field, value: &Value, body: &mut Vec<u8>) -> Result<(), Refused> {
    match (&field.kind, value) {
        (
            Kind::Int { size } | Kind::Constant { size, .. } | Kind::Closed { size, .. },
            Value::Int(number),
        ) => {
            let bytes = number.to_le_bytes();
            if bytes[*size..].iter().any(|byte| *byte != 0) {
                return Err(Refused::TooWide(field.name));
            }
            body.extend(&bytes[..*size]);
        }
        (Kind::Bytes { .. }, Value::Bytes(bytes)) => {
            body.extend(prefix(bytes.len()));
            body.extend(bytes);
        }
        (Kind::List { .. }, Value::List(items)) => {
            body.extend(prefix(items.len()));
            for item in items {
                body.extend(prefix(item.len()));
                body.extend(item);
            }
        }
        (Kind::Tail { .. }, Value::Bytes(bytes)) => body.extend(bytes),
        _ => panic!("{} has a value of another kind", field.name),
    }
    Ok(())
}

struct Header {
    message: &'static Message,
    id: u32,
    /// The length of the frame with its header.
    length: usize,
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn check_header(header: &[u8], sender: Sender, version: u32) -> Result<Header, Malformed> {
    let fault = |fault, offset| Malformed { fault, offset, field: 0 };
    let length = little_endian(&header[0..4]) as usize;
    let number = little_endian(&header[4..6]) as u16;
    let flags = little_endian(&header[6..8]);
    let id = little_endian(&header[8..12]) as u32;
    let message = MESSAGES
        .iter()
        .find(|message| message.number == number && message.since <= version)
        .ok_or(fault(Fault::UnknownType, 4))?;
    if message.sender != sender {
        return Err(fault(Fault::BadDirection, 4));
    }
    if flags != 0 {
        return Err(fault(Fault::ReservedFlags, 6));
    }
    let id_is_right = match message.id {
        Id::Zero => id == 0,
        Id::Any => true,
        Id::NotZero => id != 0,
    };
    if !id_is_right {
        return Err(fault(Fault::BadId, 8));
    }
    if length > message.longest(version) {
        return Err(fault(Fault::BodyTooLong, 0));
    }
    Ok(Header { message, id, length: HEADER + length })
}

/// A reader of a body: `at` is the offset in the frame, and `field` the number of the field.
struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
    field: usize,
}

impl<'a> Reader<'a> {
    fn fault<T>(&self, fault: Fault, offset: usize) -> Result<T, Malformed> {
        Err(Malformed { fault, offset, field: self.field })
    }

    fn left(&self) -> usize {
        self.frame.len() - self.at
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        if length > self.left() {
            return self.fault(Fault::Truncated, self.at);
        }
        self.at += length;
        Ok(&self.frame[self.at - length..self.at])
    }

    fn int(&mut self, size: usize) -> Result<u64, Malformed> {
        Ok(little_endian(self.take(size)?))
    }

    /// Read a length or a count; return `fault` if it exceeds `max`.
    fn prefix(&mut self, max: usize, fault: Fault) -> Result<usize, Malformed> {
        let number = self.int(4)? as usize;
        if number > max {
            return self.fault(fault, self.at - 4);
        }
        Ok(number)
    }

    fn bytes(&mut self, max: usize, nul: bool) -> Result<Vec<u8>, Malformed> {
        let length = self.prefix(max, Fault::TooLong)?;
        let start = self.at;
        let bytes = self.take(length)?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(index) if !nul => self.fault(Fault::EmbeddedNul, start + index),
            _ => Ok(bytes.to_vec()),
        }
    }

    fn value(&mut self, kind: &Kind, version: u32) -> Result<Value, Malformed> {
        let start = self.at;
        match *kind {
            Kind::Int { size } => Ok(Value::Int(self.int(size)?)),
            Kind::Constant { size, value } => match self.int(size)? {
                number if number == value => Ok(Value::Int(number)),
                _ => self.fault(Fault::UnknownValue, start),
            },
            Kind::Closed { size, values } => {
                let number = self.int(size)?;
                let known = |(value, since): &(u64, u32)| *value == number && *since <= version;
                match values.iter().any(known) {
                    true => Ok(Value::Int(number)),
                    false => self.fault(Fault::UnknownValue, start),
                }
            }
            Kind::Bytes { max, nul } => Ok(Value::Bytes(self.bytes(max, nul)?)),
            Kind::List { items, each, all, nul } => {
                let count = self.prefix(items, Fault::TooMany)?;
                let first = self.at;
                let mut list = Vec::new();
                for _ in 0..count {
                    let start = self.at;
                    list.push(self.bytes(each, nul)?);
                    if self.at - first > all {
                        return self.fault(Fault::TotalTooLong, start);
                    }
                }
                Ok(Value::List(list))
            }
            Kind::Tail { max } if self.left() > max => self.fault(Fault::TooLong, start),
            Kind::Tail { .. } => Ok(Value::Bytes(self.take(self.left())?.to_vec())),
        }
    }
}

/// Decode a complete frame whose header is valid.
fn decode_body(header: Header, frame: &[u8], version: u32) -> Result<Frame, Malformed> {
    let mut reader = Reader { frame, at: HEADER, field: 0 };
    let mut values = Vec::new();
    for (index, field) in header.message.fields.iter().enumerate() {
        reader.field = index + 1;
        values.push(if field.since <= version {
            reader.value(&field.kind, version)?
        } else {
            field.absent()
        });
    }
    if reader.left() > 0 {
        reader.field = 0;
        return reader.fault(Fault::TrailingBytes, reader.at);
    }
    Ok(Frame { message: header.message, id: header.id, values })
}

/// Decode the first frame of `bytes`, and return its length, too; None if it is incomplete.
fn decode(bytes: &[u8], sender: Sender, version: u32) -> Result<Option<(Frame, usize)>, Malformed> {
    let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
    let header = check_header(header, sender, version)?;
    let length = header.length;
    match bytes.get(..length) {
        Some(frame) => Ok(Some((decode_body(header, frame, version)?, length))),
        None => Ok(None),
    }
}

/// The stream of `sender`, as frames.
pub struct Decoder {
    pub sender: Sender,
    pub version: u32,
    pub buffer: Vec<u8>,
}

impl Decoder {
    /// Return the next frame; None if it is incomplete. A fault ends the stream.
    pub fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let Some((frame, length)) = decode(&self.buffer, self.sender, self.version)? else {
            return Ok(None);
        };
        self.buffer.drain(..length);
        Ok(Some(frame))
    }
}
