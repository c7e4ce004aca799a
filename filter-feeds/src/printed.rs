//! Text of a router or an operator's file on its way into a message: quoted, on one line, with nothing that a terminal
//! obeys, and cut. Never decides whether it is printed.
use std::fmt::{self, Display, Formatter, Write};

/// Characters of such a text that are printed.
pub const MAX_PRINTED: usize = 120;

/// See the file's head.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a>(pub &'a str);

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut rest = self.0.chars();
        for c in rest.by_ref().take(MAX_PRINTED) {
            Display::fmt(&c.escape_debug(), f)?;
        }
        f.write_str(if rest.next().is_none() { "\"" } else { "\"…" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_and_a_long_text_is_cut_at_its_limit() {
        let printed = |text: &str| Printed(text).to_string();
        assert_eq!(printed("unknown state"), "\"unknown state\"");
        let rude = "a\"b\\\n\u{1b}[31m\u{202e}\u{7f}";
        assert_eq!(printed(rude), r#""a\"b\\\n\u{1b}[31m\u{202e}\u{7f}""#);
        let whole = "ä".repeat(MAX_PRINTED);
        assert_eq!(printed(&whole), format!("\"{whole}\""));
        assert_eq!(printed(&format!("{whole}x")), format!("\"{whole}\"…"));
    }
}
