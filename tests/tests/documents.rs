//! What documents, comments and messages name exists: files, commands, tests, configuration keys.
//! Reads the checkout as text and runs nothing; never checks whether a sentence is true.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The checkout.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a readable checkout")
        .to_owned()
}

/// A text file of the checkout.
struct Text {
    /// From the top of the checkout.
    path: PathBuf,
    content: String,
}

impl Text {
    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|it| it == extension)
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), line + 1)
    }

    /// What stands between backticks, and the lines of fenced blocks, with their line numbers; routing daemons read their
    /// own blocks. Of Rust only comments and what messages quote are looked at, which both stand between backticks.
    fn quoted(&self) -> Vec<(usize, String)> {
        let backticks = Regex::new("`([^`]+)`").expect("a valid pattern");
        let mut found = Vec::new();
        let mut fence = None;
        for (number, line) in self.content.lines().enumerate() {
            let mark = line.trim_start().strip_prefix("```");
            if let Some(kind) = mark.filter(|_| self.is("md")) {
                fence = fence.is_none().then(|| kind.trim());
            } else if let Some(kind) = fence {
                if !["frr", "bird", "openbgpd", "gobgp"].contains(&kind) {
                    found.push((number, line.trim().to_owned()));
                }
            } else {
                let spans = backticks.captures_iter(line);
                found.extend(spans.map(|span| (number, span[1].to_owned())));
            }
        }
        found
    }
}

/// Documents, sources and manifests; not what tests feed to parsers.
fn texts() -> Vec<Text> {
    let top = workspace();
    let mut texts = Vec::new();
    let mut folders = vec![top.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable checkout") {
            let path = entry.expect("a readable checkout").path();
            let name = path
                .file_name()
                .expect("a readable checkout")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if !["target", ".git", "fixtures"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") || name.ends_with(".rs") || name.ends_with(".toml") {
                let content = fs::read_to_string(&path).expect("a readable checkout");
                let path = path
                    .strip_prefix(&top)
                    .expect("a readable checkout")
                    .to_owned();
                texts.push(Text { path, content });
            }
        }
    }
    texts
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn links_of_documents_lead_to_files() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a valid pattern");
    let mut problems = Vec::new();
    let mut seen = 0;
    for text in texts().iter().filter(|text| text.is("md")) {
        let folder = workspace().join(text.path.parent().expect("a readable checkout"));
        for (number, line) in text.content.lines().enumerate() {
            for target in link.captures_iter(line).map(|found| found[1].to_owned()) {
                let file = target.split('#').next().unwrap_or_default();
                if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                    continue;
                }
                seen += 1;
                if !folder.join(file).exists() {
                    problems.push(text.at(number, &format!("no file `{file}`")));
                }
            }
        }
    }
    assert!(seen > 10, "{seen} links: documents are not read");
    none(problems);
}

#[test]
fn files_that_are_named_exist() {
    let file = Regex::new(r"^[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)+(\.rs|\.md|\.toml|\.cases)$")
        .expect("a valid pattern");
    let mut problems = Vec::new();
    let mut seen = 0;
    for text in texts() {
        let folder = workspace().join(text.path.parent().expect("a readable checkout"));
        for (number, quoted) in text.quoted() {
            // A changelog speaks of files that were.
            if !file.is_match(&quoted) || text.path.ends_with("CHANGELOG.md") {
                continue;
            }
            seen += 1;
            if !workspace().join(&quoted).exists() && !folder.join(&quoted).exists() {
                problems.push(text.at(number, &format!("no file `{quoted}`")));
            }
        }
    }
    assert!(seen > 10, "{seen} files: documents are not read");
    none(problems);
}

/// The commands of a program, from the sentences that name them: `bcp38 status`, `cargo xtask test`.
fn named_commands(program: &str) -> Vec<(String, String)> {
    let command = Regex::new(&format!(r"^{program} ([a-z][a-z0-9-]*)")).expect("a valid pattern");
    let mut found = Vec::new();
    for text in texts() {
        if is_about_another_time(&text) {
            continue;
        }
        for (number, quoted) in text.quoted() {
            if let Some(name) = command.captures(&quoted) {
                found.push((text.at(number, &quoted), name[1].to_owned()));
            }
        }
    }
    found
}

/// The contract and the threat model name what is still to be built and say so; the changelog what was.
fn is_about_another_time(text: &Text) -> bool {
    ["docs/spec.md", "SECURITY.md", "CHANGELOG.md"]
        .iter()
        .any(|name| text.path.ends_with(name))
}

/// Every command of the program that is named is one of these.
fn commands_exist(program: &str, commands: &BTreeSet<String>) {
    let named = named_commands(program);
    let count = named.len();
    assert!(count > 10, "{count} commands: documents are not read");
    let unknown = named
        .into_iter()
        .filter(|(_, name)| !commands.contains(name));
    none(
        unknown
            .map(|(at, _)| format!("{at}: no such command"))
            .collect(),
    );
}

#[test]
fn commands_that_are_named_exist() {
    use clap::CommandFactory as _;
    let cli = filter_daemon::cli::Cli::command();
    let names = cli.get_subcommands().map(clap::Command::get_name);
    commands_exist("bcp38", &names.map(str::to_owned).collect());
}

#[test]
fn xtask_commands_that_are_named_exist() {
    let source =
        fs::read_to_string(workspace().join("xtask/src/main.rs")).expect("a readable checkout");
    let arm = Regex::new(r#"(?m)^\s+\["([a-z-]+)""#).expect("a valid pattern");
    let names = arm.captures_iter(&source).map(|arm| arm[1].to_owned());
    commands_exist("cargo xtask", &names.collect());
}

#[test]
fn tests_that_are_named_exist() {
    let call = Regex::new(r"^cargo test (?:-p|--package) ([a-z-]+) --test ([a-z_0-9]+)")
        .expect("a valid pattern");
    let mut problems = Vec::new();
    let mut seen = 0;
    for text in texts() {
        for (number, quoted) in text.quoted() {
            let Some(found) = call.captures(&quoted) else {
                continue;
            };
            seen += 1;
            let tests = workspace().join(&found[1]).join("tests");
            let file = tests.join(format!("{}.rs", &found[2]));
            if !file.exists() && !tests.join(&found[2]).join("main.rs").exists() {
                problems.push(text.at(number, &format!("`{quoted}`: no such test")));
            }
        }
    }
    assert!(seen > 0, "documents are not read");
    none(problems);
}

/// Every key a section of the configuration takes: the lists the parser opens sections with.
fn configuration_keys() -> BTreeSet<String> {
    let list = Regex::new(r"(?s)const [A-Z_]+: [^=;]*(?:; \d+\])? = (&?\[.*?\]);")
        .expect("a valid pattern");
    let key = Regex::new(r#""([a-z_0-9]+)""#).expect("a valid pattern");
    let folder = workspace().join("filter-daemon/src/config");
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a readable checkout") {
        let source = fs::read_to_string(entry.expect("a readable checkout").path())
            .expect("a readable checkout");
        for list in list.captures_iter(&source) {
            keys.extend(key.captures_iter(&list[1]).map(|key| key[1].to_owned()));
        }
    }
    assert!(
        keys.contains("withdraw_hold") && keys.contains("listen"),
        "{keys:?}"
    );
    // Keys of inline tables: per family, and what a bound is made of.
    keys.extend(["ipv4", "ipv6", "shortest", "longest"].map(str::to_owned));
    keys
}

#[test]
fn configuration_keys_that_are_named_exist() {
    let keys = configuration_keys();
    let assigned =
        Regex::new(r#"^([a-z][a-z_0-9]*) = ["\[{0-9tf][^;]*$"#).expect("a valid pattern");
    let sectioned = Regex::new(r"^\[([a-z_]+)\] ([a-z_0-9]+)").expect("a valid pattern");
    let mut problems = Vec::new();
    let mut seen = 0;
    for text in texts() {
        let manifest = text.is("toml") && !text.path.starts_with("docs");
        // Upgrade notes name the keys of earlier versions.
        if manifest || is_about_another_time(&text) || text.path.ends_with("docs/upgrading.md") {
            continue;
        }
        for (number, quoted) in text.quoted() {
            let named = assigned
                .captures(&quoted)
                .map(|found| found[1].to_owned())
                .or_else(|| Some(sectioned.captures(&quoted)?[2].to_owned()));
            let Some(named) = named else { continue };
            seen += 1;
            if !keys.contains(&named) {
                problems.push(text.at(number, &format!("`{quoted}`: no key `{named}`")));
            }
        }
    }
    assert!(seen > 10, "{seen} keys: documents are not read");
    none(problems);
}

#[test]
fn advice_names_keys_that_exist() {
    let keys = configuration_keys();
    let advice = Regex::new(r"\b(?:raise|lower|shorten|set|add|configure|list it in|under|leave out) (?:the (?:feed|peer|interface)'s )?`([a-z_]+)`").expect("a valid pattern");
    let bare = Regex::new(r"\b(?:raise|lower) the (?:feed|peer|interface)'s ([a-z_]+)")
        .expect("a valid pattern");
    let mut problems = Vec::new();
    let mut seen = 0;
    for text in texts().iter().filter(|text| text.is("rs")) {
        // Only messages: a comment may speak of a variable.
        let lines = text.content.lines().enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for found in advice.captures_iter(line).chain(bare.captures_iter(line)) {
                seen += 1;
                if !keys.contains(&found[1]) {
                    problems
                        .push(text.at(number, &format!("{}: no key `{}`", line.trim(), &found[1])));
                }
            }
        }
    }
    assert!(seen > 3, "{seen} advices: messages are not read");
    none(problems);
}

/// The longest file that CONTRIBUTING.md allows. Functions are `clippy.toml`'s to measure.
const MAX_LINES: usize = 600;

#[test]
fn no_source_is_longer_than_the_house_allows() {
    let rules = fs::read_to_string(workspace().join("CONTRIBUTING.md"));
    let rule = format!("never more than {MAX_LINES}");
    assert!(rules.expect("a readable checkout").contains(&rule));
    let texts = texts();
    let sources = texts.iter().filter(|text| text.is("rs"));
    let lengths = sources.map(|text| (text.content.lines().count(), text.path.display()));
    let long = lengths.filter(|(lines, _)| *lines > MAX_LINES);
    none(
        long.map(|(lines, path)| format!("{path}: {lines} lines: split it by meaning"))
            .collect(),
    );
}

/// What a crate ships, without its tests: name, path and text.
fn shipped() -> Vec<Text> {
    let is_shipped = |text: &Text| {
        let path = text.path.to_string_lossy();
        let is_tests = path.contains("tests") || path.starts_with("benches");
        text.is("rs") && path.contains("/src/") && !is_tests
    };
    let mut shipped: Vec<Text> = texts().into_iter().filter(is_shipped).collect();
    for text in &mut shipped {
        if let Some(at) = text.content.find("#[cfg(test)]\nmod tests") {
            text.content.truncate(at);
        }
    }
    assert!(shipped.len() > 100, "{} sources", shipped.len());
    shipped
}

#[test]
fn no_argument_is_a_tuple_of_three() {
    let arguments = Regex::new(r"\bfn \w+(?:<[^>]*>)?\(([^{;]*?)\)\s*(?:->[^{;]*)?\{")
        .expect("a valid pattern");
    // Its parts: types without tuples in them.
    let tuple =
        Regex::new(r":\s*&?(?:mut )?\((?:[^(),]+,\s*){2,}[^(),]+,?\s*\)").expect("a valid pattern");
    assert!(tuple.is_match("(name, asn): (&str, u32, u8)"));
    let mut problems = Vec::new();
    for text in shipped() {
        for found in arguments.captures_iter(&text.content) {
            if let Some(tuple) = tuple.find(&found[1]) {
                let at = found.get(0).map_or(0, |found| found.start());
                let line = text.content[..at].lines().count();
                problems.push(text.at(
                    line,
                    &format!("a struct with names for `{}`", tuple.as_str()),
                ));
            }
        }
    }
    none(problems);
}

/// `Debug` is for developers: what the program prints is written for people or as JSON. The lab and what builds the
/// project speak to developers alone.
#[test]
fn no_output_is_written_for_developers() {
    let debug = Regex::new(r"\{[a-z_.0-9]*:#?\?\}").expect("a valid pattern");
    assert!(debug.is_match("`{name:?}`") && debug.is_match("{:#?}"));
    let mut problems = Vec::new();
    for text in shipped() {
        let for_developers = ["lab", "xtask"].iter().any(|of| text.path.starts_with(of));
        let lines = text
            .content
            .lines()
            .enumerate()
            .filter(|(_, line)| !for_developers && !line.trim_start().starts_with("//"));
        let shown = lines.filter(|(_, line)| debug.is_match(line) && !line.contains("assert"));
        problems.extend(shown.map(|(number, line)| text.at(number, line.trim())));
    }
    none(problems);
}

/// The keys of what a type is as JSON: the names of its fields, those of its variants included.
fn serialized_keys(path: &str, name: &str) -> BTreeSet<String> {
    let source = fs::read_to_string(workspace().join(path)).expect("a readable checkout");
    let head = Regex::new(&format!(
        r"(?m)^(?:pub(?:\(\w+\))? )?(?:struct|enum) {name}\b.*\{{$"
    ));
    let head = head.expect("a valid pattern").find(&source);
    let head = head.unwrap_or_else(|| panic!("{path} has no `{name}`"));
    let rest = &source[head.end()..];
    let body = &rest[..rest.find("\n}").expect("an end")];
    let field = Regex::new(r"^\s+(?:pub(?:\(\w+\))? )?([a-z_0-9]+): ").expect("a valid pattern");
    let mut keys = BTreeSet::new();
    let mut before = "";
    for line in body.lines() {
        let key = field.captures(line).map(|found| found[1].to_owned());
        keys.extend(key.filter(|_| !before.contains("flatten")));
        before = line;
    }
    keys
}

/// A document from one of its headings to the next that is as high.
fn section(path: &str, heading: &str) -> String {
    let text = fs::read_to_string(workspace().join(path)).expect("a readable checkout");
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{path} has no `{heading}`"));
    let marks = heading.split(' ').next().unwrap_or_default().len();
    let is_end = |line: &&str| {
        let level = line.chars().take_while(|&it| it == '#').count();
        (1..=marks).contains(&level)
    };
    let lines: Vec<&str> = rest.lines().take_while(|line| !is_end(line)).collect();
    lines.join("\n")
}

#[test]
fn every_key_of_what_commands_print_as_json_is_documented() {
    const VIOLATIONS: (&str, &str) = ("docs/operating.md", "## Violations");
    const EVENTS: (&str, &str) = ("docs/status.md", "### Events");
    const ADVICE: (&str, &str) = ("docs/status.md", "### Advice");
    const EXPLANATION: (&str, &str) = ("docs/status.md", "### Explanation");
    const PAST: (&str, &str) = ("docs/status.md", "### Explanation of the past");
    const PREFIXES: (&str, &str) = ("docs/status.md", "### Prefixes");
    const REPORT: (&str, &str) = ("docs/status.md", "### Report");
    const DOCTOR: (&str, &str) = ("docs/operating.md", "## Doctor");
    let mut problems = Vec::new();
    let mut seen = 0;
    for (place, file, types) in [
        (VIOLATIONS, "records/violation.rs", &["ViolationRecord"][..]),
        (EVENTS, "runtime/journal/fields.rs", &["Fields"]),
        (EVENTS, "runtime/journal/store.rs", &["Entry"]),
        (ADVICE, "advise.rs", &["Advice", "ClassAdvice", "Group"]),
        (EXPLANATION, "runtime/answer.rs", &["Explained", "Left"]),
        (EXPLANATION, "runtime/prefixes.rs", &["RouteReport"]),
        (EXPLANATION, "runtime/routes.rs", &["Reach"]),
        (PAST, "cli/explain_at.rs", &["Past", "Side"]),
        (PAST, "records/route.rs", &["RouteRecord"]),
        (
            PREFIXES,
            "runtime/prefixes.rs",
            &["Prefixes", "SideReport", "PrefixReport", "RouteReport"],
        ),
        (
            REPORT,
            "report.rs",
            &[
                "Report",
                "ReasonReport",
                "Block",
                "Sample",
                "Acknowledgement",
            ],
        ),
        (REPORT, "report/series.rs", &["Point"]),
        (DOCTOR, "doctor.rs", &["Finding"]),
    ] {
        let (document, heading) = place;
        let text = section(document, heading);
        for name in types {
            let keys = serialized_keys(&format!("filter-daemon/src/{file}"), name);
            assert!(!keys.is_empty(), "{file}: {name}");
            seen += keys.len();
            let missing = keys
                .iter()
                .filter(|key| !text.contains(&format!("`{key}`")));
            problems.extend(
                missing
                    .map(|key| format!("{document}, {heading}: nothing about `{key}` of {name}")),
            );
        }
    }
    assert!(seen > 150, "{seen} keys: sources are not read");
    none(problems);
}
