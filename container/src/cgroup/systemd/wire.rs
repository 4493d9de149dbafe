//! The D-Bus wire format, as much of it as talking to systemd takes.

/// One value of a message.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cgroup) enum Value {
    Bool(bool),
    Byte(u8),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
    Path(String),
    Signature(String),
    /// With the signature of its elements, which an empty one has, too.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl Value {
    pub(in crate::cgroup) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub(super) fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".into(),
            Value::Byte(_) => "y".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::F64(_) => "d".into(),
            Value::Text(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(parts) => format!("({})", parts.iter().map(Value::signature).collect::<String>()),
            Value::Variant(_) => "v".into(),
        }
    }
}

/// What a value of this type starts at a multiple of.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'x' | b't' | b'd' | b'(') => 8,
        _ => 4,
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.number((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn short_text(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn put(&mut self, value: &Value) {
        match value {
            Value::Bool(v) => self.number(u32::from(*v).to_le_bytes()),
            Value::Byte(v) => self.0.push(*v),
            Value::I32(v) => self.number(v.to_le_bytes()),
            Value::U32(v) => self.number(v.to_le_bytes()),
            Value::I64(v) => self.number(v.to_le_bytes()),
            Value::U64(v) => self.number(v.to_le_bytes()),
            Value::F64(v) => self.number(v.to_le_bytes()),
            Value::Text(v) | Value::Path(v) => self.text(v),
            Value::Signature(v) => self.short_text(v),
            Value::Array(of, values) => {
                self.number([0; 4]);
                let length = self.0.len() - 4;
                self.align(alignment(of));
                let start = self.0.len();
                values.iter().for_each(|v| self.put(v));
                let bytes = ((self.0.len() - start) as u32).to_le_bytes();
                self.0[length..length + 4].copy_from_slice(&bytes);
            }
            Value::Struct(parts) => {
                self.align(8);
                parts.iter().for_each(|v| self.put(v));
            }
            Value::Variant(inner) => {
                self.short_text(&inner.signature());
                self.put(inner);
            }
        }
    }
}

/// A method and what it is called with.
pub(super) struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub arguments: &'a [Value],
}

impl Call<'_> {
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|argument| body.put(argument));
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::text(self.interface)),
            field(3, Value::text(self.member)),
            field(6, Value::text(self.destination)),
        ];
        if !self.arguments.is_empty() {
            fields.push(field(8, Value::Signature(self.arguments.iter().map(Value::signature).collect())));
        }
        // Little endian, a call, no flags, version 1.
        let mut message = Writer(vec![b'l', 1, 0, 1]);
        message.put(&Value::U32(body.0.len() as u32));
        message.put(&Value::U32(serial));
        message.put(&Value::Array("(yv)".to_owned(), fields));
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub kind: u8,
    pub reply_to: u32,
    pub member: String,
    pub error: String,
    big: bool,
    body: Vec<u8>,
}

/// A method's answer.
pub(super) const REPLY: u8 = 2;
/// A method's failure.
pub(super) const ERROR: u8 = 3;
/// The fixed start of every message.
pub(super) const START: usize = 16;

/// The length of the message that starts so.
pub(super) fn length(start: &[u8; START]) -> usize {
    let big = start[0] == b'B';
    let number = |at| read_u32(start, at, big).unwrap_or_default() as usize;
    START + number(12).next_multiple_of(8) + number(4)
}

fn read_u32(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let word: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

impl Message {
    pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
        let big = *bytes.first()? == b'B';
        let mut message = Message { kind: *bytes.get(1)?, big, ..Message::default() };
        let fields_end = START + read_u32(bytes, 12, big)? as usize;
        let mut reader = Reader { bytes: bytes.get(..fields_end)?, at: START, big };
        while reader.at < fields_end {
            reader.align(8);
            let code = reader.byte()?;
            let signature = reader.short_text()?;
            match (code, signature.as_str()) {
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (5, "u") => message.reply_to = reader.u32()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.short_text()?),
                (_, "u") => drop(reader.u32()?),
                _ => return None,
            }
        }
        message.body = bytes.get(fields_end.next_multiple_of(8)..)?.to_owned();
        Some(message)
    }

    /// The body from its start.
    pub(super) fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big: self.big }
    }
}

/// Reads values one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.at += 4;
        read_u32(self.bytes, self.at - 4, self.big)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        self.characters(length)
    }

    pub(super) fn short_text(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        self.characters(length)
    }

    fn characters(&mut self, length: usize) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let text = String::from_utf8(self.bytes.get(self.at..end)?.to_owned()).ok()?;
        self.at = end + 1;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_written() {
        let values = [
            Value::text("a.scope"),
            Value::Array(
                "(sv)".to_owned(),
                vec![Value::Struct(vec![Value::text("PIDs"), Value::Variant(Box::new(Value::U64(7)))])],
            ),
        ];
        let call = Call { destination: "d.e", path: "/p", interface: "i.f", member: "Do", arguments: &values };
        let bytes = call.encode(5);
        let start: [u8; START] = bytes[..START].try_into().unwrap();
        assert_eq!(length(&start), bytes.len());
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.kind, message.member.as_str()), (1, "Do"));
        assert_eq!(message.body().text().as_deref(), Some("a.scope"));
        for end in 0..bytes.len() {
            // Cut anywhere, it must not panic.
            let _nothing = Message::decode(&bytes[..end]);
        }
    }
}
