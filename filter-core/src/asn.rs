//! Autonomous system numbers: 32 bits everywhere (RFC 6793), read as asplain or asdot, printed as asplain
//! (RFC 5396). Identity rules follow RFC 7607, 6793, 7300 and APNIC-127.
use core::fmt;
use core::str::FromStr;

/// A four-octet autonomous system number, any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asn(u32);

/// Why a text or a number cannot be a peer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AsnError {
    /// Neither asplain (`64496`) nor asdot (`1.10`), or over 32 bits.
    Syntax,
    /// A value no network can hold.
    Reserved(u32, &'static str),
}

impl fmt::Display for AsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not an AS number: write 64496 or 1.10"),
            Self::Reserved(value, why) => write!(f, "AS{value} cannot be a peer: {why}"),
        }
    }
}

impl core::error::Error for AsnError {}

impl Asn {
    /// Any 32-bit value, as found on the wire.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// This number as a network's identity.
    ///
    /// # Errors
    /// [`AsnError::Reserved`] for 0, 23456, 65535 and 4294967295.
    pub const fn identity(self) -> Result<Self, AsnError> {
        let why = match self.0 {
            0 => "RFC 7607 reserves it",
            23456 => {
                "it is AS_TRANS, the stand-in for four-octet numbers (RFC 6793); give the real one"
            }
            65535 | u32::MAX => "RFC 7300 reserves it",
            _ => return Ok(self),
        };
        Err(AsnError::Reserved(self.0, why))
    }

    /// What an operator should be warned of when this number names a peer: private use (RFC 6996) or
    /// documentation (RFC 5398).
    #[must_use]
    pub const fn warning(self) -> Option<&'static str> {
        match self.0 {
            64512..=65534 | 4_200_000_000..=4_294_967_294 => Some("private use (RFC 6996)"),
            64496..=64511 | 65536..=65551 => Some("documentation (RFC 5398)"),
            _ => None,
        }
    }
}

impl FromStr for Asn {
    type Err = AsnError;

    /// Reads `64496`, `AS64496` (any case) and asdot `1.10`.
    fn from_str(text: &str) -> Result<Self, AsnError> {
        let digits = match text.get(..2) {
            Some(two) if two.eq_ignore_ascii_case("as") => &text[2..],
            _ => text,
        };
        let value = match digits.split_once('.') {
            Some((high, low)) => {
                u32::from(number::<u16>(high)?) << 16 | u32::from(number::<u16>(low)?)
            }
            None => number(digits)?,
        };
        Ok(Self(value))
    }
}

/// Digits only: `u32::from_str` would take a sign.
fn number<T: FromStr>(text: &str) -> Result<T, AsnError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AsnError::Syntax);
    }
    text.parse().map_err(|_| AsnError::Syntax)
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_notations_and_prints_asplain() {
        for (text, value) in [
            ("1", 1),
            ("64496", 64496),
            ("AS57965", 57965),
            ("as214312", 214_312),
            ("0.1", 1),
            ("1.10", 65546),
            ("AS65535.65535", u32::MAX),
            ("4294967295", u32::MAX),
        ] {
            let asn: Asn = text.parse().unwrap();
            assert_eq!(asn.get(), value, "{text}");
            assert_eq!(asn.to_string(), value.to_string());
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in [
            "",
            "AS",
            "x",
            "-1",
            "+1",
            "1.",
            ".1",
            "1.65536",
            "65536.0",
            "1.2.3",
            "4294967296",
            " 1",
            "é1",
        ] {
            assert_eq!(text.parse::<Asn>(), Err(AsnError::Syntax), "{text:?}");
        }
    }

    #[test]
    fn reserved_numbers_are_no_identity() {
        for value in [0, 23456, 65535, u32::MAX] {
            assert!(
                matches!(Asn::new(value).identity(), Err(AsnError::Reserved(v, _)) if v == value)
            );
        }
        for value in [1, 23455, 23457, 65534, 65536, u32::MAX - 1] {
            assert_eq!(Asn::new(value).identity(), Ok(Asn::new(value)));
        }
    }

    #[test]
    fn private_and_documentation_ranges_warn() {
        for value in [
            64496,
            64511,
            64512,
            65534,
            65536,
            65551,
            4_200_000_000,
            4_294_967_294,
        ] {
            assert!(Asn::new(value).warning().is_some(), "{value}");
        }
        for value in [57965, 64495, 65552, 4_199_999_999] {
            assert!(Asn::new(value).warning().is_none(), "{value}");
        }
    }
}
