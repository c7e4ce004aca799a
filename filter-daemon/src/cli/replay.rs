//! `bcp38 replay`: the packets of a capture, judged as if they came in on a configured interface now.
//!
//! Reads files: the capture, the configuration, the dumps of `mrt` feeds and the exchanges' member exports. Attaches
//! nothing, and asks no router: a capture judged twice must come out the same. With `--daemon` the running daemon is asked.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use filter_core::layout::Station;
use filter_core::packet::{Mac, Vlans};
use filter_core::userspace::Peering;
use filter_loader::{Device, TEST_IFINDEX};

use crate::capture::{Capture, Framed, Packet};
use crate::cli::{Failure, load, warn};
use crate::config::Config;
use crate::snapshot::{self, Snapshot};
use filter_engine::peering::{compile, interface_spec};
use filter_feeds::ixf;
use filter_lifecycle::policy::{DeviceFacts, Link, MissingFact};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{Interface, InterfaceId, InterfaceKind};
use filter_lifecycle::stations::{Facts, Stations};

mod cut;
mod daemon;
mod engine;
mod print;

use cut::Cut;
use daemon::Tables;
use engine::{Judged, Kernel};
use print::Printer;

/// What to replay, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The configured interface the packets came in on; may be left out if there is only one
    #[arg(long, value_name = "IF")]
    pub interface: Option<String>,
    /// One JSON object per packet, then a summary
    #[arg(long)]
    pub json: bool,
    /// By the routes, MACs and classes in force of the running daemon, instead of those the configuration's lists and files
    /// have
    #[arg(long)]
    pub daemon: bool,
    /// What judges the packets
    #[arg(long, value_enum, default_value_t)]
    pub engine: EngineName,
    /// A pcap or pcapng file, plain or compressed with gzip; ethernet frames, or on a `port` also cooked and raw packets
    pub capture: PathBuf,
}

/// What judges the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// The verdict code in this process; needs no privileges
    #[default]
    User,
    /// The XDP program in the kernel (BPF_PROG_TEST_RUN); needs root
    Kernel,
}

/// Runs the command.
///
/// # Errors
/// [`Failure::Usage`] for the configuration and the interface, [`Failure::Failed`] for the capture and the
/// kernel. What was judged before stays printed.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = Arc::new(load(&args.config)?);
    let (id, interface) = choose(&config, args.interface.as_deref())?;
    let links = links(&config, id).map_err(Failure::usage)?;
    let peering = match args.daemon {
        true => {
            let tables = Tables::ask(&config)?;
            let mut peering = compile(&config.spec, &tables.routes, &links)?;
            tables.apply(&config, &links, &mut peering);
            peering
        }
        false => offline(&config, &links)?,
    };
    warn_of_strangers(&config, id, interface, &peering);
    let mut kernel = match (args.engine, links.get(&id)) {
        (EngineName::Kernel, Some(link)) => {
            let spec = interface_spec(&config.spec, id, link);
            spec.map(|spec| Kernel::load(&config, &peering, &spec))
                .transpose()?
        }
        _ => None,
    };
    let mut capture = Capture::open(&args.capture).map_err(Failure::failed)?;
    let mut printer = Printer::new(&config, args.json);
    let own = links.get(&id).map_or(Mac::from_bits(0), |link| link.mac);
    let mut left = Left::default();
    let mut end = Ok(());
    loop {
        let packet = match capture.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error) => {
                end = Err(Failure::failed(error));
                break;
            }
        };
        let Some(frame) = left.frame(packet, own, interface)? else {
            continue;
        };
        let frame = Cut {
            bytes: &frame,
            original: packet.original + frame.len() - packet.bytes.len(),
        };
        let judged = Judged::in_user_space(&peering, TEST_IFINDEX, frame);
        let judged = match &mut kernel {
            Some(_) if frame.is_cut() => judged,
            Some(kernel) if Kernel::can_run(frame.bytes) => kernel.judge(frame.bytes, judged)?,
            Some(_) => {
                left.not_run += 1;
                judged
            }
            None => judged,
        };
        printer.packet(&judged)?;
    }
    if end.is_ok() {
        printer.summary()?;
    }
    printer.flush()?;
    left.warn();
    end
}

/// The policy by what the configuration's lists and files have.
fn offline(config: &Arc<Config>, links: &BTreeMap<InterfaceId, Link>) -> Result<Peering, Failure> {
    let Snapshot {
        routes,
        known,
        notes,
    } = snapshot::read(config).map_err(Failure::failed)?;
    notes.iter().for_each(warn);
    let mut peering = compile(&config.spec, &routes, links)?;
    for (id, known) in known {
        peering.peers[id.0 as usize].rules.known = known;
    }
    (peering.stations, peering.contested) = stations(config, links)?;
    Ok(peering)
}

/// What was not judged, or not by the kernel.
#[derive(Debug, Default)]
struct Left {
    not_run: u64,
    outgoing: u64,
    cut: u64,
}

impl Left {
    /// The packet as an Ethernet frame; none if it is not judged.
    fn frame(
        &mut self,
        packet: Packet<'_>,
        own: Mac,
        interface: &Interface,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let needs_sender = interface.kind == InterfaceKind::Lan;
        match packet.link.frame(packet.bytes, own, needs_sender) {
            Framed::Frame(frame) => return Ok(Some(frame)),
            Framed::Outgoing => self.outgoing += 1,
            Framed::Cut => self.cut += 1,
            Framed::NoSender => {
                return Err(Failure::usage(format!(
                    "the capture has no MACs, by which the peers on `{}` are told apart: capture on the ethernet device itself",
                    interface.name
                )));
            }
        }
        Ok(None)
    }

    fn warn(&self) {
        if self.not_run > 0 {
            let least = engine::LEAST_RUN;
            warn(format!(
                "packets of less than {least} bytes, which the kernel takes none of, judged in user space instead: {}",
                self.not_run
            ));
        }
        if self.outgoing > 0 {
            warn(format!(
                "packets that went out, which are not judged: {}",
                self.outgoing
            ));
        }
        if self.cut > 0 {
            warn(format!(
                "packets whose capture header was cut, which are not judged: {}",
                self.cut
            ));
        }
    }
}

/// The interface of this name, or the only one.
fn choose<'a>(
    config: &'a Config,
    name: Option<&str>,
) -> Result<(InterfaceId, &'a Interface), Failure> {
    let known = || {
        let names = config
            .spec
            .interfaces
            .iter()
            .map(|each| format!("`{}`", each.name));
        names.collect::<Vec<_>>().join(", ")
    };
    match (name, &config.spec.interfaces[..]) {
        (Some(name), _) => config.spec.interface_named(name).ok_or_else(|| {
            let known = known();
            Failure::Usage(format!(
                "unknown interface `{name}`: the configuration has {known}; use one of them"
            ))
        }),
        (None, [only]) => Ok((InterfaceId(0), only)),
        (None, _) => Err(Failure::Usage(format!(
            "several interfaces are configured: choose one of {} with `--interface`",
            known()
        ))),
    }
}

/// The chosen interface stands at [`TEST_IFINDEX`], where the kernel engine's packets come in; the others only
/// lend their addresses, if those are known.
fn links(config: &Config, chosen: InterfaceId) -> Result<BTreeMap<InterfaceId, Link>, MissingFact> {
    let mut links = BTreeMap::new();
    for (id, interface) in (0..).map(InterfaceId).zip(&config.spec.interfaces) {
        let is_told = interface.mac.is_some() && interface.addresses.is_some();
        let device = if is_told {
            None
        } else {
            facts(&interface.name)
        };
        let ifindex = if id == chosen {
            TEST_IFINDEX
        } else {
            TEST_IFINDEX + 1 + u32::from(id.0)
        };
        match Link::new(interface, ifindex, device.as_ref()) {
            Ok(link) => _ = links.insert(id, link),
            Err(missing) if id == chosen => return Err(missing),
            Err(_) => {} // nothing comes in there
        }
    }
    Ok(links)
}

fn facts(name: &str) -> Option<DeviceFacts> {
    let device = Device::find(name).ok()?;
    Some(DeviceFacts::alone(
        device.ifindex,
        device.mac,
        device.addresses,
    ))
}

/// The configured ones, and those of the exchanges' member exports.
fn stations(
    config: &Config,
    links: &BTreeMap<InterfaceId, Link>,
) -> Result<(BTreeMap<Station, usize>, BTreeSet<Station>), Failure> {
    let mut exports = BTreeMap::new();
    for (&id, path) in &config.exports {
        let seeds = ixf::read(path).map_err(Failure::failed)?;
        let interface = config.spec.interface(id);
        let name = interface.map_or("?", |interface| &interface.name);
        exports.insert(name.to_owned(), Some(seeds));
    }
    let mut stations = Stations::default();
    stations.seed(exports);
    let facts = Facts {
        spec: &config.spec,
        links,
    };
    let (wanted, _) = stations.settle(&facts);
    let place = |(station, id): (Station, PeerId)| (station, id.0 as usize);
    let owned = wanted.into_iter().map(place).collect();
    Ok((owned, stations.contested().clone()))
}

/// MACs are learned from the neighbour table of a running router, which a capture does not have.
fn warn_of_strangers(config: &Config, id: InterfaceId, interface: &Interface, peering: &Peering) {
    if interface.kind == InterfaceKind::Port {
        return;
    }
    for (place, peer) in config.spec.peers.iter().enumerate() {
        let mut here = peer.attachments.iter().filter(|each| each.interface == id);
        let is_known = |vlans: Vlans| {
            let mut stations = peering.stations.iter();
            stations.any(|(station, &owner)| {
                (station.ifindex, station.vlans, owner) == (TEST_IFINDEX, vlans, place)
            })
        };
        if here.any(|attachment| !is_known(attachment.vlans)) {
            warn(format!(
                "peer \"{}\" has no `macs` on interface `{}`: its packets will be unknown-peer; add them to the configuration to replay",
                peer.name, interface.name
            ));
        }
    }
}
