//! The table in `docs/lifecycle.md` that says which test shows which event's row.

const HEAD: &str = "| event | whose | what happens | test |";

fn read(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Each row names tests of this binary, and an event of the contract.
#[test]
fn every_row_names_tests_that_exist() {
    let (doc, contract) = (read("docs/lifecycle.md"), read("docs/spec.md"));
    let rows: Vec<&str> = doc
        .lines()
        .skip_while(|line| *line != HEAD)
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(!rows.is_empty(), "no table with the head {HEAD}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [event, _, _, tests] = cells[..] else {
            panic!("not four cells: {row}");
        };
        let anchor = event
            .split("spec.md#")
            .nth(1)
            .and_then(|rest| rest.split(')').next())
            .unwrap_or_else(|| panic!("no event of the contract: {event}"));
        let id = format!("id=\"{anchor}\"");
        assert!(contract.contains(&id), "{anchor} is not in docs/spec.md");
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            let Some((file, function)) = name.split_once("::") else {
                panic!("not a test: {test}");
            };
            let source = read(&format!("tests/tests/valves/{file}.rs"));
            assert!(
                source.contains(&format!("#[test]\nfn {function}()")),
                "{name}"
            );
        }
    }
}
