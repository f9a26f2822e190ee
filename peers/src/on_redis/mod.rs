//! Decisions of a Redis server: ours, the Redis stores of tower-rate-tier and throttle-kit, and what others let it do.
//!
//! The server, the references and the rounds are those of the benchmark `redis`, which shows more of ours.

#[path = "../../../benches/support/redis/capture.rs"]
mod capture;
#[path = "../../../benches/support/redis/full.rs"]
mod full;
#[path = "../../../benches/support/redis/memory.rs"]
mod memory;
mod peers;
#[path = "../../../benches/support/redis/rounds.rs"]
#[allow(dead_code, reason = "the benchmark of this crate alone shows more")]
mod rounds;
#[path = "../../../benches/support/redis/server.rs"]
#[allow(dead_code, reason = "the benchmark of this crate alone shows more")]
mod server;
#[path = "../../../benches/support/redis/subjects.rs"]
#[allow(dead_code, reason = "the benchmark of this crate alone shows more")]
mod subjects;

use redis::cmd;
use tokio::runtime::Builder;

use crate::{
    arguments::Effort,
    findings::{Findings, Table},
    median::median,
    versions::version,
};

use peers::Peer;
use rounds::{Case, Sample, measure};
use server::Server;
use subjects::{Keys, Situation, Subject, command};

const SUBJECTS: [Subject; 4] = [Subject::Ours, Subject::TwoSets, Subject::OneSet, Subject::FixedPair];

/// Says what is missing if there is no server.
pub(crate) fn run(effort: Effort) -> Result<Findings, String> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(compare(effort))
}

async fn compare(effort: Effort) -> Result<Findings, String> {
    let effort = match effort.is_quick {
        false => rounds::Effort { rounds: 9, decisions: [1_500, 15_000], keys: 10_000, prefill: 15 },
        true => rounds::Effort { rounds: 3, decisions: [300, 3_000], keys: 1_000, prefill: 15 },
    };
    let server = Server::start().await?;
    let mut cases = cases(&server, effort).await;
    measure(&server, &mut cases, effort).await;
    let columns = ["CPU, us", "CPU to PING", "time to PING", "admitted, %"];
    let mut tables = Vec::new();
    for group in ["a new key", "many keys", "a busy key, admitted", "a full key, denied"] {
        let name = format!("redis-{}", group.replace([' ', ','], "-").replace("--", "-"));
        let title = format!("Redis, minute + hour unless said, {} tasks on one connection: {group}", rounds::TASKS);
        let mut table = Table::new(&name, title, "", columns);
        for case in cases.iter().filter(|case| case.group == group) {
            table.row(case.name, columns_of(case, &cases[0]), "");
        }
        tables.push(table);
    }
    tables.push(summary(&tables).note(notes(&server).await));
    tables.push(bytes(&server).await);
    Ok(Findings { tables, charts: Vec::new() })
}

/// Of the server's processor time, which is what decisions have to share, in one picture.
fn summary(tables: &[Table]) -> Table {
    let columns: Vec<&str> = tables.iter().filter_map(|table| table.title.rsplit(": ").next()).collect();
    let mut summary = Table::new("redis", "The server's processor time per decision, to PING", "times PING", columns);
    for (column, table) in tables.iter().enumerate() {
        for row in &table.rows {
            if let Some(ratio) = row.cells[1] {
                summary.set(&row.name, column, ratio);
            }
        }
    }
    summary.bars(false, None)
}

async fn notes(server: &Server) -> String {
    let redis = server.info("server", "redis_version").await;
    let (tier, kit) = (version("tower-rate-tier"), version("throttle-kit"));
    format!(
        "redis-server {redis}, tower-rate-tier {tier}, throttle-kit {kit}; a processor each for server and client: {}",
        server.is_pinned()
    )
}

fn columns_of(case: &Case, ping: &Case) -> Vec<Option<f64>> {
    let [_, samples] = &case.samples;
    let ratio =
        |of: fn(&Sample) -> f64| median(samples.iter().zip(&ping.samples[1]).map(|(one, ping)| of(one) / of(ping)));
    let values = [
        median(samples.iter().map(|sample| sample.cpu_micros)),
        ratio(|sample| sample.cpu_micros),
        ratio(|sample| sample.micros),
        100.0 * median(samples.iter().map(|sample| sample.admitted)),
    ];
    values.map(Some).to_vec()
}

async fn cases(server: &Server, effort: rounds::Effort) -> Vec<Case> {
    let mut cases = vec![Case::new("floor", "PING", &command(server, cmd("PING"))).weight(4)];
    let peers = Peer::all(server).await;
    for subject in SUBJECTS {
        cases.push(Case::of("a new key", subject, server, &Situation::usual(Keys::Fresh)).await);
        let many = Case::of("many keys", subject, server, &Situation::usual(Keys::Many(effort.keys))).await;
        cases.push(many.prefilled(effort.keys * effort.prefill).await);
        cases.push(Case::turning("a busy key, admitted", subject, server, full::LIVE).await);
        cases.push(full::denied(server, subject).await);
    }
    for peer in peers {
        cases.push(Case::new("a new key", peer.name, &peer.ask(Keys::Fresh)));
        let many = Case::new("many keys", peer.name, &peer.ask(Keys::Many(effort.keys)));
        cases.push(many.prefilled(effort.keys * effort.prefill).await);
        cases.push(Case::new("a busy key, admitted", peer.name, &peer.plenty().ask(Keys::Hot("busy"))));
        let denied = Case::new("a full key, denied", peer.name, &peer.ask(Keys::Hot("denied")));
        cases.push(denied.prefilled(full::LIVE + 100).await);
    }
    cases
}

async fn bytes(server: &Server) -> Table {
    let columns = memory::HISTORIES.map(|(units, ..)| units);
    let mut table =
        Table::new("redis-memory", "Bytes per key on the server, by the units it was charged", "bytes", columns)
            .bars(true, None);
    for subject in SUBJECTS {
        let bytes = memory::bytes(server, subject).await;
        table.row(subject.name(), bytes.map(|bytes| Some(bytes as f64)).to_vec(), "");
    }
    table
}
