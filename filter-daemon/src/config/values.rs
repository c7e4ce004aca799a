//! Single values that several sections have: names, AS numbers, prefixes, addresses, and what is odd about them.
//! Knows no section and no other value.
use std::collections::BTreeSet;
use std::net::IpAddr;

use filter_core::layout::Families;
use filter_core::packet::Mac;
use filter_core::{Address, Asn, Family, Mode, Prefix};
use toml::de::DeValue;

use super::error::{ConfigError, Oddity, Problem, Warning};
use super::section::{Item, Section};
use filter_lifecycle::route::Vrf;
use filter_lifecycle::spec::{Bounds, PerFamily};

const PER_FAMILY: &[&str] = &["ipv4", "ipv6"];
/// Longest name of a peer or a route server, in bytes.
const MAX_NAME: usize = 64;

/// Of a peer or a route server: a word that a shell leaves alone, since commands are printed with it.
pub(super) fn free_name(item: &Item<'_>) -> Result<String, ConfigError> {
    name(
        item,
        MAX_NAME,
        "of letters, digits and `._:@-`, not beginning with `-`",
        |c| c.is_alphanumeric() || "._:@-".contains(c),
    )
}

/// Longest device name, as in the kernel (IFNAMSIZ − 1).
const MAX_DEVICE_NAME: usize = 15;
/// What a shell reads as something else.
const SHELL: &str = "\"#$&'()*;<>?[\\]`{|}~!";

/// As the kernel takes one, and a shell leaves it alone.
pub(super) fn device_name(item: &Item<'_>) -> Result<String, ConfigError> {
    let of =
        "without spaces, `/`, `:`, and what a shell reads, such as `$`, not beginning with `-`";
    name(item, MAX_DEVICE_NAME, of, |c| {
        !c.is_whitespace() && !c.is_control() && !"/:".contains(c) && !SHELL.contains(c)
    })
}

fn name(
    item: &Item<'_>,
    max: usize,
    of: &'static str,
    is_good: impl Fn(char) -> bool,
) -> Result<String, ConfigError> {
    let text = item.text()?;
    let is_name = (1..=max).contains(&text.len())
        && text.chars().all(is_good)
        && !text.starts_with('-')
        && text != "."
        && text != "..";
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(item.error(Problem::Name { max, of }))
    }
}

pub(super) fn mode(item: &Item<'_>) -> Result<Mode, ConfigError> {
    item.choice(&["observe", "enforce"], &[Mode::Observe, Mode::Enforce])
}

pub(super) fn mac(item: &Item<'_>) -> Result<Mac, ConfigError> {
    let mac: Mac = item.parse()?;
    if mac.is_group() || mac.bits() == 0 {
        return Err(item.error(Problem::MacNotUnicast));
    }
    Ok(mac)
}

/// An AS number as a network's identity, with a warning if no network on the Internet can have it.
pub(super) fn asn(item: &Item<'_>, warnings: &mut Vec<Warning>) -> Result<Asn, ConfigError> {
    let asn = identity(item)?;
    warnings.extend(asn.warning().map(|what| item.warning(Oddity::Asn(what))));
    Ok(asn)
}

/// An AS number that can be somebody's.
pub(super) fn identity(item: &Item<'_>) -> Result<Asn, ConfigError> {
    let asn = match item.value() {
        DeValue::String(_) => item.parse()?,
        DeValue::Integer(_) => Asn::new(item.integer(0, u64::from(u32::MAX))?),
        DeValue::Float(float) => {
            return Err(item.error(Problem::AsnFloat(float.as_str().to_owned())));
        }
        _ => return Err(item.wrong_type("an as number")),
    };
    asn.identity().map_err(|error| item.error(error.into()))
}

/// A route distinguisher, or a router's own number.
pub(super) fn vrf(item: &Item<'_>) -> Result<Vrf, ConfigError> {
    match item.value() {
        DeValue::String(_) => item.parse(),
        DeValue::Integer(_) => item.number(0, u64::MAX).map(Vrf),
        _ => Err(item.wrong_type("a vrf")),
    }
}

pub(super) fn families(item: &Item<'_>) -> Result<Families, ConfigError> {
    let listed: Vec<Family> = item
        .list()?
        .iter()
        .map(|item| item.choice(&["ipv4", "ipv6"], &Family::ALL))
        .collect::<Result<_, _>>()?;
    if listed.is_empty() {
        return Err(item.error(Problem::Empty));
    }
    Ok(Families::new(|family| listed.contains(&family)))
}

/// `{ ipv4 = …, ipv6 = … }`, either of them left out for its default.
pub(super) fn per_family<T: Copy>(
    item: &Item<'_>,
    parent: &Section<'_>,
    default: PerFamily<T>,
    read: impl Fn(Family, &Item<'_>) -> Result<T, ConfigError>,
) -> Result<PerFamily<T>, ConfigError> {
    let section = item.section(format!("{}: {}", parent.place(), item.key()), PER_FAMILY)?;
    let one = |family: Family, default| {
        let read = section.optional(family.name(), |item| read(family, item))?;
        Ok(read.unwrap_or(default))
    };
    Ok(PerFamily {
        ipv4: one(Family::Ipv4, default.ipv4)?,
        ipv6: one(Family::Ipv6, default.ipv6)?,
    })
}

pub(super) fn bounds(family: Family, item: &Item<'_>) -> Result<Bounds, ConfigError> {
    let wrong = || item.error(Problem::Bounds(family));
    let lengths: Vec<u8> = item
        .list()?
        .iter()
        .map(|item| item.integer(0, u64::from(family.bits())))
        .collect::<Result<_, _>>()?;
    match lengths[..] {
        [min, max] if min <= max => Ok(Bounds { min, max }),
        _ => Err(wrong()),
    }
}

/// The prefixes of a list, canonical; warns of host bits and of twins.
pub(super) fn prefixes(
    section: &Section<'_>,
    key: &'static str,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Prefix>, ConfigError> {
    let items = section.list(key)?;
    let mut prefixes = Vec::with_capacity(items.len());
    for item in &items {
        let prefix: Prefix = item.parse()?;
        let (written, _) = item.text()?.split_once('/').unwrap_or_default();
        if written.parse().map(|ip: IpAddr| Address::from(ip)) != Ok(prefix.address()) {
            warnings.push(item.warning(Oddity::HostBits(prefix)));
        }
        prefixes.push(prefix);
    }
    warn_of_twins(&items, &prefixes, warnings);
    Ok(prefixes)
}

/// Addresses a router can have.
pub(super) fn addresses(
    section: &Section<'_>,
    key: &'static str,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<IpAddr>, ConfigError> {
    let items = section.list(key)?;
    let addresses: Vec<IpAddr> = items.iter().map(address).collect::<Result<_, _>>()?;
    warn_of_twins(&items, &addresses, warnings);
    Ok(addresses)
}

pub(super) fn address(item: &Item<'_>) -> Result<IpAddr, ConfigError> {
    let address: IpAddr = item
        .text()?
        .parse()
        .map_err(|_| item.error(Problem::Address))?;
    let is_unicast = match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some())
        }
    };
    if is_unicast {
        Ok(address)
    } else {
        Err(item.error(Problem::AddressNotUnicast))
    }
}

pub(super) fn warn_of_twins<T: Ord + Clone>(
    items: &[Item<'_>],
    values: &[T],
    warnings: &mut Vec<Warning>,
) {
    let mut seen = BTreeSet::new();
    for (item, value) in items.iter().zip(values) {
        if !seen.insert(value) {
            warnings.push(item.warning(Oddity::Twice));
        }
    }
}
