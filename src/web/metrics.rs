//! `/metrics` in the OpenMetrics text format, by the prometheus-client crate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::lists::ListStatus;
use crate::server::{Shared, lock};

/// `GET /metrics`.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let mut registry = Registry::with_prefix("taciturn");
    registry.register_collector(Box::new(Scrape(shared)));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(fmt::Error) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Reads the running numbers when asked, so that nothing is kept twice.
struct Scrape(Arc<Shared>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shared = &self.0;
        for (name, help, count) in shared.resolver.recorder.totals().all() {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let (answers, bytes) = shared.resolver.cache.size();
        let live = shared.resolver.live();
        let (rules, rule_bytes) = live.rules.size();
        for (name, help, value) in [
            ("cache_answers", "Answers in the cache", answers as u64),
            ("cache_bytes", "Bytes that cached answers take", bytes),
            ("rules", "Rules of all lists", rules as u64),
            (
                "rule_bytes",
                "Bytes that the rules' names take",
                rule_bytes as u64,
            ),
            (
                "uptime_seconds",
                "Seconds since the start",
                shared.started.elapsed().as_secs(),
            ),
            (
                "store_trouble",
                "1 while counts cannot be written",
                shared.writer.trouble().is_some().into(),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        self.encode_upstreams(&mut encoder)?;
        self.encode_lists(&mut encoder)
    }
}

impl Scrape {
    fn encode_upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let live = self.0.resolver.live();
        let servers: Vec<_> = live
            .router
            .servers()
            .map(|server| {
                let queries = server.counts.queries.load(Relaxed);
                let failures = server.counts.failures.load(Relaxed);
                (server.url().to_string(), queries, failures, server.speed())
            })
            .collect();
        type Count = (
            &'static str,
            &'static str,
            fn(&(String, u64, u64, Duration)) -> u64,
        );
        let counts: [Count; 2] = [
            (
                "upstream_queries",
                "Queries sent to an upstream",
                |server| server.1,
            ),
            (
                "upstream_server_failures",
                "Queries to an upstream that came to nothing",
                |server| server.2,
            ),
        ];
        for (name, help, count) in counts {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for server in &servers {
                let labels = [("upstream", server.0.as_str())];
                ConstCounter::new(count(server)).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "upstream_smoothed_seconds",
            "Smoothed response time of an upstream",
            None,
            MetricType::Gauge,
        )?;
        for (server, _, _, speed) in &servers {
            let labels = [("upstream", server.as_str())];
            ConstGauge::new(speed.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_lists(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let lists = lock(&self.0.lists).clone();
        type Gauge = (&'static str, &'static str, fn(&ListStatus) -> u64);
        let gauges: [Gauge; 3] = [
            ("list_rules", "Rules of a list", |list| {
                list.report.rules as u64
            }),
            (
                "list_junk_lines",
                "Lines of a list that cannot be used",
                |list| list.report.junk as u64,
            ),
            (
                "list_trouble",
                "1 while a list is missing or an older copy is used",
                |list| list.error.is_some().into(),
            ),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for list in &lists {
                let labels = [("list", list.name.as_str())];
                ConstGauge::new(value(list)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
