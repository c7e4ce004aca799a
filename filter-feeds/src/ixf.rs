//! The member export of an exchange (IX-F JSON, schema 0.6 to 1.0): which addresses and MACs each member has.
//! Seeds, not truth: the kernel's neighbour table counts more. Bounded; never fetches anything.
use crate::printed::Printed;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use filter_core::Asn;
use filter_core::packet::Mac;
use filter_lifecycle::neighbour::MemberSeed;
use serde::Deserialize;

/// The largest export accepted. The largest exchanges' are a few MB.
pub const MAX_BYTES: u64 = 64 << 20;
/// Seeds in one export.
pub const MAX_SEEDS: usize = 1 << 16;
/// MACs of one of them.
pub const MAX_PER_SEED: usize = 64;

/// Why an export is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IxfError {
    /// It cannot be read.
    #[error("cannot read it: {0}; give the path of a readable file")]
    Read(#[from] std::io::Error),
    /// A pipe, a directory or a device.
    #[error("it is no regular file; give the path of one")]
    NoFile,
    /// Too big to be one.
    #[error("longer than {MAX_BYTES} bytes; cut it down to the LANs you are on")]
    TooLong,
    /// Too many members.
    #[error("more than {MAX_SEEDS} connections; cut it down to the LANs you are on")]
    TooMany,
    /// A member with more addresses or MACs than anyone has.
    #[error("AS{0} has more than {MAX_PER_SEED} MACs on one connection; correct it")]
    TooManyMacs(Asn),
    /// Not IX-F JSON.
    #[error("{0}; write IX-F JSON, schema 0.6 to 1.0")]
    Syntax(#[from] serde_json::Error),
    /// A MAC that is none.
    #[error(
        "AS{asn} has MAC {}, which is none; write 02:00:00:00:00:01",
        Printed(mac)
    )]
    Mac {
        /// The member.
        asn: Asn,
        /// What stands there.
        mac: String,
    },
}

/// An error, and the file it is about.
#[derive(Debug, thiserror::Error)]
#[error("member export {path}: {error}")]
pub struct FileError {
    /// Which file.
    pub path: String,
    /// Why it is of no use.
    pub error: IxfError,
}

/// Reads a file.
///
/// # Errors
/// [`FileError`] if it is not a member export.
pub fn read(path: &Path) -> Result<Vec<MemberSeed>, FileError> {
    read_and_parse(path).map_err(|error| FileError {
        path: path.display().to_string(),
        error,
    })
}

fn read_and_parse(path: &Path) -> Result<Vec<MemberSeed>, IxfError> {
    let mut text = Vec::new();
    // A pipe or a device would keep its reader waiting.
    if !std::fs::metadata(path)?.is_file() {
        return Err(IxfError::NoFile);
    }
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)?;
    parse(&text)
}

/// Reads the text of an export. Connections that are not active, and addresses that are missing, are left out.
///
/// # Errors
/// [`IxfError`] if it is not a member export.
pub fn parse(text: &[u8]) -> Result<Vec<MemberSeed>, IxfError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(IxfError::TooLong);
    }
    let export: Export = serde_json::from_slice(text)?;
    let mut seeds = Vec::new();
    for member in export.member_list {
        let asn = Asn::new(member.asnum);
        for connection in member.connection_list {
            if connection
                .state
                .is_some_and(|state| state.eq_ignore_ascii_case("inactive"))
            {
                continue;
            }
            for vlan in connection.vlan_list {
                seeds.extend(seed(asn, [vlan.ipv4, vlan.ipv6])?);
                if seeds.len() > MAX_SEEDS {
                    return Err(IxfError::TooMany);
                }
            }
        }
    }
    Ok(seeds)
}

fn seed(asn: Asn, families: [Option<Interface>; 2]) -> Result<Option<MemberSeed>, IxfError> {
    let (mut addresses, mut macs) = (Vec::new(), Vec::new());
    for interface in families.into_iter().flatten() {
        addresses.extend(interface.address);
        for text in interface.mac_addresses.into_iter().flatten() {
            let mac = mac(&text).ok_or(IxfError::Mac { asn, mac: text })?;
            if !macs.contains(&mac) {
                macs.push(mac);
            }
            if macs.len() > MAX_PER_SEED {
                return Err(IxfError::TooManyMacs(asn));
            }
        }
    }
    Ok((!addresses.is_empty()).then_some(MemberSeed {
        asn,
        addresses,
        macs,
    }))
}

/// Exchanges write MACs with colons, hyphens, dots or nothing between the digits.
fn mac(text: &str) -> Option<Mac> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ':' | '-' | '.'))
        .collect();
    let is_mac = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = u64::from_str_radix(&digits, 16).ok().filter(|_| is_mac)?;
    let mac = Mac::from_bits(bits);
    (!mac.is_group() && bits != 0).then_some(mac)
}

#[derive(Deserialize)]
struct Export {
    member_list: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    asnum: u32,
    #[serde(default)]
    connection_list: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    state: Option<String>,
    #[serde(default)]
    vlan_list: Vec<Vlan>,
}

#[derive(Deserialize)]
struct Vlan {
    ipv4: Option<Interface>,
    ipv6: Option<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    address: Option<IpAddr>,
    mac_addresses: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = r#"{
      "version": "1.0", "timestamp": "2026-01-01T00:00:00Z",
      "ixp_list": [{"ixp_id": 1, "shortname": "LAB", "vlan": [{"id": 0, "ipv4": {"prefix": "203.0.113.0", "mask_length": 24}}]}],
      "member_list": [
        {"asnum": 57965, "name": "ICRC", "connection_list": [
          {"ixp_id": 1, "state": "active", "if_list": [{"switch_id": 1, "if_speed": 10000}],
           "vlan_list": [{"vlan_id": 0,
             "ipv4": {"address": "203.0.113.10", "max_prefix": 2, "routeserver": true, "mac_addresses": ["02:00:00:00:00:10"]},
             "ipv6": {"address": "2001:db8:ffff::10", "mac_addresses": ["0200.0000.0010", "02-00-00-00-00-11"]}}]},
          {"ixp_id": 1, "state": "inactive", "vlan_list": [{"ipv4": {"address": "203.0.113.99"}}]}]},
        {"asnum": 214312, "connection_list": [
          {"vlan_list": [{"ipv4": null, "ipv6": {"address": "2001:db8:ffff::20", "mac_addresses": null}}, {}]}]},
        {"asnum": 64500}
      ]
    }"#;

    #[test]
    fn members_with_addresses_and_macs() {
        let mac = |last| Mac::from_bytes([2, 0, 0, 0, 0, last]);
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(
            parse(EXPORT.as_bytes()).unwrap(),
            [
                MemberSeed {
                    asn: Asn::new(57965),
                    addresses: vec![address("203.0.113.10"), address("2001:db8:ffff::10")],
                    macs: vec![mac(0x10), mac(0x11)],
                },
                MemberSeed {
                    asn: Asn::new(214_312),
                    addresses: vec![address("2001:db8:ffff::20")],
                    macs: vec![],
                },
            ]
        );
    }

    #[test]
    fn what_is_no_export_or_no_mac() {
        for text in ["", "{}", "[]", r#"{"member_list": [{"asnum": "57965"}]}"#] {
            assert!(
                matches!(parse(text.as_bytes()), Err(IxfError::Syntax(_))),
                "{text}"
            );
        }
        for bad in [
            "",
            "02:00",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:00:00:00:00:1g",
            "+20000000010",
        ] {
            let text = EXPORT.replace("0200.0000.0010", bad);
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(
                matches!(&error, IxfError::Mac { mac, .. } if mac == bad),
                "{error}"
            );
        }
    }

    #[test]
    fn limits_at_their_edges() {
        let macs = |count: usize| {
            let macs: Vec<String> = (1..=count).map(|n| format!("\"{n:012x}\"")).collect();
            EXPORT.replace("\"0200.0000.0010\"", &macs.join(","))
        };
        // Two more stand beside them.
        assert!(parse(macs(MAX_PER_SEED - 2).as_bytes()).is_ok());
        let error = parse(macs(MAX_PER_SEED - 1).as_bytes()).unwrap_err();
        assert!(matches!(error, IxfError::TooManyMacs(asn) if asn == Asn::new(57965)));

        let vlan = r#"{"ipv4": {"address": "192.0.2.1"}}"#;
        let export = |count: usize| {
            let vlans = vec![vlan; count].join(",");
            format!(
                r#"{{"member_list": [{{"asnum": 1, "connection_list": [{{"vlan_list": [{vlans}]}}]}}]}}"#
            )
        };
        assert_eq!(
            parse(export(MAX_SEEDS).as_bytes()).unwrap().len(),
            MAX_SEEDS
        );
        let error = parse(export(MAX_SEEDS + 1).as_bytes()).unwrap_err();
        assert!(matches!(error, IxfError::TooMany), "{error}");
    }

    #[test]
    fn files_are_read_up_to_a_length_and_named_in_errors() {
        let path = std::env::temp_dir().join(format!("bcp38-ixf-{}.json", std::process::id()));
        let error = read(&path).unwrap_err();
        assert!(matches!(error.error, IxfError::Read(_)));
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
        let file = std::fs::File::create(&path).unwrap();
        let mut results = Vec::new();
        for length in [MAX_BYTES, MAX_BYTES + 1] {
            file.set_len(length).unwrap(); // a hole: takes no room
            results.push(read(&path).unwrap_err().error);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(
            matches!(results[..], [IxfError::Syntax(_), IxfError::TooLong]),
            "{results:?}"
        );
    }

    /// A pipe that no process writes would keep the reader waiting for ever.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let path = std::env::temp_dir().join(format!("bcp38-ixf-{}.pipe", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = read(&path).unwrap_err().error;
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(error, IxfError::NoFile), "{error}");
    }

    #[test]
    fn cut_or_flipped_is_never_a_panic() {
        let bytes = EXPORT.as_bytes();
        (0..bytes.len()).for_each(|cut| assert!(parse(&bytes[..cut]).is_err()));
        let mut flipped = bytes.to_vec();
        for at in 0..bytes.len() {
            for bits in [0x01, 0x10, 0x80, 0xff] {
                flipped[at] ^= bits;
                let _either = parse(&flipped);
                flipped[at] ^= bits;
            }
        }
    }
}
