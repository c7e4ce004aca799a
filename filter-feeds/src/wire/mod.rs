//! Our own reader of BGP and BMP: strict, bounded, prefixes only, nothing allocated per message but the
//! communities of a route that has some. It never skips what it does not understand, except, by design and
//! counted, address families that are not IPv4 or IPv6 unicast, and what RFC 7606 has a speaker discard.
//! It never does I/O beyond filling a buffer it is given a source for, and never knows a daemon by name.
use std::io::{self, Read};

use filter_core::Family;

pub mod bgp;
pub mod bmp;

/// What is wrong with received bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at byte {offset} of the message")]
pub struct WireError {
    /// How many bytes into the outermost message the offending field starts.
    pub offset: usize,
    /// What is wrong there.
    pub kind: Malformed,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A field reaches beyond what encloses it.
    #[error("{what} needs {needs} bytes but {left} are left")]
    Cut {
        /// The field.
        what: &'static str,
        /// Its length.
        needs: usize,
        /// What its enclosure still holds.
        left: usize,
    },
    /// An enclosure holds more than its fields.
    #[error("{excess} bytes too many after {what}")]
    Excess {
        /// The last field.
        what: &'static str,
        /// How many bytes follow it.
        excess: usize,
    },
    /// A length that the field cannot have.
    #[error("{what} cannot be {length} bytes long")]
    Length {
        /// The field.
        what: &'static str,
        /// Its stated length.
        length: usize,
    },
    /// A value that the field cannot have, or that we do not know the meaning of.
    #[error("{what} {value} is not known")]
    Value {
        /// The field.
        what: &'static str,
        /// What it holds.
        value: u32,
    },
    /// A BGP header that does not start with sixteen bytes of ones (RFC 4271 section 4.1).
    #[error("the BGP marker is not all ones")]
    Marker,
    /// A prefix longer than its family's addresses.
    #[error("{family} prefix length {length} is over {}", family.bits())]
    PrefixLength {
        /// The family.
        family: Family,
        /// The length.
        length: u8,
    },
    /// One list of prefixes holds the default route twice: what path identifiers read as prefixes look like.
    #[error("the default route stands twice in one list, as path identifiers read as prefixes do")]
    RepeatedDefault,
    /// An attribute that decides about routes stands twice (RFC 7606 section 3 g).
    #[error("path attribute {0} stands twice")]
    RepeatedAttribute(u8),
    /// The Optional and Transitive bits contradict the attribute (RFC 7606 section 3 c).
    #[error("path attribute {attribute} cannot have flags {flags:#04x}")]
    AttributeFlags {
        /// The attribute's type code.
        attribute: u8,
        /// Its flags.
        flags: u8,
    },
}

/// A cursor over received bytes that knows where in the message it is. Copying it is free.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Over a whole message.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Is nothing left?
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes left.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// An error at the place we stand.
    #[must_use]
    pub const fn error(&self, kind: Malformed) -> WireError {
        WireError {
            offset: self.offset,
            kind,
        }
    }

    /// The next `length` bytes as a cursor of their own.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there are fewer.
    #[inline]
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<Self, WireError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(self.error(Malformed::Cut {
                what,
                needs: length,
                left: self.left(),
            }));
        };
        let taken = Self {
            bytes: taken,
            offset: self.offset,
        };
        self.bytes = rest;
        self.offset += length;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let Some((taken, rest)) = self.bytes.split_first_chunk::<N>() else {
            return Err(self.error(Malformed::Cut {
                what,
                needs: N,
                left: self.left(),
            }));
        };
        self.bytes = rest;
        self.offset += N;
        Ok(*taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there is none.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array(what).map(|[byte]| byte)
    }

    /// The next two bytes, network order.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there are fewer.
    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// The next four bytes, network order.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there are fewer.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// The next eight bytes, network order.
    ///
    /// # Errors
    /// [`Malformed::Cut`] if there are fewer.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`Malformed::Excess`] if something is.
    pub const fn end(&self, what: &'static str) -> Result<(), WireError> {
        if self.is_empty() {
            return Ok(());
        }
        let excess = self.left();
        Err(self.error(Malformed::Excess { what, excess }))
    }
}

/// Bytes received and not yet read: a buffer of a fixed size that whole messages are taken from in place.
#[derive(Debug)]
pub struct ReceiveBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl ReceiveBuffer {
    /// Room for `size` bytes, which must be at least the longest message; it never grows.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// One read from `source` behind what is pending. Zero means that the source has ended, or that the buffer
    /// is full because nothing was consumed.
    ///
    /// # Errors
    /// What the source says.
    pub fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = source.read(&mut self.bytes[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// What was received and not consumed.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Forgets the first `length` pending bytes.
    pub fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
    }
}
