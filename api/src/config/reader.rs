//! Reads settings from where they are given, gathering everything that is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klio_schema::limits::Limits;
use klio_subscriptions::bus::place::Place;
use toml::Value;

use super::{Auth, Config, ConfigError, Database, Http, Log, LogFormat, Redis, Streams, WebSocket};

/// A value as it came.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Toml(Value),
    Text(String),
}

/// Gathers values by key (`http.listen`), then reads each once as what it must be, gathering faults.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) values: BTreeMap<String, (String, Given)>,
    pub(super) known: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl Reader {
    pub(super) fn add_toml(&mut self, name: &str, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.faults.push(format!("{name}: {error}")),
        };
        for (section, value) in table {
            match value {
                Value::Table(keys) => {
                    for (key, value) in keys {
                        self.add(&format!("{section}.{key}"), name, Given::Toml(value));
                    }
                }
                other => self.add(&section, name, Given::Toml(other)),
            }
        }
    }

    pub(super) fn add_environment(&mut self, name: &str, value: String) {
        match self.known.iter().find(|key| environment_name(key) == name).cloned() {
            Some(key) => self.add(&key, name, Given::Text(value)),
            None => {
                let near = nearest(name, self.known.iter().map(|key| environment_name(key)));
                self.faults.push(format!("{name}: no such setting; {near}"));
            }
        }
    }

    pub(super) fn add(&mut self, key: &str, source: &str, given: Given) {
        if !self.known.is_empty() && !self.known.iter().any(|known| known == key) {
            let near = nearest(key, self.known.iter().cloned());
            self.faults.push(format!("{source}: {key}: no such setting; {near}"));
            return;
        }
        self.values.insert(key.to_owned(), (source.to_owned(), given));
    }

    /// The value of a key, made by `make`; what is allowed is `allowed`.
    fn read<T>(&mut self, key: &str, allowed: &str, make: impl FnOnce(&Given) -> Option<T>) -> Option<T> {
        let Some((source, given)) = self.values.get(key) else {
            self.faults.push(format!("klio.toml has no default for {key}"));
            return None;
        };
        let made = make(given);
        if made.is_none() {
            // A secret's wrong value is not shown.
            let shown = match given {
                _ if key.ends_with("secret") || matches!(key, "database.url" | "redis.url") => "its value".to_owned(),
                Given::Toml(value) => value.to_string(),
                Given::Text(text) => format!("{text:?}"),
            };
            let fault = format!("{source}: {key}: {shown} is not {allowed}");
            self.faults.push(fault);
        }
        made
    }

    fn text(&mut self, key: &str, allowed: &str, accept: impl FnOnce(&str) -> bool) -> Option<String> {
        self.read(key, allowed, |given| match given {
            Given::Toml(Value::String(text)) | Given::Text(text) => accept(text).then(|| text.clone()),
            Given::Toml(_) => None,
        })
    }

    fn optional(&mut self, key: &str, allowed: &str, accept: impl FnOnce(&str) -> bool) -> Option<Option<String>> {
        Some(Some(self.text(key, allowed, |text| text.is_empty() || accept(text))?).filter(|text| !text.is_empty()))
    }

    fn number(&mut self, key: &str, least: i64, most: i64) -> Option<i64> {
        self.read(key, &format!("a whole number from {least} to {most}"), |given| {
            let number = match given {
                Given::Toml(Value::Integer(number)) => *number,
                Given::Text(text) => text.parse().ok()?,
                Given::Toml(_) => return None,
            };
            (least..=most).contains(&number).then_some(number)
        })
    }

    fn count(&mut self, key: &str) -> Option<usize> {
        usize::try_from(self.number(key, 1, 1_000_000_000)?).ok()
    }

    fn boolean(&mut self, key: &str) -> Option<bool> {
        self.read(key, "true or false", |given| match given {
            Given::Toml(Value::Boolean(value)) => Some(*value),
            Given::Text(text) => text.parse().ok(),
            Given::Toml(_) => None,
        })
    }

    fn duration(&mut self, key: &str) -> Option<Duration> {
        self.read(
            key,
            "a duration above zero such as 500ms, 3s, 5m, 12h or 30d",
            |given| match given {
                Given::Toml(Value::String(text)) | Given::Text(text) => duration(text).filter(|d| !d.is_zero()),
                Given::Toml(_) => None,
            },
        )
    }

    fn size(&mut self, key: &str) -> Option<usize> {
        self.read(key, "a size such as 512B, 64KiB or 1MiB", |given| match given {
            Given::Toml(Value::String(text)) | Given::Text(text) => size(text),
            Given::Toml(_) => None,
        })
    }

    fn origins(&mut self, key: &str) -> Option<Vec<String>> {
        self.read(
            key,
            "a list of origins such as https://app.example.com (scheme, host and port, no path), or of * alone",
            |given| {
                let list: Vec<String> = match given {
                    Given::Toml(Value::Array(items)) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect::<Option<_>>()?,
                    Given::Text(text) => text
                        .split(',')
                        .map(|item| item.trim().to_owned())
                        .filter(|item| !item.is_empty())
                        .collect(),
                    Given::Toml(_) => return None,
                };
                list.iter().all(|item| item == "*" || is_origin(item)).then_some(list)
            },
        )
    }

    /// Reads everything; a missing part means that a fault was noted.
    fn parts(&mut self) -> Option<Config> {
        // Every section is read before any is used, so that all faults are told at once.
        let database = self.database();
        let http = self.http();
        let limits = self.limits();
        let websocket = self.websocket();
        let streams = self.streams();
        let redis = self.redis();
        let auth = self.auth();
        let log = self.log();
        Some(Config {
            database: database?,
            http: http?,
            limits: limits?,
            websocket: websocket?,
            streams: streams?,
            redis: redis?,
            auth: auth?,
            log: log?,
        })
    }

    fn database(&mut self) -> Option<Database> {
        let url = self.text("database.url", "sqlite:PATH or postgres://user:password@host/database", |url| {
            url.strip_prefix("sqlite:")
                .is_some_and(|path| !path.is_empty() && !path.starts_with(":memory:"))
                || url.starts_with("postgres://")
                || url.starts_with("postgresql://")
        });
        let max_connections = self.number("database.max_connections", 1, 10_000);
        let readers = self.number("database.readers", 0, 1_024);
        let statement_timeout = self.duration("database.statement_timeout");
        let klass_grace = self.duration("database.klass_grace");
        let migrate = self.boolean("database.migrate");
        Some(Database {
            url: url?,
            max_connections: u32::try_from(max_connections?).ok()?,
            readers: u32::try_from(readers?).ok()?,
            statement_timeout: statement_timeout?,
            klass_grace: klass_grace?,
            migrate: migrate?,
        })
    }

    fn http(&mut self) -> Option<Http> {
        let listen = self.read(
            "http.listen",
            "an address and port such as 127.0.0.1:4000 or [::]:4000",
            |given| match given {
                Given::Toml(Value::String(text)) | Given::Text(text) => text.replace("localhost:", "127.0.0.1:").parse().ok(),
                Given::Toml(_) => None,
            },
        );
        let body_limit = self.size("http.body_limit");
        let read_timeout = self.duration("http.read_timeout");
        let compress_above = self.size("http.compress_above");
        let cors_origins = self.origins("http.cors_origins");
        let drain_timeout = self.duration("http.drain_timeout");
        let explorer = self.boolean("http.explorer");
        let metrics = self.boolean("http.metrics");
        Some(Http {
            listen: listen?,
            body_limit: body_limit?,
            read_timeout: read_timeout?,
            compress_above: compress_above?,
            cors_origins: cors_origins?,
            drain_timeout: drain_timeout?,
            explorer: explorer?,
            metrics: metrics?,
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let text = self.size("limits.text");
        let tokens = self.count("limits.tokens");
        let nesting = self.count("limits.nesting");
        let directives = self.count("limits.directives");
        let fragments = self.count("limits.fragments");
        let depth = self.count("limits.depth");
        let fields = self.count("limits.fields");
        let aliases = self.count("limits.aliases");
        let root_fields = self.count("limits.root_fields");
        let variables = self.size("limits.variables");
        let batch = self.count("limits.batch");
        let page = self.number("limits.page", 1, 100_000);
        let cost = self.number("limits.cost", 1, i64::MAX);
        let bucket = self.number("limits.bucket", 1, i64::MAX);
        let refill = self.number("limits.refill", 1, i64::MAX);
        Some(Limits {
            text: text?,
            tokens: tokens?,
            nesting: nesting?,
            directives: directives?,
            fragments: fragments?,
            depth: depth?,
            fields: fields?,
            aliases: aliases?,
            root_fields: root_fields?,
            variables: variables?,
            batch: batch?,
            page: u32::try_from(page?).ok()?,
            cost: u64::try_from(cost?).ok()?,
            bucket: u64::try_from(bucket?).ok()?,
            refill: u64::try_from(refill?).ok()?,
        })
    }

    fn websocket(&mut self) -> Option<WebSocket> {
        let origins = self.origins("websocket.origins");
        let init_timeout = self.duration("websocket.init_timeout");
        let ping_interval = self.duration("websocket.ping_interval");
        let message_limit = self.size("websocket.message_limit");
        let operations_limit = self.number("websocket.operations_limit", 1, 100_000);
        let subscribe_rate = self.number("websocket.subscribe_rate", 1, 100_000);
        let connections_limit = self.number("websocket.connections_limit", 0, 10_000_000);
        let connections_per_actor = self.number("websocket.connections_per_actor", 1, 10_000_000);
        let write_timeout = self.duration("websocket.write_timeout");
        Some(WebSocket {
            origins: origins?,
            init_timeout: init_timeout?,
            ping_interval: ping_interval?,
            message_limit: message_limit?,
            operations_limit: usize::try_from(operations_limit?).ok()?,
            subscribe_rate: u32::try_from(subscribe_rate?).ok()?,
            connections_limit: usize::try_from(connections_limit?).ok()?,
            connections_per_actor: usize::try_from(connections_per_actor?).ok()?,
            write_timeout: write_timeout?,
        })
    }

    fn streams(&mut self) -> Option<Streams> {
        let heartbeat = self.duration("streams.heartbeat");
        let poll_wait = self.duration("streams.poll_wait");
        Some(Streams {
            heartbeat: heartbeat?,
            poll_wait: poll_wait?,
        })
    }

    fn redis(&mut self) -> Option<Redis> {
        const FORMS: &str = "a URL such as redis://host:6379, rediss://…, redis+sentinel://host:26379,host:26379/master or redis+cluster://host:6379,host:6379";
        let url = self.optional("redis.url", FORMS, |url| Place::parse(url).is_ok());
        let prefix = self.text("redis.prefix", "1 to 64 letters, digits, - and _", |text| {
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
        Some(Redis {
            url: url?.and_then(|url| Place::parse(&url).ok()),
            prefix: prefix?,
        })
    }

    fn auth(&mut self) -> Option<Auth> {
        let cache = self.duration("auth.cache");
        let recheck = self.duration("auth.recheck");
        let jwt_secret = self.optional("auth.jwt_secret", "a secret of at least 32 bytes", |secret| secret.len() >= 32);
        let jwt_public_key = self.optional("auth.jwt_public_key", "a file that exists", |path| Path::new(path).is_file());
        let jwt_jwks = self.optional("auth.jwt_jwks", "a file that exists", |path| Path::new(path).is_file());
        let jwt_issuer = self.optional("auth.jwt_issuer", "a text", |_| true);
        let jwt_audience = self.optional("auth.jwt_audience", "a text", |_| true);
        let jwt_leeway = self.duration("auth.jwt_leeway");
        Some(Auth {
            cache: cache?,
            recheck: recheck?,
            jwt_secret: jwt_secret?,
            jwt_public_key: jwt_public_key?.map(PathBuf::from),
            jwt_jwks: jwt_jwks?.map(PathBuf::from),
            jwt_issuer: jwt_issuer?,
            jwt_audience: jwt_audience?,
            jwt_leeway: jwt_leeway?,
        })
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.text("log.format", "human or json", |text| matches!(text, "human" | "json"));
        let level = self.text(
            "log.level",
            "error, warn, info, debug, trace or a filter such as info,klio_entities=debug",
            |text| !text.is_empty() && text.parse::<tracing_subscriber::filter::Targets>().is_ok(),
        );
        Some(Log {
            format: match format?.as_str() {
                "json" => LogFormat::Json,
                _ => LogFormat::Human,
            },
            level: level?,
        })
    }

    pub(super) fn config(mut self) -> Result<Config, ConfigError> {
        match self.parts() {
            Some(config) if self.faults.is_empty() => Ok(config),
            _ => Err(ConfigError(self.faults)),
        }
    }
}

/// `http.listen` is `KLIO_HTTP_LISTEN` in the environment.
fn environment_name(key: &str) -> String {
    format!("KLIO_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Is scheme, host and perhaps port, and nothing else: what browsers send in `Origin`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else {
        return false;
    };
    !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', ' ', '*'])
}

/// `3s`; `None` for anything else.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim_start() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    // A hundred years are enough, and sums with times of day do not overflow.
    number.checked_mul(seconds).filter(|s| *s <= 3_155_760_000).map(Duration::from_secs)
}

/// `64KiB` in bytes; `None` for anything else.
pub(super) fn size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().ok()?;
    let factor = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// "did you mean …" for a name that is near one that exists, all names of the section otherwise.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = known.collect();
    let best = known.iter().map(|k| (distance(name, k), k)).min();
    match best {
        Some((d, near)) if d <= 1 + name.len() / 4 => format!("did you mean {near}?"),
        _ => {
            let section = name.split(['.']).next().unwrap_or_default();
            let mut of_section: Vec<&str> = known
                .iter()
                .filter(|k| k.split('.').next() == Some(section))
                .map(String::as_str)
                .collect();
            if of_section.is_empty() {
                of_section = known.iter().map(String::as_str).collect();
            }
            format!("there are {}", of_section.join(", "))
        }
    }
}

/// Edits from one text to the other (Levenshtein, by bytes).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
