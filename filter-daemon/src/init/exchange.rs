//! What an exchange's files say for a first configuration: the LAN's prefixes and route servers (IX-F JSON), the LAN's
//! prefixes and the networks' prefix limits (PeeringDB's `ixpfx` and `net` answers). Files only: nothing is fetched.
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use filter_core::{Asn, Prefix};
use filter_feeds::ixf::MAX_BYTES;
use serde::Deserialize;
use serde_json::Value;

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The prefixes of peering LANs.
    pub lans: Vec<Prefix>,
    /// By AS number: the limits of prefixes its network advises, IPv4 and IPv6.
    pub limits: BTreeMap<Asn, [Option<u32>; 2]>,
    /// Route servers' AS numbers.
    pub route_servers: Vec<Asn>,
    /// The member export, for `ixf`.
    pub export: Option<PathBuf>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl Exchange {
    /// Adds a member export.
    ///
    /// # Errors
    /// It cannot be read, or is no IX-F JSON.
    pub fn add_ixf(&mut self, path: &Path) -> Result<(), FileError> {
        let fail = |why: String| FileError {
            path: path.to_owned(),
            why,
        };
        let text = read(path).map_err(|error| fail(error.to_string()))?;
        // What `run` will make of it must not fail later.
        filter_feeds::ixf::parse(&text).map_err(|error| fail(error.to_string()))?;
        let export: Ixf = serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
        self.ixf(export);
        self.export = Some(path.to_owned());
        Ok(())
    }

    fn ixf(&mut self, export: Ixf) {
        for lan in export.ixp_list.into_iter().flat_map(|ixp| ixp.vlan) {
            for part in [lan.ipv4, lan.ipv6].into_iter().flatten() {
                let prefix = format!("{}/{}", part.prefix, part.mask_length);
                self.add_lan(&prefix);
            }
        }
        let servers = export
            .member_list
            .into_iter()
            .filter(|member| member.member_type.as_deref() == Some("routeserver"));
        self.route_servers
            .extend(servers.map(|member| Asn::new(member.asnum)));
    }

    /// Adds an answer of PeeringDB's API: `api/ixpfx?ixlan_id=…`, `api/net?asn__in=…`, or both lists in one file.
    ///
    /// # Errors
    /// It cannot be read, or is no such answer.
    pub fn add_peeringdb(&mut self, path: &Path) -> Result<(), FileError> {
        let fail = |why: String| FileError {
            path: path.to_owned(),
            why,
        };
        let text = read(path).map_err(|error| fail(error.to_string()))?;
        let answer: Value =
            serde_json::from_slice(&text).map_err(|error| fail(error.to_string()))?;
        let records = answer["data"].as_array().ok_or_else(|| {
            fail(
                "no list `data`: save an answer of PeeringDB's API, such as api/ixpfx?ixlan_id=N"
                    .to_owned(),
            )
        })?;
        records.iter().for_each(|record| self.peeringdb(record));
        Ok(())
    }

    fn peeringdb(&mut self, record: &Value) {
        if let Some(prefix) = record["prefix"].as_str() {
            self.add_lan(prefix);
        }
        let number = |key: &str| record[key].as_u64().and_then(|it| u32::try_from(it).ok());
        if let Some(asn) = number("asn") {
            // 0 means that the network does not say.
            let limit = |key| number(key).filter(|&limit| limit > 0);
            let limits = [limit("info_prefixes4"), limit("info_prefixes6")];
            self.limits.insert(Asn::new(asn), limits);
            if record["info_type"].as_str() == Some("Route Server") {
                self.route_servers.push(Asn::new(asn));
            }
        }
    }

    /// A default route, or nonsense, is no LAN.
    fn add_lan(&mut self, text: &str) {
        if let Ok(prefix) = text.parse::<Prefix>()
            && prefix.len() > 0
            && !self.lans.contains(&prefix)
        {
            self.lans.push(prefix);
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

#[derive(Deserialize)]
struct Ixf {
    #[serde(default)]
    ixp_list: Vec<Ixp>,
    #[serde(default)]
    member_list: Vec<Member>,
}

#[derive(Deserialize)]
struct Ixp {
    #[serde(default)]
    vlan: Vec<Lan>,
}

#[derive(Deserialize)]
struct Lan {
    ipv4: Option<LanPart>,
    ipv6: Option<LanPart>,
}

#[derive(Deserialize)]
struct LanPart {
    prefix: String,
    mask_length: u8,
}

#[derive(Deserialize)]
struct Member {
    asnum: u32,
    member_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lans_limits_and_route_servers_are_read() {
        let mut exchange = Exchange::default();
        let ixf = json!({"ixp_list": [{"vlan": [{"id": 0, "ipv4": {"prefix": "203.0.113.0", "mask_length": 24}},
            {"ipv6": {"prefix": "2001:db8:ffff::", "mask_length": 64}}]}],
            "member_list": [{"asnum": 64511, "member_type": "routeserver"}, {"asnum": 57965}]});
        exchange.ixf(serde_json::from_value(ixf).unwrap());
        for record in [
            json!({"prefix": "203.0.113.0/24", "protocol": "IPv4"}),
            json!({"prefix": "0.0.0.0/0"}),
            json!({"asn": 57965, "info_prefixes4": 20, "info_prefixes6": 0}),
            json!({"asn": 64512, "info_type": "Route Server"}),
            json!(7),
        ] {
            exchange.peeringdb(&record);
        }
        let lans: Vec<String> = exchange.lans.iter().map(ToString::to_string).collect();
        assert_eq!(lans, ["203.0.113.0/24", "2001:db8:ffff::/64"]);
        assert_eq!(exchange.limits[&Asn::new(57965)], [Some(20), None]);
        assert_eq!(exchange.route_servers, [Asn::new(64511), Asn::new(64512)]);
    }
}
