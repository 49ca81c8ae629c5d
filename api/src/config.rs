//! Settings: defaults, file, environment, command line, in rising order. `klio.toml` beside this crate is the list of keys
//! and the source of the defaults; here is what each may be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klio_entities::store::StoreConfig;
use klio_schema::limits::Limits;
use toml::Value;

/// The commented file with every key and its default.
pub const DEFAULTS: &str = include_str!("../klio.toml");

/// Environment variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 3] = ["KLIO_CONFIG", "KLIO_URL", "KLIO_TOKEN"];

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `[http]`
    pub http: Http,
    /// `[limits]`
    pub limits: Limits,
    /// `[websocket]`
    pub websocket: WebSocket,
    /// `[auth]`
    pub auth: Auth,
    /// `[log]`
    pub log: Log,
}

/// Where everything is kept. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Database {
    pub url: String,
    pub max_connections: u32,
    pub readers: u32,
    pub statement_timeout: Duration,
    pub klass_grace: Duration,
    pub migrate: bool,
}

/// The door. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Http {
    pub listen: SocketAddr,
    pub body_limit: usize,
    pub read_timeout: Duration,
    pub compress_above: usize,
    pub cors_origins: Vec<String>,
    pub drain_timeout: Duration,
    pub explorer: bool,
    pub metrics: bool,
}

/// Sockets. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct WebSocket {
    pub origins: Vec<String>,
    pub init_timeout: Duration,
    pub ping_interval: Duration,
    pub message_limit: usize,
    pub operations_limit: usize,
    pub subscribe_rate: u32,
    pub connections_limit: usize,
    pub connections_per_actor: usize,
    pub write_timeout: Duration,
}

/// Who may come in. Meanings and units: `klio.toml`.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Auth {
    pub cache: Duration,
    pub recheck: Duration,
    pub jwt_secret: Option<String>,
    pub jwt_public_key: Option<PathBuf>,
    pub jwt_jwks: Option<PathBuf>,
    pub jwt_issuer: Option<String>,
    pub jwt_audience: Option<String>,
    pub jwt_leeway: Duration,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("jwt_secret", &self.jwt_secret.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// What is told. Meanings: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// The defaults alone.
    pub fn defaults() -> Self {
        // The file is part of the program; a test reads it.
        Self::from_parts(None, Vec::new(), &[]).unwrap_or_else(|error| unreachable!("klio.toml: {error}"))
    }

    /// Reads the file (or `./klio.toml` when none is named and it is there), then the environment, then `sets` (`key=value`).
    ///
    /// # Errors
    /// Everything that is wrong, with the names of keys and what is allowed.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let path = match file {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from("klio.toml")).filter(|path| path.exists()),
        };
        let text = match &path {
            None => None,
            Some(path) => Some((
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|e| ConfigError(vec![format!("{}: {e}", path.display())]))?,
            )),
        };
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("KLIO_")).collect();
        Self::from_parts(text, environment, sets)
    }

    /// The same, from what was read already: (name of the file, its text), environment, `key=value`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_parts(file: Option<(String, String)>, environment: Vec<(String, String)>, sets: &[String]) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        reader.add_toml("klio.toml (defaults)", DEFAULTS);
        reader.known = reader.values.keys().cloned().collect();
        if let Some((name, text)) = file {
            reader.add_toml(&name, &text);
        }
        for (name, value) in environment {
            if !NOT_SETTINGS.contains(&name.as_str()) && !name.starts_with("KLIO_TEST_") {
                reader.add_environment(&name, value);
            }
        }
        for set in sets {
            match set.split_once('=') {
                Some((key, value)) => reader.add(key.trim(), "--set", Given::Text(value.trim().to_owned())),
                None => reader.faults.push(format!(
                    "--set {set}: say it as key=value, for example --set http.listen=127.0.0.1:4000"
                )),
            }
        }
        reader.config()
    }

    /// What the store needs of it.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            url: self.database.url.clone(),
            max_connections: self.database.max_connections,
            readers: self.database.readers,
            statement_timeout: self.database.statement_timeout,
            klass_grace: self.database.klass_grace,
        }
    }

    /// The database's URL without its password, for people to see.
    pub fn shown_database(&self) -> String {
        without_password(&self.database.url)
    }
}

/// A URL with its password taken out.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or(rest);
    // The password may hold an @ of its own: the last one ends it.
    let Some((user, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = user.split_once(':').map_or(user, |(name, _)| name);
    // Settings behind ? may hold one too (`?password=`).
    let path = rest.get(end..).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    format!("{scheme}://{user}@{host}{path}")
}

/// A value as it came.
#[derive(Clone, Debug)]
enum Given {
    Toml(Value),
    Text(String),
}

/// Gathers values by key (`http.listen`), then reads each once as what it must be, gathering faults.
#[derive(Default)]
struct Reader {
    values: BTreeMap<String, (String, Given)>,
    known: Vec<String>,
    faults: Vec<String>,
}

impl Reader {
    fn add_toml(&mut self, name: &str, text: &str) {
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

    fn add_environment(&mut self, name: &str, value: String) {
        match self.known.iter().find(|key| environment_name(key) == name).cloned() {
            Some(key) => self.add(&key, name, Given::Text(value)),
            None => {
                let near = nearest(name, self.known.iter().map(|key| environment_name(key)));
                self.faults.push(format!("{name}: no such setting; {near}"));
            }
        }
    }

    fn add(&mut self, key: &str, source: &str, given: Given) {
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
                _ if key.ends_with("secret") || key == "database.url" => "its value".to_owned(),
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
        let auth = self.auth();
        let log = self.log();
        Some(Config {
            database: database?,
            http: http?,
            limits: limits?,
            websocket: websocket?,
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
            readers: match u32::try_from(readers?).ok()? {
                0 => std::thread::available_parallelism()
                    .map_or(4, |n| u32::try_from(n.get()).unwrap_or(4))
                    .max(2),
                n => n,
            },
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

    fn config(mut self) -> Result<Config, ConfigError> {
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
fn size(text: &str) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(file: &str, environment: &[(&str, &str)], sets: &[&str]) -> Vec<String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        match Config::from_parts(Some(("my.toml".into(), file.into())), environment, &sets) {
            Ok(_) => Vec::new(),
            Err(error) => error.0,
        }
    }

    #[test]
    fn the_default_file_is_whole_and_every_key_has_a_comment() {
        let config = Config::defaults();
        assert_eq!(config.http.listen.port(), 4000);
        assert_eq!(config.websocket.init_timeout, Duration::from_secs(3));
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(lines[i - 1].starts_with('#'), "no comment above: {line}");
            }
        }
    }

    #[test]
    fn command_line_over_environment_over_file() {
        let of = |environment: &[(&str, &str)], sets: &[&str]| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
            let file = (
                "my.toml".to_owned(),
                "[http]\nlisten = \"127.0.0.1:1\"\ncors_origins = [\"https://a.example\"]".to_owned(),
            );
            Config::from_parts(Some(file), environment, &sets).expect("right settings")
        };
        assert_eq!(of(&[], &[]).http.listen.port(), 1);
        assert_eq!(of(&[("KLIO_HTTP_LISTEN", "0.0.0.0:2")], &[]).http.listen.port(), 2);
        assert_eq!(
            of(&[("KLIO_HTTP_LISTEN", "0.0.0.0:2")], &["http.listen=0.0.0.0:3"])
                .http
                .listen
                .port(),
            3
        );
        assert_eq!(of(&[], &[]).http.cors_origins, ["https://a.example"]);
        assert_eq!(
            of(&[("KLIO_HTTP_CORS_ORIGINS", "*, https://b.example")], &[]).http.cors_origins,
            ["*", "https://b.example"]
        );
    }

    #[test]
    fn all_faults_are_told_at_once_with_name_and_what_is_allowed() {
        let told = faults(
            "[http]\nlistn = \"x\"\nbody_limit = 5\n[wat]\nx = 1\n[auth]\njwt_secret = \"short\"",
            &[
                ("KLIO_LOG_FORMAT", "xml"),
                ("KLIO_HTPP_LISTEN", "x"),
                ("KLIO_TEST_POSTGRES_URL", "left alone"),
            ],
            &["websocket.ping_interval=0s", "nonsense"],
        );
        let all = told.join("\n");
        for part in [
            "my.toml: http.listn: no such setting; did you mean http.listen?",
            "my.toml: http.body_limit: 5 is not a size such as 512B, 64KiB or 1MiB",
            "my.toml: wat.x: no such setting; there are ",
            "my.toml: auth.jwt_secret: its value is not a secret of at least 32 bytes",
            "KLIO_LOG_FORMAT: log.format: \"xml\" is not human or json",
            "KLIO_HTPP_LISTEN: no such setting; did you mean KLIO_HTTP_LISTEN?",
            "--set: websocket.ping_interval: \"0s\" is not a duration above zero such as 500ms, 3s, 5m, 12h or 30d",
            "--set nonsense: say it as key=value",
        ] {
            assert!(all.contains(part), "not told: {part}\n{all}");
        }
        assert_eq!(told.len(), 8, "{all}");
        assert!(!all.contains("short"), "a secret was shown: {all}");
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://u:p@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://u:p@ss@h/d?sslmode=require&password=x", "postgres://u@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("sqlite:klio.db", "sqlite:klio.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("30d"), Some(Duration::from_secs(2_592_000)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "99999999999999999999d", "9999999999999999d", "3 weeks"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(size("64KiB"), Some(65_536));
        for wrong in ["", "5", "KiB", "1kb", "99999999999999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
