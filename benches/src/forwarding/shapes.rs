//! What goes through the router, and how it is measured. Frames are sent one after another, each forwarded to its end by the
//! thread that sends it, except where a thread polls the router's device; streams are in `streams`.
use std::fmt;
use std::time::{Duration, Instant};

use tests::tap::{Offload, Tap};
use tests::wire::Wire;

use super::meter::{self, Meter};
use super::scene::{Device, Scene};
use super::streams;
use super::table::{self, FAR, NEAR, TCP_HEADERS, Table};
use crate::measure::{Effort, Result};

/// Payload of a TCP segment of 1,500 bytes with time stamps.
pub const SEGMENT: usize = 1448;
/// Segments of a super-frame of not quite 64 KB.
const SEGMENTS: usize = 45;
/// This part of what was sent has to arrive.
const MOST: f64 = 0.99;
/// What the polling thread has not forwarded this long after the last packet is lost.
const DRAINED: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Frames of this many bytes.
    Frames { length: usize, is_many: bool },
    /// A super-frame over and over.
    SuperFrames,
    /// So many streams of TCP.
    Streams { flows: usize, is_segmented: bool },
}

/// A kind of traffic.
pub struct Shape {
    name: &'static str,
    load: Load,
    /// The router's device merges packets.
    pub has_gro: bool,
    /// A filter drops all of it.
    pub is_dropped: bool,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Shape {
    const fn new(name: &'static str, load: Load) -> Self {
        Self {
            name,
            load,
            has_gro: false,
            is_dropped: false,
        }
    }

    const fn with_gro(mut self) -> Self {
        self.has_gro = true;
        self
    }

    const fn dropped(mut self) -> Self {
        self.is_dropped = true;
        self
    }

    /// Does the sender hand over what its device would cut?
    pub const fn has_super_frames(&self) -> bool {
        matches!(
            self.load,
            Load::Streams {
                is_segmented: false,
                ..
            }
        )
    }
}

/// Those measured over a device. A TAP merges nothing. Streams come last: what they leave
/// on its way would be taken for a packet that was not dropped.
pub fn of(device: Device) -> Vec<Shape> {
    let frames = |name, length, is_many| Shape::new(name, Load::Frames { length, is_many });
    let streams = |name, flows, is_segmented| {
        Shape::new(
            name,
            Load::Streams {
                flows,
                is_segmented,
            },
        )
    };
    match device {
        Device::Veth => vec![
            frames("64 bytes, one flow", 64, false),
            frames("64 bytes, many flows", 64, true),
            frames("64 bytes, all dropped", 64, false).dropped(),
            frames("64 bytes, many flows, GRO", 64, true).with_gro(),
            streams("TCP of 1,500 bytes, one flow", 1, true),
            streams("TCP of 1,500 bytes, one flow, GRO", 1, true).with_gro(),
            streams("TCP of 1,500 bytes, 8 flows, GRO", 8, true).with_gro(),
            streams("TCP in super-frames, one flow", 1, false),
            streams("TCP in super-frames, 8 flows", 8, false),
        ],
        Device::Tap => vec![
            frames("64 bytes, one flow", 64, false),
            frames("64 bytes, many flows", 64, true),
            frames("1,514 bytes, one flow", 1514, false),
            frames("64 bytes, all dropped", 64, false).dropped(),
        ],
        Device::GuestTap => vec![
            frames("64 bytes, one flow", 64, false),
            Shape::new("super-frames of 64 KB", Load::SuperFrames),
            frames("64 bytes, all dropped", 64, false).dropped(),
        ],
    }
}

/// One round's figures.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Nanoseconds of processor time per packet; of TCP, per segment of 1,500 bytes.
    pub cpu: f64,
    /// Packets a second, by the clock on the wall.
    pub packets: f64,
    /// Bits a second.
    pub bits: f64,
}

impl Sample {
    /// Of so many packets of so many bytes.
    pub fn new(packets: f64, bytes: f64, cpu: f64, took: Duration) -> Result<Self> {
        if packets < 1.0 {
            return Err("nothing came through".into());
        }
        let seconds = took.as_secs_f64();
        Ok(Self {
            cpu: cpu / packets,
            packets: packets / seconds,
            bits: packets * bytes * 8.0 / seconds,
        })
    }
}

/// A shape's traffic, ready to be sent.
pub struct Traffic {
    load: Ready,
    has_gro: bool,
}

enum Ready {
    Frames {
        frames: Vec<Vec<u8>>,
        count: usize,
        out: Out,
        unit: Unit,
    },
    Streams {
        flows: usize,
        window: Duration,
    },
}

/// What one frame is.
#[derive(Clone, Copy)]
struct Unit {
    packets: usize,
    bytes: usize,
}

enum Out {
    Wire(Wire),
    Tap,
}

impl Traffic {
    pub fn new(scene: &Scene, shape: &Shape, table: &Table, effort: Effort) -> Result<Self> {
        let count = effort.packets as usize / 25;
        let single = |bytes| Unit { packets: 1, bytes };
        let (frames, count, unit) = match shape.load {
            Load::Streams { flows, .. } => {
                let window = Duration::from_millis(if effort.quick { 60 } else { 120 });
                return Ok(Self {
                    load: Ready::Streams { flows, window },
                    has_gro: shape.has_gro,
                });
            }
            Load::Frames { length, .. } if shape.is_dropped => {
                (vec![table::spoofed()], count, single(length))
            }
            Load::Frames { length, is_many } => {
                (table.good(length, is_many), count, single(length))
            }
            Load::SuperFrames => {
                let frame = table::super_frame(SEGMENTS * SEGMENT);
                let bytes = SEGMENT + TCP_HEADERS;
                let unit = Unit {
                    packets: SEGMENTS,
                    bytes,
                };
                (vec![frame], count / 10, unit)
            }
        };
        let linear = TCP_HEADERS as u16;
        let offload = match unit.packets {
            1 => Offload::default(),
            _ => Offload {
                linear,
                segment: SEGMENT as u16,
            },
        };
        let (out, frames) = match scene.device {
            Device::Veth => (Out::Wire(scene.sender.run(|| Wire::open(FAR))?), frames),
            Device::Tap => (Out::Tap, frames),
            Device::GuestTap => {
                let ready = frames.iter().map(|frame| Tap::ready(frame, offload));
                (Out::Tap, ready.collect())
            }
        };
        Ok(Self {
            load: Ready::Frames {
                frames,
                count,
                out,
                unit,
            },
            has_gro: shape.has_gro,
        })
    }

    /// Sends for a moment; all of it has to arrive, or none.
    pub fn run(&mut self, scene: &mut Scene, passes: bool) -> Result<Sample> {
        scene.pin_queues()?;
        match &self.load {
            Ready::Streams { flows, window } => streams::run(scene, *flows, *window),
            Ready::Frames {
                frames,
                count,
                out,
                unit,
            } => {
                meter::pin(meter::this_thread(), 0)?;
                let send = |scene: &Scene, count: usize| {
                    let all = frames.iter().cycle().take(count);
                    match (out, &scene.tap) {
                        (Out::Wire(wire), _) => all.for_each(|frame| _ = wire.try_send(frame)),
                        (Out::Tap, Some(tap)) => all.for_each(|frame| tap.write(frame)),
                        (Out::Tap, None) => {}
                    }
                };
                // Whoever comes first shall not pay for a hook that never ran.
                send(scene, count / 20);
                drain(scene)?;
                // Of packets that a thread polls for, that thread is the router.
                let threads = match self.has_gro {
                    true => Vec::new(),
                    false => vec![meter::this_thread()],
                };
                let meter = Meter::new(&threads, NEAR)?;
                let (first, before, start) = (scene.received()?, meter.read()?, Instant::now());
                send(scene, *count);
                let took = start.elapsed();
                let cpu = meter.read()? - before;
                let came = drain(scene)? - first;
                let cpu = if self.has_gro {
                    meter.read()? - before
                } else {
                    cpu
                };
                self.judge(came as f64, *count as f64, passes)?;
                let through = if self.has_gro {
                    came as f64
                } else {
                    *count as f64
                };
                Sample::new(through * unit.packets as f64, unit.bytes as f64, cpu, took)
            }
        }
    }

    /// Did what had to come through, and nothing else? A sender that does not wait for the polling thread loses packets.
    fn judge(&self, came: f64, sent: f64, passes: bool) -> Result<()> {
        let is_right = match (passes, self.has_gro) {
            (true, true) => came > 0.0,
            (true, false) => came >= sent * MOST,
            (false, _) => came == 0.0,
        };
        match is_right {
            true => Ok(()),
            false => Err(format!("{came} of {sent} packets came through").into()),
        }
    }
}

/// Waits until no packet is on its way. How many have been received then?
fn drain(scene: &mut Scene) -> Result<u64> {
    let mut last = scene.received()?;
    let mut since = Instant::now();
    while since.elapsed() < DRAINED {
        let now = scene.received()?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}
