//! Numbers for Prometheus. Labels have few values each: no operation, org or customer is a label. `docs/operations.md` lists them
//! (a test compares).

use std::time::Duration;

use axum::http::{Method, StatusCode};
use klio_schema::execute::{Answer, Gateway};
use klio_subscriptions::listen::Told;
use prometheus::{
    Counter, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Buckets of durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// The numbers that nearly all requests change: looked up by their labels once.
#[derive(Clone, Debug)]
struct Usual {
    /// POST to `/graphql`, answered with 200.
    requests: IntCounter,
    /// `/graphql`.
    seconds: Histogram,
    /// Queries over HTTP that were executed.
    queries: IntCounter,
    /// Operations over HTTP.
    operation_seconds: Histogram,
}

/// All numbers of one gateway.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    usual: Usual,
    requests: IntCounterVec,
    seconds: HistogramVec,
    operations_done: IntCounterVec,
    operation_seconds: HistogramVec,
    operation_errors: IntCounterVec,
    statements: IntCounter,
    rows: IntCounter,
    /// Open sockets.
    pub sockets: IntGauge,
    /// Sockets closed, by close code (0: the connection ended without one).
    pub sockets_closed: IntCounterVec,
    /// Operations under way on sockets and streams: mostly subscriptions.
    pub operations: IntGauge,
    /// Streams in responses that are open, and polls that wait, by way.
    pub streams: IntGaugeVec,
    /// Streams that ended, by way and why.
    pub streams_closed: IntCounterVec,
    /// Messages that went out by streams and polls, by way.
    pub stream_messages: IntCounterVec,
    bus: IntGauge,
    listener_events: IntCounterVec,
    listener_lag: GaugeVec,
    bus_news: IntCounterVec,
    /// Hubs: streams of the log that someone listens to.
    hubs: IntGauge,
    log_events: IntCounter,
    log_delay: Counter,
    plans: IntCounterVec,
    pool: IntGaugeVec,
    memory: IntGauge,
    cpu: Counter,
    files: IntGauge,
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
        let requests = IntCounterVec::new(
            Opts::new("klio_http_requests_total", "HTTP requests, by route, method and status."),
            &["route", "method", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("klio_http_request_seconds", "Time to answer an HTTP request.").buckets(SECONDS.into()),
            &["route"],
        )?;
        let operations_done = IntCounterVec::new(
            Opts::new(
                "klio_operations_total",
                "Operations, by the way they came, their kind and whether they were executed (subscriptions: begun) or refused.",
            ),
            &["way", "kind", "outcome"],
        )?;
        let operation_seconds = HistogramVec::new(
            HistogramOpts::new("klio_operation_seconds", "Time to run a query or mutation.").buckets(SECONDS.into()),
            &["way"],
        )?;
        let usual = Usual {
            requests: requests.with_label_values(&["/graphql", "POST", "200"]),
            seconds: seconds.with_label_values(&["/graphql"]),
            queries: operations_done.with_label_values(&["http", "query", "executed"]),
            operation_seconds: operation_seconds.with_label_values(&["http"]),
        };
        let metrics = Self {
            requests,
            seconds,
            operations_done,
            operation_seconds,
            usual,
            operation_errors: IntCounterVec::new(
                Opts::new(
                    "klio_operation_errors_total",
                    "Operations with an error, by its code; with several codes, once for each.",
                ),
                &["code"],
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
                "Operations under way on WebSocket connections and streams: subscriptions, mostly.",
            )?,
            streams: IntGaugeVec::new(
                Opts::new(
                    "klio_streams",
                    "Responses that stream, by way: events, events_single, multipart; and polls that wait.",
                ),
                &["way"],
            )?,
            streams_closed: IntCounterVec::new(
                Opts::new(
                    "klio_streams_closed_total",
                    "Streams that ended, by way and why: complete, client, expired, revoked, drain.",
                ),
                &["way", "why"],
            )?,
            stream_messages: IntCounterVec::new(
                Opts::new("klio_stream_messages_total", "Messages that went out by streams and polls, by way."),
                &["way"],
            )?,
            listener_events: IntCounterVec::new(
                Opts::new(
                    "klio_listener_events_total",
                    "Events by listener and what became of them: heard, failed (tries), aside, cut (too deep); and resyncs.",
                ),
                &["listener", "what"],
            )?,
            listener_lag: GaugeVec::new(
                Opts::new(
                    "klio_listener_lag_seconds",
                    "Age of the oldest event that waits for a listener on this node.",
                ),
                &["listener"],
            )?,
            bus: IntGauge::new("klio_bus_up", "Whether other nodes are heard (1), or the bus is away (0).")?,
            bus_news: IntCounterVec::new(
                Opts::new(
                    "klio_bus_news_total",
                    "Pieces of news by what became of them: sent, heard (from other nodes), lost; and connections made.",
                ),
                &["what"],
            )?,
            hubs: IntGauge::new("klio_hubs", "Streams of the log that subscriptions on this node listen to.")?,
            log_events: IntCounter::new("klio_log_events_total", "Events that hubs read from the log.")?,
            log_delay: Counter::new(
                "klio_log_delay_seconds_total",
                "Time from an event to its being read by a hub, all such times together; divided by klio_log_events_total: how far subscriptions lag.",
            )?,
            plans: IntCounterVec::new(
                Opts::new(
                    "klio_plans_total",
                    "Operations whose plan was there already (kept), and those for which one was made.",
                ),
                &["found"],
            )?,
            pool: IntGaugeVec::new(
                Opts::new("klio_database_connections", "Connections to the database, busy and idle."),
                &["state"],
            )?,
            memory: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            cpu: Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?,
            files: IntGauge::new("process_open_fds", "Number of open file descriptors.")?,
            messages_in: IntCounter::new("klio_socket_messages_in_total", "Messages that came over WebSockets.")?,
            messages_out: IntCounter::new("klio_socket_messages_out_total", "Messages that went out over WebSockets.")?,
            registry,
        };
        let info = IntGauge::with_opts(Opts::new("klio_info", "The version that runs.").const_label("version", env!("CARGO_PKG_VERSION")))?;
        info.set(1);
        let all: [Box<dyn prometheus::core::Collector>; 28] = [
            Box::new(info),
            Box::new(metrics.requests.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.operations_done.clone()),
            Box::new(metrics.operation_seconds.clone()),
            Box::new(metrics.operation_errors.clone()),
            Box::new(metrics.statements.clone()),
            Box::new(metrics.rows.clone()),
            Box::new(metrics.sockets.clone()),
            Box::new(metrics.sockets_closed.clone()),
            Box::new(metrics.operations.clone()),
            Box::new(metrics.streams.clone()),
            Box::new(metrics.streams_closed.clone()),
            Box::new(metrics.stream_messages.clone()),
            Box::new(metrics.listener_events.clone()),
            Box::new(metrics.listener_lag.clone()),
            Box::new(metrics.bus.clone()),
            Box::new(metrics.bus_news.clone()),
            Box::new(metrics.hubs.clone()),
            Box::new(metrics.log_events.clone()),
            Box::new(metrics.log_delay.clone()),
            Box::new(metrics.plans.clone()),
            Box::new(metrics.pool.clone()),
            Box::new(metrics.memory.clone()),
            Box::new(metrics.cpu.clone()),
            Box::new(metrics.files.clone()),
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
        if path == "/graphql" && method == Method::POST && status == StatusCode::OK {
            self.usual.requests.inc();
            self.usual.seconds.observe(took.as_secs_f64());
            return;
        }
        // What a client makes up is one label, or each made-up path would be a series of its own.
        let route = match path {
            "/" | "/graphql" | "/graphql/poll" | "/schema.graphql" | "/health/live" | "/health/ready" | "/metrics" => path,
            _ if path.starts_with("/explorer/") => "/explorer",
            _ => "other",
        };
        let method = if [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::HEAD,
        ]
        .contains(method)
        {
            method.as_str()
        } else {
            "other"
        };
        self.requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Counts a query or mutation.
    pub fn operation(&self, way: &str, answer: &Answer, took: Duration) {
        let usual = way == "http";
        match (answer.stats.kind, answer.executed) {
            (Some("query"), true) if usual => self.usual.queries.inc(),
            (kind, executed) => {
                let outcome = if executed { "executed" } else { "refused" };
                let labels = [way, kind.unwrap_or("unknown"), outcome];
                self.operations_done.with_label_values(&labels).inc();
            }
        }
        if usual {
            self.usual.operation_seconds.observe(took.as_secs_f64());
        } else {
            self.operation_seconds.with_label_values(&[way]).observe(took.as_secs_f64());
        }
        self.errors(&answer.stats.codes);
        // Counts of one request; wider than they can be on any machine.
        self.statements.inc_by(answer.stats.statements as u64);
        self.rows.inc_by(answer.stats.rows as u64);
    }

    /// Counts a subscription that has begun, or was refused.
    pub fn subscription(&self, way: &str, begun: bool) {
        let outcome = if begun { "executed" } else { "refused" };
        self.operations_done.with_label_values(&[way, "subscription", outcome]).inc();
    }

    /// Counts an operation's errors, by code.
    pub fn errors(&self, codes: &[&'static str]) {
        for code in codes {
            self.operation_errors.with_label_values(&[code]).inc();
        }
    }

    /// Takes in what others count: the gateway, the database's pool, the system.
    pub fn look(&self, gateway: &Gateway, listeners: &[(&'static str, Told)]) {
        for (name, told) in listeners {
            let counts = [
                ("heard", told.heard),
                ("failed", told.failed),
                ("aside", told.aside),
                ("cut", told.cut),
                ("resync", told.resyncs),
            ];
            for (what, count) in counts {
                let counter = self.listener_events.with_label_values(&[*name, what]);
                counter.inc_by(count.saturating_sub(counter.get()));
            }
            self.listener_lag.with_label_values(&[*name]).set(told.lag.as_secs_f64());
        }
        self.hubs.set(whole(gateway.live.hubs()));
        let bus = gateway.live.bus();
        self.bus.set(i64::from(bus.away().is_none()));
        let told = bus.told();
        for (what, count) in [
            ("sent", told.sent),
            ("heard", told.heard),
            ("lost", told.lost),
            ("connected", told.connected),
        ] {
            let counter = self.bus_news.with_label_values(&[what]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let (events, delay) = gateway.live.delays();
        self.log_events.inc_by(events.saturating_sub(self.log_events.get()));
        self.log_delay.inc_by((delay.as_secs_f64() - self.log_delay.get()).max(0.0));
        let (kept, made) = gateway.plans();
        for (found, count) in [("kept", kept), ("made", made)] {
            let counter = self.plans.with_label_values(&[found]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        let pool = gateway.store.pool();
        self.pool
            .with_label_values(&["busy"])
            .set(whole(pool.open.saturating_sub(pool.idle)));
        self.pool.with_label_values(&["idle"]).set(whole(pool.idle));
        let process = Process::look();
        self.memory.set(whole(process.memory));
        self.cpu.inc_by((process.cpu - self.cpu.get()).max(0.0));
        self.files.set(whole(process.files));
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

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What the system says of this process; zeros where there is no `/proc`.
#[derive(Debug, Default)]
struct Process {
    memory: usize,
    cpu: f64,
    files: usize,
}

impl Process {
    fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            memory: resident(&status).unwrap_or_default(),
            cpu: cpu(&stat).unwrap_or_default(),
            // One of them is the folder itself, open to be read.
            files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1)),
        }
    }
}

/// Bytes of `VmRSS:     12345 kB` in `/proc/self/status`.
fn resident(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<usize>().ok().map(|kb| kb * 1024)
}

/// Seconds of `utime` and `stime`, the 14th and 15th word of `/proc/self/stat`, where Linux counts hundredths for everyone.
fn cpu(stat: &str) -> Option<f64> {
    // The second word is the program's name in brackets, which may hold anything.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || words.next()?.parse::<u32>().ok();
    Some((f64::from(next()?) + f64::from(next()?)) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says() {
        assert_eq!(resident("Name:\tklio\nVmRSS:\t   12345 kB\nVmData: 1 kB\n"), Some(12_345 * 1024));
        assert_eq!(resident(""), None);
        let stat = "4242 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn all_are_documented() {
        let metrics = Metrics::new().expect("all names differ");
        let page = include_str!("../../docs/operations.md");
        metrics.request("/", &Method::GET, StatusCode::OK, Duration::ZERO);
        metrics.errors(&["BAD_INPUT"]);
        metrics.subscription("websocket", true);
        metrics.operation(
            "http",
            &Answer {
                body: Default::default(),
                executed: true,
                stats: Default::default(),
            },
            Duration::ZERO,
        );
        for label in ["busy", "idle"] {
            metrics.pool.with_label_values(&[label]).set(1);
        }
        metrics.plans.with_label_values(&["kept"]).inc();
        metrics.sockets_closed.with_label_values(&["0"]).inc();
        metrics.streams.with_label_values(&["poll"]).inc();
        metrics.streams_closed.with_label_values(&["events", "client"]).inc();
        metrics.stream_messages.with_label_values(&["poll"]).inc();
        metrics.bus_news.with_label_values(&["sent"]).inc();
        metrics.listener_events.with_label_values(&["x", "heard"]).inc();
        metrics.listener_lag.with_label_values(&["x"]).set(1.0);
        let families = metrics.registry.gather();
        assert_eq!(families.len(), 28);
        for family in families {
            assert!(
                page.contains(&format!("`{}`", family.name())),
                "docs/operations.md does not tell of {}",
                family.name()
            );
        }
    }
}
