//! As much of Protocol Buffers as talking to criu and looking into its images takes.
//!
//! A message is a list of fields: a key (number and kind), then a varint, eight bytes, a length and as many bytes, or
//! four bytes. Whatever is not known is skipped.

use std::io;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A number. Negative ones are ten bytes long, as the encoding has it.
    pub(super) fn number(&mut self, field: u64, value: i64) -> &mut Writer {
        self.varint(field << 3 | VARINT).varint(value as u64)
    }

    /// A flag; absent means false.
    pub(super) fn flag(&mut self, field: u64, value: bool) -> &mut Writer {
        if value { self.number(field, 1) } else { self }
    }

    /// A text.
    pub(super) fn text(&mut self, field: u64, value: impl AsRef<[u8]>) -> &mut Writer {
        let value = value.as_ref();
        self.varint(field << 3 | BYTES).varint(value.len() as u64).0.extend_from_slice(value);
        self
    }

    /// A message in the message.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Writer)) -> &mut Writer {
        let mut inner = Writer::default();
        write(&mut inner);
        self.text(field, inner.0)
    }

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) -> &mut Writer {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    /// Of a kind that nothing here needs.
    Other,
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> Option<i64> {
        if let Value::Number(number) = self { Some(number) } else { None }
    }

    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

/// The fields of a message in their order.
pub(super) fn fields(mut message: &[u8]) -> io::Result<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let value = match key & 7 {
            VARINT => Value::Number(varint(&mut message)? as i64),
            BYTES => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| torn())?;
                Value::Bytes(take(&mut message, length)?)
            }
            FIXED64 => take(&mut message, 8).map(|_| Value::Other)?,
            FIXED32 => take(&mut message, 4).map(|_| Value::Other)?,
            kind => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unknown kind of field {kind}"))),
        };
        fields.push((key >> 3, value));
    }
    Ok(fields)
}

/// The last value of a field, which is the one that counts.
pub(super) fn field<'a>(fields: &[(u64, Value<'a>)], number: u64) -> Option<Value<'a>> {
    fields.iter().rev().find(|(n, _)| *n == number).map(|(_, value)| *value)
}

fn varint(message: &mut &[u8]) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "number without an end"))
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> io::Result<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length).ok_or_else(torn)?;
    *message = rest;
    Ok(taken)
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "message ends in the middle of a field")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        // The examples of the encoding's own documentation.
        assert_eq!(Writer::default().number(1, 150).bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Writer::default().text(2, "testing").bytes(), b"\x12\x07testing");
        let inner = |m: &mut Writer| {
            m.number(1, 150);
        };
        assert_eq!(Writer::default().message(3, inner).bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Writer::default().number(1, -1).bytes().len(), 11);
        assert!(Writer::default().flag(1, false).bytes().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<i64>(), text in any::<Vec<u8>>(), field_number in 1u64..500) {
            let mut written = Writer::default();
            written.number(field_number, number).text(field_number + 1, &text);
            let read = fields(written.bytes()).unwrap();
            prop_assert_eq!(field(&read, field_number), Some(Value::Number(number)));
            prop_assert_eq!(field(&read, field_number + 1), Some(Value::Bytes(&text)));
        }

        #[test]
        fn nonsense_is_no_panic(bytes in any::<Vec<u8>>()) {
            let _read = fields(&bytes);
        }
    }
}
