//! Numbers for Prometheus. Labels have few values each: no operation, org or customer is a label.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use klio_schema::execute::Answer;
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Buckets of durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// All numbers of one gateway.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    operations_done: IntCounterVec,
    operation_seconds: HistogramVec,
    statements: IntCounter,
    rows: IntCounter,
    /// Open sockets.
    pub sockets: IntGauge,
    /// Sockets closed, by close code (0: the connection ended without one).
    pub sockets_closed: IntCounterVec,
    /// Operations under way on sockets: mostly subscriptions.
    pub operations: IntGauge,
    /// Hubs: streams of the log that someone listens to.
    pub hubs: IntGauge,
    /// Messages that came over sockets.
    pub messages_in: IntCounter,
    /// Messages that went over sockets.
    pub messages_out: IntCounter,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// Two of one name: cannot be, the names are below.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("klio_http_requests_total", "HTTP requests, by route, method and status."),
                &["route", "method", "status"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new("klio_http_request_seconds", "Time to answer an HTTP request.").buckets(SECONDS.into()),
                &["route"],
            )?,
            operations_done: IntCounterVec::new(
                Opts::new(
                    "klio_operations_total",
                    "Queries and mutations, by the way they came, their kind and whether they were executed or refused.",
                ),
                &["way", "kind", "outcome"],
            )?,
            operation_seconds: HistogramVec::new(
                HistogramOpts::new("klio_operation_seconds", "Time to run a query or mutation.").buckets(SECONDS.into()),
                &["way"],
            )?,
            statements: IntCounter::new("klio_statements_total", "SQL statements of queries and mutations.")?,
            rows: IntCounter::new("klio_rows_total", "Rows that queries and mutations read.")?,
            sockets: IntGauge::new("klio_sockets", "Open WebSocket connections.")?,
            sockets_closed: IntCounterVec::new(
                Opts::new(
                    "klio_sockets_closed_total",
                    "WebSocket connections that ended, by the gateway's close code (0: none).",
                ),
                &["code"],
            )?,
            operations: IntGauge::new(
                "klio_socket_operations",
                "Operations under way on WebSocket connections: subscriptions, mostly.",
            )?,
            hubs: IntGauge::new("klio_hubs", "Streams of the log that subscriptions on this node listen to.")?,
            messages_in: IntCounter::new("klio_socket_messages_in_total", "Messages that came over WebSockets.")?,
            messages_out: IntCounter::new("klio_socket_messages_out_total", "Messages that went out over WebSockets.")?,
            registry,
        };
        let info = IntGauge::with_opts(Opts::new("klio_info", "The version that runs.").const_label("version", env!("CARGO_PKG_VERSION")))?;
        info.set(1);
        let all: [Box<dyn prometheus::core::Collector>; 13] = [
            Box::new(info),
            Box::new(metrics.requests.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.operations_done.clone()),
            Box::new(metrics.operation_seconds.clone()),
            Box::new(metrics.statements.clone()),
            Box::new(metrics.rows.clone()),
            Box::new(metrics.sockets.clone()),
            Box::new(metrics.sockets_closed.clone()),
            Box::new(metrics.operations.clone()),
            Box::new(metrics.hubs.clone()),
            Box::new(metrics.messages_in.clone()),
            Box::new(metrics.messages_out.clone()),
        ];
        for one in all {
            metrics.registry.register(one)?;
        }
        Ok(metrics)
    }

    /// Counts an HTTP request.
    pub fn request(&self, path: &str, method: &Method, status: StatusCode, took: Duration) {
        // What a client makes up is one label, or each made-up path would be a series of its own.
        let route = match path {
            "/" | "/graphql" | "/schema.graphql" | "/health/live" | "/health/ready" | "/metrics" => path,
            _ if path.starts_with("/explorer/") => "/explorer",
            _ => "other",
        };
        let method = if [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD].contains(method) {
            method.as_str()
        } else {
            "other"
        };
        self.requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Counts a query or mutation.
    pub fn operation(&self, way: &str, answer: &Answer, took: Duration) {
        let outcome = if answer.executed { "executed" } else { "refused" };
        self.operations_done
            .with_label_values(&[way, answer.stats.kind.unwrap_or("unknown"), outcome])
            .inc();
        self.operation_seconds.with_label_values(&[way]).observe(took.as_secs_f64());
        // Counts of one request; wider than they can be on any machine.
        self.statements.inc_by(answer.stats.statements as u64);
        self.rows.inc_by(answer.stats.rows as u64);
    }

    /// Everything, in Prometheus' text form.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}
