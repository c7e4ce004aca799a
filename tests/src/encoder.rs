//! Writes BGP messages for tests: what the product itself must never be able to say. Does not check what it writes.
use filter_core::Prefix;

/// A whole message (RFC 4271 section 4.1).
///
/// # Panics
/// If it would be longer than its length field can say.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    let length = u16::try_from(19 + body.len()).unwrap();
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

/// A path attribute with an extended length (RFC 4271 section 4.3).
///
/// # Panics
/// If its value is over 65535 bytes.
#[must_use]
pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut attribute = vec![flags | 0x10, code];
    attribute.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    attribute.extend(value);
    attribute
}

/// A whole UPDATE of these three parts.
///
/// # Panics
/// If a part is over 65535 bytes.
#[must_use]
pub fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(withdrawn.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend(withdrawn);
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    message(2, &body)
}

/// A list of prefixes, with path identifiers (RFC 7911 section 3) or without.
#[must_use]
pub fn nlri(list: &[(u32, Prefix)], path_ids: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, prefix) in list {
        if path_ids {
            bytes.extend(path.to_be_bytes());
        }
        bytes.push(prefix.len());
        let address = prefix.address().bits().to_be_bytes();
        bytes.extend(&address[..usize::from(prefix.len().div_ceil(8))]);
    }
    bytes
}
