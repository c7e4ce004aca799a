//! A report as one HTML file that needs nothing else: no script, no font, no picture is loaded. What peers and packets hold is
//! escaped by the template, whatever it is.
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Block, ReasonReport, Report, Sample, chart};
use crate::advise::span;
use crate::when;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:auto;font-size:11px}\
.legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem}.legend span{display:inline-block;width:.8rem;height:.8rem}\
code{font-size:.9em;word-break:break-all}.small{color:#555;font-size:.9em}";

/// Nothing may be loaded, and nothing may run: also where a mail program shows it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The whole page.
#[must_use]
pub fn page(report: &Report) -> String {
    let title = format!(
        "AS{} ({}): packets against the peering policy",
        report.asn, report.peer
    );
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (summary(report))
                @if !report.is_clean() {
                    (reasons(report))
                    h2 { "Over time" }
                    (chart::stacked(&report.timeline))
                    (blocks("Sources of the sampled packets", &report.sources, true))
                    (blocks("Destinations of the sampled packets", &report.destinations, false))
                    (samples(&report.samples))
                }
                (acknowledgements(report))
                (colophon(report))
            }
        }
    };
    markup.into_string()
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), when::local)
}

fn summary(report: &Report) -> Markup {
    html! {
        p {
            "Seen by AS" (report.our_asn) " from " (when::local(report.from)) " to " (when::local(report.to)) ": "
            (report.packets) " packets, " (bytes(report.bytes)) ", were received from you."
            @if report.from > report.since { " Nothing is recorded of before that." }
        }
        @if report.is_clean() {
            p { strong { "None of them broke the peering policy." } }
        } @else {
            table {
                tr { th { "opened: first violation sampled" } td { (time(report.opened)) } }
                tr { th { "last violation sampled" } td { (time(report.last_seen)) } }
                tr {
                    th { "acknowledged" }
                    td { (time(report.acknowledgements.first().map(|it| it.time))) }
                }
            }
        }
    }
}

fn reasons(report: &Report) -> Markup {
    let is_priced = report.reasons.iter().any(|it| it.price.is_some());
    html! {
        h2 { "What was broken" }
        p.small { "Packets and bytes are counted, not sampled. The 95th percentile is that of five-minute averages." }
        table {
            tr {
                th { "reason" } th.n { "passed" } th.n { "dropped" } th.n { "bytes" } th.n { "95th percentile" }
                @if is_priced { th.n { "price" } }
                th { "first and last sampled" }
            }
            @for reason in &report.reasons { (row(reason, is_priced)) }
        }
    }
}

fn row(reason: &ReasonReport, is_priced: bool) -> Markup {
    html! {
        tr {
            td { code { (reason.reason) } br; span.small { (reason.sentence) } }
            td.n { (reason.passed) }
            td.n { (reason.dropped) }
            td.n { (bytes(reason.bytes)) }
            td.n { (rate(reason.percentile_95)) }
            @if is_priced { td.n { (reason.price.map_or_else(|| "–".to_owned(), |price| format!("{price:.2}"))) } }
            td { (time(reason.first_seen)) br; (time(reason.last_seen)) }
        }
    }
}

fn blocks(title: &str, blocks: &[Block], are_sources: bool) -> Markup {
    html! {
        @if !blocks.is_empty() {
            h2 { (title) }
            table {
                tr { th { "block" } th.n { "samples" } @if are_sources { th { "announced by" } } }
                @for block in blocks {
                    tr {
                        td { code { (block.prefix) } }
                        td.n { (block.samples) }
                        @if are_sources {
                            td { @if block.announced_by.is_empty() { "no other network that peers with us" } @else { (block.announced_by) } }
                        }
                    }
                }
            }
        }
    }
}

fn samples(samples: &[Sample]) -> Markup {
    html! {
        @if !samples.is_empty() {
            h2 { "Examples" }
            table {
                tr { th { "time" } th { "from MAC" } th { "packet" } th { "reason" } th.n { "bytes" } }
                @for sample in samples {
                    tr {
                        td { (when::local(sample.time)) }
                        td {
                            code { (sample.source_mac.as_deref().unwrap_or("–")) }
                            @if let Some(vlan) = sample.vlan { br; "vlan " (vlan) }
                        }
                        td { (packet(sample)) }
                        td { code { (sample.reason) } br; @if sample.dropped { "dropped" } @else { "passed" } }
                        td.n { (sample.length) }
                    }
                }
            }
        }
    }
}

fn packet(sample: &Sample) -> Markup {
    html! {
        @if let (Some(source), Some(destination)) = (&sample.source, &sample.destination) {
            code { (source) } " to " code { (destination) }
        }
        @if let Some(protocol) = sample.protocol { ", protocol " (protocol) }
        @if let Some(port) = sample.destination_port { ", port " (port) }
        @if let Some(forbidden) = &sample.forbidden_protocol { ", " (forbidden) }
    }
}

fn acknowledgements(report: &Report) -> Markup {
    html! {
        @if !report.acknowledgements.is_empty() {
            h2 { "Acknowledged" }
            ul {
                @for it in &report.acknowledgements { li { (when::local(it.time)) ": " (it.note) } }
            }
        }
    }
}

fn colophon(report: &Report) -> Markup {
    html! {
        p.small {
            "Made by bcp38 " (report.version) " from counters of " (span(report.counted_seconds)) ". "
            @if report.anonymised {
                "Addresses of third parties are cut to /24 and /48, and networks that announce them are not named. "
            }
            "A source is yours if you currently advertise it to us; a destination is ours if we currently advertise it to you."
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, "B")
}

fn rate(bits: f64) -> String {
    scaled(bits, "bit/s")
}

fn scaled(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let found = PREFIXES.iter().find(|(size, _)| value >= *size);
    match found {
        Some((size, prefix)) => format!("{:.2} {prefix}{unit}", value / size),
        None => format!("{value:.0} {unit}"),
    }
}
