//! One table of the file while it is read: hands out values with their places, refuses unknown keys.
//!
//! Walks the spanned TOML tree instead of deriving `Deserialize`: a derived error knows neither its key nor,
//! behind a `kind` tag, its line. Knows nothing of what the keys mean.
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::error::{At, ConfigError, Finding, Oddity, Problem, Warning};

/// Values longer than this are cut in messages, in characters.
const MAX_SHOWN: usize = 60;
/// The key whose values are never shown.
const SECRET: &str = "password";
/// Keys that are not known and have one of these in their names may be misspelt passwords: their values are not shown either.
const LIKE_SECRET: [&str; 3] = ["pass", "md5", "secret"];

/// Keys that had another name before, and the one they have now, which the error about an old one names.
const RENAMED: [(&str, &str); 5] = [
    ("arena_mib", "table_memory_mib"),
    ("serves", "our_routes_reach"),
    ("table", "rib"),
    ("vrf", "route_distinguisher"),
    ("xdp", "hook"),
];

/// The file.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Where each line but the first starts.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, file_name: &str) -> Self {
        Self {
            file: file_name.into(),
            text,
            lines: text.match_indices('\n').map(|(at, _)| at + 1).collect(),
        }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn at(&self, offset: usize) -> At {
        At {
            file: Arc::clone(&self.file),
            line: 1 + self.lines.partition_point(|&start| start <= offset),
        }
    }

    /// The first line of what stands there, without control characters and secrets.
    fn shown(&self, span: Range<usize>) -> String {
        let text = self.text.get(span).unwrap_or_default().trim();
        let line = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_inclusive(SECRET)
            .next()
            .unwrap_or_default();
        let is_cut = line.len() < text.len() || line.chars().count() > MAX_SHOWN;
        let mut shown: String = line.chars().take(MAX_SHOWN).flat_map(printable).collect();
        if is_cut {
            shown.push('…');
        }
        shown
    }

    /// What the TOML parser refused, with the line it stands in.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error
            .span()
            .map_or(0, |span| span.start)
            .min(self.text.len());
        let start = match self.lines.partition_point(|&start| start <= offset) {
            0 => 0,
            line => self.lines[line - 1],
        };
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        ConfigError(Box::new(Finding {
            at: self.at(offset),
            place: String::new(),
            key: None,
            value: Some(
                self.shown(start..self.text.len())
                    .trim_end_matches('…')
                    .to_owned(),
            ),
            what: Problem::Syntax(message),
        }))
    }
}

/// What is wrong with a key that is not among `keys`.
fn unknown_key(key: &str, keys: &'static [&'static str]) -> Problem {
    let mut renamed = RENAMED.iter();
    let renamed = renamed.find(|(old, new)| *old == key && keys.contains(new));
    renamed.map_or(Problem::UnknownKey(keys), |&(_, new)| {
        Problem::RenamedKey(new)
    })
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    place: String,
    table: &'a DeTable<'a>,
    start: usize,
}

impl<'a> Section<'a> {
    /// Opens a table and refuses the first key in it that is not among `keys`.
    pub(super) fn open(
        source: &'a Source<'a>,
        place: String,
        table: &'a DeTable<'a>,
        start: usize,
        keys: &'static [&'static str],
    ) -> Result<Self, ConfigError> {
        let unknown = table
            .iter()
            .filter(|(key, _)| !keys.contains(&key.get_ref().as_ref()))
            .min_by_key(|(key, _)| key.span().start);
        if let Some((key, value)) = unknown {
            let name = key.get_ref().to_ascii_lowercase();
            let is_secret =
                keys.contains(&SECRET) || LIKE_SECRET.iter().any(|like| name.contains(like));
            return Err(ConfigError(Box::new(Finding {
                at: source.at(key.span().start),
                place,
                key: Some(key.get_ref().chars().flat_map(printable).collect()),
                value: (!is_secret).then(|| source.shown(value.span())),
                what: unknown_key(key.get_ref(), keys),
            })));
        }
        Ok(Self {
            source,
            place,
            table,
            start,
        })
    }

    /// What it is called in messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Calls it otherwise, now that its name is known.
    pub(super) fn rename(&mut self, place: String) {
        self.place = place;
    }

    /// Its first line.
    pub(super) fn line(&self) -> usize {
        self.source.at(self.start).line
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        let value = self.table.get(key)?;
        Some(Item {
            source: self.source,
            place: self.place.clone(),
            key,
            value,
        })
    }

    pub(super) fn require(&self, key: &'static str) -> Result<Item<'a>, ConfigError> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    pub(super) fn missing(&self, key: &'static str) -> ConfigError {
        self.error(Some(key), Problem::Missing)
    }

    /// A problem of the whole section, or of a key that is not there.
    pub(super) fn error(&self, key: Option<&'static str>, what: Problem) -> ConfigError {
        ConfigError(Box::new(self.finding(key, what)))
    }

    /// Something odd about the whole section.
    pub(super) fn warning(&self, what: Oddity) -> Warning {
        self.finding(None, what)
    }

    /// Something odd about a key that is not there.
    pub(super) fn warning_of(&self, key: &'static str, what: Oddity) -> Warning {
        self.finding(Some(key), what)
    }

    fn finding<P>(&self, key: Option<&'static str>, what: P) -> Finding<P> {
        Finding {
            at: self.source.at(self.start),
            place: self.place.clone(),
            key: key.map(str::to_owned),
            value: None,
            what,
        }
    }

    /// Every element of the list `key`, or none if it is absent.
    pub(super) fn list(&self, key: &'static str) -> Result<Vec<Item<'a>>, ConfigError> {
        self.get(key).map_or(Ok(Vec::new()), |item| item.list())
    }

    /// The sub-sections `[[key]]`.
    pub(super) fn sections(
        &self,
        key: &'static str,
        place: impl Fn(usize) -> String,
        keys: &'static [&'static str],
    ) -> Result<Vec<Section<'a>>, ConfigError> {
        let Some(list) = self.get(key) else {
            return Ok(Vec::new());
        };
        if list.value().as_array().is_none() {
            return Err(list.wrong_type("a list of sections"));
        }
        let items = list.list()?.into_iter().zip(1..);
        items
            .map(|(item, number)| item.section(place(number), keys))
            .collect()
    }

    /// The value of `key` if it is there, read by `read`.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Item<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(key).as_ref().map(read).transpose()
    }
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    source: &'a Source<'a>,
    place: String,
    key: &'static str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Item<'a> {
    pub(super) fn error(&self, what: Problem) -> ConfigError {
        ConfigError(Box::new(self.finding(what)))
    }

    pub(super) fn warning(&self, what: Oddity) -> Warning {
        self.finding(what)
    }

    fn finding<P>(&self, what: P) -> Finding<P> {
        Finding {
            at: self.source.at(self.value.span().start),
            place: self.place.clone(),
            key: Some(self.key.to_owned()),
            value: (self.key != SECRET).then(|| self.source.shown(self.value.span())),
            what,
        }
    }

    pub(super) fn key(&self) -> &'static str {
        self.key
    }

    /// For a table: which of `kinds` its `kind` names.
    pub(super) fn kind(
        &self,
        place: &str,
        kinds: &'static [&'static str],
    ) -> Result<usize, ConfigError> {
        let table = self
            .value()
            .as_table()
            .ok_or_else(|| self.wrong_type("a section"))?;
        let section = Section {
            source: self.source,
            place: place.to_owned(),
            table,
            start: self.value.span().start,
        };
        let places: Vec<usize> = (0..kinds.len()).collect();
        section.require("kind")?.choice(kinds, &places)
    }

    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// This is of another type than `expected`.
    pub(super) fn wrong_type(&self, expected: &'static str) -> ConfigError {
        let found = match self.value() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a section",
        };
        self.error(Problem::Type { expected, found })
    }

    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        self.value()
            .as_str()
            .ok_or_else(|| self.wrong_type("a text"))
    }

    /// A text that reads as a `T`.
    pub(super) fn parse<T: FromStr>(&self) -> Result<T, ConfigError>
    where
        Problem: From<T::Err>,
    {
        self.text()?
            .parse()
            .map_err(|error: T::Err| self.error(error.into()))
    }

    /// A whole number within bounds, both included.
    pub(super) fn number(&self, min: u64, max: u64) -> Result<u64, ConfigError> {
        let integer = self
            .value()
            .as_integer()
            .ok_or_else(|| self.wrong_type("a whole number"))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.error(Problem::Range { min, max }))
    }

    /// A whole number within bounds that fit the type.
    pub(super) fn integer<T: TryFrom<u64>>(&self, min: u64, max: u64) -> Result<T, ConfigError> {
        let number = self.number(min, max)?;
        T::try_from(number).map_err(|_| self.error(Problem::Range { min, max }))
    }

    /// One of a few texts.
    pub(super) fn choice<T: Copy>(
        &self,
        names: &'static [&'static str],
        values: &[T],
    ) -> Result<T, ConfigError> {
        let text = self.text()?;
        let place = names.iter().position(|name| *name == text);
        place
            .and_then(|place| values.get(place).copied())
            .ok_or_else(|| self.error(Problem::Choice(names)))
    }

    /// Seconds, or a text with a unit.
    pub(super) fn duration(&self, min: Duration) -> Result<Duration, ConfigError> {
        let read = match self.value() {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(_) => self
                .number(0, duration::MAX.as_secs())
                .map(Duration::from_secs)
                .ok(),
            _ => return Err(self.wrong_type("a length of time")),
        };
        read.filter(|&duration| duration >= min).ok_or_else(|| {
            self.error(Problem::Duration {
                min: duration::print(min),
                max: duration::print(duration::MAX),
            })
        })
    }

    /// Its elements.
    pub(super) fn list(&self) -> Result<Vec<Item<'a>>, ConfigError> {
        let array = self
            .value()
            .as_array()
            .ok_or_else(|| self.wrong_type("a list"))?;
        let element = |value| Item {
            value,
            ..self.clone()
        };
        Ok(array.iter().map(element).collect())
    }

    /// The table it is.
    pub(super) fn section(
        &self,
        place: String,
        keys: &'static [&'static str],
    ) -> Result<Section<'a>, ConfigError> {
        let table = self
            .value()
            .as_table()
            .ok_or_else(|| self.wrong_type("one section"))?;
        Section::open(self.source, place, table, self.value.span().start, keys)
    }
}
