//! Criterion's view of bar 5: `cargo bench -p benches`. Each iteration asks for 1,024 random members.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use filter_core::Family;
use filter_core::table::shapes::{full_table, hits};

fn lookups(criterion: &mut Criterion) {
    for (family, size) in [(Family::Ipv4, 1_000_000), (Family::Ipv6, 230_000)] {
        let prefixes = full_table(family, size, 7);
        let addresses = hits(&prefixes, 1 << 20, 21);
        let mut chunks = addresses.chunks(1024).cycle();
        let mut group = criterion.benchmark_group(format!("{family}, {size} prefixes"));
        group.throughput(Throughput::Elements(1024));
        let ours = benches::lookup::ours(family, &prefixes).expect("a table that fits");
        let tables = [
            ("ours", ours),
            ("treebitmap", benches::lookup::treebitmap(family, &prefixes)),
            (
                "prefix-trie",
                benches::lookup::prefix_trie(family, &prefixes),
            ),
        ];
        for (name, ask) in &tables {
            group.bench_function(*name, |bencher| {
                bencher.iter(|| ask(chunks.next().unwrap_or_default()));
            });
        }
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);
