//! Records outlive a crash, another version, a full disk's half line, and their own limit.
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

const SOON: Duration = Duration::from_secs(20);

struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bcp38-records-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn write(&self, kind: Kind, records: impl IntoIterator<Item = Value>) -> Vec<String> {
        let mut recorder = Recorder::start(&self.0).unwrap();
        for record in records {
            recorder.record(kind, &record);
        }
        assert!(recorder.end(SOON), "the disk does not answer");
        recorder.problems()
    }

    fn read(&self, kind: Kind) -> (Vec<Value>, u64) {
        let mut records = Vec::new();
        let damage = read(&self.0, kind, |record| records.push(record)).unwrap();
        (records, damage.dropped)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_recorded_is_read_again_in_order_by_kind() {
    let place = Place::new();
    assert_eq!(
        place.read(Kind::Events),
        (Vec::new(), 0),
        "no directory yet"
    );
    place.write(Kind::Events, [json!({"n": 1}), json!({"n": 2})]);
    place.write(Kind::Events, [json!({"n": 3})]);
    place.write(Kind::Minutes, [json!({"n": 4})]);
    let expected = [1, 2, 3].map(|n| json!({ "n": n })).to_vec();
    assert_eq!(place.read(Kind::Events), (expected, 0));
    assert_eq!(place.read(Kind::Minutes).0, [json!({"n": 4})]);
}

#[test]
fn a_line_cut_anywhere_is_dropped_and_the_rest_stays() {
    let place = Place::new();
    place.write(Kind::Events, [json!({"n": 1}), json!({"n": 2})]);
    let path = Kind::Events.path(&place.0);
    let whole = fs::read(&path).unwrap();
    let last = "{\"n\":2}\n".len();
    for cut in 1..last {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(
            place.read(Kind::Events),
            (vec![json!({"n": 1})], 1),
            "{cut}"
        );
    }
    place.write(Kind::Events, [json!({"n": 3})]);
    let expected = vec![json!({"n": 1}), json!({"n": 3})];
    assert_eq!(place.read(Kind::Events), (expected, 0));
    // Cut within its header, it is begun anew.
    fs::write(&path, &whole[..5]).unwrap();
    assert_eq!(place.read(Kind::Events), (Vec::new(), 0));
    place.write(Kind::Events, [json!({"n": 4})]);
    assert_eq!(place.read(Kind::Events), (vec![json!({"n": 4})], 0));
}

#[test]
fn another_version_is_refused_with_both_named_and_left_as_it_is() {
    let place = Place::new();
    place.write(Kind::Violations, [json!({"n": 1})]);
    let path = Kind::Violations.path(&place.0);
    let foreign = fs::read_to_string(&path)
        .unwrap()
        .replace("\"version\":1", "\"version\":7");
    fs::write(&path, &foreign).unwrap();
    let error = read(&place.0, Kind::Violations, |_: Value| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("version 7") && error.contains("version 1"),
        "{error}"
    );
    let recorder = Recorder::start(&place.0).unwrap();
    recorder.record(Kind::Violations, &json!({"n": 2}));
    let end = Instant::now() + SOON;
    while recorder.problems().is_empty() {
        assert!(Instant::now() < end, "no problem is reported");
        std::thread::yield_now();
    }
    assert_eq!(recorder.problems(), [error]);
    assert_eq!(recorder.lost(), 1);
    drop(recorder);
    assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    fs::write(&path, "something else\n").unwrap();
    let error = read(&place.0, Kind::Violations, |_: Value| ()).unwrap_err();
    assert!(matches!(error, RecordsError::Foreign(_)), "{error}");
}

#[test]
fn the_older_half_goes_at_the_limit_and_not_before() {
    let place = Place::new();
    let half = Kind::Minutes.max_bytes() / 2;
    place.write(Kind::Minutes, [json!({"n": 0})]);
    let path = Kind::Minutes.path(&place.0);
    let length = || fs::metadata(&path).unwrap().len();
    let line = |n: u64| json!({ "n": n, "fill": "x".repeat(1 << 20) });
    let each = serde_json::to_vec(&line(1)).unwrap().len() as u64 + 1;
    let fits = (half - length()) / each;
    place.write(Kind::Minutes, (1..=fits).map(line));
    assert!(!Kind::Minutes.old_path(&place.0).exists());
    place.write(Kind::Minutes, [line(fits + 1)]);
    assert!(Kind::Minutes.old_path(&place.0).exists());
    assert!(length() < 2 * each);
    let numbers = |records: Vec<Value>| records.iter().map(|it| it["n"].as_u64()).collect();
    let read: Vec<_> = numbers(place.read(Kind::Minutes).0);
    assert_eq!(read, (0..=fits + 1).map(Some).collect::<Vec<_>>());
    place.write(Kind::Minutes, (fits + 2..=2 * fits + 1).map(line));
    let read: Vec<_> = numbers(place.read(Kind::Minutes).0);
    assert_eq!(
        read.first(),
        Some(&Some(fits + 1)),
        "the first half is gone"
    );
    assert_eq!(read.last(), Some(&Some(2 * fits + 1)));
}

#[test]
fn a_record_at_its_limit_is_written_and_a_longer_one_is_counted_as_lost() {
    let place = Place::new();
    let recorder = Recorder::start(&place.0).unwrap();
    let of = |bytes: usize| json!("x".repeat(bytes - 3)); // two quotes and the end of the line
    recorder.record(Kind::Events, &of(MAX_RECORD));
    recorder.record(Kind::Events, &of(MAX_RECORD + 1));
    recorder.record(Kind::Events, &json!("after"));
    let end = Instant::now() + SOON;
    while recorder.lost() == 0 {
        assert!(Instant::now() < end, "none is lost");
        std::thread::yield_now();
    }
    drop(recorder);
    let (records, dropped) = place.read(Kind::Events);
    assert_eq!((records.len(), dropped), (2, 0));
}

#[test]
fn the_last_number_is_that_of_the_last_whole_record() {
    let place = Place::new();
    let last = || last_number(&place.0, Kind::Events).unwrap();
    assert_eq!(last(), 0);
    place.write(Kind::Events, [json!({"number": 7}), json!({"number": 8})]);
    assert_eq!(last(), 8);
    let path = Kind::Events.path(&place.0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(last(), 7, "the last one was cut");
    fs::rename(&path, Kind::Events.old_path(&place.0)).unwrap();
    assert_eq!(last(), 7, "the file that is written is new");
    place.write(
        Kind::Events,
        [json!({"number": 9, "fill": "x".repeat(MAX_RECORD / 2)})],
    );
    assert_eq!(last(), 9);
}

/// Records of a peer that fill nearly a MiB each.
fn flood(peer: Option<&str>, numbers: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    let fill = "x".repeat((1 << 20) - 128);
    let of = |number| json!({ "number": number, "time": 1.0, "peer": peer, "fill": fill });
    numbers.map(of).collect()
}

fn numbers(records: &[Value], peer: Option<&str>) -> Vec<u64> {
    let of_peer = records.iter().filter(|it| it["peer"].as_str() == peer);
    of_peer.filter_map(|it| it["number"].as_u64()).collect()
}

#[test]
fn what_one_peer_causes_pushes_out_no_record_of_another() {
    for kind in [Kind::Violations, Kind::Events, Kind::Routes] {
        let place = Place::new();
        let quiet = |number: u64, peer: Option<&str>| json!({ "number": number, "time": 1.0, "peer": peer });
        place.write(kind, [quiet(1, Some("p1")), quiet(2, None)]);
        for piece in flood(Some("p2"), 3..=100).chunks(6) {
            place.write(kind, piece.iter().cloned()); // no more than may wait, also of routes
        }
        place.write(kind, [quiet(101, Some("p1"))]);
        let (records, dropped) = place.read(kind);
        assert_eq!(dropped, 0);
        assert_eq!(numbers(&records, Some("p1")), [1, 101]);
        assert_eq!(numbers(&records, None), [2]);
        let flooded = numbers(&records, Some("p2"));
        let last = 100;
        let first = flooded[0];
        assert!(first > 3, "its own oldest records go");
        assert_eq!(flooded, (first..=last).collect::<Vec<_>>());
        let files = fs::read_dir(&place.0).unwrap();
        let on_disk: u64 = files.map(|it| it.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= 2 * kind.max_file_bytes(), "{on_disk}");
        assert!(on_disk > kind.max_file_bytes(), "{on_disk}");
        assert_eq!(last_number(&place.0, kind).unwrap(), 101);
    }
}

#[test]
fn a_crash_while_the_room_is_shared_out_shows_no_record_twice() {
    let place = Place::new();
    let kind = Kind::Violations;
    let of = |number: u64| json!({ "number": number, "time": number as f64, "peer": "p1" });
    place.write(kind, (1..=3).map(of));
    let written = fs::read(kind.path(&place.0)).unwrap();
    fair::merge(&place.0, kind, kind.max_file_bytes()).unwrap();
    assert!(!kind.path(&place.0).exists());
    assert_eq!(place.read(kind), ((1..=3).map(of).collect(), 0));
    // As if it had ended before the file that was merged was removed.
    fs::write(kind.path(&place.0), written).unwrap();
    assert_eq!(place.read(kind), ((1..=3).map(of).collect(), 0));
    place.write(kind, [of(4)]);
    assert_eq!(place.read(kind), ((1..=4).map(of).collect(), 0));
    // Numbers that start anew are not taken for those of the former file.
    let again = json!({ "number": 1, "time": 9.0, "peer": "p1" });
    fs::remove_file(kind.path(&place.0)).unwrap();
    place.write(kind, [again.clone()]);
    assert_eq!(place.read(kind).0.last(), Some(&again));
}

#[test]
fn only_the_daemons_user_reads_records_also_those_of_an_earlier_version() {
    let place = Place::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = Kind::Events.path(&place.0);
    for _ in 0..2 {
        place.write(Kind::Events, [json!({"n": 1})]);
        assert_eq!((mode(&place.0), mode(&path)), (0o700, 0o600));
        fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// A FIFO without a writer: whoever opens it to read waits, as on a disk that hangs.
#[test]
fn a_disk_that_hangs_costs_so_many_bytes_of_memory_and_no_more() {
    let place = Place::new();
    fs::create_dir(&place.0).unwrap();
    let path = Kind::Events.path(&place.0);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let recorder = Recorder::start(&place.0).unwrap();
    let of = |bytes: usize| json!("x".repeat(bytes - 3)); // two quotes and the end of the line
    let fitting = MAX_WAITING_BYTES / MAX_RECORD;
    for _ in 1..fitting {
        recorder.record(Kind::Events, &of(MAX_RECORD));
    }
    recorder.record(Kind::Events, &of(MAX_RECORD - 3));
    assert_eq!(recorder.lost(), 0);
    recorder.record(Kind::Events, &of(4));
    assert_eq!(recorder.lost(), 1, "one byte too many");
    recorder.record(Kind::Events, &of(3));
    assert_eq!(recorder.lost(), 1, "at the limit");
    recorder.record(Kind::Routes, &json!({"n": 1}));
    assert_eq!(recorder.lost(), 2, "routes leave half of the room");
    let waits = fs::File::options().write(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    drop(waits);
    drop(recorder);
    assert_eq!(place.read(Kind::Events).0.len(), fitting + 1);
    assert_eq!(place.read(Kind::Routes).0.len(), 0);
}
