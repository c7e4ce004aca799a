//! The loader against a real kernel: veth pairs in namespaces, frames on wires, pins on bpffs. Each test makes
//! its own and leaves nothing; none touches a device it did not make. Verdicts are `verdict.rs`'s business.

// `cfg(test)` tells the lints that everything here is a test.
#[cfg(test)]
mod attach;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod selftest;
#[cfg(test)]
mod switch;
#[cfg(test)]
mod watch;
