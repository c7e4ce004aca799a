//! A small language for frames: layers with ` / ` between them, outermost first. It builds what is written,
//! right or wrong: every length and version can be overridden, every frame cut. Never reads a frame.
//!
//! | layer | meaning |
//! |---|---|
//! | `eth src=icrc dst=us` | Ethernet header; `type=0x88cc` overrides what the next layer implies |
//! | `vlan 100` | a tag; `tpid=0x88a8`, `pcp=7`, `type=` |
//! | `arp` | an ARP request |
//! | `ipv4 A > B` | then optionally `udp`, `tcp`, `esp`, … with 8 bytes of payload; `proto=`, `ihl=`, `len=`, `version=`, `ttl=`, `frag=` (units of 8 bytes), `mf` |
//! | `ipv6 A > B` | likewise; `next=`, `len=`, `version=`, `hops=` |
//! | `ext fragment` | an IPv6 extension header of 8 bytes: also `hop-by-hop`, `routing`, `destination`, or a number; `offset=`, `mf` for fragments; `len=` overrides its length field |
//! | `icmp 3 1`, `icmp6 2` | type and code, then what follows as its body |
//! | `udp`, `tcp`, `esp` | a header of zeros |
//! | `bytes 45 00` | any bytes, also as a whole frame |
//! | `pad 60`, `cut 33`, `cut -1` | last: zeros up to that length; only so many bytes (negative: so many fewer) |

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Why a text is no frame.
pub type Result<T> = std::result::Result<T, String>;

/// The MACs of the worlds' stations, and of some that belong to no peer.
const STATIONS: &[(&str, &str)] = &[
    ("us", "02:00:00:00:00:01"),
    ("icrc", "02:00:00:00:00:10"),
    ("icrc2", "02:00:00:00:00:11"),
    ("speed", "02:00:00:00:00:20"),
    ("tagged", "02:00:00:00:00:30"),
    ("qinq", "02:00:00:00:00:40"),
    ("leaky", "02:00:00:00:00:50"),
    ("empty", "02:00:00:00:00:60"),
    ("young", "02:00:00:00:00:70"),
    ("half", "02:00:00:00:00:80"),
    ("bilateral", "02:00:00:00:00:a0"),
    ("contested", "02:00:00:00:00:98"),
    ("us2", "02:00:00:00:00:03"),
    ("vrrp", "00:00:5e:00:01:0a"),
    ("nobody", "02:00:00:00:00:99"),
    ("other", "02:00:00:00:00:02"),
    ("zero", "00:00:00:00:00:00"),
    ("broadcast", "ff:ff:ff:ff:ff:ff"),
    ("mcast4", "01:00:5e:00:00:01"),
    ("mcast6", "33:33:00:00:00:01"),
    ("lacp", "01:80:c2:00:00:02"),
];

const PROTOCOLS: &[(&str, u8)] = &[
    ("hop-by-hop", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("routing", 43),
    ("fragment", 44),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("none", 59),
    ("destination", 60),
    ("ospf", 89),
    ("sctp", 132),
    ("reserved", 255),
];

/// Bytes of payload where none is given.
const PAYLOAD: usize = 8;

/// What stands inside the layer at hand, and what that layer has to call it.
#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    ethertype: Option<u16>,
    protocol: Option<u8>,
}

/// Builds the frame a text describes.
///
/// # Errors
/// With the offending token.
pub fn build(text: &str) -> Result<Vec<u8>> {
    let mut layers: Vec<Words> = text.split(" / ").map(Words::parse).collect::<Result<_>>()?;
    let ends_at = layers
        .iter()
        .position(|layer| matches!(layer.keyword, "pad" | "cut"));
    let ends = layers.split_off(ends_at.unwrap_or(layers.len()));
    let inner = layers
        .into_iter()
        .rev()
        .try_fold(Inner::default(), |inner, words| layer(words, inner))?;
    ends.into_iter().try_fold(inner.bytes, end)
}

fn end(mut bytes: Vec<u8>, mut words: Words) -> Result<Vec<u8>> {
    let to: isize = words.number()?;
    let len = match usize::try_from(to) {
        Ok(len) => len,
        Err(_) => bytes
            .len()
            .checked_add_signed(to)
            .ok_or("cut of more than there is")?,
    };
    match words.keyword {
        "pad" => bytes.resize(len.max(bytes.len()), 0),
        _ => bytes.truncate(len),
    }
    words.done()?;
    Ok(bytes)
}

fn layer(mut words: Words, inner: Inner) -> Result<Inner> {
    let built = match words.keyword {
        "eth" => ethernet(&mut words, &inner),
        "vlan" => vlan(&mut words, &inner),
        "arp" => Ok(arp()),
        "ipv4" => ipv4(&mut words, inner),
        "ipv6" => ipv6(&mut words, inner),
        "ext" => extension(&mut words, &inner),
        "icmp" => icmp(&mut words, &inner, 1),
        "icmp6" => icmp(&mut words, &inner, 58),
        "udp" => Ok(zeros(8, 17, &inner)),
        "tcp" => Ok(zeros(20, 6, &inner)),
        "esp" => Ok(zeros(16, 50, &inner)),
        "bytes" => bytes(&mut words, &inner),
        unknown => Err(format!("unknown layer `{unknown}`")),
    }?;
    words.done()?;
    Ok(built)
}

fn ethernet(words: &mut Words, inner: &Inner) -> Result<Inner> {
    let ethertype = words.option("type")?.or(inner.ethertype).unwrap_or(0);
    let mut bytes = station(words.required("dst")?)?.to_vec();
    bytes.extend(station(words.required("src")?)?);
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(&inner.bytes);
    Ok(Inner {
        bytes,
        ..Inner::default()
    })
}

/// The MAC of a station's name, or a MAC written out.
///
/// # Errors
/// If it is neither.
pub fn station(name: &str) -> Result<[u8; 6]> {
    let known = STATIONS.iter().find(|(station, _)| *station == name);
    let text = known.map_or(name, |(_, mac)| mac);
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("unknown station `{name}`"))
}

fn vlan(words: &mut Words, inner: &Inner) -> Result<Inner> {
    let id: u16 = words.number()?;
    let priority: u16 = words.option("pcp")?.unwrap_or(0);
    let ethertype = words.option("type")?.or(inner.ethertype).unwrap_or(0);
    let mut bytes = (priority << 13 | id).to_be_bytes().to_vec();
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(&inner.bytes);
    Ok(Inner {
        bytes,
        ethertype: Some(words.option("tpid")?.unwrap_or(0x8100)),
        protocol: None,
    })
}

fn arp() -> Inner {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.resize(28, 0);
    Inner {
        bytes,
        ethertype: Some(0x0806),
        protocol: None,
    }
}

fn ipv4(words: &mut Words, inner: Inner) -> Result<Inner> {
    let (source, destination): (Ipv4Addr, Ipv4Addr) = words.addresses()?;
    let ihl: u8 = words.option("ihl")?.unwrap_or(5);
    let more = u16::from(words.flag("mf")) << 13;
    let fragment: u16 = words.option("frag")?.unwrap_or(0) | more;
    let (protocol, payload) = words.payload("proto", inner)?;
    let options = usize::from(ihl.max(5)) * 4 - 20;
    let total = u16::try_from(20 + options + payload.len()).map_err(|_| "too long for IPv4")?;
    let version: u8 = words.option("version")?.unwrap_or(4);
    let mut bytes = vec![version << 4 | ihl, 0];
    bytes.extend(words.option("len")?.unwrap_or(total).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([words.option("ttl")?.unwrap_or(64), protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.resize(20 + options, 1); // the option "no operation", RFC 791
    bytes.extend(payload);
    Ok(Inner {
        bytes,
        ethertype: Some(0x0800),
        protocol: Some(4),
    })
}

fn ipv6(words: &mut Words, inner: Inner) -> Result<Inner> {
    let (source, destination): (Ipv6Addr, Ipv6Addr) = words.addresses()?;
    let (next, payload) = words.payload("next", inner)?;
    let length = u16::try_from(payload.len()).map_err(|_| "too long for IPv6")?;
    let version: u8 = words.option("version")?.unwrap_or(6);
    let mut bytes = vec![version << 4, 0, 0, 0];
    bytes.extend(words.option("len")?.unwrap_or(length).to_be_bytes());
    bytes.extend([next, words.option("hops")?.unwrap_or(64)]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(payload);
    Ok(Inner {
        bytes,
        ethertype: Some(0x86dd),
        protocol: Some(41),
    })
}

fn extension(words: &mut Words, inner: &Inner) -> Result<Inner> {
    let number = protocol(words.next("an extension header")?)?;
    let fragment = words.option::<u16>("offset")?.unwrap_or(0) << 3 | u16::from(words.flag("mf"));
    let mut bytes = vec![
        inner.protocol.unwrap_or(59),
        words.option("len")?.unwrap_or(0),
    ];
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&inner.bytes);
    Ok(Inner {
        bytes,
        ethertype: None,
        protocol: Some(number),
    })
}

fn icmp(words: &mut Words, inner: &Inner, number: u8) -> Result<Inner> {
    let kind: u8 = words.number()?;
    let code: u8 = words.optional_number()?.unwrap_or(0);
    let mut bytes = vec![kind, code, 0, 0, 0, 0, 0, 0];
    bytes.extend(&inner.bytes);
    Ok(Inner {
        bytes,
        ethertype: None,
        protocol: Some(number),
    })
}

fn zeros(len: usize, number: u8, inner: &Inner) -> Inner {
    Inner {
        bytes: [vec![0; len], inner.bytes.clone()].concat(),
        ethertype: None,
        protocol: Some(number),
    }
}

fn bytes(words: &mut Words, inner: &Inner) -> Result<Inner> {
    let digits: String = words.positional.drain(..).rev().collect();
    let mut bytes = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
            u8::from_str_radix(pair, 16).map_err(|_| format!("not hexadecimal: `{pair}`"))
        })
        .collect::<Result<Vec<u8>>>()?;
    bytes.extend(&inner.bytes);
    Ok(Inner {
        bytes,
        ..Inner::default()
    })
}

fn protocol(name: &str) -> Result<u8> {
    match PROTOCOLS.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => name
            .parse()
            .map_err(|_| format!("unknown protocol `{name}`")),
    }
}

/// The words of one layer; each must be used.
struct Words<'a> {
    keyword: &'a str,
    /// Last one first.
    positional: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let keyword = words.next().ok_or("an empty layer")?;
        let (options, mut positional): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.contains('='));
        positional.reverse();
        let options = options
            .into_iter()
            .filter_map(|word| word.split_once('='))
            .collect();
        Ok(Self {
            keyword,
            positional,
            options,
        })
    }

    fn next(&mut self, what: &str) -> Result<&'a str> {
        self.positional
            .pop()
            .ok_or_else(|| format!("`{}` without {what}", self.keyword))
    }

    fn number<T: FromStr>(&mut self) -> Result<T> {
        let word = self.next("its number")?;
        word.parse()
            .map_err(|_| format!("not a number here: `{word}`"))
    }

    fn optional_number<T: FromStr>(&mut self) -> Result<Option<T>> {
        if self.positional.is_empty() {
            Ok(None)
        } else {
            self.number().map(Some)
        }
    }

    fn required(&mut self, key: &str) -> Result<&'a str> {
        self.options
            .remove(key)
            .ok_or_else(|| format!("`{}` without `{key}=`", self.keyword))
    }

    fn option<T: TryFrom<u64>>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.options.remove(key) else {
            return Ok(None);
        };
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let number = number.ok().and_then(|number| T::try_from(number).ok());
        number
            .map(Some)
            .ok_or_else(|| format!("`{key}={text}` does not fit"))
    }

    fn flag(&mut self, name: &str) -> bool {
        let at = self.positional.iter().position(|word| *word == name);
        at.map(|at| self.positional.remove(at)).is_some()
    }

    fn addresses<T: FromStr>(&mut self) -> Result<(T, T)> {
        let mut address = |what| {
            let word = self.next(what)?;
            word.parse()
                .map_err(|_| format!("not an address here: `{word}`"))
        };
        let source = address("a source")?;
        let arrow = self.next("`>`")?;
        if arrow != ">" {
            return Err(format!("`>` expected, not `{arrow}`"));
        }
        let word = self.next("a destination")?;
        let destination = word
            .parse()
            .map_err(|_| format!("not an address here: `{word}`"))?;
        Ok((source, destination))
    }

    /// The protocol number and bytes of what an IP header carries.
    fn payload(&mut self, key: &str, inner: Inner) -> Result<(u8, Vec<u8>)> {
        let named = match self.positional.pop() {
            Some(name) => Some(protocol(name)?),
            None => None,
        };
        let implied = named.or(inner.protocol);
        let number = self.option(key)?.or(implied).unwrap_or(59);
        let bytes = if named.is_some() && inner.bytes.is_empty() {
            vec![0; PAYLOAD]
        } else {
            inner.bytes
        };
        Ok((number, bytes))
    }

    fn done(&self) -> Result<()> {
        match self.positional.last().or(self.options.keys().next()) {
            None => Ok(()),
            Some(word) => Err(format!("`{}` knows no `{word}`", self.keyword)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_name_what_they_carry() {
        let frame = build("eth src=icrc dst=us / vlan 100 / ipv4 192.0.2.1 > 192.0.2.2 ttl=1 udp");
        let expected = "0200 0000 0001 0200 0000 0010 8100 0064 0800 4500 001c 0001 0000 0111 0000 c000 0201 \
                        c000 0202 0000 0000 0000 0000";
        assert_eq!(frame, build(&format!("bytes {expected}")));
        let nested =
            build("ipv6 ::1 > ::2 / ext fragment offset=2 mf / icmp6 1 / ipv6 ::2 > ::1").unwrap();
        assert_eq!(
            (nested.len(), nested[6], nested[40], nested[42..44].to_vec()),
            (96, 44, 58, vec![0, 17])
        );
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        for bad in [
            "",
            "ether src=us dst=us",
            "eth src=us",
            "eth src=us dst=you",
            "eth src=us dst=us colour=1",
            "ipv4 192.0.2.1 192.0.2.2",
            "ipv4 192.0.2.1 > 192.0.2.2 quic",
            "ipv4 192.0.2.1 > 192.0.2.2 ihl=256",
            "bytes 0g",
            "vlan",
            "bytes 00 / cut -2",
        ] {
            assert!(build(bad).is_err(), "{bad}");
        }
    }
}
