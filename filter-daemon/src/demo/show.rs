//! What the demo prints: headings, a line per packet, colour only on a terminal.
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use lab::packets::Packet;

/// Where the demo is shown.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    colour: bool,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            colour: io::stdout().is_terminal(),
        }
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "  {text}")
    }

    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint("1", text);
        writeln!(self.out, "\n{text}")
    }

    /// One packet: what it is, why it got its fate, and whether it arrived behind the filter.
    pub(super) fn packet(
        &mut self,
        number: usize,
        packet: &Packet,
        reason: &str,
        arrived: Option<bool>,
    ) -> io::Result<()> {
        let violation =
            filter_core::Reason::from_name(reason).is_some_and(filter_core::Reason::is_violation);
        let reason = self.paint(
            if violation { "31" } else { "32" },
            &format!("{reason:<24}"),
        );
        let fate = match arrived {
            Some(true) => self.paint("32", "arrives"),
            Some(false) => self.paint("1;31", "DROPPED"),
            None => String::new(),
        };
        writeln!(
            self.out,
            "  {number:>2}  {:<64} {reason} {fate}",
            packet.what
        )
    }

    /// The answer of `bcp38 explain`.
    pub(super) fn explained(&mut self, value: &Value) -> io::Result<()> {
        let text = |key: &str| match &value[key] {
            Value::String(text) => text.clone(),
            Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        self.line("bcp38 explain --peer icrc 45.146.194.1 198.51.100.10:")?;
        for key in [
            "reason",
            "action",
            "mode",
            "generation",
            "source_prefix",
            "destination_prefix",
            "story",
        ] {
            let line = format!("    {key:<20} {}", text(key));
            self.line(&line)?;
        }
        Ok(())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
